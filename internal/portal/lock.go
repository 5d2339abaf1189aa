package portal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fault"
)

// lockData makes the data directory (0700) and takes its lock, so that two
// portals can't work on it at once. The lock ends with the process.
func lockData(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.Unavailable, "data.unusable", "The data directory %s can't be made", dir).
			Because("%s", reasonOf(err)).Do("Choose another with --data, or correct its permissions.").Wrap(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "data.unusable", "The data directory %s can't be written", dir).
			Because("%s", reasonOf(err)).Do("Choose another with --data, or correct its permissions.").Wrap(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data directory: %w", err)
		}
		who := "another portal"
		if pid := strings.TrimSpace(string(holder[:n])); pid != "" {
			who = "another portal (pid " + pid + ")"
		}
		return nil, fault.New(fault.Conflict, "data.locked", "The data directory %s is in use", dir).
			Because("%s works on it", who).Do("Stop that portal first, or give this one its own directory with --data.")
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return f, nil
}

// locked tells whether a portal works on the directory; it changes nothing.
func locked(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// reasonOf gives the operating system's own word for what went wrong.
func reasonOf(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
