package portal

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	known map[string]known // agents, by id
}

// known is what is remembered of an agent.
type known struct{ name, runtime string }

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
	return c.known[id].name
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
	all := map[string]known{}
	for cursor := ""; ; {
		page, err := c.agents.Find(ctx, agent.Query{Limit: 1000, Cursor: cursor, Sort: "id"})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Agents {
			all[a.ID] = known{a.Spec.Name, a.Spec.Runtime}
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
	c.known = all
	c.mu.Unlock()
	return out, nil
}

// usageTime is how long an instance may take to be measured, allUsageTime how long
// all of them together, and meters how many of a runtime are measured at once.
const (
	usageTime    = 2 * time.Second
	allUsageTime = 8 * time.Second
	meters       = 8
)

// usage says what every instance uses, as its runtime sees it. What a runtime that is
// slow has not said in time is left out.
func (c *collect) usage(ctx context.Context) ([]metrics.Sample, error) {
	all, err := c.observed.Instances(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, allUsageTime)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var out []metrics.Sample
	for runtime, list := range c.byRuntime(all) {
		jobs := make(chan fleet.Instance, len(list))
		for _, in := range list {
			jobs <- in
		}
		close(jobs)
		for range min(meters, len(list)) {
			wg.Go(func() {
				for in := range jobs {
					samples := c.measured(bounded, runtime, in)
					mu.Lock()
					out = append(out, samples...)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return out, ctx.Err()
}

// byRuntime parts instances by the runtime that their agents are meant for.
func (c *collect) byRuntime(all map[string][]fleet.Instance) map[string][]fleet.Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string][]fleet.Instance{}
	for id, list := range all {
		runtime := c.known[id].runtime
		out[runtime] = append(out[runtime], list...)
	}
	return out
}

// measured gives what one instance uses; what its runtime can't tell is absent.
func (c *collect) measured(ctx context.Context, runtime string, in fleet.Instance) []metrics.Sample {
	name := c.name(in.AgentID)
	var out []metrics.Sample
	add := func(metric string, v float64) {
		out = append(out, metrics.Sample{Labels: metrics.Labels(metric, "runtime", in.AgentID, name, in.ID), Value: v})
	}
	add("instance_restarts_total", float64(in.Restarts))
	ctx, cancel := context.WithTimeout(ctx, usageTime)
	defer cancel()
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(c.runtimes)), func(name string) bool { return name == runtime })
	for _, one := range append([]string{runtime}, others...) {
		meter, ok := c.runtimes[one].(fleet.Meter)
		if !ok {
			continue
		}
		u, err := meter.Usage(ctx, in.AgentID, in.ID)
		if err != nil {
			continue // it has just ended, or is still where the agent was before
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
		break
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
