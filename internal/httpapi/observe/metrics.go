package observe

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/metrics"
)

func (a *area) registerMetrics() {
	door.Handle(a.door, "platform-metrics", "What the fleet does and costs, as its agents report it", a.platformMetrics)
	door.Handle(a.door, "agent-metrics", "What an agent does and costs, as it reports it", a.agentMetrics)
}

// OverWindow is what routes take that give figures.
type OverWindow struct {
	Window string            `query:"window" enum:"1m,5m,15m,30m,1h,6h,1d,7d" default:"5m" doc:"The time up to now that the figures are about"`
	Series []metrics.Measure `query:"series,explode" enum:"tasks_per_minute,error_rate,p95_duration,tokens_per_minute,cost_usd_per_hour,cpu_cores,memory_bytes" doc:"Measures to give over time as well"`
	Points int               `query:"points" minimum:"1" maximum:"240" default:"60" doc:"Values of a series at most"`
}

var windows = map[string]time.Duration{
	"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "30m": 30 * time.Minute,
	"1h": time.Hour, "6h": 6 * time.Hour, "1d": 24 * time.Hour, "7d": 7 * 24 * time.Hour,
}

func (o OverWindow) window() metrics.Window {
	return metrics.Window{Length: windows[o.Window]}
}

// series gives the series that were asked for, of these agents together.
func (a *area) series(ctx context.Context, o OverWindow, ids ...string) ([]metrics.Series, error) {
	out := []metrics.Series{}
	for _, m := range o.Series {
		one, err := a.cfg.Metrics.Series(ctx, m, o.window(), o.Points, ids...)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

type platformMetricsInput struct {
	door.OfAgents
	door.Paging
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

func (a *area) platformMetrics(ctx context.Context, in *platformMetricsInput) (*platformMetricsAnswer, error) {
	ids, err := a.door.AgentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	out := PlatformMetrics{Window: in.Window, Filtered: ids}
	if out.Fleet, err = a.cfg.Metrics.Fleet(ctx, in.window(), ids...); err != nil {
		return nil, err
	}
	if out.Series, err = a.series(ctx, in.OverWindow, ids...); err != nil {
		return nil, err
	}
	all, err := a.cfg.Metrics.Agents(ctx, in.window(), ids...)
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

func (a *area) agentMetrics(ctx context.Context, in *struct {
	door.ByID
	OverWindow
}) (*agentMetricsAnswer, error) {
	id, err := a.door.IDOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	list, err := a.cfg.Metrics.Agents(ctx, in.window(), id)
	if err != nil {
		return nil, err
	}
	out := AgentMetrics{Window: in.Window, AgentFigures: list[0]}
	out.Series, err = a.series(ctx, in.OverWindow, id)
	return &agentMetricsAnswer{Body: out}, err
}
