package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// defaultPIDs bounds processes and threads where the launch does not.
const defaultPIDs = 512

// Launch implements fleet.Runtime. The instance goes on if the context ends
// meanwhile.
func (r *Runtime) Launch(ctx context.Context, l fleet.Launch) error {
	if err := upkeep.CheckIDs(l.AgentID, l.InstanceID); err != nil {
		return err
	}
	release, err := r.locks.Acquire(ctx, l.InstanceID)
	if err != nil {
		return err
	}
	defer release()
	running, err := r.clear(ctx, l.AgentID, l.InstanceID)
	if err != nil || running {
		return err
	}
	if err := r.Prepare(ctx, l); err != nil {
		return err
	}
	if err := portFree(l.Port); err != nil {
		return err
	}
	r.pruneLogs(l.AgentID, l.InstanceID)
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.launch(ctx, l)
}

// clear makes the way free for a launch: true if the instance already runs,
// else nothing of it is left.
func (r *Runtime) clear(ctx context.Context, agentID, instanceID string) (running bool, err error) {
	dir := r.instanceDir(agentID, instanceID)
	for range 3 {
		rec, err := shim.ReadRecord(dir)
		if errors.Is(err, fs.ErrNotExist) && !exists(dir) {
			return false, nil
		}
		if err != nil && locked(dir) {
			rec, err = status(ctx, dir)
		}
		switch {
		case err == nil && rec.Living() && rec.Instance.State == fleet.InstanceStopping:
			if err := r.tell(ctx, dir, rec, 0); err != nil {
				return false, err
			}
		case err == nil && rec.Living() && !rec.Final:
			return true, nil
		default:
			return false, r.bury(ctx, agentID, instanceID)
		}
	}
	return false, r.bury(ctx, agentID, instanceID)
}

// launch starts a shim and waits for its word.
func (r *Runtime) launch(ctx context.Context, l fleet.Launch) error {
	dir := r.instanceDir(l.AgentID, l.InstanceID)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return noSpace(l.AgentID, err)
	}
	answer, err := r.startShim(dir, r.config(l))
	if err != nil {
		_ = os.RemoveAll(dir)
		return fault.New(fault.Unavailable, "shim.start", "the supervisor of %s could not be started", l.InstanceID).
			Because("%v", err).Do("Check that the machine has room for more processes, then try again.").Wrap(err)
	}
	defer answer.Close()
	stop := context.AfterFunc(ctx, func() { _ = answer.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(answer).ReadBytes('\n')
	var response shim.Response
	if err == nil {
		err = json.Unmarshal(line, &response)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		last := lastBytes(filepath.Join(dir, shim.LogFile), 2000)
		r.cfg.Log.Error("a shim ended without a word", "instance", l.InstanceID, "log", last)
		_ = r.bury(ctx, l.AgentID, l.InstanceID)
		return fault.New(fault.Unavailable, "shim.lost", "%s could not be started", l.InstanceID).
			Because("its supervisor ended before the program ran").Do("Try again; the portal's log has the details.").Wrap(err)
	case response.Locked:
		return nil // another portal launched it at the same moment
	}
	return response.Err()
}

// startShim gives the pipe on which the shim answers.
func (r *Runtime) startShim(dir string, cfg shim.Config) (*os.File, error) {
	logFile, err := os.OpenFile(filepath.Join(dir, shim.LogFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inR.Close()
	defer inW.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	cmd := exec.Command(r.cfg.Shim[0], r.cfg.Shim[1:]...)
	cmd.Dir = dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, logFile, logFile
	cmd.ExtraFiles = []*os.File{outW}
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	// Small and quiet: there is one for each instance.
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=50", "GOMEMLIMIT=12MiB", "GOTRACEBACK=single", shim.MarkVariable + "=" + dir}
	if err := cmd.Start(); err != nil {
		outR.Close()
		return nil, err
	}
	go reap(cmd, pidfd)
	inR.Close()
	if err := json.NewEncoder(inW).Encode(cfg); err != nil {
		r.cfg.Log.Warn("a shim did not take its configuration", "instance", cfg.Launch.InstanceID, "error", err)
	}
	return outR, nil
}

// reap takes the shim in if it ends before the portal does. It waits by the
// poller: a thread for each of a thousand shims would be dear.
func reap(cmd *exec.Cmd, pidfd int) {
	if pidfd < 0 || unix.SetNonblock(pidfd, true) != nil {
		_ = cmd.Wait()
		return
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release()
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err == nil {
		err = conn.Read(func(uintptr) bool {
			n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
			return n == pid || err != nil && !errors.Is(err, unix.EINTR)
		})
	}
	if err != nil { // it cannot be polled on this kernel
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
}

func (r *Runtime) config(l fleet.Launch) shim.Config {
	if l.Resources.PIDs == 0 {
		l.Resources.PIDs = defaultPIDs
	}
	l.Env = r.environ(l)
	return shim.Config{
		Launch: l, AgentDir: r.agentDir(l.AgentID), WorkDir: r.WorkDir(l.AgentID),
		LogDir: filepath.Join(r.logsDir(l.AgentID), l.InstanceID), RunDir: r.cfg.RunDir,
		Group: r.host.Group(l.InstanceID), NoFile: r.openFiles(l), Quotas: r.quotas(l),
		SegmentSize: r.cfg.SegmentSize, Segments: r.cfg.Segments, QuotaEvery: r.cfg.QuotaEvery,
	}
}

// openFiles gives the limit of open files of one instance: its own, as far as the
// portal may grant it.
func (r *Runtime) openFiles(l fleet.Launch) uint64 {
	if n := l.Resources.OpenFiles; n > 0 {
		return min(uint64(n), r.noFile)
	}
	return r.noFile
}

// portFree tells whether a program could listen on the port. It binds but does
// not listen, so nobody can connect meanwhile.
func portFree(port int) error {
	if port == 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // then the program will say so
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // as servers do
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: port})
	if errors.Is(err, unix.EADDRINUSE) {
		return fault.New(fault.Conflict, "port.taken", "port %d is taken", port).
			Because("another program listens on it").Do("End that program, or let the portal choose another port.").
			With("port", port)
	}
	if errors.Is(err, unix.EACCES) {
		return fault.New(fault.Invalid, "port.forbidden", "port %d cannot be used", port).
			Because("the portal may not use ports below 1024").Do("Choose a higher port.")
	}
	return nil
}

// pruneLogs removes the oldest logs of instances that are no more.
func (r *Runtime) pruneLogs(agentID, except string) {
	segment.Prune(r.logsDir(agentID), func(instance string) bool {
		return instance == except || exists(r.instanceDir(agentID, instance))
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// locked tells whether a shim lives in the directory.
func locked(dir string) bool {
	f, err := os.Open(filepath.Join(dir, shim.LockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func lastBytes(path string, n int64) string {
	b, _ := os.ReadFile(path)
	return string(b[max(0, int64(len(b))-n):])
}

func itoa(n int) string { return strconv.Itoa(n) }
