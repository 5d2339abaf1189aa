package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
)

func (s *server) registerObservability() {
	handle(s, "list-events", "List events", s.listEvents)
	handle(s, "platform-metrics", "What the fleet does and costs, as its agents report it", s.platformMetrics)
	handle(s, "agent-metrics", "What an agent does and costs, as it reports it", s.agentMetrics)
	handle(s, "platform-health", "Health of the portal, its runtimes and the fleet", s.platformHealth)
}

// OfAgents is what every observability route takes.
type OfAgents struct {
	Agent []string `query:"agent,explode" doc:"Only what concerns these agents; id or name, in any case"`
}

type eventsInput struct {
	OfAgents
	Paging
	Type  []string `query:"type,explode" doc:"e.g. agent:state_changed"`
	Room  []string `query:"room,explode" doc:"As in live updates"`
	Order string   `query:"order" enum:"desc,asc" default:"desc" doc:"Newest or oldest first"`
	Since string   `query:"since" maxLength:"20" doc:"Only events after the one with this number"`
}

func (s *server) listEvents(ctx context.Context, in *eventsInput) (*listAnswer[event.Event], error) {
	q := event.Query{Rooms: split(in.Room), Limit: in.Limit, Newest: in.Order == "desc"}
	for _, t := range split(in.Type) {
		q.Types = append(q.Types, event.Type(t))
	}
	var err error
	if q.AgentID, err = s.agentIDs(ctx, in.Agent); err != nil {
		return nil, err
	}
	if q.After, err = sequence("query.since", in.Since); err != nil {
		return nil, err
	}
	place, err := sequence("query.cursor", in.Cursor)
	if err != nil {
		return nil, err
	}
	if q.Newest {
		q.Before = place
	} else {
		q.After = max(q.After, place)
	}
	found, err := s.cfg.Events.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	next := ""
	if n := len(found); n == in.Limit {
		next = strconv.FormatInt(found[n-1].Seq, 10)
	}
	if !auth.From(ctx).Role.Includes(auth.Admin) {
		found = slices.DeleteFunc(found, confidential)
	}
	out := listOf(found, next)
	out.Filtered = q.AgentID
	return &listAnswer[event.Event]{Body: out}, nil
}

// confidential tells whether only the audit room hears of the event; as there,
// it is for administrators.
func confidential(e event.Event) bool {
	return len(e.Rooms) > 0 && !slices.ContainsFunc(e.Rooms, func(r string) bool { return r != event.RoomAudit })
}

// sequence reads the number of an event.
func sequence(path, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, invalid(path, "must be the number of an event")
	}
	return n, nil
}

// OverWindow is what routes take that give figures.
type OverWindow struct {
	Window string            `query:"window" enum:"1m,5m,15m,30m,1h" default:"5m" doc:"The time up to now that the figures are about"`
	Series []metrics.Measure `query:"series,explode" enum:"tasks_per_minute,error_rate,p95_duration,tokens_per_minute,cost_usd_per_hour,cpu_cores,memory_bytes" doc:"Measures to give over time as well"`
	Points int               `query:"points" minimum:"1" maximum:"240" default:"60" doc:"Values of a series at most"`
}

func (o OverWindow) window() metrics.Window {
	length, _ := time.ParseDuration(o.Window) // one of the listed
	return metrics.Window{Length: length}
}

// series gives the series that were asked for, of these agents together.
func (s *server) series(ctx context.Context, o OverWindow, ids ...string) ([]metrics.Series, error) {
	out := []metrics.Series{}
	for _, m := range o.Series {
		one, err := s.cfg.Metrics.Series(ctx, m, o.window(), o.Points, ids...)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

type platformMetricsInput struct {
	OfAgents
	Paging
	OverWindow
}

// PlatformMetrics are figures of several agents, together and one by one. What
// is not known is absent.
type PlatformMetrics struct {
	Window   string                 `json:"window"`
	Fleet    metrics.FleetFigures   `json:"fleet" doc:"All of them together"`
	Series   []metrics.Series       `json:"series" doc:"Of all of them together; a null is a gap"`
	Items    []metrics.AgentFigures `json:"items" doc:"By agent"`
	Next     string                 `json:"next_cursor,omitempty" doc:"Cursor of the next page; absent on the last"`
	Filtered []string               `json:"filtered_by_agent,omitempty" doc:"The agents that were asked for"`
}

type platformMetricsAnswer struct{ Body PlatformMetrics }

func (s *server) platformMetrics(ctx context.Context, in *platformMetricsInput) (*platformMetricsAnswer, error) {
	ids, err := s.agentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	out := PlatformMetrics{Window: in.Window, Filtered: ids}
	if out.Fleet, err = s.cfg.Metrics.Fleet(ctx, in.window(), ids...); err != nil {
		return nil, err
	}
	if out.Series, err = s.series(ctx, in.OverWindow, ids...); err != nil {
		return nil, err
	}
	all, err := s.cfg.Metrics.Agents(ctx, in.window(), ids...)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b metrics.AgentFigures) int { return strings.Compare(a.AgentID, b.AgentID) })
	first, _ := slices.BinarySearchFunc(all, in.Cursor+"\x00", func(f metrics.AgentFigures, after string) int {
		return strings.Compare(f.AgentID, after)
	})
	if in.Cursor == "" {
		first = 0
	}
	out.Items = all[first:]
	if len(out.Items) > in.Limit {
		out.Items = out.Items[:in.Limit]
		out.Next = out.Items[in.Limit-1].AgentID
	}
	return &platformMetricsAnswer{Body: out}, nil
}

// AgentMetrics are the figures of one agent. What is not known is absent.
type AgentMetrics struct {
	Window string `json:"window"`
	metrics.AgentFigures
	Series []metrics.Series `json:"series" doc:"A null is a gap"`
}

type agentMetricsAnswer struct{ Body AgentMetrics }

func (s *server) agentMetrics(ctx context.Context, in *struct {
	ByID
	OverWindow
}) (*agentMetricsAnswer, error) {
	id, err := s.idOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Metrics.Agents(ctx, in.window(), id)
	if err != nil {
		return nil, err
	}
	out := AgentMetrics{Window: in.Window, AgentFigures: list[0]}
	out.Series, err = s.series(ctx, in.OverWindow, id)
	return &agentMetricsAnswer{Body: out}, err
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

type healthAnswer struct {
	Body PlatformHealth
}

func (s *server) platformHealth(ctx context.Context, in *OfAgents) (*healthAnswer, error) {
	out := PlatformHealth{Components: []ComponentHealth{}, Runtimes: []RuntimeHealth{}}
	var ready bool
	out.Components, ready = s.components(ctx)
	out.Status = "healthy"
	if slices.ContainsFunc(out.Components, func(c ComponentHealth) bool { return c.Status != "healthy" }) {
		out.Status = "degraded"
	}
	if !ready {
		out.Status = "unhealthy"
	}
	for _, rt := range s.cfg.Runtimes {
		checks := rt.Report(ctx)
		if checks == nil {
			checks = []fleet.Check{}
		}
		out.Runtimes = append(out.Runtimes, RuntimeHealth{Name: rt.Name(), Checks: checks})
	}
	var err error
	if out.States, out.Healths, err = s.cfg.AgentStore.Counts(ctx); err != nil {
		return nil, err
	}
	if out.Filtered, err = s.agentIDs(ctx, in.Agent); err != nil || len(out.Filtered) == 0 {
		return &healthAnswer{Body: out}, err
	}
	page, err := s.cfg.AgentStore.Find(ctx, agent.Query{IDs: out.Filtered, Limit: 1000})
	if err != nil {
		return nil, err
	}
	for _, a := range page.Agents {
		out.Agents = append(out.Agents, AgentHealth{ID: a.ID, Name: a.Spec.Name, State: a.State, Health: a.Health, Reason: a.HealthReason})
	}
	return &healthAnswer{Body: out}, nil
}

// checkTime is how long a component may take to say that it is well.
const checkTime = 2 * time.Second

// components asks every part of the portal how it is, and whether those that
// are needed are well.
func (s *server) components(ctx context.Context) ([]ComponentHealth, bool) {
	type result struct {
		at int
		ComponentHealth
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	results := make(chan result, len(s.cfg.Components))
	for i, c := range s.cfg.Components {
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
	out, ready := make([]ComponentHealth, len(s.cfg.Components)), true
	for i, c := range s.cfg.Components {
		out[i] = ComponentHealth{Name: c.Name, Status: "unhealthy", Reason: "does not answer in time", Took: float64(checkTime.Milliseconds())}
	}
	for range s.cfg.Components {
		select {
		case h := <-results:
			out[h.at] = h.ComponentHealth
		case <-ctx.Done():
		}
	}
	for i, c := range s.cfg.Components {
		ready = ready && (!c.Needed || out[i].Status == "healthy")
	}
	return out, ready
}

// notReady is the answer of /readyz while something needed is not well.
func (s *server) notReady(parts []ComponentHealth) error {
	f := fault.New(fault.Unavailable, "portal.not_ready", "The portal is not ready").Do("Wait a moment; the portal's log says more if it stays so.")
	for i, c := range parts {
		if s.cfg.Components[i].Needed && c.Status != "healthy" {
			f.At(fault.Field{Path: c.Name, Message: c.Reason})
		}
	}
	return f
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	parts, ready := s.components(r.Context())
	if !ready {
		return s.notReady(parts)
	}
	return plain(w, "ready\n")
}

func plain(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte(text))
	if errors.Is(err, http.ErrHandlerTimeout) {
		return err
	}
	return nil
}
