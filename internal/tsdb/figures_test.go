package tsdb_test

import (
	"math"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/tsdb"
)

// Windows beyond an hour are made of stored series, and say the same as those
// that are kept in memory.
func TestFiguresOfLongWindows(t *testing.T) {
	db := opened(t, tsdb.Config{})
	now := time.Now().Truncate(time.Second)
	var batch []metrics.Sample
	for i := range 961 { // four hours
		n := float64(i)
		add := func(name string, v float64, more ...string) {
			batch = append(batch, metrics.Sample{At: now.Add(time.Duration(i-960) * 15 * time.Second), Value: v, Labels: metrics.Labels(name, "agent", "a", "A", "a-1", more...)})
		}
		add("up", 1)
		add("agent_tasks_total", 9*n, "status", "done")
		add("agent_tasks_total", n, "status", "failed")
		add("agent_cost_usd_total", n/100)
		for le, share := range map[string]float64{"0.1": 5, "1": 9, "10": 10, "+Inf": 10} {
			add("agent_task_duration_seconds_bucket", share*n, "le", le)
		}
	}
	if err := db.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	h := &metrics.History{Recent: &metrics.Windows{Now: func() time.Time { return now }}, Stored: db}
	near := func(what string, got *float64, want float64) {
		t.Helper()
		if got == nil || math.Abs(*got-want) > want/20 {
			t.Errorf("%s: %v, want about %v", what, got, want)
		}
	}
	list, err := h.Agents(t.Context(), metrics.Window{Length: 3 * time.Hour}, "a", "nobody")
	if err != nil || len(list) != 2 || list[1].TasksPerMinute != nil {
		t.Fatalf("%+v, %v", list, err)
	}
	f := list[0]
	near("error rate", f.ErrorRate, 0.1)
	near("tasks", new(f.Tasks["done"]), 9*720)
	if f.P50 == nil || f.P95 == nil || f.P99 == nil || math.Abs(f.P50.Seconds-0.1) > 0.01 || math.Abs(f.P95.Seconds-5.5) > 0.1 || math.Abs(f.P99.Seconds-9.1) > 0.1 {
		t.Errorf("quantiles: %+v %+v %+v", f.P50, f.P95, f.P99)
	}
	all, err := h.Fleet(t.Context(), metrics.Window{Length: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	near("cost", all.Cost, 4.8)
	for _, m := range metrics.Measures {
		s, err := h.Series(t.Context(), m, metrics.Window{Length: 3 * time.Hour}, 60)
		if err != nil || len(s.Values) != 60 || s.Step != 180 {
			t.Errorf("%s: %d values of %v s, %v", m, len(s.Values), s.Step, err)
		}
		if m == metrics.MeasureTasks {
			near("tasks a minute", s.Values[30], 40)
		}
		if m == metrics.MeasureErrorRate {
			near("error rate over time", s.Values[30], 0.1)
		}
	}
	for _, w := range []metrics.Window{{Length: 400 * 24 * time.Hour}, {Length: 2 * time.Hour, Before: -1}} {
		if _, err := h.Agents(t.Context(), w); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", w, err)
		}
	}
	if _, err := h.Series(t.Context(), "weather", metrics.Window{Length: 2 * time.Hour}, 10); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown measure: %v", err)
	}
}

// Every panel is an expression that makes sense, alone and by agent.
func TestPanelsCanBeEvaluated(t *testing.T) {
	db := opened(t, tsdb.Config{})
	for _, p := range metrics.Panels {
		for _, agents := range [][]string{nil, {"a"}, {"a", "b.c"}} {
			expr := p.Expression(15*time.Second, len(agents) > 0, agents...)
			if _, err := db.Instant(t.Context(), expr, time.Now()); err != nil {
				t.Errorf("%s: %s: %v", p.ID, expr, err)
			}
		}
	}
}

func TestNarrowing(t *testing.T) {
	for expr, want := range map[string]string{
		`sum(rate(a[5m])) / b{x="1"}`: `sum(rate(a{agent="m"}[5m])) / b{agent="m",x="1"}`,
		"1":                           "1",
	} {
		got, err := tsdb.Narrow(expr, []string{"m"})
		if err != nil || got != want && got != `sum(rate(a{agent="m"}[5m])) / b{x="1",agent="m"}` {
			t.Errorf("%s: %s, %v", expr, got, err)
		}
	}
	if got, err := tsdb.Narrow("up", []string{"a", "b.c"}); err != nil || got != `up{agent=~"a|b\\.c"}` {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := tsdb.Narrow("up{", []string{"a"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a mistake: %v", err)
	}
}
