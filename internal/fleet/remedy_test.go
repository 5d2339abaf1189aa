package fleet_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
)

func TestHungInstanceIsRestarted(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	var mu sync.Mutex
	hung := 0
	w.runtime.OnExec(func(context.Context, string, []string) (int, string, error) {
		mu.Lock()
		defer mu.Unlock()
		if hung == w.on("")[0].PID {
			return 1, "deadlock", nil
		}
		return 0, "", nil
	})
	sp := spec("Worker")
	sp.Probes.Liveness = &agent.Probe{Exec: &agent.ExecProbe{Command: []string{"check"}}, Interval: agent.Duration(100 * time.Millisecond), FailureThreshold: 2}
	id := w.running(sp)
	w.eventually("it is known to live", func() bool { l := w.stored(id); return len(l) == 1 && l[0].Live != nil && *l[0].Live })
	pid := w.on(id)[0].PID
	mu.Lock()
	hung = pid
	mu.Unlock()
	w.eventually("it is restarted in its place", func() bool {
		list := w.stored(id)
		return len(list) == 1 && list[0].PID != pid && list[0].PID != 0 && list[0].Restarts == 1 && list[0].Live != nil && *list[0].Live
	})
	w.eventually("it is healthy again", func() bool { return w.get(id).Health == agent.HealthHealthy })
	w.expect(id, agent.Running)
	w.eventually("the audit log has it", func() bool {
		list := w.audited("agent.remedy_restart", "agent/"+id)
		return len(list) == 1 && strings.Contains(list[0].Reason, "deadlock") && list[0].Actor == "system"
	})
}

func TestInstanceThatAlwaysHangs(t *testing.T) {
	w := newWorld(t)
	w.reconcile(func(_ *fleet.Reconciler, c *health.Checker) { c.RestartLimit = 1; c.CoolDown = 50 * time.Millisecond })
	w.prober.says(func(string) string { return "" })
	w.runtime.OnExec(func(context.Context, string, []string) (int, string, error) { return 1, "", nil })
	sp := spec("Worker")
	sp.Probes.Liveness = &agent.Probe{Exec: &agent.ExecProbe{Command: []string{"check"}}, Interval: agent.Duration(100 * time.Millisecond), FailureThreshold: 1}
	id := w.running(sp)
	a := w.comes(id, agent.Errored)
	if a.Failure.Code != "liveness" {
		t.Fatalf("failure %+v", a.Failure)
	}
	w.eventually("nothing runs", func() bool { return len(w.on(id)) == 0 })
}

func TestRemedyLeavesWorkedOnAgentsAlone(t *testing.T) {
	w := newWorld(t)
	w.stopEngine()
	w.boot(mute{w.runtime})
	r, _ := w.reconcile()
	id := w.running(spec("Worker"))
	in := fleet.InstanceID(id, 1, 0)
	pid := w.on(id)[0].PID
	if err := r.Restart(t.Context(), id, in, "test"); err != nil {
		t.Fatal(err)
	}
	if now := w.on(id)[0].PID; now == pid {
		t.Fatal("a runtime that can't restart in place was not helped")
	}
	w.must(id, agent.Stop)
	if err := r.Restart(t.Context(), id, in, "test"); !fault.Is(err, fault.Conflict) {
		t.Fatalf("restart of a stopped agent: %v", err)
	}
	if err := r.GiveUp(t.Context(), id, in, "test"); !fault.Is(err, fault.Conflict) {
		t.Fatalf("giving up a stopped agent: %v", err)
	}
	w.expect(id, agent.Stopped)
}
