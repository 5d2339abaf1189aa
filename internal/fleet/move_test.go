package fleet_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/operation"
)

// newTwin makes a world with a second runtime, docker.
func newTwin(t *testing.T) (*world, *fleettest.Fake) {
	w := newWorld(t)
	other := fleettest.NewNamedFake("docker")
	w.other = other
	w.crash() // the next portal has it
	return w, other
}

var toDocker = fleet.MoveOptions{Runtime: "docker", Changes: map[string]any{"image": "registry/worker:1"}}

func (w *world) move(id string, opt fleet.MoveOptions) *operation.Operation {
	w.t.Helper()
	op, err := w.fleet.Move(w.t.Context(), id, opt)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.wait(op.ID)
}

func seen(t *testing.T, rt fleet.Runtime, id string) []fleet.Instance {
	t.Helper()
	list, err := rt.Observe(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMoveHasTheNewReadyBeforeTheOldEnd(t *testing.T) {
	w, other := newTwin(t)
	sp := spec("Mover")
	sp.Replicas = 2
	id := w.running(sp)
	before := w.ports(id)

	plan, err := w.fleet.PlanMove(t.Context(), id, toDocker)
	if err != nil {
		t.Fatal(err)
	}
	if plan.From != "process" || plan.To != "docker" || plan.Interrupts != "" || len(plan.Steps) != 6 ||
		!strings.Contains(strings.Join(plan.Stays, " "), "directory data (4.0 KiB)") {
		t.Errorf("plan %+v", plan)
	}
	if a := w.get(id); a.Revision != 1 || a.ActiveOperation != "" || len(seen(t, other, id)) != 0 {
		t.Fatalf("the plan changed something: %+v", a)
	}

	release := w.runtime.Block("Stop")
	op, err := w.fleet.Move(t.Context(), id, toDocker)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("both run side by side", func() bool {
		return len(w.on(id)) == 2 && len(seen(t, other, id)) == 2 && slices.ContainsFunc(w.runtime.Calls(), func(c string) bool { return strings.HasPrefix(c, "Stop "+id) })
	})
	release()
	if op = w.wait(op.ID); op.State != operation.Succeeded {
		t.Fatalf("%s: %+v", op.State, op.Problem)
	}
	a := w.expect(id, agent.Running)
	if a.Health != agent.HealthHealthy {
		t.Errorf("health %s after the move", a.Health)
	}
	for _, step := range plan.Steps {
		if strings.ContainsAny(step, "{}%") {
			t.Errorf("a step reads %q", step)
		}
	}
	if a.Spec.Runtime != "docker" || a.DeployedRevision != 2 || len(w.on(id)) != 0 || len(seen(t, other, id)) != 2 {
		t.Errorf("after the move: %+v, %v, %v", a, w.on(id), seen(t, other, id))
	}
	after := w.ports(id)
	if len(after) != 2 || slices.ContainsFunc(after, func(p int) bool { return slices.Contains(before, p) }) {
		t.Errorf("ports %v, before %v", after, before)
	}
	for _, in := range seen(t, other, id) {
		if !slices.Contains(after, in.Port) {
			t.Errorf("%s has port %d, reserved are %v", in.ID, in.Port, after)
		}
	}

	// What it left is found, and taken up again on the way back.
	list, _, err := w.fleet.Orphans(t.Context())
	if err != nil || len(list) != 1 || list[0].Runtime != "process" || list[0].AgentID != id || !strings.Contains(list[0].Why, "runs on docker") {
		t.Errorf("left over: %+v, %v", list, err)
	}
	by, err := w.ops.Undo(t.Context(), op.ID)
	if err != nil {
		t.Fatal(err)
	}
	if by = w.wait(by.ID); by.State != operation.Succeeded {
		t.Fatalf("%s: %+v", by.State, by.Problem)
	}
	if a := w.expect(id, agent.Running); a.Spec.Runtime != "process" || a.Spec.Image != "" || len(w.on(id)) != 2 || len(seen(t, other, id)) != 0 {
		t.Errorf("moved back: %+v", a)
	}
	w.must(id, agent.Revoke)
	for _, rt := range []fleet.Accountant{w.runtime, other} {
		if list, err := rt.Holdings(t.Context(), id); err != nil || len(list) > 0 {
			t.Errorf("revoked, and left are %v, %v", list, err)
		}
	}
}

func TestMoveThatFailsLeavesEverythingAsItWas(t *testing.T) {
	for method, err := range map[string]error{
		"Prepare": fault.New(fault.Invalid, "image.missing", "There is no such image"),
		"Launch":  errors.New("no space left"),
	} {
		t.Run(method, func(t *testing.T) {
			w, other := newTwin(t)
			id := w.running(spec("Stayer"))
			pid := w.on(id)[0].PID
			other.Fail(method, err)
			op := w.move(id, toDocker)
			if op.State != operation.Failed || op.Problem == nil || op.Problem.Why == "" && op.Problem.What == "" {
				t.Fatalf("%s: %+v", op.State, op.Problem)
			}
			a := w.expect(id, agent.Running)
			if a.Spec.Runtime != "process" || a.Spec.Image != "" || a.DeployedRevision != 1 {
				t.Errorf("after a failed move: %+v", a)
			}
			if on := w.on(id); len(on) != 1 || on[0].PID != pid || len(seen(t, other, id)) != 0 || len(w.ports(id)) != 1 {
				t.Errorf("instances %v and %v, ports %v", on, seen(t, other, id), w.ports(id))
			}
			if list := w.audited("agent.move", "agent/"+id); len(list) != 1 || list[0].Outcome != "failed" {
				t.Errorf("on record: %+v", list)
			}
		})
	}
}

func TestMoveRollsBackAlsoAfterTheOldEnded(t *testing.T) {
	w, other := newTwin(t)
	sp := spec("Fixed")
	sp.Ports = []agent.Port{{Name: "http", Port: w.from + 39}}
	id := w.running(sp)
	plan, err := w.fleet.PlanMove(t.Context(), id, toDocker)
	if err != nil || plan.Interrupts == "" {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	other.Fail("Launch", fault.New(fault.Invalid, "command.missing", "no such program"))
	op := w.move(id, toDocker)
	if op.State != operation.Failed {
		t.Fatalf("%s: %+v", op.State, op.Problem)
	}
	if a := w.expect(id, agent.Running); a.Spec.Runtime != "process" || len(w.on(id)) != 1 || w.on(id)[0].State != fleet.InstanceRunning {
		t.Errorf("%+v, %v", a, w.on(id))
	}
}

func TestMoveGoesOnAfterACrash(t *testing.T) {
	for _, method := range []string{"Prepare", "Launch"} {
		t.Run(method, func(t *testing.T) {
			w, other := newTwin(t)
			id := w.running(spec("Survivor"))
			release := other.Block(method)
			op, err := w.fleet.Move(t.Context(), id, toDocker)
			if err != nil {
				t.Fatal(err)
			}
			w.eventually("the move is on its way", func() bool {
				return slices.ContainsFunc(other.Calls(), func(c string) bool { return strings.HasPrefix(c, method+" "+id) })
			})
			w.crash()
			release()
			if op = w.wait(op.ID); op.State != operation.Succeeded {
				t.Fatalf("%s: %+v", op.State, op.Problem)
			}
			w.expect(id, agent.Running)
			if len(w.on(id)) != 0 || len(seen(t, other, id)) != 1 || len(w.ports(id)) != 1 {
				t.Errorf("instances %v and %v, ports %v", w.on(id), seen(t, other, id), w.ports(id))
			}
		})
	}
}

func TestWhatIsNotMoved(t *testing.T) {
	w, _ := newTwin(t)
	id := w.running(spec("Steady"))
	for name, opt := range map[string]fleet.MoveOptions{
		"to where it is":    {Runtime: "process"},
		"to nowhere":        {Runtime: "kubernetes"},
		"without an image":  {Runtime: "docker"},
		"under a new name":  {Runtime: "docker", Changes: map[string]any{"name": "Else"}},
		"as somebody knew":  {Runtime: "docker", IfMatch: 1},
		"to no such engine": {Runtime: "vm"},
	} {
		if _, err := w.fleet.Move(t.Context(), id, opt); fault.As(err) == nil {
			t.Errorf("%s: %v", name, err)
		}
		if a := w.expect(id, agent.Running); a.Revision != 1 {
			t.Errorf("%s: revision %d", name, a.Revision)
		}
	}
	w.must(id, agent.Suspend)
	if _, err := w.fleet.Move(t.Context(), id, toDocker); !fault.Is(err, fault.Conflict) {
		t.Errorf("suspended: %v", err)
	}
	// What does not run is put there and not started.
	w.must(id, agent.Stop)
	if op := w.move(id, toDocker); op.State != operation.Succeeded {
		t.Fatalf("%s: %+v", op.State, op.Problem)
	}
	if a := w.expect(id, agent.Stopped); a.DeployedRevision != 2 {
		t.Errorf("%+v", a)
	}
	w.must(id, agent.Start)
}
