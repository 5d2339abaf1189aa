package portal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

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
	if err := takeLock(f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return f, nil
}

// A portal that was killed in the middle of making a process leaves its lock to
// the half-made child until that becomes another program. releaseTime is how
// long to wait for it.
const (
	releaseTime  = 5 * time.Second
	releaseEvery = 5 * time.Millisecond
)

// takeLock locks the file. It is a Conflict if the portal that holds the lock lives.
func takeLock(f *os.File, dir string) error {
	again := time.NewTicker(releaseEvery)
	defer again.Stop()
	for end := time.Now().Add(releaseTime); ; <-again.C {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock data directory: %w", err)
		}
		text := make([]byte, 32)
		n, _ := f.ReadAt(text, 0)
		pid := strings.TrimSpace(string(text[:n]))
		if living(pid) || time.Now().After(end) {
			return fault.New(fault.Conflict, "data.locked", "The data directory %s is in use", dir).
				Because("another portal (pid %s) works on it", pid).
				Do("Stop that portal first, or give this one its own directory with --data.")
		}
	}
}

// living tells whether the process exists and has not ended. A pid that cannot
// be read counts as living.
func living(pid string) bool {
	if _, err := strconv.Atoi(pid); err != nil {
		return true
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return !os.IsNotExist(err)
	}
	_, state, ok := strings.Cut(string(stat), ") ")
	return !ok || !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
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
