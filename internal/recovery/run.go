package recovery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// persistent is for steps that talk to engines which may be away for a moment.
var persistent = operation.Retry{Attempts: 4, Backoff: 200 * time.Millisecond}

// steps are what the operation of a fix does.
func (s *Service) steps(in input) []operation.StepDef {
	var list []operation.StepDef
	add := func(name string, do, undo func(j *job, ctx context.Context) error) {
		def := operation.StepDef{Name: name, Do: s.step(do), Retry: persistent}
		if undo != nil {
			def.Undo = s.step(undo)
		}
		list = append(list, def)
	}
	switch in.Fix {
	case cause.StartDependency:
		add("start the dependency", (*job).startPeer, nil)
	case cause.StopHolder:
		add("stop the agent that has the port", (*job).stopPeer, nil)
	case cause.FreeDisk:
		add("free space", (*job).freeDisk, nil)
	case cause.RenewCredentials:
		add("new credential", (*job).renew, nil)
	case cause.DeadLetterMessage:
		add("put the message aside", (*job).bury, nil)
	}
	if len(in.Patch) > 0 {
		add("change the specification", (*job).change, (*job).restore)
	}
	if in.Restart {
		add("start the agent", (*job).bringUp, nil)
	}
	add("see that it runs well", (*job).verify, nil)
	return list
}

// job is what a step works with.
type job struct {
	*Service
	run operation.Run
	op  *operation.Operation
	in  input
}

func (s *Service) step(fn func(j *job, ctx context.Context) error) func(context.Context, operation.Run) error {
	return func(ctx context.Context, run operation.Run) error {
		op := run.Operation()
		in, err := inputOf(op)
		if err != nil {
			return err
		}
		return fn(&job{Service: s, run: run, op: op, in: in}, ctx)
	}
}

// change stores the new revision. A step that runs again finds nothing to change.
func (j *job) change(ctx context.Context) error {
	a, err := j.Agents.Get(ctx, j.in.Agent)
	if err != nil {
		return err
	}
	if a.Revision != j.in.Before && a.Revision != j.in.Before+1 {
		return fault.New(fault.Conflict, "error.changed_meanwhile", "The specification was changed meanwhile").
			Because("its newest revision is %d, not %d", a.Revision, j.in.Before).Do("Look at the error again.")
	}
	a, _, err = j.Editor.Patch(ctx, j.in.Agent, 0, j.in.Patch, j.op.Reason)
	if err != nil {
		return err
	}
	j.run.Detail(ctx, fmt.Sprintf("revision %d", a.Revision))
	return j.run.Result(map[string]any{"revision": a.Revision})
}

// restore makes the specification what it was, unless somebody else has changed
// it, and starts an agent again that ran before.
func (j *job) restore(ctx context.Context) error {
	a, err := j.Agents.Get(ctx, j.in.Agent)
	if err != nil || a.Revision != j.in.Before+1 || len(j.in.Back) == 0 {
		return err
	}
	if _, _, err = j.Editor.Patch(ctx, j.in.Agent, 0, j.in.Back, "it did not help: "+j.op.Reason); err != nil {
		return err
	}
	if j.in.From != agent.Running {
		return nil
	}
	return j.ensure(ctx, j.in.Agent, "undo", true)
}

// bringUp starts the agent anew: with the newest revision where that was changed.
func (j *job) bringUp(ctx context.Context) error {
	return j.ensure(ctx, j.in.Agent, "do", len(j.in.Patch) > 0)
}

// ensure brings an agent to RUNNING by actions, each an operation of its own with
// an id that is the same when the step runs again. anew has the newest revision
// deployed; else it is restarted as it is.
func (j *job) ensure(ctx context.Context, id, what string, anew bool) error {
	for _, last := range []agent.Action{agent.Start, agent.Restart, agent.Resume} {
		_, err := j.Ops.Get(ctx, j.actID(what, last))
		if err == nil { // the step runs again: it had come so far before
			return j.act(ctx, id, what, []agent.Action{last})
		}
		if !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	a, err := j.Agents.Get(ctx, id)
	if err != nil {
		return err
	}
	var actions []agent.Action
	switch a.State {
	case agent.Running:
		actions = []agent.Action{agent.Restart}
		if anew && a.DeployedRevision != a.Revision {
			actions = []agent.Action{agent.Stop, agent.Deploy, agent.Start}
		}
	case agent.Errored:
		actions = []agent.Action{agent.Restart}
		if anew || a.DeployedRevision == 0 {
			actions = []agent.Action{agent.Deploy, agent.Start}
		}
	case agent.Provisioned:
		actions = []agent.Action{agent.Deploy, agent.Start}
	case agent.Stopped:
		actions = []agent.Action{agent.Deploy, agent.Start}
	case agent.Deployed:
		actions = []agent.Action{agent.Start}
	case agent.Suspended:
		actions = []agent.Action{agent.Resume}
	case agent.Draft:
		actions = []agent.Action{agent.Provision, agent.Deploy, agent.Start}
	default:
		return fault.New(fault.Conflict, "error.agent_state", "The agent %s can't be started", id).Because("it is %s", a.State)
	}
	return j.act(ctx, id, what, actions)
}

// actID is the id of the operation that is one action of a step.
func (j *job) actID(what string, action agent.Action) string {
	return j.op.ID + "-" + what + "-" + string(action)
}

// act carries the actions out one after the other. One that was begun in an
// earlier life is waited for, and those before it are not repeated.
func (j *job) act(ctx context.Context, id, what string, actions []agent.Action) error {
	for _, action := range actions {
		opID := j.actID(what, action)
		j.run.Detail(ctx, string(action)+" "+id)
		op, err := j.Fleet.Act(ctx, id, action, fleet.ActOptions{Reason: j.op.Reason, ParentID: j.op.ID, OperationID: opID})
		if err != nil {
			return err
		}
		if op, err = j.Ops.Wait(ctx, op.ID); err != nil {
			return err
		}
		if op.State != operation.Succeeded {
			f := fault.New(fault.Conflict, "error.action_failed", "The agent %s could not be brought up: %s failed", id, action)
			if op.Problem != nil {
				f.Because("%s: %s", op.Problem.What, op.Problem.Why).Do("%s", op.Problem.Remedy)
			}
			return f.With("operation", op.ID)
		}
	}
	return nil
}

// startPeer starts the agent that this one waits for, unless it runs.
func (j *job) startPeer(ctx context.Context) error {
	d, err := j.Agents.Get(ctx, j.in.Peer)
	if err != nil || d.State == agent.Running {
		return err
	}
	return j.ensure(ctx, d.ID, "peer", d.DeployedRevision != d.Revision)
}

// stopPeer stops the agent that has the port, unless it is stopped.
func (j *job) stopPeer(ctx context.Context) error {
	d, err := j.Agents.Get(ctx, j.in.Peer)
	if err != nil || d.State == agent.Stopped {
		return err
	}
	return j.act(ctx, d.ID, "peer", []agent.Action{agent.Stop})
}

func (j *job) freeDisk(ctx context.Context) error {
	if j.Machine == nil {
		return fault.New(fault.Unavailable, "error.no_machine", "The agent's files are not on this machine")
	}
	freed, err := j.Machine.FreeDisk(j.in.Agent)
	if err != nil {
		return err
	}
	j.run.Detail(ctx, amount(freed)+" were freed")
	return nil
}

func (j *job) renew(ctx context.Context) error {
	if err := j.Keys.Revoke(ctx, j.in.Agent); err != nil {
		return err
	}
	_, err := j.Keys.Issue(ctx, j.in.Agent)
	return err
}

// bury puts the message aside that makes trouble: the one that was seen, or the
// oldest that is being worked on.
func (j *job) bury(ctx context.Context) error {
	if j.Letters == nil {
		return fault.New(fault.Unavailable, "error.no_letters", "The queues do not let messages be put aside")
	}
	sequence := j.in.Sequence
	if sequence == 0 {
		m, err := j.Letters.Working(ctx, j.in.Agent)
		if err != nil {
			return err
		}
		if m == nil {
			j.run.Detail(ctx, "it is among the dead letters already")
			return nil
		}
		sequence = m.Sequence
	}
	j.run.Detail(ctx, fmt.Sprintf("message %d", sequence))
	return j.Letters.Bury(ctx, j.in.Agent, sequence, j.op.Reason)
}

// looks is the pause between two looks at an agent that is to show that it runs well.
const looks = 250 * time.Millisecond

// verify waits until the agent has run well for a while, or fails.
func (j *job) verify(ctx context.Context) error {
	if j.in.Undoing && j.in.Fix != cause.RollBack {
		return nil // it is as it was, for better or worse
	}
	limit := time.Duration(j.in.Watch)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(looks)
	defer tick.Stop()
	why, calm, runs := "it was not seen to run", time.Time{}, ""
	for {
		reason, now, err := j.unwell(ctx)
		if err != nil {
			return err
		}
		switch {
		case reason != "":
			why, calm = reason, time.Time{}
		case calm.IsZero() || now != runs:
			calm, runs = j.Now(), now
		case j.Now().Sub(calm) >= j.steadyHere():
			return nil
		}
		if fatal, err := j.gaveUp(ctx); err != nil || fatal {
			if err == nil {
				err = j.noHelp(why)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return j.noHelp(why)
		case <-tick.C:
		}
	}
}

func (j *job) noHelp(why string) error {
	return fault.New(fault.Conflict, "error.no_help", "It did not help").Because("%s", why).Do("Try the next suggestion.")
}

func (j *job) steadyHere() time.Duration {
	if j.in.Fix == cause.Wait {
		return 2 * j.steady()
	}
	return j.steady()
}

// gaveUp tells whether the agent will not run any more by itself.
func (j *job) gaveUp(ctx context.Context) (bool, error) {
	a, err := j.Agents.Get(ctx, j.in.Agent)
	if err != nil {
		return false, err
	}
	return a.State == agent.Errored && a.ActiveOperation == "" && j.in.Fix != cause.Wait, nil
}

// unwell says what is wrong with the agent; "" if nothing is. runs names the
// present lives of its instances.
func (j *job) unwell(ctx context.Context) (reason, runs string, err error) {
	a, err := j.Agents.Get(ctx, j.in.Agent)
	if err != nil {
		return "", "", err
	}
	all, err := j.Fleet.Instances(ctx, a.ID)
	if err != nil {
		return "", "", err
	}
	list := all[a.ID]
	if a.State != agent.Running {
		reason = "the agent is " + string(a.State)
		if a.Failure != nil {
			reason += ": " + a.Failure.Reason
		}
		return reason, "", nil
	}
	if a.Health != agent.HealthHealthy {
		return "its health is " + string(a.Health) + ": " + a.HealthReason, "", nil
	}
	if len(list) == 0 {
		return "no instance is there", "", nil
	}
	var lives []string
	for _, in := range list {
		if in.State != fleet.InstanceRunning {
			return "instance " + in.ID + " is " + string(in.State) + ": " + in.Reason, "", nil
		}
		lives = append(lives, in.ID+"@"+runOf(in))
	}
	slices.Sort(lives)
	in, err := j.Store.Incident(ctx, j.in.Incident)
	if fault.Is(err, fault.NotFound) {
		return "", fmt.Sprint(lives), nil
	}
	if err != nil {
		return "", "", err
	}
	if j.lasts(a, in, j.now()) {
		return "what was measured still shows it", "", nil
	}
	return "", fmt.Sprint(lives), nil
}
