package operation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// held is a step that tells when it has begun and then waits.
type held struct {
	begun   chan struct{}
	release chan struct{}
}

func hold() *held { return &held{begun: make(chan struct{}, 1), release: make(chan struct{})} }

func (h *held) do(ctx context.Context, _ operation.Run) error {
	h.begun <- struct{}{}
	select {
	case <-h.release:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func wantConflict(t *testing.T, err error, what string) {
	t.Helper()
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("%s gave %v, want a conflict", what, err)
	}
}

func paused(op *operation.Operation) bool { return op.State == operation.Paused }

func TestPauseAndResume(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", h.do), w.step("b", nil)))
	id := w.create("work").ID
	await(t, h.begun)
	op, err := w.svc.Pause(t.Context(), id)
	if err != nil || op.State != operation.Running || op.Request != "pause" {
		t.Fatalf("pause gave %+v, %v", op, err)
	}
	close(h.release)
	op = w.until(id, "paused", paused)
	if op.Request != "" || op.Completed != 1 {
		t.Errorf("paused as %+v", op)
	}
	w.wantSeen("do a")
	_, err = w.svc.Pause(t.Context(), id)
	wantConflict(t, err, "pausing what is paused")
	if _, err := w.svc.Resume(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantState(t, w.wait(id), operation.Succeeded)
	w.wantSeen("do a", "do b", "finish SUCCEEDED")
	for _, action := range []string{"operation.pause", "operation.resume"} {
		list := w.audited(action)
		if len(list) == 0 || list[len(list)-1].Outcome != audit.Done || list[0].Target != "operation/"+id {
			t.Errorf("%s in the record: %+v", action, list)
		}
	}
	if list := w.audited("operation.pause"); len(list) != 2 || list[0].Outcome != audit.Refused {
		t.Errorf("the refusal is not in the record: %+v", list)
	}
}

func TestPauseIsTakenBack(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", h.do), w.step("b", nil)))
	id := w.create("work").ID
	await(t, h.begun)
	if _, err := w.svc.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if op, err := w.svc.Resume(t.Context(), id); err != nil || op.Request != "" {
		t.Fatalf("resume gave %+v, %v", op, err)
	}
	close(h.release)
	wantState(t, w.wait(id), operation.Succeeded)
}

// A pause holds across a restart of the portal, and ends after it.
func TestPauseAcrossRestart(t *testing.T) {
	w := newWorld(t)
	h := hold()
	def := w.definition(w.step("a", h.do), w.step("b", nil))
	w.boot(def)
	id := w.create("work").ID
	await(t, h.begun)
	if _, err := w.svc.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	w.until(id, "paused", paused)
	w.shutdown()
	w.boot(def)
	<-time.After(3 * w.svc.Poll)
	if !paused(w.get(id)) {
		t.Fatalf("a restart ended the pause")
	}
	if _, err := w.svc.Resume(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantState(t, w.wait(id), operation.Succeeded)
	w.wantSeen("do a", "do b", "finish SUCCEEDED")
}

// Another replica takes the request: the run hears of it by looking.
func TestResumeByAnotherReplica(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", h.do), w.step("b", nil)))
	other := &operation.Service{Store: w.svc.Store, Tx: w.svc.Tx, Events: w.svc.Events, Audit: w.svc.Audit, Now: w.now, NewID: w.svc.NewID, Poll: w.svc.Poll}
	id := w.create("work").ID
	await(t, h.begun)
	if _, err := other.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	w.until(id, "paused", paused)
	if _, err := other.Resume(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	op, err := other.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, op, operation.Succeeded)
}

func TestCancelRunningStep(t *testing.T) {
	w := newWorld(t)
	h := hold()
	causes := make(chan error, 1)
	b := w.step("b", func(ctx context.Context, run operation.Run) error {
		err := h.do(ctx, run)
		if operation.Uncancelled(ctx).Err() != nil {
			err = errors.New("nothing can be cleaned up any more")
		}
		causes <- err
		return err
	})
	w.boot(w.definition(w.step("a", nil), b, w.step("c", nil)))
	id := w.create("work").ID
	await(t, h.begun)
	op, err := w.svc.Cancel(t.Context(), id)
	if err != nil || op.State != operation.Cancelling {
		t.Fatalf("cancel gave %+v, %v", op, err)
	}
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Errorf("cancelling twice: %v", err)
	}
	op = w.wait(id)
	wantState(t, op, operation.Cancelled)
	if err := await(t, causes); !errors.Is(err, operation.ErrCancelled) {
		t.Errorf("the step was ended by %v", err)
	}
	w.wantSeen("do a", "do b", "undo b", "undo a", "finish CANCELLED")
	if got := states(op); !slices.Equal(got, []operation.StepState{operation.StepUndone, operation.StepCancelled, operation.StepSkipped}) {
		t.Errorf("steps %v", got)
	}
	if op.Problem != nil || op.Request != "" {
		t.Errorf("cancelled with %+v", op)
	}
	_, err = w.svc.Cancel(t.Context(), id)
	wantConflict(t, err, "cancelling what has ended")
	_, err = w.svc.Pause(t.Context(), id)
	wantConflict(t, err, "pausing what has ended")
	_, err = w.svc.Resume(t.Context(), id)
	wantConflict(t, err, "resuming what has ended")
}

// A step may overhear the cancel; what it made is undone all the same.
func TestCancelOfLastStepThatGoesOn(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", nil), w.step("deaf", func(ctx context.Context, run operation.Run) error {
		h.begun <- struct{}{}
		<-h.release
		return nil
	})))
	id := w.create("work").ID
	await(t, h.begun)
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	wantState(t, w.wait(id), operation.Cancelled)
	w.wantSeen("do a", "do deaf", "undo deaf", "undo a", "finish CANCELLED")
}

func TestCancelPaused(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", h.do), w.step("b", nil)))
	id := w.create("work").ID
	await(t, h.begun)
	if _, err := w.svc.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	w.until(id, "paused", paused)
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantState(t, w.wait(id), operation.Cancelled)
	w.wantSeen("do a", "undo a", "finish CANCELLED")
}

// A cancel that the portal took before it was stopped is carried out afterwards.
func TestCancelWhileStopped(t *testing.T) {
	w := newWorld(t)
	c := &cut{reached: make(chan struct{})}
	def := w.definition(w.step("a", nil), w.step("b", func(ctx context.Context, _ operation.Run) error { return c.off(ctx) }))
	w.boot(def)
	id := w.create("work").ID
	await(t, c.reached)
	w.shutdown()
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.boot(def)
	wantState(t, w.wait(id), operation.Cancelled)
	w.wantSeen("do a", "do b", "undo b", "undo a", "finish CANCELLED")
}

// An operation may be cancelled before it has begun.
func TestCancelPending(t *testing.T) {
	w := newWorld(t)
	w.boot(w.definition(w.step("a", nil)))
	w.svc.Engine = refusing{}
	id := w.create("work").ID
	w.svc.Engine = w.engine
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, w.wait(id), operation.Cancelled)
	w.wantSeen("finish CANCELLED")
}

// A cancel need not wait for the pause before the next try.
func TestCancelDuringBackoff(t *testing.T) {
	w := newWorld(t)
	s := w.step("a", func(context.Context, operation.Run) error { return fault.New(fault.Unavailable, "test", "Away") })
	s.Retry = operation.Retry{Attempts: 3, Backoff: time.Hour}
	w.boot(w.definition(s))
	id := w.create("work").ID
	op := w.until(id, "waiting to try again", func(op *operation.Operation) bool { return op.Steps[0].Problem != nil })
	if op.State != operation.Running || op.Steps[0].State != operation.StepRunning {
		t.Errorf("waits as %s, %s", op.State, op.Steps[0].State)
	}
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantState(t, w.wait(id), operation.Cancelled)
	w.wantSeen("do a", "undo a", "finish CANCELLED")
}

func TestNoCancelWhileCleaningUp(t *testing.T) {
	w := newWorld(t)
	h := hold()
	s := w.step("a", func(context.Context, operation.Run) error { return fault.New(fault.Conflict, "test", "It broke") })
	s.Undo = h.do
	w.boot(w.definition(s))
	id := w.create("work").ID
	await(t, h.begun)
	_, err := w.svc.Cancel(t.Context(), id)
	wantConflict(t, err, "cancelling what cleans up")
	if err != nil && !strings.Contains(err.Error(), "cleaning up") {
		t.Errorf("the refusal does not say why: %v", err)
	}
	_, err = w.svc.Pause(t.Context(), id)
	wantConflict(t, err, "pausing what cleans up")
	close(h.release)
	wantState(t, w.wait(id), operation.Failed)
}

func TestControlOfUnknown(t *testing.T) {
	w := newWorld(t)
	w.boot()
	for name, fn := range map[string]func(context.Context, string) (*operation.Operation, error){
		"pause": w.svc.Pause, "resume": w.svc.Resume, "cancel": w.svc.Cancel, "undo": w.svc.Undo, "wait": w.svc.Wait,
	} {
		if _, err := fn(t.Context(), "nobody"); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

// A step of many parts can be paused between them.
func TestGate(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", func(ctx context.Context, run operation.Run) error {
		if err := h.do(ctx, run); err != nil {
			return err
		}
		if err := run.(operation.Gate).Gate(ctx); err != nil {
			return err
		}
		w.note("second part")
		return nil
	})))
	for _, resume := range []bool{true, false} {
		id := w.create("work").ID
		await(t, h.begun)
		if _, err := w.svc.Pause(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		h.release <- struct{}{}
		w.until(id, "paused", paused)
		if resume {
			if _, err := w.svc.Resume(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			wantState(t, w.wait(id), operation.Succeeded)
			continue
		}
		if _, err := w.svc.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		wantState(t, w.wait(id), operation.Cancelled)
	}
	w.wantSeen("do a", "second part", "finish SUCCEEDED", "do a", "undo a", "finish CANCELLED")
}

func TestWait(t *testing.T) {
	w := newWorld(t)
	h := hold()
	w.boot(w.definition(w.step("a", h.do)))
	id := w.create("work").ID
	await(t, h.begun)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	op, err := w.svc.Wait(short, id)
	if !errors.Is(err, context.DeadlineExceeded) || op == nil || op.State != operation.Running {
		t.Errorf("a wait that is cut short gave %+v, %v", op, err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if op, err := w.svc.Wait(t.Context(), id); err != nil || op.State != operation.Succeeded {
				t.Errorf("wait gave %+v, %v", op, err)
			}
		})
	}
	close(h.release)
	wg.Wait()
}
