package queue

import "time"

// Headers of the messages in an agent's queues. The agents read and write the
// same names (see the agent contract).
const (
	// HeaderID is the id that the command was published with.
	HeaderID = "Portal-Id"
	// HeaderReason says why a command became a dead letter: one of the reasons below.
	HeaderReason = "Portal-Reason"
	// HeaderError is what went wrong last, if it is known.
	HeaderError = "Portal-Error"
	// HeaderDeliveries counts how often the command was delivered.
	HeaderDeliveries = "Portal-Deliveries"
	// HeaderSequence is the number of the command in the stream it came from.
	HeaderSequence = "Portal-Sequence"
	// HeaderTime is when the command was published, RFC 3339 with nanoseconds.
	HeaderTime = "Portal-Time"
)

// The reasons of dead letters.
const (
	// ReasonMaxDeliveries: delivered as often as allowed and never acknowledged.
	ReasonMaxDeliveries = "max_deliveries"
	// ReasonPermanent: the agent said that trying again is no use.
	ReasonPermanent = "permanent"
	// ReasonSetAside: somebody put it aside because it made trouble.
	ReasonSetAside = "set_aside"
)

// DeadLetter is one command that could not be done.
type DeadLetter struct {
	AgentID    string    `json:"agent_id"`
	Sequence   uint64    `json:"sequence"` // in the dead letter queue
	ID         string    `json:"id,omitempty"`
	Reason     string    `json:"reason"`
	Error      string    `json:"error,omitempty"`
	Deliveries int       `json:"deliveries"`
	Original   uint64    `json:"original_sequence"`
	Published  time.Time `json:"published,omitzero"` // the command
	At         time.Time `json:"at"`                 // the dead letter
	Size       int       `json:"size"`               // bytes of the payload
}
