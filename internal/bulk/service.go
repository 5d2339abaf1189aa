package bulk

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/txn"
)

// The kinds of operation that carry out a bulk operation.
const (
	Kind         = "bulk"
	KindRollback = "bulk.rollback"
)

// UndoTime is how long the rollback of a bulk operation is offered as its undo.
// RollBack itself has no such bound.
const UndoTime = time.Hour

// ActOptions say for what an action is.
type ActOptions struct {
	Reason      string
	ParentID    string // the operation of the bulk
	OperationID string // the id that the action's operation is to have
}

// Actor starts an action on one agent and gives its operation. Its faults (for
// example Conflict where the agent's state does not allow the action) are what
// the agent's item shows.
type Actor interface {
	Act(ctx context.Context, agentID string, action agent.Action, o ActOptions) (*operation.Operation, error)
}

// ActFunc is a function as an Actor.
type ActFunc func(ctx context.Context, agentID string, action agent.Action, o ActOptions) (*operation.Operation, error)

// Act calls f.
func (f ActFunc) Act(ctx context.Context, agentID string, action agent.Action, o ActOptions) (*operation.Operation, error) {
	return f(ctx, agentID, action, o)
}

// Service starts and carries out bulk operations. Register it with the
// operations before the engine starts.
type Service struct {
	Store      Store
	Agents     agent.Store
	Operations *operation.Service
	Actor      Actor
	Tx         txn.Runner
	Events     event.Log
	Audit      *audit.Recorder
	Now        func() time.Time
	NewID      func() string
}

// Register makes the kinds of operation of this package known to Operations.
func (s *Service) Register() {
	// A bulk operation takes as long as its agents need; the step is ended by
	// cancelling it.
	const limit = 30 * 24 * time.Hour
	// Failed items are not errors of the step; only a store that does not answer is.
	retry := operation.Retry{Attempts: 10, Backoff: time.Second}
	s.Operations.Register(operation.Definition{
		Kind: Kind,
		Steps: func(*operation.Operation) []operation.StepDef {
			return []operation.StepDef{{Name: "run", Do: s.run, Undo: s.settle, Retry: retry, Timeout: limit}}
		},
		Finish: s.finish,
	})
	s.Operations.Register(operation.Definition{
		Kind: KindRollback,
		Steps: func(*operation.Operation) []operation.StepDef {
			return []operation.StepDef{{Name: "roll back", Do: s.runRollBack, Undo: s.settle, Retry: retry, Timeout: limit}}
		},
		Finish: s.finishRollBack,
	})
	s.Operations.OnUndo(Kind, func(ctx context.Context, op *operation.Operation) (*operation.Operation, error) {
		return s.rollBack(ctx, op.ID)
	})
}

// input is what the operation of a bulk is created with.
type input struct {
	BulkID string `json:"bulk_id"`
	// Needs are, by agent, the agents that must be done before it.
	Needs map[string][]string `json:"needs,omitempty"`
	// Round tells the rollbacks of one bulk apart.
	Round int `json:"round,omitempty"`
}

// Start checks what is asked for, works out the order, and stores the bulk with
// its operation, which begins at once. Invalid if the request is wrong or
// selects no agent; NotFound, with all of them, if agents are not there.
func (s *Service) Start(ctx context.Context, req Request) (*Bulk, error) {
	sel, err := req.check()
	if err != nil {
		return nil, err
	}
	agents, err := s.selected(ctx, req, sel)
	if err != nil {
		return nil, err
	}
	edges, err := s.Agents.Dependencies(ctx)
	if err != nil {
		return nil, err
	}
	needs, waves, err := order(agents, edges, backwards(req.Actions))
	if err != nil {
		return nil, err
	}
	b := &Bulk{
		ID: s.NewID(), State: operation.Pending, Actions: req.Actions, MaxParallel: req.MaxParallel,
		OnFailure: req.OnFailure, Reason: req.Reason, Actor: auth.From(ctx).ID,
		Total: len(agents), CreatedAt: s.Now().UTC(),
	}
	for wave, ids := range waves {
		for _, id := range ids {
			b.Items = append(b.Items, Item{AgentID: id, Wave: wave, State: ItemPending})
		}
	}
	return b, s.store(ctx, b, needs)
}

// store inserts a new bulk, its operation and its audit entry.
func (s *Service) store(ctx context.Context, b *Bulk, needs map[string][]string) error {
	in, err := json.Marshal(input{BulkID: b.ID, Needs: needs})
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	op := &operation.Operation{ID: b.ID, Kind: Kind, Input: in, Actor: b.Actor, Reason: b.Reason}
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Operations.Create(ctx, op); err != nil {
			return err
		}
		b.Actor = op.Actor
		if err := s.Store.InsertBulk(ctx, b); err != nil {
			return err
		}
		ids := make([]string, len(b.Items))
		for i, it := range b.Items {
			ids[i] = it.AgentID
		}
		err := s.Audit.Record(ctx, "bulk.start", target(b.ID), audit.Done, b.Reason, nil, map[string]any{
			"actions": b.Actions, "agents": ids, "max_parallel": b.MaxParallel, "on_failure": b.OnFailure,
		})
		if err != nil {
			return err
		}
		return s.Events.Append(ctx, s.progress(b, nil))
	})
}

func target(id string) string { return "bulk/" + id }

// Get gives a bulk operation with its items, as its operation is now; NotFound.
func (s *Service) Get(ctx context.Context, id string) (*Bulk, error) {
	b, err := s.Store.Bulk(ctx, id)
	if err != nil {
		return nil, err
	}
	return b, s.present(ctx, b)
}

// List gives bulk operations, newest first, without items.
func (s *Service) List(ctx context.Context, cursor string, limit int) ([]*Bulk, string, error) {
	list, next, err := s.Store.Bulks(ctx, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	for _, b := range list {
		if err := s.present(ctx, b); err != nil {
			return nil, "", err
		}
	}
	return list, next, nil
}

// present sets the state of an unfinished bulk to that of its operation, which
// also knows of pausing and cancelling.
func (s *Service) present(ctx context.Context, b *Bulk) error {
	if b.State.Final() {
		return nil
	}
	op, err := s.Operations.Get(ctx, b.ID)
	if err != nil {
		return err
	}
	b.State = op.State
	return nil
}

// Cancel tells the running actions to give up and starts nothing more. Conflict
// if the bulk has ended.
func (s *Service) Cancel(ctx context.Context, id string) (*Bulk, error) {
	if _, err := s.Store.Bulk(ctx, id); err != nil {
		return nil, err
	}
	if _, err := s.Operations.Cancel(ctx, id); err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

// RollBack takes back, in reverse order, what a finished bulk did to the agents
// on which it succeeded, as an operation of its own (its ParentID is the bulk).
// Conflict if the bulk is not finished, if nothing is left to take back, or if
// that is being done.
func (s *Service) RollBack(ctx context.Context, id string) (*Bulk, error) {
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		_, err := s.rollBack(ctx, id)
		return err
	})
	if fault.Is(err, fault.Conflict) {
		if e := s.Audit.Record(ctx, "bulk.rollback", target(id), audit.Refused, err.Error(), nil, nil); e != nil {
			return nil, e
		}
	}
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

// progress is the event that tells of a bulk and of the item that changed.
func (s *Service) progress(b *Bulk, it *Item) event.Event {
	now := s.Now().UTC()
	p := event.Bulk{
		OperationID: b.ID, Completed: b.Completed, Total: b.Total, Failed: b.Failed,
		Status: string(b.State), Reason: b.Reason, Timestamp: now,
	}
	for _, action := range b.Actions {
		p.Actions = append(p.Actions, string(action))
	}
	var agentID string
	if it != nil {
		agentID = it.AgentID
		p.AgentID, p.ItemStatus = it.AgentID, string(it.State)
	}
	return event.New(event.BulkProgress, agentID, b.Actor, now, p, event.RoomBulk(b.ID), event.RoomOperations)
}
