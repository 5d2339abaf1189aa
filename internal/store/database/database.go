// Package database is what every store stands on: the connections to SQLite or
// PostgreSQL, transactions, migrations, and how values are kept in both.
//
// What differs between the two databases is behind backend, in sqlite.go and
// postgres.go. A store reads on Handle and writes in Change, so that what it
// does joins the transaction in the context, and gives errors through Explain.
package database

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
)

// Config says where the data is.
type Config struct {
	// Path is the file of the SQLite database; it and its directory are made if
	// they are not there.
	Path string
	// URL is the address of a PostgreSQL database, "postgres://…"; it wins over Path.
	URL string
	// Now gives the time for what comes without one; time.Now if nil.
	Now func() time.Time
	// Log hears of trouble that no caller can be told of; discarded if nil.
	Log *slog.Logger
	// Migrations are the files that make the schema, in the words of both databases.
	Migrations fs.FS
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	now        func() time.Time
	log        *slog.Logger
	migrations fs.FS
	backend    backend
	write      *bun.DB       // one connection
	read       *bun.DB       // several, which cannot write
	writing    chan struct{} // holds one value while a transaction runs
	closing    chan struct{} // closed by Close

	exclusive atomic.Bool // Lock was called
	closed    atomic.Bool
}

// backend is what the two databases do differently.
type backend interface {
	// words are the column types that migrations name in double braces.
	words() map[string]string
	// goose is the dialect of migrations, and migration what else they need.
	goose() goose.Dialect
	migration() ([]goose.ProviderOption, error)
	// begun is called when a transaction has begun.
	begun(ctx context.Context, db bun.IDB) error
	// find names the function that gives the place of a text in another.
	find() bun.Safe
	// remote tells whether the database is reached over a connection that may break.
	remote() bool
	// announce tells other processes, once the transaction is committed, that
	// the stream of events has grown.
	announce(ctx context.Context, db bun.IDB, seq int64) error
	// listen calls heard for what other processes may have announced, until ctx ends.
	listen(ctx context.Context, heard func())
}

// Connect opens the pools without looking at the schema; see Migrate.
func Connect(ctx context.Context, cfg Config) (*DB, error) {
	d := &DB{now: cfg.Now, log: cfg.Log, migrations: cfg.Migrations, writing: make(chan struct{}, 1), closing: make(chan struct{})}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if cfg.URL != "" {
		return d, d.openPostgres(ctx, cfg.URL)
	}
	return d, d.openSQLite(ctx, cfg.Path)
}

// Close waits for the transaction in progress and closes the database. A
// second Close returns nil.
func (d *DB) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	close(d.closing)
	d.writing <- struct{}{} // never taken back: nothing is written after this
	return d.closePools()
}

func (d *DB) closePools() error { return errors.Join(d.read.Close(), d.write.Close()) }

// Now is the time for what comes without one.
func (d *DB) Now() time.Time { return d.now() }

// Log hears of trouble that no caller can be told of.
func (d *DB) Log() *slog.Logger { return d.log }

// Pools gives the connections as they are: the one that writes, and those that
// read. Stores use Handle and Change instead.
func (d *DB) Pools() (write, read *bun.DB) { return d.write, d.read }

// Find names the function of the database that gives the place of a text in another.
func (d *DB) Find() bun.Safe { return d.backend.find() }

// Announce tells other processes, once the transaction is committed, that the
// stream of events has grown.
func (d *DB) Announce(ctx context.Context, db bun.IDB, seq int64) error {
	return d.backend.announce(ctx, db, seq)
}

// Listen calls heard for what other processes may have announced, until ctx ends.
func (d *DB) Listen(ctx context.Context, heard func()) { d.backend.listen(ctx, heard) }

// ServerTime gives the time of the database's server; false where that is this
// machine.
func (d *DB) ServerTime(ctx context.Context) (time.Time, bool, error) {
	if !d.backend.remote() {
		return time.Time{}, false, nil
	}
	var us int64
	err := d.Handle(ctx).NewRaw("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)").Scan(ctx, &us)
	return Moment(us), true, d.Explain(ctx, err)
}
