package alert

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Messages are tried again for a day, ever less often.
const (
	sendTime  = 30 * time.Second
	firstWait = 2 * time.Second
	lastWait  = 10 * time.Minute
	sendUntil = 24 * time.Hour
	senders   = 8
)

// deliver sends what is in the queue.
func (s *Service) deliver(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	d := deliverer{svc: s, busy: map[string]bool{}, places: make(chan struct{}, senders)}
	defer d.all.Wait()
	for {
		s.logged(ctx, "read what is to be sent", d.round(ctx))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.post:
		}
	}
}

// deliverer sends to several receivers at once, one message each, so that one
// that hangs holds up only itself.
type deliverer struct {
	svc    *Service
	places chan struct{}
	all    sync.WaitGroup
	mu     sync.Mutex
	busy   map[string]bool
}

func (d *deliverer) round(ctx context.Context) error {
	list, err := d.svc.Queue.DueDeliveries(ctx, d.svc.Now(), 100)
	if err != nil {
		return err
	}
	for _, one := range list {
		d.mu.Lock()
		taken := d.busy[one.ReceiverID]
		d.busy[one.ReceiverID] = true
		d.mu.Unlock()
		if taken {
			continue
		}
		select {
		case d.places <- struct{}{}:
		default: // all are busy; the next round finds it again
			d.free(one.ReceiverID)
			return nil
		}
		d.all.Go(func() {
			defer func() { <-d.places }()
			defer poke(d.svc.post) // there may be more for it
			defer d.free(one.ReceiverID)
			d.svc.logged(ctx, "note a delivery", d.svc.attempt(ctx, one))
		})
	}
	return nil
}

func (d *deliverer) free(id string) {
	d.mu.Lock()
	delete(d.busy, id)
	d.mu.Unlock()
}

// attempt sends one message and notes what came of it. If the portal dies in
// between it is sent again with the same key.
func (s *Service) attempt(ctx context.Context, d Delivery) error {
	r, err := s.Receivers.Receiver(ctx, d.ReceiverID)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			return nil // it went with the receiver
		}
		return err
	}
	send, cancel := context.WithTimeout(ctx, sendTime)
	err = s.Sender.Send(send, *r, d.Message, d.ID)
	cancel()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the portal stops; the next one sends it
	}
	now := s.Now()
	d.Attempts++
	switch {
	case err == nil:
		d.State, d.Error, d.EndedAt = Delivered, "", &now
	case !fault.Is(err, fault.Unavailable) || now.Sub(d.CreatedAt) >= sendUntil:
		d.State, d.Error, d.EndedAt = Failed, reasonOf(err), &now
	default:
		d.Error, d.NextAt = reasonOf(err), now.Add(backoff(d.Attempts))
	}
	if d.State == Failed {
		s.Log.Warn("alerts: a message was not delivered", "receiver", r.Name, "delivery", d.ID, "err", d.Error)
	}
	return s.Queue.SaveDelivery(ctx, d)
}

// SendDue sends what is due, one message after the other, until nothing is.
func (s *Service) SendDue(ctx context.Context) error {
	for {
		list, err := s.Queue.DueDeliveries(ctx, s.Now(), 100)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, d := range list {
			if err := s.attempt(ctx, d); err != nil {
				return err
			}
		}
	}
}

// reasonOf is what may be shown of an error.
func reasonOf(err error) string {
	if fault.As(err) != nil {
		return cut(err.Error(), 500)
	}
	return "It could not be sent"
}

// backoff is how long to wait after so many attempts, with jitter.
func backoff(attempts int) time.Duration {
	wait := firstWait << min(attempts-1, 12)
	wait = min(wait, lastWait)
	return wait*3/4 + rand.N(wait/2)
}

// Test sends a message that says that it is a test, at once and outside of the
// queue, so that whoever asks sees what comes of it.
func (s *Service) Test(ctx context.Context, id string) (*Delivery, error) {
	r, err := s.Receivers.Receiver(ctx, id)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	a := Alert{
		ID: "test", RuleID: "test", Name: "TestAlert", Severity: Info, Status: Firing, Source: FromEvent, ActiveAt: now, FiredAt: &now, ChangedAt: now, LastSeenAt: now,
		Labels:      map[string]string{"alertname": "TestAlert", "severity": Info},
		Annotations: map[string]string{"summary": "This is a test", "description": "Somebody tried whether this receiver is reached. Nothing is wrong."},
	}
	d := Delivery{ID: s.NewID(), ReceiverID: id, GroupKey: "test", State: Delivered, Attempts: 1, Firing: 1, Summary: "Test", CreatedAt: now, NextAt: now}
	d.Message = Message{Receiver: r.Name, GroupKey: "test", GroupLabels: map[string]string{}, Alerts: []Alert{a}, PortalURL: s.PublicURL, At: now, Test: true}
	send, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	failed := s.Sender.Send(send, *r, d.Message, d.ID)
	ended := s.Now()
	if d.EndedAt = &ended; failed != nil {
		d.State, d.Error = Failed, reasonOf(failed)
	}
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Queue.SaveDelivery(ctx, d); err != nil {
			return err
		}
		return s.record(ctx, "alert.receiver_test", "receiver/"+id, "", nil, map[string]any{"state": d.State})
	})
	return &d, err
}
