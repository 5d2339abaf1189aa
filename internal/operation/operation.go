// Package operation is durable, multi-step work: it survives a crash of the
// portal, shows its progress, can be paused and cancelled, and cleans up what
// it made when it fails.
package operation

import (
	"context"
	"encoding/json"
	"time"
)

// State is where an operation is.
type State string

// The states. The last three are final.
const (
	Pending    State = "PENDING"
	Running    State = "RUNNING"
	Paused     State = "PAUSED"
	Cancelling State = "CANCELLING"
	Succeeded  State = "SUCCEEDED"
	Failed     State = "FAILED"
	Cancelled  State = "CANCELLED"
)

// Final tells whether nothing more will happen.
func (s State) Final() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Problem is why an operation or a step failed, for people.
type Problem struct {
	Code   string `json:"code,omitempty"`
	What   string `json:"what"`
	Why    string `json:"why,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Operation is one piece of work.
type Operation struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"` // e.g. "agent.start", "bulk"
	AgentID   string          `json:"agent_id,omitempty"`
	ParentID  string          `json:"parent_id,omitempty"`
	State     State           `json:"state"`
	Request   string          `json:"request,omitempty" doc:"pause or cancel while it is asked for but not reached"`
	Input     json.RawMessage `json:"input,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Problem   *Problem        `json:"problem,omitempty"`
	Steps     []Step          `json:"steps,omitempty"`
	Completed int             `json:"completed"` // steps that are done
	Total     int             `json:"total"`     // steps in all
	Actor     string          `json:"actor"`
	Reason    string          `json:"reason,omitempty"`
	Undo      *Undo           `json:"undo,omitempty"`
	UndoOf    string          `json:"undo_of,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	StartedAt *time.Time      `json:"started_at,omitempty"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`
}

// Undo is the offer to take an operation back.
type Undo struct {
	Action  string    `json:"action"`            // what undoing does, e.g. "stop"
	Until   time.Time `json:"until"`             // the offer ends
	UsedBy  string    `json:"used_by,omitempty"` // id of the operation that undid it
	Details string    `json:"details,omitempty"`
}

// StepState is where a step is.
type StepState string

// The states of a step.
const (
	StepPending   StepState = "pending"
	StepRunning   StepState = "running"
	StepDone      StepState = "done"
	StepFailed    StepState = "failed"
	StepSkipped   StepState = "skipped"
	StepUndone    StepState = "undone"
	StepCancelled StepState = "cancelled"
)

// Step is one part of an operation, as shown.
type Step struct {
	Name      string     `json:"name"`
	State     StepState  `json:"state"`
	Attempts  int        `json:"attempts"`
	Detail    string     `json:"detail,omitempty"`
	Problem   *Problem   `json:"problem,omitempty"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// Query selects operations. Zero fields do not restrict.
type Query struct {
	States   []State
	Kinds    []string
	AgentIDs []string
	ParentID string
	Actor    string
	Since    time.Time
	Limit    int // default 100, at most 1000
	Cursor   string
}

// Store keeps operations and their steps. NotFound for an unknown id.
type Store interface {
	// Insert stores a new operation with its planned steps.
	Insert(ctx context.Context, op *Operation) error
	// Get gives an operation with its steps.
	Get(ctx context.Context, id string) (*Operation, error)
	// Find lists newest first, without steps.
	Find(ctx context.Context, q Query) (list []*Operation, next string, err error)
	// Update stores every field but the steps, and those that say whose the
	// operation is, which never change: Kind, AgentID, ParentID, Actor, CreatedAt.
	Update(ctx context.Context, op *Operation) error
	// SaveStep stores one step by its index.
	SaveStep(ctx context.Context, opID string, index int, s Step) error
	// AddAttempt appends to the record of attempts (also of undoing).
	AddAttempt(ctx context.Context, a Attempt) error
	// Attempts lists them in order.
	Attempts(ctx context.Context, opID string) ([]Attempt, error)
	// Unfinished gives the ids of all operations that are not final, oldest first.
	Unfinished(ctx context.Context) ([]string, error)
}

// Attempt is one try of one step.
type Attempt struct {
	OperationID string    `json:"operation_id"`
	Step        string    `json:"step"`
	Number      int       `json:"number"`
	Undo        bool      `json:"undo,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at"`
	Error       string    `json:"error,omitempty"`
}

// Definition is what a kind of operation does. Steps are fixed when the
// operation is created.
type Definition struct {
	Kind string
	// Steps plans the steps for the input; called once, when the operation is
	// created, and again (with the same result) when it is run.
	Steps func(op *Operation) []StepDef
	// Finish is called once, in the transaction that makes the operation final,
	// with the outcome (op.State is already the final one). It stores what the
	// operation means for its subject: the transition, its audit entry and events.
	Finish func(ctx context.Context, op *Operation) error
}

// StepDef is one step. The step in flight at a crash runs twice, so Do and
// Undo look before they act.
type StepDef struct {
	Name string
	Do   func(ctx context.Context, run Run) error
	// Undo takes back what Do made; nil if there is nothing. It is also called
	// for the step that failed.
	Undo    func(ctx context.Context, run Run) error
	Retry   Retry
	Timeout time.Duration // of one attempt; 0 means 10 minutes
}

// Retry says how often and after which pause a failed step is tried again.
// Faults of the kinds Invalid, Conflict, NotFound and Forbidden are not retried.
type Retry struct {
	Attempts int           // in all; 0 means 1
	Backoff  time.Duration // before the second, then doubled
}

// Run is what a step sees of its operation.
type Run interface {
	// Operation gives the operation as it was when the step began.
	Operation() *Operation
	// Key is unique to the operation and step: the same again when the step runs again.
	Key() string
	// Detail tells the watcher what the step is doing.
	Detail(ctx context.Context, text string)
	// Result stores the result of the operation with the step.
	Result(v any) error
}

// Gate is a Run whose step may be paused in the middle: the step calls Gate
// between its parts. Every Run that a Service gives is one.
type Gate interface {
	// Gate waits while the operation is paused. It returns the cause of the
	// context's end if that comes first.
	Gate(ctx context.Context) error
}

// Engine runs operations durably: what was started is run to its end, also
// after a crash.
type Engine interface {
	// Submit starts (or continues) the operation. It is idempotent, returns
	// once the work is taken over, and never runs one operation twice at once.
	Submit(ctx context.Context, opID string) error
}

// Executor is what an Engine calls to do the work. The engine memoises: do
// returns at once if the named step was already completed in an earlier life
// of the process.
type Executor interface {
	Execute(ctx context.Context, opID string, do func(name string, fn func(ctx context.Context) error) error) error
}
