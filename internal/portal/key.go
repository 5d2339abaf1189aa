package portal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/fault"
)

// keySize is the length of the master key in bytes.
const keySize = 32

// keyFile is the file of the master key in the data directory.
const keyFile = "master.key"

// masterKey reads the key from which the agents' credentials are derived, and
// makes it at the first start. A key of the wrong length is refused and kept.
func masterKey(dir string, log *slog.Logger) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	key, err := os.ReadFile(path)
	if err == nil {
		if len(key) != keySize {
			return nil, fault.New(fault.Unavailable, "data.key_damaged", "The master key %s can't be used", path).
				Because("it has %d bytes instead of %d", len(key), keySize).
				Do("Put the file back from a backup. If there is none, remove it and restart the agents: they get new credentials.")
		}
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.Unavailable, "data.key_unreadable", "The master key %s can't be read", path).
			Because("%s", reasonOf(err)).Do("Correct its permissions.").Wrap(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "portal.db")); err == nil {
		log.Warn("the master key is gone and a new one was made: agents that run can't reach their queues until they are restarted", "file", path)
	}
	key = make([]byte, keySize)
	_, _ = rand.Read(key)
	if err := writeWhole(path, key); err != nil {
		return nil, fault.New(fault.Unavailable, "data.unusable", "The master key %s can't be written", path).
			Because("%s", reasonOf(err)).Do("Free disk space or correct the directory's permissions.").Wrap(err)
	}
	return key, nil
}

// writeWhole writes a file that is there whole or not at all, also after a crash.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
