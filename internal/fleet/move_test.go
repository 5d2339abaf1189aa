package fleet_test

import (
	"errors"
	"maps"
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

// loaded gives an agent that has content in its volumes.
func (w *world) loaded(name string, replicas int) string {
	sp := spec(name)
	sp.Replicas = replicas
	sp.Volumes = []agent.Volume{{Name: "notes", Path: "notes"}, {Name: "void", Path: "void"}}
	id := w.running(sp)
	w.runtime.Fill(id, fleet.DataVolume, map[string]string{"db": "rows", "deep/": ""})
	w.runtime.Fill(id, "notes", map[string]string{"a": "b"})
	return id
}

var withData = fleet.MoveOptions{Runtime: "docker", Changes: map[string]any{"image": "registry/worker:1"}, CopyData: true}

func TestDataGoesAlong(t *testing.T) {
	w, other := newTwin(t)
	id := w.loaded("Carrier", 2)
	other.Fill(id, "notes", map[string]string{"stale": "from an earlier stay"})
	plan, err := w.fleet.PlanMove(t.Context(), id, withData)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(plan.Moves, " "); plan.Interrupts == "" || len(plan.Steps) != 6 || !strings.Contains(got, "its data directory, the volume notes, the volume void") {
		t.Errorf("plan %+v", plan)
	}
	for _, step := range plan.Steps {
		if step == "" || strings.ContainsAny(step, "{}%") {
			t.Errorf("a step reads %q", step)
		}
	}
	op := w.move(id, withData)
	if op.State != operation.Succeeded {
		t.Fatalf("%s: %+v", op.State, op.Problem)
	}
	w.expect(id, agent.Running)
	holds := func(rt *fleettest.Fake, volume string, want map[string]string) {
		t.Helper()
		got, err := rt.Content(id, volume)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s holds in %q %v, %v; want %v", rt.Name(), volume, got, err, want)
		}
	}
	holds(other, fleet.DataVolume, map[string]string{"db": "rows", "deep": ""})
	holds(other, "notes", map[string]string{"a": "b"})
	holds(other, "void", map[string]string{})
	// Nothing ran while it was copied, and what was there is there still.
	calls := other.Calls()
	first := slices.IndexFunc(calls, func(c string) bool { return strings.HasPrefix(c, "Launch") })
	if first < 0 || slices.ContainsFunc(calls[first:], func(c string) bool { return strings.HasPrefix(c, "UnpackVolume") }) {
		t.Errorf("calls %v", calls)
	}
	holds(w.runtime, fleet.DataVolume, map[string]string{"db": "rows", "deep": ""})
	if !slices.ContainsFunc(op.Steps, func(s operation.Step) bool {
		return s.Name == "copy" && strings.Contains(s.Detail, "its data directory: 2 files with 4 bytes")
	}) {
		t.Errorf("steps %+v", op.Steps)
	}
	// Undoing finds what was left there.
	other.Fill(id, "notes", map[string]string{"later": "written"})
	by, err := w.ops.Undo(t.Context(), op.ID)
	if err != nil {
		t.Fatal(err)
	}
	if by = w.wait(by.ID); by.State != operation.Succeeded {
		t.Fatalf("%s: %+v", by.State, by.Problem)
	}
	holds(w.runtime, "notes", map[string]string{"a": "b"})
	holds(other, "notes", map[string]string{"later": "written"})
}

func TestDataThatCannotGoAlongStaysWhereItServes(t *testing.T) {
	for method, err := range map[string]error{
		"PackVolume": errors.New("input/output error"), "UnpackVolume": fault.New(fault.Invalid, "disk.full", "no space left"),
		"Launch": fault.New(fault.Invalid, "command.missing", "no such program"),
	} {
		t.Run(method, func(t *testing.T) {
			w, other := newTwin(t)
			id := w.loaded("Stayer", 1)
			if other.Fail(method, err); method == "PackVolume" {
				w.runtime.Fail(method, err)
			}
			op := w.move(id, withData)
			if op.State != operation.Failed || op.Problem == nil {
				t.Fatalf("%s: %+v", op.State, op.Problem)
			}
			if a := w.expect(id, agent.Running); a.Spec.Runtime != "process" || len(w.on(id)) != 1 || len(seen(t, other, id)) != 0 {
				t.Errorf("%+v, %v, %v", a, w.on(id), seen(t, other, id))
			}
			if got, err := w.runtime.Content(id, "notes"); err != nil || got["a"] != "b" {
				t.Errorf("it holds %v, %v", got, err)
			}
			if left, err := other.Holdings(t.Context(), id); err != nil || len(left) > 0 {
				t.Errorf("left is %v, %v", left, err)
			}
		})
	}
}

func TestCopyBeginsAgainAfterACrash(t *testing.T) {
	for _, method := range []string{"PackVolume", "UnpackVolume"} {
		t.Run(method, func(t *testing.T) {
			w, other := newTwin(t)
			id := w.loaded("Survivor", 1)
			release := other.Block(method)
			op, err := w.fleet.Move(t.Context(), id, withData)
			if err != nil {
				t.Fatal(err)
			}
			w.eventually("the copy is on its way", func() bool { return slices.Contains(other.Calls(), method+" "+id) })
			w.crash()
			release()
			if op = w.wait(op.ID); op.State != operation.Succeeded {
				t.Fatalf("%s: %+v", op.State, op.Problem)
			}
			w.expect(id, agent.Running)
			for volume, want := range map[string]string{fleet.DataVolume: "rows", "notes": "b"} {
				got, err := other.Content(id, volume)
				if err != nil || got["db"]+got["a"] != want {
					t.Errorf("%q holds %v, %v", volume, got, err)
				}
			}
		})
	}
}

func TestDataThatIsNotCarried(t *testing.T) {
	w, other := newTwin(t)
	id := w.create(spec("Fresh"))
	w.must(id, agent.Provision)
	if _, err := w.fleet.Move(t.Context(), id, withData); !fault.Is(err, fault.Conflict) {
		t.Errorf("of an agent that was never deployed: %v", err)
	}
	id = w.loaded("Full", 1)
	other.Fail("Carries", fault.New(fault.Invalid, "move.no_copy", "There is nowhere to put it"))
	for _, try := range []func() error{
		func() error { _, err := w.fleet.PlanMove(t.Context(), id, withData); return err },
		func() error { _, err := w.fleet.Move(t.Context(), id, withData); return err },
	} {
		if f := fault.As(try()); f == nil || f.Code != "move.no_copy" {
			t.Errorf("refused with %v", f)
		}
	}
	if a := w.expect(id, agent.Running); a.Revision != 1 || a.ActiveOperation != "" {
		t.Errorf("%+v", a)
	}
	if list := w.audited("agent.move", "agent/"+id); len(list) != 1 || list[0].Outcome != "refused" {
		t.Errorf("on record: %+v", list)
	}
	// One content can't become several.
	other.Fail("Carries", nil)
	other.Apart()
	crew := w.loaded("Crew", 2)
	if _, err := w.fleet.Move(t.Context(), crew, withData); fault.As(err) == nil || fault.As(err).Code != "move.no_copy" {
		t.Errorf("for two instances: %v", err)
	}
	if op := w.move(id, withData); op.State != operation.Succeeded {
		t.Errorf("for one instance: %s, %+v", op.State, op.Problem)
	}
}
