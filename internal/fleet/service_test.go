package fleet_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/operation"
)

func TestLifeOfAnAgent(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Replicas = 3
	id := w.create(sp)

	w.must(id, agent.Provision)
	w.expect(id, agent.Provisioned)
	if !w.broker.Provisioned(id) || !w.hasKey(id) || len(w.ports(id)) != 3 {
		t.Fatalf("provisioned: queue %v, credential %v, ports %v", w.broker.Provisioned(id), w.hasKey(id), w.ports(id))
	}
	w.must(id, agent.Deploy)
	if a := w.expect(id, agent.Deployed); a.DeployedRevision != 1 {
		t.Fatalf("deployed revision %d", a.DeployedRevision)
	}
	if n := len(w.on(id)); n != 0 {
		t.Fatalf("%d instances run after deploy", n)
	}
	w.must(id, agent.Start)
	if a := w.expect(id, agent.Running); a.Health != agent.HealthHealthy {
		t.Fatalf("health %s after start", a.Health)
	}
	if n := len(w.on(id)); n != 3 {
		t.Fatalf("%d instances run, want 3", n)
	}
	pid := w.on(id)[0].PID
	w.must(id, agent.Suspend)
	w.expect(id, agent.Suspended)
	for _, in := range w.on(id) {
		if in.State != fleet.InstanceSuspended {
			t.Fatalf("%s is %s", in.ID, in.State)
		}
	}
	w.must(id, agent.Resume)
	w.expect(id, agent.Running)
	if now := w.on(id)[0].PID; now != pid {
		t.Fatalf("suspend and resume changed pid %d to %d", pid, now)
	}
	w.must(id, agent.Restart)
	w.expect(id, agent.Running)
	if now := w.on(id)[0].PID; now == pid {
		t.Fatal("restart kept the process")
	}
	w.must(id, agent.Stop)
	w.expect(id, agent.Stopped)
	if n := len(w.on(id)); n != 0 {
		t.Fatalf("%d instances left after stop", n)
	}
	w.must(id, agent.Start, agent.Revoke)
	w.expect(id, agent.Revoked)
	if w.broker.Provisioned(id) || w.hasKey(id) || len(w.ports(id)) != 0 || len(w.on(id)) != 0 {
		t.Fatal("revoke left something behind")
	}
	if !slices.Contains(w.runtime.Calls(), "Remove "+id) {
		t.Fatal("the runtime's part was not removed")
	}
	hist := w.history(id)
	if len(hist) != 10 { // creation and nine actions
		t.Fatalf("%d transitions, want 10: %+v", len(hist), hist)
	}
	for i := range len(hist) - 1 {
		if hist[i].PreviousState != hist[i+1].State {
			t.Fatalf("history is not a chain: %s after %s", hist[i].PreviousState, hist[i+1].State)
		}
	}
	if n := len(w.audited("agent.start", "agent/"+id)); n != 2 {
		t.Fatalf("%d audit entries for two starts", n)
	}
}

func TestRollingRestartKeepsTheOthersServing(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Replicas = 3
	id := w.running(sp)
	before := len(w.runtime.Calls())
	w.must(id, agent.Restart)
	var order []string
	for _, c := range w.runtime.Calls()[before:] {
		if strings.HasPrefix(c, "Stop ") || strings.HasPrefix(c, "Launch ") {
			order = append(order, c)
		}
	}
	var want []string
	for i := range 3 {
		in := fleet.InstanceID(id, 1, i)
		want = append(want, "Stop "+in, "Launch "+in)
	}
	if !slices.Equal(order, want) {
		t.Fatalf("restart went %v, want one after the other %v", order, want)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	id := w.create(spec("Worker"))
	other := spec("Elsewhere")
	other.Runtime, other.Image, other.Command, other.Args = "docker", "worker:1", "", nil
	docker := w.create(other)
	for name, c := range map[string]struct {
		id     string
		action agent.Action
		opt    fleet.ActOptions
		kind   fault.Kind
		text   string
	}{
		"state":   {id, agent.Start, fleet.ActOptions{}, fault.Conflict, "Allowed from DRAFT: provision, revoke"},
		"stale":   {id, agent.Provision, fleet.ActOptions{IfMatch: 99}, fault.Stale, "version"},
		"unknown": {"nobody", agent.Provision, fleet.ActOptions{}, fault.NotFound, ""},
		"action":  {id, "explode", fleet.ActOptions{}, fault.Invalid, "no action"},
		"runtime": {docker, agent.Provision, fleet.ActOptions{}, fault.Unavailable, "The runtime docker is not available on this portal"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.fleet.Act(t.Context(), c.id, c.action, c.opt)
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v, want %s with %q", err, c.kind, c.text)
			}
			if list := w.audited("agent."+string(c.action), "agent/"+c.id); len(list) == 0 || list[0].Outcome != audit.Refused {
				t.Fatalf("the refusal was not audited: %+v", list)
			}
		})
	}
	if w.get(id).ActiveOperation != "" {
		t.Fatal("a refused action holds the agent")
	}
	w.must(docker, agent.Revoke) // nothing is on the runtime that is not here
	w.expect(docker, agent.Revoked)
}

func TestOppositeActionsAtTheSameInstant(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	for range 10 {
		release := w.runtime.Block("Stop")
		var wg sync.WaitGroup
		errs := make([]error, 8)
		accepted := make([]*operation.Operation, 8)
		for i := range errs {
			wg.Go(func() {
				action := []agent.Action{agent.Stop, agent.Restart}[i%2]
				accepted[i], errs[i] = w.fleet.Act(t.Context(), id, action, fleet.ActOptions{})
			})
		}
		wg.Wait()
		release()
		var op *operation.Operation
		for i, err := range errs {
			switch {
			case err == nil && op != nil:
				t.Fatal("two actions were accepted at once")
			case err == nil:
				op = accepted[i]
			case !fault.Is(err, fault.Conflict) || fault.As(err).Extra["operation"] == nil || fault.As(err).Extra["action"] == nil:
				t.Fatalf("refused with %v", err)
			}
		}
		if op == nil {
			t.Fatal("no action was accepted")
		}
		if op = w.wait(op.ID); op.State != operation.Succeeded {
			t.Fatalf("%s: %+v", op.State, op.Problem)
		}
		if w.get(id).State == agent.Stopped {
			w.must(id, agent.Start)
		}
	}
}

func TestGivenOperationIDIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	id := w.create(spec("Worker"))
	opt := fleet.ActOptions{OperationID: "bulk-1/worker/provision", ParentID: "bulk-1", Reason: "tour"}
	first, err := w.fleet.Act(t.Context(), id, agent.Provision, opt)
	if err != nil || first.ID != opt.OperationID || first.ParentID != "bulk-1" {
		t.Fatalf("%+v, %v", first, err)
	}
	w.wait(first.ID)
	again, err := w.fleet.Act(t.Context(), id, agent.Provision, opt)
	if err != nil || again.ID != first.ID || again.State != operation.Succeeded {
		t.Fatalf("the second time: %+v, %v", again, err)
	}
	if n := len(w.history(id)); n != 2 {
		t.Fatalf("%d transitions, want creation and one provision", n)
	}
}

func TestFailureLeavesNothingBehind(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []agent.Action
		breaks func(w *world)
		mend   func(w *world)
		action agent.Action
		reason string
	}{
		{"queues", nil, func(w *world) { w.broker.SetFail(refusal("no queue")) }, func(w *world) { w.broker.SetFail(nil) }, agent.Provision, "no queue"},
		{"prepare", []agent.Action{agent.Provision}, func(w *world) { w.runtime.Fail("Prepare", refusal("no room")) },
			func(w *world) { w.runtime.Fail("Prepare", nil) }, agent.Deploy, "no room"},
		{"launch", []agent.Action{agent.Provision, agent.Deploy}, func(w *world) { w.runtime.Fail("Launch", refusal("no launch")) },
			func(w *world) { w.runtime.Fail("Launch", nil) }, agent.Start, "no launch"},
		{"ready", []agent.Action{agent.Provision, agent.Deploy}, func(w *world) {
			w.prober.says(func(string) string { return "GET /ready: 503" })
			w.fleet.StartTimeout = 3 * time.Second // in which a busy machine gets to probe it
		},
			func(w *world) { w.prober.says(func(string) string { return "" }) }, agent.Start, "GET /ready: 503"},
		{"restart", []agent.Action{agent.Provision, agent.Deploy, agent.Start}, func(w *world) { w.runtime.Fail("Launch", refusal("no launch")) },
			func(w *world) { w.runtime.Fail("Launch", nil) }, agent.Restart, "no launch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.prober.says(func(string) string { return "" })
			sp := spec("Worker")
			sp.Probes.Readiness = &agent.Probe{HTTP: &agent.HTTPProbe{}, Interval: agent.Duration(100 * time.Millisecond), Timeout: agent.Duration(10 * time.Millisecond), FailureThreshold: 1}
			id := w.create(sp)
			w.must(id, c.before...)
			c.breaks(w)
			op := w.act(id, c.action)
			if op.State != operation.Failed {
				t.Fatalf("%s: %+v", op.State, op.Problem)
			}
			a := w.expect(id, agent.Errored)
			if a.Failure == nil || !strings.Contains(a.Failure.Reason, c.reason) {
				t.Fatalf("failure %+v, want one with %q", a.Failure, c.reason)
			}
			if a.Health != agent.HealthUnhealthy {
				t.Fatalf("health %s", a.Health)
			}
			if n := len(w.on(id)); n != 0 {
				t.Fatalf("%d instances were left behind", n)
			}
			if c.action == agent.Provision && (w.hasKey(id) || len(w.ports(id)) > 0 || w.broker.Provisioned(id)) {
				t.Fatal("a failed provision left something behind")
			}
			c.mend(w)
			w.must(id, agent.Start) // also where nothing was provisioned or deployed
			if a := w.expect(id, agent.Running); a.DeployedRevision != 1 || a.Failure != nil || len(w.on(id)) != 1 || !w.hasKey(id) || !w.broker.Provisioned(id) {
				t.Fatalf("after the repair: %+v", a)
			}
		})
	}
}

// withdrawing keeps what was printed.
type withdrawing struct {
	*fleettest.Fake
	withdrawn atomic.Int64
}

// Withdraw implements fleet.Withdrawer.
func (r *withdrawing) Withdraw(context.Context, string) error {
	r.withdrawn.Add(1)
	return nil
}

// What a deployment printed that failed is read afterwards, so that it stays.
func TestADeploymentThatFailsKeepsWhatItPrinted(t *testing.T) {
	w := newWorld(t)
	rt := &withdrawing{Fake: fleettest.NewNamedFake("docker/two")}
	w.other = rt
	w.crash() // the next portal has it
	id := w.create(elsewhere("Worker"))
	w.must(id, agent.Provision)
	rt.Fail("Prepare", refusal("no build"))
	if op := w.act(id, agent.Deploy); op.State != operation.Failed || rt.withdrawn.Load() != 1 {
		t.Errorf("%s, withdrawn %d times", op.State, rt.withdrawn.Load())
	}
}

func TestFailureAfterAFailedProvisionTakesAllBack(t *testing.T) {
	w := newWorld(t)
	id := w.create(spec("Worker"))
	w.broker.SetFail(refusal("no queue"))
	if op := w.act(id, agent.Provision); op.State != operation.Failed {
		t.Fatalf("provision: %s", op.State)
	}
	w.broker.SetFail(nil)
	for method, action := range map[string]agent.Action{"Prepare": agent.Deploy, "Launch": agent.Start} {
		w.runtime.Fail(method, refusal("no "+method))
		if op := w.act(id, action); op.State != operation.Failed {
			t.Fatalf("%s: %s", action, op.State)
		}
		w.runtime.Fail(method, nil)
		if w.hasKey(id) || len(w.ports(id)) > 0 || w.broker.Provisioned(id) || len(w.on(id)) > 0 {
			t.Fatalf("a failed %s left what it had made", action)
		}
	}
	w.must(id, agent.Deploy, agent.Start)
}

func TestCommandThatExitsAtOnce(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Args = []string{"exit", "3"}
	sp.Restart = agent.RestartPolicy{MaxRestarts: 2, Backoff: agent.Backoff{Initial: agent.Duration(10 * time.Millisecond)}}
	id := w.create(sp)
	w.must(id, agent.Provision, agent.Deploy)
	if op := w.act(id, agent.Start); op.State != operation.Failed {
		t.Fatalf("start: %s", op.State)
	}
	f := w.expect(id, agent.Errored).Failure
	if f == nil || f.ExitCode == nil || *f.ExitCode != 3 || len(f.LastLogs) == 0 || !strings.Contains(f.Reason, "exiting with 3") || f.Remedy == "" {
		t.Fatalf("failure %+v", f)
	}
	if n := len(w.on(id)); n != 0 {
		t.Fatalf("%d instances left", n)
	}
}

// belated learns late that an instance has ended, as the cluster does.
type belated struct {
	*fleettest.Fake
	ends chan struct{} // closed once it knows
}

func (belated) Delay() time.Duration { return 1500 * time.Millisecond }

func (b belated) Observe(ctx context.Context, agentID string) ([]fleet.Instance, error) {
	list, err := b.Fake.Observe(ctx, agentID)
	select {
	case <-b.ends:
		for i := range list {
			code := 3
			list[i].State, list[i].Reason, list[i].ExitCode = fleet.InstanceFailed, "exit code 3", &code
		}
	default:
	}
	return list, err
}

func TestAnEndThatIsToldLateIsNoStart(t *testing.T) {
	w := newWorld(t)
	w.stopEngine()
	late := belated{w.runtime, make(chan struct{})}
	w.boot(late)
	id := w.create(spec("Worker"))
	w.must(id, agent.Provision, agent.Deploy)
	told := time.AfterFunc(time.Second, func() { close(late.ends) })
	defer told.Stop()
	if op := w.act(id, agent.Start); op.State != operation.Failed {
		t.Fatalf("start: %s, although the program had ended", op.State)
	}
	if f := w.expect(id, agent.Errored).Failure; f == nil || f.ExitCode == nil || *f.ExitCode != 3 {
		t.Fatalf("failure %+v", f)
	}
}

func TestProgramThatDoesNotExist(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Command = "/no/such/program"
	id := w.create(sp)
	w.must(id, agent.Provision)
	op := w.act(id, agent.Deploy)
	if op.State != operation.Failed || !strings.Contains(op.Problem.Why, "does not exist") {
		t.Fatalf("%s %+v", op.State, op.Problem)
	}
	if f := w.expect(id, agent.Errored).Failure; f.Code != "command.not_found" {
		t.Fatalf("failure %+v", f)
	}
}

func TestEngineThatIsAwayForAMoment(t *testing.T) {
	w := newWorld(t)
	id := w.create(spec("Worker"))
	w.broker.SetFail(errAway)
	op, err := w.fleet.Act(t.Context(), id, agent.Provision, fleet.ActOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("a first attempt failed", func() bool {
		list, err := w.ops.Attempts(t.Context(), op.ID)
		return err == nil && slices.ContainsFunc(list, func(a operation.Attempt) bool { return a.Step == "queues" && a.Error != "" })
	})
	w.broker.SetFail(nil)
	if op = w.wait(op.ID); op.State != operation.Succeeded {
		t.Fatalf("%s %+v", op.State, op.Problem)
	}
}

// far is a runtime on a machine where others have the first ports.
type far struct {
	*fleettest.Fake
	taken *atomic.Int64
}

// Distant implements fleet.Distant.
func (far) Distant() bool { return true }

// Launch implements fleet.Runtime.
func (f far) Launch(ctx context.Context, l fleet.Launch) error {
	if f.taken.Add(-1) >= 0 {
		return fault.New(fault.Conflict, "port.taken", "port %d is taken", l.Port)
	}
	return f.Fake.Launch(ctx, l)
}

func TestPortsThatAreTakenOnAnotherMachine(t *testing.T) {
	w := newWorld(t)
	w.stopEngine()
	taken := &atomic.Int64{}
	taken.Store(2)
	w.boot(far{w.runtime, taken})
	id := w.running(spec("far"))
	if got := w.ports(id); len(got) != 1 || len(w.on(id)) != 1 || w.on(id)[0].Port != got[0] {
		t.Errorf("it has the ports %v and runs as %+v", got, w.on(id))
	}
	taken.Store(100)
	w.must(id, agent.Stop)
	if op := w.act(id, agent.Start); op.State != operation.Failed || op.Problem == nil || op.Problem.Code != "port.taken" {
		t.Errorf("where all are taken: %+v", op)
	}
}
