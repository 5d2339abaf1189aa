package health_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
)

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
				if d := at.Sub(began); d > 10*time.Second+1500*time.Millisecond {
					t.Fatalf("restarted after %s", d)
				}
			})
			time.Sleep(20 * time.Second)
			expect(t, x, "a", agent.HealthHealthy, "")
		}
	})
}

func TestWhatOthersStartAgainIsLeftToThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newFixture()
		x.start(t)
		defer x.stop(t)
		s := x.subject("a", 1, 10*time.Second)
		s.Targets[0].Guarded = true
		x.Set(s)
		time.Sleep(25 * time.Second)
		x.f.set(func() { x.f.hang["a-0"] = true })
		time.Sleep(2 * time.Minute)
		if live, _ := x.Answers("a", "a-0"); live == nil || *live {
			t.Error("that it hangs is not shown")
		}
		x.f.set(func() {
			if n := x.f.restarts["a-0"]; n != 0 {
				t.Errorf("restarted %d times", n)
			}
		})
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
