package procfs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Signal sends sig to this very process. It gives false if it is gone.
func (id ID) Signal(sig syscall.Signal) bool {
	if id.PID <= 1 {
		return false
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.3: a small window remains
		return id.Alive() && syscall.Kill(id.PID, sig) == nil
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// Whoever holds the pid now is pinned by the descriptor.
	if s, err := Read(id.PID); err != nil || s.Start != id.Start {
		return false
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// Wait returns once the process has ended (true; a zombie counts as ended) or
// the context has (false).
func (id ID) Wait(ctx context.Context) bool {
	step := time.Millisecond
	for id.Alive() {
		t := time.NewTimer(step)
		select {
		case <-t.C:
			step = min(2*step, 20*time.Millisecond)
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
	return true
}
