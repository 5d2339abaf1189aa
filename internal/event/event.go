// Package event defines what happened, as facts that are stored first and
// announced afterwards.
//
// Events are appended inside the transaction that makes them true (an
// outbox). Their sequence numbers follow the order of commits without gaps
// that could still be filled, so that a reader who remembers the last number
// misses nothing.
package event

import (
	"context"
	"encoding/json"
	"time"
)

// Type names an event, as in the live-update contract.
type Type string

// The event types.
const (
	AgentCreated       Type = "agent:created"
	AgentUpdated       Type = "agent:updated"
	AgentDeleted       Type = "agent:deleted"
	AgentStateChanged  Type = "agent:state_changed"
	AgentHealthUpdate  Type = "agent:health_update"
	InstanceChanged    Type = "instance:changed"
	OperationChanged   Type = "operation:changed"
	StepCompleted      Type = "step_completed"
	BulkProgress       Type = "bulk_op:progress"
	QueueUpdate        Type = "queue_update"
	DeadLetter         Type = "dlq_message"
	SignIn             Type = "auth:signed_in"
	TokenChanged       Type = "auth:token_changed"
	UserChanged        Type = "auth:user_changed"
	SessionChanged     Type = "auth:session_changed"
	ConfigurationDrift Type = "config:changed"
	AlertFired         Type = "alert:fired"
	AlertResolved      Type = "alert:resolved"
	AlertChanged       Type = "alert:changed"
	WebhookChanged     Type = "webhook:changed"
	MetricsRefused     Type = "metrics:refused"
	ErrorRecorded      Type = "error:recorded"
	ErrorChanged       Type = "error:changed"
	DiagnosticFinished Type = "diagnostic:finished"
	OrphanRemoved      Type = "orphan:removed"
)

// Event is one fact.
type Event struct {
	// Seq is the place in the stream; set when the event is appended.
	Seq int64 `json:"seq"`
	// Type says what happened.
	Type Type `json:"type"`
	// AgentID is the agent it happened to, or "".
	AgentID string `json:"agent_id,omitempty"`
	// Rooms are the live-update rooms that hear of it.
	Rooms []string `json:"rooms,omitempty"`
	// Actor is who caused it: a principal's id, or "system".
	Actor string `json:"actor,omitempty"`
	// At is when it happened, UTC.
	At time.Time `json:"at"`
	// Data is the payload, one of the structs of this package as JSON.
	Data json.RawMessage `json:"data"`
}

// Query selects from the stored stream. Zero fields do not restrict.
type Query struct {
	After        int64     // only events with a greater Seq
	Before       int64     // only events with a smaller Seq; 0 means no bound
	Types        []Type    // any of these; one that ends in "*" stands for all that begin so
	AgentID      []string  // any of these
	Rooms        []string  // in any of these rooms
	Actors       []string  // caused by any of these; one may end in "*"
	Since, Until time.Time // at Since or later, and before Until
	Search       string    // in type, agent, actor or payload, in any case
	Open         bool      // leaves out what is confidential
	Limit        int       // at most this many; the store caps it at 1000
	Newest       bool      // newest first instead of oldest first
}

// Log is the stored stream.
type Log interface {
	// Append stores the events in the transaction in ctx and numbers them.
	// After the commit it wakes every Watch.
	Append(ctx context.Context, events ...Event) error
	// Find gives the selected events.
	Find(ctx context.Context, q Query) ([]Event, error)
	// Bounds gives the smallest and the greatest Seq that are stored; 0, 0 if none.
	Bounds(ctx context.Context) (oldest, newest int64, err error)
	// Watch gives a channel that receives after commits which appended events
	// (several commits may give one receive), until stop is called.
	Watch() (wake <-chan struct{}, stop func())
	// Prune removes events older than before, except the newest keep ones, and
	// says how many it removed.
	Prune(ctx context.Context, before time.Time, keep int) (int, error)
}

// The rooms.
const (
	RoomAgents     = "agents"
	RoomOperations = "operations"
	RoomQueues     = "queues"
	RoomAudit      = "audit"
	RoomAlerts     = "alerts"
	RoomErrors     = "errors"
	// RoomDiagnostics hears of finished diagnoses.
	RoomDiagnostics = "diagnostics"
)

// RoomAgent is the room of one agent.
func RoomAgent(id string) string { return "agent:" + id }

// RoomBulk is the room of one bulk operation.
func RoomBulk(id string) string { return "bulk:" + id }

// RoomOperation is the room of one operation.
func RoomOperation(id string) string { return "operation:" + id }
