// Package agent is the noun that everything turns on: what an agent is
// declared to be, where it is in its life, and how that may change.
package agent

import (
	"context"
	"time"
)

// Health sums up what the probes say.
type Health string

// The healths.
const (
	HealthUnknown   Health = "unknown"   // nothing runs, or nothing is known yet
	HealthStarting  Health = "starting"  // runs, not ready yet
	HealthHealthy   Health = "healthy"   // all instances live and ready
	HealthDegraded  Health = "degraded"  // some instances or a dependency are not well
	HealthUnhealthy Health = "unhealthy" // no instance is ready
)

// Agent is one managed agent.
type Agent struct {
	ID       string
	Spec     Spec // of the newest revision
	Revision int  // number of the newest revision, from 1
	// DeployedRevision is what the runtime holds; 0 if nothing is deployed.
	DeployedRevision int
	State            State
	Health           Health
	HealthReason     string
	// LockVersion grows with every stored change; the ETag.
	LockVersion int64
	// ActiveOperation is the id of the operation that is working on the agent, or "".
	ActiveOperation string
	// Failure says why the agent is ERRORED; nil otherwise.
	Failure   *Failure
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Failure is why an agent is ERRORED.
type Failure struct {
	Code     string   `json:"code"`                // e.g. "crash_loop", "step_failed"
	Reason   string   `json:"reason"`              // one sentence for people
	Remedy   string   `json:"remedy,omitempty"`    // what to do
	ExitCode *int     `json:"exit_code,omitempty"` // of the last run
	Signal   string   `json:"signal,omitempty"`    // that ended the last run
	LastLogs []string `json:"last_logs,omitempty"` // last lines of output
}

// Revision is an immutable, numbered snapshot of a spec.
type Revision struct {
	AgentID   string    `json:"agent_id"`
	Number    int       `json:"number"`
	Spec      Spec      `json:"spec"`
	CreatedBy string    `json:"created_by"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Transition is one entry of an agent's history.
type Transition struct {
	ID            string         `json:"id"` // UUID
	AgentID       string         `json:"agent_id"`
	State         State          `json:"state"`
	PreviousState State          `json:"previous_state"`
	Metadata      map[string]any `json:"metadata,omitempty"` // operation, reason, …
	TriggeredBy   string         `json:"triggered_by"`
	CreatedAt     time.Time      `json:"created_at"`
}

// Query selects agents. Zero fields do not restrict; several values of one
// field mean any of them.
type Query struct {
	IDs        []string // ids or names, case-insensitive
	States     []State
	Healths    []Health
	Tiers      []int
	Domains    []string
	Runtimes   []string
	Templates  []string
	CustomerID string
	Selector   Selector // on labels
	Search     string   // in id, name, display name and description, case-insensitive
	Sort       string   // name (default), id, state, health, tier, updated_at, created_at; "-" before it reverses
	Limit      int      // default 100, at most 1000
	Cursor     string   // opaque, from a Page
	Offset     int      // leaves out the first ones, for numbered pages; 0 with a Cursor
}

// Facets is how many agents each value of a filter selects, beside what the
// other filters of a Query select.
type Facets struct {
	Total    int // that match the whole Query
	States   map[State]int
	Healths  map[Health]int
	Tiers    map[int]int
	Domains  map[string]int
	Runtimes map[string]int
	// Labels are the most frequent labels of the agents that match, the most
	// frequent first.
	Labels []LabelCount
}

// LabelCount is how many agents carry a label.
type LabelCount struct {
	Name, Value string
	Agents      int
}

// Faceter counts what filters would select.
type Faceter interface {
	// Facets ignores the order and the page of q.
	Facets(ctx context.Context, q Query) (Facets, error)
}

// Page is a part of a list.
type Page struct {
	Agents []*Agent
	Next   string // cursor of the next page; "" if this is the last
	Total  int    // number of agents that match in all
}

// Store keeps agents. All methods take part in a transaction in ctx. It
// returns faults: NotFound for an unknown agent, Conflict for a taken id or
// name, Stale for a LockVersion that is no longer the stored one, Invalid for a
// cursor it did not make.
type Store interface {
	// Create stores a new agent with its first revision, and sets LockVersion to 1.
	Create(ctx context.Context, a *Agent, rev Revision) error
	// Get finds by id, or by name (case-insensitive).
	Get(ctx context.Context, id string) (*Agent, error)
	// Find gives one page.
	Find(ctx context.Context, q Query) (Page, error)
	// Save stores a's fields if the stored LockVersion is still a.LockVersion,
	// and raises it by one in both.
	Save(ctx context.Context, a *Agent) error
	// SaveHealth stores health and reason alone; it does not touch LockVersion.
	SaveHealth(ctx context.Context, id string, h Health, reason string, at time.Time) error
	// Delete removes an agent and all that hangs on it (not its audit entries).
	Delete(ctx context.Context, id string) error
	// Dependencies gives the declared edges of the whole fleet: agent name to
	// names it needs, spelled as declared.
	Dependencies(ctx context.Context) (map[string][]string, error)
	// Counts gives the number of agents by state and by health.
	Counts(ctx context.Context) (map[State]int, map[Health]int, error)
}

// History keeps what was: revisions and transitions.
type History interface {
	// AddRevision stores the next revisions of agents, all or none; Conflict if a
	// number is taken.
	AddRevision(ctx context.Context, list ...Revision) error
	// Revision gives one; NotFound.
	Revision(ctx context.Context, agentID string, number int) (*Revision, error)
	// Revisions lists newest first, before the given number (0: from the newest).
	Revisions(ctx context.Context, agentID string, before, limit int) ([]Revision, error)
	// AddTransition appends to the history.
	AddTransition(ctx context.Context, t Transition) error
	// Transitions lists newest first; cursor as in Query.
	Transitions(ctx context.Context, agentID, cursor string, limit int) (list []Transition, next string, err error)
}
