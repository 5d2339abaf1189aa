package bulk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// codeDependency marks an item that was skipped because of another one.
const codeDependency = "bulk.dependency_failed"

// item carries out all actions on one agent. It returns an error only if the
// portal stops or the store fails: what goes wrong with the agent is the
// item's result.
func (d *drive) item(ctx context.Context, id string) error {
	it := d.get(id)
	if itemFinal(it.State) {
		return nil // by an earlier run
	}
	if bad := d.failedNeed(id); bad != "" {
		it.State, it.Note = ItemSkipped, join(it.Note, "not started: "+bad+" did not succeed")
		it.Problem = &operation.Problem{
			Code: codeDependency, What: "Not started", Why: bad + ", which goes before it, did not succeed",
			Remedy: "Repair " + bad + ", then start the bulk operation again.",
		}
		return d.save(ctx, &it)
	}
	actions := d.b.Actions
	if i := slices.Index(actions, it.Action); it.State == ItemRunning && i >= 0 {
		actions = actions[i:] // an earlier run was at this one
	}
	for _, action := range actions {
		if ctx.Err() != nil {
			it.State, it.Note = ItemCancelled, join(it.Note, "not finished: the bulk operation was cancelled")
			break
		}
		problem, err := d.act(ctx, &it, action, 0)
		if errors.Is(err, operation.ErrCancelled) {
			it.State, it.Note = ItemCancelled, join(it.Note, "cancelled during "+string(action))
			break
		}
		if err != nil {
			return err
		}
		if problem != nil {
			it.State, it.Problem = ItemFailed, problem
			break
		}
	}
	if err := operation.Uncancelled(ctx).Err(); err != nil {
		return err
	}
	if !itemFinal(it.State) {
		it.State = ItemSucceeded
		if len(it.Operations) == 0 {
			it.State = ItemSkipped
		}
	}
	return d.save(ctx, &it)
}

// failedNeed gives an agent that goes before this one and did not get where
// it should, or "".
func (d *drive) failedNeed(id string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, need := range d.in.Needs[id] {
		i, ok := d.index[need]
		if !ok {
			continue
		}
		switch it := d.b.Items[i]; {
		case it.State == ItemSucceeded:
		case it.State == ItemSkipped && (it.Problem == nil || it.Problem.Code != codeDependency):
		default:
			return need
		}
	}
	return ""
}

// act carries out one action on one agent by an operation of its own, which an
// earlier run may have begun, and waits for its end. It gives what went wrong
// with the action; ErrCancelled if the bulk was cancelled meanwhile and the
// action with it; or why the run can't go on.
func (d *drive) act(ctx context.Context, it *Item, action agent.Action, round int) (*operation.Problem, error) {
	alive := operation.Uncancelled(ctx)
	id := childID(d.b.ID, it.AgentID, action, round)
	op, err := d.s.Operations.Get(alive, id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err != nil {
		problem, began, err := d.begin(alive, it, action, id, round)
		if err != nil || !began {
			return problem, err
		}
	} else if op.State.Final() {
		return outcome(op), nil
	}
	return d.await(ctx, id)
}

// begin starts the operation of an action, unless the agent is already where
// the action leads to.
func (d *drive) begin(ctx context.Context, it *Item, action agent.Action, id string, round int) (problem *operation.Problem, began bool, err error) {
	a, err := d.s.Agents.Get(ctx, it.AgentID)
	if err != nil {
		if operation.Permanent(err) {
			return d.s.Operations.ProblemOf(err), false, nil
		}
		return nil, false, err
	}
	if agent.Satisfied(a.State, action) {
		it.Note = join(it.Note, "already "+string(a.State))
		return nil, false, nil
	}
	it.Action = action
	if round == 0 {
		it.State, it.Note = ItemRunning, "" // what was done already does not matter any more
	}
	if !slices.Contains(it.Operations, id) {
		it.Operations = append(it.Operations, id)
	}
	if err := d.save(ctx, it); err != nil {
		return nil, false, err
	}
	opts := ActOptions{Reason: d.b.Reason, ParentID: d.opID, OperationID: id}
	const tries = 4
	for try := 1; ; try++ {
		_, err = d.s.Actor.Act(ctx, it.AgentID, action, opts)
		if err == nil {
			return nil, true, nil
		}
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if operation.Permanent(err) || try == tries {
			it.Operations = slices.DeleteFunc(it.Operations, func(s string) bool { return s == id })
			return d.s.Operations.ProblemOf(err, "bulk", d.b.ID, "agent", it.AgentID, "action", action), false, nil
		}
		t := time.NewTimer(100 * time.Millisecond << try)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, false, ctx.Err()
		}
	}
}

// await waits for the end of an action's operation. If the bulk is cancelled
// it cancels the operation, and waits for that.
func (d *drive) await(ctx context.Context, id string) (*operation.Problem, error) {
	op, err := d.s.Operations.Wait(ctx, id)
	if err == nil {
		return outcome(op), nil
	}
	alive := operation.Uncancelled(ctx)
	if ctx.Err() == nil || alive.Err() != nil {
		return nil, err
	}
	if _, err := d.s.Operations.Cancel(alive, id); err != nil && !fault.Is(err, fault.Conflict) {
		return nil, err
	}
	if op, err = d.s.Operations.Wait(alive, id); err != nil {
		return nil, err
	}
	if op.State == operation.Cancelled {
		return nil, operation.ErrCancelled
	}
	return outcome(op), nil
}

// outcome is what went wrong in a final operation; nil if nothing did.
func outcome(op *operation.Operation) *operation.Problem {
	switch {
	case op.State == operation.Succeeded:
		return nil
	case op.Problem != nil:
		return op.Problem
	case op.State == operation.Cancelled:
		return &operation.Problem{Code: "bulk.action_cancelled", What: "The action was cancelled",
			Why: "its operation was cancelled on its own"}
	}
	return &operation.Problem{Code: "bulk.action_failed", What: fmt.Sprintf("The operation ended as %s", op.State)}
}
