package operation

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	// attemptTime is how long one attempt may take unless the step says otherwise.
	attemptTime = 10 * time.Minute
	// interruptions bounds how often a step is begun again because the portal
	// ended in the middle of it: a step that kills the portal must not do so for ever.
	interruptions = 100
	interrupted   = "interrupted: the portal ended during this attempt"
)

// perform brings one step to its end: done, failed, cancelled or skipped. It
// returns an error only if the engine stops before; the step then runs again.
func (x *execution) perform(ctx context.Context, i int) error {
	failures, err := x.begin(ctx, i)
	if err != nil || failures < 0 {
		return err
	}
	def := x.plan[i]
	for {
		op, err := x.enter(ctx, i)
		if err != nil || op == nil {
			return err
		}
		r := x.newRun(op, i)
		a := Attempt{OperationID: x.id, Step: def.Name, Number: op.Steps[i].Attempts, StartedAt: x.s.Now().UTC()}
		err = x.attempt(ctx, def, def.Do, r)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		failures++
		final := Permanent(err) || failures >= def.Retry.Attempts
		if more, e := x.leave(ctx, i, r, a, err, final); e != nil || !more {
			return e
		}
		if err := x.backoff(ctx, def.Retry.Backoff, failures); err != nil {
			return err
		}
	}
}

// begin gives how often the step has failed before, or -1 if it has ended
// already. An attempt that the end of the portal cut off is written down.
func (x *execution) begin(ctx context.Context, i int) (failures int, err error) {
	st := x.last.Steps[i]
	switch st.State {
	case StepPending:
		return 0, nil
	case StepRunning:
	default:
		return -1, nil
	}
	past, err := x.attempts(ctx, st.Name, false)
	if err != nil {
		return 0, err
	}
	recorded, cut := 0, 0
	for _, a := range past {
		recorded = max(recorded, a.Number)
		if a.Error == interrupted {
			cut++
		} else {
			failures++
		}
	}
	if recorded >= st.Attempts {
		return failures, nil
	}
	tooOften := cut+1 >= interruptions
	err = x.record(ctx, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		st := &op.Steps[i]
		now := x.s.Now().UTC()
		a := Attempt{OperationID: x.id, Step: st.Name, Number: st.Attempts, StartedAt: now, EndedAt: now, Error: interrupted}
		if st.StartedAt != nil {
			a.StartedAt = *st.StartedAt
		}
		if tooOften {
			x.fail(op, st, &Problem{
				Code: "operation.step_interrupted", What: "The step was given up",
				Why: "the portal ended in the middle of it too often", Remedy: "Look for the cause in the portal's log.",
			})
		}
		if err := x.s.Store.AddAttempt(ctx, a); err != nil {
			return nil, err
		}
		return nil, x.s.Store.SaveStep(ctx, x.id, i, *st)
	})
	if tooOften {
		failures = -1
	}
	return failures, err
}

// enter is the gate before each attempt: it waits while the operation is
// paused, ends the step if the operation is being cancelled (it then gives
// nil), and otherwise marks it as running.
func (x *execution) enter(ctx context.Context, i int) (*Operation, error) {
	for {
		if x.last.State != Paused {
			if err := x.cross(ctx, i); err != nil {
				return nil, err
			}
			switch x.last.State {
			case Cancelling:
				return nil, nil
			case Running:
				return x.last, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-x.cancelled:
		case <-x.wake:
		}
		op, err := x.s.load(ctx, x.id)
		if err != nil {
			return nil, err
		}
		x.last = op
	}
}

// cross decides at the gate by the state that the operation has right now. It
// then is CANCELLING, PAUSED, or RUNNING with the step running.
func (x *execution) cross(ctx context.Context, i int) error {
	return x.record(ctx, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		st, now := &op.Steps[i], x.s.Now().UTC()
		if op.StartedAt == nil && op.State != Cancelling {
			op.StartedAt = &now
		}
		var ended []event.Event
		switch {
		case op.State == Paused:
			return nil, nil
		case op.State == Cancelling:
			st.State = StepSkipped
			if st.Attempts > 0 {
				st.State = StepCancelled
			}
			st.EndedAt = &now
			ended = append(ended, x.s.stepped(op, *st))
		case op.Request == requestPause:
			op.State, op.Request = Paused, ""
			return nil, nil
		default:
			op.State, st.State = Running, StepRunning
			st.Attempts++
			if st.StartedAt == nil {
				st.StartedAt = &now
			}
		}
		return ended, x.s.Store.SaveStep(ctx, x.id, i, *st)
	})
}

// gate is enter for the middle of a step: it lets through unless the operation
// is paused or is to be.
func (x *execution) gate(ctx context.Context) error {
	for {
		op, err := x.s.load(ctx, x.id)
		if err == nil && op.State == Cancelling {
			return ErrCancelled // the end of ctx may still be on its way
		}
		if err != nil || op.State != Paused && op.Request != requestPause {
			return err
		}
		if op.State != Paused {
			// Not record: a step may have several goroutines.
			err := x.s.insist(ctx, func(ctx context.Context) error {
				_, err := x.s.change(ctx, x.id, func(_ context.Context, op *Operation) ([]event.Event, error) {
					if op.State == Running && op.Request == requestPause {
						op.State, op.Request = Paused, ""
					}
					return nil, nil
				})
				return err
			})
			if err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-x.wake:
		}
	}
}

// leave writes down how an attempt ended, and tells whether there is to be
// another one.
func (x *execution) leave(ctx context.Context, i int, r *run, a Attempt, cause error, final bool) (more bool, err error) {
	err = x.record(ctx, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		st, now := &op.Steps[i], x.s.Now().UTC()
		a.EndedAt = now
		st.Detail = r.last()
		var problem *Problem
		if cause != nil {
			if r.problem == nil {
				r.problem = x.s.problemOf(op, st.Name, cause)
			}
			problem = r.problem
			a.Error = problem.text()
		}
		more = false
		switch {
		case cause == nil:
			st.State, st.Problem = StepDone, nil
			if result := r.stored(); result != nil {
				op.Result = result
			}
		case op.State == Cancelling:
			st.State, a.Error = StepCancelled, ErrCancelled.Error()
		case final:
			x.fail(op, st, problem)
		default:
			more, st.Problem = true, problem
		}
		var events []event.Event
		if !more {
			st.EndedAt = &now
			events = append(events, x.s.stepped(op, *st))
		}
		op.Completed = completed(op)
		if err := x.s.Store.AddAttempt(ctx, a); err != nil {
			return nil, err
		}
		return events, x.s.Store.SaveStep(ctx, x.id, i, *st)
	})
	return more, err
}

// fail marks the step as failed, and the operation as one that only cleans up.
func (x *execution) fail(op *Operation, st *Step, p *Problem) {
	now := x.s.Now().UTC()
	st.State, st.Problem, st.EndedAt = StepFailed, p, &now
	op.Problem = p
	if op.Request == requestPause {
		op.Request = ""
	}
}

func completed(op *Operation) int {
	n := 0
	for _, st := range op.Steps {
		if st.State == StepDone {
			n++
		}
	}
	return n
}

// attempt calls fn once, with its time limit, and turns a panic into an error.
// The context of fn also ends when the operation is cancelled, unless it undoes.
func (x *execution) attempt(ctx context.Context, def StepDef, fn func(context.Context, Run) error, r *run) (err error) {
	limit := def.Timeout
	if limit <= 0 {
		limit = attemptTime
	}
	late := &timeoutError{step: def.Name, after: limit}
	ctx, stop := context.WithTimeoutCause(ctx, limit, late)
	defer stop()
	if !r.undo {
		var end context.CancelCauseFunc
		ctx, end = context.WithCancelCause(context.WithValue(ctx, uncancelledKey{}, ctx))
		defer end(nil)
		finished := make(chan struct{})
		defer close(finished)
		go func() {
			select {
			case <-x.cancelled:
				end(ErrCancelled)
			case <-finished:
			}
		}()
	}
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	err = fn(ctx, r)
	if err != nil && fault.As(err) == nil && errors.Is(context.Cause(ctx), late) {
		return late
	}
	return err
}

// backoff waits before the next attempt. A cancel ends the wait; enter then
// sees it.
func (x *execution) backoff(ctx context.Context, first time.Duration, failures int) error {
	if first <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(min(first<<min(failures-1, 16), time.Hour))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-x.cancelled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempts gives what is recorded of one step.
func (x *execution) attempts(ctx context.Context, step string, undo bool) ([]Attempt, error) {
	var list []Attempt
	err := x.s.insist(ctx, func(ctx context.Context) error {
		all, err := x.s.Store.Attempts(ctx, x.id)
		list = nil
		for _, a := range all {
			if a.Step == step && a.Undo == undo {
				list = append(list, a)
			}
		}
		return err
	})
	return list, err
}
