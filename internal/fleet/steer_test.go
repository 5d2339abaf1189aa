package fleet_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
)

// during begins an action, waits until the runtime got the call, and cancels.
func (w *world) cancelDuring(id string, action agent.Action, call string) *operation.Operation {
	w.t.Helper()
	release := w.runtime.Block(strings.Fields(call)[0])
	defer release()
	seen := len(w.runtime.Calls())
	op, err := w.fleet.Act(w.t.Context(), id, action, fleet.ActOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the runtime got "+call, func() bool {
		return slices.ContainsFunc(w.runtime.Calls()[seen:], func(c string) bool { return strings.HasPrefix(c, call) })
	})
	if _, err := w.ops.Cancel(w.t.Context(), op.ID); err != nil {
		w.t.Fatal(err)
	}
	release()
	return w.wait(op.ID)
}

func TestCancelInTheMiddle(t *testing.T) {
	pair := spec("Worker")
	pair.Replicas = 2
	for _, c := range []struct {
		name   string
		before []agent.Action
		action agent.Action
		call   string
		want   agent.State
		runs   int
	}{
		{"deploy", []agent.Action{agent.Provision}, agent.Deploy, "Prepare", agent.Provisioned, 0},
		{"start", []agent.Action{agent.Provision, agent.Deploy}, agent.Start, "Launch", agent.Deployed, 0},
		{"stop", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, agent.Stop, "Stop", agent.Running, 2},
		{"suspend", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, agent.Suspend, "Suspend", agent.Running, 2},
		{"resume", []agent.Action{agent.Provision, agent.Deploy, agent.Start, agent.Suspend}, agent.Resume, "Resume", agent.Suspended, 2},
		{"restart", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, agent.Restart, "Launch", agent.Running, 2},
		{"revoke", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, agent.Revoke, "Remove", agent.Errored, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create(pair)
			w.must(id, c.before...)
			if op := w.cancelDuring(id, c.action, c.call); op.State != operation.Cancelled {
				t.Fatalf("%s %+v", op.State, op.Problem)
			}
			a := w.expect(id, c.want)
			if n := len(w.on(id)); n != c.runs {
				t.Fatalf("%d instances, want %d", n, c.runs)
			}
			for _, in := range w.on(id) {
				if want := map[agent.State]fleet.InstanceState{agent.Suspended: fleet.InstanceSuspended, agent.Running: fleet.InstanceRunning}[c.want]; in.State != want {
					t.Fatalf("%s is %s, want %s", in.ID, in.State, want)
				}
			}
			if c.want != agent.Errored {
				if a.Failure != nil {
					t.Fatalf("failure %+v", a.Failure)
				}
				return
			}
			w.must(id, agent.Revoke) // a cancelled revoke can be repeated
			w.expect(id, agent.Revoked)
		})
	}
}

func TestCancelWhoseUndoFails(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	w.must(id, agent.Suspend)
	release := w.runtime.Block("Stop")
	defer release()
	op, err := w.fleet.Act(t.Context(), id, agent.Stop, fleet.ActOptions{})
	if err != nil {
		t.Fatal(err)
	}
	instance := fleet.InstanceID(id, 1, 0)
	w.eventually("stop began", func() bool { return slices.Contains(w.runtime.Calls(), "Stop "+instance) })
	w.runtime.Lose(id, instance) // and with it what it had in memory
	if _, err := w.ops.Cancel(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
	if op = w.wait(op.ID); op.State != operation.Cancelled {
		t.Fatalf("%s", op.State)
	}
	if f := w.expect(id, agent.Errored).Failure; f.Code != "cancelled" {
		t.Fatalf("failure %+v", f)
	}
}

func TestUndo(t *testing.T) {
	w := newWorld(t)
	id := w.create(spec("Worker"))
	w.must(id, agent.Provision, agent.Deploy)
	start := w.must(id, agent.Start)
	if start.Undo == nil || start.Undo.Action != "stop" {
		t.Fatalf("offer %+v", start.Undo)
	}
	by, err := w.ops.Undo(t.Context(), start.ID)
	if err != nil {
		t.Fatal(err)
	}
	if by = w.wait(by.ID); by.State != operation.Succeeded || by.UndoOf != start.ID {
		t.Fatalf("%+v", by)
	}
	w.expect(id, agent.Stopped)
	if _, err := w.ops.Undo(t.Context(), start.ID); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a second undo: %v", err)
	}
	w.must(id, agent.Start)
	suspend := w.must(id, agent.Suspend)
	if by, err = w.ops.Undo(t.Context(), suspend.ID); err != nil {
		t.Fatal(err)
	}
	w.wait(by.ID)
	w.expect(id, agent.Running)
	if op := w.must(id, agent.Restart); op.Undo != nil {
		t.Fatalf("restart offers %+v", op.Undo)
	}
}

func TestUndoOfDeploy(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	w.must(id, agent.Stop)
	if _, _, err := w.agents.Patch(t.Context(), id, 0, map[string]any{"env": map[string]any{"MODE": "new"}}, ""); err != nil {
		t.Fatal(err)
	}
	w.must(id, agent.Start)
	if l, _ := w.runtime.Launched(id, fleet.InstanceID(id, 1, 0)); l.Env["MODE"] != "" {
		t.Fatal("a revision that was not deployed was started")
	}
	w.must(id, agent.Stop)
	deploy := w.must(id, agent.Deploy)
	if a := w.expect(id, agent.Deployed); a.DeployedRevision != 2 || deploy.Undo == nil {
		t.Fatalf("revision %d, offer %+v", a.DeployedRevision, deploy.Undo)
	}
	w.must(id, agent.Start)
	if l, _ := w.runtime.Launched(id, fleet.InstanceID(id, 2, 0)); l.Env["MODE"] != "new" {
		t.Fatal("the new revision was not started")
	}
	if _, err := w.ops.Undo(t.Context(), deploy.ID); !fault.Is(err, fault.Conflict) {
		t.Fatalf("undo of the deploy of a running agent: %v", err)
	}
	w.must(id, agent.Stop)
	by, err := w.ops.Undo(t.Context(), deploy.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.wait(by.ID)
	if a := w.expect(id, agent.Deployed); a.DeployedRevision != 1 {
		t.Fatalf("revision %d after undo", a.DeployedRevision)
	}
	w.must(id, agent.Start)
	if list := w.on(id); len(list) != 1 || list[0].Revision != 1 {
		t.Fatalf("%+v", list)
	}
}

func TestCrashInTheMiddle(t *testing.T) {
	sp := spec("Worker")
	sp.Replicas = 3
	for _, c := range []struct {
		name   string
		before []agent.Action
		action agent.Action
		method string
		want   agent.State
		runs   int
	}{
		{"provision", nil, agent.Provision, "", agent.Provisioned, 0},
		{"deploy", []agent.Action{agent.Provision}, agent.Deploy, "Prepare", agent.Deployed, 0},
		{"start", []agent.Action{agent.Provision, agent.Deploy}, agent.Start, "Launch", agent.Running, 3},
		{"start, looking", []agent.Action{agent.Provision, agent.Deploy}, agent.Start, "Observe", agent.Running, 3},
		{"restart", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, agent.Restart, "Launch", agent.Running, 3},
		{"stop", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, agent.Stop, "Stop", agent.Stopped, 0},
		{"revoke", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, agent.Revoke, "Remove", agent.Revoked, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create(sp)
			w.must(id, c.before...)
			release := func() {}
			if c.method != "" {
				release = w.runtime.Block(c.method)
			}
			seen := len(w.runtime.Calls())
			op, err := w.fleet.Act(t.Context(), id, c.action, fleet.ActOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if c.method != "" {
				w.eventually(c.method, func() bool {
					return slices.ContainsFunc(w.runtime.Calls()[seen:], func(s string) bool { return strings.HasPrefix(s, c.method) })
				})
			}
			w.crash()
			release()
			if op = w.wait(op.ID); op.State != operation.Succeeded {
				t.Fatalf("%s %+v", op.State, op.Problem)
			}
			w.expect(id, c.want)
			if n := len(w.on(id)); n != c.runs {
				t.Fatalf("%d instances, want %d", n, c.runs)
			}
			if n := len(w.history(id)); n != len(c.before)+2 {
				t.Fatalf("%d transitions, want %d", n, len(c.before)+2)
			}
		})
	}
}

func TestCrashDuringRestartDoesNotRestartTwice(t *testing.T) {
	w := newWorld(t)
	waiting := func(string) string { return "not yet" }
	sp := spec("Slow")
	sp.Probes.Readiness = &agent.Probe{HTTP: &agent.HTTPProbe{}}
	w.prober.says(func(string) string { return "" })
	id := w.running(sp)
	w.prober.says(waiting)
	op, err := w.fleet.Act(t.Context(), id, agent.Restart, fleet.ActOptions{})
	if err != nil {
		t.Fatal(err)
	}
	launch := "Launch " + fleet.InstanceID(id, 1, 0)
	count := func() int {
		n := 0
		for _, c := range w.runtime.Calls() {
			if c == launch {
				n++
			}
		}
		return n
	}
	w.eventually("the new instance is launched", func() bool { return count() == 2 && len(w.on(id)) == 1 })
	w.crash()
	w.prober.says(func(string) string { return "" })
	if op = w.wait(op.ID); op.State != operation.Succeeded {
		t.Fatalf("%s %+v", op.State, op.Problem)
	}
	if n := count(); n != 2 {
		t.Fatalf("launched %d times, want 2", n)
	}
}

// forgetful is a runtime that ends what it suspends.
type forgetful struct{ fleet.Runtime }

// Forgets implements fleet.Forgetful.
func (forgetful) Forgets() bool { return true }

func TestImpact(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Store"))
	dep := spec("Worker")
	dep.Dependencies = []string{"Store"}
	w.running(dep)
	idle := spec("Idle")
	idle.Dependencies = []string{"Store"}
	w.create(idle)
	if err := w.broker.Publish(t.Context(), id, "m1", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	im, err := w.fleet.Impact(t.Context(), id, agent.Stop)
	if err != nil {
		t.Fatal(err)
	}
	if !im.Allowed || !slices.Equal(im.Dependants, []string{"Worker"}) || im.Queue == nil || im.Queue.Pending != 1 {
		t.Fatalf("%+v", im)
	}
	if text := strings.Join(im.Warnings, " "); !strings.Contains(text, "Worker") || !strings.Contains(text, "1 messages wait") {
		t.Fatalf("warnings %v", im.Warnings)
	}
	if im, err = w.fleet.Impact(t.Context(), id, agent.Resume); err != nil || im.Allowed || len(im.Warnings) != 0 {
		t.Fatalf("resume: %+v, %v", im, err)
	}
	if im, err = w.fleet.Impact(t.Context(), id, agent.Revoke); err != nil || !strings.Contains(strings.Join(im.Warnings, " "), "will be deleted") {
		t.Fatalf("revoke: %+v, %v", im, err)
	}
	w.portal.fleet.Runtimes[w.runtime.Name()] = forgetful{w.runtime}
	if im, err = w.fleet.Impact(t.Context(), id, agent.Suspend); err != nil || !im.Forgets || !strings.Contains(strings.Join(im.Warnings, " "), "in memory is lost") {
		t.Fatalf("suspend where memory is lost: %+v, %v", im, err)
	}
	if _, err = w.fleet.Impact(t.Context(), id, "explode"); !fault.Is(err, fault.Invalid) {
		t.Fatalf("unknown action: %v", err)
	}
	if _, err = w.fleet.Impact(t.Context(), "nobody", agent.Stop); !fault.Is(err, fault.NotFound) {
		t.Fatalf("unknown agent: %v", err)
	}
}

func TestLogsComeFromTheRuntime(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Args = []string{"print", "3"}
	id := w.running(sp)
	var lines []string
	err := w.fleet.Logs(t.Context(), fleet.LogQuery{AgentID: "Worker"}, func(l fleet.LogLine) error {
		lines = append(lines, l.Text)
		return nil
	})
	if err != nil || !slices.Equal(lines, []string{"line 0", "line 1", "line 2"}) {
		t.Fatalf("%v, %v", lines, err)
	}
	if err := w.fleet.Logs(t.Context(), fleet.LogQuery{AgentID: "nobody"}, nil); !fault.Is(err, fault.NotFound) {
		t.Fatalf("unknown agent: %v", err)
	}
	w.fleet.Runtimes["process"] = mute{w.runtime}
	if err := w.fleet.Logs(t.Context(), fleet.LogQuery{AgentID: id}, nil); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("runtime without logs: %v", err)
	}
	if _, err := w.fleet.Act(t.Context(), id, agent.Suspend, fleet.ActOptions{}); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "can't freeze") {
		t.Fatalf("suspend without freezing: %v", err)
	}
	if _, err := w.fleet.Runtime("docker"); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("unknown runtime: %v", err)
	}
	if rt, err := w.fleet.Runtime(""); err != nil || rt.Name() != "process" {
		t.Fatalf("default runtime: %v, %v", rt, err)
	}
}

// mute is a runtime without any of the optional abilities.
type mute struct{ fleet.Runtime }

func TestDeadlineNamesTheReason(t *testing.T) {
	w := newWorld(t)
	w.fleet.StartTimeout = 3 * time.Second // in which a busy machine gets to probe it
	sp := spec("Worker")
	sp.Args = []string{"print", "2"}
	sp.Probes.Readiness = &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/ready"}, Interval: agent.Duration(100 * time.Millisecond), Timeout: agent.Duration(time.Second), FailureThreshold: 1}
	id := w.create(sp)
	w.must(id, agent.Provision, agent.Deploy)
	op := w.act(id, agent.Start)
	if op.State != operation.Failed || op.Problem.Code != "agent.not_ready" || !strings.Contains(op.Problem.Why, "GET /ready: connection refused") {
		t.Fatalf("%s %+v", op.State, op.Problem)
	}
}
