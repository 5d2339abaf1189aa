package health_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
)

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

// What has no probes is well once it runs, and not while somebody is still to begin it.
func TestAnInstanceThatBeginsIsNotReadyYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		s := x.subject("a", 1, 10*time.Second)
		at := &s.Targets[0]
		at.Liveness, at.Readiness, at.Begins, at.Note = nil, nil, true, "starting"
		x.Set(s)
		synctest.Wait()
		expect(t, x, "a", agent.HealthStarting, "starting")
		at.Up, at.Note = false, "FailedScheduling: no node has room"
		x.Set(s)
		synctest.Wait()
		expect(t, x, "a", agent.HealthUnhealthy, "no node has room")
		at.Up, at.Begins, at.Note, at.Run = true, false, "", "another"
		x.Set(s)
		synctest.Wait()
		expect(t, x, "a", agent.HealthHealthy, "")
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
				if len(times) < 3 || len(times) > 6 {
					t.Fatalf("%s was asked %d times in three and a half intervals", id, len(times))
				}
				for i, at := range times {
					perSecond[int(at.Sub(began)/time.Second)]++
					if i == 0 {
						continue
					}
					if d := at.Sub(times[i-1]); d < interval*8/10 || d > interval*11/10 {
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
