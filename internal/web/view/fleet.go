package view

import (
	"fmt"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// Summary is what the row of the whole fleet is made of.
type Summary struct {
	States  map[agent.State]int
	Healths map[agent.Health]int
	// Operations is how many are not final.
	Operations int
	// Figures are what the agents report together; nil where nobody asks.
	Figures *metrics.FleetFigures
	// Before are those of the 5 minutes before, for trends; may be nil.
	Before *metrics.FleetFigures
}

// Healths are all healths, the worst first.
var Healths = []agent.Health{agent.HealthUnhealthy, agent.HealthDegraded, agent.HealthStarting, agent.HealthHealthy, agent.HealthUnknown}

// Row is the fleet's cells: total, operations, state-NAME and health-NAME in lower
// case, and with figures tasks, errors, p95, cpu, memory, cost, queue, dead,
// reporting and those of fleetCells. The total leaves out what is revoked.
func (f Summary) Row() Row {
	r := Row{}
	total := 0
	for _, s := range agent.States {
		n, name := f.States[s], strings.ToLower(string(s))
		if s != agent.Revoked {
			total += n
		}
		r["state-"+name] = Cell{Text: Count(n), Status: some(n, name)}
	}
	for _, h := range Healths {
		r["health-"+string(h)] = Cell{Text: Count(f.Healths[h]), Status: some(f.Healths[h], string(h))}
	}
	r["total"] = Cell{Text: Count(total)}
	r["operations"] = Cell{Text: Count(f.Operations), Status: some(f.Operations, "busy")}
	if g := f.Figures; g != nil {
		hint := fmt.Sprintf("%d of %d running agents report", g.Reporting, g.Agents)
		missing := "No agent reports this"
		if g.Agents == 0 {
			missing = "No agent runs"
		}
		r.figureCells(g.Figures, missing, hint)
		r["reporting"] = Cell{Text: fmt.Sprintf("%d/%d", g.Reporting, g.Agents), Hint: hint}
		r.fleetCells(g, f.Before)
	}
	return r.plain()
}
