package metrics

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// defaultLength is the window where none is named.
const defaultLength = 5 * time.Minute

// span gives the slots of a window.
func (w *Windows) span(win Window) (first, last int64, err error) {
	if win.Length == 0 {
		win.Length = defaultLength
	}
	if win.Length < time.Minute || win.Before < 0 || win.Length+win.Before > Kept {
		return 0, 0, fault.New(fault.Invalid, "metrics.window", "There are no figures for this window").
			Because("figures are kept for an hour, and a window has a minute at least").Do("Use a window from 1m to 1h.").
			At(fault.Field{Path: "window", Message: "must be from 1m to 1h"})
	}
	w.mu.Lock()
	now := w.start()
	w.mu.Unlock()
	last = slotOf(now.Add(-win.Before).Sub(w.epoch))
	return last - int64((win.Length+slot-1)/slot) + 1, last, nil
}

// Agents implements Reader.
func (w *Windows) Agents(_ context.Context, win Window, ids ...string) ([]AgentFigures, error) {
	first, last, err := w.span(win)
	if err != nil {
		return nil, err
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	now := w.Now()
	if len(ids) == 0 {
		for id := range w.agents {
			ids = append(ids, id)
		}
		for id := range w.backlogs {
			if w.agents[id] == nil {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
	}
	out := make([]AgentFigures, len(ids))
	for i, id := range ids {
		out[i] = w.agent(id, now, first, last)
	}
	return out, nil
}

// agent gives the figures of one agent.
func (w *Windows) agent(id string, now time.Time, first, last int64) AgentFigures {
	f := AgentFigures{AgentID: id, Status: Down}
	s := w.agents[id]
	if s != nil {
		f.Instances, f.Reporting = len(s.instances), s.fresh(now)
		f.Status, f.Reason = s.status(f.Reporting)
		f.Figures = figures(pick([]*record{s.record}, all).sum(first, last))
		since(&f.Figures, s, now)
	}
	if q, ok := w.backlogs[id]; ok && now.Sub(w.queuesAt) <= Fresh {
		f.Backlog = &Backlog{Waiting: q.Pending, InFlight: q.InFlight, Dead: q.Dead, At: w.queuesAt}
	}
	return f
}

// Fleet implements Reader.
func (w *Windows) Fleet(_ context.Context, win Window, ids ...string) (FleetFigures, error) {
	first, last, err := w.span(win)
	if err != nil {
		return FleetFigures{}, err
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	now := w.Now()
	var f FleetFigures
	subjects := w.subjects(ids)
	f.Figures = figures(pick(records(subjects), all).sum(first, last))
	for _, s := range subjects {
		since(&f.Figures, s, now)
		if len(s.instances) == 0 {
			continue
		}
		f.Agents++
		if s.fresh(now) == len(s.instances) {
			f.Reporting++
		}
	}
	if now.Sub(w.queuesAt) <= Fresh {
		f.Backlog = w.backlog(ids)
	}
	return f, nil
}

// backlog adds up what waits in the queues of the agents.
func (w *Windows) backlog(ids []string) *Backlog {
	b := &Backlog{At: w.queuesAt}
	for id, q := range w.backlogs {
		if len(ids) > 0 && !slices.Contains(ids, id) {
			continue
		}
		b.Waiting, b.InFlight, b.Dead = b.Waiting+q.Pending, b.InFlight+q.InFlight, b.Dead+q.Dead
	}
	return b
}

// Series implements Reader.
func (w *Windows) Series(_ context.Context, m Measure, win Window, points int, ids ...string) (Series, error) {
	first, last, err := w.span(win)
	if err != nil {
		return Series{}, err
	}
	columns, ok := columnsOf[m]
	if !ok || points < 1 {
		return Series{}, fault.New(fault.Invalid, "metrics.measure", "There is no such series").
			At(fault.Field{Path: "measure", Message: "must be one of the listed measures"})
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	step := (last - first + int64(points)) / int64(points)
	picked := pick(records(w.subjects(ids)), func(c what) bool { return slices.Contains(columns, c) })
	out := Series{Measure: m, Start: w.epoch.Add(time.Duration(first) * slot).UTC(), Step: (time.Duration(step) * slot).Seconds()}
	for at := first; at <= last; at += step {
		out.Values = append(out.Values, valueOf(m, picked.sum(at, min(at+step-1, last))))
	}
	return out, nil
}

var columnsOf = map[Measure][]what{
	MeasureTasks: {tasks}, MeasureErrorRate: {tasks}, MeasureP95: {bucket}, MeasureTokens: {tokens},
	MeasureCost: {cost}, MeasureCPU: {cpu}, MeasureMemory: {memory},
}

func all(what) bool { return true }

func (w *Windows) subjects(ids []string) []*subject {
	var out []*subject
	if len(ids) == 0 {
		for _, s := range w.agents {
			out = append(out, s)
		}
	}
	for _, id := range ids {
		if s := w.agents[id]; s != nil {
			out = append(out, s)
		}
	}
	return out
}

func records(subjects []*subject) []*record {
	out := make([]*record, len(subjects))
	for i, s := range subjects {
		out[i] = s.record
	}
	return out
}

// fresh counts the instances that reported lately.
func (s *subject) fresh(now time.Time) (n int) {
	for _, in := range s.instances {
		if !in.at.IsZero() && now.Sub(in.at) <= Fresh {
			n++
		}
	}
	return n
}

// status sums up what the instances do, and says why it is not the best.
func (s *subject) status(fresh int) (Status, string) {
	var reason string
	var asked, none, ever int
	ids := make([]string, 0, len(s.instances))
	for id := range s.instances {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		in := s.instances[id]
		why := in.reason
		if why == "" && len(in.page.Dropped) > 0 {
			why = in.page.Dropped[0]
		}
		if reason == "" {
			reason = why
		}
		asked, none, ever = asked+count(in.asked), none+count(in.none), ever+count(!in.at.IsZero())
	}
	switch n := len(s.instances); {
	case n == 0:
		return Down, ""
	case fresh == n:
		return Reporting, reason
	case fresh > 0:
		return Partly, reason
	case none == n:
		return NoMetrics, reason
	case asked == 0:
		return Waiting, ""
	}
	return Silent, reason
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// figures makes rates of sums.
func figures(t totals) Figures {
	f := Figures{Covered: math.Round(t.covered*1000) / 1000}
	f.TasksPerMinute, f.ErrorRate = valueOf(MeasureTasks, t), valueOf(MeasureErrorRate, t)
	f.CostPerHour, f.CPU = valueOf(MeasureCost, t), valueOf(MeasureCPU, t)
	if t.covered == 0 {
		return f
	}
	for share, to := range map[float64]**Quantile{0.5: &f.P50, 0.95: &f.P95, 0.99: &f.P99} {
		if q := t.durations.quantile(share); q != nil {
			q.Seconds = *tidy(q.Seconds)
			*to = q
		}
	}
	if t.seen[tasks] {
		f.Tasks = whole(t.tasks)
	}
	if t.seen[tokens] {
		f.Tokens = whole(t.tokens)
	}
	if t.seen[cost] {
		f.Cost = tidy(t.cost)
	}
	return f
}

// whole rounds what was counted one by one: a count that was spread over two
// slots and is half in the window is shown as the nearest whole number.
func whole(m map[string]float64) map[string]float64 {
	for k, v := range m {
		m[k] = math.Round(v)
	}
	return m
}

// valueOf gives the measure of sums; nil if it is not known.
func valueOf(m Measure, t totals) *float64 {
	rate := func(w what, per float64) *float64 {
		if !t.seen[w] || t.covered == 0 {
			return nil
		}
		return tidy(t.pace[w] / t.covered * per)
	}
	switch m {
	case MeasureTasks:
		return rate(tasks, 60)
	case MeasureErrorRate:
		if n := added(t.tasks); n > 0 {
			return tidy(t.tasks[statusFailed] / n)
		}
	case MeasureP95:
		if q := t.durations.quantile(0.95); q != nil {
			return tidy(q.Seconds)
		}
	case MeasureTokens:
		return rate(tokens, 60)
	case MeasureCost:
		return rate(cost, 3600)
	case MeasureCPU:
		return rate(cpu, 1)
	case MeasureMemory:
		if t.seen[memory] && t.memory > 0 {
			return tidy(t.memory)
		}
	}
	return nil
}

// tidy keeps five digits, which is what the slots are exact to.
func tidy(v float64) *float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return &v
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-4)
	if unit < 1 { // dividing by a whole number keeps decimal fractions short
		return new(math.Round(v*math.Round(1/unit)) / math.Round(1/unit))
	}
	return new(math.Round(v/unit) * unit)
}

func added(m map[string]float64) (n float64) {
	for _, v := range m {
		n += v
	}
	return n
}

// since adds what the running processes last said of themselves.
func since(f *Figures, s *subject, now time.Time) {
	if s.at.After(f.At) {
		f.At = s.at.UTC()
	}
	for _, in := range s.instances {
		if in.at.IsZero() || now.Sub(in.at) > Fresh {
			continue
		}
		if in.page.Memory != nil {
			f.Memory = new(or(f.Memory) + *in.page.Memory)
		}
		if in.page.Cost == nil {
			continue
		}
		f.CostTotal = new(or(f.CostTotal) + *in.page.Cost)
		if !in.StartedAt.IsZero() && (f.Since.IsZero() || in.StartedAt.Before(f.Since)) {
			f.Since = in.StartedAt
		}
	}
}
