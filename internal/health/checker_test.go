package health_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
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

func (t trail) Append(_ context.Context, e audit.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, e)
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

func TestHealthFollowsTheProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		var changed []string
		x.Changed = func(id string) { changed = append(changed, id) }
		s := x.subject("a", 2, 10*time.Second)
		for i := range s.Targets {
			s.Targets[i].Liveness = nil
		}
		x.f.bad["a-0"] = "not yet"
		x.Set(s)
		time.Sleep(2 * time.Second)
		expect(t, x, "a", agent.HealthDegraded, "1 of 2 instances are ready")
		x.f.set(func() { x.f.bad["a-0"] = "" })
		time.Sleep(time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
		if live, ready := x.Answers("a", "a-0"); live != nil || ready == nil || !*ready {
			t.Fatalf("answers %v %v", live, ready)
		}
		x.f.set(func() { x.f.bad["a-0"], x.f.bad["a-1"] = "broken", "broken" })
		time.Sleep(12 * time.Second) // one interval and the confirmation
		expect(t, x, "a", agent.HealthUnhealthy, "a-0: exec check: exit code 1: broken")
		x.f.set(func() { clear(x.f.bad) })
		time.Sleep(1200 * time.Millisecond) // recovery is noticed sooner than an interval
		expect(t, x, "a", agent.HealthHealthy, "")
		x.b.mu.Lock()
		defer x.b.mu.Unlock()
		var payloads []string
		for _, e := range x.b.events {
			if e.Type != event.AgentHealthUpdate || !slices.Contains(e.Rooms, event.RoomAgents) || !slices.Contains(e.Rooms, event.RoomAgent("a")) {
				t.Fatalf("event %+v", e)
			}
			payloads = append(payloads, string(e.Data))
		}
		if text := payloads[len(payloads)-1]; !strings.Contains(text, `"memory_bytes":200`) || !strings.Contains(text, `"instances_ready":2`) || !strings.Contains(text, `"health":"healthy"`) {
			t.Fatalf("payload %s", text)
		}
		if len(x.b.results) != len(changed) || len(x.b.results) < 6 {
			t.Fatalf("%d results, %d changes", len(x.b.results), len(changed))
		}
	})
}

func TestTenThousandTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.Workers = 64
		x.f.takes = time.Millisecond
		x.start(t)
		defer x.stop(t)
		const n, interval = 10000, 10 * time.Second
		known := true
		for i := range n {
			s := x.subject(fmt.Sprintf("a%05d", i), 1, interval)
			s.Health = agent.HealthHealthy
			s.Targets[0].Liveness, s.Targets[0].Ready = nil, &known
			x.Set(s)
		}
		began := time.Now()
		time.Sleep(3*interval + interval/2)
		x.f.set(func() {
			if x.f.top > 64 {
				t.Errorf("%d probes at once, more than there are workers", x.f.top)
			}
			perSecond := map[int]int{}
			for id, times := range x.f.asked {
				if len(times) < 3 || len(times) > 5 {
					t.Fatalf("%s was asked %d times in three and a half intervals", id, len(times))
				}
				for i, at := range times {
					perSecond[int(at.Sub(began)/time.Second)]++
					if i == 0 {
						continue
					}
					if d := at.Sub(times[i-1]); d < interval*9/10 || d > interval*12/10 {
						t.Fatalf("%s was asked after %s", id, d)
					}
				}
			}
			for s, k := range perSecond {
				if k > 2*n/int(interval/time.Second) {
					t.Errorf("%d of %d probes in second %d: not spread", k, n, s)
				}
			}
			if len(x.f.asked) != n {
				t.Errorf("%d of %d targets were asked", len(x.f.asked), n)
			}
		})
		x.b.mu.Lock()
		defer x.b.mu.Unlock()
		if len(x.b.results)+len(x.b.events)+len(x.b.saved) > 0 {
			t.Fatalf("unchanged answers were stored: %d results, %d events", len(x.b.results), len(x.b.events))
		}
	})
}

func TestHungInstanceIsRestartedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		var at time.Time
		x.f.onAct = func(id string) { at = time.Now(); x.f.hang[id] = false }
		x.Set(x.subject("a", 1, 10*time.Second))
		time.Sleep(25 * time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
		for i := range 4 { // at any moment of the interval
			time.Sleep(time.Duration(i) * 2300 * time.Millisecond)
			began := time.Now()
			x.f.set(func() { x.f.hang["a-0"] = true })
			time.Sleep(12 * time.Second)
			synctest.Wait()
			x.f.set(func() {
				if x.f.restarts["a-0"] != i+1 {
					t.Fatalf("restarted %d times, want %d", x.f.restarts["a-0"], i+1)
				}
				if d := at.Sub(began); d > 11*time.Second+1700*time.Millisecond {
					t.Fatalf("restarted after %s", d)
				}
			})
			time.Sleep(20 * time.Second)
			expect(t, x, "a", agent.HealthHealthy, "")
		}
	})
}

func TestSlowAnswerIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.f.takes = 900 * time.Millisecond // of the second it may take
		x.start(t)
		defer x.stop(t)
		x.Set(x.subject("a", 1, 5*time.Second))
		time.Sleep(5 * time.Minute)
		expect(t, x, "a", agent.HealthHealthy, "")
		x.f.set(func() {
			if x.f.restarts["a-0"] > 0 {
				t.Error("a slow instance was restarted")
			}
			if n := len(x.f.asked["a-0"]); n > 2*60*3/2 {
				t.Errorf("a slow instance was asked %d times in 60 intervals", n)
			}
		})
	})
}

func TestRestartsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.RestartLimit = 3
		x.start(t)
		defer x.stop(t)
		x.f.bad["a-0"] = "deadlock"
		x.Set(x.subject("a", 1, time.Second))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		x.f.set(func() {
			if x.f.restarts["a-0"] != 3 || len(x.f.gaveUp) != 1 {
				t.Fatalf("%d restarts, given up %v", x.f.restarts["a-0"], x.f.gaveUp)
			}
		})
		x.b.mu.Lock()
		defer x.b.mu.Unlock()
		if n := len(x.b.entries); n != 4 || x.b.entries[0].Actor != "system" || x.b.entries[3].Action != "agent.remedy_give_up" || !strings.Contains(x.b.entries[0].Reason, "deadlock") {
			t.Fatalf("audit %+v", x.b.entries)
		}
	})
}

func TestRestartIsNotCountedWhileSomebodyWorksOnTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.RestartLimit = 1
		x.f.refuse = fault.New(fault.Conflict, "test.busy", "busy")
		x.start(t)
		defer x.stop(t)
		x.f.bad["a-0"] = "stopping"
		x.Set(x.subject("a", 1, time.Second))
		time.Sleep(time.Minute)
		synctest.Wait()
		x.b.mu.Lock()
		if len(x.b.entries) != 0 {
			t.Fatalf("audit %+v", x.b.entries)
		}
		x.b.mu.Unlock()
		x.f.set(func() { x.f.refuse = errors.New("the engine is away") })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		x.b.mu.Lock()
		defer x.b.mu.Unlock()
		if len(x.b.entries) == 0 || x.b.entries[0].Outcome != audit.Failed {
			t.Fatalf("audit %+v", x.b.entries)
		}
	})
}

func TestNewRunIsAskedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		s := x.subject("a", 1, 10*time.Second)
		x.Set(s)
		time.Sleep(time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
		x.f.set(func() { x.f.bad["a-0"] = "starting" })
		again := x.subject("a", 1, 10*time.Second)
		again.Targets[0].Run = "2"
		x.Set(again)
		time.Sleep(time.Millisecond)
		expect(t, x, "a", agent.HealthStarting, "")
		x.f.set(func() { x.f.bad["a-0"] = "" })
		time.Sleep(time.Second) // not a whole interval
		expect(t, x, "a", agent.HealthHealthy, "")
		down := x.subject("a", 1, 10*time.Second)
		down.Targets[0].Up, down.Targets[0].Note = false, "backoff (will be started again)"
		x.Set(down)
		expect(t, x, "a", agent.HealthUnhealthy, "backoff")
		down.Targets = nil
		x.Set(down)
		expect(t, x, "a", agent.HealthUnhealthy, "no instance is there")
	})
}

func TestSuspendedIsNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		s := x.subject("a", 1, time.Second)
		x.Set(s)
		time.Sleep(5 * time.Second)
		s.Suspended = true
		x.Set(s)
		expect(t, x, "a", agent.HealthUnknown, "suspended")
		asked := 0
		x.f.set(func() { asked = len(x.f.asked["a-0"]) })
		time.Sleep(time.Minute)
		x.f.set(func() {
			if n := len(x.f.asked["a-0"]); n != asked {
				t.Fatalf("asked %d times while suspended", n-asked)
			}
		})
		s.Suspended = false
		x.Set(s)
		time.Sleep(time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
		x.Remove("a")
		x.f.set(func() { asked = len(x.f.asked["a-0"]) })
		time.Sleep(time.Minute)
		x.f.set(func() {
			if n := len(x.f.asked["a-0"]); n > asked {
				t.Fatalf("asked %d times after it was removed", n-asked)
			}
		})
		if live, ready := x.Answers("a", "a-0"); live != nil || ready != nil {
			t.Fatal("answers of a removed agent")
		}
	})
}

func TestDependenciesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		s := x.subject("a", 1, time.Second)
		s.Needs = []string{"B", "c"}
		x.Set(s)
		time.Sleep(2 * time.Second)
		expect(t, x, "a", agent.HealthHealthy, "") // not all are known yet
		b := x.subject("b", 1, time.Second)
		b.Targets[0].Liveness = nil
		x.Set(b)
		time.Sleep(2 * time.Second)
		x.Complete()
		x.Complete()
		expect(t, x, "a", agent.HealthDegraded, "it depends on: c is not running")
		x.Set(x.subject("c", 1, time.Second))
		time.Sleep(2 * time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
		x.f.set(func() { x.f.bad["b-0"] = "broken" })
		time.Sleep(1500 * time.Millisecond)
		time.Sleep(2 * time.Second)
		expect(t, x, "a", agent.HealthDegraded, "B is unhealthy")
		x.f.set(func() { clear(x.f.bad) })
		time.Sleep(3 * time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
		b.Suspended = true
		x.Set(b)
		expect(t, x, "a", agent.HealthDegraded, "B is suspended")
		x.Remove("b")
		expect(t, x, "a", agent.HealthDegraded, "B is not running")
	})
}

func TestStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		x.b.fail = errors.New("the disk is full")
		x.Set(x.subject("a", 1, time.Second))
		time.Sleep(10 * time.Second)
		if h, _ := x.last("a"); h != "" {
			t.Fatalf("stored %s", h)
		}
		x.b.mu.Lock()
		x.b.fail = nil
		x.b.mu.Unlock()
		time.Sleep(2 * time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
		x.b.mu.Lock()
		defer x.b.mu.Unlock()
		if len(x.b.results) != 2 {
			t.Fatalf("%d results, want both first answers", len(x.b.results))
		}
	})
}

func TestWhatEndedMeanwhileIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		x.b.states["a"], x.b.states["b"] = agent.Stopped, "gone"
		x.Set(x.subject("a", 1, time.Second))
		x.Set(x.subject("b", 1, time.Second))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if ha, _ := x.last("a"); ha != "" {
			t.Fatalf("stored %s for a stopped agent", ha)
		}
		if hb, _ := x.last("b"); hb != "" {
			t.Fatalf("stored %s for a deleted agent", hb)
		}
	})
}

func TestInitialDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		s := x.subject("a", 1, time.Second)
		s.Targets[0].Liveness.InitialDelay, s.Targets[0].Readiness = agent.Duration(10*time.Second), nil
		x.Set(s)
		time.Sleep(9 * time.Second)
		x.f.set(func() {
			if n := len(x.f.asked["a-0"]); n > 0 {
				t.Fatalf("asked %d times before its initial delay", n)
			}
		})
		expect(t, x, "a", agent.HealthStarting, "")
		time.Sleep(2 * time.Second)
		expect(t, x, "a", agent.HealthHealthy, "")
	})
}

func TestCheckerKeepsTheServiceContract(t *testing.T) {
	lifecycletest.Run(t, func(t *testing.T) lifecycle.Service { return newFixture().Checker })
}
