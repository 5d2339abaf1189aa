// Package txn names the unit of work that several stores share.
//
// A use case that changes an agent, writes its audit entry and announces the
// change does all of it inside one Runner.Do, so that either everything is
// stored or nothing is. The transaction travels in the context: every store
// method that is called with it takes part.
package txn

import "context"

// Runner runs functions inside a transaction of the store.
type Runner interface {
	// Do runs fn in a transaction and commits if fn returns nil. A Do inside a
	// Do joins the outer transaction. The error of fn is returned unchanged.
	Do(ctx context.Context, fn func(ctx context.Context) error) error
}

type hooksKey struct{}

// Hooks collects what is to happen once a transaction has been committed.
type Hooks struct{ after []func() }

// WithHooks gives a context in which AfterCommit collects into the returned
// Hooks. Only the store calls it.
func WithHooks(ctx context.Context) (context.Context, *Hooks) {
	h := &Hooks{}
	return context.WithValue(ctx, hooksKey{}, h), h
}

// Run calls what was collected, in order. Only the store calls it.
func (h *Hooks) Run() {
	for _, fn := range h.after {
		fn()
	}
}

// AfterCommit runs fn once the transaction in ctx is committed, never if it is
// rolled back; without a transaction it runs at once. fn must be quick and
// must not depend on running: the process may die before it does.
func AfterCommit(ctx context.Context, fn func()) {
	if h, ok := ctx.Value(hooksKey{}).(*Hooks); ok {
		h.after = append(h.after, fn)
		return
	}
	fn()
}
