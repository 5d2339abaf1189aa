package operation

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/txn"
)

// undo takes back what one step made, if that is not yet done. A failure is
// recorded and does not hold up the rest, nor hide why the operation ended.
func (x *execution) undo(ctx context.Context, i int) error {
	def := x.plan[i]
	op := x.last
	switch op.Steps[i].State {
	case StepDone, StepFailed, StepCancelled:
	default:
		return nil
	}
	past, err := x.attempts(ctx, def.Name, true)
	if err != nil {
		return err
	}
	for _, a := range past {
		if a.Error == "" {
			return nil
		}
	}
	for n := len(past) + 1; ; n++ {
		r := x.newRun(op, i)
		r.undo = true
		a := Attempt{OperationID: x.id, Step: def.Name, Number: n, Undo: true, StartedAt: x.s.Now().UTC()}
		err := x.attempt(ctx, def, def.Undo, r)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		final := Permanent(err) || n >= def.Retry.Attempts
		if e := x.leaveUndo(ctx, i, r, a, err, final); e != nil || err == nil || final {
			return e
		}
		if def.Retry.Backoff > 0 && !pause(ctx, min(def.Retry.Backoff<<min(n-1, 16), time.Hour)) {
			return ctx.Err()
		}
	}
}

// leaveUndo writes down how an attempt of undoing ended.
func (x *execution) leaveUndo(ctx context.Context, i int, r *run, a Attempt, cause error, final bool) error {
	return x.record(ctx, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		st := &op.Steps[i]
		a.EndedAt = x.s.Now().UTC()
		st.Detail = r.last()
		var events []event.Event
		if cause != nil {
			if r.problem == nil {
				r.problem = x.s.problemOf(op, "undo "+st.Name, cause)
			}
			a.Error = r.problem.text()
			if final {
				st.Detail = "could not be undone: " + a.Error
			}
		} else if st.State == StepDone {
			st.State = StepUndone
			events = append(events, x.s.stepped(op, *st))
		}
		op.Completed = completed(op)
		if err := x.s.Store.AddAttempt(ctx, a); err != nil {
			return nil, err
		}
		return events, x.s.Store.SaveStep(ctx, x.id, i, *st)
	})
}

// finishTries bounds how often Definition.Finish may refuse an outcome.
const finishTries = 3

// finish stores the outcome together with what it means for the subject. If the
// definition can't store a success, that is a failure; if it can't store that
// either, the operation ends without it, so that it does not run for ever. It
// gives ErrCancelled if a cancel came before the success was stored.
func (x *execution) finish(ctx context.Context, outcome State, problem *Problem) error {
	err := x.tryFinish(ctx, outcome, problem, true)
	if !finishRefused(ctx, err) {
		return err
	}
	op := x.last
	if problem == nil {
		problem = x.s.problemOf(op, "finish", err)
	}
	if outcome == Succeeded {
		outcome = Failed
		if err = x.tryFinish(ctx, outcome, problem, true); !finishRefused(ctx, err) {
			return err
		}
	}
	x.s.log().Error("an operation ends without its last effect", "operation", x.id, "kind", op.Kind, "error", err)
	return x.tryFinish(ctx, outcome, problem, false)
}

func finishRefused(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errors.Is(err, ErrCancelled)
}

func (x *execution) tryFinish(ctx context.Context, outcome State, problem *Problem, effect bool) error {
	var err error
	for try := range finishTries {
		if try > 0 && !pause(ctx, 50*time.Millisecond<<try) {
			return ctx.Err()
		}
		if err = x.end(ctx, outcome, problem, effect); !finishRefused(ctx, err) {
			return err
		}
	}
	return err
}

// end is the one transaction in which the operation becomes final.
func (x *execution) end(ctx context.Context, outcome State, problem *Problem, effect bool) error {
	return x.record(ctx, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		if op.State == Cancelling && outcome == Succeeded {
			return nil, ErrCancelled
		}
		now := x.s.Now().UTC()
		for i, st := range op.Steps {
			switch st.State {
			case StepPending:
				st.State = StepSkipped
			case StepRunning: // and this version of the portal doesn't know it
				st.State, st.EndedAt = StepFailed, &now
			default:
				continue
			}
			op.Steps[i] = st
			if err := x.s.Store.SaveStep(ctx, x.id, i, st); err != nil {
				return nil, err
			}
		}
		op.State, op.Request, op.Problem, op.EndedAt = outcome, "", problem, &now
		op.Completed = completed(op)
		txn.AfterCommit(ctx, func() { x.s.bells.ring(x.id) })
		if x.def.Finish == nil || !effect {
			return nil, nil
		}
		return nil, guard(func() error { return x.def.Finish(ctx, op) })
	})
}

// guard turns a panic of fn into an error.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return fn()
}
