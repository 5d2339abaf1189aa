package observe

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

func (a *area) registerHealth() {
	a.door.Raw("readyz", a.ready)
	a.door.DescribeRaw("readyz", "Can the portal serve", "text/plain")
	door.Handle(a.door, "platform-health", "Health of the portal, its runtimes and the fleet", a.platformHealth)
}

// ComponentHealth is how a part of the portal is.
type ComponentHealth struct {
	Name   string  `json:"name"`
	Status string  `json:"status" enum:"healthy,unhealthy"`
	Reason string  `json:"reason,omitempty"`
	Remedy string  `json:"remedy,omitempty"`
	Took   float64 `json:"took_ms" doc:"How long it took to find out"`
}

// RuntimeHealth is what a runtime can enforce here.
type RuntimeHealth struct {
	Name   string        `json:"name"`
	Checks []fleet.Check `json:"checks"`
}

// PlatformHealth is how the portal and the fleet are.
type PlatformHealth struct {
	Status     string               `json:"status" enum:"healthy,degraded,unhealthy"`
	Components []ComponentHealth    `json:"components"`
	Runtimes   []RuntimeHealth      `json:"runtimes"`
	States     map[agent.State]int  `json:"agents_by_state"`
	Healths    map[agent.Health]int `json:"agents_by_health"`
	Agents     []AgentHealth        `json:"agents,omitempty" doc:"Only where agents were asked for"`
	Filtered   []string             `json:"filtered_by_agent,omitempty"`
}

// AgentHealth is how one agent is.
type AgentHealth struct {
	ID     string       `json:"id"`
	Name   string       `json:"name"`
	State  agent.State  `json:"state"`
	Health agent.Health `json:"health"`
	Reason string       `json:"health_reason,omitempty"`
}

// runtimes asks all of them at once, so that one that is slow delays no other.
func (a *area) runtimes(ctx context.Context) []RuntimeHealth {
	out := make([]RuntimeHealth, len(a.cfg.Runtimes))
	var all sync.WaitGroup
	for i, rt := range a.cfg.Runtimes {
		all.Go(func() {
			out[i] = RuntimeHealth{Name: rt.Name(), Checks: rt.Report(ctx)}
			if out[i].Checks == nil {
				out[i].Checks = []fleet.Check{}
			}
		})
	}
	all.Wait()
	return out
}

type healthAnswer struct {
	Body PlatformHealth
}

func (a *area) platformHealth(ctx context.Context, in *door.OfAgents) (*healthAnswer, error) {
	out := PlatformHealth{Components: []ComponentHealth{}}
	var ready bool
	out.Components, ready = a.components(ctx)
	out.Status = "healthy"
	if slices.ContainsFunc(out.Components, func(c ComponentHealth) bool { return c.Status != "healthy" }) {
		out.Status = "degraded"
	}
	if !ready {
		out.Status = "unhealthy"
	}
	out.Runtimes = a.runtimes(ctx)
	var err error
	if out.States, out.Healths, err = a.cfg.Agents.Counts(ctx); err != nil {
		return nil, err
	}
	if out.Filtered, err = a.door.AgentIDs(ctx, in.Agent); err != nil || len(out.Filtered) == 0 {
		return &healthAnswer{Body: out}, err
	}
	page, err := a.cfg.Agents.Find(ctx, agent.Query{IDs: out.Filtered, Limit: 1000})
	if err != nil {
		return nil, err
	}
	for _, one := range page.Agents {
		out.Agents = append(out.Agents, AgentHealth{ID: one.ID, Name: one.Spec.Name, State: one.State, Health: one.Health, Reason: one.HealthReason})
	}
	return &healthAnswer{Body: out}, nil
}

// checkTime is how long a component may take to say that it is well.
const checkTime = 2 * time.Second

// components asks every part of the portal how it is, and whether those that
// are needed are well.
func (a *area) components(ctx context.Context) ([]ComponentHealth, bool) {
	type result struct {
		at int
		ComponentHealth
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	results := make(chan result, len(a.cfg.Components))
	for i, c := range a.cfg.Components {
		go func() {
			start := time.Now()
			h := result{i, ComponentHealth{Name: c.Name, Status: "healthy"}}
			if err := c.Check(ctx); err != nil {
				h.Status, h.Reason, h.Remedy = "unhealthy", "does not answer", ""
				if f := fault.As(err); f != nil {
					h.Reason, h.Remedy = f.What, f.Remedy
				}
			}
			h.Took = float64(time.Since(start).Microseconds()) / 1000
			results <- h
		}()
	}
	out, ready := make([]ComponentHealth, len(a.cfg.Components)), true
	for i, c := range a.cfg.Components {
		out[i] = ComponentHealth{Name: c.Name, Status: "unhealthy", Reason: "does not answer in time", Took: float64(checkTime.Milliseconds())}
	}
	for range a.cfg.Components {
		select {
		case h := <-results:
			out[h.at] = h.ComponentHealth
		case <-ctx.Done():
		}
	}
	for i, c := range a.cfg.Components {
		ready = ready && (!c.Needed || out[i].Status == "healthy")
	}
	return out, ready
}

// notReady is the answer of /readyz while something needed is not well.
func (a *area) notReady(parts []ComponentHealth) error {
	f := fault.New(fault.Unavailable, "portal.not_ready", "The portal is not ready").Do("Wait a moment; the portal's log says more if it stays so.")
	for i, c := range parts {
		if a.cfg.Components[i].Needed && c.Status != "healthy" {
			f.At(fault.Field{Path: c.Name, Message: c.Reason})
		}
	}
	return f
}

func (a *area) ready(w http.ResponseWriter, r *http.Request) error {
	parts, ready := a.components(r.Context())
	if !ready {
		return a.notReady(parts)
	}
	return door.Plain(w, "ready\n")
}
