// Package queuetest holds the conformance suite that every queue.Broker passes
// and an in-memory broker for the tests of other packages.
package queuetest

import (
	"context"
	"regexp"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/queue"
)

// The limits of the fake unless its fields say otherwise.
const (
	DefaultCapacity   = 1000
	DefaultMaxPayload = 1 << 20
	dedupeWindow      = 2 * time.Minute
)

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// Fake is a queue.Broker in memory. It keeps the whole contract of the
// interface except durability. Set its fields before the first use.
type Fake struct {
	Capacity   int              // commands a queue holds
	MaxPayload int              // bytes
	Now        func() time.Time // the clock of the dedupe window
	Fail       error            // where set, every method but URL returns it; see SetFail

	mu     sync.Mutex
	queues map[string]*fakeQueue
}

type fakeQueue struct {
	waiting  []Delivery
	inFlight map[string]Delivery
	dead     []Delivery
	seen     map[string]time.Time
}

// Delivery is one command taken out of a queue.
type Delivery struct {
	AgentID string
	ID      string
	Payload []byte
	At      time.Time
}

// NewFake makes an empty broker.
func NewFake() *Fake {
	return &Fake{Capacity: DefaultCapacity, MaxPayload: DefaultMaxPayload, Now: time.Now, queues: map[string]*fakeQueue{}}
}

// SetFail makes every later call fail with err, or work again for nil.
func (f *Fake) SetFail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Fail = err
}

// Provision makes the agent's queue.
func (f *Fake) Provision(ctx context.Context, agentID string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, agentID); err != nil {
		return err
	}
	if f.queues[agentID] == nil {
		f.queues[agentID] = &fakeQueue{inFlight: map[string]Delivery{}, seen: map[string]time.Time{}}
	}
	return nil
}

// Remove deletes the agent's queue and what is in it.
func (f *Fake) Remove(ctx context.Context, agentID string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(ctx, agentID); err != nil {
		return err
	}
	delete(f.queues, agentID)
	return nil
}

// Publish appends a command.
func (f *Fake) Publish(ctx context.Context, agentID, id string, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	q, err := f.queue(ctx, agentID)
	if err != nil {
		return err
	}
	if id == "" {
		return fault.New(fault.Invalid, "queue.id_missing", "the command has no id")
	}
	if len(payload) > f.MaxPayload {
		return fault.New(fault.TooLarge, "queue.payload_too_large", "the command has %d bytes", len(payload)).
			Because("a command may have %d bytes at most", f.MaxPayload)
	}
	now := f.Now()
	if at, ok := q.seen[id]; ok && now.Sub(at) < dedupeWindow {
		return nil
	}
	if len(q.waiting)+len(q.inFlight) >= f.Capacity {
		return fault.New(fault.RateLimited, "queue.full", "the queue %s is full", queue.Commands(agentID))
	}
	q.seen[id] = now
	q.waiting = append(q.waiting, Delivery{AgentID: agentID, ID: id, Payload: append([]byte(nil), payload...), At: now})
	return nil
}

// Stats of one queue.
func (f *Fake) Stats(ctx context.Context, agentID string) (queue.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q, err := f.queue(ctx, agentID)
	if err != nil {
		return queue.Stats{}, err
	}
	s := queue.Stats{Name: queue.Commands(agentID), Pending: len(q.waiting), InFlight: len(q.inFlight), Dead: len(q.dead)}
	oldest := func(at time.Time) {
		if s.Oldest.IsZero() || at.Before(s.Oldest) {
			s.Oldest = at
		}
	}
	for _, d := range q.waiting {
		oldest(d.At)
	}
	for _, d := range q.inFlight {
		oldest(d.At)
	}
	return s, nil
}

// URL is an address that nothing listens on.
func (f *Fake) URL() string { return "nats://127.0.0.1:1" }

// Provisioned tells whether the agent has a queue.
func (f *Fake) Provisioned(agentID string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queues[agentID] != nil
}

// Take gives the oldest waiting command to an agent: it is in flight until
// Ack, Nak or Kill. The second result is false where nothing waits.
func (f *Fake) Take(agentID string) (Delivery, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queues[agentID]
	if q == nil || len(q.waiting) == 0 {
		return Delivery{}, false
	}
	d := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.inFlight[d.ID] = d
	return d, true
}

// Ack ends a taken command.
func (f *Fake) Ack(d Delivery) { f.settle(d, func(*fakeQueue) {}) }

// Nak gives a taken command back.
func (f *Fake) Nak(d Delivery) { f.settle(d, func(q *fakeQueue) { q.waiting = append(q.waiting, d) }) }

// Kill moves a taken command to the dead letters.
func (f *Fake) Kill(d Delivery) { f.settle(d, func(q *fakeQueue) { q.dead = append(q.dead, d) }) }

func (f *Fake) settle(d Delivery, then func(*fakeQueue)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queues[d.AgentID]
	if q == nil {
		return
	}
	if _, ok := q.inFlight[d.ID]; !ok {
		return
	}
	delete(q.inFlight, d.ID)
	then(q)
}

func (f *Fake) queue(ctx context.Context, agentID string) (*fakeQueue, error) {
	if err := f.check(ctx, agentID); err != nil {
		return nil, err
	}
	q := f.queues[agentID]
	if q == nil {
		return nil, fault.New(fault.NotFound, "queue.not_found", "the agent %s has no queue", agentID)
	}
	return q, nil
}

func (f *Fake) check(ctx context.Context, agentID string) error {
	if f.Fail != nil {
		return f.Fail
	}
	if err := ctx.Err(); err != nil {
		return fault.New(fault.Unavailable, "queue.unavailable", "the message queue did not answer in time").Wrap(err)
	}
	if !validID.MatchString(agentID) {
		return fault.New(fault.Invalid, "queue.agent_id_invalid", "the agent id cannot name a queue")
	}
	return nil
}
