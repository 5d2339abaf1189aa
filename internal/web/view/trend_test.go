package view_test

import (
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestTheFleetSaysHowFreshItsFiguresAreAndWhereTheyGo(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 3, 5, 0, time.UTC)
	now := metrics.FleetFigures{Coverage: metrics.Coverage{Agents: 14, Reporting: 12}, Figures: metrics.Figures{
		At: at, TasksPerMinute: new(120.0), CostPerHour: new(1.0), ErrorRate: new(0.02), P95: &metrics.Quantile{Seconds: 2},
		Tokens: map[string]float64{"output": 200, "input": 1300}, CostTotal: new(7.0), Since: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC),
		Backlog: &metrics.Backlog{Waiting: 3, At: at.Add(time.Second)},
	}}
	before := metrics.FleetFigures{Figures: metrics.Figures{TasksPerMinute: new(100.0), CostPerHour: new(1.02), P95: &metrics.Quantile{Seconds: 4}}}
	r := view.Summary{Figures: &now, Before: &before}.Row()
	is(t, r, "coverage", "12 of 14 agents report", "warning")
	is(t, r, "asof", "12:03:05", "")
	is(t, r, "queue-asof", "12:03:06", "")
	is(t, r, "tokens", "1500", "")
	is(t, r, "cost-total", "$7.00", "")
	is(t, r, "tasks-trend", "20 %", "up")
	is(t, r, "cost-trend", "steady", "flat")
	is(t, r, "p95-trend", "50 %", "down")
	is(t, r, "errors-trend", "", "") // not known before: no trend
	for cell, hint := range map[string]string{"tokens": "1300 input, 200 output", "cost-total": "2026-03-01 08:00 UTC"} {
		if !strings.Contains(r[cell].Hint, hint) {
			t.Errorf("the hint of %s is %q", cell, r[cell].Hint)
		}
	}
	r = view.Summary{Figures: &metrics.FleetFigures{}}.Row()
	is(t, r, "coverage", "no agent runs", "none")
	is(t, r, "asof", "–", "none")
	is(t, r, "queue-asof", "–", "none")
	is(t, r, "tokens", "–", "none")
	is(t, r, "tasks-trend", "", "")
}

func TestTrend(t *testing.T) {
	for _, c := range []struct {
		now, before  *float64
		text, status string
	}{
		{nil, new(1.0), "", ""}, {new(1.0), nil, "", ""}, {new(0.0), new(0.0), "steady", "flat"}, {new(2.0), new(0.0), "from 0", "up"},
		{new(104.0), new(100.0), "steady", "flat"}, {new(150.0), new(100.0), "50 %", "up"}, {new(0.0), new(5.0), "100 %", "down"},
		{new(5000.0), new(100.0), "50×", "up"}, {new(80.0), new(100.0), "20 %", "down"},
	} {
		if got := view.Trend(c.now, c.before); narrow(got.Text) != c.text || got.Status != c.status {
			t.Errorf("got %+v, want %q %q", got, c.text, c.status)
		}
	}
}
