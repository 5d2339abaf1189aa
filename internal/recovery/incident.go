// Package recovery keeps a record of everything that goes wrong with agents,
// finds the cause, suggests what to do in the order of what is likely to help,
// does it as operations that can be undone, and does it by itself where a policy
// allows that.
package recovery

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// State is where an incident is.
type State string

// The states. From recovered and dismissed nothing leads back: what comes again
// is a new incident with the same fingerprint.
const (
	Open       State = "open"
	Recovering State = "recovering" // a fix is being carried out
	Recovered  State = "recovered"
	Dismissed  State = "dismissed"
)

// Active tells whether the incident still needs somebody.
func (s State) Active() bool { return s == Open || s == Recovering }

// Source is what brought an incident to light.
type Source string

// The sources.
const (
	FromStep   Source = "step"   // a step of an operation failed
	FromCrash  Source = "crash"  // a process ended that should not have
	FromProbe  Source = "probe"  // a probe fails
	FromQueue  Source = "queue"  // a dead letter, or a backlog that lasts
	FromMetric Source = "metric" // a resource is used up
)

// Incident is one error record: what went wrong, why, and what can be done.
type Incident struct {
	ID          string             `json:"id"`
	AgentID     string             `json:"agent_id"`
	AgentName   string             `json:"agent_name"`
	InstanceID  string             `json:"instance_id,omitempty"`
	Source      Source             `json:"source" enum:"step,crash,probe,queue,metric"`
	Class       cause.Class        `json:"class" enum:"transient,permanent,configuration,dependency"`
	Cause       cause.Code         `json:"cause"`
	Certainty   float64            `json:"certainty" doc:"0 to 1: how sure the cause is"`
	Fingerprint string             `json:"fingerprint" doc:"The same for what is alike: agent, cause and message without what varies"`
	Title       string             `json:"title"`
	Summary     string             `json:"summary"`
	Evidence    []cause.Evidence   `json:"evidence"`
	Suggestions []cause.Suggestion `json:"suggestions"`
	State       State              `json:"state" enum:"open,recovering,recovered,dismissed"`
	Count       int                `json:"count" doc:"How often it was seen"`
	FirstSeen   time.Time          `json:"first_seen"`
	LastSeen    time.Time          `json:"last_seen"`
	RecoveredAt *time.Time         `json:"recovered_at,omitempty"`
	OperationID string             `json:"operation_id,omitempty" doc:"The newest fix"`
	Policy      string             `json:"policy,omitempty" doc:"The policy that the newest fix was begun by; absent if a person began it"`
	// Note says how it ended, e.g. why it was dismissed or what a person has to do.
	Note string `json:"note,omitempty"`
	// NeedsHuman says that nothing more is tried by itself.
	NeedsHuman bool `json:"needs_human,omitempty"`
	// Tried are the fixes that were carried out for it, oldest first.
	Tried []Attempt `json:"tried,omitempty"`
	// Version grows with every stored change.
	Version int64 `json:"-"`
	// Seq is the newest event that was counted.
	Seq int64 `json:"-"`
}

// Attempt is one fix that was carried out.
type Attempt struct {
	Fix         cause.Fix  `json:"fix"`
	OperationID string     `json:"operation_id"`
	By          string     `json:"by" doc:"Who began it"`
	Policy      string     `json:"policy,omitempty" doc:"The policy that began it; absent if a person did"`
	StartedAt   time.Time  `json:"started_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	Helped      *bool      `json:"helped,omitempty" doc:"Absent while it runs"`
}

// Query selects incidents. Zero fields do not restrict.
type Query struct {
	AgentIDs    []string
	States      []State
	Classes     []cause.Class
	Causes      []cause.Code
	Fingerprint string
	Since       time.Time // seen last at or after
	Limit       int       // default 100, at most 1000
	Cursor      string
}

// Pattern is a fingerprint that came back.
type Pattern struct {
	Fingerprint string      `json:"fingerprint"`
	AgentID     string      `json:"agent_id"`
	Class       cause.Class `json:"class"`
	Cause       cause.Code  `json:"cause"`
	Title       string      `json:"title"`
	Incidents   int         `json:"incidents" doc:"Incidents with this fingerprint"`
	Count       int         `json:"count" doc:"How often it was seen in all"`
	FirstSeen   time.Time   `json:"first_seen"`
	LastSeen    time.Time   `json:"last_seen"`
}

// Outcome counts how often a fix was tried for a cause and how often it helped.
type Outcome struct {
	Cause  cause.Code
	Fix    cause.Fix
	Tried  int
	Helped int
}

// Store keeps incidents. All methods take part in a transaction in ctx.
type Store interface {
	// InsertIncident stores a new one.
	InsertIncident(ctx context.Context, in *Incident) error
	// UpdateIncident stores all but what never changes, if the stored Version is
	// still in.Version, and raises it by one in both; Stale if not.
	UpdateIncident(ctx context.Context, in *Incident) error
	// Incident gives one; NotFound.
	Incident(ctx context.Context, id string) (*Incident, error)
	// Incidents lists newest first (by when they were seen first).
	Incidents(ctx context.Context, q Query) (list []*Incident, next string, err error)
	// Patterns gives the fingerprints of the agents (all if none is named) that
	// came back at least min times since then, the most frequent first.
	Patterns(ctx context.Context, agentIDs []string, min int, since time.Time, limit int) ([]Pattern, error)
	// PruneIncidents removes those that ended before then.
	PruneIncidents(ctx context.Context, before time.Time) (int, error)
}

// Memory keeps what recovery has to remember besides incidents. All methods take
// part in a transaction in ctx.
type Memory interface {
	// Cursor is the last event that was looked at; -1 if there never was one.
	Cursor(ctx context.Context) (int64, error)
	SetCursor(ctx context.Context, seq int64) error
	// Outcomes gives how fixes did.
	Outcomes(ctx context.Context) ([]Outcome, error)
	// AddOutcome counts one fix that was tried.
	AddOutcome(ctx context.Context, c cause.Code, f cause.Fix, helped bool) error
	// GoodRevisions gives those of an agent that were seen to run well, newest first.
	GoodRevisions(ctx context.Context, agentID string) ([]int, error)
	// SetGood remembers or forgets that a revision ran well; NotFound for an agent
	// that is gone.
	SetGood(ctx context.Context, agentID string, revision int, good bool, at time.Time) error
}

// PolicyStore keeps what people decided.
type PolicyStore interface {
	// Policies gives what is stored; nil if nothing is.
	Policies(ctx context.Context) (*Policies, error)
	SetPolicies(ctx context.Context, p Policies) error
}
