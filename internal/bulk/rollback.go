package bulk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// takeBack undoes what was done to the agents that succeeded, those that others
// need last, and says on how many that failed.
func (d *drive) takeBack(ctx context.Context, round int) (failed int, err error) {
	all := make([]string, len(d.b.Items))
	before := map[string][]string{}
	for i, it := range d.b.Items {
		all[len(all)-1-i] = it.AgentID
		for _, need := range d.in.Needs[it.AgentID] {
			before[need] = append(before[need], it.AgentID)
		}
	}
	never := func() bool { return false }
	_, err = d.schedule(ctx, all, before, func(ctx context.Context, id string) error { return d.undo(ctx, id, round) }, never)
	if err = firstError(err, context.Cause(ctx)); err != nil {
		return 0, err
	}
	for _, it := range d.b.Items {
		if it.State == ItemSucceeded && it.Problem != nil {
			failed++
		}
	}
	return failed, nil
}

// undo takes back, last first, the actions that were carried out on one agent.
func (d *drive) undo(ctx context.Context, id string, round int) error {
	it := d.get(id)
	if it.State != ItemSucceeded {
		return nil
	}
	it.Problem = nil
	var undone bool
	for _, action := range slices.Backward(d.b.Actions) {
		if !slices.Contains(it.Operations, childID(d.b.ID, id, action, 0)) {
			continue // it was already there
		}
		inverse := inverseOf(action)
		if inverse == "" {
			it.Note = join(it.Note, fmt.Sprintf("%s can't be taken back", action))
			continue
		}
		problem, err := d.act(ctx, &it, inverse, round)
		if errors.Is(err, operation.ErrCancelled) {
			return nil // schedule ends as well
		}
		if err != nil {
			return err
		}
		if problem != nil {
			it.Problem, it.Note = problem, join(it.Note, "could not be rolled back")
			return d.save(ctx, &it)
		}
		undone = true
	}
	if undone {
		it.State, it.Note = ItemRolledBack, join(it.Note, "rolled back")
	}
	return d.save(ctx, &it)
}

// inverseOf gives the action that takes another one back, or "".
func inverseOf(a agent.Action) agent.Action {
	r, _ := agent.RuleOf(a)
	return r.Undo
}

// takeable tells whether there is something to roll back.
func takeable(b *Bulk) bool {
	for _, it := range b.Items {
		if it.State != ItemSucceeded {
			continue
		}
		for _, action := range b.Actions {
			if inverseOf(action) != "" && slices.Contains(it.Operations, childID(b.ID, it.AgentID, action, 0)) {
				return true
			}
		}
	}
	return false
}

// rollBack creates the operation that rolls a bulk back, in the transaction in
// ctx.
func (s *Service) rollBack(ctx context.Context, id string) (*operation.Operation, error) {
	b, err := s.Store.Bulk(ctx, id)
	if err != nil {
		return nil, err
	}
	f := fault.New(fault.Conflict, "bulk.rollback_refused", "The bulk operation can't be rolled back")
	if !b.State.Final() {
		return nil, f.Because("it has not ended").Do("Cancel it, or wait for its end.")
	}
	if !takeable(b) {
		return nil, f.Because("nothing that it did can be taken back, or it was taken back already")
	}
	main, err := s.Operations.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	var in input
	if err := json.Unmarshal(main.Input, &in); err != nil {
		return nil, fmt.Errorf("decode the plan: %w", err)
	}
	// Round 1 is the rollback that a bulk does by itself.
	op := &operation.Operation{Kind: KindRollback, ParentID: id, Reason: "rollback of " + id}
	for in.Round = 2; ; in.Round++ {
		op.ID = childID(id, "", KindRollback, in.Round)
		other, err := s.Operations.Get(ctx, op.ID)
		if fault.Is(err, fault.NotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !other.State.Final() {
			return nil, f.Because("that is being done").With("operation", other.ID).Do("Wait for operation %s.", other.ID)
		}
	}
	if op.Input, err = json.Marshal(in); err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	if err := s.Operations.Create(ctx, op); err != nil {
		return nil, err
	}
	return op, s.Audit.Record(ctx, "bulk.rollback", target(id), audit.Done, "", nil, map[string]any{"operation": op.ID})
}

// runRollBack is the one step of the rollback of a finished bulk.
func (s *Service) runRollBack(ctx context.Context, run operation.Run) error {
	d, err := s.open(ctx, run)
	if err != nil {
		return err
	}
	failed, err := d.takeBack(ctx, d.in.Round)
	if err != nil {
		return err
	}
	if failed > 0 {
		return fault.New(fault.Conflict, "bulk.rollback_failed", "%d agents could not be rolled back", failed).
			Do("See the result of each agent.")
	}
	return nil
}

// finish stores, in the transaction that ends the operation, how the bulk ended.
func (s *Service) finish(ctx context.Context, op *operation.Operation) error {
	b, err := s.Store.Bulk(ctx, op.ID)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	b.State, b.EndedAt = op.State, &now
	for i, it := range b.Items {
		if itemFinal(it.State) {
			continue
		}
		it.State, it.EndedAt, it.Note = ItemCancelled, &now, join(it.Note, "not started: the bulk operation ended as "+string(op.State))
		b.Items[i] = it
		if err := s.Store.SaveItem(ctx, b.ID, it); err != nil {
			return err
		}
	}
	count(b)
	if takeable(b) {
		op.Undo = &operation.Undo{Action: "rollback", Until: now.Add(UndoTime), Details: "takes back what was done to each agent that succeeded"}
	}
	if err := s.Store.UpdateBulk(ctx, b); err != nil {
		return err
	}
	if err := s.ended(ctx, "bulk.finish", b, op); err != nil {
		return err
	}
	return s.Events.Append(ctx, s.progress(b, nil))
}

// finishRollBack notes how the rollback of a finished bulk ended.
func (s *Service) finishRollBack(ctx context.Context, op *operation.Operation) error {
	b, err := s.Store.Bulk(ctx, op.ParentID)
	if err != nil {
		return err
	}
	if err := s.ended(ctx, "bulk.rollback_finish", b, op); err != nil {
		return err
	}
	return s.Events.Append(ctx, s.progress(b, nil))
}

// ended writes the audit entry of the end of an operation.
func (s *Service) ended(ctx context.Context, action string, b *Bulk, op *operation.Operation) error {
	result := audit.Done
	if op.State != operation.Succeeded {
		result = audit.Failed
	}
	why := ""
	if op.Problem != nil {
		why = op.Problem.What
	}
	return s.Audit.Record(ctx, action, target(b.ID), result, why, nil, map[string]any{
		"state": op.State, "total": b.Total, "succeeded": b.Succeeded, "failed": b.Failed, "skipped": b.Skipped,
	})
}
