package view

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/metrics"
)

// fleetCells adds what pages about the whole fleet say beside its figures:
// tokens, cost-total, coverage, asof, queue-asof, and tasks-, errors-, p95- and
// cost-trend.
func (r Row) fleetCells(f, before *metrics.FleetFigures) {
	r["coverage"] = Cell{Text: fmt.Sprintf("%s of %s agents report", Count(f.Reporting), Count(f.Agents)), Status: "ok",
		Hint: "Running agents whose figures are at most 45 seconds old"}
	switch c := r["coverage"]; {
	case f.Agents == 0:
		r["coverage"] = Cell{Text: "no agent runs", Status: "none"}
	case f.Reporting < f.Agents:
		c.Status = "warning"
		r["coverage"] = c
	}
	r["asof"], r["queue-asof"] = Clock(f.At), Clock(time.Time{})
	if f.Backlog != nil {
		r["queue-asof"] = Clock(f.Backlog.At)
	}
	r["tokens"], r["cost-total"] = Unknown("No agent reports this"), Unknown("No agent reports this")
	if f.Tokens != nil {
		r["tokens"] = tokens(f.Tokens)
	}
	if f.CostTotal != nil {
		c := Cell{Text: Money(*f.CostTotal), Hint: "Since the running processes started"}
		if !f.Since.IsZero() {
			c.Hint += ", the oldest at " + f.Since.UTC().Format("2006-01-02 15:04 UTC")
		}
		r["cost-total"] = c
	}
	if before == nil {
		before = &metrics.FleetFigures{}
	}
	r["tasks-trend"] = Trend(f.TasksPerMinute, before.TasksPerMinute)
	r["errors-trend"] = Trend(f.ErrorRate, before.ErrorRate)
	r["p95-trend"] = Trend(secondsOf(f.P95), secondsOf(before.P95))
	r["cost-trend"] = Trend(f.CostPerHour, before.CostPerHour)
}

// tokens is the cell of the tokens used, with how many of each kind.
func tokens(byKind map[string]float64) Cell {
	var all float64
	hint := "Tokens in the last 5 minutes"
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		all += byKind[kind]
		hint += fmt.Sprintf(", %s %s", Number(byKind[kind]), kind)
	}
	return Cell{Text: Number(all), Hint: hint}
}

func secondsOf(q *metrics.Quantile) *float64 {
	if q == nil || q.AtLeast {
		return nil
	}
	return &q.Seconds
}

// Clock is the cell of a time of today; a dash for the zero time.
func Clock(t time.Time) Cell {
	if t.IsZero() {
		return Unknown("Nothing was measured yet")
	}
	t = t.UTC()
	return Cell{Text: t.Format("15:04:05"), Hint: t.Format("2006-01-02 15:04:05 UTC")}
}

// steady is the change below which a figure counts as unchanged.
const steady = 0.05

// Trend compares a figure with what it was in the 5 minutes before; empty where
// one of the two is not known, for then there is no trend. The arrow is drawn from
// the status: up, down or flat.
func Trend(now, before *float64) Cell {
	if now == nil || before == nil {
		return Cell{}
	}
	change := 0.0
	switch {
	case *before != 0:
		change = *now / *before - 1
	case *now > 0:
		return Cell{Text: "from 0", Status: "up", Hint: "It was 0 in the 5 minutes before"}
	}
	switch {
	case change >= 10:
		return Cell{Text: Number(change+1) + "×", Status: "up", Hint: "Times as much as in the 5 minutes before"}
	case change >= steady:
		return Cell{Text: Percent(change), Status: "up", Hint: "More than in the 5 minutes before"}
	case change <= -steady:
		return Cell{Text: Percent(-change), Status: "down", Hint: "Less than in the 5 minutes before"}
	}
	return Cell{Text: "steady", Status: "flat", Hint: "About the same as in the 5 minutes before"}
}
