// Package diagnosis looks whether the portal and its agents are in order: checks
// that really try what they speak about, on demand and on a schedule, each with
// what was seen, what it means and what to do. What was found is kept, the last
// runs of each scope.
package diagnosis

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Status is what a check came to.
type Status string

// The statuses, from the best to the worst; what was skipped says nothing.
const (
	Skipped Status = "skipped"
	OK      Status = "ok"
	Warning Status = "warning"
	Failed  Status = "failed"
)

// Statuses are all there are, from the best to the worst.
var Statuses = []Status{Skipped, OK, Warning, Failed}

// Scope is what a check is about.
type Scope string

// The scopes.
const (
	Portal Scope = "portal" // the portal itself and what it stands on
	Agent  Scope = "agent"  // one agent
)

// Trigger is why checks ran.
type Trigger string

// The triggers.
const (
	Demand    Trigger = "demand"
	Scheduled Trigger = "schedule"
)

// Check is one thing that can be looked at. It changes nothing that anybody
// would notice, gives up when ctx ends, and is safe for concurrent use.
type Check interface {
	// Name is stable, e.g. "disk_space".
	Name() string
	// Scope is what it is about.
	Scope() Scope
	// Run looks. on is empty for a check of the portal.
	Run(ctx context.Context, on Subject) Outcome
}

// Subject is the agent that a check is about.
type Subject struct {
	Agent *agent.Agent
	// Spec is the one that is deployed, or the newest where none is.
	Spec agent.Spec
	// Instances are what was last observed.
	Instances []fleet.Instance
}

// Running gives the instances that run.
func (s Subject) Running() []fleet.Instance {
	var list []fleet.Instance
	for _, in := range s.Instances {
		if in.State == fleet.InstanceRunning {
			list = append(list, in)
		}
	}
	return list
}

// Outcome is what a check found.
type Outcome struct {
	Status Status `json:"status" enum:"ok,warning,failed,skipped"`
	// Evidence is what was seen, a fact a line.
	Evidence []string `json:"evidence" doc:"What was seen"`
	// Meaning says what follows from it.
	Meaning string `json:"meaning,omitempty" doc:"What follows from it"`
	// Remedy says what to do; "" where nothing has to be done.
	Remedy string `json:"remedy,omitempty" doc:"What to do"`
}

// Finding is the outcome of one check in a run.
type Finding struct {
	Check string `json:"check" doc:"Name of the check, e.g. disk_space"`
	Outcome
	// Took is how long it took to find out, in milliseconds.
	Took float64 `json:"took_ms"`
}

// Diagnosis is one run of all checks of a scope.
type Diagnosis struct {
	ID        string         `json:"id"`
	Scope     Scope          `json:"scope" enum:"portal,agent"`
	AgentID   string         `json:"agent_id,omitempty"`
	AgentName string         `json:"agent_name,omitempty"`
	Trigger   Trigger        `json:"trigger" enum:"demand,schedule"`
	By        string         `json:"by" doc:"Who asked for it; system for the schedule"`
	Status    Status         `json:"status" enum:"ok,warning,failed,skipped" doc:"The worst of its findings"`
	Counts    map[Status]int `json:"counts" doc:"How many findings have which status"`
	Findings  []Finding      `json:"findings"`
	StartedAt time.Time      `json:"started_at"`
	EndedAt   time.Time      `json:"ended_at"`
}

// Sum fills in what follows from the findings.
func (d *Diagnosis) Sum() {
	d.Status, d.Counts = Skipped, map[Status]int{}
	for _, f := range d.Findings {
		d.Counts[f.Status]++
		if rank(f.Status) > rank(d.Status) {
			d.Status = f.Status
		}
	}
}

func rank(s Status) int {
	for i, known := range Statuses {
		if s == known {
			return i
		}
	}
	return len(Statuses)
}

// Query selects from the history. Without AgentIDs it is everything.
type Query struct {
	Scope    Scope    // "" means any
	AgentIDs []string // any of these
	Cursor   string
	Limit    int
}

// Store keeps what was found.
type Store interface {
	// PutDiagnosis stores a run and removes the oldest of its scope beyond keep, in
	// one transaction. NotFound if the agent is not there any more.
	PutDiagnosis(ctx context.Context, d Diagnosis, keep int) error
	// Diagnosis gives one; NotFound.
	Diagnosis(ctx context.Context, id string) (*Diagnosis, error)
	// Diagnoses lists newest first.
	Diagnoses(ctx context.Context, q Query) (list []Diagnosis, next string, err error)
}
