package portal

import (
	"context"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/promserver"
	"github.com/waooaw/platform-portal/internal/scrape"
	"github.com/waooaw/platform-portal/internal/tsdb"
)

// keeper is where time series are kept: on this machine, or on a server outside.
type keeper interface {
	lifecycle.Service
	metrics.Querier
	metrics.Appender
	metrics.Catalog
	Ping(ctx context.Context) error
}

// keeper gives the one that is configured, and what is to be known of it.
func (a *app) keeper() (keeper, func(context.Context) string, error) {
	if a.cfg.MetricsURL == "" {
		return tsdb.New(tsdb.Config{
			Dir: filepath.Join(a.cfg.Data, "tsdb"), Keep: a.cfg.KeepMetrics, MaxBytes: a.cfg.MetricsBytes, Now: steady, Log: a.log,
		}), nil, nil
	}
	c, err := promserver.New(promserver.Config{URL: a.cfg.MetricsURL, Now: steady, Log: a.log})
	if err != nil {
		return nil, nil, err
	}
	return c, c.Note, nil
}

// measure makes what asks agents for their figures, and keeps them.
func (a *app) measure() {
	a.registry = prometheus.NewRegistry()
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c := &collect{
		agents: a.store.Agents(), observed: a.store.Instances(), runtimes: a.fleet.Runtimes, checker: a.checker, queues: a.bus, registry: a.registry,
	}
	a.recorder = &metrics.Recorder{Collectors: c.collectors(), Into: a.series, Now: steady, Log: a.log}
	a.windows = &metrics.Windows{Now: steady}
	a.figures = &metrics.History{Recent: a.windows, Stored: a.series}
	a.scraper = &metrics.Scraper{
		Targets: c, Source: scrape.Client{}, Backlogs: a.bus, Windows: a.windows, Into: a.series, Refused: a.refusedMetrics, Log: a.log,
	}
}

// refusedPage is the payload of the event that an agent's metrics are refused.
type refusedPage struct {
	AgentID  string `json:"agent_id"`
	Instance string `json:"instance"`
	Metric   string `json:"metric,omitempty"`
	Reason   string `json:"reason"`
}

// refusedMetrics announces that the metrics of an instance are not taken.
func (a *app) refusedMetrics(t metrics.Target, why metrics.Refusal) {
	e := event.New(event.MetricsRefused, t.AgentID, auth.System.ID, now(),
		refusedPage{AgentID: t.AgentID, Instance: t.InstanceID, Metric: why.Metric, Reason: why.Why}, event.RoomAgents, event.RoomAgent(t.AgentID))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := a.store.Do(ctx, func(ctx context.Context) error { return a.store.Events().Append(ctx, e) }); err != nil {
		a.log.Warn("can't announce that metrics are refused", "agent", t.AgentID, "err", err)
	}
}
