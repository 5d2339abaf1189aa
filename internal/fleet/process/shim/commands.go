package shim

import (
	"context"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// stop ends the instance: SIGTERM, grace, SIGKILL. Whoever asks again while it
// ends can only shorten the grace.
func (s *supervisor) stop(grace time.Duration, reply chan error) {
	if reply != nil {
		s.stops = append(s.stops, reply)
	}
	ends := time.Now().Add(max(grace, 0))
	first := s.rec.Instance.State != fleet.InstanceStopping
	if !first && !ends.Before(s.stopEnds) {
		return
	}
	s.stopEnds = ends
	if first {
		s.refuseRestart("the instance is being stopped")
		s.stopTimer()
		s.set(fleet.InstanceStopping, "told to end")
		if s.pid != 0 && grace > 0 {
			_ = syscall.Kill(-s.pid, syscall.SIGTERM)
			_ = syscall.Kill(s.pid, syscall.SIGTERM) // also if it left its group
			s.unfreeze()
		}
	}
	if s.pid == 0 && first || grace <= 0 {
		s.stopTimer()
		s.settle()
		return
	}
	s.after(time.Until(ends), func() {
		s.logs.Note("did not end within its grace; it is killed")
		s.settle()
	})
}

// restart kills the whole tree and starts anew; it counts towards the limit.
func (s *supervisor) restart(reason string, reply chan error) {
	if s.rec.Instance.State == fleet.InstanceStopping {
		reply <- fault.New(fault.Conflict, "instance.stopping", "%s was not restarted", s.cfg.Launch.InstanceID).
			Because("it is being stopped")
		return
	}
	if s.again != nil {
		s.again.reply = append(s.again.reply, reply)
		return
	}
	s.again = &again{reason: reason, reply: []chan error{reply}}
	s.killedFor = "restarted: " + reason
	s.stopTimer()
	s.logs.Note("restart: %s", reason)
	s.settle()
}

// runAgain is the second half of a restart.
func (s *supervisor) runAgain() {
	asked := s.again
	s.again = nil
	var err error
	if s.count() {
		if err = s.run(); err != nil {
			s.startFailed(err)
		} else {
			s.rec.Instance.Reason = "restarted: " + asked.reason
			s.save()
		}
	} else {
		s.crashLoop("restarted: " + asked.reason)
		err = fault.New(fault.Conflict, "instance.restart_limit", "%s was not restarted", s.cfg.Launch.InstanceID).
			Because("%s", s.rec.Instance.Reason).Do("Find out why it fails, then start the agent again.")
	}
	for _, reply := range asked.reply {
		reply <- err
	}
}

func (s *supervisor) refuseRestart(why string) {
	if s.again == nil {
		return
	}
	for _, reply := range s.again.reply {
		reply <- fault.New(fault.Conflict, "instance.stopping", "%s was not restarted", s.cfg.Launch.InstanceID).Because("%s", why)
	}
	s.again = nil
}

// freeze suspends the instance; while it waits for its next start, that waits.
func (s *supervisor) freeze() error {
	switch s.rec.Instance.State {
	case fleet.InstanceSuspended:
		return nil
	case fleet.InstanceStopping:
		return fault.New(fault.Conflict, "instance.stopping", "%s cannot be suspended", s.cfg.Launch.InstanceID).
			Because("it is being stopped")
	}
	s.stopTimer()
	if s.pid == 0 || s.settling {
		s.frozen = s.settling // then it is held back when the old run is gone
		s.set(fleet.InstanceSuspended, "suspended before its next start")
		return nil
	}
	if err := s.kids.freeze(); err != nil {
		return fault.New(fault.Unavailable, "instance.freeze", "%s could not be suspended", s.cfg.Launch.InstanceID).
			Because("its processes did not stand still in time").Do("Try again, or stop it.").Wrap(err)
	}
	s.frozen = true
	s.set(fleet.InstanceSuspended, "suspended")
	return nil
}

// thaw lets a suspended instance go on.
func (s *supervisor) thaw() error {
	if s.rec.Instance.State != fleet.InstanceSuspended {
		return nil
	}
	if s.pid == 0 && !s.settling {
		s.retry()
		return nil
	}
	s.unfreeze()
	s.set(fleet.InstanceRunning, "")
	return nil
}

func (s *supervisor) unfreeze() {
	if s.frozen {
		s.kids.thaw()
		s.frozen = false
	}
}

// overQuota ends the run because the agent's directories hold too much.
func (s *supervisor) overQuota(reason string) {
	if s.pid == 0 || s.settling || s.rec.Instance.State == fleet.InstanceStopping {
		return
	}
	s.killedFor = reason
	s.settle()
}

func (s *supervisor) removeGroup() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := s.cfg.Group.Remove(ctx); err != nil {
		note("cannot remove the control group: %v", err)
	}
}

func (s *supervisor) closeSocket() {
	_ = s.listener.Close() // removes the file as well
}

func itoa(n int) string { return strconv.Itoa(n) }

// signalName gives "SIGKILL" for 9.
func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return "signal " + itoa(int(sig))
}
