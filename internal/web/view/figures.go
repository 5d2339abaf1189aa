package view

import (
	"fmt"
	"math"

	"github.com/waooaw/platform-portal/internal/metrics"
)

// why says why an agent has no figures.
func why(f *metrics.AgentFigures) string {
	switch f.Status {
	case metrics.Down:
		return "Nothing of it runs"
	case metrics.Waiting:
		return "It was not asked yet"
	case metrics.Silent:
		return sentences("It reported nothing lately", f.Reason)
	case metrics.NoMetrics:
		return "It reports no figures"
	}
	return "It does not report this"
}

// figureCells adds the cells of figures: tasks (a minute), errors, p95, cpu, memory, cost
// (an hour), queue and dead. missing says why one is not known, hint what is
// to be said of those that are.
func (r Row) figureCells(f metrics.Figures, missing, hint string) {
	r.shortFigures(f, missing, hint)
	r.longFigures(f, missing, hint)
}

// number adds the cell of one figure.
func (r Row) number(name string, v *float64, write func(float64) string, missing, hint string) {
	if v == nil {
		r[name] = Unknown(missing)
		return
	}
	r[name] = Cell{Text: write(*v), Hint: hint}
}

const noQueue = "It has no queue, or the queues do not answer"

// shortFigures adds the figures that lists show.
func (r Row) shortFigures(f metrics.Figures, missing, hint string) {
	r.number("tasks", f.TasksPerMinute, Number, missing, hint)
	r["queue"] = Unknown(noQueue)
	if b := f.Backlog; b != nil {
		r["queue"] = Cell{Text: Count(b.Waiting), Status: some(b.Waiting, "waiting"), Hint: fmt.Sprintf("%d waiting, %d being worked on", b.Waiting, b.InFlight)}
	}
}

// longFigures adds the others.
func (r Row) longFigures(f metrics.Figures, missing, hint string) {
	r.number("errors", f.ErrorRate, Percent, missing, hint)
	if c := r["errors"]; f.ErrorRate != nil {
		c.Status = level(*f.ErrorRate, 0.01, 0.05)
		r["errors"] = c
	} else if f.TasksPerMinute != nil {
		r["errors"] = Unknown("No task ended")
	}
	r["p95"] = Unknown(missing)
	if f.P95 != nil {
		c := Cell{Text: Seconds(f.P95.Seconds), Hint: hint}
		if f.P95.AtLeast {
			c.Text = ">" + thin + c.Text
		}
		r["p95"] = c
	}
	r.number("cpu", f.CPU, Number, missing, hint)
	r.number("memory", f.Memory, func(v float64) string { return Bytes(int64(math.Min(math.Max(v, 0), math.MaxInt64/2))) }, missing, hint)
	r.number("cost", f.CostPerHour, Money, missing, hint)
	r["dead"] = Unknown(noQueue)
	if b := f.Backlog; b != nil {
		r["dead"] = Cell{Text: Count(b.Dead), Status: some(b.Dead, "error"), Hint: "Messages that could not be worked off"}
	}
}

// level grades a value by two bounds.
func level(v, warning, bad float64) string {
	switch {
	case v >= bad:
		return "error"
	case v >= warning:
		return "warning"
	}
	return "ok"
}
