package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// input is what an operation on an agent needs to know, fixed when it begins.
type input struct {
	Action agent.Action `json:"action"`
	From   agent.State  `json:"from"`
	To     agent.State  `json:"to"`
	// Revision is the one that the action puts on the runtime, or works with.
	Revision int `json:"revision"`
	// PreviousRevision is the one that was deployed before; 0 if none was.
	PreviousRevision int `json:"previous_revision,omitempty"`
	Replicas         int `json:"replicas,omitempty"`
	// Of a move: whether the runtime that it leads to held something of the agent
	// before, whether the old instances end before the new ones start, and the merge
	// patch that takes the specification back.
	Held  bool           `json:"held,omitempty"`
	Apart bool           `json:"apart,omitempty"`
	Back  map[string]any `json:"back,omitempty"`
	// Copy says that the content of its volumes goes along with a move.
	Copy bool `json:"copy,omitempty"`
	// Provisioned tells whether the agent had its queues, credential and ports.
	Provisioned bool `json:"provisioned"`
}

func kindOf(a agent.Action) string { return "agent." + string(a) }

// input fixes what the operation will work with.
func (s *Service) input(ctx context.Context, a *agent.Agent, to agent.State, w want) (input, error) {
	in := input{
		Action: w.action, From: a.State, To: to,
		Revision: a.DeployedRevision, PreviousRevision: a.DeployedRevision,
	}
	switch {
	case w.revision != 0:
		in.Revision = w.revision
	case w.action == agent.Provision, w.action == agent.Deploy, in.Revision == 0:
		in.Revision = a.Revision
	}
	spec, err := s.spec(ctx, a, in.Revision)
	if err != nil {
		return in, err
	}
	in.Replicas = max(1, spec.Replicas)
	_, err = s.Keys.Secret(ctx, a.ID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return in, err
	}
	in.Provisioned = err == nil
	return in, nil
}

// Register makes the actions known to the operations.
func (s *Service) Register() {
	plans := map[agent.Action]func(in input) []operation.StepDef{
		agent.Provision: s.planProvision,
		agent.Deploy:    s.planDeploy,
		agent.Start:     s.planStart,
		agent.Stop:      s.planStop,
		agent.Suspend:   s.planSuspend,
		agent.Resume:    s.planResume,
		agent.Restart:   s.planRestart,
		agent.Revoke:    s.planRevoke,
	}
	s.register(Move, s.planMove)
	s.Ops.OnUndo(kindOf(Move), s.undoMove)
	for _, action := range agent.Actions() {
		s.register(action, plans[action])
		if undo, ok := undoOf(action); ok {
			s.Ops.OnUndo(kindOf(action), func(ctx context.Context, op *operation.Operation) (*operation.Operation, error) {
				return s.undo(ctx, op, undo)
			})
		}
	}
}

func (s *Service) register(action agent.Action, plan func(in input) []operation.StepDef) {
	s.Ops.Register(operation.Definition{
		Kind: kindOf(action),
		Steps: func(op *operation.Operation) []operation.StepDef {
			in, err := inputOf(op)
			if err != nil {
				panic(fmt.Sprintf("operation %s: %v", op.ID, err))
			}
			return plan(in)
		},
		Finish: s.finish,
	})
}

// undoOf gives the action that takes another back. Deploying is taken back by
// deploying what was there before.
func undoOf(action agent.Action) (agent.Action, bool) {
	if action == agent.Deploy {
		return agent.Deploy, true
	}
	r, ok := agent.RuleOf(action)
	return r.Undo, ok && r.Undo != ""
}

func (s *Service) undo(ctx context.Context, op *operation.Operation, by agent.Action) (*operation.Operation, error) {
	in, err := inputOf(op)
	if err != nil {
		return nil, err
	}
	w := want{action: by, within: true, ActOptions: ActOptions{Reason: "undo of " + string(in.Action)}}
	if in.Action == agent.Deploy {
		w.revision, w.undoes = in.PreviousRevision, true
	}
	return s.act(ctx, op.AgentID, w)
}

func inputOf(op *operation.Operation) (input, error) {
	var in input
	if err := json.Unmarshal(op.Input, &in); err != nil {
		return in, fmt.Errorf("read the input: %w", err)
	}
	return in, nil
}

// job is what a step works with.
type job struct {
	*Service
	run  operation.Run
	op   *operation.Operation
	in   input
	a    *agent.Agent
	spec agent.Spec
	rt   Runtime // nil where the action needs none
}

func (j *job) detail(ctx context.Context, text string, args ...any) {
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	j.run.Detail(ctx, text)
}

func (j *job) replicas() []int {
	list := make([]int, j.in.Replicas)
	for i := range list {
		list[i] = i
	}
	return list
}

// stepFunc is a method of job.
type stepFunc func(j *job, ctx context.Context) error

// persistent is for steps that talk to engines which may be away for a moment.
var persistent = operation.Retry{Attempts: 4, Backoff: 200 * time.Millisecond}

// step makes a step out of functions that get their agent read anew. undo may
// be nil.
func (s *Service) step(name string, do, undo stepFunc, retry operation.Retry) operation.StepDef {
	def := operation.StepDef{
		Name:  name,
		Do:    func(ctx context.Context, run operation.Run) error { return s.with(ctx, run, do) },
		Retry: retry,
	}
	if undo != nil {
		def.Undo = func(ctx context.Context, run operation.Run) error { return s.with(ctx, run, undo) }
	}
	return def
}

// with runs fn for the agent of the operation. The reconciler leaves an agent
// alone while an operation works on it; one that it had begun on before is
// waited for.
func (s *Service) with(ctx context.Context, run operation.Run, fn stepFunc) error {
	op := run.Operation()
	in, err := inputOf(op)
	if err != nil {
		return err
	}
	s.locks.lock(op.AgentID)()
	a, err := s.Agents.Get(ctx, op.AgentID)
	if err != nil {
		return err
	}
	if a.ActiveOperation != op.ID {
		return fault.New(fault.Conflict, "agent.not_owner", "The operation no longer works on the agent %s", a.ID).
			Because("the agent was changed by something else").Do("Start the action anew.")
	}
	spec, err := s.spec(ctx, a, in.Revision)
	if err != nil {
		return err
	}
	rt := s.Runtimes[runtimeName(spec)]
	if rt == nil && in.Action != agent.Revoke {
		return s.noRuntime(runtimeName(spec))
	}
	return fn(&job{Service: s, run: run, op: op, in: in, a: a, spec: spec, rt: rt}, ctx)
}

// observe gives the agent's instances that the runtime has.
func (j *job) observe(ctx context.Context) ([]Instance, error) {
	if j.rt == nil {
		return nil, nil
	}
	list, err := j.rt.Observe(ctx, j.a.ID)
	if err != nil {
		return nil, unreachable(j.rt, err)
	}
	return list, nil
}

func find(list []Instance, id string) *Instance {
	i := slices.IndexFunc(list, func(in Instance) bool { return in.ID == id })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// silent is what a runtime is told to be that did not answer in time.
func silent(rt Runtime, patience time.Duration) error {
	return fault.New(fault.Unavailable, "fleet.runtime_silent", "The runtime %s does not answer", rt.Name()).
		Because("it was asked %s ago; its agents are left alone meanwhile, and the others looked after", patience).Do("See what keeps it: `portal doctor` asks it.")
}

// unreachable makes a fault for people of what a runtime answered, unless it is one.
func unreachable(rt Runtime, err error) error {
	if err == nil || fault.As(err) != nil {
		return err
	}
	return fault.New(fault.Unavailable, "fleet.runtime_failed", "The runtime %s did not do what it was asked", rt.Name()).
		Because("%s", err.Error()).Do("See the portal's log and `portal doctor`.").Wrap(err)
}
