package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// patience is how long a transaction waits for its turn. One that waits longer
// most likely waits for itself: a write inside of a Do that was not given the
// context of the Do.
const patience = 30 * time.Second

// txKey finds the transaction of one store in a context.
type txKey struct{ s *Store }

// tx is a running transaction.
type tx struct {
	bun.Tx
	done   atomic.Bool // committed or rolled back: the context is of no use any more
	broken error       // why it cannot be committed
}

// joined gives the transaction in ctx, or nil. A context that outlived its
// transaction counts as one without.
func (s *Store) joined(ctx context.Context) *tx {
	if t, ok := ctx.Value(txKey{s}).(*tx); ok && !t.done.Load() {
		return t
	}
	return nil
}

// db gives what a read is to run on: the transaction in ctx, or the read pool.
func (s *Store) db(ctx context.Context) bun.IDB {
	if t := s.joined(ctx); t != nil {
		return t.Tx
	}
	return s.read
}

// change runs one write of a store method in the transaction in ctx, or in one
// of its own, and turns the errors of the database into faults.
func (s *Store) change(ctx context.Context, fn func(ctx context.Context, db bun.IDB) error) error {
	if t := s.joined(ctx); t != nil {
		return s.explain(ctx, fn(ctx, t.Tx))
	}
	return s.Do(ctx, func(ctx context.Context) error {
		return s.explain(ctx, fn(ctx, s.joined(ctx).Tx))
	})
}

// Do runs fn in a transaction and commits if fn returns nil; see txn.Runner.
// Transactions run one after the other. A Do inside a Do is a savepoint: if it
// fails and the outer one goes on all the same, nothing of it is kept.
//
// Once ctx ends, nothing is committed any more; a commit that has begun is
// seen through, so that its outcome is reported as it is.
func (s *Store) Do(ctx context.Context, fn func(ctx context.Context) error) error {
	if t := s.joined(ctx); t != nil {
		return s.nested(ctx, t, fn)
	}
	t, err := s.begin(ctx)
	if err != nil {
		return err
	}
	inner, hooks := txn.WithHooks(context.WithValue(ctx, txKey{s}, t))
	if err := s.run(inner, t, fn); err != nil {
		return err
	}
	// Only now, for a hook may write itself.
	hooks.Run()
	return nil
}

// run runs fn in t and ends it: by a commit, or else by a rollback.
func (s *Store) run(ctx context.Context, t *tx, fn func(ctx context.Context) error) error {
	defer func() { <-s.writing }()
	defer t.abandon() // does nothing after a commit
	if err := fn(ctx); err != nil {
		return err
	}
	if err := errors.Join(ctx.Err(), t.broken); err != nil {
		return err
	}
	t.done.Store(true)
	if err := t.Commit(); err != nil {
		return s.explainCommit(err)
	}
	return nil
}

// abandon rolls back unless the transaction has ended. If the database can't
// even do that, the driver drops the connection, which comes to the same.
func (t *tx) abandon() {
	if t.done.CompareAndSwap(false, true) {
		_ = t.Rollback()
	}
}

// begin waits for its turn and starts a transaction. The caller takes the value
// from s.writing when it is over.
func (s *Store) begin(ctx context.Context) (*tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-s.closing:
		return nil, s.explain(ctx, sql.ErrConnDone)
	default:
	}
	select {
	case s.writing <- struct{}{}:
	case <-s.closing:
		return nil, s.explain(ctx, sql.ErrConnDone)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, busy(nil)
	}
	// The transaction does not end with ctx: Do decides, so that a commit is
	// never cut in the middle. Statements in it still do.
	raw, err := s.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		<-s.writing
		return nil, s.explain(ctx, err)
	}
	t := &tx{Tx: raw}
	if err := s.backend.begun(ctx, raw); err != nil {
		t.abandon()
		<-s.writing
		return nil, s.explain(ctx, err)
	}
	return t, nil
}

// nested runs fn in a savepoint of t.
func (s *Store) nested(ctx context.Context, t *tx, fn func(ctx context.Context) error) error {
	if _, err := t.ExecContext(ctx, "SAVEPOINT nested"); err != nil {
		return s.explain(ctx, err)
	}
	kept := false
	defer func() {
		if kept {
			return
		}
		// Also after ctx has ended, or the outer Do could commit what fn began.
		undo := context.WithoutCancel(ctx)
		for _, statement := range []string{"ROLLBACK TO SAVEPOINT nested", "RELEASE SAVEPOINT nested"} {
			if _, err := t.ExecContext(undo, statement); err != nil && t.broken == nil {
				t.broken = s.explain(undo, err)
			}
		}
	}()
	inner, hooks := txn.WithHooks(ctx)
	if err := fn(inner); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "RELEASE SAVEPOINT nested"); err != nil {
		return s.explain(ctx, err)
	}
	kept = true
	txn.AfterCommit(ctx, hooks.Run)
	return nil
}

// busy is the fault for a database that is taken up for too long.
func busy(cause error) error {
	return fault.New(fault.Unavailable, "store.busy", "The change could not be stored").
		Because("the database is busy with other changes").
		Do("Try again in a moment.").Wrap(cause)
}
