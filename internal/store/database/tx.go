package database

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
type txKey struct{ d *DB }

// tx is a running transaction.
type tx struct {
	bun.Tx
	done   atomic.Bool // committed or rolled back: the context is of no use any more
	broken error       // why it cannot be committed
}

// joined gives the transaction in ctx, or nil. A context that outlived its
// transaction counts as one without.
func (d *DB) joined(ctx context.Context) *tx {
	if t, ok := ctx.Value(txKey{d}).(*tx); ok && !t.done.Load() {
		return t
	}
	return nil
}

// Handle gives what a read is to run on: the transaction in ctx, or the read pool.
func (d *DB) Handle(ctx context.Context) bun.IDB {
	if t := d.joined(ctx); t != nil {
		return t.Tx
	}
	return d.read
}

// Change runs one write of a store method in the transaction in ctx, or in one
// of its own, and turns the errors of the database into faults.
func (d *DB) Change(ctx context.Context, fn func(ctx context.Context, db bun.IDB) error) error {
	if t := d.joined(ctx); t != nil {
		return d.Explain(ctx, fn(ctx, t.Tx))
	}
	return d.Do(ctx, func(ctx context.Context) error {
		return d.Explain(ctx, fn(ctx, d.joined(ctx).Tx))
	})
}

// Do runs fn in a transaction and commits if fn returns nil; see txn.Runner.
// Transactions run one after the other. A Do inside a Do is a savepoint: if it
// fails and the outer one goes on all the same, nothing of it is kept.
//
// Once ctx ends, nothing is committed any more; a commit that has begun is
// seen through, so that its outcome is reported as it is.
func (d *DB) Do(ctx context.Context, fn func(ctx context.Context) error) error {
	if t := d.joined(ctx); t != nil {
		return d.nested(ctx, t, fn)
	}
	t, err := d.begin(ctx)
	if err != nil {
		return err
	}
	inner, hooks := txn.WithHooks(context.WithValue(ctx, txKey{d}, t))
	if err := d.run(inner, t, fn); err != nil {
		return err
	}
	// Only now, for a hook may write itself.
	hooks.Run()
	return nil
}

// run runs fn in t and ends it: by a commit, or else by a rollback.
func (d *DB) run(ctx context.Context, t *tx, fn func(ctx context.Context) error) error {
	defer func() { <-d.writing }()
	defer t.abandon() // does nothing after a commit
	if err := fn(ctx); err != nil {
		return err
	}
	if err := errors.Join(ctx.Err(), t.broken); err != nil {
		return err
	}
	t.done.Store(true)
	if err := t.Commit(); err != nil {
		return d.explainCommit(err)
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
func (d *DB) begin(ctx context.Context) (*tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-d.closing:
		return nil, d.Explain(ctx, sql.ErrConnDone)
	default:
	}
	select {
	case d.writing <- struct{}{}:
	case <-d.closing:
		return nil, d.Explain(ctx, sql.ErrConnDone)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, busy(nil)
	}
	// The transaction does not end with ctx: Do decides, so that a commit is
	// never cut in the middle. Statements in it still do.
	raw, err := d.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		<-d.writing
		return nil, d.Explain(ctx, err)
	}
	t := &tx{Tx: raw}
	if err := d.backend.begun(ctx, raw); err != nil {
		t.abandon()
		<-d.writing
		return nil, d.Explain(ctx, err)
	}
	return t, nil
}

// nested runs fn in a savepoint of t.
func (d *DB) nested(ctx context.Context, t *tx, fn func(ctx context.Context) error) error {
	if _, err := t.ExecContext(ctx, "SAVEPOINT nested"); err != nil {
		return d.Explain(ctx, err)
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
				t.broken = d.Explain(undo, err)
			}
		}
	}()
	inner, hooks := txn.WithHooks(ctx)
	if err := fn(inner); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "RELEASE SAVEPOINT nested"); err != nil {
		return d.Explain(ctx, err)
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

// Batches removes rows a batch at a time until none is left, and counts them.
func (d *DB) Batches(ctx context.Context, remove func(ctx context.Context, db bun.IDB) (int64, error)) (int, error) {
	removed := 0
	for {
		var n int64
		err := d.Change(ctx, func(ctx context.Context, db bun.IDB) (err error) {
			n, err = remove(ctx, db)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += int(n)
		if n < PruneBatch {
			return removed, nil
		}
	}
}
