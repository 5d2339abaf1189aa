package metrics

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Longest is the longest window of a History.
const Longest = 31 * 24 * time.Hour

// History is a Reader of windows of any length: up to an hour they come from
// memory, which is exact and fast enough for pages that follow along; longer
// ones are made of stored series and kept for half a minute.
type History struct {
	Recent *Windows
	Stored Querier

	mu   sync.Mutex
	kept map[string]remembered
}

var _ Reader = (*History)(nil)

type remembered struct {
	at     time.Time
	totals map[string]*totals // by agent, or all together under ""
}

const (
	keepTotals = 30 * time.Second
	maxKept    = 64
	// between is how far apart two questions to one instance are, on average.
	between = 13500 * time.Millisecond
)

// recent tells whether a window is answered from memory.
func recent(w Window) bool { return w.Length+w.Before <= Kept }

func checkWindow(w Window) error {
	if w.Length < time.Minute || w.Before < 0 || w.Length+w.Before > Longest {
		return fault.New(fault.Invalid, "metrics.window", "There are no figures for this window").
			At(fault.Field{Path: "window", Message: "must be from 1m to 31d"})
	}
	return nil
}

// Agents implements Reader.
func (h *History) Agents(ctx context.Context, w Window, ids ...string) ([]AgentFigures, error) {
	if recent(w) {
		return h.Recent.Agents(ctx, w, ids...)
	}
	found, err := h.totals(ctx, w, LabelAgent, ids)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		known, err := h.Recent.Agents(ctx, Window{Length: Kept})
		if err != nil {
			return nil, err
		}
		for _, f := range known {
			ids = append(ids, f.AgentID)
		}
		for id := range found {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
	}
	out, err := h.Recent.Agents(ctx, Window{Length: Kept}, ids...) // how they are now
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	for i := range out {
		out[i].Figures = over(out[i].Figures, found[out[i].AgentID])
	}
	return out, nil
}

// Fleet implements Reader.
func (h *History) Fleet(ctx context.Context, w Window, ids ...string) (FleetFigures, error) {
	if recent(w) {
		return h.Recent.Fleet(ctx, w, ids...)
	}
	found, err := h.totals(ctx, w, "", ids)
	if err != nil {
		return FleetFigures{}, err
	}
	out, err := h.Recent.Fleet(ctx, Window{Length: Kept}, ids...)
	out.Figures = over(out.Figures, found[""])
	return out, err
}

// over gives what sums say, with the rest of the present.
func over(present Figures, t *totals) Figures {
	if t == nil {
		t = &totals{}
	}
	f := figures(*t)
	f.At, f.CostTotal, f.Since, f.Memory, f.Backlog = present.At, present.CostTotal, present.Since, present.Memory, present.Backlog
	return f
}

// selector picks the series of a metric that agents report of themselves.
func selector(metric string, ids []string, more string) string {
	s := metric + `{job="` + JobAgent + `"`
	if len(ids) > 0 {
		quoted := make([]string, len(ids))
		for i, id := range ids {
			quoted[i] = regexp.QuoteMeta(id)
		}
		s += "," + LabelAgent + "=~" + strconv.Quote(strings.Join(quoted, "|"))
	}
	return s + more + "}"
}

// totals gives the sums over a window, by agent or of all of them together.
func (h *History) totals(ctx context.Context, w Window, by string, ids []string) (map[string]*totals, error) {
	if err := checkWindow(w); err != nil {
		return nil, err
	}
	now := h.Recent.Now()
	key := fmt.Sprint(w, by, ids)
	h.mu.Lock()
	r, ok := h.kept[key]
	h.mu.Unlock()
	if ok && now.Sub(r.at) < keepTotals {
		return r.totals, nil
	}
	out, err := h.ask(ctx, now.Add(-w.Before), w.Length, by, ids)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.kept) >= maxKept {
		clear(h.kept)
	}
	if h.kept == nil {
		h.kept = map[string]remembered{}
	}
	h.kept[key] = remembered{now, out}
	return out, nil
}

// ask queries every column of the totals.
func (h *History) ask(ctx context.Context, at time.Time, length time.Duration, by string, ids []string) (map[string]*totals, error) {
	out := map[string]*totals{}
	span := fmt.Sprintf("[%ds]", int(length.Seconds()))
	for _, q := range []struct {
		what  what
		label string
		expr  string
	}{
		{covered, "", "max by (%s) (sum_over_time(" + selector("up", ids, "") + span + "))"},
		{tasks, "status", "sum by (%s) (increase(" + selector("agent_tasks_total", ids, "") + span + "))"},
		{tokens, "kind", "sum by (%s) (increase(" + selector("agent_tokens_total", ids, "") + span + "))"},
		{cost, "", "sum by (%s) (increase(" + selector("agent_cost_usd_total", ids, "") + span + "))"},
		{cpu, "", "sum by (%s) (increase(" + selector("process_cpu_seconds_total", ids, "") + span + "))"},
		{bucket, "le", "sum by (%s) (increase(" + selector("agent_task_duration_seconds_bucket", ids, "") + span + "))"},
	} {
		labels := strings.Trim(by+","+q.label, ",")
		r, err := h.Stored.Instant(ctx, fmt.Sprintf(q.expr, labels), at)
		if err != nil {
			return nil, err
		}
		cumulative := map[string]tally{}
		for _, s := range r.Series {
			v, id := s.Points[0].Value, s.Labels[by]
			if math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			t := out[id]
			if t == nil {
				t = &totals{tasks: map[string]float64{}, tokens: map[string]float64{}, durations: tally{}}
				out[id] = t
			}
			if q.what == bucket {
				if cumulative[id] == nil {
					cumulative[id] = tally{}
				}
				if bound, err := strconv.ParseFloat(s.Labels["le"], 64); err == nil {
					cumulative[id][bound] += v
				}
				continue
			}
			t.put(q.what, s.Labels[q.label], v, length)
		}
		for id, c := range cumulative {
			out[id].spread(c)
		}
	}
	return out, nil
}

// put takes in one sum.
func (t *totals) put(w what, label string, v float64, length time.Duration) {
	if w == covered {
		t.covered = min(v*between.Seconds(), length.Seconds())
		return
	}
	t.seen[w] = true
	t.pace[w] += v
	switch w {
	case tasks:
		t.tasks[label] += v
	case tokens:
		t.tokens[label] += v
	case cost:
		t.cost += v
	}
}

// spread takes in the buckets of a histogram, which are cumulative.
func (t *totals) spread(cumulative tally) {
	t.seen[bucket] = true
	before := 0.0
	for _, bound := range slices.Sorted(maps.Keys(cumulative)) {
		t.durations[bound] += max(0, cumulative[bound]-before)
		before = max(before, cumulative[bound])
	}
}

// Series implements Reader.
func (h *History) Series(ctx context.Context, m Measure, w Window, points int, ids ...string) (Series, error) {
	if recent(w) {
		return h.Recent.Series(ctx, m, w, points, ids...)
	}
	if err := checkWindow(w); err != nil {
		return Series{}, err
	}
	step := max(time.Minute, (w.Length / time.Duration(max(1, points))).Round(time.Second))
	expr := Expression(m, step, ids...)
	if expr == "" || points < 1 {
		return h.Recent.Series(ctx, m, Window{}, points, ids...) // which says what is wrong
	}
	end := h.Recent.Now().Add(-w.Before).Truncate(step)
	n := int(w.Length / step)
	first := end.Add(-time.Duration(n-1) * step)
	r, err := h.Stored.Range(ctx, expr, Range{Start: first, End: end, Step: step})
	if err != nil {
		return Series{}, err
	}
	out := Series{Measure: m, Start: first.Add(-step).UTC(), Step: step.Seconds(), Values: make([]*float64, n)}
	for _, s := range r.Series {
		for _, p := range s.Points {
			if i := int(p.At.Sub(first) / step); i >= 0 && i < n && !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) {
				out.Values[i] = tidy(p.Value)
			}
		}
	}
	return out, nil
}

// Expression gives the PromQL expression of a measure of agents together, each
// value about the step before it; "" for a measure that has none.
func Expression(m Measure, step time.Duration, ids ...string) string {
	span := fmt.Sprintf("[%ds]", int(max(time.Minute, step).Seconds()))
	grown := func(metric, more string) string { return "sum(rate(" + selector(metric, ids, more) + span + "))" }
	switch m {
	case MeasureTasks:
		return grown("agent_tasks_total", "") + " * 60"
	case MeasureErrorRate:
		return "(" + grown("agent_tasks_total", `,status="failed"`) + " or 0 * " + grown("agent_tasks_total", "") + ") / " + grown("agent_tasks_total", "")
	case MeasureP95:
		return "histogram_quantile(0.95, sum by (le) (rate(" + selector("agent_task_duration_seconds_bucket", ids, "") + span + ")))"
	case MeasureTokens:
		return grown("agent_tokens_total", "") + " * 60"
	case MeasureCost:
		return grown("agent_cost_usd_total", "") + " * 3600"
	case MeasureCPU:
		return grown("process_cpu_seconds_total", "")
	case MeasureMemory:
		return "sum(max_over_time(" + selector("process_resident_memory_bytes", ids, "") + span + "))"
	}
	return ""
}
