// Package webhook tells other systems what happened: it sends the events of
// the portal to addresses that administrators enter, as CloudEvents 1.0, signed
// as Standard Webhooks says.
//
// Each subscription has a place in the stream of events (Progress), which is
// stored. Events are sent one after the other, in their order; the place moves
// on once the receiver has taken an event, so that each is delivered at least
// once, also when the portal is killed. A receiver that fails is tried again,
// less and less often, and in the end left alone until an administrator says
// how to go on.
package webhook

import (
	"context"
	"time"
)

// Subscription is a receiver and what it wants to hear.
type Subscription struct {
	ID   string
	Name string
	URL  string
	// Types are patterns such as "agent:*"; none means all.
	Types []string
	// Agents are ids; none means all, and what concerns no agent.
	Agents []string
	// Confidential adds what only administrators may see, e.g. sign-ins.
	Confidential bool
	// SecretRef names the secret with which requests are signed. Where empty it
	// is derived from the master key.
	SecretRef string
	// KeyNumber says which of the derived secrets is in use; changing the secret
	// makes the next one. The one before still signs until KeyUntil.
	KeyNumber int
	KeyUntil  *time.Time
	Enabled   bool
	CreatedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
	// Version grows with each change of the definition.
	Version int
	// Progress is where its deliveries are.
	Progress Progress
}

// State says how deliveries go.
type State string

// The states of a subscription.
const (
	Delivering State = "delivering" // what happened is sent
	Retrying   State = "retrying"   // the last event was not taken; it is sent again
	GivenUp    State = "given_up"   // nothing is sent until somebody resumes it
	Disabled   State = "disabled"   // switched off
)

// Progress is where the deliveries of a subscription are.
type Progress struct {
	// Cursor is the number of the last event that is done with.
	Cursor int64 `json:"cursor"`
	// Pending is the number of the event that was not taken yet, with how often it
	// was tried, and when it is tried next; 0 if none waits.
	Pending int64      `json:"pending,omitempty"`
	Tries   int        `json:"tries,omitempty"`
	NextAt  *time.Time `json:"next_at,omitempty"`
	// GaveUpAt is when trying ended.
	GaveUpAt *time.Time `json:"gave_up_at,omitempty"`
	// Reason is why the last try failed; "" after one that did not.
	Reason string `json:"reason,omitempty"`
	// FailingSince is when the first of the tries that failed in a row was.
	FailingSince *time.Time `json:"failing_since,omitempty"`
	// DeliveredAt is when an event was taken last; Delivered says how many were.
	DeliveredAt *time.Time `json:"delivered_at,omitempty"`
	Delivered   int64      `json:"delivered"`
	// Missed is how many events were removed from the stream before they could
	// be sent, or skipped by somebody.
	Missed int64 `json:"missed,omitempty"`
}

// State says how deliveries go.
func (s Subscription) State() State {
	switch {
	case !s.Enabled:
		return Disabled
	case s.Progress.GaveUpAt != nil:
		return GivenUp
	case s.Progress.Pending > 0:
		return Retrying
	}
	return Delivering
}

// Kind says why a request was sent.
type Kind string

// The kinds of attempts.
const (
	KindEvent Kind = "event" // because something happened
	KindTest  Kind = "test"  // somebody tests the receiver
	KindAgain Kind = "again" // somebody has an event sent again
)

// Attempt is one request to a receiver.
type Attempt struct {
	ID        string `json:"id"`
	WebhookID string `json:"webhook_id"`
	Kind      Kind   `json:"kind"`
	// MessageID is the same each time an event is sent.
	MessageID string `json:"message_id"`
	EventSeq  int64  `json:"event_seq,omitempty"`
	EventType string `json:"event_type"`
	// Try counts the tries of the event, from 1.
	Try  int           `json:"try"`
	At   time.Time     `json:"at"`
	Took time.Duration `json:"took_ns"`
	// Status is the HTTP status of the answer, 0 without one.
	Status int  `json:"status,omitempty"`
	OK     bool `json:"ok"`
	// Reason is why it failed.
	Reason string `json:"reason,omitempty"`
	// Answer is how the answer's body begins.
	Answer string `json:"answer,omitempty"`
}

// Store keeps subscriptions. NotFound for an unknown one.
type Store interface {
	// CreateWebhook stores a new one; Conflict for a taken name, in any case.
	CreateWebhook(ctx context.Context, s Subscription) error
	// Webhook finds by id or, in any case, by name.
	Webhook(ctx context.Context, ref string) (*Subscription, error)
	// Webhooks lists all, by name.
	Webhooks(ctx context.Context) ([]Subscription, error)
	// UpdateWebhook replaces everything but the id, who made it and when, and the
	// progress, if the stored version is one less; Stale otherwise, Conflict for a
	// taken name.
	UpdateWebhook(ctx context.Context, s Subscription) error
	// DeleteWebhook removes it with its attempts.
	DeleteWebhook(ctx context.Context, id string) error
	// SaveProgress replaces the progress alone.
	SaveProgress(ctx context.Context, id string, p Progress) error
}

// Attempts keeps what was sent.
type Attempts interface {
	// AddAttempt stores one and removes the oldest of its subscription over keep.
	AddAttempt(ctx context.Context, a Attempt, keep int) error
	// Attempt gives one of a subscription; NotFound if there is none.
	Attempt(ctx context.Context, webhookID, id string) (*Attempt, error)
	// Attempts lists those of a subscription, newest first.
	Attempts(ctx context.Context, webhookID, cursor string, limit int) (list []Attempt, next string, err error)
}

// Answer is what came of a request.
type Answer struct {
	Status     int           // 0 if there was no answer
	Body       string        // how it begins
	RetryAfter time.Duration // what the receiver asked for; 0 if nothing
	Took       time.Duration
	Reason     string // why there was no answer
}

// Sender sends a message to a receiver and waits, not for long, for the answer.
type Sender interface {
	Send(ctx context.Context, url string, header map[string]string, body []byte) Answer
}

// Secrets resolves references such as file:NAME.
type Secrets interface {
	Secret(ctx context.Context, reference string) (string, error)
}
