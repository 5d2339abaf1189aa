package recovery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// KindUndo is the operation that takes a fix back.
const KindUndo = "fix.undo"

// KindOf is the operation that carries out a fix.
func KindOf(f cause.Fix) string { return "fix." + string(f) }

// input is what the operation of a fix is created with.
type input struct {
	Incident string    `json:"incident"`
	Agent    string    `json:"agent"`
	Fix      cause.Fix `json:"fix"`
	plan
	From   agent.State `json:"from"`   // where the agent was
	Before int         `json:"before"` // its newest revision
}

// Preview is what a fix would do.
type Preview struct {
	Fix        cause.Fix           `json:"fix"`
	Title      string              `json:"title"`
	Changes    []agent.FieldChange `json:"changes" doc:"What changes in the specification"`
	Steps      []string            `json:"steps"`
	Impact     *fleet.Impact       `json:"impact,omitempty" doc:"What the restart touches"`
	Undo       string              `json:"undo" doc:"How it can be taken back"`
	Warnings   []string            `json:"warnings"`
	Parameters map[string]any      `json:"parameters,omitempty" doc:"With what it would be done"`
}

// Preview says what a fix would do, and does nothing. Faults as Fix.
func (s *Service) Preview(ctx context.Context, id string, fix cause.Fix, parameters map[string]any) (Preview, error) {
	in, err := s.Store.Incident(ctx, id)
	if err != nil {
		return Preview{}, err
	}
	a, p, err := s.planned(ctx, in, fix, parameters)
	if err != nil {
		return Preview{}, err
	}
	out := Preview{Fix: fix, Title: p.Title, Changes: []agent.FieldChange{}, Undo: p.undoText(), Warnings: p.Warnings, Parameters: p.Parameters}
	if len(p.Patch) > 0 {
		changed, err := patched(a.Spec, p.Patch)
		if err != nil {
			return Preview{}, err
		}
		out.Changes = append(out.Changes, agent.Diff(a.Spec.WithDefaults(), changed)...)
	}
	for _, st := range s.steps(input{Agent: a.ID, Fix: fix, plan: p}) {
		out.Steps = append(out.Steps, st.Name)
	}
	if p.Restart && a.State == agent.Running {
		im, err := s.Fleet.Impact(ctx, a.ID, agent.Restart)
		if err != nil {
			return Preview{}, err
		}
		out.Impact = &im
		out.Warnings = append(out.Warnings, im.Warnings...)
	}
	if out.Warnings == nil {
		out.Warnings = []string{}
	}
	return out, nil
}

// planned checks that a fix can be carried out now, and works out how.
func (s *Service) planned(ctx context.Context, in *Incident, fix cause.Fix, parameters map[string]any) (*agent.Agent, plan, error) {
	if !slices.Contains(cause.Fixes, fix) {
		return nil, plan{}, fault.New(fault.Invalid, "error.unknown_fix", "There is no fix %q", fix).With("fixes", cause.Fixes).Do("Use one of those that are suggested.")
	}
	if in.State != Open {
		return nil, plan{}, fault.New(fault.Conflict, "error.not_open", "The error can't be fixed now").Because("it is %s", in.State).
			With("state", in.State).With("operation", in.OperationID).Do("Only open errors can be fixed.")
	}
	a, err := s.Agents.Get(ctx, in.AgentID)
	if err != nil {
		return nil, plan{}, err
	}
	if a.State == agent.Revoked || a.State == agent.Draft {
		return nil, plan{}, fault.New(fault.Conflict, "error.agent_state", "The agent can't be mended").Because("it is %s", a.State).With("state", a.State)
	}
	given := map[string]any{}
	for _, sg := range in.Suggestions {
		if sg.Fix == fix {
			for k, v := range sg.Parameters {
				given[k] = v
			}
		}
	}
	for k, v := range parameters {
		given[k] = v
	}
	p, err := s.plan(ctx, a, in, fix, given)
	return a, p, err
}

// Fix begins to carry out a fix and gives its operation. Faults: NotFound,
// Invalid for parameters that are missing or wrong, Conflict if the error is not
// open or the agent is being worked on. Refusals are audited.
func (s *Service) Fix(ctx context.Context, id string, fix cause.Fix, parameters map[string]any) (*operation.Operation, error) {
	return s.begin(ctx, id, fix, parameters, "")
}

func (s *Service) begin(ctx context.Context, id string, fix cause.Fix, parameters map[string]any, policy string) (*operation.Operation, error) {
	var op *operation.Operation
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		in, err := s.Store.Incident(ctx, id)
		if err != nil {
			return err
		}
		a, p, err := s.planned(ctx, in, fix, parameters)
		if err != nil {
			return err
		}
		if a.ActiveOperation != "" {
			return fault.New(fault.Conflict, "agent.busy", "The agent %s is being worked on", a.ID).
				Because("operation %s has not ended", a.ActiveOperation).Do("Wait for it, or cancel it.").With("operation", a.ActiveOperation)
		}
		data, err := json.Marshal(input{Incident: in.ID, Agent: a.ID, Fix: fix, plan: p, From: a.State, Before: a.Revision})
		if err != nil {
			return err
		}
		op = &operation.Operation{ID: s.NewID(), Kind: KindOf(fix), AgentID: a.ID, Input: data, Reason: p.Title}
		if policy != "" {
			op.Reason += " (by the policy " + policy + ")"
		}
		if err := s.Ops.Create(ctx, op); err != nil {
			return err
		}
		in.State, in.OperationID, in.Policy, in.NeedsHuman, in.Note = Recovering, op.ID, policy, false, ""
		in.Tried = append(in.Tried, Attempt{Fix: fix, OperationID: op.ID, By: auth.From(ctx).ID, Policy: policy, StartedAt: s.now()})
		if err := s.save(ctx, in); err != nil {
			return err
		}
		return s.Audit.Record(ctx, "error.fix", "error/"+in.ID, audit.Done, op.Reason, nil,
			map[string]any{"agent": a.ID, "fix": fix, "operation": op.ID, "cause": in.Cause, "policy": policy})
	})
	if err != nil {
		return nil, s.refused(ctx, "error.fix", id, err)
	}
	return op, nil
}

// Register makes the fixes known to the operations.
func (s *Service) Register() {
	for _, fix := range cause.Fixes {
		s.Ops.Register(operation.Definition{Kind: KindOf(fix), Steps: s.stepsOf, Finish: s.finish})
		s.Ops.OnUndo(KindOf(fix), s.takeBack)
	}
	s.Ops.Register(operation.Definition{Kind: KindUndo, Steps: s.stepsOf})
}

func (s *Service) stepsOf(op *operation.Operation) []operation.StepDef {
	in, err := inputOf(op)
	if err != nil {
		panic(fmt.Sprintf("operation %s: %v", op.ID, err))
	}
	return s.steps(in)
}

func inputOf(op *operation.Operation) (input, error) {
	var in input
	if err := json.Unmarshal(op.Input, &in); err != nil {
		return in, fmt.Errorf("read the input: %w", err)
	}
	return in, nil
}

// finish stores what the end of a fix means for its incident, in the transaction
// that ends the operation.
func (s *Service) finish(ctx context.Context, op *operation.Operation) error {
	work, err := inputOf(op)
	if err != nil {
		return err
	}
	in, err := s.Store.Incident(ctx, work.Incident)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	helped, now := op.State == operation.Succeeded, s.now()
	for i := range in.Tried {
		if t := &in.Tried[i]; t.OperationID == op.ID {
			t.EndedAt = &now
			if op.State != operation.Cancelled {
				t.Helped = &helped
			}
		}
	}
	outcome := audit.Failed
	if helped {
		outcome, in.State, in.RecoveredAt = audit.Done, Recovered, &now
		s.offer(op, work)
	} else if in.State == Recovering {
		in.State = Open
	}
	if op.State != operation.Cancelled {
		if err := s.Memory.AddOutcome(ctx, in.Cause, work.Fix, helped); err != nil {
			return err
		}
	}
	if err := s.save(ctx, in); err != nil {
		return err
	}
	reason := ""
	if op.Problem != nil {
		reason = op.Problem.What
	}
	return s.Audit.Record(ctx, "error.fix_ended", "error/"+in.ID, outcome, reason, nil,
		map[string]any{"agent": in.AgentID, "fix": work.Fix, "operation": op.ID, "state": in.State})
}

// offer says for how long a fix can be taken back.
func (s *Service) offer(op *operation.Operation, work input) {
	if len(work.Back) == 0 {
		return
	}
	d := s.UndoTime
	if d <= 0 {
		d = time.Hour
	}
	op.Undo = &operation.Undo{Action: "restore", Until: s.now().Add(d), Details: fmt.Sprintf("makes the specification what it was in revision %d and starts the agent with it", work.Before)}
}

// takeBack begins the operation that undoes a fix.
func (s *Service) takeBack(ctx context.Context, op *operation.Operation) (*operation.Operation, error) {
	work, err := inputOf(op)
	if err != nil {
		return nil, err
	}
	a, err := s.Agents.Get(ctx, work.Agent)
	if err != nil {
		return nil, err
	}
	work.Patch, work.Back, work.From, work.Before, work.Undoing = work.Back, nil, a.State, a.Revision, true
	data, err := json.Marshal(work)
	if err != nil {
		return nil, err
	}
	by := &operation.Operation{ID: s.NewID(), Kind: KindUndo, AgentID: a.ID, Input: data, Reason: "undo of " + op.Kind}
	return by, s.Ops.Create(ctx, by)
}
