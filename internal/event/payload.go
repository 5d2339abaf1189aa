package event

import (
	"encoding/json"
	"time"
)

// StateChanged is the payload of AgentStateChanged.
type StateChanged struct {
	AgentID   string    `json:"agent_id"`
	OldState  string    `json:"old_state"`
	NewState  string    `json:"new_state"`
	Reason    string    `json:"reason,omitempty"`
	Timestamp time.Time `json:"timestamp"`
}

// HealthUpdate is the payload of AgentHealthUpdate.
type HealthUpdate struct {
	AgentID   string         `json:"agent_id"`
	Health    string         `json:"health"`
	Reason    string         `json:"reason,omitempty"`
	Metrics   map[string]any `json:"metrics"`
	Timestamp time.Time      `json:"timestamp"`
}

// AgentChange is the payload of AgentCreated, AgentUpdated and AgentDeleted.
type AgentChange struct {
	AgentID   string    `json:"agent_id"`
	Name      string    `json:"name"`
	Revision  int       `json:"revision"`
	Reason    string    `json:"reason,omitempty"`
	Timestamp time.Time `json:"timestamp"`
}

// Instance is the payload of InstanceChanged.
type Instance struct {
	AgentID    string    `json:"agent_id"`
	InstanceID string    `json:"instance_id"`
	State      string    `json:"state"`
	PID        int       `json:"pid,omitempty"`
	Port       int       `json:"port,omitempty"`
	Restarts   int       `json:"restarts"`
	Reason     string    `json:"reason,omitempty"`
	Timestamp  time.Time `json:"timestamp"`
}

// Operation is the payload of OperationChanged.
type Operation struct {
	OperationID string    `json:"operation_id"`
	Kind        string    `json:"kind"`
	AgentID     string    `json:"agent_id,omitempty"`
	State       string    `json:"state"`
	Completed   int       `json:"completed"`
	Total       int       `json:"total"`
	Reason      string    `json:"reason,omitempty"` // why it was asked for
	Error       string    `json:"error,omitempty"`
	Timestamp   time.Time `json:"timestamp"`
}

// Step is the payload of StepCompleted.
type Step struct {
	OperationID string    `json:"operation_id"`
	AgentID     string    `json:"agent_id,omitempty"`
	Step        string    `json:"step"`
	Status      string    `json:"status"`
	Attempt     int       `json:"attempt"`
	Kind        string    `json:"kind"` // of the operation
	Error       string    `json:"error,omitempty"`
	Timestamp   time.Time `json:"timestamp"`
}

// Bulk is the payload of BulkProgress.
type Bulk struct {
	OperationID string    `json:"operation_id"`
	Completed   int       `json:"completed"`
	Total       int       `json:"total"`
	Failed      int       `json:"failed"`
	Status      string    `json:"status"`
	Actions     []string  `json:"actions,omitempty"`
	Reason      string    `json:"reason,omitempty"` // why it was asked for
	AgentID     string    `json:"agent_id,omitempty"`
	ItemStatus  string    `json:"item_status,omitempty"`
	Timestamp   time.Time `json:"timestamp"`
}

// Error is the payload of ErrorRecorded and ErrorChanged.
type Error struct {
	ErrorID     string    `json:"error_id"`
	AgentID     string    `json:"agent_id"`
	Class       string    `json:"class"`
	Cause       string    `json:"cause"`
	State       string    `json:"state"`
	Title       string    `json:"title"`
	Count       int       `json:"count"`
	OperationID string    `json:"operation_id,omitempty"`
	NeedsHuman  bool      `json:"needs_human,omitempty"`
	Timestamp   time.Time `json:"timestamp"`
}

// Diagnostic is the payload of DiagnosticFinished.
type Diagnostic struct {
	DiagnosticID string    `json:"diagnostic_id"`
	Scope        string    `json:"scope"`
	AgentID      string    `json:"agent_id,omitempty"`
	Status       string    `json:"status"`
	Trigger      string    `json:"trigger"`
	OK           int       `json:"ok"`
	Warnings     int       `json:"warnings"`
	Failed       int       `json:"failed"`
	Skipped      int       `json:"skipped"`
	Timestamp    time.Time `json:"timestamp"`
}

// Orphan is the payload of OrphanRemoved: what a runtime held for AgentID and nobody
// owned.
type Orphan struct {
	Runtime   string    `json:"runtime"`
	AgentID   string    `json:"agent_id"`
	Why       string    `json:"why"`   // nobody owned it
	Count     int       `json:"count"` // things that were removed
	Bytes     int64     `json:"bytes"`
	Reason    string    `json:"reason,omitempty"`
	Timestamp time.Time `json:"timestamp"`
}

// New makes an event with a payload of this package. The payload types hold
// nothing that JSON cannot express, so a failure to encode is a bug and panics.
func New(t Type, agentID, actor string, at time.Time, payload any, rooms ...string) Event {
	data, err := json.Marshal(payload)
	if err != nil {
		panic("event: payload does not encode: " + err.Error())
	}
	return Event{Type: t, AgentID: agentID, Actor: actor, At: at, Data: data, Rooms: rooms}
}
