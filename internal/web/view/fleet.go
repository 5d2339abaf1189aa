package view

import (
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
)

// Summary is what the row of the whole fleet is made of.
type Summary struct {
	States  map[agent.State]int
	Healths map[agent.Health]int
}

// Healths are all healths, the worst first.
var Healths = []agent.Health{agent.HealthUnhealthy, agent.HealthDegraded, agent.HealthStarting, agent.HealthHealthy, agent.HealthUnknown}

// Row is the fleet's cells: total, state-NAME and health-NAME in lower case.
// The total leaves out what is revoked.
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
	return r.plain()
}
