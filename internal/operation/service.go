package operation

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Service creates, steers and (as the Executor of an Engine) runs operations.
// Every kind must be registered before the engine starts, because the engine
// then goes on with what an earlier life of the portal left unfinished.
type Service struct {
	Store  Store
	Tx     txn.Runner
	Events event.Log
	Audit  *audit.Recorder
	Engine Engine
	Now    func() time.Time
	NewID  func() string
	Log    *slog.Logger // nil means slog.Default()
	// Poll is how often a run looks for a request that it was not woken for,
	// because another replica took it. 0 means 5 seconds.
	Poll time.Duration

	mu    sync.Mutex
	defs  map[string]Definition
	undos map[string]UndoFunc
	bells bells
}

// UndoFunc creates, inside the transaction in ctx, the operation that takes op
// back, and gives it.
type UndoFunc func(ctx context.Context, op *Operation) (*Operation, error)

// Register makes a kind known. It panics if the kind already is.
func (s *Service) Register(d Definition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.defs == nil {
		s.defs = map[string]Definition{}
	}
	if _, ok := s.defs[d.Kind]; ok {
		panic("operation: kind registered twice: " + d.Kind)
	}
	s.defs[d.Kind] = d
}

// OnUndo says how operations of the kind are taken back.
func (s *Service) OnUndo(kind string, fn UndoFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.undos == nil {
		s.undos = map[string]UndoFunc{}
	}
	s.undos[kind] = fn
}

func (s *Service) definition(kind string) (Definition, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.defs[kind]
	return d, ok
}

// Create stores a new operation with its planned steps and announces it, in
// the transaction in ctx (or one of its own). Once that is committed the
// operation is handed to the engine. It fills ID and Actor unless they are
// set, and State, Steps, Total and CreatedAt.
func (s *Service) Create(ctx context.Context, op *Operation) error {
	def, ok := s.definition(op.Kind)
	if !ok {
		return fault.New(fault.Internal, "operation.unknown_kind", "There is no operation of kind %q", op.Kind)
	}
	if op.ID == "" {
		op.ID = s.NewID()
	}
	if op.Actor == "" {
		op.Actor = auth.From(ctx).ID
	}
	if op.Actor == "" {
		op.Actor = auth.System.ID
	}
	op.State, op.CreatedAt = Pending, s.Now().UTC()
	plan, err := planOf(def, op)
	if err != nil {
		return err
	}
	op.Steps = make([]Step, len(plan))
	for i, d := range plan {
		op.Steps[i] = Step{Name: d.Name, State: StepPending}
	}
	op.Completed, op.Total = 0, len(plan)
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Store.Insert(ctx, op); err != nil {
			return err
		}
		if err := s.Events.Append(ctx, s.changed(op)); err != nil {
			return err
		}
		id, away := op.ID, context.WithoutCancel(ctx)
		txn.AfterCommit(ctx, func() { s.submit(away, id, 0) })
		return nil
	})
}

// planOf calls the definition's planner. A plan that cannot be told apart step
// by step is a bug of the definition.
func planOf(def Definition, op *Operation) (plan []StepDef, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p}
		}
	}()
	plan = def.Steps(op)
	seen := map[string]bool{}
	for _, d := range plan {
		if d.Name == "" || seen[d.Name] || d.Do == nil {
			return nil, fault.New(fault.Internal, "operation.bad_plan",
				"Step %q of %s has no name, no action or the name of another step", d.Name, def.Kind)
		}
		seen[d.Name] = true
	}
	return plan, nil
}

// longestPause bounds the time between two attempts to hand an operation over.
const longestPause = 15 * time.Second

// submit hands an operation to the engine. If the engine does not take it, as
// when its disk is full, it is tried again until it does: the agent waits for
// the operation, and nobody else would think of it before the next start.
func (s *Service) submit(ctx context.Context, id string, tried int) {
	err := s.Engine.Submit(ctx, id)
	if err == nil {
		return
	}
	if fault.Is(err, fault.Unavailable) { // it is being stopped: Recover hands over at the next start
		s.log().Debug("the engine takes no operations now", "operation", id)
		return
	}
	pause := min(time.Second<<min(tried, 10), longestPause)
	s.log().Error("the engine did not take an operation", "operation", id, "tries", tried+1, "next", pause, "error", err)
	time.AfterFunc(pause, func() { s.submit(ctx, id, tried+1) })
}

// Recover hands everything that is unfinished to the engine. It is called once
// after the engine has started, for operations whose hand-over was lost in a
// crash.
func (s *Service) Recover(ctx context.Context) error {
	ids, err := s.Store.Unfinished(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.Engine.Submit(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// Get gives an operation with its steps; NotFound.
func (s *Service) Get(ctx context.Context, id string) (*Operation, error) {
	return s.Store.Get(ctx, id)
}

// Find lists operations, newest first, without steps.
func (s *Service) Find(ctx context.Context, q Query) ([]*Operation, string, error) {
	return s.Store.Find(ctx, q)
}

// Attempts lists every try of every step in order; NotFound for an unknown operation.
func (s *Service) Attempts(ctx context.Context, id string) ([]Attempt, error) {
	if _, err := s.Store.Get(ctx, id); err != nil {
		return nil, err
	}
	return s.Store.Attempts(ctx, id)
}

// change reads the operation anew, lets fn change it, stores it and announces
// it together with the events that fn gives, all in one transaction.
func (s *Service) change(ctx context.Context, id string, fn func(ctx context.Context, op *Operation) ([]event.Event, error)) (*Operation, error) {
	var op *Operation
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		var err error
		if op, err = s.Store.Get(ctx, id); err != nil {
			return err
		}
		more, err := fn(ctx, op)
		if err != nil {
			return err
		}
		if err := s.Store.Update(ctx, op); err != nil {
			return err
		}
		return s.Events.Append(ctx, append(more, s.changed(op))...)
	})
	return op, err
}

// changed is the event that tells of the operation's present state.
func (s *Service) changed(op *Operation) event.Event {
	now := s.Now().UTC()
	p := event.Operation{
		OperationID: op.ID, Kind: op.Kind, AgentID: op.AgentID, State: string(op.State),
		Completed: op.Completed, Total: op.Total, Reason: op.Reason, Timestamp: now,
	}
	if op.Problem != nil {
		p.Error = op.Problem.What
	}
	return event.New(event.OperationChanged, op.AgentID, op.Actor, now, p, rooms(op)...)
}

// stepped is the event that tells of the end of a step.
func (s *Service) stepped(op *Operation, st Step) event.Event {
	now := s.Now().UTC()
	p := event.Step{
		OperationID: op.ID, AgentID: op.AgentID, Step: st.Name, Kind: op.Kind,
		Status: string(st.State), Attempt: st.Attempts, Timestamp: now,
	}
	if st.Problem != nil {
		p.Error = st.Problem.What
	}
	return event.New(event.StepCompleted, op.AgentID, op.Actor, now, p, rooms(op)...)
}

func rooms(op *Operation) []string {
	list := []string{event.RoomOperations, event.RoomOperation(op.ID)}
	if op.AgentID != "" {
		list = append(list, event.RoomAgent(op.AgentID))
	}
	return list
}

func (s *Service) log() *slog.Logger {
	if s.Log == nil {
		return slog.Default()
	}
	return s.Log
}

func (s *Service) poll() time.Duration {
	if s.Poll <= 0 {
		return 5 * time.Second
	}
	return s.Poll
}
