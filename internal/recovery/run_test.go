package recovery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// clinic is a ward whose fixes are carried out, on a fleet whose agents do at
// once what is asked of them. Its clock goes on a second with each look.
type clinic struct {
	*ward
	ground
	done   []string // actions, each once
	sick   map[string]string
	refuse agent.Action
	known  map[string]*operation.Operation
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	w := treated(t)
	c := &clinic{ward: w, ground: ground{fleettest.NewFake()}, sick: map[string]string{}, known: map[string]*operation.Operation{}}
	w.Service.Now = func() time.Time { w.clock = w.clock.Add(time.Second); return w.clock }
	w.Fleet, w.Ops, w.Keys, w.Letters = c, c, c, c
	return c
}

// moves are where actions lead.
var moves = map[agent.Action]agent.State{agent.Provision: agent.Provisioned, agent.Deploy: agent.Deployed, agent.Start: agent.Running, agent.Restart: agent.Running,
	agent.Stop: agent.Stopped, agent.Resume: agent.Running}

func (c *clinic) Act(ctx context.Context, id string, action agent.Action, opt fleet.ActOptions) (*operation.Operation, error) {
	if op, is := c.known[opt.OperationID]; is {
		return op, nil
	}
	op := &operation.Operation{ID: opt.OperationID, Kind: "agent." + string(action), State: operation.Succeeded, ParentID: opt.ParentID}
	c.known[op.ID] = op
	c.done = append(c.done, string(action)+" "+id)
	a, err := c.Agents.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if action == c.refuse {
		op.State, op.Problem = operation.Failed, &operation.Problem{What: "It could not be", Why: "the machine is full", Remedy: "Make room."}
		return op, nil
	}
	if a.State, a.Health = moves[action], agent.HealthHealthy; action == agent.Deploy {
		a.DeployedRevision = a.Revision
	}
	if why := c.sick[id]; why != "" && a.State == agent.Running {
		a.State, a.Failure = agent.Errored, &agent.Failure{Reason: why}
	}
	return op, c.Agents.Save(ctx, a)
}

func (c *clinic) Instances(ctx context.Context, ids ...string) (map[string][]fleet.Instance, error) {
	out := map[string][]fleet.Instance{}
	for _, id := range ids {
		out[id] = []fleet.Instance{{ID: id + "-r1-0", AgentID: id, State: fleet.InstanceRunning, PID: 7, StartedAt: c.clock.Add(-time.Hour)}}
	}
	return out, nil
}

func (c *clinic) Register(d operation.Definition)           { c.ops.Register(d) }
func (c *clinic) OnUndo(kind string, fn operation.UndoFunc) { c.ops.OnUndo(kind, fn) }
func (c *clinic) Create(ctx context.Context, op *operation.Operation) error {
	return c.ops.Create(ctx, op)
}

func (c *clinic) Get(ctx context.Context, id string) (*operation.Operation, error) {
	return c.Wait(ctx, id)
}
func (c *clinic) Wait(ctx context.Context, id string) (*operation.Operation, error) {
	if op, is := c.known[id]; is {
		return op, nil
	}
	return c.ops.Get(ctx, id)
}

// Issue, Revoke, Working and Bury are credentials and letters.
func (c *clinic) Issue(_ context.Context, id string) (string, error) {
	c.done = append(c.done, "issue "+id)
	return "s", nil
}

func (c *clinic) Revoke(_ context.Context, id string) error {
	c.done = append(c.done, "revoke "+id)
	return nil
}

func (c *clinic) Working(context.Context, string) (*queue.Message, error) {
	return &queue.Message{Sequence: 41}, nil
}

func (c *clinic) Bury(_ context.Context, id string, sequence uint64, _ string) error {
	c.done = append(c.done, fmt.Sprintf("bury %d of %s", sequence, id))
	return nil
}

// is brings an agent into a state.
func (c *clinic) is(id string, state agent.State) {
	c.Helper()
	a, err := c.Agents.Get(c.as(), id)
	if err != nil {
		c.Fatal(err)
	}
	a.State = state
	if err := c.Agents.Save(c.as(), a); err != nil {
		c.Fatal(err)
	}
}

func (c *clinic) now(id string) *agent.Agent {
	c.Helper()
	a, err := c.Agents.Get(c.as(), id)
	if err != nil {
		c.Fatal(err)
	}
	return a
}

// at is a step of an operation, as it sees itself.
type at struct {
	op   *operation.Operation
	name string
	said *[]string
}

func (r at) Operation() *operation.Operation       { return r.op }
func (r at) Key() string                           { return r.op.ID + r.name }
func (r at) Detail(_ context.Context, text string) { *r.said = append(*r.said, text) }
func (r at) Result(any) error                      { return nil }

// carriesOut does an operation as its engine does: every step twice, as after a
// crash, and what was done is taken back where one fails. It gives what was said.
func (c *clinic) carriesOut(op *operation.Operation) (said []string, problem error) {
	c.Helper()
	steps := recovery.Steps(c.Service, op)
	done := 0
	for _, st := range steps {
		run := at{op, st.Name, &said}
		if problem = st.Do(c.as(), run); problem == nil {
			problem = st.Do(c.as(), run)
		}
		if problem != nil {
			break
		}
		done++
	}
	op.State = operation.Succeeded
	if f := fault.As(problem); problem != nil {
		op.State, op.Problem = operation.Failed, &operation.Problem{What: problem.Error()}
		if f != nil {
			op.Problem.Code = f.Code
		}
		for _, st := range slices.Backward(steps[:done]) {
			if st.Undo != nil {
				if err := st.Undo(c.as(), at{op, st.Name, &said}); err != nil {
					c.Fatal(err)
				}
			}
		}
	}
	if err := c.Tx.Do(c.as(), func(ctx context.Context) error { return recovery.Finish(c.Service, ctx, op) }); err != nil {
		c.Fatal(err)
	}
	return said, problem
}

// begins begins a fix of a new incident.
func (c *clinic) begins(fix cause.Fix, with map[string]any) (*operation.Operation, *recovery.Incident) {
	c.Helper()
	in := c.falls(fix)
	op, err := c.Fix(c.as(), in.ID, fix, with)
	if err != nil {
		c.Fatal(err)
	}
	op.ID = in.ID + "-op"
	in = c.stored(in)
	in.OperationID, in.Tried[0].OperationID = op.ID, op.ID
	if err := c.Store.UpdateIncident(c.as(), in); err != nil {
		c.Fatal(err)
	}
	return op, in
}

// Each fix does what it says, once, wherever the agent stands; a step that runs
// again after a crash does nothing twice.
func TestFixesAreCarriedOutOnce(t *testing.T) {
	for name, c := range map[string]struct {
		from     agent.State
		fix      cause.Fix
		with     map[string]any
		want     string // actions
		revision int    // afterwards
	}{
		"port of a running agent":     {agent.Running, cause.ChangePort, map[string]any{"from": 8080, "to": 9090}, "stop patient, deploy patient, start patient", 3},
		"memory of a failed agent":    {agent.Errored, cause.RaiseMemory, map[string]any{"memory": "256Mi"}, "deploy patient, start patient", 3},
		"restart of a failed agent":   {agent.Errored, cause.Restart, nil, "restart patient", 2},
		"restart of a stopped agent":  {agent.Stopped, cause.Restart, nil, "deploy patient, start patient", 2},
		"restart of a frozen agent":   {agent.Suspended, cause.Restart, nil, "resume patient", 2},
		"restart of a deployed agent": {agent.Deployed, cause.Restart, nil, "start patient", 2},
		"restart before a deployment": {agent.Provisioned, cause.Restart, nil, "deploy patient, start patient", 2},
		"dependency first":            {agent.Errored, cause.StartDependency, map[string]any{"agent": "other"}, "deploy other, start other, restart patient", 2},
		"what has the port":           {agent.Errored, cause.StopHolder, map[string]any{"agent": "other"}, "stop other, restart patient", 2},
		"credential":                  {agent.Running, cause.RenewCredentials, nil, "revoke patient, issue patient, restart patient", 2},
		"message that was seen":       {agent.Running, cause.DeadLetterMessage, map[string]any{"sequence": 17}, "bury 17 of patient", 2},
		"oldest message":              {agent.Errored, cause.DeadLetterMessage, nil, "bury 41 of patient, restart patient", 2},
		"disk":                        {agent.Running, cause.FreeDisk, nil, "restart patient", 2},
		"nothing but time":            {agent.Running, cause.Wait, nil, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newClinic(t)
			editor := w.Editor.(*agent.Service)
			if _, _, err := editor.Create(w.as(), agent.Spec{Name: "other", Command: "/bin/other"}); err != nil {
				t.Fatal(err)
			}
			w.is("other", map[bool]agent.State{true: agent.Running, false: agent.Stopped}[c.fix == cause.StopHolder])
			w.is("patient", c.from)
			if c.fix == cause.Wait {
				a := w.now("patient")
				a.Health = agent.HealthHealthy
				if err := w.Agents.Save(w.as(), a); err != nil {
					t.Fatal(err)
				}
			}
			if c.fix == cause.DeadLetterMessage && c.from == agent.Running {
				w.Act(w.as(), "patient", agent.Restart, fleet.ActOptions{OperationID: "before"})
				w.done = nil
			}
			op, in := w.begins(c.fix, c.with)
			said, err := w.carriesOut(op)
			if err != nil {
				t.Fatal(err)
			}
			done := slices.Compact(w.done)
			if c.fix == cause.RenewCredentials { // a credential that was given twice is the newer one
				done = done[len(done)-3:]
			}
			if got := strings.Join(done, ", "); got != c.want {
				t.Errorf("done: %s", got)
			}
			if a := w.now("patient"); a.State != agent.Running || a.Revision != c.revision || c.revision > 2 && a.DeployedRevision != a.Revision {
				t.Errorf("the agent is %s with revision %d, deployed %d", a.State, a.Revision, a.DeployedRevision)
			}
			if got := w.stored(in); got.State != recovery.Recovered || got.Tried[0].Helped == nil || !*got.Tried[0].Helped {
				t.Errorf("the error: %+v", got)
			}
			if c.fix == cause.FreeDisk && !slices.Contains(said, "3 MiB were freed") {
				t.Errorf("said: %q", said)
			}
			if w.audited("error.fix") != "done" || w.audited("error.fix_ended") != "done" {
				t.Errorf("audited: %q, %q", w.audited("error.fix"), w.audited("error.fix_ended"))
			}
		})
	}
}

// A change that does not help is taken back, and the error stays open.
func TestAFixThatDoesNotHelpIsTakenBack(t *testing.T) {
	w := newClinic(t)
	w.is("patient", agent.Running)
	w.sick["patient"] = "it ran out of memory again"
	op, in := w.begins(cause.RaiseMemory, map[string]any{"memory": "256Mi"})
	_, err := w.carriesOut(op)
	if f := fault.As(err); f == nil || f.Code != "error.no_help" || !strings.Contains(f.Why, "it ran out of memory again") {
		t.Fatalf("%v", err)
	}
	a := w.now("patient")
	if a.Revision != 4 || a.Spec.Resources.Memory.String() != "128Mi" {
		t.Errorf("revision %d with %s", a.Revision, a.Spec.Resources.Memory)
	}
	if got := strings.Join(w.done, ", "); got != "stop patient, deploy patient, start patient, deploy patient, start patient" {
		t.Errorf("done: %s", got)
	}
	got := w.stored(in)
	if got.State != recovery.Open || got.Tried[0].Helped == nil || *got.Tried[0].Helped || op.Undo != nil {
		t.Errorf("the error: %+v, undo %+v", got, op.Undo)
	}
	outcomes, err := w.Memory.Outcomes(w.as())
	if err != nil || len(outcomes) != 1 || outcomes[0].Tried != 1 || outcomes[0].Helped != 0 {
		t.Errorf("remembered: %+v, %v", outcomes, err)
	}
}

// What somebody else changed while a fix was on its way is left as it is.
func TestAFixLeavesWhatOthersChanged(t *testing.T) {
	w := newClinic(t)
	op, in := w.begins(cause.RaiseMemory, map[string]any{"memory": "256Mi"})
	for _, n := range []int64{2, 3} {
		if _, _, err := w.Editor.Patch(w.as(), "patient", 0, map[string]any{"replicas": n}, "by somebody else"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.carriesOut(op)
	if f := fault.As(err); f == nil || f.Code != "error.changed_meanwhile" {
		t.Fatalf("%v", err)
	}
	if a := w.now("patient"); a.Spec.Replicas != 3 || a.Spec.Resources.Memory.String() != "128Mi" || len(w.done) != 0 {
		t.Errorf("%+v, %v", a.Spec, w.done)
	}
	if got := w.stored(in); got.State != recovery.Open {
		t.Errorf("%+v", got)
	}
}

func TestWhyAnAgentDidNotComeUpIsSaid(t *testing.T) {
	w := newClinic(t)
	w.refuse = agent.Start
	op, _ := w.begins(cause.RaiseMemory, map[string]any{"memory": "256Mi"})
	w.refuse = agent.Start
	steps := recovery.Steps(w.Service, op)
	var said []string
	var err error
	for _, st := range steps {
		if err = st.Do(w.as(), at{op, st.Name, &said}); err != nil {
			break
		}
	}
	if f := fault.As(err); f == nil || f.Code != "error.action_failed" || !strings.Contains(f.What, "start failed") || !strings.Contains(f.Why, "the machine is full") || f.Remedy != "Make room." {
		t.Fatalf("%v", err)
	}
}

// Undoing a fix brings the specification back and starts the agent with it,
// however it runs then.
func TestUndoneFixesAreAsBefore(t *testing.T) {
	w := newClinic(t)
	w.is("patient", agent.Running)
	op, _ := w.begins(cause.ChangePort, map[string]any{"from": 8080, "to": 9090})
	if _, err := w.carriesOut(op); err != nil {
		t.Fatal(err)
	}
	if a := w.now("patient"); a.Spec.Args[0] != "--listen=:9090" {
		t.Fatalf("%v", a.Spec.Args)
	}
	w.done = nil
	by, err := recovery.TakeBack(w.Service, w.as(), op)
	if err != nil {
		t.Fatal(err)
	}
	w.sick["patient"] = "the port is in use"
	var said []string
	for _, st := range recovery.Steps(w.Service, by) {
		if err := st.Do(w.as(), at{by, st.Name, &said}); err != nil {
			t.Fatalf("%s: %v", st.Name, err)
		}
	}
	if a := w.now("patient"); a.Spec.Args[0] != "--listen=:8080" || a.Spec.Env["URL"] != "http://localhost:8080/" || a.Revision != 4 {
		t.Errorf("revision %d: %v, %v", a.Revision, a.Spec.Args, a.Spec.Env)
	}
	if got := strings.Join(w.done, ", "); got != "stop patient, deploy patient, start patient" {
		t.Errorf("done: %s", got)
	}
}
