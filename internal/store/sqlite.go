package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	// readers is the number of connections that read beside the one that writes.
	readers = 6
	// pollTime is how often the stream is looked at for events of other processes.
	pollTime = time.Second
)

// sqliteBackend is the database in one file of this machine.
type sqliteBackend struct{ s *Store }

// openSQLite opens the file, and makes it if it is not there.
func (s *Store) openSQLite(ctx context.Context, path string) error {
	if path == "" {
		return fault.New(fault.Invalid, "store.no_path", "No database is configured").
			Do("Give the path of a database file or the address of a PostgreSQL database.")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return unusable(path, err)
	}
	if err := makeFile(path); err != nil {
		return err
	}
	if err := checkFile(ctx, path); err != nil {
		return err
	}
	// An insert must be on the disk when it is reported done: synchronous=FULL.
	const always = "_busy_timeout=5000&_foreign_keys=1&_synchronous=FULL&_pragma=temp_store(MEMORY)&mode=rw"
	write, err := openFile(path, always+"&_journal_mode=WAL&_pragma=journal_size_limit(67108864)&_txlock=immediate", 1)
	if err != nil {
		return err
	}
	read, err := openFile(path, always+"&_query_only=1", readers)
	if err != nil {
		return errors.Join(err, write.Close())
	}
	s.backend = sqliteBackend{s}
	s.write = bun.NewDB(write, sqliteText{sqlitedialect.New()})
	s.read = bun.NewDB(read, sqliteText{sqlitedialect.New()})
	if err := s.write.PingContext(ctx); err != nil {
		return errors.Join(s.explain(ctx, err), s.closePools())
	}
	return nil
}

func openFile(path, options string, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+uriPath(path)+"?"+options)
	if err != nil {
		return nil, unusable(path, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// uriPath escapes what has a meaning in an SQLite URI.
func uriPath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

func unusable(path string, err error) error {
	return fault.New(fault.Unavailable, "store.unusable", "The database %s can't be opened", path).
		Because("%s", reason(err)).
		Do("Give the portal's user a directory that it may read and write.").Wrap(err)
}

// reason gives the part of a file system's error that says why.
func reason(err error) string {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// makeFile makes the file for its owner alone, if it is not there. SQLite gives
// the files that it puts beside it the same permissions.
func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return unusable(path, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return unusable(path, err)
	}
	defer file.Close()
	if err := file.Chmod(0o600); err != nil && !errors.Is(err, os.ErrPermission) {
		return unusable(path, err)
	}
	return nil
}

func (sqliteBackend) words() map[string]string {
	return map[string]string{
		"key":      "TEXT",
		"uuid":     "TEXT",
		"json":     "TEXT",
		"blob":     "BLOB",
		"seq":      "INTEGER NOT NULL PRIMARY KEY",
		"identity": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
	}
}

func (sqliteBackend) goose() goose.Dialect { return goose.DialectSQLite3 }

func (sqliteBackend) migration() ([]goose.ProviderOption, error) { return nil, nil }

// begun has nothing to do: BEGIN IMMEDIATE holds the file against all writers.
func (sqliteBackend) begun(context.Context, bun.IDB) error { return nil }

func (sqliteBackend) find() bun.Safe { return "instr" }

func (sqliteBackend) remote() bool { return false }

// announce has nothing to do: the others look for themselves, see listen.
func (sqliteBackend) announce(context.Context, bun.IDB, int64) error { return nil }

// listen looks for the events of other processes on a timer.
func (b sqliteBackend) listen(ctx context.Context, heard func()) {
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			heard()
		}
	}
}
