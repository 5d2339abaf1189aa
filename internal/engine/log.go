package engine

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// quiet is a handler under which DBOS's notes on its own doings are for
// debugging only. Its warnings and errors stay what they are, until the engine
// stops: then it complains of everything that the stop cuts off.
type quiet struct {
	slog.Handler
	stopping *atomic.Bool
}

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return q.Handler.Enabled(ctx, q.muted(l))
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = q.muted(r.Level)
	if !q.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(a), q.stopping}
}

func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{q.Handler.WithGroup(name), q.stopping}
}

func (q quiet) muted(l slog.Level) slog.Level {
	if l < slog.LevelWarn || q.stopping.Load() {
		return slog.LevelDebug
	}
	return l
}
