package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/txn"
)

// remember keeps how an instance ended for the failure that the operation will
// end with; the clean-up takes the instance away before. If the portal dies in
// between, the step's problem still has the essence.
func (j *job) remember(at Instance) { j.ends.Store(j.op.ID, at) }

// failureOf is why an agent is ERRORED, with how its instance ended.
func failureOf(code, reason, remedy string, at *Instance) *agent.Failure {
	f := &agent.Failure{Code: code, Reason: reason, Remedy: remedy}
	if at != nil {
		f.ExitCode, f.Signal, f.LastLogs = at.ExitCode, at.Signal, at.LastLogs
	}
	return f
}

// finish stores what the end of an operation means for its agent, in the
// transaction that ends the operation.
func (s *Service) finish(ctx context.Context, op *operation.Operation) error {
	in, err := inputOf(op)
	if err != nil {
		return err
	}
	end, _ := s.ends.LoadAndDelete(op.ID)
	a, err := s.Agents.Get(ctx, op.AgentID)
	if fault.Is(err, fault.NotFound) {
		return nil // it was deleted; there is nobody to tell
	}
	if err != nil || a.ActiveOperation != op.ID {
		return err
	}
	a.ActiveOperation = ""
	if s.Changed != nil {
		txn.AfterCommit(ctx, func() { s.Changed(op.AgentID) })
	}
	switch op.State {
	case operation.Succeeded:
		return s.succeed(ctx, op, in, a)
	case operation.Cancelled, operation.Failed:
		if op.State == operation.Failed && in.Action != Move {
			break
		}
		whole, err := s.restored(ctx, op, in)
		if err != nil {
			return err
		}
		if whole && in.Action == Move {
			a.UpdatedAt = s.Now().UTC()
			return s.unmoved(ctx, op, in, a)
		}
		if whole {
			return s.restore(ctx, op, in, a)
		}
	}
	var at *Instance
	if seen, ok := end.(Instance); ok {
		at = &seen
	}
	return s.fail(ctx, op, in, a, at)
}

func meta(op *operation.Operation, in input) map[string]any {
	return map[string]any{"operation": op.ID, "action": in.Action}
}

func (s *Service) succeed(ctx context.Context, op *operation.Operation, in input, a *agent.Agent) error {
	a.Failure = nil
	switch {
	case in.Action == agent.Deploy, in.Action == Move && in.PreviousRevision != 0, in.To == agent.Running && a.DeployedRevision == 0:
		a.DeployedRevision = in.Revision
	case in.Action == agent.Revoke:
		a.DeployedRevision = 0
		s.specs.forget(a.ID)
	}
	s.offer(op, in)
	switch {
	case in.From == agent.Running && in.To == agent.Running && in.Action != Move:
		// The probes have gone on all the time and know better.
	case in.To == agent.Running:
		// It was just seen to be ready.
		if err := s.health(ctx, a, agent.HealthHealthy, ""); err != nil {
			return err
		}
	default:
		if err := s.health(ctx, a, agent.HealthUnknown, ""); err != nil {
			return err
		}
	}
	reason := op.Reason
	if reason == "" {
		reason = string(in.Action)
	}
	return s.AgentSvc.Transition(ctx, a, in.To, reason, meta(op, in))
}

// offer says for how long the operation can be taken back.
func (s *Service) offer(op *operation.Operation, in input) {
	if in.Action == Move {
		op.Undo = &operation.Undo{Action: string(Move), Until: s.Now().UTC().Add(s.undoWindow()), Details: fmt.Sprintf("moves it back to %v", in.Back["runtime"])}
		return
	}
	by, ok := undoOf(in.Action)
	if !ok || in.Action == agent.Deploy && (in.PreviousRevision == 0 || in.PreviousRevision == in.Revision) {
		return
	}
	op.Undo = &operation.Undo{Action: string(by), Until: s.Now().UTC().Add(s.undoWindow())}
	if in.Action == agent.Deploy {
		op.Undo.Details = fmt.Sprintf("deploys revision %d again", in.PreviousRevision)
	}
}

// health changes the agent's health, to be stored with it, and announces it.
func (s *Service) health(ctx context.Context, a *agent.Agent, h agent.Health, reason string) error {
	if a.Health == h && a.HealthReason == reason {
		return nil
	}
	a.Health, a.HealthReason = h, reason
	now := s.Now().UTC()
	return s.Events.Append(ctx, event.New(event.AgentHealthUpdate, a.ID, audit.ActorFrom(ctx).ID, now,
		event.HealthUpdate{AgentID: a.ID, Health: string(h), Reason: reason, Metrics: map[string]any{}, Timestamp: now},
		event.RoomAgents, event.RoomAgent(a.ID)))
}

// fail moves the agent to ERRORED with the reason.
func (s *Service) fail(ctx context.Context, op *operation.Operation, in input, a *agent.Agent, at *Instance) error {
	p := op.Problem
	if p == nil {
		p = &operation.Problem{
			Code: "cancelled", What: fmt.Sprintf("The %s was cancelled, and what it had done could not be undone", in.Action),
			Remedy: "Restart, stop or revoke the agent.",
		}
	}
	code := p.Code
	if code == "" {
		code = "step_failed"
	}
	reason := p.What
	if p.Why != "" {
		reason += ": " + p.Why
	}
	return s.errored(ctx, a, failureOf(code, reason, p.Remedy, at), meta(op, in))
}

// errored moves the agent to ERRORED, in the transaction in ctx.
func (s *Service) errored(ctx context.Context, a *agent.Agent, f *agent.Failure, meta map[string]any) error {
	a.Failure = f
	if err := s.health(ctx, a, agent.HealthUnhealthy, f.Reason); err != nil {
		return err
	}
	return s.AgentSvc.Transition(ctx, a, agent.Errored, f.Reason, meta)
}

// restored tells whether everything that a cancelled operation had done was
// undone.
func (s *Service) restored(ctx context.Context, op *operation.Operation, in input) (bool, error) {
	if in.Action == agent.Revoke {
		for _, st := range op.Steps {
			if st.Attempts > 0 {
				return false, nil
			}
		}
		return true, nil
	}
	attempts, err := s.Ops.Attempts(ctx, op.ID)
	if err != nil {
		return false, err
	}
	bad := map[string]bool{}
	for _, t := range attempts {
		if t.Undo {
			bad[t.Step] = t.Error != ""
		}
	}
	for _, b := range bad {
		if b {
			return false, nil
		}
	}
	return true, nil
}

// restore leaves the agent as it was before a cancelled operation.
func (s *Service) restore(ctx context.Context, op *operation.Operation, in input, a *agent.Agent) error {
	a.UpdatedAt = s.Now().UTC()
	if err := s.Agents.Save(ctx, a); err != nil {
		return err
	}
	return s.Audit.Record(ctx, "agent."+string(in.Action), "agent/"+a.ID, audit.Failed,
		"cancelled; everything was undone", nil, map[string]any{"operation": op.ID, "state": a.State})
}

// plainReason gives an error in one line for records.
func plainReason(err error) string {
	if f := fault.As(err); f != nil {
		return strings.TrimSuffix(f.What+": "+f.Why, ": ")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	return err.Error()
}
