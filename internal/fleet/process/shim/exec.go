package shim

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
)

const (
	maxOutput = 4 << 10 // of a command, in bytes
	maxExecs  = 16      // at the same time
	execMark  = "AGENT_EXEC"
)

var (
	execCount  atomic.Int64
	execActive atomic.Int64
)

// mayExec tells whether a command may run inside the instance now.
func (s *supervisor) mayExec() error {
	if s.rec.Instance.State != fleet.InstanceRunning || s.pid == 0 {
		return fault.New(fault.Conflict, "instance.not_running", "the command was not run in %s", s.cfg.Launch.InstanceID).
			Because("it is %s", s.rec.Instance.State)
	}
	return nil
}

// exec runs a command in the instance's environment, directory and limits.
// Everything that it started ends with ctx.
func (s *supervisor) exec(ctx context.Context, argv []string) Response {
	defer execActive.Add(-1)
	if execActive.Add(1) > maxExecs {
		return Response{Fault: toWire(fault.New(fault.RateLimited, "exec.too_many", "the command was not run").
			Because("%d commands run in %s already", maxExecs, s.cfg.Launch.InstanceID).Do("Try again when one has ended."))}
	}
	if len(argv) == 0 {
		argv = []string{""}
	}
	file, err := Find(argv[0], s.cfg.WorkDir, s.path())
	if err != nil {
		return Response{Fault: toWire(err)}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Response{Fault: toWire(err)}
	}
	defer null.Close()
	r, w, err := pipe()
	if err != nil {
		return Response{Fault: toWire(err)}
	}
	defer r.Close()
	mark := execMark + "=" + itoa(int(execCount.Add(1)))
	ended := make(chan syscall.WaitStatus, 1)
	pid, err := s.kids.start(spawn{
		path: file, argv: argv, env: append(s.environ(), mark), dir: s.cfg.WorkDir,
		files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
	}, func(status syscall.WaitStatus) { ended <- status })
	w.Close()
	if err != nil {
		return Response{Fault: toWire(explain(argv[0], file, err))}
	}
	output := make(chan []byte, 1)
	go func() { output <- head(r) }()
	var response Response
	var status syscall.WaitStatus
	select {
	case status = <-ended:
	case <-ctx.Done():
		response.Ended = true
		killExec(pid, mark)
		status = <-ended
	}
	// A process in the background may hold the pipe; what is there is enough.
	_ = r.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	response.Output = string(<-output)
	response.Code = status.ExitStatus()
	if status.Signaled() {
		response.Code = 128 + int(status.Signal())
	}
	return response
}

// head reads to the end and keeps the beginning.
func head(r *os.File) []byte {
	kept := make([]byte, 0, maxOutput)
	block := make([]byte, 4096)
	for {
		n, err := r.Read(block)
		kept = append(kept, block[:min(n, maxOutput-len(kept))]...)
		if err != nil {
			return kept
		}
	}
}

// killExec ends a command and all that it made, also what left its group or
// lost its parents.
func killExec(pid int, mark string) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		found := false
		for _, p := range procfs.Descendants(os.Getpid()) {
			if p.PID == pid || p.Group == pid || procfs.HasEnviron(p.PID, mark) {
				found = true
				p.Signal(syscall.SIGKILL)
			}
		}
		if !found {
			return
		}
		t := time.NewTimer(time.Millisecond)
		<-t.C
	}
}

// usage measures the instance.
func (s *supervisor) usage() fleet.Usage {
	var u fleet.Usage
	tree := procfs.Descendants(os.Getpid())
	cpu, memory := s.kids.spent(), int64(0)
	for _, p := range tree {
		cpu += float64(p.Ticks) / procfs.TicksPerSecond
		memory += p.RSS * int64(os.Getpagesize())
	}
	u.CPUSeconds, u.Memory, u.PIDs = cpu, memory, len(tree)
	if c, ok := s.kids.group.CPUSeconds(); ok {
		u.CPUSeconds = c
	}
	if m, ok := s.kids.group.MemoryUse(); ok {
		u.Memory = m
	}
	if n, ok := s.kids.group.PIDUse(); ok {
		u.PIDs = n
	}
	for _, p := range tree {
		if open, limit := procfs.Files(p.PID); open >= u.OpenFiles && limit > 0 {
			u.OpenFiles, u.FileLimit = open, limit
		}
	}
	u.ThrottledSeconds = s.kids.group.Throttled()
	u.MemoryLimit = int64(s.cfg.Launch.Resources.Memory)
	return u
}
