package shim

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fleet/process/cgroup"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
)

// children makes all processes of the instance and reaps all that end,
// including those that lost their parents.
type children struct {
	group  cgroup.Group
	run    int // numbers the runs of the main process
	starts chan func()
	mu     sync.Mutex
	onEnd  map[int]func(syscall.WaitStatus)
	cpu    time.Duration // of the reaped
	reaped chan struct{} // a hint: something was reaped
}

// newChildren makes the calling process the subreaper and starts to reap.
func newChildren(group cgroup.Group) (*children, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	c := &children{
		group: group, starts: make(chan func()), reaped: make(chan struct{}, 1),
		onEnd: map[int]func(syscall.WaitStatus){},
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			c.reap()
		}
	}()
	go func() {
		// A child gets its death signal when the thread that made it ends, so this
		// one never does.
		runtime.LockOSThread()
		for start := range c.starts {
			start()
		}
	}()
	return c, nil
}

// renew prepares the group for another run.
func (c *children) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run++
	c.group.Renew(c.run)
}

// spawn is what to run.
type spawn struct {
	path  string
	argv  []string
	env   []string
	dir   string
	files []uintptr // standard input, output and error
}

// start runs the program and returns when it does, or with the reason why it
// does not. onEnd is called once, when the process has been reaped.
func (c *children) start(p spawn, onEnd func(syscall.WaitStatus)) (pid int, err error) {
	done := make(chan struct{})
	c.starts <- func() {
		defer close(done)
		// The reaper must not see the end before the pid is known.
		c.mu.Lock()
		defer c.mu.Unlock()
		if pid, err = c.fork(p); err == nil {
			c.onEnd[pid] = onEnd
		}
	}
	<-done
	return pid, err
}

// fork makes the process inside the control groups where that is possible, and
// moves it there at once where not.
func (c *children) fork(p spawn) (int, error) {
	attr := &syscall.ProcAttr{Dir: p.dir, Env: p.env, Files: p.files, Sys: &syscall.SysProcAttr{
		Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}}
	tid := unix.Gettid()
	_ = c.group.Enter(tid) // what is missing was noted when the group was made
	defer func() { _ = c.group.Leave(tid) }()
	if g := c.group.Open(c.run); g != nil {
		defer g.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(g.Fd())
		pid, err := syscall.ForkExec(p.path, p.argv, attr)
		if !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.E2BIG) && !errors.Is(err, syscall.EBUSY) {
			return pid, err
		}
		attr.Sys.UseCgroupFD = false
	}
	pid, err := syscall.ForkExec(p.path, p.argv, attr)
	if err == nil {
		_ = c.group.Add(c.run, pid)
	}
	return pid, err
}

// reap takes in all that ended.
func (c *children) reap() {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		c.mu.Lock()
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &usage)
		if errors.Is(err, syscall.EINTR) {
			c.mu.Unlock()
			continue
		}
		if err != nil || pid <= 0 {
			c.mu.Unlock()
			return
		}
		c.cpu += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		onEnd := c.onEnd[pid]
		delete(c.onEnd, pid)
		c.mu.Unlock()
		if onEnd != nil {
			onEnd(status)
		}
		select {
		case c.reaped <- struct{}{}:
		default:
		}
	}
}

// none tells whether no process of the instance is left. The kernel answers:
// whatever lost its parent became a child of the subreaper.
func (c *children) none() bool {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return errors.Is(err, unix.ECHILD)
}

// How long the end of a tree, and its standstill, may take.
const (
	killBound   = 20 * time.Second
	freezeBound = 5 * time.Second
)

// killAll ends every process of the instance and returns when none is left; it
// gives how many there were to kill, and an error if some survive.
func (c *children) killAll() (killed int, err error) {
	deadline := time.Now().Add(killBound)
	for round := 0; !c.none(); round++ {
		tree := procfs.Descendants(os.Getpid())
		if round == 0 {
			killed = len(tree)
		}
		if !c.group.Kill(context.Background()) && len(tree) > 1 {
			tree = halt(tree, 200*time.Millisecond) // so that none forks away meanwhile
		}
		for _, p := range tree {
			p.Signal(syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			return killed, errors.New("some processes do not end, even by SIGKILL")
		}
		c.reap()
		t := time.NewTimer(10 * time.Millisecond)
		select {
		case <-c.reaped:
		case <-t.C:
		}
		t.Stop()
	}
	return killed, nil
}

// freeze makes the whole tree stand still: by the control group, or by signals.
func (c *children) freeze() error {
	ctx, cancel := context.WithTimeout(context.Background(), freezeBound)
	defer cancel()
	if c.group.Has(cgroup.Freezer) {
		c.mu.Lock() // so that the thread that forks is not caught inside the group
		defer c.mu.Unlock()
		if err := c.group.Freeze(ctx); err != nil {
			_ = c.group.Thaw()
			return err
		}
		return nil
	}
	halt(procfs.Descendants(os.Getpid()), freezeBound)
	return nil
}

// thaw undoes freeze.
func (c *children) thaw() {
	if c.group.Has(cgroup.Freezer) {
		_ = c.group.Thaw()
		return
	}
	for _, p := range procfs.Descendants(os.Getpid()) {
		p.Signal(syscall.SIGCONT)
	}
}

// halt stops the whole tree by SIGSTOP: again and again, until all stand still
// and no new process shows up. It gives the tree.
func halt(tree []procfs.Stat, bound time.Duration) []procfs.Stat {
	for deadline := time.Now().Add(bound); ; {
		moving := false
		for _, p := range tree {
			if p.State != 'T' && p.State != 't' {
				moving = true
				p.Signal(syscall.SIGSTOP)
			}
		}
		if !moving || time.Now().After(deadline) {
			return tree
		}
		runtime.Gosched()
		tree = procfs.Descendants(os.Getpid())
	}
}

// spent gives the processor seconds of all that was reaped.
func (c *children) spent() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cpu.Seconds()
}
