package portal

import (
	"context"
	"fmt"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/scrape"
)

// measure makes what asks agents for their figures, and keeps them.
func (a *app) measure() {
	a.windows = &metrics.Windows{Now: steady}
	a.scraper = &metrics.Scraper{
		Targets: running{a.store.Instances()}, Source: scrape.Client{}, Backlogs: a.bus, Windows: a.windows, Log: a.log,
	}
}

// running lists the instances that may have metrics, from what was observed last.
type running struct{ observed fleet.InstanceStore }

// Targets implements metrics.Targets.
func (r running) Targets(ctx context.Context) ([]metrics.Target, error) {
	all, err := r.observed.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var out []metrics.Target
	for id, list := range all {
		for _, in := range list {
			if in.State == fleet.InstanceRunning && in.Port > 0 {
				out = append(out, metrics.Target{
					AgentID: id, InstanceID: in.ID, Port: in.Port, StartedAt: in.StartedAt,
					Run: fmt.Sprintf("%d/%d/%d", in.PID, in.Restarts, in.StartedAt.UnixMicro()),
				})
			}
		}
	}
	return out, nil
}
