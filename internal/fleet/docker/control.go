package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// outputLimit is how much of a command's output is given.
const outputLimit = 4096

// Suspend implements fleet.Suspender.
func (r *Runtime) Suspend(ctx context.Context, agentID, instanceID string) error {
	u, err := r.running(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err = r.api().ContainerPause(bounded, u.container, client.ContainerPauseOptions{})
	if err != nil && strings.Contains(err.Error(), "already paused") {
		return nil
	}
	return r.answered(ctx, "pause "+instanceID, err)
}

// Resume implements fleet.Suspender.
func (r *Runtime) Resume(ctx context.Context, agentID, instanceID string) error {
	u, err := r.running(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err = r.api().ContainerUnpause(bounded, u.container, client.ContainerUnpauseOptions{})
	if isNotPaused(err) {
		return nil
	}
	return r.answered(ctx, "unpause "+instanceID, err)
}

func isNotPaused(err error) bool {
	return err != nil && strings.Contains(err.Error(), "is not paused")
}

// running gives the unit of an instance whose container runs or stands still.
// NotFound and Conflict.
func (r *Runtime) running(ctx context.Context, agentID, instanceID string) (*unit, error) {
	u, st, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return nil, err
	}
	if runs(st) {
		return u, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return nil, notRunning(fleet.Instance{ID: instanceID, State: u.rec.State, Reason: u.rec.Reason})
}

// Restart implements fleet.Restarter.
func (r *Runtime) Restart(ctx context.Context, agentID, instanceID, reason string) error {
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	defer release()
	u, st, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	u.mu.Lock()
	state := u.rec.State
	if state == fleet.InstanceFailed || state == fleet.InstanceExited || state == fleet.InstanceStopping || st.Status == container.StateCreated {
		defer u.mu.Unlock()
		return notRunning(fleet.Instance{ID: instanceID, State: state, Reason: u.rec.Reason})
	}
	u.hold = true
	u.reopen()
	quiet := u.quiet
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.hold = false
		u.mu.Unlock()
	}()
	u.rest()
	if err := r.halt(ctx, u, 0); err != nil {
		return err
	}
	select { // all of its output belongs before the new run
	case <-quiet:
	case <-ctx.Done():
		return ctx.Err()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.rec.Count(u.restart, time.Now()) {
		u.rec.State, u.rec.Reason = fleet.InstanceFailed, u.rec.Loop(u.restart, reason)
		u.decide(u.rec.State, u.rec.Reason)
		u.poke() // its policy has to go
		return notRunning(fleet.Instance{ID: instanceID, State: fleet.InstanceFailed, Reason: u.rec.Reason})
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	if _, err := r.api().ContainerStart(bounded, u.container, client.ContainerStartOptions{}); err != nil {
		u.follow("could not be started: "+brief(err), true)
		return r.answered(ctx, "start "+instanceID, err)
	}
	u.rec.Started++
	u.copied.Note(reason + "; started again")
	u.runs(reason)
	return nil
}

// Exec implements fleet.Execer. At the context's deadline the error wraps
// context.DeadlineExceeded and the output so far is given. The engine has no way
// to end a command: where its processes are on this machine it is killed, else
// it ends with the instance at the latest.
func (r *Runtime) Exec(ctx context.Context, agentID, instanceID string, command []string) (int, string, error) {
	u, st, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return -1, "", err
	}
	if !runs(st) || st.Paused {
		in := fleet.Instance{ID: instanceID, State: fleet.InstanceSuspended, Reason: "it stands still"}
		if !st.Paused {
			in.State, in.Reason = fleet.InstanceBackoff, u.describe(st)
		}
		return -1, "", notRunning(in)
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	made, err := r.api().ExecCreate(bounded, u.container, client.ExecCreateOptions{
		Cmd: command, Env: []string{"AGENT_EXEC=1"}, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return -1, "", r.answered(ctx, "run a command in "+instanceID, err)
	}
	attached, err := r.api().ExecAttach(bounded, made.ID, client.ExecAttachOptions{})
	if err != nil {
		return -1, "", r.answered(ctx, "run a command in "+instanceID, err)
	}
	defer attached.Close()
	stop := context.AfterFunc(ctx, func() { _ = attached.Conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	out := &head{}
	_, err = stdcopy.StdCopy(out, out, attached.Reader)
	if ctx.Err() != nil {
		r.endExec(u, made.ID)
		if errors.Is(ctx.Err(), context.Canceled) {
			return -1, out.String(), ctx.Err()
		}
		return -1, out.String(), fault.New(fault.Unavailable, "exec.timeout", "the command in %s was ended", instanceID).
			Because("it did not end in time").Do("Allow it more time.").Wrap(context.DeadlineExceeded)
	}
	if err != nil {
		return -1, out.String(), r.answered(ctx, "run a command in "+instanceID, err)
	}
	late, cancel2 := r.bounded(ctx)
	defer cancel2()
	got, err := r.api().ExecInspect(late, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return -1, out.String(), r.answered(ctx, "run a command in "+instanceID, err)
	}
	return got.ExitCode, out.String(), nil
}

// endExec kills a command that took too long, if its process is on this machine
// and in the container without doubt.
func (r *Runtime) endExec(u *unit, execID string) {
	ctx, cancel := context.WithTimeout(u.ctx, 5*time.Second)
	defer cancel()
	got, err := r.api().ExecInspect(ctx, execID, client.ExecInspectOptions{})
	if err != nil || !got.Running || got.PID <= 0 {
		return
	}
	groups, err := os.ReadFile("/proc/" + itoa(got.PID) + "/cgroup")
	if err != nil || !bytes.Contains(groups, []byte(u.container)) {
		return
	}
	if p, err := os.FindProcess(got.PID); err == nil {
		_ = p.Kill()
	}
}

// head keeps the beginning of what is written to it.
type head struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b = append(h.b, p[:min(len(p), outputLimit-len(h.b))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.ToValidUTF8(string(h.b), "")
}

// Usage implements fleet.Meter.
func (r *Runtime) Usage(ctx context.Context, agentID, instanceID string) (fleet.Usage, error) {
	u, err := r.running(ctx, agentID, instanceID)
	if err != nil {
		return fleet.Usage{}, err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().ContainerStats(bounded, u.container, client.ContainerStatsOptions{})
	if err != nil {
		return fleet.Usage{}, r.answered(ctx, "measure "+instanceID, err)
	}
	defer got.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(io.LimitReader(got.Body, 1<<20)).Decode(&s); err != nil {
		return fleet.Usage{}, r.answered(ctx, "measure "+instanceID, err)
	}
	use := fleet.Usage{
		CPUSeconds: float64(s.CPUStats.CPUUsage.TotalUsage) / 1e9, Memory: int64(s.MemoryStats.Usage), PIDs: int(s.PidsStats.Current),
		ThrottledSeconds: float64(s.CPUStats.ThrottlingData.ThrottledTime) / 1e9,
	}
	// Pages that only cache files are given back when they are needed.
	for _, name := range []string{"total_inactive_file", "inactive_file"} {
		if cache, ok := s.MemoryStats.Stats[name]; ok && int64(cache) < use.Memory {
			use.Memory -= int64(cache)
			break
		}
	}
	if limit := s.MemoryStats.Limit; u.memory != "" && u.memory != "0" && limit < 1<<62 {
		use.MemoryLimit = int64(limit)
	}
	return use, nil
}
