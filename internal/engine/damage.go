package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// checkTime bounds the look at an existing file, so that a large one does not
// delay the start.
const checkTime = 100 * time.Millisecond

// setAside moves a damaged file out of the way. The file only saves work: the
// operations themselves are in the portal's database, so a new file loses
// none, and a portal that did not start because of this one would lose more.
// The old file is kept, for whoever wants to know what happened to it.
func (e *Engine) setAside() error {
	if _, err := os.Stat(e.cfg.Path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	why := damage(e.cfg.Path)
	if why == "" {
		return nil
	}
	aside := e.cfg.Path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000000")
	// The log first: beside a new file, an old log would be taken for its own.
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		if err := os.Rename(e.cfg.Path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set the damaged file aside: %w", err)
		}
	}
	e.log.Warn("the engine's file was damaged and is made anew; operations that had begun run their unfinished steps again",
		"file", e.cfg.Path, "kept_as", aside, "why", why)
	return nil
}

// damage says what is wrong with the pages of a database file; "" is nothing,
// or nothing that this can tell.
func damage(path string) string {
	db, err := sql.Open("sqlite", source(path))
	if err != nil {
		return ""
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	var verdict string
	err = db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
	if err == nil && verdict != "ok" {
		return verdict
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB) {
		return e.Error()
	}
	return ""
}
