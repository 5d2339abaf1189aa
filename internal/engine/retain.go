package engine

import (
	"context"
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
