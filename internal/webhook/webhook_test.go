package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/webhook"
)

var ids atomic.Int64

// begin is when tests begin.
var begin = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// request is what a receiver got.
type request struct {
	url    string
	header map[string]string
	body   []byte
}

func (r request) envelope(t *testing.T) webhook.Envelope {
	t.Helper()
	var e webhook.Envelope
	if err := json.Unmarshal(r.body, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// receiver is a webhook.Sender that remembers what was sent.
type receiver struct {
	mu     sync.Mutex
	got    []request
	answer func(n int, r request) webhook.Answer // n counts from 1
}

func (r *receiver) Send(_ context.Context, url string, header map[string]string, body []byte) webhook.Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	req := request{url: url, header: header, body: body}
	r.got = append(r.got, req)
	if r.answer != nil {
		return r.answer(len(r.got), req)
	}
	return webhook.Answer{Status: 204}
}

func (r *receiver) all() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.got...)
}

// world is a service on a real store, with a receiver that tests control.
type world struct {
	*webhook.Service
	store    *store.Store
	clock    *clock
	receiver *receiver
}

type secrets map[string]string

func (s secrets) Secret(_ context.Context, ref string) (string, error) {
	if v, ok := s[ref]; ok {
		return v, nil
	}
	return "", fault.New(fault.NotFound, "secret.not_found", "There is no secret %s", ref)
}

func newWorld(t *testing.T, s *store.Store) *world {
	t.Helper()
	w := &world{store: s, clock: &clock{at: begin}, receiver: &receiver{}}
	w.Service = &webhook.Service{
		Store: s.Webhooks(), Attempts: s.Webhooks(), Log: s.Events(), Tx: s, Audit: &audit.Recorder{Store: s.Audit(), Now: w.clock.now},
		Sender: w.receiver, Secrets: secrets{"file:hook": strings.Repeat("s", 30), "file:short": "short", "file:broken": "whsec_%%%"},
		Key: []byte(strings.Repeat("k", 32)), Source: "https://portal.example", Now: w.clock.now, Logger: slog.New(slog.DiscardHandler),
		Random: func() float64 { return 0.5 },
		CheckURL: func(field, text string) error {
			_, err := egress.Policy{}.CheckURL(field, text)
			return err
		},
		NewID: func() string { return fmt.Sprintf("%08d", ids.Add(1)) },
	}
	return w
}

func all(name string) webhook.Definition {
	return webhook.Definition{Name: name, URL: "https://hooks.example/in", Types: []string{"agent:*"}, Enabled: true}
}

func (w *world) create(t *testing.T, d webhook.Definition) *webhook.Subscription {
	t.Helper()
	sub, _, err := w.Create(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// happen appends events about agents; the number tells them apart.
func (w *world) happen(t *testing.T, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		e := event.New(event.AgentStateChanged, fmt.Sprintf("agent-%d", n), "user:ann", w.clock.now(),
			event.StateChanged{AgentID: fmt.Sprintf("agent-%d", n), OldState: "STOPPED", NewState: "RUNNING", Reason: "because", Timestamp: w.clock.now()},
			event.RoomAgents)
		if err := w.store.Events().Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// run sends what is due to a subscription, as the deliverer does.
func (w *world) run(t *testing.T, id string) *time.Time {
	t.Helper()
	next, err := webhook.Advance(w.Service, t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func (w *world) get(t *testing.T, ref string) *webhook.Subscription {
	t.Helper()
	sub, err := w.Store.Webhook(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// told are the agents of the state changes that were sent.
func (w *world) told(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, r := range w.receiver.all() {
		if e := r.envelope(t); e.Type == "com.waooaw.portal.agent.state_changed" {
			out = append(out, strings.TrimPrefix(e.AgentID, "agent-"))
		}
	}
	return out
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func TestWhatHappenedIsSentInOrderFromTheTimeOfCreation(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	w.happen(t, 1)
	sub := w.create(t, all("ops"))
	w.happen(t, 2, 3, 4)
	w.run(t, sub.ID)
	want(t, "told", w.told(t), "[2 3 4]")
	w.run(t, sub.ID)
	want(t, "told after nothing happened", len(w.receiver.all()), 3)
	got := w.get(t, "ops")
	want(t, "state", got.State(), webhook.Delivering)
	want(t, "delivered", got.Progress.Delivered, 3)
	list, _, err := w.Attempts.Attempts(t.Context(), sub.ID, "", 10)
	if err != nil || len(list) != 3 || !list[0].OK || list[0].Status != 204 {
		t.Fatalf("attempts %+v, %v", list, err)
	}
}

func TestOnlyWhatIsWantedIsSent(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	one := w.create(t, webhook.Definition{Name: "one agent", URL: "https://a.example/", Agents: []string{"agent-2"}, Enabled: true})
	exact := w.create(t, webhook.Definition{Name: "types", URL: "https://b.example/", Types: []string{"auth:signed_in", "agent:created"}, Enabled: true})
	admin := w.create(t, webhook.Definition{Name: "all", URL: "https://c.example/", Confidential: true, Enabled: true})
	off := w.create(t, webhook.Definition{Name: "off", URL: "https://d.example/"})
	w.happen(t, 1, 2)
	if err := w.store.Events().Append(t.Context(), event.New(event.SignIn, "", "user:ann", begin, map[string]any{"x": 1}, event.RoomAudit)); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []*webhook.Subscription{one, exact, admin, off} {
		w.run(t, sub.ID)
	}
	got := map[string]int{}
	for _, r := range w.receiver.all() {
		got[r.url]++
	}
	// The last one hears that it and the others were made, too: three notes.
	want(t, "requests", got, map[string]int{"https://a.example/": 1, "https://c.example/": 5})
	want(t, "disabled", w.get(t, "off").State(), webhook.Disabled)
}

func TestAReceiverThatFailsIsTriedAgainUntilItTakesIt(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	w.receiver.answer = func(n int, _ request) webhook.Answer {
		switch {
		case n <= 2:
			return webhook.Answer{Status: 503, Body: "busy"}
		case n == 3:
			return webhook.Answer{Reason: "it did not answer in time"}
		}
		return webhook.Answer{Status: 200}
	}
	sub := w.create(t, all("ops"))
	w.happen(t, 1, 2)
	var waits []time.Duration
	for next := w.run(t, sub.ID); next != nil; next = w.run(t, sub.ID) {
		want(t, "tried too early", w.run(t, sub.ID), next)
		waits = append(waits, next.Sub(w.clock.now()))
		got := w.get(t, sub.ID)
		want(t, "state", got.State(), webhook.Retrying)
		if got.Progress.Reason == "" || got.Progress.FailingSince == nil {
			t.Fatalf("progress %+v does not say why", got.Progress)
		}
		w.clock.move(next.Sub(w.clock.now()))
	}
	want(t, "waits", waits, "[5s 10s 20s]")
	want(t, "told", w.told(t), "[1 1 1 1 2]")
	ids := map[string]bool{}
	for _, r := range w.receiver.all()[:4] {
		ids[r.header["Webhook-Id"]] = true
	}
	want(t, "ids of one message", len(ids), 1)
	got := w.get(t, sub.ID).Progress
	if got.Reason != "" || got.Pending != 0 || got.Delivered != 2 || got.FailingSince != nil {
		t.Errorf("progress after success: %+v", got)
	}
	want(t, "notes", w.notes(t), "[created recovered]")
}

// notes are the changes that were announced.
func (w *world) notes(t *testing.T) []string {
	t.Helper()
	list, err := w.store.Events().Find(t.Context(), event.Query{Types: []event.Type{event.WebhookChanged}})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		if !event.Confidential(e) {
			t.Errorf("event %s is not for administrators alone", e.Data)
		}
		var n webhook.Note
		if err := json.Unmarshal(e.Data, &n); err != nil {
			t.Fatal(err)
		}
		out = append(out, n.Change)
	}
	return out
}

func TestWhatTheReceiverAsksForIsWaited(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	asked := time.Minute
	w.receiver.answer = func(int, request) webhook.Answer { return webhook.Answer{Status: 429, RetryAfter: asked} }
	sub := w.create(t, all("ops"))
	w.happen(t, 1)
	next := w.run(t, sub.ID)
	want(t, "wait", next.Sub(w.clock.now()), time.Minute)
	asked = 100 * time.Hour
	w.clock.move(time.Minute)
	next = w.run(t, sub.ID)
	want(t, "longest wait", next.Sub(w.clock.now()), 4*time.Hour)
}

func TestTryingEndsAndGoesOnWhenSomebodySaysHow(t *testing.T) {
	for skip, told := range map[webhook.Skip]string{
		webhook.SkipNothing: "[1 2 3 4]", webhook.SkipOne: "[2 3 4]", webhook.SkipAll: "[4]",
	} {
		t.Run(string(skip), func(t *testing.T) {
			w := newWorld(t, storetest.New(t))
			works := false
			w.receiver.answer = func(int, request) webhook.Answer {
				if works {
					return webhook.Answer{Status: 200}
				}
				return webhook.Answer{Status: 500}
			}
			sub := w.create(t, all("ops"))
			w.happen(t, 1, 2, 3)
			begun := w.clock.now()
			tries := 1
			for next := w.run(t, sub.ID); next != nil; next = w.run(t, sub.ID) {
				if wait := next.Sub(w.clock.now()); wait > 4*time.Hour {
					t.Fatalf("waits %s", wait)
				}
				w.clock.move(next.Sub(w.clock.now()))
				tries++
			}
			if took := w.clock.now().Sub(begun); took < 24*time.Hour || took > 72*time.Hour {
				t.Errorf("given up after %s", took)
			}
			got := w.get(t, sub.ID)
			want(t, "state", got.State(), webhook.GivenUp)
			want(t, "tries", tries, got.Progress.Tries)
			if !strings.Contains(got.Progress.Reason, "500") {
				t.Errorf("reason %q", got.Progress.Reason)
			}
			sent := len(w.receiver.all())
			w.clock.move(100 * time.Hour)
			w.run(t, sub.ID)
			want(t, "requests after giving up", len(w.receiver.all()), sent)
			works = true
			if _, err := w.Resume(t.Context(), "OPS", skip); err != nil {
				t.Fatal(err)
			}
			w.happen(t, 4)
			w.run(t, sub.ID)
			want(t, "told", w.told(t)[sent:], told)
			want(t, "notes", w.notes(t), "[created given_up resumed]")
		})
	}
}

func TestAReceiverThatIsGoneIsLeftAlone(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	w.receiver.answer = func(int, request) webhook.Answer { return webhook.Answer{Status: 410} }
	sub := w.create(t, all("ops"))
	w.happen(t, 1)
	want(t, "next", w.run(t, sub.ID), (*time.Time)(nil))
	want(t, "state", w.get(t, sub.ID).State(), webhook.GivenUp)
}

// A portal that is killed has sent an event and not stored that it did, or has
// not sent it: the next one sends it, and no event is left out.
func TestNothingIsLostWhenThePortalIsKilled(t *testing.T) {
	for _, killed := range []string{"before the answer is stored", "before the request"} {
		t.Run(killed, func(t *testing.T) {
			s := storetest.New(t)
			first := newWorld(t, s)
			sub := first.create(t, all("ops"))
			first.happen(t, 1, 2, 3)
			ctx, kill := context.WithCancel(t.Context())
			first.receiver.answer = func(n int, _ request) webhook.Answer {
				if n == 2 {
					kill() // nothing that this portal does from here on is stored
				}
				return webhook.Answer{Status: 200}
			}
			if killed == "before the request" {
				first.receiver.answer = nil
				kill()
			}
			if _, err := webhook.Advance(first.Service, ctx, sub.ID); err == nil {
				t.Fatal("it went on")
			}
			second := newWorld(t, s)
			second.run(t, sub.ID)
			sent := strings.Join(append(first.told(t), second.told(t)...), " ")
			want(t, "told", sent, map[string]string{"before the answer is stored": "1 2 2 3", "before the request": "1 2 3"}[killed])
		})
	}
}

func TestDeliverer(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	fails := make(chan struct{}, 1)
	w.receiver.answer = func(n int, _ request) webhook.Answer {
		if n == 1 {
			fails <- struct{}{}
			return webhook.Answer{Status: 500}
		}
		return webhook.Answer{Status: 200}
	}
	d := &webhook.Deliverer{Service: w.Service}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	sub := w.create(t, all("ops"))
	w.happen(t, 1)
	<-fails
	w.until(t, func() bool { return w.get(t, sub.ID).State() == webhook.Retrying })
	if _, err := w.Resume(t.Context(), sub.ID, webhook.SkipNothing); err != nil { // at once, without waiting
		t.Fatal(err)
	}
	w.happen(t, 2, 3)
	w.until(t, func() bool { return w.get(t, sub.ID).Progress.Delivered == 3 })
	want(t, "told", w.told(t), "[1 1 2 3]")
	if err := w.Delete(t.Context(), sub.ID); err != nil {
		t.Fatal(err)
	}
	second := w.create(t, all("again"))
	w.happen(t, 4)
	w.until(t, func() bool { return w.get(t, second.ID).Progress.Delivered == 1 })
}

// until waits for what the deliverer does.
func (w *world) until(t *testing.T, there func() bool) {
	t.Helper()
	wake, stop := w.store.Events().Watch()
	defer stop()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !there() {
		select {
		case <-deadline:
			t.Fatal("it does not happen")
		case <-wake:
		case <-tick.C:
		}
	}
}

func TestDelivererIsAService(t *testing.T) {
	s := storetest.New(t)
	lifecycletest.Run(t, func(t *testing.T) lifecycle.Service { return &webhook.Deliverer{Service: newWorld(t, s).Service} })
}

// broken is a store that fails.
type broken struct{ webhook.Store }

func (broken) Webhooks(context.Context) ([]webhook.Subscription, error) {
	return nil, errors.New("down")
}

func TestDelivererOutlivesAStoreThatFails(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	w.Store = broken{w.Store}
	d := &webhook.Deliverer{Service: w.Service}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.happen(t, 1)
	if err := d.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}
