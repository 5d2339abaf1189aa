package operation

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/waooaw/platform-portal/internal/event"
)

type uncancelledKey struct{}

// Uncancelled gives, for the context of a step, one that goes on when the
// operation is cancelled, for what a step still has to do then. Like the step's
// own it ends when the portal stops or the attempt's time is over.
func Uncancelled(ctx context.Context) context.Context {
	if parent, ok := ctx.Value(uncancelledKey{}).(context.Context); ok {
		return parent
	}
	return ctx
}

// run is one attempt as its step sees it.
type run struct {
	x     *execution
	index int
	op    *Operation
	undo  bool
	// problem is what the attempt's error was turned into, so that it is logged
	// once even if storing it takes several tries.
	problem *Problem

	mu     sync.Mutex
	detail string
	result json.RawMessage
}

func (x *execution) newRun(op *Operation, i int) *run {
	return &run{x: x, index: i, op: op, detail: op.Steps[i].Detail}
}

func (r *run) Operation() *Operation { return r.op }

func (r *run) Key() string { return r.x.id + "/" + r.x.plan[r.index].Name }

// Gate blocks while the operation is paused; see Gate.
func (r *run) Gate(ctx context.Context) error {
	if r.undo {
		return nil
	}
	return r.x.gate(ctx)
}

func (r *run) Detail(ctx context.Context, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text == r.detail {
		return
	}
	r.detail = text
	_, err := r.x.s.change(context.WithoutCancel(ctx), r.x.id, func(ctx context.Context, op *Operation) ([]event.Event, error) {
		st := op.Steps[r.index]
		st.Detail = text
		return nil, r.x.s.Store.SaveStep(ctx, r.x.id, r.index, st)
	})
	if err != nil {
		// The step does not depend on being watched.
		r.x.s.log().Warn("could not store what a step is doing", "operation", r.x.id, "error", err)
	}
}

func (r *run) Result(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result = data
	return nil
}

func (r *run) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.detail
}

func (r *run) stored() json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result
}
