package portal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/scrape"
)

// collect is what the portal itself measures of agents, as time series. See
// docs/metrics.md for the names and labels.
type collect struct {
	agents   agent.Store
	observed fleet.InstanceStore
	runtimes map[string]fleet.Runtime
	checker  *health.Checker
	queues   interface {
		metrics.Backlogs
		Stats(ctx context.Context, agentID string) (queue.Stats, error)
	}
	registry *prometheus.Registry

	mu    sync.Mutex
	names map[string]string // of agents, by id
}

// collectors are all of them.
func (c *collect) collectors() []metrics.Collector {
	return []metrics.Collector{
		{Name: "agents", Collect: c.states},
		{Name: "instances", Collect: c.usage},
		{Name: "probes", Collect: c.probes},
		{Name: "queues", Collect: c.backlogs},
		{Name: "the portal", Collect: c.portal},
	}
}

// name gives the name of an agent; "" if it has not been seen yet.
func (c *collect) name(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names[id]
}

// Targets implements metrics.Targets, from what was observed last.
func (c *collect) Targets(ctx context.Context) ([]metrics.Target, error) {
	all, err := c.observed.Instances(ctx)
	if err != nil {
		return nil, err
	}
	for id := range all {
		if c.name(id) == "" { // it is new
			if _, err := c.states(ctx); err != nil {
				return nil, err
			}
			break
		}
	}
	var out []metrics.Target
	for id, list := range all {
		for _, in := range list {
			if in.State == fleet.InstanceRunning && in.Port > 0 {
				out = append(out, metrics.Target{
					AgentID: id, AgentName: c.name(id), InstanceID: in.ID, Host: in.Host, Port: in.Port, StartedAt: in.StartedAt,
					Run: fmt.Sprintf("%d/%d/%d", in.PID, in.Restarts, in.StartedAt.UnixMicro()),
				})
			}
		}
	}
	return out, nil
}

// states says in which state each agent is, and how it is.
func (c *collect) states(ctx context.Context) ([]metrics.Sample, error) {
	var out []metrics.Sample
	names := map[string]string{}
	for cursor := ""; ; {
		page, err := c.agents.Find(ctx, agent.Query{Limit: 1000, Cursor: cursor, Sort: "id"})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Agents {
			names[a.ID] = a.Spec.Name
			out = append(out,
				metrics.Sample{Labels: metrics.Labels("agent_state", "portal", a.ID, a.Spec.Name, "", "state", string(a.State)), Value: 1},
				metrics.Sample{Labels: metrics.Labels("agent_health", "portal", a.ID, a.Spec.Name, "", "health", string(a.Health)), Value: 1})
			if a.Spec.ResourceBudget > 0 {
				out = append(out, metrics.Sample{Labels: metrics.Labels("agent_budget_usd", "portal", a.ID, a.Spec.Name, ""), Value: a.Spec.ResourceBudget})
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	c.mu.Lock()
	c.names = names
	c.mu.Unlock()
	return out, nil
}

// usageTime is how long an instance may take to be measured, and meters how
// many are measured at once.
const (
	usageTime = 2 * time.Second
	meters    = 8
)

// usage says what every instance uses, as its runtime sees it.
func (c *collect) usage(ctx context.Context) ([]metrics.Sample, error) {
	all, err := c.observed.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var out []metrics.Sample
	jobs := make(chan fleet.Instance)
	for range meters {
		wg.Go(func() {
			for in := range jobs {
				samples := c.measured(ctx, in)
				mu.Lock()
				out = append(out, samples...)
				mu.Unlock()
			}
		})
	}
	for _, list := range all {
		for _, in := range list {
			if ctx.Err() == nil {
				jobs <- in
			}
		}
	}
	close(jobs)
	wg.Wait()
	return out, ctx.Err()
}

// measured gives what one instance uses; what its runtime can't tell is absent.
func (c *collect) measured(ctx context.Context, in fleet.Instance) []metrics.Sample {
	name := c.name(in.AgentID)
	var out []metrics.Sample
	add := func(metric string, v float64) {
		out = append(out, metrics.Sample{Labels: metrics.Labels(metric, "runtime", in.AgentID, name, in.ID), Value: v})
	}
	add("instance_restarts_total", float64(in.Restarts))
	ctx, cancel := context.WithTimeout(ctx, usageTime)
	defer cancel()
	for _, rt := range c.runtimes {
		meter, ok := rt.(fleet.Meter)
		if !ok {
			continue
		}
		u, err := meter.Usage(ctx, in.AgentID, in.ID)
		if err != nil {
			continue // it has just ended, or is of another runtime
		}
		add("instance_cpu_seconds_total", u.CPUSeconds)
		add("instance_memory_bytes", float64(u.Memory))
		add("instance_pids", float64(u.PIDs))
		add("instance_disk_bytes", float64(u.Disk))
		for metric, v := range map[string]float64{
			"instance_open_fds": float64(u.OpenFiles), "instance_max_fds": float64(u.FileLimit),
			"instance_memory_limit_bytes": float64(u.MemoryLimit), "instance_cpu_throttled_seconds_total": u.ThrottledSeconds,
		} {
			if v > 0 {
				add(metric, v)
			}
		}
	}
	return out
}

// probes says what every probe found, and how long it took.
func (c *collect) probes(context.Context) ([]metrics.Sample, error) {
	var out []metrics.Sample
	for _, r := range c.checker.Probes() {
		ok := 0.0
		if r.OK {
			ok = 1
		}
		for metric, v := range map[string]float64{"probe_success": ok, "probe_duration_seconds": r.Latency.Seconds()} {
			out = append(out, metrics.Sample{Value: v, Labels: metrics.Labels(metric, "probe", r.AgentID, c.name(r.AgentID), r.InstanceID, "probe", string(r.Kind), "kind", r.How)})
		}
	}
	return out, nil
}

// maxOldest is how many queues are asked at a time for their oldest message.
const maxOldest = 100

// backlogs says what waits in every queue.
func (c *collect) backlogs(ctx context.Context) ([]metrics.Sample, error) {
	all, err := c.queues.Backlogs(ctx)
	if err != nil {
		return nil, err
	}
	var out []metrics.Sample
	asked := 0
	for id, q := range all {
		add := func(metric string, v float64) {
			out = append(out, metrics.Sample{Labels: metrics.Labels(metric, "queue", id, c.name(id), "", "queue", q.Name), Value: v})
		}
		add("queue_pending", float64(q.Pending))
		add("queue_in_flight", float64(q.InFlight))
		add("queue_dead", float64(q.Dead))
		add("queue_consumers", float64(q.Consumers))
		if q.Pending+q.InFlight == 0 {
			add("queue_oldest_age_seconds", 0)
			continue
		}
		if asked++; asked > maxOldest {
			continue
		}
		if s, err := c.queues.Stats(ctx, id); err == nil && !s.Oldest.IsZero() {
			add("queue_oldest_age_seconds", max(0, time.Since(s.Oldest).Seconds()))
		}
	}
	return out, nil
}

// portal gives the portal's own metrics, as GET /metrics does.
func (c *collect) portal(context.Context) ([]metrics.Sample, error) {
	families, err := c.registry.Gather()
	if err != nil {
		return nil, err
	}
	samples := scrape.Samples(families)
	for _, s := range samples {
		s.Labels[metrics.LabelJob] = "portal"
	}
	return samples, nil
}
