// Package store keeps everything the portal must not lose, in SQLite on this
// machine or in PostgreSQL.
//
// There is one implementation of every Store interface of the domain, written
// on bun, and both databases pass the same conformance suite (storetest). The
// connections and transactions are in the package database; what belongs to
// watching agents is kept by the package observe.
//
// Writes happen one after the other, on both databases: whatever runs in a Do
// sees everything that was committed before and nothing that is committed
// meanwhile. Reads outside of a Do run beside them.
package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/preference"
	"github.com/waooaw/platform-portal/internal/store/database"
	"github.com/waooaw/platform-portal/internal/store/observe"
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
	*database.DB
	watch *watch
	specs specs
}

//go:embed migrations/*.sql
var migrations embed.FS

// Open opens the database, makes it if it is new and brings it up to this
// version. It returns faults: Unavailable if the database does not answer, is
// damaged or cannot be written, Conflict if a newer portal made it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	db, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s := &Store{DB: db}
	s.watch = newWatch(s)
	return s, nil
}

// connect opens the connections without looking at the schema.
func connect(ctx context.Context, cfg Config) (*database.DB, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return database.Connect(ctx, database.Config{Path: cfg.Path, URL: cfg.URL, Now: cfg.Now, Log: cfg.Log, Migrations: files})
}

// Close waits for the transaction in progress and closes the database. A
// second Close returns nil.
func (s *Store) Close() error {
	s.watch.close()
	return s.DB.Close()
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var seq int64
	err := s.Handle(ctx).NewRaw("SELECT seq FROM event_head WHERE id = 1").Scan(ctx, &seq)
	return s.Explain(ctx, err)
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
func (s *Store) Health() health.Store { return observe.Results(s.DB) }

// Alerts keeps alerts, their rules and what is told about them.
func (s *Store) Alerts() alert.Stores { return observe.Alerts(s.DB) }

// Webhooks keeps who outside is told what happened.
func (s *Store) Webhooks() observe.Webhooks { return observe.Webhooks{DB: s.DB} }

// Incidents keeps what went wrong with agents.
func (s *Store) Incidents() *observe.Incidents { return observe.IncidentsOf(s.DB) }

// Preferences keeps what people like.
func (s *Store) Preferences() preference.Store { return preferences{s} }

// Events keeps the stream of events.
func (s *Store) Events() event.Log { return events{s} }

// Diagnoses keeps what was found by looking at the portal and at agents.
func (s *Store) Diagnoses() observe.DiagnosisStore { return observe.Diagnoses(s.DB) }
