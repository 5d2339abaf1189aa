package alert

import (
	"context"
	"time"
)

// Dispatch is what is known of one group of alerts of one receiver: when it is
// looked at again, and what was told last.
type Dispatch struct {
	ReceiverID string
	GroupKey   string
	Labels     map[string]string // that the group has in common
	DueAt      time.Time
	LastSentAt *time.Time
	// Told are the alerts that were told about as firing.
	Told []string
}

// The states of a delivery.
const (
	Queued    = "queued"
	Delivered = "delivered"
	Failed    = "failed"
)

// Message is what a receiver is told.
type Message struct {
	Receiver    string            `json:"receiver"`
	GroupKey    string            `json:"group_key"`
	GroupLabels map[string]string `json:"group_labels"`
	Alerts      []Alert           `json:"alerts"`
	// Cut is how many alerts were left out.
	Cut int `json:"cut,omitempty"`
	// PortalURL is where the alerts are seen.
	PortalURL string    `json:"portal_url"`
	At        time.Time `json:"at"`
	Test      bool      `json:"test,omitempty"`
}

// Firing are those that still fire, Ended the others.
func (m *Message) Firing() []Alert { return m.where(false) }

// Ended are the resolved ones.
func (m *Message) Ended() []Alert { return m.where(true) }

func (m *Message) where(ended bool) []Alert {
	var out []Alert
	for _, a := range m.Alerts {
		if (a.Status == Resolved) == ended {
			out = append(out, a)
		}
	}
	return out
}

// Delivery is a message on its way to a receiver, or what came of it.
type Delivery struct {
	ID         string     `json:"id"` // also its idempotency key
	ReceiverID string     `json:"receiver_id"`
	GroupKey   string     `json:"group_key"`
	State      string     `json:"state" enum:"queued,delivered,failed"`
	Attempts   int        `json:"attempts"`
	Firing     int        `json:"firing"`
	Resolved   int        `json:"resolved"`
	Summary    string     `json:"summary"`
	Error      string     `json:"error,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	NextAt     time.Time  `json:"next_at"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
	Message    Message    `json:"-"`
}

// QueueStore keeps what is to be told. NotFound for what is not there.
type QueueStore interface {
	Dispatch(ctx context.Context, receiverID, groupKey string) (*Dispatch, error)
	DueDispatches(ctx context.Context, now time.Time, limit int) ([]Dispatch, error)
	SaveDispatch(ctx context.Context, d Dispatch) error
	DeleteDispatch(ctx context.Context, receiverID, groupKey string) error
	SaveDelivery(ctx context.Context, d Delivery) error
	// DueDeliveries gives the queued ones whose time has come, the oldest first,
	// one a receiver.
	DueDeliveries(ctx context.Context, now time.Time, limit int) ([]Delivery, error)
	// Deliveries lists newest first, of the receiver if one is named.
	Deliveries(ctx context.Context, receiverID, cursor string, limit int) (list []Delivery, next string, err error)
	PruneDeliveries(ctx context.Context, before time.Time) (int, error)
}

// Sender tells receivers. An error of kind Unavailable is worth another try,
// any other is not. Errors hold no secret.
type Sender interface {
	// Check tells what is wrong with where a receiver is, as far as that can be
	// told without reaching it: Invalid names the fields.
	Check(r Receiver) error
	Send(ctx context.Context, r Receiver, m Message, key string) error
}
