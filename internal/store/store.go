// Package store keeps everything the portal must not lose, in SQLite on this
// machine or in PostgreSQL.
//
// There is one implementation of every Store interface of the domain, written
// on bun, and both databases pass the same conformance suite (storetest). What
// differs between them is behind backend, in sqlite.go and postgres.go.
//
// Writes happen one after the other, on both databases: whatever runs in a Do
// sees everything that was committed before and nothing that is committed
// meanwhile. Reads outside of a Do run beside them.
package store

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/preference"
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
}

// Store is the open database. It is safe for concurrent use.
type Store struct {
	now     func() time.Time
	log     *slog.Logger
	backend backend
	write   *bun.DB       // one connection
	read    *bun.DB       // several, which cannot write
	writing chan struct{} // holds one value while a transaction runs
	closing chan struct{} // closed by Close
	watch   *watch

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

// Open opens the database, makes it if it is new and brings it up to this
// version. It returns faults: Unavailable if the database does not answer, is
// damaged or cannot be written, Conflict if a newer portal made it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.closePools())
	}
	s.watch = newWatch(s)
	return s, nil
}

// connect opens the pools without looking at the schema.
func connect(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{now: cfg.Now, log: cfg.Log, writing: make(chan struct{}, 1), closing: make(chan struct{})}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.URL != "" {
		return s, s.openPostgres(ctx, cfg.URL)
	}
	return s, s.openSQLite(ctx, cfg.Path)
}

// Close waits for the transaction in progress and closes the database. A
// second Close returns nil.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.closing)
	s.watch.close()
	s.writing <- struct{}{} // never taken back: nothing is written after this
	return s.closePools()
}

func (s *Store) closePools() error { return errors.Join(s.read.Close(), s.write.Close()) }

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var seq int64
	err := s.read.NewRaw("SELECT seq FROM event_head WHERE id = 1").Scan(ctx, &seq)
	return s.explain(ctx, err)
}

// Agents keeps agents.
func (s *Store) Agents() agent.Store { return agents{s} }

// Facets counts what filters of agents select.
func (s *Store) Facets() agent.Faceter { return agents{s} }

// History keeps revisions and transitions of agents.
func (s *Store) History() agent.History { return history{s} }

// Operations keeps operations.
func (s *Store) Operations() operation.Store { return operations{s} }

// Bulks keeps bulk operations.
func (s *Store) Bulks() bulk.Store { return bulks{s} }

// Audit keeps the audit log.
func (s *Store) Audit() audit.Store { return auditLog{s} }

// Tokens keeps API tokens.
func (s *Store) Tokens() auth.TokenStore { return tokens{s} }

// Credentials keeps the credentials of agents.
func (s *Store) Credentials() auth.CredentialStore { return credentials{s} }

// Links keeps sign-in links.
func (s *Store) Links() auth.LinkStore { return links{s} }

// Users keeps users.
func (s *Store) Users() auth.UserStore { return users{s} }

// Sessions keeps sessions.
func (s *Store) Sessions() auth.SessionStore { return sessions{s} }

// Passkeys keeps passkeys.
func (s *Store) Passkeys() auth.PasskeyStore { return passkeys{s} }

// Flows keeps what is remembered while somebody signs in.
func (s *Store) Flows() auth.FlowStore { return flows{s} }

// Attempts keeps how often sign-ins failed.
func (s *Store) Attempts() auth.AttemptStore { return attempts{s} }

// Idempotency keeps the answers to repeated requests.
func (s *Store) Idempotency() auth.IdempotencyStore { return replays{s} }

// Instances keeps observed instances and ports.
func (s *Store) Instances() fleet.InstanceStore { return instances{s} }

// Health keeps probe results.
func (s *Store) Health() health.Store { return results{s} }

// Preferences keeps what people like.
func (s *Store) Preferences() preference.Store { return preferences{s} }

// Events keeps the stream of events.
func (s *Store) Events() event.Log { return events{s} }
