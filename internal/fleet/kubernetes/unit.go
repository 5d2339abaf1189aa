package kubernetes

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// unit looks after one instance: it takes the output of each run, and decides
// what happens when a run ends.
type unit struct {
	r                           *Runtime
	agentID, instanceID, launch string
	restart                     agent.RestartPolicy
	ctx                         context.Context
	cancel                      context.CancelFunc
	done                        chan struct{} // closed when watch has ended
	copied                      copied        // of watch alone

	mu    sync.Mutex
	rec   upkeep.Record
	pod   string        // name of the run's pod
	hold  bool          // somebody starts it again by himself
	quiet chan struct{} // closed once the end of the run is taken in, with all output
	next  chan struct{} // closed when pod is another one
	timer *time.Timer
}

// meet takes charge of a pod that was found: of the newest of its instance.
func (r *Runtime) meet(pod *corev1.Pod) {
	if upkeep.CheckIDs(pod.Annotations[noteAgent], pod.Annotations[noteInstance]) == nil && pod.DeletionTimestamp == nil {
		r.adopt(pod)
	}
}

// adopt gives the unit that looks after the pod's instance, making it if need be.
func (r *Runtime) adopt(pod *corev1.Pod) *unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	instanceID, launch := pod.Annotations[noteInstance], pod.Annotations[noteLaunch]
	if u := r.units[instanceID]; u != nil {
		if u.launch == launch {
			u.see(pod)
			return u
		}
		u.cancel()
	}
	u := &unit{
		r: r, agentID: pod.Annotations[noteAgent], instanceID: instanceID, launch: launch, pod: pod.Name,
		done: make(chan struct{}), quiet: make(chan struct{}), next: make(chan struct{}),
	}
	_ = json.Unmarshal([]byte(pod.Annotations[noteRestart]), &u.restart)
	u.ctx, u.cancel = context.WithCancel(r.ctx)
	u.rec = upkeep.ReadRecord(u.file(), launch)
	if n := number(pod, noteRun); n > u.rec.Started { // killed before it was written down
		u.rec.Started, u.rec.State = n, ""
	}
	r.units[instanceID] = u
	if r.ctx.Err() == nil {
		r.tasks.Go(u.watch)
	} else {
		close(u.done)
	}
	return u
}

// see goes on to a newer run, which a portal before this one may have made.
func (u *unit) see(pod *corev1.Pod) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if number(pod, noteRun) > u.rec.Started {
		u.runs(pod, u.rec.Reason)
	}
}

// unit gives who looks after the instance; nil if nobody does.
func (r *Runtime) unit(instanceID string) *unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.units[instanceID]
}

// forget ends looking after an instance that is gone.
func (r *Runtime) forget(u *unit) {
	u.rest()
	u.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.units[u.instanceID] == u {
		delete(r.units, u.instanceID)
		u.remove()
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
	for u.ctx.Err() == nil {
		u.mu.Lock()
		name, next := u.pod, u.next
		u.mu.Unlock()
		begun, err := u.r.await(u.ctx, name, func(p *corev1.Pod) bool { return p == nil || hasRun(p) })
		if err != nil {
			return
		}
		if begun != nil {
			begun, err = u.attend(name)
			if err != nil {
				return
			}
		}
		if begun == nil && u.vanished(name) {
			return
		}
		select {
		case <-next:
		case <-u.ctx.Done():
			return
		}
	}
}

// attend stays with a run until its end is taken in; nil if its pod went away.
func (u *unit) attend(name string) (*corev1.Pod, error) {
	for wait := time.Duration(0); ; wait = min(max(2*wait, 20*time.Millisecond), 2*time.Second) {
		if !pause(u.ctx, wait) {
			return nil, u.ctx.Err()
		}
		err := u.copyLogs(u.ctx, name)
		if err == nil {
			wait = 0 // the end will be told in a moment
		}
		patience, cancel := context.WithTimeout(u.ctx, max(wait, time.Second))
		pod, werr := u.r.await(patience, name, func(p *corev1.Pod) bool { return p == nil || hasEnded(p) })
		cancel()
		switch {
		case u.ctx.Err() != nil:
			return nil, u.ctx.Err()
		case werr != nil: // its output broke off
			continue
		case pod == nil:
			return nil, nil
		}
		u.ended(pod)
		return pod, nil
	}
}

// vanished takes in that the pod of a run is gone, which somebody else may have
// removed. It is false if another run follows.
func (u *unit) vanished(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settle()
	if u.hold || u.pod != name {
		return false
	}
	u.r.changes.Add(u.agentID)
	go u.r.forget(u)
	return true
}

// ended decides what follows the end of a run, once for each.
func (u *unit) ended(pod *corev1.Pod) {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer u.settle()
	switch {
	case u.hold || u.rec.State == fleet.InstanceStopping || pod.DeletionTimestamp != nil || u.pod != pod.Name:
		return
	case u.rec.State != "" && u.rec.Run == pod.Name: // by the portal before this one
		if u.rec.State == fleet.InstanceBackoff {
			u.schedule()
		}
		return
	}
	u.rec.Run = pod.Name
	e := endOf(pod)
	u.rec.Lived(u.restart, e.finished.Sub(e.started))
	u.follow(e.why, e.failed)
}

// follow is what follows an end that has the reason. u.mu is held.
func (u *unit) follow(why string, failed bool) {
	u.rec.Follow(u.restart, why, failed, time.Now())
	u.save()
	u.copied.note(u.rec.Reason)
	u.r.changes.Add(u.agentID)
	if u.rec.State == fleet.InstanceBackoff {
		u.schedule()
	}
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
	due, old := u.rec.State == fleet.InstanceBackoff && u.ctx.Err() == nil, u.pod
	u.mu.Unlock()
	was, _ := u.r.pods.get(old)
	if !due || was == nil {
		return
	}
	made, err := u.r.create(u.ctx, u.r.another(was))
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		why, _, _ := strings.Cut(u.rec.Reason, "; starts again in ")
		u.runs(made, "started again: "+why)
		go u.r.drop(was)
	case u.ctx.Err() != nil:
	case isAway(err): // that is not the instance's fault
		u.rec.Due = time.Now().Add(time.Second)
		u.schedule()
	default:
		u.follow("could not be started: "+brief(err), true)
	}
}

// runs notes that another run has begun, which the watch may have told before.
// u.mu is held.
func (u *unit) runs(pod *corev1.Pod, reason string) {
	u.rec.State, u.rec.Reason, u.rec.Started, u.hold = "", reason, number(pod, noteRun), false
	u.save()
	if u.pod != pod.Name {
		u.pod = pod.Name
		u.quiet = make(chan struct{})
		close(u.next)
		u.next = make(chan struct{})
	}
	u.r.changes.Add(u.agentID)
}
