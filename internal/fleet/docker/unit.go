package docker

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// unit looks after one container: it takes its output and decides what
// happens when it ends.
type unit struct {
	r                   *Runtime
	agentID, instanceID string
	container           string
	restart             agent.RestartPolicy
	memory              string // the limit, for people
	ctx                 context.Context
	cancel              context.CancelFunc
	done                chan struct{} // closed when watch has ended
	started             chan struct{} // told that the container runs again
	copied              copied        // of watch alone

	mu    sync.Mutex
	rec   upkeep.Record
	hold  bool          // somebody starts it again by himself
	quiet chan struct{} // closed once an end is taken in, with all output
	timer *time.Timer
}

// adopt gives the unit that looks after the container, making it if need be.
func (r *Runtime) adopt(id string, labels map[string]string) *unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	instanceID := labels[labelInstance]
	if u := r.units[instanceID]; u != nil {
		if u.container == id {
			return u
		}
		u.cancel()
	}
	u := &unit{
		r: r, agentID: labels[labelAgent], instanceID: instanceID, container: id, memory: labels[labelMemory],
		done: make(chan struct{}), started: make(chan struct{}, 1), quiet: make(chan struct{}),
	}
	_ = json.Unmarshal([]byte(labels[labelRestart]), &u.restart)
	u.ctx, u.cancel = context.WithCancel(r.ctx)
	u.rec = upkeep.ReadRecord(u.file(), id)
	r.units[instanceID] = u
	if r.ctx.Err() == nil {
		r.tasks.Go(u.watch)
	} else {
		close(u.done)
	}
	return u
}

// unit gives who looks after the instance; nil if nobody does.
func (r *Runtime) unit(instanceID string) *unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.units[instanceID]
}

// forget ends looking after a container that is gone.
func (r *Runtime) forget(u *unit) {
	u.rest()
	u.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.units[u.instanceID] == u {
		delete(r.units, u.instanceID)
		_ = os.Remove(u.file())
	}
}

// rest stops the timer.
func (u *unit) rest() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.timer != nil {
		u.timer.Stop()
		u.timer = nil
	}
}

func (u *unit) file() string {
	return filepath.Join(u.r.agentDir(u.agentID), "instances", u.instanceID+".json")
}

// save keeps the record for the next portal. u.mu is held.
func (u *unit) save() {
	if err := u.rec.Write(u.file()); err != nil {
		u.r.cfg.Log.Warn("restarts of an instance can't be kept", "instance", u.instanceID, "error", err)
	}
}

// watch takes the output of each run, and then decides what follows its end.
func (u *unit) watch() {
	defer close(u.done)
	defer u.copied.close()
	for wait := time.Duration(0); ; {
		if !pause(u.ctx, wait) {
			return
		}
		wait = min(max(2*wait, 20*time.Millisecond), 2*time.Second)
		err := u.copyLogs(u.ctx)
		ctx, cancel := u.r.bounded(u.ctx)
		got, ierr := u.r.api.ContainerInspect(ctx, u.container, client.ContainerInspectOptions{})
		cancel()
		switch {
		case u.ctx.Err() != nil:
			return
		case errdefs.IsNotFound(ierr):
			u.r.changes.Add(u.agentID)
			go u.r.forget(u)
			return
		case ierr != nil:
			continue
		case got.Container.State.Running: // its output broke off, or it was started again
			if err == nil {
				wait = 20 * time.Millisecond
			}
			continue
		case got.Container.State.Status == container.StateExited:
			u.ended(got.Container.State)
		}
		select {
		case <-u.started:
			wait = 0
		case <-u.ctx.Done():
			return
		}
	}
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// ended decides what follows the end of a run, once for each.
func (u *unit) ended(st *container.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer u.settle()
	switch {
	case u.hold || u.rec.State == fleet.InstanceStopping:
		return
	case u.rec.State != "" && u.rec.Run == st.StartedAt: // by the portal before this one
		if u.rec.State == fleet.InstanceBackoff {
			u.schedule()
		}
		return
	}
	u.rec.Run = st.StartedAt
	why := u.describe(st)
	u.rec.Lived(u.restart, instant(st.FinishedAt).Sub(instant(st.StartedAt)))
	u.follow(why, st.ExitCode != 0)
}

// follow is what follows an end that has the reason. u.mu is held.
func (u *unit) follow(why string, failed bool) {
	u.rec.Follow(u.restart, why, failed, time.Now())
	u.decide(u.rec.State, u.rec.Reason)
	if u.rec.State == fleet.InstanceBackoff {
		u.schedule()
	}
}

// decide notes a state, for people too. u.mu is held.
func (u *unit) decide(state fleet.InstanceState, why string) {
	u.rec.State, u.rec.Reason = state, why
	u.save()
	u.copied.note(why)
	u.r.changes.Add(u.agentID)
}

// settle tells that an end was taken in. u.mu is held.
func (u *unit) settle() {
	select {
	case <-u.quiet:
	default:
		close(u.quiet)
	}
}

// schedule starts the instance again when the back-off is over. u.mu is held.
func (u *unit) schedule() {
	if u.timer != nil {
		u.timer.Stop()
	}
	if u.r.ctx.Err() == nil {
		u.timer = time.AfterFunc(max(0, time.Until(u.rec.Due)), u.again)
	}
}

// again is a start that nobody waits for.
func (u *unit) again() {
	release, err := u.r.locks.Acquire(u.ctx, u.instanceID)
	if err != nil {
		return
	}
	defer release()
	u.mu.Lock()
	due := u.rec.State == fleet.InstanceBackoff && u.ctx.Err() == nil
	u.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := u.r.bounded(u.ctx)
	defer cancel()
	_, err = u.r.api.ContainerStart(ctx, u.container, client.ContainerStartOptions{})
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		u.rec.Started++
		why, _, _ := strings.Cut(u.rec.Reason, "; starts again in ")
		u.runs("started again: " + why)
	case errdefs.IsNotFound(err) || u.ctx.Err() != nil:
	case client.IsErrConnectionFailed(err) || ctx.Err() != nil: // that is not the instance's fault
		u.rec.Due = time.Now().Add(time.Second)
		u.schedule()
	default:
		u.follow("could not be started: "+brief(err), true)
	}
}

// runs notes that the container was started. u.mu is held.
func (u *unit) runs(reason string) {
	u.rec.State, u.rec.Reason, u.hold = "", reason, false
	select {
	case <-u.quiet:
		u.quiet = make(chan struct{})
	default:
	}
	u.save()
	select {
	case u.started <- struct{}{}:
	default:
	}
	u.r.changes.Add(u.agentID)
}

// describe says in a few words how a run ended. The engine gives 128 plus the
// number of the signal.
func (u *unit) describe(st *container.State) string {
	switch {
	case st.OOMKilled:
		return "killed because it used more than its memory limit of " + u.memory
	case st.Error != "":
		return st.Error
	case upkeep.Signal(st.ExitCode) != "":
		return "ended by " + upkeep.Signal(st.ExitCode)
	}
	return "exit code " + strconv.Itoa(st.ExitCode)
}

// instant reads a time of the engine.
func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 {
		return time.Time{}
	}
	return t.UTC()
}
