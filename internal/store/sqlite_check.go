package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// checkTime bounds the check of an existing file, so that a large database
// does not delay the start; what it did not come to is found when it is read.
const checkTime = 100 * time.Millisecond

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
		return unusable(path, err)
	}
	twin := filepath.Join(dir, "copy")
	err := errors.Join(copyFile(twin, path), copyFile(twin+"-journal", path+"-journal"))
	if err != nil {
		err = unusable(path, err)
	} else {
		err = inspect(ctx, twin, "mode=rw", path)
	}
	if left := os.RemoveAll(dir); left != nil && err == nil {
		return unusable(path, left)
	}
	return err
}

// inspect looks into a database file, which errors call by the given name.
func inspect(ctx context.Context, path, mode, name string) error {
	db, err := openFile(path, mode+"&_busy_timeout=5000", 1)
	if err != nil {
		return err
	}
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
		return unusable(name, err)
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
	return unusable(name, looked)
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
