package bulk

import (
	"context"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// unfinished are the states in which an operation still does something.
var unfinished = []operation.State{operation.Pending, operation.Running, operation.Paused, operation.Cancelling}

// settle is called when a bulk operation ends otherwise than by success. It
// cancels the actions that still run, which there are if the portal was
// stopped before the cancel had reached them, waits for their end, and notes
// it with their agents.
func (s *Service) settle(ctx context.Context, run operation.Run) error {
	d, err := s.open(ctx, run)
	if err != nil {
		return err
	}
	q := operation.Query{ParentID: d.opID, States: unfinished, Limit: pageSize}
	left, _, err := s.Operations.Find(ctx, q)
	if err != nil {
		return err
	}
	var ids []string
	for _, op := range left {
		if op.Kind == KindRollback {
			continue // it has a life of its own
		}
		ids = append(ids, op.ID)
		if _, err := s.Operations.Cancel(ctx, op.ID); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
	}
	for _, id := range ids {
		if _, err := s.Operations.Wait(ctx, id); err != nil {
			return err
		}
	}
	for _, it := range d.b.Items {
		if it.State != ItemRunning || len(it.Operations) == 0 {
			continue
		}
		it := d.get(it.AgentID)
		if err := d.note(ctx, &it); err != nil {
			return err
		}
		if err := d.save(ctx, &it); err != nil {
			return err
		}
	}
	return nil
}

// note sets the final state of an agent that an earlier run was at, from how
// its last operation ended.
func (d *drive) note(ctx context.Context, it *Item) error {
	it.State = ItemCancelled
	op, err := d.s.Operations.Get(ctx, it.Operations[len(it.Operations)-1])
	switch {
	case fault.Is(err, fault.NotFound):
		it.Note = join(it.Note, "not started: the bulk operation was cancelled")
	case err != nil:
		return err
	case op.State == operation.Failed:
		it.State, it.Problem = ItemFailed, outcome(op)
	case op.State == operation.Succeeded && it.Action == d.b.Actions[len(d.b.Actions)-1]:
		it.State = ItemSucceeded
	default:
		it.Note = join(it.Note, "cancelled during "+string(it.Action))
	}
	return nil
}
