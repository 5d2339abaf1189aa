package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/waooaw/platform-portal/internal/fault"
)

// trouble is what an error of either driver means.
type trouble int

const (
	unknown trouble = iota
	taken           // a unique value is taken
	orphan          // what is referred to is not there
	blocked         // somebody else holds the database for too long
	full            // no space, or the disk fails
	gone            // the database does not answer
	damaged         // the data is not what was written
	sealed          // no permission to write
)

// Explain turns an error of the database into a fault. Faults, and the error of
// a context that has ended, stay as they are.
func (d *DB) Explain(ctx context.Context, err error) error {
	if err == nil || fault.As(err) != nil {
		return err
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	switch classify(err) {
	case taken:
		return fault.New(fault.Conflict, "store.taken", "It exists already").Wrap(err)
	case orphan:
		return fault.New(fault.NotFound, "store.orphan", "What it belongs to does not exist").Wrap(err)
	case blocked:
		return busy(err)
	case full:
		return fault.New(fault.Unavailable, "store.disk_full", "The change could not be stored").
			Because("the disk of the database is full or fails").
			Do("Free space or repair the disk, then try again; nothing that was stored before is lost.").Wrap(err)
	case gone:
		return fault.New(fault.Unavailable, "store.unreachable", "The database does not answer").
			Because("the connection to it failed").
			Do("See that the database runs and can be reached, then try again.").Wrap(err)
	case damaged:
		return corrupt("").Wrap(err)
	case sealed:
		return fault.New(fault.Unavailable, "store.read_only", "The change could not be stored").
			Because("the portal may not write to its database").
			Do("Give the portal's user permission to write there.").Wrap(err)
	default:
		return fault.New(fault.Internal, "store.failed", "The database refused what the portal asked of it").
			Do("This is a fault of the portal; its log has the details.").Wrap(err)
	}
}

// explainCommit is explain for a failed commit. If the connection broke while
// the answer was awaited, nobody knows whether the change was stored.
func (d *DB) explainCommit(err error) error {
	if d.backend.remote() && classify(err) == gone {
		return fault.New(fault.Unavailable, "store.commit_unknown", "It is not certain that the change was stored").
			Because("the connection to the database broke before it answered").
			Do("Look whether the change is there before making it again.").Wrap(err)
	}
	return d.Explain(context.Background(), err)
}

func corrupt(path string) *fault.Error {
	f := fault.New(fault.Unavailable, "store.corrupt", "The database is damaged")
	if path != "" {
		f = fault.New(fault.Unavailable, "store.corrupt", "The database %s is damaged", path)
	}
	return f.Do("Nothing was changed in it. Keep a copy, then restore a backup in its place or repair it with the sqlite3 program's .recover command.")
}

// IsOrphan tells whether what was to be stored refers to what is not there.
func IsOrphan(err error) bool { return err != nil && classify(err) == orphan }

// IsTaken tells whether a value that must be unique is there already.
func IsTaken(err error) bool { return err != nil && classify(err) == taken }

// classify says what an error of either driver means.
func classify(err error) trouble {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return classifySQLite(e.Code())
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classifyPostgres(e.Code)
	}
	_, refused := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	switch {
	case refused, network, pgconn.SafeToRetry(err), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		strings.Contains(err.Error(), "conn closed"), strings.Contains(err.Error(), "database is closed"):
		return gone
	}
	return unknown
}

func classifySQLite(code int) trouble {
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return taken
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return orphan
	}
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return blocked
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
		return full
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return damaged
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return sealed
	case sqlite3.SQLITE_CANTOPEN:
		return gone
	}
	return unknown
}

// classifyPostgres goes by the SQLSTATE; see appendix A of PostgreSQL's manual.
func classifyPostgres(code string) trouble {
	switch code {
	case "23505":
		return taken
	case "23503":
		return orphan
	case "40001", "40P01", "55P03", "57014", "53300":
		return blocked
	case "53100", "58030":
		return full
	case "25006", "42501":
		return sealed
	case "XX001", "XX002":
		return damaged
	}
	if strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") {
		return gone
	}
	return unknown
}

// NoAgent is the fault for an agent that is not there.
func NoAgent(id string) error {
	return fault.New(fault.NotFound, "agent.not_found", "There is no agent %q", Clean(id)).
		Do("List the agents to see their ids.")
}

// OfAgent says which agent is missing where the database says that something is.
func OfAgent(id string, err error) error {
	if IsOrphan(err) {
		return NoAgent(id)
	}
	return err
}
