package portal

import (
	"context"
	"log/slog"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/store"
)

// keepNewestEvents is how many events stay whatever their age, so that clients
// that were away can catch up.
const keepNewestEvents = 10_000

// retention removes what has reached its age, once an hour. The audit log,
// revisions, transitions and operations are never removed.
type retention struct {
	store *store.Store
	cfg   Config
	now   func() time.Time
	log   *slog.Logger
	loop  lifecycle.Loop
}

func (r *retention) Name() string { return "retention" }

func (r *retention) Start(context.Context) error {
	return r.loop.Go(func(ctx context.Context) {
		tick := time.NewTicker(time.Hour)
		defer tick.Stop()
		for {
			r.sweep(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

func (r *retention) Stop(ctx context.Context) error { return r.loop.Halt(ctx) }

func (r *retention) sweep(ctx context.Context) {
	now := r.now()
	failed := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			r.log.Warn("can't remove what is old", "what", what, "err", err)
		}
	}
	n, err := r.store.Events().Prune(ctx, now.Add(-r.cfg.KeepEvents), keepNewestEvents)
	failed("events", err)
	m, err := r.store.Health().PruneResults(ctx, now.Add(-r.cfg.KeepProbes))
	failed("probe results", err)
	failed("answers kept for repeated requests", r.store.Idempotency().PruneReplays(ctx, now.Add(-24*time.Hour)))
	failed("links and sessions", r.store.Links().Expire(ctx, now))
	k, err := r.forgetAlerts(ctx)
	failed("alerts", err)
	if n+m+k > 0 {
		r.log.Info("removed what was old", "events", n, "probe_results", m, "alerts", k)
	}
}
