package docker

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
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
	stir                chan struct{} // told that it is worth a look
	copied              segment.Copy  // of watch alone

	mu     sync.Mutex
	rec    upkeep.Record
	looked bool          // by this portal
	turn   int           // grows with each start by the portal
	hold   bool          // somebody starts it again by himself
	ending bool          // it is to run no more, and was not yet seen to be so
	quiet  chan struct{} // closed once an end is taken in, with all output
	timer  *time.Timer
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
		done: make(chan struct{}), stir: make(chan struct{}, 1), quiet: make(chan struct{}),
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

// watch takes the output of each run, and then takes in its end.
func (u *unit) watch() {
	defer close(u.done)
	defer u.copied.Close()
	for wait := time.Duration(0); ; {
		if !u.pause(wait) {
			return
		}
		wait = min(max(2*wait, 20*time.Millisecond), 2*time.Second)
		news, rests, gone := u.visit()
		switch {
		case u.ctx.Err() != nil:
			return
		case gone:
			u.r.changes.Add(u.agentID)
			go u.r.forget(u)
			return
		case rests:
			select {
			case <-u.stir:
				wait = 0
			case <-u.ctx.Done():
				return
			}
		case news:
			wait = 0
		}
	}
}

// visit takes the output of a container and takes in what became of it, which lasts
// as long as its run does. news says that there is more to see at once, rests that
// there is nothing until somebody does something, gone that it never will.
func (u *unit) visit() (news, rests, gone bool) {
	u.mu.Lock()
	turn := u.turn
	u.mu.Unlock()
	// The output is that of the run that is looked at next, or of one before it: none
	// begins unseen.
	output, err := u.stream()
	if err == nil {
		defer output.Close()
	}
	ctx, cancel := u.r.bounded(u.ctx)
	got, ierr := u.r.api().ContainerInspect(ctx, u.container, client.ContainerInspectOptions{})
	cancel()
	if ierr != nil || u.ctx.Err() != nil {
		return false, false, errdefs.IsNotFound(ierr)
	}
	c := got.Container
	if u.final(c) {
		u.finish()
		return false, false, false
	}
	take := func() time.Duration {
		begun := time.Now()
		if err == nil {
			err = u.take(output)
		}
		return time.Since(begun)
	}
	if runs(c.State) {
		if news = u.look(c, turn); u.final(c) {
			return true, false, false
		}
		return take() > time.Second && err == nil || news, false, false
	}
	take()
	news = u.look(c, turn)
	return news, c.State.Status == container.StateExited && !u.final(c), false
}

// pause waits until there may be something to see; false if that is no more.
func (u *unit) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.stir:
	case <-u.ctx.Done():
	}
	return u.ctx.Err() == nil
}

// poke lets watch look.
func (u *unit) poke() {
	select {
	case u.stir <- struct{}{}:
	default:
	}
}

// ended decides what follows the end of a run, once for each. u.mu is held.
func (u *unit) ended(st *container.State) {
	defer u.settle()
	if u.rec.State == fleet.InstanceFailed || u.rec.State == fleet.InstanceExited {
		return
	}
	if u.rec.State != "" && u.rec.Run == st.StartedAt { // known, maybe from the portal before this one
		if u.rec.State == fleet.InstanceBackoff && !st.Restarting {
			u.schedule() // the engine does not
		}
		return
	}
	u.rec.Run, u.rec.Seen = st.StartedAt, instant(st.FinishedAt)
	why := u.describe(st)
	lived := instant(st.FinishedAt).Sub(instant(st.StartedAt))
	if u.rec.Lived(u.restart, lived); st.Restarting && lived >= engineCalm {
		u.rec.Failures = 0
	}
	u.rec.Follow(u.restart, why, st.ExitCode != 0, time.Now())
	switch {
	case u.rec.State != fleet.InstanceBackoff:
		u.conclude(st.ExitCode)
		return
	case !st.Restarting:
		u.schedule()
	}
	u.decide(u.rec.State, u.rec.Reason)
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
	u.copied.Note(why)
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
	_, err = u.r.api().ContainerStart(ctx, u.container, client.ContainerStartOptions{})
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		u.rec.Resume()
		u.runs(u.rec.Reason)
	case errdefs.IsNotFound(err) || u.ctx.Err() != nil:
	case client.IsErrConnectionFailed(err) || ctx.Err() != nil: // that is not the instance's fault
		u.rec.Due = time.Now().Add(time.Second)
		u.schedule()
	default:
		u.follow("could not be started: "+brief(err), true)
	}
}

// runs notes that the portal has started the container. u.mu is held.
func (u *unit) runs(reason string) {
	u.rec.State, u.rec.Reason, u.hold = "", reason, false
	u.rec.Current, u.rec.Counted = "", 0 // the engine begins to count anew
	u.turn++
	u.begun()
}

// begun notes that another run has begun. u.mu is held.
func (u *unit) begun() {
	u.reopen()
	u.save()
	u.r.changes.Add(u.agentID)
}

// reopen makes the next end one that has to be taken in. u.mu is held.
func (u *unit) reopen() {
	select {
	case <-u.quiet:
		u.quiet = make(chan struct{})
	default:
	}
	u.poke()
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
