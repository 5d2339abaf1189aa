package fleet_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
)

func TestCrashLoopEndsInErrored(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	sp := spec("Worker")
	sp.Replicas = 2
	sp.Restart = agent.RestartPolicy{MaxRestarts: 1, Backoff: agent.Backoff{Initial: agent.Duration(10 * time.Millisecond)}}
	id := w.running(sp)
	bad := fleet.InstanceID(id, 1, 1)
	w.runtime.Print(id, bad, "stderr", "no such table")
	w.eventually("it used up its restarts", func() bool {
		w.runtime.Crash(id, bad, 7)
		i := slices.IndexFunc(w.on(id), func(in fleet.Instance) bool { return in.ID == bad })
		return i >= 0 && w.on(id)[i].State == fleet.InstanceFailed
	})
	a := w.comes(id, agent.Errored)
	f := a.Failure
	if f.Code != "crash_loop" || f.ExitCode == nil || *f.ExitCode != 7 || !slices.Contains(f.LastLogs, "no such table") || f.Remedy == "" {
		t.Fatalf("failure %+v", f)
	}
	w.eventually("the other instance is ended", func() bool { list := w.on(id); return len(list) == 1 && list[0].ID == bad })
	w.eventually("the stored instances say so", func() bool {
		list := w.stored(id)
		return len(list) == 1 && list[0].State == fleet.InstanceFailed
	})
	if len(w.events(event.InstanceChanged)) == 0 {
		t.Fatal("no event told of the instances")
	}
	w.must(id, agent.Restart)
	w.expect(id, agent.Running)
	if n := len(w.on(id)); n != 2 {
		t.Fatalf("%d instances after restart", n)
	}
}

func TestLostInstanceIsLaunchedAgain(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	id := w.running(spec("Worker"))
	port := w.on(id)[0].Port
	w.runtime.Lose(id, fleet.InstanceID(id, 1, 0))
	w.eventually("it runs again", func() bool {
		list := w.on(id)
		return len(list) == 1 && list[0].State == fleet.InstanceRunning
	})
	if got := w.on(id)[0].Port; got != port {
		t.Fatalf("its port changed from %d to %d", port, got)
	}
	w.expect(id, agent.Running)
}

func TestInstanceThatIsLostAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	w.reconcile(func(r *fleet.Reconciler, _ *health.Checker) { r.RelaunchLimit = 2 })
	id := w.running(spec("Worker"))
	w.eventually("it is given up", func() bool {
		if list := w.on(id); len(list) == 1 && list[0].State == fleet.InstanceRunning {
			w.runtime.Lose(id, list[0].ID)
		}
		return w.get(id).State == agent.Errored
	})
	if f := w.get(id).Failure; f.Code != "instances_lost" {
		t.Fatalf("failure %+v", f)
	}
}

func TestErroredAgentThatRecovers(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	id := w.running(spec("Worker"))
	w.runtime.Fail("Stop", refusal("the engine hangs"))
	if op := w.act(id, agent.Stop); op.State != operation.Failed {
		t.Fatalf("%s", op.State)
	}
	if a := w.get(id); a.State != agent.Errored {
		t.Fatalf("%s", a.State)
	}
	w.runtime.Fail("Stop", nil)
	a := w.comes(id, agent.Running)
	if a.Failure != nil || a.Health != agent.HealthHealthy {
		t.Fatalf("%+v", a)
	}
	if h := w.history(id)[0]; h.PreviousState != agent.Errored || h.TriggeredBy != "system" {
		t.Fatalf("%+v", h)
	}
}

func TestProgramThatEndsByItself(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	sp := spec("Worker")
	sp.Restart.Policy = "never"
	id := w.running(sp)
	w.runtime.Crash(id, fleet.InstanceID(id, 1, 0), 0)
	a := w.comes(id, agent.Errored)
	if a.Failure.Code != "exited" || a.Failure.ExitCode == nil || *a.Failure.ExitCode != 0 {
		t.Fatalf("failure %+v", a.Failure)
	}
}

func TestDeadOperationReleasesItsAgent(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	a := w.get(id)
	a.ActiveOperation = "of-another-life"
	if err := w.store.Agents().Save(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	w.eventually("it is released", func() bool { return w.get(id).ActiveOperation == "" })
	w.comes(id, agent.Running) // its instance runs and is ready
}

func TestRuntimeThatIsGone(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	w.stopEngine()
	w.boot(fleettest.NewNamedFake("other"))
	w.reconcile()
	if f := w.comes(id, agent.Errored).Failure; f.Code != "fleet.runtime_missing" {
		t.Fatalf("failure %+v", f)
	}
}

func TestRelaunchThatCannotSucceed(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	id := w.running(spec("Worker"))
	w.runtime.Fail("Launch", refusal("the program was deleted"))
	w.runtime.Lose(id, fleet.InstanceID(id, 1, 0))
	if f := w.comes(id, agent.Errored).Failure; f.Code != "test.refused" || !strings.Contains(f.Reason, "the program was deleted") {
		t.Fatalf("failure %+v", f)
	}
}

func TestOutOfMemoryIsNamed(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	id := w.running(spec("Worker"))
	w.runtime.OOM(id, fleet.InstanceID(id, 1, 0))
	f := w.comes(id, agent.Errored).Failure
	if f.Signal != "SIGKILL" || !strings.Contains(f.Reason, "out of memory") || !strings.Contains(f.Remedy, "resources.memory") {
		t.Fatalf("failure %+v", f)
	}
}

func TestRuntimeThatDoesNotAnswerIsNotAnEmptyOne(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	w.runtime.Fail("Observe", errAway)
	r, _ := w.reconcile()
	calls := len(w.runtime.Calls())
	r.Poke(id)
	w.eventually("it was asked again and again", func() bool { return len(w.runtime.Calls()) > calls+5 })
	w.runtime.Fail("Observe", nil)
	w.eventually("the fleet is seen", func() bool { return len(w.stored(id)) == 1 })
	w.expect(id, agent.Running)
	for _, c := range w.runtime.Calls()[calls:] {
		if !strings.HasPrefix(c, "Observe") {
			t.Fatalf("acted blindly: %s", c)
		}
	}
}

func TestOneRuntimeAwayDoesNotKeepOthersFromRepair(t *testing.T) {
	w := newWorld(t)
	other := fleettest.NewNamedFake("docker")
	w.portal.fleet.Runtimes[other.Name()] = other
	contained := spec("Contained")
	contained.Runtime, contained.Image = "docker", "example/worker:1"
	there := w.running(contained)
	here := w.running(spec("Worker"))
	other.Fail("Observe", errAway)
	calls := len(other.Calls())
	w.reconcile()
	w.eventually("both are watched", func() bool { return len(w.stored(here)) == 1 })
	if !w.runtime.Lose(here, fleet.InstanceID(here, 1, 0)) {
		t.Fatal("the instance was not there")
	}
	w.eventually("it runs again", func() bool {
		list := w.on(here)
		return len(list) == 1 && list[0].State == fleet.InstanceRunning
	})
	w.expect(here, agent.Running)
	w.expect(there, agent.Running)
	for _, c := range other.Calls()[calls:] {
		if !strings.HasPrefix(c, "Observe") {
			t.Errorf("acted blindly: %s", c)
		}
	}
}
