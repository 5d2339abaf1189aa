package logdb

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/logs"
)

const cursorFile = "cursors.json"

// cursors is the file that says how far the agents' output was read. It names the
// store that has it: another store is filled from the beginning.
type cursors struct {
	Store   string            `json:"store"`
	Cursors map[string]string `json:"cursors"`
}

var _ logs.Cursors = (*DB)(nil)

func (db *DB) cursorPath() string { return filepath.Join(db.cfg.Dir, cursorFile) }

// Load implements logs.Cursors. Without a file that can be read, everything is
// read again; what the store has already is left out then.
func (db *DB) Load(context.Context) (map[string]string, error) {
	b, err := os.ReadFile(db.cursorPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unusable(db.cfg.Dir, err)
	}
	var c cursors
	if err := json.Unmarshal(b, &c); err != nil || c.Store != db.cfg.URL {
		db.cfg.Log.Warn("the agents' output is read from its beginning: the record of what was read is damaged or of another store")
		return nil, nil //nolint:nilerr // what was read twice is stored once
	}
	return c.Cursors, nil
}

// Save implements logs.Cursors.
func (db *DB) Save(_ context.Context, list map[string]string) error {
	b, err := json.Marshal(cursors{Store: db.cfg.URL, Cursors: list})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(db.cfg.Dir, 0o700); err != nil {
		return unusable(db.cfg.Dir, err)
	}
	if err := replace(db.cursorPath(), b); err != nil {
		return unusable(db.cfg.Dir, err)
	}
	return nil
}

// replace writes a file so that either the old or the new one is there.
func replace(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
