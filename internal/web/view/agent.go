package view

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
)

// Agent is what the row of an agent is made of.
type Agent struct {
	*agent.Agent
	Instances []fleet.Instance
	// Operation is what works on the agent now; nil if nothing does.
	Operation *operation.Operation
	// Figures are what it reports of its work; nil where nobody asks.
	Figures *metrics.AgentFigures
}

// How many cells an agent with figures has, and how many of them lists show.
const (
	cells = 19
	brief = 11
)

// Row is the agent's cells: those of Brief, revision, updated, and with figures
// errors, p95, cpu, memory, cost and dead.
func (a Agent) Row() Row {
	r := make(Row, cells) // it would grow twice otherwise, for each of hundreds of agents
	a.short(r)
	r["revision"] = a.revision()
	r["updated"] = When(a.UpdatedAt)
	if f := a.Figures; f != nil {
		r.longFigures(f.Figures, why(f), a.reporting())
	}
	return r.plain()
}

// Brief is the agent's cells that lists of agents show: name, state, health,
// instances, restarts, version, operation, progress, actions, and with figures tasks
// and queue. Thousands of pages may hear of each change, and are told of no other.
func (a Agent) Brief() Row {
	r := make(Row, brief)
	a.short(r)
	return r.plain()
}

func (a Agent) short(r Row) {
	r["name"] = Cell{Text: a.title(), Hint: a.ID}
	r["state"] = a.state()
	r["health"] = Health(a.Health, a.HealthReason)
	r["instances"] = a.instances()
	r["restarts"] = a.restarts()
	r["version"] = a.version()
	r["operation"] = a.operation()
	r["progress"] = a.progress()
	r["actions"] = Cell{Status: a.actions()}
	if f := a.Figures; f != nil {
		r.shortFigures(f.Figures, why(f), a.reporting())
	}
}

// reporting says how much of the agent its figures are of, if not all.
func (a Agent) reporting() string {
	if f := a.Figures; f.Status == metrics.Partly {
		return fmt.Sprintf("%d of %d instances report", f.Reporting, f.Instances)
	}
	return ""
}

func (a Agent) title() string {
	if a.Spec.DisplayName != "" {
		return a.Spec.DisplayName
	}
	return a.Spec.Name
}

func (a Agent) state() Cell {
	c := State(a.State)
	if f := a.Failure; f != nil {
		c.Hint = sentences(f.Reason, f.Remedy)
	}
	return c
}

// State is the cell of an agent's state.
func State(s agent.State) Cell {
	return Cell{Text: Words(string(s)), Status: strings.ToLower(string(s))}
}

// Health is the cell of a health and its reason.
func Health(h agent.Health, reason string) Cell {
	return Cell{Text: Words(string(h)), Status: string(h), Hint: reason}
}

// wanted is how many instances the agent should have now.
func (a Agent) wanted() int {
	if a.State == agent.Running || a.State == agent.Suspended || a.State == agent.Errored {
		return max(1, a.Spec.Replicas)
	}
	return 0
}

// instances is how many run and take work, of how many there should be.
func (a Agent) instances() Cell {
	well, kinds := 0, map[fleet.InstanceState]int{}
	for _, in := range a.Instances {
		kinds[in.State]++
		if in.State == fleet.InstanceRunning && (in.Ready == nil || *in.Ready) {
			well++
		}
	}
	wanted := a.wanted()
	if wanted == 0 && len(a.Instances) == 0 {
		return Cell{Text: None, Status: "none", Hint: "Nothing of it should run"}
	}
	c := Cell{Text: strconv.Itoa(well) + "/" + strconv.Itoa(wanted), Status: "full"}
	switch {
	case a.State == agent.Suspended && kinds[fleet.InstanceSuspended] == wanted:
		c.Status = "suspended"
	case well == 0:
		c.Status = "empty"
	case well < wanted:
		c.Status = "partial"
	}
	c.Hint = fmt.Sprintf("%d of %d ready", well, wanted)
	for _, s := range []fleet.InstanceState{
		fleet.InstanceStarting, fleet.InstanceBackoff, fleet.InstanceSuspended, fleet.InstanceStopping,
		fleet.InstanceExited, fleet.InstanceFailed, fleet.InstanceLost,
	} {
		if n := kinds[s]; n > 0 {
			c.Hint += fmt.Sprintf(", %d %s", n, strings.ToLower(InstanceState(s).Text))
		}
	}
	return c
}

// InstanceState is the cell of an instance's state.
func InstanceState(s fleet.InstanceState) Cell {
	text := Words(string(s))
	if s == fleet.InstanceBackoff {
		text = "Waiting to restart"
	}
	return Cell{Text: text, Status: string(s)}
}

func (a Agent) restarts() Cell {
	n := 0
	for _, in := range a.Instances {
		n += in.Restarts
	}
	c := Cell{Text: Count(n), Status: "none", Hint: "Restarts since its instances were launched"}
	if len(a.Instances) == 0 {
		return Unknown("Nothing of it runs")
	}
	if n > 0 {
		c.Status = "some"
	}
	return c
}

func (a Agent) version() Cell {
	if a.Spec.Version == "" {
		return Unknown("Its spec names no version")
	}
	return Cell{Text: a.Spec.Version}
}

// revision is the number of the newest revision, and whether it is deployed.
func (a Agent) revision() Cell {
	c := Cell{Text: strconv.Itoa(a.Revision)}
	switch a.DeployedRevision {
	case 0:
		c.Status, c.Hint = "undeployed", "No revision is deployed"
	case a.Revision:
		c.Status, c.Hint = "deployed", "The newest revision is deployed"
	default:
		c.Status, c.Hint = "outdated", fmt.Sprintf("Revision %d is deployed; deploy to use revision %d", a.DeployedRevision, a.Revision)
	}
	return c
}

func (a Agent) operation() Cell {
	if a.ActiveOperation == "" {
		return Cell{Status: "idle"}
	}
	c := Cell{Text: "Working", Status: "busy", Href: "/operations/" + a.ActiveOperation}
	if op := a.Operation; op != nil && op.ID == a.ActiveOperation {
		c.Text, c.Hint = doing(op), progressText(op)
	}
	return c
}

func (a Agent) progress() Cell {
	if op := a.Operation; op != nil && op.ID == a.ActiveOperation {
		return progress(op.Completed, op.Total)
	}
	return Cell{}
}

// actions lists what may be done to the agent now; nothing while an operation
// works on it.
func (a Agent) actions() string {
	if a.ActiveOperation != "" {
		return ""
	}
	allowed := agent.Allowed(a.State)
	names := make([]string, len(allowed))
	for i, action := range allowed {
		names[i] = string(action)
	}
	return strings.Join(names, " ")
}

// sentences puts texts one after the other, each with a full stop.
func sentences(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			if !strings.ContainsAny(p[len(p)-1:], ".!?") {
				p += "."
			}
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}
