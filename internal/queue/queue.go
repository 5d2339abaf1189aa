// Package queue names what the portal needs of a message queue for agents.
package queue

import (
	"context"
	"time"
)

// Commands is the subject of the queue that the agent takes work from.
func Commands(agentID string) string { return "agent." + agentID + ".commands" }

// Events is the subject that the agent announces on.
func Events(agentID string) string { return "agent." + agentID + ".events" }

// DeadLetters is the subject that keeps the commands that could not be done.
func DeadLetters(agentID string) string { return "dlq." + Commands(agentID) }

// Stats is what is known of one agent's command queue.
type Stats struct {
	Name      string    `json:"name"`
	Pending   int       `json:"pending"`   // waiting, not yet delivered
	InFlight  int       `json:"in_flight"` // delivered, not yet acknowledged
	Dead      int       `json:"dlq_count"`
	Consumers int       `json:"consumers"` // pulls that wait now
	Oldest    time.Time `json:"oldest,omitzero"`
}

// Message is a command in a queue, without its payload.
type Message struct {
	Sequence   uint64    `json:"sequence"`
	ID         string    `json:"id,omitempty"`
	Deliveries int       `json:"deliveries"`
	Published  time.Time `json:"published,omitzero"`
	Size       int       `json:"size"`
}

// Broker makes and removes the queues of an agent. All methods are idempotent.
type Broker interface {
	// Provision makes the agent's queues.
	Provision(ctx context.Context, agentID string) error
	// Remove deletes the agent's queues and what is in them.
	Remove(ctx context.Context, agentID string) error
	// Publish puts a command into the agent's queue; id makes it exactly-once
	// within two minutes. It returns when the command is on disk. NotFound if
	// the agent has no queue, RateLimited if it is full.
	Publish(ctx context.Context, agentID, id string, payload []byte) error
	// Stats of one agent's queue; NotFound.
	Stats(ctx context.Context, agentID string) (Stats, error)
	// URL is what agents connect to; it holds no credential.
	URL() string
}
