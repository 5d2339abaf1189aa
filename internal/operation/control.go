package operation

import (
	"context"
	"fmt"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// The values of Operation.Request.
const (
	requestPause  = "pause"
	requestCancel = "cancel"
)

// Pause asks the operation to stop before its next step. The step that runs is
// finished first; until then Request says "pause". Conflict if the operation is
// already paused, is ending or has ended.
func (s *Service) Pause(ctx context.Context, id string) (*Operation, error) {
	return s.steer(ctx, id, "pause", func(op *Operation) error {
		if op.State != Pending && op.State != Running || ending(op) {
			return refusal(op, "pause")
		}
		op.Request = requestPause
		return nil
	})
}

// Resume lets a paused operation go on, or takes back a pause that was not
// reached yet. Conflict if there is none.
func (s *Service) Resume(ctx context.Context, id string) (*Operation, error) {
	return s.steer(ctx, id, "resume", func(op *Operation) error {
		switch {
		case op.State == Paused:
			op.State = Running
		case op.Request != requestPause:
			return refusal(op, "resume")
		}
		op.Request = ""
		return nil
	})
}

// Cancel ends the operation early: the running step is told to give up, and
// what was done is undone. Cancelling twice is the same as once. Conflict if the
// operation has failed and is cleaning up, or has ended.
func (s *Service) Cancel(ctx context.Context, id string) (*Operation, error) {
	return s.steer(ctx, id, "cancel", func(op *Operation) error {
		if op.State == Cancelling {
			return nil
		}
		if op.State.Final() || ending(op) {
			return refusal(op, "cancel")
		}
		op.State, op.Request = Cancelling, requestCancel
		return nil
	})
}

// ending tells whether a step has failed, so that the operation only cleans up.
func ending(op *Operation) bool {
	for _, st := range op.Steps {
		if st.State == StepFailed {
			return true
		}
	}
	return false
}

func refusal(op *Operation, action string) error {
	f := fault.New(fault.Conflict, "operation."+action+"_refused", "The operation can't be told to %s now", action).
		With("state", op.State)
	if ending(op) && !op.State.Final() {
		return f.Because("a step failed and the operation is cleaning up").Do("Wait for its end.")
	}
	f.Because("it is %s", op.State)
	switch {
	case op.State.Final():
		return f.Do("It has ended; start a new operation instead.")
	case op.State == Paused:
		return f.Do("Resume or cancel it.")
	case action == "resume":
		return f.Do("Only a paused operation can be resumed.")
	}
	return f.Do("Wait for its end.")
}

// steer stores one request of a user with its audit entry, and wakes the run.
// A refused one leaves an entry as well.
func (s *Service) steer(ctx context.Context, id, action string, apply func(op *Operation) error) (*Operation, error) {
	op, err := s.change(ctx, id, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		before := snapshot(op)
		if err := apply(op); err != nil {
			return nil, err
		}
		txn.AfterCommit(ctx, func() { s.bells.ring(id) })
		return nil, s.Audit.Record(ctx, "operation."+action, target(id), audit.Done, "", before, snapshot(op))
	})
	if err != nil {
		return nil, s.refused(ctx, id, action, err)
	}
	return op, nil
}

// refused writes the audit entry of an attempt that the state did not allow, and
// gives err back.
func (s *Service) refused(ctx context.Context, id, action string, err error) error {
	if !fault.Is(err, fault.Conflict) {
		return err
	}
	if e := s.Audit.Record(ctx, "operation."+action, target(id), audit.Refused, err.Error(), nil, nil); e != nil {
		return fmt.Errorf("record the refusal: %w", e)
	}
	return err
}

func target(id string) string { return "operation/" + id }

func snapshot(op *Operation) map[string]any {
	m := map[string]any{"state": op.State}
	if op.Request != "" {
		m["request"] = op.Request
	}
	return m
}

// Undo takes a finished operation back by a new one, which it gives. Conflict
// if undoing is not offered, no longer offered, was already done, or is being
// done. Where it was tried and failed it may be tried again.
func (s *Service) Undo(ctx context.Context, id string) (*Operation, error) {
	var by *Operation
	_, err := s.change(ctx, id, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		fn, err := s.undoable(ctx, op)
		if err != nil {
			return nil, err
		}
		if by, err = fn(ctx, op); err != nil {
			return nil, err
		}
		by.UndoOf, op.Undo.UsedBy = op.ID, by.ID
		if err := s.Store.Update(ctx, by); err != nil {
			return nil, err
		}
		return nil, s.Audit.Record(ctx, "operation.undo", target(id), audit.Done, "", nil,
			map[string]any{"operation": by.ID, "kind": by.Kind})
	})
	if err != nil {
		return nil, s.refused(ctx, id, "undo", err)
	}
	return by, nil
}

// undoable gives the function that takes op back, or why there is none.
func (s *Service) undoable(ctx context.Context, op *Operation) (UndoFunc, error) {
	s.mu.Lock()
	fn := s.undos[op.Kind]
	s.mu.Unlock()
	f := fault.New(fault.Conflict, "operation.undo_refused", "The operation can't be undone")
	switch {
	case !op.State.Final():
		return nil, f.Because("it is still %s", op.State).Do("Cancel it, or wait for its end.")
	case op.Undo == nil || fn == nil:
		return nil, f.Because("operations of this kind and outcome have no undo")
	case !s.Now().Before(op.Undo.Until):
		return nil, f.Because("the offer ended at %s", op.Undo.Until.UTC().Format("2006-01-02 15:04:05 UTC"))
	case op.Undo.UsedBy == "":
		return fn, nil
	}
	by, err := s.Store.Get(ctx, op.Undo.UsedBy)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err == nil && (by.State == Failed || by.State == Cancelled) {
		return fn, nil
	}
	return nil, f.Because("it was already undone").With("operation", op.Undo.UsedBy).
		Do("See operation %s.", op.Undo.UsedBy)
}
