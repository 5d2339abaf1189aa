package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Transitioner moves an agent to another state: history, audit entry, event
// and the agent itself, in the transaction in ctx.
type Transitioner interface {
	Transition(ctx context.Context, a *agent.Agent, to agent.State, reason string, meta map[string]any) error
}

// Operations keeps and runs operations.
type Operations interface {
	Register(d operation.Definition)
	OnUndo(kind string, fn operation.UndoFunc)
	Create(ctx context.Context, op *operation.Operation) error
	Get(ctx context.Context, id string) (*operation.Operation, error)
	Attempts(ctx context.Context, id string) ([]operation.Attempt, error)
}

// Keys keeps the credential of each agent. Secret gives NotFound where there is none.
type Keys interface {
	Issue(ctx context.Context, agentID string) (secret string, err error)
	Secret(ctx context.Context, agentID string) (string, error)
	Revoke(ctx context.Context, agentID string) error
}

// SecretSource resolves the references that specs hold in place of secrets.
type SecretSource interface {
	// Secret gives the value; faults that name the reference, never a value:
	// Invalid for one that is not understood, NotFound if there is no such secret.
	Secret(ctx context.Context, reference string) (string, error)
}

// Prober asks an instance one question.
type Prober interface {
	Probe(ctx context.Context, agentID, instanceID string, p agent.Probe, exec health.Execer) health.Answer
}

// Monitor watches over the instances of agents that are meant to run.
type Monitor interface {
	Set(s health.Subject)
	Remove(agentID string)
	// Complete says that every agent that is meant to run has been Set.
	Complete()
	// Answers gives what the probes of an instance say; nil without an answer.
	Answers(agentID, instanceID string) (live, ready *bool)
}

// Service acts on agents. Register must be called before the engine of the
// operations starts.
type Service struct {
	Agents   agent.Store
	History  agent.History
	AgentSvc Transitioner
	Specs    Specs // for moves
	Ops      Operations
	Runtimes map[string]Runtime // by name
	Observed InstanceStore
	Broker   queue.Broker
	Keys     Keys
	Secrets  SecretSource
	Prober   Prober
	Monitor  Monitor // may be nil
	Tx       txn.Runner
	Audit    *audit.Recorder
	Events   event.Log
	Now      func() time.Time
	NewID    func() string
	Log      *slog.Logger // nil means slog.Default()

	// Holder gives the process that listens on a port of this machine; pid 0 if it
	// can't be seen. May be nil.
	Holder func(port int) (pid int, name string)
	// PortalURL is how agents reach the portal.
	PortalURL string
	// PortFrom and PortTo bound the ports that instances get; 0 means 15000 to 31999.
	PortFrom, PortTo int
	// UndoWindow is how long an action can be undone; 0 means 15 minutes.
	UndoWindow time.Duration
	// StartTimeout is how long an instance may take until it is ready, unless its
	// probes ask for more; 0 means 60 seconds.
	StartTimeout time.Duration
	AccountTime  time.Duration // how long a runtime may take to say what it holds; 0 means 10s
	// SelfCommand is the argv prefix of the portal's own program, which holds the
	// built-in agents; Templates are their names.
	SelfCommand []string
	Templates   []string
	// Quotas bound what agents may ask for together.
	Quotas []Quota
	// Changed is called after an action on the agent has begun and has ended; it
	// must not block. May be nil.
	Changed func(agentID string)

	ends  sync.Map // operation id to the Instance that made it fail
	locks keyedMutex
	// admission is held from the look at the quotas until what is admitted is stored.
	admission sync.Mutex
	specs     specCache
}

// ActOptions say more about an action.
type ActOptions struct {
	// IfMatch is the LockVersion the agent must have; 0 means any.
	IfMatch int64
	// Reason is the user's, for the record.
	Reason string
	// ParentID is the operation that this one is a part of.
	ParentID string
	// OperationID is the id of the new operation. If there already is one with
	// it, that one is given and nothing is done. "" means a new id.
	OperationID string
}

// want is an action with what only the portal itself asks for.
type want struct {
	action agent.Action
	ActOptions
	// revision is the revision to deploy; 0 means the newest.
	revision int
	// undoes tells that it takes back an earlier deploy, within a transaction.
	undoes, within bool
}

// Act begins an action on an agent and gives its operation, which goes on by
// itself. Faults: NotFound, Stale (IfMatch), Conflict if the state does not
// allow it or another operation works on the agent, Invalid for an unknown
// action, Unavailable if the agent's runtime is not here. Refusals are audited.
func (s *Service) Act(ctx context.Context, agentID string, action agent.Action, opt ActOptions) (*operation.Operation, error) {
	return s.act(ctx, agentID, want{action: action, ActOptions: opt})
}

func (s *Service) act(ctx context.Context, agentID string, w want) (*operation.Operation, error) {
	var op *operation.Operation
	var err error
	if admitted(w.action) && len(s.Quotas) > 0 && !w.within {
		s.admission.Lock()
		defer s.admission.Unlock()
	}
	for range 4 {
		err = s.Tx.Do(ctx, func(ctx context.Context) error {
			var err error
			op, err = s.begin(ctx, agentID, w)
			return err
		})
		// Somebody else stored the agent in between: look again at what it is now.
		if w.IfMatch != 0 || !fault.Is(err, fault.Stale) {
			break
		}
	}
	if err == nil {
		return op, nil
	}
	if f := fault.As(err); f != nil && f.Kind != fault.Internal {
		entry := s.Audit.Record(context.WithoutCancel(ctx), "agent."+string(w.action), "agent/"+agentID,
			audit.Refused, f.Error(), nil, nil)
		if entry != nil {
			return nil, errors.Join(err, entry)
		}
	}
	return nil, err
}

// begin checks whether the action is allowed and creates its operation, in the
// transaction in ctx.
func (s *Service) begin(ctx context.Context, agentID string, w want) (*operation.Operation, error) {
	if w.OperationID != "" {
		op, err := s.Ops.Get(ctx, w.OperationID)
		if !fault.Is(err, fault.NotFound) {
			return op, err
		}
	}
	a, err := s.Agents.Get(ctx, agentID)
	if err != nil {
		return nil, err
	}
	to, err := s.permit(ctx, a, w)
	if err != nil {
		return nil, err
	}
	in, err := s.input(ctx, a, to, w)
	if err != nil {
		return nil, err
	}
	if admitted(w.action) {
		spec, err := s.spec(ctx, a, in.Revision)
		if err == nil {
			err = s.admit(ctx, a, spec)
		}
		if err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	op := &operation.Operation{
		ID: w.OperationID, Kind: kindOf(w.action), AgentID: a.ID, ParentID: w.ParentID,
		Reason: w.Reason, Input: data,
	}
	if op.ID == "" {
		op.ID = s.NewID()
	}
	a.ActiveOperation, a.UpdatedAt = op.ID, s.Now().UTC()
	if err := s.Agents.Save(ctx, a); err != nil {
		return nil, err
	}
	if err := s.Audit.Record(ctx, "operation.create", "operation/"+op.ID, audit.Done, w.Reason,
		nil, map[string]any{"kind": op.Kind, "agent": a.ID, "from": a.State, "to": to}); err != nil {
		return nil, err
	}
	if s.Changed != nil {
		txn.AfterCommit(ctx, func() { s.Changed(a.ID) })
	}
	return op, s.Ops.Create(ctx, op)
}

// admitted tells whether quotas are looked at before the action.
func admitted(action agent.Action) bool { return action == agent.Provision || action == agent.Deploy }

// permit tells whether the action may begin, and the state it leads to.
func (s *Service) permit(ctx context.Context, a *agent.Agent, w want) (agent.State, error) {
	if w.IfMatch != 0 && w.IfMatch != a.LockVersion {
		return "", fault.New(fault.Stale, "agent.stale", "The agent %s was changed meanwhile", a.ID).
			Because("its version is %d, not %d", a.LockVersion, w.IfMatch).Do("Read it again, then repeat the action.")
	}
	if a.ActiveOperation != "" {
		return "", s.busy(ctx, a)
	}
	to, err := agent.Next(a.State, w.action)
	if w.undoes {
		to, err = agent.Deployed, nil
		if !slices.Contains([]agent.State{agent.Deployed, agent.Stopped, agent.Errored}, a.State) {
			err = fault.New(fault.Conflict, "agent.transition_refused", "The deploy can't be undone now").
				Because("the agent is %s", a.State).Do("Stop it first.").
				With("state", a.State).With("allowed", agent.Allowed(a.State))
		}
	}
	if err != nil {
		return "", err
	}
	return to, s.runnable(a, w.action)
}

// busy says which operation works on the agent.
func (s *Service) busy(ctx context.Context, a *agent.Agent) error {
	doing := "another operation"
	if op, err := s.Ops.Get(ctx, a.ActiveOperation); err == nil {
		doing = strings.TrimPrefix(op.Kind, "agent.")
	}
	return fault.New(fault.Conflict, "agent.busy", "The agent %s is being worked on", a.ID).
		Because("%s (operation %s) has not ended", doing, a.ActiveOperation).
		Do("Wait for it, or cancel it.").
		With("operation", a.ActiveOperation).With("action", doing).With("state", a.State)
}

// runnable checks that the agent's runtime is here, unless the action needs none.
func (s *Service) runnable(a *agent.Agent, action agent.Action) error {
	name := runtimeName(a.Spec)
	rt := s.Runtimes[name]
	if rt == nil {
		if action == agent.Revoke && a.DeployedRevision == 0 {
			return nil
		}
		return s.noRuntime(name)
	}
	if _, ok := rt.(Suspender); !ok && action == agent.Suspend {
		return cannotFreeze(rt)
	}
	return nil
}

func (s *Service) noRuntime(name string) *fault.Error {
	return fault.New(fault.Unavailable, "fleet.runtime_missing", "The runtime %s is not available on this portal", name).
		Because("no engine of that name is configured").
		Do("Give the agent a runtime that is there: %s.", strings.Join(s.RuntimeNames(), ", "))
}

// Runtime gives the runtime of the name; "" is the default one. Unavailable.
func (s *Service) Runtime(name string) (Runtime, error) {
	if name == "" {
		name = defaultRuntime
	}
	if rt := s.Runtimes[name]; rt != nil {
		return rt, nil
	}
	return nil, s.noRuntime(name)
}

const defaultRuntime = "process"

// hosted gives the runtime of the spec, "" where the portal has it not.
func (s *Service) hosted(spec agent.Spec) string {
	if name := runtimeName(spec); s.Runtimes[name] != nil {
		return name
	}
	return ""
}

func runtimeName(spec agent.Spec) string {
	if spec.Runtime == "" {
		return defaultRuntime
	}
	return spec.Runtime
}

func (s *Service) log() *slog.Logger {
	if s.Log == nil {
		return slog.Default()
	}
	return s.Log
}

func (s *Service) ports() (from, to int) {
	if s.PortFrom <= 0 || s.PortTo < s.PortFrom {
		return 15000, 31999
	}
	return s.PortFrom, s.PortTo
}

func (s *Service) undoWindow() time.Duration {
	if s.UndoWindow <= 0 {
		return 15 * time.Minute
	}
	return s.UndoWindow
}

// spec gives the spec of a revision, with its defaults. Revisions never change,
// so it is kept.
func (s *Service) spec(ctx context.Context, a *agent.Agent, revision int) (agent.Spec, error) {
	if spec, ok := s.specs.get(a.ID, revision, a.CreatedAt); ok {
		return spec, nil
	}
	spec := a.Spec
	if revision != a.Revision {
		r, err := s.History.Revision(ctx, a.ID, revision)
		if err != nil {
			return agent.Spec{}, err
		}
		spec = r.Spec
	}
	spec = spec.WithDefaults()
	s.specs.put(a.ID, revision, a.CreatedAt, spec)
	return spec, nil
}

// free tells whether nobody on this machine listens on the port.
func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
