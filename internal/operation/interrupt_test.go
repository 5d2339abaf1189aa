package operation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
)

// cut is a step that waits for the end of the portal the first time, after its
// effect, and is done the second time.
type cut struct {
	reached chan struct{}
	before  atomic.Bool
}

func (c *cut) off(ctx context.Context) error {
	if c.before.Swap(true) {
		return nil
	}
	close(c.reached)
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), operation.ErrCancelled) {
		return errors.New("taken for a cancel")
	}
	return errors.New("something that follows from the end of the portal")
}

// The portal ends in the middle of each step in turn, with and without the
// engine's memory: what was done is not repeated, what was in flight is.
func TestStopInEveryStep(t *testing.T) {
	names := []string{"a", "b", "c"}
	for _, lost := range []bool{false, true} {
		for _, at := range names {
			t.Run(fmt.Sprintf("%s lost=%t", at, lost), func(t *testing.T) {
				w := newWorld(t)
				c := &cut{reached: make(chan struct{})}
				var steps []operation.StepDef
				var want []string
				for _, name := range names {
					steps = append(steps, w.step(name, func(ctx context.Context, _ operation.Run) error {
						if name == at {
							return c.off(ctx)
						}
						return nil
					}))
					want = append(want, "do "+name)
					if name == at {
						want = append(want, "do "+name)
					}
				}
				w.boot(w.definition(steps...))
				id := w.create("work").ID
				await(t, c.reached)
				w.shutdown()
				if op := w.get(id); op.State != operation.Running {
					t.Errorf("the end of the portal made the operation %s", op.State)
				}
				if lost {
					w.mem = &operationtest.Memory{}
				}
				w.boot(w.definition(steps...))
				if err := w.svc.Recover(t.Context()); err != nil {
					t.Fatal(err)
				}
				op := w.wait(id)
				wantState(t, op, operation.Succeeded)
				w.wantSeen(append(want, "finish SUCCEEDED")...)
				cutOff := 0
				for _, a := range w.attempts(id) {
					if strings.HasPrefix(a.Error, "interrupted") && a.Step == at {
						cutOff++
					}
				}
				if cutOff != 1 || len(w.attempts(id)) != len(names)+1 {
					t.Errorf("attempts %+v", w.attempts(id))
				}
			})
		}
	}
}

// The same in the middle of undoing.
func TestStopInEveryUndo(t *testing.T) {
	names := []string{"a", "b", "c"}
	for _, lost := range []bool{false, true} {
		for _, at := range names {
			t.Run(fmt.Sprintf("%s lost=%t", at, lost), func(t *testing.T) {
				w := newWorld(t)
				c := &cut{reached: make(chan struct{})}
				var steps []operation.StepDef
				want := []string{"do a", "do b", "do c"}
				for _, name := range names {
					s := w.step(name, func(context.Context, operation.Run) error {
						if name == "c" {
							return fault.New(fault.Conflict, "test", "It broke")
						}
						return nil
					})
					s.Undo = func(ctx context.Context, _ operation.Run) error {
						w.note("undo %s", name)
						if name == at {
							return c.off(ctx)
						}
						return nil
					}
					steps = append(steps, s)
				}
				for _, name := range []string{"c", "b", "a"} {
					want = append(want, "undo "+name)
					if name == at {
						want = append(want, "undo "+name)
					}
				}
				w.boot(w.definition(steps...))
				id := w.create("work").ID
				await(t, c.reached)
				w.shutdown()
				if lost {
					w.mem = &operationtest.Memory{}
				}
				w.boot(w.definition(steps...))
				if err := w.svc.Recover(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantState(t, w.wait(id), operation.Failed)
				w.wantSeen(append(want, "finish FAILED")...)
			})
		}
	}
}

// A failure before the end of the portal still counts after it.
func TestRetriesAreCountedAcrossRestarts(t *testing.T) {
	w := newWorld(t)
	c := &cut{reached: make(chan struct{})}
	n := 0
	s := w.step("a", func(ctx context.Context, _ operation.Run) error {
		if n++; n == 2 {
			return c.off(ctx)
		}
		return fault.New(fault.Unavailable, "test", "Away")
	})
	s.Retry.Attempts = 3
	w.boot(w.definition(s))
	id := w.create("work").ID
	await(t, c.reached)
	w.shutdown()
	w.boot(w.definition(s))
	op := w.wait(id)
	wantState(t, op, operation.Failed)
	if op.Steps[0].Attempts != 4 { // three that failed, one that was cut off
		t.Errorf("%d attempts", op.Steps[0].Attempts)
	}
}

// A step in which the portal ends again and again is given up at last.
func TestStepThatKillsThePortal(t *testing.T) {
	w := newWorld(t)
	begun := make(chan struct{})
	s := w.step("deadly", func(ctx context.Context, _ operation.Run) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	w.boot(w.definition(s))
	id := w.create("work").ID
	const bound = 100
	for range bound {
		await(t, begun)
		w.shutdown()
		w.boot(w.definition(s))
	}
	op := w.wait(id)
	wantState(t, op, operation.Failed)
	if op.Problem.Code != "operation.step_interrupted" {
		t.Errorf("problem %+v", op.Problem)
	}
}

// A hand-over that was lost between the commit and the engine is made up for.
func TestRecover(t *testing.T) {
	w := newWorld(t)
	w.boot(w.definition(w.step("a", nil)))
	w.svc.Engine = refusing{}
	id := w.create("work").ID
	w.svc.Engine = w.engine
	if err := w.svc.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, w.wait(id), operation.Succeeded)
}

// And where the portal goes on, it hands over again by itself.
func TestHandOverIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.boot(w.definition(w.step("a", nil)))
	w.svc.Engine = &reluctant{Engine: w.engine}
	wantState(t, w.wait(w.create("work").ID), operation.Succeeded)
}

// A disk that is full for an hour leaves no operation behind: it is handed
// over soon after there is room again.
func TestHandOverOutlivesALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &outage{until: time.Now().Add(time.Hour), taken: make(chan time.Time, 1)}
		s := &operation.Service{Engine: e, Log: slog.New(slog.DiscardHandler)}
		s.HandOver(t.Context(), "op")
		if late := (<-e.taken).Sub(e.until); late > 15*time.Second {
			t.Errorf("handed over %v after the outage", late)
		}
		if e.asked > 300 {
			t.Errorf("asked %d times", e.asked)
		}
	})
}

// outage is an engine that takes nothing for a while.
type outage struct {
	until time.Time
	asked int
	taken chan time.Time
}

func (o *outage) Submit(context.Context, string) error {
	o.asked++
	if time.Now().Before(o.until) {
		return errors.New("database or disk is full")
	}
	o.taken <- time.Now()
	return nil
}

type refusing struct{}

func (refusing) Submit(context.Context, string) error { return errors.New("no") }

type reluctant struct {
	operation.Engine
	asked atomic.Bool
}

func (r *reluctant) Submit(ctx context.Context, id string) error {
	if !r.asked.Swap(true) {
		return errors.New("not yet")
	}
	return r.Engine.Submit(ctx, id)
}

// An upgraded portal with other steps does not guess.
func TestPlanChanged(t *testing.T) {
	for name, after := range map[string]func(w *world) []operation.Definition{
		"other steps": func(w *world) []operation.Definition {
			return []operation.Definition{w.definition(w.step("a", nil), w.step("z", nil))}
		},
		"no such kind": func(*world) []operation.Definition { return nil },
		"no plan": func(w *world) []operation.Definition {
			d := w.definition()
			d.Steps = func(*operation.Operation) []operation.StepDef { panic("lost") }
			return []operation.Definition{d}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := &cut{reached: make(chan struct{})}
			w.boot(w.definition(w.step("a", nil), w.step("b", func(ctx context.Context, _ operation.Run) error { return c.off(ctx) })))
			id := w.create("work").ID
			await(t, c.reached)
			w.shutdown()
			w.boot(after(w)...)
			op := w.wait(id)
			wantState(t, op, operation.Failed)
			if slices.Contains(states(op), operation.StepRunning) {
				t.Errorf("a step of a final operation runs: %v", states(op))
			}
			if slices.Contains(w.seen(), "do z") {
				t.Error("a step that was never planned was run")
			}
		})
	}
}

// away is a transaction runner whose store does not answer for a while.
type away struct {
	*world
	left atomic.Int64
}

func (a *away) Do(ctx context.Context, fn func(ctx context.Context) error) error {
	if a.left.Add(-1) >= 0 {
		return fault.New(fault.Unavailable, "store.away", "The store does not answer")
	}
	return a.store.Do(ctx, fn)
}

// A store that does not answer for a while ends no operation.
func TestStoreIsAway(t *testing.T) {
	w := newWorld(t)
	a := &away{world: w}
	w.boot(w.definition(
		w.step("a", func(context.Context, operation.Run) error { a.left.Store(2); return nil }),
		w.step("b", func(context.Context, operation.Run) error { a.left.Store(2); return nil }),
	))
	w.svc.Tx = a
	wantState(t, w.wait(w.create("work").ID), operation.Succeeded)
	w.wantSeen("do a", "do b", "finish SUCCEEDED")
}

// While the store is away the portal can still be stopped, and what was done
// is done once more at most.
func TestStopWhileStoreIsAway(t *testing.T) {
	w := newWorld(t)
	a := &away{world: w}
	done := make(chan struct{}, 2)
	def := w.definition(w.step("a", func(context.Context, operation.Run) error {
		done <- struct{}{}
		return nil
	}))
	w.boot(def)
	w.svc.Tx = a
	id := w.create("work").ID
	a.left.Store(1 << 40)
	// The step may or may not begin, as its beginning is stored first.
	select {
	case <-done:
	case <-time.After(50 * time.Millisecond):
	}
	w.shutdown()
	w.boot(def)
	wantState(t, w.wait(id), operation.Succeeded)
	if got := w.seen(); len(got) > 3 {
		t.Errorf("effects %q", got)
	}
}

func TestUnknownOperationIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.boot()
	if err := w.svc.Execute(t.Context(), "nobody", nil); err != nil {
		t.Error(err)
	}
	if _, err := w.svc.Attempts(t.Context(), "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("attempts of nobody: %v", err)
	}
}
