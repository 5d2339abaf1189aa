package shim

import (
	"cmp"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// supervisor brings one instance through its life. All its fields belong to
// the goroutine that runs loop; others hand it functions by post.
type supervisor struct {
	cfg      Config
	rec      Record
	kids     *children
	logs     *segment.Writer
	listener net.Listener
	events   chan func()
	left     chan struct{} // closed when loop has ended
	answers  sync.WaitGroup

	pid       int       // of the main process; 0 while none runs
	output    chan bool // closed when all that the run printed is in the log
	settling  bool      // the rest of the tree is being ended
	frozen    bool
	oomSeen   uint64
	killedFor string // why the supervisor itself ended the run
	begun     time.Time
	lived     time.Duration // how long the last run lasted
	onEnded   func()        // the rest of settled, if that came first
	tries     upkeep.Restarts
	timer     *time.Timer // back-off or grace

	stops    []chan error // who waits for the end
	stopEnds time.Time    // when the grace is over
	again    *again       // a restart that was asked for
	keep     bool         // told to end by a signal: the directory stays, as a sign
	done     bool
}

// again is a restart on request.
type again struct {
	reason string
	reply  []chan error
}

// loop runs until the instance is over. It returns what the shim exits with.
func (s *supervisor) loop() {
	for !s.done {
		(<-s.events)()
	}
	close(s.left)
	s.answers.Wait() // so that whoever waits gets an answer before the process ends
}

// post lets loop run fn; false if it has ended.
func (s *supervisor) post(fn func()) bool {
	select {
	case s.events <- fn:
		return true
	case <-s.left:
		return false
	}
}

// after lets loop run fn after d, unless the timer is set anew before.
func (s *supervisor) after(d time.Duration, fn func()) {
	s.stopTimer()
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		s.post(func() {
			if s.timer == t {
				fn()
			}
		})
	})
	s.timer = t
}

func (s *supervisor) stopTimer() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// set changes the state, on disk before anybody is told.
func (s *supervisor) set(state fleet.InstanceState, reason string) {
	s.rec.Instance.State, s.rec.Instance.Reason = state, reason
	s.save()
}

func (s *supervisor) save() {
	if err := s.rec.write("."); err != nil {
		note("cannot write the state file: %v", err)
	}
	Poke(s.cfg.RunDir, s.cfg.Launch.AgentID)
}

// run starts the main process.
func (s *supervisor) run() error {
	s.oomSeen, s.killedFor = s.kids.group.OOMKills(), ""
	s.kids.renew()
	pid, output, err := s.execute()
	if err != nil {
		return err
	}
	s.pid, s.output, s.begun = pid, output, time.Now()
	in := &s.rec.Instance
	in.PID, in.StartedAt, in.EndedAt = pid, s.begun.UTC(), time.Time{}
	s.rec.Process = procfs.Of(pid)
	s.logs.Note("started with pid %d", pid)
	s.set(fleet.InstanceRunning, "")
	return nil
}

// ended is called when the main process has been reaped.
func (s *supervisor) ended(pid int, status syscall.WaitStatus) {
	if pid != s.pid {
		return
	}
	s.pid, s.lived = 0, time.Since(s.begun)
	in := &s.rec.Instance
	in.PID, in.EndedAt, s.rec.Process = 0, time.Now().UTC(), procfs.ID{}
	in.ExitCode, in.Signal = nil, ""
	if status.Signaled() {
		in.Signal = signalName(status.Signal())
	} else {
		code := status.ExitStatus()
		in.ExitCode = &code
	}
	in.OOMKilled = s.kids.group.OOMKills() > s.oomSeen && (status.Signaled() || status.ExitStatus() != 0)
	if in.State == fleet.InstanceStopping && !s.settling && s.groupLives(pid) && time.Now().Before(s.stopEnds) {
		s.waitGroup(pid) // the others were told to end as well; they have their grace
		return
	}
	if s.onEnded != nil {
		s.onEnded()
		return
	}
	s.settle()
}

// groupLives tells whether a process of the main process's group is left.
func (s *supervisor) groupLives(group int) bool { return syscall.Kill(-group, 0) == nil }

// waitGroup settles once the group is gone; the grace timer bounds it.
func (s *supervisor) waitGroup(group int) {
	time.AfterFunc(10*time.Millisecond, func() {
		s.post(func() {
			switch {
			case s.settling || s.pid != 0:
			case s.groupLives(group):
				s.waitGroup(group)
			default:
				s.settle()
			}
		})
	})
}

// settle ends what the main process left behind, then goes on with settled.
func (s *supervisor) settle() {
	if s.settling {
		return
	}
	s.settling = true
	output := s.output
	go func() {
		killed, err := s.kids.killAll()
		if output != nil {
			t := time.NewTimer(2 * time.Second)
			select {
			case <-output:
			case <-t.C: // somebody outside holds the pipe
			}
			t.Stop()
		}
		s.post(func() { s.settled(killed, err) })
	}()
}

// settled decides how to go on, now that no process is left.
func (s *supervisor) settled(killed int, err error) {
	if s.pid != 0 && err == nil {
		s.onEnded = func() { s.settled(killed, nil) } // it is reaped; the word is on its way
		return
	}
	s.settling, s.onEnded = false, nil
	if err != nil {
		s.stuck(err)
		return
	}
	s.output = nil
	wasFrozen := s.frozen
	s.unfreeze()
	why := s.describe(killed)
	s.rec.Instance.LastLogs = segment.Last(s.cfg.LogDir, 20, 400)
	switch {
	case s.rec.Instance.State == fleet.InstanceStopping:
		s.logs.Note("stopped: %s", why)
		s.finish()
	case s.again != nil:
		s.runAgain()
	case !upkeep.Again(s.cfg.Launch.Restart, s.failed()):
		s.final(why)
	case !s.count():
		s.crashLoop(why)
	case wasFrozen:
		s.set(fleet.InstanceSuspended, "ended while suspended ("+why+"); resume starts it again")
	default:
		s.backOff(why)
	}
}

// stuck keeps trying to end a tree that does not end: a second one must not run
// beside it.
func (s *supervisor) stuck(err error) {
	s.logs.Note("%v", err)
	s.stopEnds = time.Now().Add(time.Hour) // so that the next stop tries at once
	for _, reply := range s.stops {
		reply <- fault.New(fault.Unavailable, "instance.stuck", "%s could not be stopped", s.cfg.Launch.InstanceID).
			Because("%v", err).Do("See what its processes wait for, such as a dead file server; then stop it again.")
	}
	s.stops = nil
	s.after(time.Second, s.settle)
}

// describe says in a few words how the last run ended.
func (s *supervisor) describe(killed int) string {
	in := s.rec.Instance
	switch {
	case s.killedFor != "":
		return s.killedFor
	case in.OOMKilled:
		return "killed because it used more than its memory limit of " + s.cfg.Launch.Resources.Memory.String()
	case in.Signal != "":
		return "ended by " + in.Signal
	case in.ExitCode == nil:
		return cmp.Or(in.Reason, "never ran")
	case *in.ExitCode == 0 && killed > 0:
		return "exit code 0 while its children went on; the program must stay in the foreground"
	}
	return "exit code " + itoa(*in.ExitCode)
}

// failed tells whether the last run ended with an error.
func (s *supervisor) failed() bool {
	in := s.rec.Instance
	return in.Signal != "" || in.ExitCode == nil || *in.ExitCode != 0 || s.killedFor != ""
}

// count notes a restart if the limit allows one more.
func (s *supervisor) count() bool {
	policy := s.cfg.Launch.Restart
	s.tries.Lived(policy, s.lived)
	s.lived = 0
	if !s.tries.Count(policy, time.Now()) {
		return false
	}
	s.rec.Instance.Restarts++
	return true
}

func (s *supervisor) crashLoop(why string) {
	s.end(fleet.InstanceFailed, s.tries.Loop(s.cfg.Launch.Restart, why))
}

// final is an end that the policy accepts.
func (s *supervisor) final(why string) {
	if s.failed() {
		s.end(fleet.InstanceFailed, why)
		return
	}
	s.end(fleet.InstanceExited, why)
}

// backOff starts the instance again after a while, which doubles each time.
func (s *supervisor) backOff(why string) {
	wait := s.tries.Wait(s.cfg.Launch.Restart)
	s.logs.Note("%s; starts again in %s", why, wait)
	s.set(fleet.InstanceBackoff, why+"; starts again in "+wait.String())
	s.after(wait, s.retry)
}

// retry is a start that nobody waits for.
func (s *supervisor) retry() {
	s.stopTimer()
	if err := s.run(); err != nil {
		s.startFailed(err)
	}
}

// startFailed treats a start that failed like a run that ended at once.
func (s *supervisor) startFailed(err error) {
	s.rec.Instance.ExitCode, s.rec.Instance.Signal = nil, ""
	why := "could not be started"
	if f := fault.As(err); f != nil {
		why += ": " + f.Why
	}
	s.logs.Note("%s", why)
	if !s.count() {
		s.crashLoop(why)
		return
	}
	s.backOff(why)
}

// end is the instance's last state; the shim leaves it behind and goes.
func (s *supervisor) end(state fleet.InstanceState, reason string) {
	s.logs.Note("%s: %s", state, reason)
	s.removeGroup()
	s.closeSocket()
	s.rec.Final = true
	s.set(state, reason)
	s.done = true
}

// finish is the end of a stop: nothing but the log is left. A shim that was
// ended by a signal leaves its state, so that the portal sees what it lost.
func (s *supervisor) finish() {
	s.stopTimer()
	s.removeGroup()
	s.closeSocket()
	if s.keep {
		s.set(fleet.InstanceLost, "its supervisor was told to end")
	} else if dir, derr := os.Getwd(); derr == nil {
		_ = os.RemoveAll(dir)
	}
	for _, reply := range s.stops {
		reply <- nil
	}
	s.done = true
	Poke(s.cfg.RunDir, s.cfg.Launch.AgentID)
}
