package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

const (
	sweepEvery = time.Hour
	sweepBatch = 500
)

// retain removes finished workflows, which DBOS itself keeps for ever, until
// ctx ends.
func (e *Engine) retain(ctx context.Context) {
	// Not at once: the start of the portal has better things to do.
	for wait := time.Minute; ; wait = sweepEvery {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if n, err := e.Sweep(ctx); err != nil {
			e.log.Warn("could not remove finished workflows", "error", err)
		} else if n > 0 {
			e.log.Debug("removed finished workflows", "count", n)
		}
	}
}

// Sweep removes workflows that finished longer ago than Config.Keep, and says
// how many.
func (e *Engine) Sweep(ctx context.Context) (int, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	n := 0
	for e.dbos != nil && ctx.Err() == nil {
		list, err := dbos.ListWorkflows(e.dbos,
			dbos.WithFilterStatus(dbos.WorkflowStatusSuccess, dbos.WorkflowStatusError,
				dbos.WorkflowStatusCancelled, dbos.WorkflowStatusMaxRecoveryAttemptsExceeded),
			dbos.WithFilterCompletedBefore(time.Now().Add(-e.cfg.Keep)),
			dbos.WithFilterLimit(sweepBatch), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
		if err != nil || len(list) == 0 {
			return n, err
		}
		ids := make([]string, len(list))
		for i, w := range list {
			ids[i] = w.ID
		}
		if err := dbos.DeleteWorkflows(e.dbos, ids); err != nil {
			return n, err
		}
		n += len(ids)
	}
	return n, nil
}

// quiet is a handler under which DBOS's own notes on its doings are for
// debugging only; its warnings and errors stay what they are.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return q.Handler.Enabled(ctx, muted(l))
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = muted(r.Level)
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

func muted(l slog.Level) slog.Level {
	if l < slog.LevelWarn {
		return slog.LevelDebug
	}
	return l
}
