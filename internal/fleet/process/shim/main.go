package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/cgroup"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
)

// reportFD is where the shim tells the portal how the launch went.
const reportFD = 3

// Main is the shim's program: it reads a Config from its standard input, runs
// the instance in the working directory, and ends with it. It gives the exit code.
func Main() int {
	unix.CloseOnExec(reportFD)
	report := os.NewFile(reportFD, "report")
	var cfg Config
	if err := json.NewDecoder(io.LimitReader(os.Stdin, maxMessage)).Decode(&cfg); err != nil {
		fmt.Fprintln(os.Stderr, "the shim is started by the portal only")
		return 2
	}
	detach()
	lock, err := lockInstance()
	if err != nil {
		answer(report, Response{Locked: errors.Is(err, unix.EWOULDBLOCK), Fault: toWire(err)})
		return 1
	}
	defer lock.Close()
	s, err := begin(cfg)
	if err != nil {
		s.abandon() // first, so that nothing is left when the portal learns it
		answer(report, Response{Fault: toWire(err)})
		return 1
	}
	answer(report, Response{})
	// What the start of the program took is given back: shims wait for long.
	debug.FreeOSMemory()
	s.loop()
	return 0
}

// detach cuts what ties the shim to the portal: the pipe of its configuration,
// and the signals of a terminal.
func detach() {
	if null, err := os.Open(os.DevNull); err == nil {
		_ = unix.Dup3(int(null.Fd()), 0, 0)
		null.Close()
	}
	// Caught and dropped, not ignored: programs would inherit that.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGHUP, syscall.SIGINT)
	go func() {
		for range ignored {
		}
	}()
}

func lockInstance() (*os.File, error) {
	f, err := os.OpenFile(LockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func answer(report *os.File, r Response) {
	_ = json.NewEncoder(report).Encode(r) // the portal may have died meanwhile
	report.Close()
}

// begin builds the supervisor and starts the program. With an error it gives
// what of the supervisor there is, to be abandoned.
func begin(cfg Config) (*supervisor, error) {
	limitSelf(cfg)
	if err := cfg.Group.Escape(); err != nil {
		note("stays in the portal's control group: %v", err)
	}
	s := &supervisor{cfg: cfg, events: make(chan func()), left: make(chan struct{})}
	var err error
	if s.logs, err = segment.Open(cfg.LogDir, cfg.SegmentSize, cfg.Segments); err != nil {
		return s, fault.New(fault.Unavailable, "logs.open", "%s could not be started", cfg.Launch.InstanceID).
			Because("its log cannot be written").Do("Check space and permissions of the data directory.").Wrap(err)
	}
	if s.kids, err = newChildren(cfg.Group); err != nil {
		return s, err
	}
	if err := s.group(); err != nil {
		s.logs.Note("not all limits are enforced: %v", err)
	}
	if s.listener, err = net.Listen("unix", SocketFile); err != nil {
		return s, err
	}
	_ = os.Chmod(SocketFile, 0o600)
	l := cfg.Launch
	s.rec = Record{
		Instance: fleet.Instance{
			ID: l.InstanceID, AgentID: l.AgentID, Revision: l.Revision, Index: l.Index, Port: l.Port,
			State: fleet.InstanceStarting,
		},
		Shim: procfs.Of(os.Getpid()), Boot: procfs.BootID(), Group: cfg.Group,
	}
	if err := s.run(); err != nil {
		return s, err
	}
	go s.serve()
	go s.watchQuotas()
	s.endOnSignal()
	return s, nil
}

// group makes the control group with the instance's limits.
func (s *supervisor) group() error {
	r := s.cfg.Launch.Resources
	return s.cfg.Group.Create(cgroup.Limits{Memory: int64(r.Memory), CPU: r.CPU, PIDs: r.PIDs})
}

// limitSelf sets limits that every program inherits.
func limitSelf(cfg Config) {
	_ = syscall.Setrlimit(unix.RLIMIT_CORE, &syscall.Rlimit{})
	if n := cfg.NoFile; n > 0 {
		// By package syscall, which otherwise gives children the limit from before.
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
	}
}

// endOnSignal lets SIGTERM, as at the machine's shutdown, end the instance in
// order, but leaves its state as a sign that it was not the portal's will.
func (s *supervisor) endOnSignal() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	go func() {
		<-told
		s.post(func() {
			s.keep = true
			s.stop(s.cfg.Launch.Grace, nil)
		})
	}()
}

// abandon cleans up after a program that never ran.
func (s *supervisor) abandon() {
	s.removeGroup()
	if dir, err := os.Getwd(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

// noted bounds the shim's own log.
var noted int

// note writes to the shim's own log.
func note(format string, args ...any) {
	if noted < 256<<10 {
		n, _ := fmt.Fprintf(os.Stderr, format+"\n", args...)
		noted += n
	}
}
