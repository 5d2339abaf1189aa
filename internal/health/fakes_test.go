package health_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/health"
)

// books are stores in memory that remember everything, and can fail.
type books struct {
	mu      sync.Mutex
	fail    error
	saved   map[string][]agent.Health
	reasons map[string]string
	states  map[string]agent.State
	results []health.Result
	events  []event.Event
	entries []audit.Entry
}

func newBooks() *books {
	return &books{saved: map[string][]agent.Health{}, reasons: map[string]string{}, states: map[string]agent.State{}}
}

func (b *books) Do(ctx context.Context, fn func(ctx context.Context) error) error {
	b.mu.Lock()
	err := b.fail
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return fn(ctx)
}

func (b *books) Get(_ context.Context, id string) (*agent.Agent, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.states[id] == "gone" {
		return nil, fault.New(fault.NotFound, "agent.not_found", "gone")
	}
	a := &agent.Agent{ID: id, State: agent.Running}
	if s := b.states[id]; s != "" {
		a.State = s
	}
	return a, nil
}

func (b *books) SaveHealth(_ context.Context, id string, h agent.Health, reason string, _ time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved[id] = append(b.saved[id], h)
	b.reasons[id] = reason
	return nil
}

func (b *books) AddResult(_ context.Context, r health.Result) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results = append(b.results, r)
	return nil
}

func (b *books) Results(context.Context, string, string, int) ([]health.Result, string, error) {
	return nil, "", errors.New("not asked for")
}

func (b *books) PruneResults(context.Context, time.Time) (int, error) { return 0, nil }

func (b *books) Append(_ context.Context, events ...event.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, events...)
	return nil
}

// trail is an audit store in memory.
type trail struct{ *books }

func (t trail) Append(_ context.Context, entries ...audit.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, entries...)
	return nil
}

func (t trail) Find(context.Context, audit.Query) ([]audit.Entry, string, error) { return nil, "", nil }
func (t trail) Walk(context.Context, int64, func(audit.Entry) error) error       { return nil }
func (t trail) Head(context.Context) (int64, string, error)                      { return 0, "", nil }

// fleet is what the probes and remedies reach: instances that answer as told.
type fleet struct {
	mu       sync.Mutex
	bad      map[string]string       // instance to output of a failing probe
	hang     map[string]bool         // instances that do not answer
	takes    time.Duration           // each probe
	asked    map[string][]time.Time  // by instance
	now, top int                     // probes at once
	restarts map[string]int          // by instance
	gaveUp   []string                // instances
	onAct    func(instanceID string) // after a restart
	refuse   error                   // of remedies
}

func newFleet() *fleet {
	return &fleet{bad: map[string]string{}, hang: map[string]bool{}, asked: map[string][]time.Time{}, restarts: map[string]int{}}
}

func (f *fleet) Exec(ctx context.Context, _, instanceID string, _ []string) (int, string, error) {
	f.mu.Lock()
	f.asked[instanceID] = append(f.asked[instanceID], time.Now())
	f.now++
	f.top = max(f.top, f.now)
	bad, hang, takes := f.bad[instanceID], f.hang[instanceID], f.takes
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if hang {
		<-ctx.Done()
		return -1, "", ctx.Err()
	}
	if takes > 0 {
		busy := time.NewTimer(takes)
		<-busy.C
	}
	if bad != "" {
		return 1, bad, nil
	}
	return 0, "", nil
}

func (f *fleet) Measure(context.Context, string, string) (map[string]float64, error) {
	return map[string]float64{"memory_bytes": 100}, nil
}

func (f *fleet) Restart(_ context.Context, _, instanceID, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.restarts[instanceID]++
	if f.onAct != nil {
		f.onAct(instanceID)
	}
	return nil
}

func (f *fleet) GiveUp(_ context.Context, _, instanceID, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.gaveUp = append(f.gaveUp, instanceID)
	return nil
}

func (f *fleet) set(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

// fixture is a checker over books and a fleet.
type fixture struct {
	*health.Checker
	b *books
	f *fleet
}

func newFixture() *fixture {
	b, f := newBooks(), newFleet()
	return &fixture{b: b, f: f, Checker: &health.Checker{
		Agents: b, Store: b, Tx: b, Events: b, Audit: &audit.Recorder{Store: trail{b}, Now: time.Now},
		Remedy: f, Now: time.Now,
	}}
}

func (x *fixture) start(t *testing.T) {
	t.Helper()
	if err := x.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (x *fixture) stop(t *testing.T) {
	t.Helper()
	if err := x.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// last gives the newest stored health and its reason.
func (x *fixture) last(id string) (agent.Health, string) {
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	if list := x.b.saved[id]; len(list) > 0 {
		return list[len(list)-1], x.b.reasons[id]
	}
	return "", ""
}

func probe(interval time.Duration) *agent.Probe {
	return &agent.Probe{Exec: &agent.ExecProbe{Command: []string{"check"}}, Interval: agent.Duration(interval)}
}

// subject is an agent with n instances that are probed for both.
func (x *fixture) subject(id string, n int, interval time.Duration) health.Subject {
	s := health.Subject{AgentID: id, Name: strings.ToUpper(id), Wanted: n, Health: agent.HealthUnknown, Exec: x.f, Meter: x.f}
	for i := range n {
		s.Targets = append(s.Targets, health.Target{InstanceID: fmt.Sprintf("%s-%d", id, i), Run: "1", Up: true,
			Liveness: probe(interval), Readiness: probe(interval)})
	}
	return s
}

func expect(t *testing.T, x *fixture, id string, want agent.Health, reason string) {
	t.Helper()
	synctest.Wait()
	h, why := x.last(id)
	if h != want || !strings.Contains(why, reason) {
		t.Fatalf("%s is %q because %q, want %q because %q", id, h, why, want, reason)
	}
}
