package operation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// execution is one run of one operation, from its begin (or from where an
// earlier life of the portal left it) to its end.
//
// The table of steps is the truth. The engine's memory only has to know that
// the functions given to do were completed, so these always end with nil: how a
// step ended is read from the table. They are called in an order that follows
// from the table alone, so a later life calls them in the same order: the
// steps up to the first that is not done, then the undoing from there back.
type execution struct {
	s    *Service
	id   string
	def  Definition
	plan []StepDef
	do   func(name string, fn func(ctx context.Context) error) error
	// last is the operation as this run stored or read it last. Its steps are
	// what they are, as nobody else changes them; its state may be old.
	last *Operation
	wake chan struct{} // receives when a request may have been made
	// cancelled is closed once a cancel was asked for.
	cancelled chan struct{}
}

// Execute runs the operation to its end. It returns nil once the operation is
// final, whatever its outcome; the error of ctx if the engine stops before
// (the operation then stays as it is, to be gone on with); or why it could not
// be run at all.
func (s *Service) Execute(ctx context.Context, opID string, do func(name string, fn func(ctx context.Context) error) error) error {
	op, err := s.load(ctx, opID)
	if fault.Is(err, fault.NotFound) {
		s.log().Warn("the engine holds an operation that is not stored", "operation", opID)
		return nil
	}
	if err != nil || op.State.Final() {
		return err
	}
	ctx = auth.With(ctx, actorOf(op))
	x := &execution{
		s: s, id: opID, do: inherit(ctx, do), last: op,
		wake: make(chan struct{}, 1), cancelled: make(chan struct{}),
	}
	if err := x.prepare(op); err != nil {
		return x.finish(ctx, Failed, s.problemOf(op, "", err))
	}
	watching, stop := context.WithCancel(ctx)
	rung, unlisten := s.bells.listen(opID)
	var watcher sync.WaitGroup
	watcher.Go(func() { x.watch(watching, rung) })
	defer watcher.Wait()
	defer unlisten()
	defer stop()
	return x.run(ctx)
}

// actorOf is on whose behalf an operation runs. What they may do was decided
// when they asked for it.
func actorOf(op *Operation) auth.Principal {
	if op.Actor == auth.System.ID {
		p := auth.System
		p.Request = op.ID
		return p
	}
	return auth.Principal{ID: op.Actor, Request: op.ID}
}

// inherit lets the functions see the values of ctx (who acts) besides those of
// the context that the engine gives them.
func inherit(ctx context.Context, do func(string, func(context.Context) error) error) func(string, func(context.Context) error) error {
	who := auth.From(ctx)
	return func(name string, fn func(context.Context) error) error {
		return do(name, func(ctx context.Context) error { return fn(auth.With(ctx, who)) })
	}
}

// prepare makes the plan anew and holds it against the stored steps.
func (x *execution) prepare(op *Operation) error {
	var ok bool
	if x.def, ok = x.s.definition(op.Kind); !ok {
		return fault.New(fault.Internal, "operation.unknown_kind", "This version of the portal has no operation of kind %q", op.Kind)
	}
	plan, err := planOf(x.def, op)
	if err != nil {
		return err
	}
	changed := len(plan) != len(op.Steps)
	for i := 0; !changed && i < len(plan); i++ {
		changed = plan[i].Name != op.Steps[i].Name
	}
	if changed {
		return fault.New(fault.Internal, "operation.plan_changed", "The operation can't be gone on with").
			Because("this version of the portal has other steps for %s", op.Kind).Do("Start it anew.")
	}
	x.plan = plan
	return nil
}

// run goes through the steps, undoes them if they can't all be done, and ends
// the operation.
func (x *execution) run(ctx context.Context) error {
	for i, def := range x.plan {
		st, err := x.step(ctx, i, def.Name)
		if err != nil {
			return err
		}
		if st.State != StepDone && st.State != StepUndone { // undone in an earlier life
			return x.takeBack(ctx, i)
		}
	}
	err := x.finish(ctx, Succeeded, nil)
	if errors.Is(err, ErrCancelled) {
		return x.takeBack(ctx, len(x.plan)-1)
	}
	return err
}

// step runs one step through the engine and gives how it ended.
func (x *execution) step(ctx context.Context, i int, name string) (Step, error) {
	for again := false; ; again = true {
		fn := func(ctx context.Context) error { return x.perform(ctx, i) }
		var err error
		if again {
			// The engine remembers a completion that our table does not know: the
			// table was restored from a copy. It counts.
			err = fn(ctx)
		} else {
			err = x.do(name, fn)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Step{}, err
		}
		if st := x.last.Steps[i]; st.State != StepPending && st.State != StepRunning {
			return st, nil
		}
	}
}

// takeBack undoes the steps from last to the first and ends the operation as
// FAILED or CANCELLED.
func (x *execution) takeBack(ctx context.Context, last int) error {
	for i := last; i >= 0; i-- {
		if x.plan[i].Undo == nil {
			continue
		}
		if err := x.do("undo "+x.plan[i].Name, func(ctx context.Context) error { return x.undo(ctx, i) }); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if last >= 0 && x.last.Steps[last].State == StepFailed {
		return x.finish(ctx, Failed, x.last.Steps[last].Problem)
	}
	return x.finish(ctx, Cancelled, nil)
}

// watch looks for requests whenever the bell rings, and now and then, until ctx
// ends.
func (x *execution) watch(ctx context.Context, rung <-chan struct{}) {
	tick := time.NewTicker(x.s.poll())
	defer tick.Stop()
	for {
		op, err := x.s.Store.Get(ctx, x.id)
		if err == nil && op.State == Cancelling {
			close(x.cancelled)
			return
		}
		select {
		case x.wake <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-rung:
		case <-tick.C:
		}
	}
}

// load reads the operation, again and again while the store does not answer.
func (s *Service) load(ctx context.Context, id string) (*Operation, error) {
	var op *Operation
	err := s.insist(ctx, func(ctx context.Context) (err error) {
		op, err = s.Store.Get(ctx, id)
		return err
	})
	return op, err
}

// record is change for the run: it does not end with the engine's context in
// the middle, and it insists.
func (x *execution) record(ctx context.Context, fn func(ctx context.Context, op *Operation) ([]event.Event, error)) error {
	return x.s.insist(ctx, func(ctx context.Context) error {
		op, err := x.s.change(ctx, x.id, fn)
		if err == nil {
			x.last = op
		}
		return err
	})
}

// insist calls fn until it succeeds, fails for good, or ctx ends. A full disk or
// a store that is away must not end an operation: what it did would be lost.
func (s *Service) insist(ctx context.Context, fn func(ctx context.Context) error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := fn(context.WithoutCancel(ctx))
		if err == nil || !passing(err) {
			return err
		}
		s.log().Error("the store refuses the state of an operation; trying again", "error", err, "pause", wait)
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// passing tells whether the error is about the store, not about what was to be
// stored.
func passing(err error) bool {
	if errors.Is(err, ErrCancelled) {
		return false
	}
	switch fault.KindOf(err) {
	case fault.Internal:
		var p *panicError
		return fault.As(err) == nil && !errors.As(err, &p)
	case fault.Unavailable:
		return true
	}
	return false
}

// pause waits, and tells whether it could to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
