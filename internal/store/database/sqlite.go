package database

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	// readers is the number of connections that read beside the one that writes.
	readers = 6
	// checkTime bounds the check of an existing file, so that a large database
	// does not delay the start; what it did not come to is found when it is read.
	checkTime = 100 * time.Millisecond
	// pollTime is how often the stream is looked at for events of other processes.
	pollTime = time.Second
)

// sqliteBackend is the database in one file of this machine.
type sqliteBackend struct{ d *DB }

// sqliteText drops NUL from texts. The dialects of bun refuse a text with one.
// It means nothing to the portal, but programs print it, so it is dropped in
// the one place that every text passes.
type sqliteText struct{ *sqlitedialect.Dialect }

func (d sqliteText) AppendString(b []byte, s string) []byte {
	return d.Dialect.AppendString(b, strings.ReplaceAll(s, "\x00", ""))
}

// openSQLite opens the file, and makes it if it is not there.
func (d *DB) openSQLite(ctx context.Context, path string) error {
	if path == "" {
		return fault.New(fault.Invalid, "store.no_path", "No database is configured").
			Do("Give the path of a database file or the address of a PostgreSQL database.")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Unusable(path, err)
	}
	if err := makeFile(path); err != nil {
		return err
	}
	if err := checkFile(ctx, path); err != nil {
		return err
	}
	// An insert must be on the disk when it is reported done: synchronous=FULL.
	const always = "_busy_timeout=5000&_foreign_keys=1&_synchronous=FULL&_pragma=temp_store(MEMORY)&mode=rw"
	write := openFile(path, always+"&_journal_mode=WAL&_pragma=journal_size_limit(67108864)&_txlock=immediate", 1)
	read := openFile(path, always+"&_query_only=1", readers)
	d.backend = sqliteBackend{d}
	d.write = bun.NewDB(write, sqliteText{sqlitedialect.New()})
	d.read = bun.NewDB(read, sqliteText{sqlitedialect.New()})
	if err := d.write.PingContext(ctx); err != nil {
		return errors.Join(d.Explain(ctx, err), d.closePools())
	}
	return nil
}

func openFile(path, options string, connections int) *sql.DB {
	db := sql.OpenDB(&connector{name: "file:" + uriPath(path) + "?" + options})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// uriPath escapes what has a meaning in an SQLite URI.
func uriPath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// Unusable says why a database file can't be opened.
func Unusable(path string, err error) error {
	if classify(err) == full {
		return fault.New(fault.Unavailable, "store.disk_full", "The database %s can't be opened", path).
			Because("its disk is full or fails (%s)", reason(err)).
			Do("Free space or repair the disk, then start again; nothing that was stored is lost.").Wrap(err)
	}
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
		return Unusable(path, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return Unusable(path, err)
	}
	defer file.Close()
	if err := file.Chmod(0o600); err != nil && !errors.Is(err, os.ErrPermission) {
		return Unusable(path, err)
	}
	return nil
}

// checkFile refuses a file that is no database or a damaged one, without
// changing it: it looks through a connection that cannot write.
//
// If whoever wrote last was killed in the middle of it before the database had
// its write-ahead log, there is a journal beside the file, and nobody can read
// what is in there before that write is undone. What comes out then is tried on
// a copy, so that a file which does not become whole by it is not changed either.
func checkFile(ctx context.Context, path string) error {
	err := inspect(ctx, path, "mode=ro&_query_only=1", path)
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqlite3.SQLITE_READONLY_ROLLBACK {
		return checkUndone(ctx, path)
	}
	return err
}

// checkUndone is checkFile for a file with a write in it that is to be undone.
// SQLite undoes it in the file itself when that is opened to be written.
func checkUndone(ctx context.Context, path string) error {
	// Beside the file, for there the portal may write, and under a name that the
	// next start finds if this one does not come to remove it.
	dir := path + "-check"
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return Unusable(path, err)
	}
	twin := filepath.Join(dir, "copy")
	err := errors.Join(copyFile(twin, path), copyFile(twin+"-journal", path+"-journal"))
	if err != nil {
		err = Unusable(path, err)
	} else {
		err = inspect(ctx, twin, "mode=rw", path)
	}
	if left := os.RemoveAll(dir); left != nil && err == nil {
		return Unusable(path, left)
	}
	return err
}

// inspect looks into a database file, which errors call by the given name.
func inspect(ctx context.Context, path, mode, name string) error {
	db := openFile(path, mode+"&_busy_timeout=5000", 1)
	defer db.Close()
	// The first read undoes or recovers what was interrupted, which takes its time.
	_, looked := db.ExecContext(ctx, "PRAGMA schema_version")
	limited, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var verdict string
	if looked == nil {
		looked = db.QueryRowContext(limited, "PRAGMA quick_check(1)").Scan(&verdict)
	}
	if e, ok := errors.AsType[*sqlite.Error](looked); ok && e.Code() == sqlite3.SQLITE_READONLY_ROLLBACK {
		return looked
	}
	// SQLite takes a file of a few bytes for an empty database.
	size, head, err := header(path)
	switch {
	case err != nil:
		return Unusable(name, err)
	case size == 0:
		return nil // new
	case !bytes.Equal(head, []byte("SQLite format 3\x00")):
		return corrupt(name).Because("it does not begin as an SQLite database does")
	case looked == nil && verdict == "ok":
		return nil
	case looked == nil:
		return corrupt(name).Because("its pages do not fit together: %s", verdict)
	case classify(looked) == damaged:
		return corrupt(name).Because("its pages do not fit together").Wrap(looked)
	case limited.Err() != nil:
		return ctx.Err() // nil: what there was time for is in order
	}
	return Unusable(name, looked)
}

func header(path string) (size int64, head []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, nil, err
	}
	head = make([]byte, 16)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil, err
	}
	return info.Size(), head[:n], nil
}

func copyFile(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
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
