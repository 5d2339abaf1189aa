package operation

import (
	"errors"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// ErrCancelled is the cause (context.Cause) with which the context of a running
// step ends when the operation is cancelled. A context that ends with another
// cause ends because the portal stops: the step then runs again later.
var ErrCancelled = errors.New("the operation is being cancelled")

// timeoutError ends an attempt that took too long.
type timeoutError struct {
	step  string
	after time.Duration
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("step %s did not end within %s", e.step, e.after)
}

// panicError is a panic of a step, turned into its failure.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// ProblemOf turns an error into what people see. Faults are made for people; of
// anything else they see only an id, under which the log has it with about, the
// log's key-value pairs.
func (s *Service) ProblemOf(err error, about ...any) *Problem {
	if f := fault.As(err); f != nil {
		p := &Problem{Code: f.Code, What: f.What, Why: f.Why, Remedy: f.Remedy}
		for _, field := range f.Fields {
			if p.Why != "" {
				p.Why += "; "
			}
			p.Why += field.Path + ": " + field.Message
		}
		return p
	}
	var late *timeoutError
	if errors.As(err, &late) {
		return &Problem{
			Code:   "operation.step_timeout",
			What:   fmt.Sprintf("The step %q did not end within %s", late.step, late.after),
			Why:    "it was given that long for one attempt",
			Remedy: "Look at what the step waits for, then try again.",
		}
	}
	id := s.NewID()
	attrs := append([]any{"id", id, "error", err}, about...)
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.stack))
	}
	s.log().Error("internal error", attrs...)
	return &Problem{
		Code:   "internal",
		What:   "Internal error",
		Why:    "the portal met something unforeseen; its log has the details under " + id,
		Remedy: "Try again. If it stays, report it with the id.",
	}
}

func (s *Service) problemOf(op *Operation, step string, err error) *Problem {
	return s.ProblemOf(err, "operation", op.ID, "kind", op.Kind, "step", step)
}

// text is the problem in one line, for the record of attempts.
func (p *Problem) text() string {
	if p.Why == "" {
		return p.What
	}
	return p.What + ": " + p.Why
}

// Permanent tells whether trying again can't help: faults of the kinds Invalid,
// Conflict, NotFound and Forbidden, and panics.
func Permanent(err error) bool {
	var p *panicError
	if errors.As(err, &p) {
		return true
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Conflict, fault.NotFound, fault.Forbidden:
		return true
	}
	return false
}
