package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/rulefile"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/tsdb"
)

// measureAlerts measures how soon a failure is an alert, and what the rules cost
// in a large fleet.
func measureAlerts(ctx context.Context, b *bench) error {
	if err := b.issues(ctx); err != nil {
		return err
	}
	return b.rules(ctx)
}

// issues lets agents fail and waits for their alerts.
func (b *bench) issues(ctx context.Context) error {
	const failing = 20
	p, err := b.portal("alerts")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	var times spread
	for i := range failing {
		name := fmt.Sprintf("failing-%02d", i)
		spec := map[string]any{"name": name, "command": "/bin/false", "restart": map[string]any{"policy": "never"}}
		if err := p.Call(ctx, http.MethodPost, "/agents", spec, nil); err != nil {
			return err
		}
		for _, action := range []string{"provision", "deploy"} {
			if op, err := p.Act(ctx, name, action); err != nil || op.State != "SUCCEEDED" {
				return fmt.Errorf("%s: %+v %w", action, op, err)
			}
		}
		if err := p.Call(ctx, http.MethodPost, "/agents/"+name+"/start", map[string]any{}, nil); err != nil {
			return err
		}
		took, err := alerted(ctx, p, name)
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	b.row("agent fails, until its alert can be seen", "< 2 s", "%s", times)
	return b.retire(ctx, p)
}

// alerted waits for the alert of an agent that fails, and gives how long ago it
// failed.
func alerted(ctx context.Context, p *drive.Portal, name string) (time.Duration, error) {
	var page struct{ Items []alert.Alert }
	err := drive.Poll(ctx, 5*time.Millisecond, func() (bool, error) {
		err := p.Call(ctx, http.MethodGet, "/alerts?name=AgentErrored&agent="+name, nil, &page)
		return len(page.Items) > 0, err
	})
	if err != nil {
		return 0, err
	}
	return time.Since(page.Items[0].ActiveAt), nil
}

// rules evaluates the shipped rules over the series of many agents: while all is
// well, when all begin to fail at once, and while they go on failing.
func (b *bench) rules(ctx context.Context) error {
	log := slog.New(slog.DiscardHandler)
	db := tsdb.New(tsdb.Config{Dir: filepath.Join(b.dir, "alert-series"), Log: log})
	if err := db.Start(ctx); err != nil {
		return err
	}
	defer db.Stop(context.WithoutCancel(ctx))
	st, err := store.Open(ctx, store.Config{Path: filepath.Join(b.dir, "alerts.db"), Log: log})
	if err != nil {
		return err
	}
	defer st.Close()
	made := 0
	svc := &alert.Service{
		Stores: st.Alerts(), Tx: st, Events: st.Events(), Audit: &audit.Recorder{Store: st.Audit(), Now: time.Now},
		Language: rulefile.Language{Querier: db}, Querier: db, Appender: db, Now: time.Now, Log: log,
		NewID: func() string { made++; return fmt.Sprintf("01900000-0000-7000-8000-%012d", made) },
	}
	if err := svc.Prepare(ctx); err != nil {
		return err
	}
	const calm = 40 // samples before the trouble, 10 minutes
	start, next := time.Now(), 0
	for i, what := range []string{"while all is well", "when all begin to fail", "while all fail"} {
		last := calm - 1 + 20*i
		at := start.Add(time.Duration(last-calm+1) * 15 * time.Second)
		for ; next <= last; next++ {
			if err := db.Append(ctx, fleetAt(at.Add(time.Duration(next-last)*15*time.Second), next, max(0, next-calm+1))); err != nil {
				return err
			}
		}
		took, err := timed(func() error {
			for _, g := range svc.Groups() {
				svc.Evaluate(ctx, g, at)
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		_, more, err := svc.Find(ctx, alert.Query{Limit: 900})
		if err != nil || (more != "") != (i > 0) {
			return fmt.Errorf("the rules did not find what there is: %w", err)
		}
		b.row(fmt.Sprintf("all shipped rules over %d agents, %s", meteredAgents, what), "< 15 s, their interval", "%s", round(took))
	}
	return nil
}

// fleetAt are the series of all agents as of a moment, each of which did 10 tasks
// between two samples; failed is how many samples all of them have been failing for.
func fleetAt(at time.Time, n, failed int) []metrics.Sample {
	var out []metrics.Sample
	for i := range meteredAgents {
		id := fmt.Sprintf("agent-%d", i)
		add := func(name, job string, value float64, more ...string) {
			labels := metrics.Labels(name, job, id, id, id+"-r1-0")
			for k := 0; k+1 < len(more); k += 2 {
				labels[more[k]] = more[k+1]
			}
			out = append(out, metrics.Sample{At: at, Value: value, Labels: labels})
		}
		add("up", "agent", 1)
		add("agent_tasks_total", "agent", float64(10*(n-failed)), "status", "done")
		add("agent_tasks_total", "agent", float64(10*failed), "status", "failed")
		for _, le := range []string{"0.1", "0.5", "1", "5", "30", "+Inf"} {
			add("agent_task_duration_seconds_bucket", "agent", float64(10*n), "le", le)
		}
		add("instance_memory_bytes", "platform", 100<<20)
		add("instance_memory_limit_bytes", "platform", 256<<20)
		add("instance_restarts_total", "platform", 0)
		add("agent_state", "platform", 1, "state", "RUNNING")
		add("agent_health", "platform", 0, "health", "unhealthy")
		add("queue_pending", "platform", 3, "queue", id)
		add("queue_oldest_age_seconds", "platform", 1, "queue", id)
	}
	return out
}
