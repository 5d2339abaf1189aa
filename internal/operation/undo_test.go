package operation_test

import (
	"context"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

func TestUndo(t *testing.T) {
	w := newWorld(t)
	def := w.definition(w.step("a", nil))
	def.Finish = func(_ context.Context, op *operation.Operation) error {
		if op.UndoOf == "" {
			op.Undo = &operation.Undo{Action: "reverse", Until: w.now().Add(time.Minute)}
		}
		return nil
	}
	w.boot(def)
	reverse := func(ctx context.Context, op *operation.Operation) (*operation.Operation, error) {
		by := &operation.Operation{Kind: "work", AgentID: op.AgentID}
		return by, w.svc.Create(ctx, by)
	}
	id := w.wait(w.create("work").ID).ID
	_, err := w.svc.Undo(t.Context(), id)
	wantConflict(t, err, "undoing a kind that can't")
	w.svc.OnUndo("work", reverse)
	by, err := w.svc.Undo(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	done := w.wait(by.ID)
	wantState(t, done, operation.Succeeded)
	if done.UndoOf != id || w.get(id).Undo.UsedBy != by.ID {
		t.Errorf("they do not know of each other: %q, %+v", done.UndoOf, w.get(id).Undo)
	}
	_, err = w.svc.Undo(t.Context(), id)
	wantConflict(t, err, "undoing twice")
	_, err = w.svc.Undo(t.Context(), by.ID)
	wantConflict(t, err, "undoing without an offer")

	late := w.wait(w.create("work").ID).ID
	w.clock.Add(int64(2 * time.Minute))
	_, err = w.svc.Undo(t.Context(), late)
	wantConflict(t, err, "undoing after the offer")
	if list := w.audited("operation.undo"); len(list) != 5 {
		t.Errorf("%d entries of five tries", len(list))
	}
}

func TestNoUndoWhileRunning(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", h.do)))
	id := w.create("work").ID
	await(t, h.begun)
	_, err := w.svc.Undo(t.Context(), id)
	wantConflict(t, err, "undoing what runs")
	close(h.release)
	w.wait(id)
}

// An undo that failed did not use up the offer.
func TestUndoAgainAfterFailure(t *testing.T) {
	w := newWorld(t)
	broken := true
	def := w.definition(w.step("a", func(_ context.Context, run operation.Run) error {
		if broken && run.Operation().UndoOf != "" {
			return fault.New(fault.Conflict, "test.broken", "It broke")
		}
		return nil
	}))
	def.Finish = func(_ context.Context, op *operation.Operation) error {
		if op.UndoOf == "" {
			op.Undo = &operation.Undo{Action: "reverse", Until: w.now().Add(time.Minute)}
		}
		return nil
	}
	w.boot(def)
	w.svc.OnUndo("work", func(ctx context.Context, op *operation.Operation) (*operation.Operation, error) {
		by := &operation.Operation{Kind: "work"}
		return by, w.svc.Create(ctx, by)
	})
	id := w.wait(w.create("work").ID).ID
	for _, want := range []operation.State{operation.Failed, operation.Succeeded} {
		by, err := w.svc.Undo(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		wantState(t, w.wait(by.ID), want)
		broken = false
	}
}
