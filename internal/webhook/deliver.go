package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// How deliveries are tried again.
const (
	firstDelay = 5 * time.Second
	maxDelay   = 4 * time.Hour
	// maxTries are made in about a day and a half.
	maxTries = 20
	// keepAttempts is how many attempts of each subscription are remembered.
	keepAttempts = 200
	// batch is how many events are read at once.
	batch = 200
	// maxSending is how many requests run at one time. Those that deliveries of
	// one subscription make never run together.
	maxSending = 8
	// maxPassed is how many events that a subscription does not want are passed
	// before its place is stored: each event would cost a write else.
	maxPassed = 500
)

// delay is how long to wait after so many tries that failed: twice as long each
// time, give or take a fifth, so that receivers that failed together are not
// tried together.
func (s *Service) delay(tries int, asked time.Duration) time.Duration {
	d := maxDelay
	if tries < 20 {
		d = min(maxDelay, firstDelay<<(tries-1))
	}
	d += time.Duration((s.Random()*2 - 1) * float64(d) / 5)
	return max(d, min(asked, maxDelay))
}

// advance sends what is due to a subscription, until nothing is, or an event is
// not taken. It says when to look again; nil if only an event or a change is a
// reason to.
func (s *Service) advance(ctx context.Context, id string) (*time.Time, error) {
	for ctx.Err() == nil {
		sub, err := s.Store.Webhook(ctx, id)
		if err != nil {
			return nil, err
		}
		p := &sub.Progress
		switch {
		case !sub.Enabled || p.GaveUpAt != nil:
			return nil, nil
		case p.NextAt != nil && s.now().Before(*p.NextAt):
			return p.NextAt, nil
		}
		after := p.Cursor
		if p.Pending == 0 {
			after = max(after, s.passedBy(id))
		}
		events, err := s.Log.Find(ctx, event.Query{After: after, Limit: batch})
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			return nil, nil
		}
		if gap := events[0].Seq - after - 1; after > 0 && gap > 0 { // they were removed as too old
			err := s.progress(ctx, id, func(p *Progress) bool {
				p.Missed, p.Cursor = p.Missed+gap, max(p.Cursor, events[0].Seq-1)
				return true
			})
			if err != nil {
				return nil, err
			}
			continue
		}
		if err := s.sendAll(ctx, sub, events); err != nil {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// sendAll sends the events that the subscription wants, up to the first one that
// is not taken.
func (s *Service) sendAll(ctx context.Context, sub *Subscription, events []event.Event) error {
	for _, e := range events {
		if !sub.Wants(e) {
			s.pass(sub.ID, e.Seq)
			continue
		}
		again, err := s.deliver(ctx, sub, e)
		if again || err != nil {
			return err
		}
	}
	passed := s.passedBy(sub.ID)
	if passed < sub.Progress.Cursor+maxPassed {
		return nil
	}
	return s.progress(ctx, sub.ID, func(p *Progress) bool {
		p.Cursor = max(p.Cursor, passed)
		return true
	})
}

// pass notes that the subscription does not want the event.
func (s *Service) pass(id string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passed == nil {
		s.passed = map[string]int64{}
	}
	s.passed[id] = seq
}

// passedBy gives the number of the last event that the subscription did not want.
func (s *Service) passedBy(id string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passed[id]
}

// slot waits until one more request may run; the caller gives it back.
func (s *Service) slot(ctx context.Context) (release func(), err error) {
	s.mu.Lock()
	if s.sending == nil {
		s.sending = make(chan struct{}, maxSending)
	}
	slots := s.sending
	s.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// deliver sends one event and stores what came of it. It tells whether sub has
// to be read again before the next event: after a failure, or because somebody
// changed it meanwhile.
func (s *Service) deliver(ctx context.Context, sub *Subscription, e event.Event) (bool, error) {
	try := 1
	if sub.Progress.Pending == e.Seq {
		try = sub.Progress.Tries + 1
	}
	a, answer := s.send(ctx, *sub, e, KindEvent, try)
	if ctx.Err() != nil {
		return true, ctx.Err() // the portal ends; it will be sent at the next start
	}
	again := !a.OK
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Attempts.AddAttempt(ctx, a, keepAttempts); err != nil {
			return err
		}
		now, err := s.Store.Webhook(ctx, sub.ID)
		if err != nil {
			return err
		}
		if now.Version != sub.Version || now.Progress.Cursor > e.Seq {
			again = true
		}
		if now.Progress.Cursor >= e.Seq {
			return nil // it was skipped meanwhile
		}
		before := now.Progress
		s.settle(&now.Progress, e, a, answer)
		if err := s.Store.SaveProgress(ctx, sub.ID, now.Progress); err != nil {
			return err
		}
		sub.Progress = now.Progress
		return s.tell(ctx, *now, before)
	})
	return again, err
}

// settle notes in the progress what came of an attempt.
func (s *Service) settle(p *Progress, e event.Event, a Attempt, answer Answer) {
	if a.OK {
		p.Cursor, p.Pending, p.Tries, p.NextAt, p.Reason, p.FailingSince, p.GaveUpAt = e.Seq, 0, 0, nil, "", nil, nil
		p.DeliveredAt, p.Delivered = &a.At, p.Delivered+1
		return
	}
	now := s.now()
	p.Cursor, p.Pending, p.Tries, p.Reason = e.Seq-1, e.Seq, a.Try, a.Reason
	if p.FailingSince == nil {
		p.FailingSince = &a.At
	}
	if a.Try >= maxTries || a.Status == 410 {
		p.GaveUpAt, p.NextAt = &now, nil
		return
	}
	next := now.Add(s.delay(a.Try, answer.RetryAfter))
	p.NextAt = &next
}

// tell announces that deliveries were given up, or work again after failures.
func (s *Service) tell(ctx context.Context, sub Subscription, before Progress) error {
	switch {
	case sub.Progress.GaveUpAt != nil && before.GaveUpAt == nil:
		reason := fmt.Sprintf("after %d tries: %s", sub.Progress.Tries, sub.Progress.Reason)
		if err := s.Audit.Record(ctx, "webhook.give_up", "webhook/"+sub.Name, audit.Failed, reason, nil, nil); err != nil {
			return err
		}
		return s.announce(ctx, sub, "given_up", reason)
	case sub.Progress.FailingSince == nil && before.Tries >= 3:
		return s.announce(ctx, sub, "recovered", fmt.Sprintf("taken at try %d", before.Tries+1))
	}
	return nil
}

// progress changes the stored progress.
func (s *Service) progress(ctx context.Context, id string, apply func(*Progress) bool) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		sub, err := s.Store.Webhook(ctx, id)
		if err != nil || !apply(&sub.Progress) {
			return err
		}
		return s.Store.SaveProgress(ctx, id, sub.Progress)
	})
}

// send makes one request.
func (s *Service) send(ctx context.Context, sub Subscription, e event.Event, kind Kind, try int) (Attempt, Answer) {
	now := s.now()
	env := Envelop(s.Source, e)
	a := Attempt{ID: s.NewID(), WebhookID: sub.ID, Kind: kind, MessageID: env.ID, EventSeq: e.Seq, EventType: string(e.Type), Try: try, At: now}
	body, err := json.Marshal(env)
	if err != nil {
		a.Reason = "the event can't be written as JSON"
		return a, Answer{}
	}
	keys, err := s.keys(ctx, sub, now)
	if err != nil {
		a.Reason = "it can't be signed"
		if f := fault.As(err); f != nil {
			a.Reason += ": " + f.What
		}
		return a, Answer{}
	}
	release, err := s.slot(ctx)
	if err != nil {
		a.Reason = "it was cancelled before it was sent"
		return a, Answer{}
	}
	defer release()
	timestamp := strconv.FormatInt(now.Unix(), 10)
	answer := s.Sender.Send(ctx, sub.URL, map[string]string{
		"Content-Type": ContentType, "Webhook-Id": env.ID, "Webhook-Timestamp": timestamp,
		"Webhook-Signature": signature(keys, env.ID, timestamp, body),
	}, body)
	a.Took, a.Status, a.Answer = answer.Took, answer.Status, plain(answer.Body)
	a.OK = answer.Reason == "" && answer.Status/100 == 2
	switch {
	case a.OK:
	case answer.Reason != "":
		a.Reason = answer.Reason
	case answer.Status == 410:
		a.Reason = "the receiver wants no more (410)"
	default:
		a.Reason = fmt.Sprintf("the receiver answered with status %d", answer.Status)
	}
	a.Reason = plain(a.Reason)
	return a, answer
}

// maxAnswer is how much of an answer is kept, in bytes.
const maxAnswer = 1000

// plain makes a text that every store can hold.
func plain(text string) string {
	if len(text) > maxAnswer {
		text = text[:maxAnswer] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// Test sends an event that says nothing else than that it is a test. The
// attempt says what came of it; that the receiver does not take it is no fault.
func (s *Service) Test(ctx context.Context, ref string) (*Attempt, error) {
	sub, err := s.Store.Webhook(ctx, ref)
	if err != nil {
		return nil, err
	}
	now := s.now()
	e := event.New(TestType, "", audit.ActorFrom(ctx).ID, now, Note{WebhookID: sub.ID, Name: sub.Name, Change: "test", Timestamp: now})
	return s.once(ctx, *sub, e, KindTest, 1, "webhook.test")
}

// Redeliver sends the event of an earlier attempt again. If it is the one that
// waits to be taken, deliveries go on when it is.
func (s *Service) Redeliver(ctx context.Context, ref, attempt string) (*Attempt, error) {
	sub, err := s.Store.Webhook(ctx, ref)
	if err != nil {
		return nil, err
	}
	was, err := s.Attempts.Attempt(ctx, sub.ID, attempt)
	if err != nil {
		return nil, err
	}
	if was.EventSeq == 0 {
		return s.Test(ctx, sub.ID)
	}
	found, err := s.Log.Find(ctx, event.Query{After: was.EventSeq - 1, Before: was.EventSeq + 1, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "webhook.event_gone", "The event is not there any more").
			Because("events are removed after a while").Do("Set keep.events higher to keep them for longer.")
	}
	return s.once(ctx, *sub, found[0], KindAgain, was.Try+1, "webhook.redeliver")
}

func (s *Service) once(ctx context.Context, sub Subscription, e event.Event, kind Kind, try int, action string) (*Attempt, error) {
	a, _ := s.send(ctx, sub, e, kind, try)
	err := s.change(ctx, func(ctx context.Context) error {
		if err := s.Attempts.AddAttempt(ctx, a, keepAttempts); err != nil {
			return err
		}
		outcome := audit.Done
		if !a.OK {
			outcome = audit.Failed
		}
		if err := s.Audit.Record(ctx, action, "webhook/"+sub.Name, outcome, a.Reason, nil, map[string]any{"message": a.MessageID, "status": a.Status}); err != nil {
			return err
		}
		return s.progress(ctx, sub.ID, func(p *Progress) bool {
			if !a.OK || e.Seq == 0 || p.Pending != e.Seq {
				return false
			}
			s.settle(p, e, a, Answer{})
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	return &a, nil
}
