package fleet

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Move is what is done to an agent that gets another runtime. It is no Action,
// because it leads to no other state.
const Move agent.Action = "move"

// movable are the states from which an agent can be moved.
var movable = []agent.State{agent.Provisioned, agent.Deployed, agent.Running, agent.Stopped, agent.Errored}

// Specs changes specifications. See agent.Service.
type Specs interface {
	Patch(ctx context.Context, id string, ifMatch int64, mergePatch map[string]any, reason string) (*agent.Agent, []string, error)
}

// MoveOptions say where an agent goes.
type MoveOptions struct {
	Runtime string
	// Changes are a merge patch of what else has to differ there, for example
	// image and command.
	Changes map[string]any
	// CopyData lets the content of its volumes go along. It does not serve meanwhile.
	CopyData bool
	IfMatch  int64 // the LockVersion that the agent must have; 0 means any
	Reason   string
}

// MovePlan is what a move would do.
type MovePlan struct {
	AgentID string              `json:"agent_id"`
	From    string              `json:"from"`
	To      string              `json:"to"`
	State   agent.State         `json:"state"`
	Diff    []agent.FieldChange `json:"diff" doc:"What becomes another in the specification that is deployed"`
	Steps   []string            `json:"steps"`
	Moves   []string            `json:"moves" doc:"What is there afterwards as before"`
	Stays   []string            `json:"stays" doc:"What does not go along"`
	// Interrupts says why the agent does not serve for a while; "" if the new
	// instances are ready before the old ones end.
	Interrupts string   `json:"interrupts,omitempty"`
	Warnings   []string `json:"warnings"`
}

// moving is a move that was begun, in a transaction.
type moving struct {
	op       *operation.Operation
	in       input
	was, is  agent.Spec
	state    agent.State
	agentID  string
	revision int
}

// Move begins to bring an agent to another runtime and gives the operation, which
// goes on by itself. Where possible the new instances are ready before the old
// ones end. Faults as of Act, and Invalid where the specification does not fit the
// other runtime.
func (s *Service) Move(ctx context.Context, id string, opt MoveOptions) (*operation.Operation, error) {
	s.admission.Lock()
	defer s.admission.Unlock()
	return s.move(ctx, id, opt)
}

// move is Move for callers that hold the admission, or a transaction.
func (s *Service) move(ctx context.Context, id string, opt MoveOptions) (*operation.Operation, error) {
	held, err := s.held(ctx, id, opt.Runtime)
	if err != nil {
		return nil, err
	}
	own, refusal := s.carries(ctx, id, opt)
	var m *moving
	err = s.Tx.Do(ctx, func(ctx context.Context) (err error) {
		if refusal != nil {
			return refusal
		}
		m, err = s.beginMove(ctx, id, opt, own, held)
		return err
	})
	if err == nil {
		return m.op, nil
	}
	if f := fault.As(err); f != nil && f.Kind != fault.Internal {
		entry := s.Audit.Record(context.WithoutCancel(ctx), "agent.move", "agent/"+id, audit.Refused, f.Error(), nil, map[string]any{"runtime": opt.Runtime})
		return nil, errors.Join(err, entry)
	}
	return nil, err
}

// errPreview takes back the transaction of a plan.
var errPreview = errors.New("only a plan")

// PlanMove says what a move would do, and refuses what Move would refuse. Nothing
// is changed.
func (s *Service) PlanMove(ctx context.Context, id string, opt MoveOptions) (*MovePlan, error) {
	own, err := s.carries(ctx, id, opt)
	if err != nil {
		return nil, err
	}
	var m *moving
	err = s.Tx.Do(ctx, func(ctx context.Context) (err error) {
		if m, err = s.beginMove(ctx, id, opt, own, false); err != nil {
			return err
		}
		return errPreview
	})
	if !errors.Is(err, errPreview) {
		return nil, err
	}
	return s.movePlan(ctx, m)
}

// held tells whether the runtime holds something of the agent already, which a
// move that fails must not remove.
func (s *Service) held(ctx context.Context, id, runtime string) (bool, error) {
	a, err := s.Agents.Get(ctx, id)
	if err != nil {
		return false, err
	}
	ac, ok := s.Runtimes[runtime].(Accountant)
	if !ok {
		return true, nil // for all that is known
	}
	list, err := ac.Holdings(ctx, a.ID)
	return len(list) > 0, err
}

// beginMove checks whether the agent can be moved, gives it the specification for
// the other runtime and creates the operation, in the transaction in ctx. own says
// that instances have volumes of their own on one of both runtimes.
func (s *Service) beginMove(ctx context.Context, id string, opt MoveOptions, own, held bool) (*moving, error) {
	a, err := s.Agents.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	m := &moving{was: a.Spec.WithDefaults(), state: a.State, agentID: a.ID}
	if a.DeployedRevision != 0 {
		if m.was, err = s.spec(ctx, a, a.DeployedRevision); err != nil {
			return nil, err
		}
	}
	if err := s.mayMove(ctx, a, runtimeName(m.was), opt); err != nil {
		return nil, err
	}
	before := a.Spec.WithDefaults().Tree()
	back := agent.Revision{Spec: a.Spec}
	if a, _, err = s.Specs.Patch(ctx, a.ID, opt.IfMatch, movePatch(m.was, opt), reasonOr(opt.Reason, "move to "+opt.Runtime)); err != nil {
		return nil, err
	}
	m.is, m.revision = a.Spec.WithDefaults(), a.Revision
	if err := mayCarry(a.ID, m.was, m.is, opt, own); err != nil {
		return nil, err
	}
	if err := s.admit(ctx, a, m.is); err != nil {
		return nil, err
	}
	to := a.State
	if to == agent.Errored {
		to = agent.Running
	}
	if m.in, err = s.input(ctx, a, to, want{action: Move, revision: a.Revision}); err != nil {
		return nil, err
	}
	m.in.Held, m.in.Back = held, agent.PatchBetween(m.is.Tree(), before)
	if back.Spec.Runtime == "" {
		m.in.Back["runtime"] = defaultRuntime
	}
	m.in.Copy = opt.CopyData
	m.in.Apart = interruption(m.was, m.is, a.State, opt.CopyData) != ""
	data, err := json.Marshal(m.in)
	if err != nil {
		return nil, err
	}
	m.op = &operation.Operation{ID: s.NewID(), Kind: kindOf(Move), AgentID: a.ID, Reason: opt.Reason, Input: data}
	a.ActiveOperation, a.UpdatedAt = m.op.ID, s.Now().UTC()
	if err := s.Agents.Save(ctx, a); err != nil {
		return nil, err
	}
	if err := s.Audit.Record(ctx, "operation.create", "operation/"+m.op.ID, audit.Done, opt.Reason, nil,
		map[string]any{"kind": m.op.Kind, "agent": a.ID, "from": runtimeName(m.was), "to": runtimeName(m.is), "copy_data": opt.CopyData}); err != nil {
		return nil, err
	}
	if s.Changed != nil {
		txn.AfterCommit(ctx, func() { s.Changed(a.ID) })
	}
	return m, s.Ops.Create(ctx, m.op)
}

func reasonOr(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}

// movePatch is what becomes another in the newest specification.
func movePatch(was agent.Spec, opt MoveOptions) map[string]any {
	patch := map[string]any{}
	if opt.Runtime == defaultRuntime && was.Image != "" {
		patch["image"] = nil // a process has none
	}
	for k, v := range opt.Changes {
		patch[k] = v
	}
	patch["runtime"] = opt.Runtime
	return patch
}

// moveBase is where the places begin at which the ports of new instances are
// reserved while the old ones have theirs. No agent has so many replicas.
const moveBase = 1000

func (s *Service) planMove(in input) []operation.StepDef {
	if in.PreviousRevision == 0 {
		return []operation.StepDef{s.step("check", (*job).checkMove, nil, persistent)}
	}
	list := []operation.StepDef{
		s.step("check", (*job).checkMove, nil, persistent),
		s.step("prepare", (*job).prepareMoved, (*job).unprepareMoved, persistent),
	}
	launch := []operation.StepDef{
		s.step("launch", (*job).launchMoved, (*job).stopAll, persistent),
		s.step("ready", (*job).awaitAll, nil, operation.Retry{}),
	}
	end := []operation.StepDef{s.step("end", (*job).endOld, (*job).unendOld, persistent)}
	if in.Copy {
		end = append(end, s.step("copy", (*job).copyVolumes, nil, persistent))
	}
	switch {
	case in.To != agent.Running:
		return append(list, end...)
	case in.Apart:
		return append(append(list, end...), launch...)
	}
	return append(append(append(list, launch...), end...), s.step("ports", (*job).takePorts, nil, persistent))
}

// checkMove looks at what the other runtime can enforce, and at the configuration.
func (j *job) checkMove(ctx context.Context) error {
	if err := j.checkRuntime(ctx); err != nil {
		return err
	}
	if err := takes(j.rt, j.rt.Report(ctx)); err != nil {
		return err
	}
	return j.checkConfiguration(ctx)
}

// base is where the ports of the new instances are reserved.
func (j *job) base() int {
	if j.in.To == agent.Running && !j.in.Apart {
		return moveBase
	}
	return 0
}

func (j *job) prepareMoved(ctx context.Context) error { return j.prepareAt(ctx, j.base()) }

// unprepareMoved leaves on the other runtime what was there before.
func (j *job) unprepareMoved(ctx context.Context) error {
	if err := j.releaseMoved(ctx); err != nil || j.in.Held {
		return err
	}
	return unreachable(j.rt, j.rt.Remove(ctx, j.a.ID)) // the agent is not there
}

func (j *job) releaseMoved(ctx context.Context) error {
	if j.base() == 0 {
		return nil
	}
	for _, i := range j.replicas() {
		if err := j.Observed.ReleasePort(ctx, j.a.ID, moveBase+i); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) launchMoved(ctx context.Context) error { return j.launchAt(ctx, j.base()) }

// before gives the job on the runtime that the agent comes from.
func (j *job) before(ctx context.Context) (*job, error) {
	spec, err := j.Service.spec(ctx, j.a, j.in.PreviousRevision)
	if err != nil {
		return nil, err
	}
	old := *j
	old.spec, old.rt = spec, j.Runtimes[runtimeName(spec)]
	old.in.Revision, old.in.Replicas = j.in.PreviousRevision, max(1, spec.Replicas)
	if old.rt == nil {
		return nil, j.noRuntime(runtimeName(spec))
	}
	return &old, nil
}

func (j *job) endOld(ctx context.Context) error {
	old, err := j.before(ctx)
	if err != nil {
		return err
	}
	return old.stopAll(ctx)
}

// unendOld lets the old instances serve again.
func (j *job) unendOld(ctx context.Context) error {
	if j.in.From != agent.Running {
		return nil
	}
	old, err := j.before(ctx)
	if err != nil {
		return err
	}
	if err := old.launchAll(ctx); err != nil {
		return err
	}
	return old.awaitAll(ctx)
}

// takePorts gives the new instances the reservations of the old ones.
func (j *job) takePorts(ctx context.Context) error {
	seen, err := j.observe(ctx)
	if err != nil {
		return err
	}
	for _, i := range j.replicas() {
		at := find(seen, InstanceID(j.a.ID, j.in.Revision, i))
		if at == nil || at.Port == 0 {
			continue // the reconciler launches it anew, on any port
		}
		if err := j.Observed.ReleasePort(ctx, j.a.ID, i); err != nil {
			return err
		}
		if err := j.Observed.ReleasePort(ctx, j.a.ID, moveBase+i); err != nil {
			return err
		}
		// Nobody else takes it meanwhile: the instance listens there.
		if _, err := j.Observed.ReservePort(ctx, j.a.ID, i, at.Port, at.Port, func(int) bool { return true }); err != nil {
			return err
		}
	}
	return j.releaseMoved(ctx)
}

// unmoved takes back the specification of a move that came to nothing, in the
// transaction that ends it.
func (s *Service) unmoved(ctx context.Context, op *operation.Operation, in input, a *agent.Agent) error {
	if err := s.Agents.Save(ctx, a); err != nil {
		return err
	}
	if _, _, err := s.Specs.Patch(ctx, a.ID, 0, in.Back, "the move came to nothing"); err != nil {
		return err
	}
	why := "cancelled"
	if op.Problem != nil {
		why = op.Problem.What + ": " + op.Problem.Why
	}
	return s.Audit.Record(ctx, "agent.move", "agent/"+a.ID, audit.Failed, why+"; everything was undone", nil,
		map[string]any{"operation": op.ID, "state": a.State})
}

// undoMove moves an agent back.
func (s *Service) undoMove(ctx context.Context, op *operation.Operation) (*operation.Operation, error) {
	in, err := inputOf(op)
	if err != nil {
		return nil, err
	}
	runtime, _ := in.Back["runtime"].(string)
	return s.move(ctx, op.AgentID, MoveOptions{Runtime: runtime, Changes: in.Back, Reason: "undo of move"})
}
