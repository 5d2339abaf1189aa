package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// unit looks after one instance: it takes the output of each run, counts how runs
// end, and says when it is enough.
type unit struct {
	r                           *Runtime
	agentID, instanceID, launch string
	restart                     agent.RestartPolicy
	ctx                         context.Context
	cancel                      context.CancelFunc
	done                        chan struct{} // closed when watch has ended
	copied                      copied        // of watch alone
	seen                        seen          // of watch alone

	mu   sync.Mutex
	rec  upkeep.Record
	last *end // that was heeded last
	hold bool // somebody starts it again by himself
}

// seen is how many ends of a pod were looked at.
type seen struct {
	pod  types.UID
	ends int
}

// adopt gives the unit that looks after the workload's instance, making it if need
// be.
func (r *Runtime) adopt(w *workload) *unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	instanceID := keyed(w)
	if u := r.units[instanceID]; u != nil {
		if u.launch == w.launch() {
			return u
		}
		u.cancel()
	}
	u := &unit{r: r, agentID: w.Annotations[noteAgent], instanceID: instanceID, launch: w.launch(), done: make(chan struct{})}
	_ = json.Unmarshal([]byte(w.Annotations[noteRestart]), &u.restart)
	u.ctx, u.cancel = context.WithCancel(r.ctx)
	u.rec = upkeep.ReadRecord(u.file(), u.launch)
	if end := w.finished(); end != nil {
		u.rec.State, u.rec.Reason, u.rec.Started = end.State, end.Reason, end.Restarts
	}
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

// forget ends looking after an instance that is gone.
func (r *Runtime) forget(u *unit) {
	u.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.units[u.instanceID] == u {
		delete(r.units, u.instanceID)
		u.remove()
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

// state gives what was decided.
func (u *unit) state() (s fleet.InstanceState, reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rec.State, u.rec.Reason
}

// isOver tells whether nothing follows in the state.
func isOver(s fleet.InstanceState) bool {
	return s == fleet.InstanceFailed || s == fleet.InstanceExited
}

// watch stays with the instance until its workload and its pods are gone.
func (u *unit) watch() {
	defer close(u.done)
	defer u.copied.Close()
	for wait := time.Duration(0); mirror.Pause(u.ctx, wait); {
		moved := u.r.bell.Next(u.instanceID)
		w, pod := u.r.workload(u.instanceID), u.r.pod(u.instanceID, u.launch)
		if w != nil && w.launch() != u.launch {
			w = nil
		}
		wait = 0
		switch {
		case w == nil && pod == nil:
			if u.vanished() {
				return
			}
		case pod != nil && u.isNew(pod):
			u.attend(pod)
			continue
		case w != nil && u.excess(w, pod):
			if err := u.r.finish(u.ctx, u, w, pod); err != nil && u.ctx.Err() == nil {
				u.r.cfg.Log.Warn("an instance that is done with could not be scaled to nothing; trying again", "instance", u.instanceID, "error", err)
				wait = time.Second
				continue
			}
		}
		select {
		case <-moved:
		case <-u.ctx.Done():
			return
		}
	}
}

// vanished takes in that the workload is gone, which somebody else may have
// removed. It is false if another one follows.
func (u *unit) vanished() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.hold {
		return false
	}
	u.r.changes.Add(u.agentID)
	go u.r.forget(u)
	return true
}

// isNew tells whether there is output to take of a pod, or an end.
func (u *unit) isNew(pod *corev1.Pod) bool {
	if !hasRun(pod) || u.seen.pod == pod.UID && u.seen.ends > restarted(pod) {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rec.Current != string(pod.UID) || u.rec.Ends <= restarted(pod)
}

// excess tells whether the cluster would go on with an instance that is done with.
func (u *unit) excess(w *workload, pod *corev1.Pod) bool {
	s, _ := u.state()
	return isOver(s) && w.wanted > 0 && w.DeletionTimestamp == nil && !w.over && (w.kind != job || pod == nil || !over(pod))
}

// attend stays with a run of a pod until its end is taken in.
func (u *unit) attend(pod *corev1.Pod) {
	run := restarted(pod)
	u.mu.Lock()
	u.begins(pod)
	u.mu.Unlock()
	for wait := time.Duration(0); mirror.Pause(u.ctx, wait); wait = min(max(2*wait, 20*time.Millisecond), 2*time.Second) {
		if u.copyLogs(u.ctx, pod, run) == nil {
			wait = 0 // the end will be told in a moment
		}
		var now *corev1.Pod
		patience, cancel := context.WithTimeout(u.ctx, max(wait, time.Second))
		err := u.r.bell.Await(patience, u.instanceID, func() bool {
			now, _ = u.r.pods.Get(pod.Name)
			return now == nil || now.UID != pod.UID || ends(now) > run
		})
		cancel()
		if err != nil { // its output broke off
			continue
		}
		u.seen = seen{pod.UID, run + 1}
		u.copied.run = run + 1
		if now != nil && now.UID == pod.UID {
			u.heed(now)
		}
		return
	}
}

// lostPod is why an instance was started again whose pod somebody removed.
const lostPod = "its pod before this one went away"

// begins notes that a pod runs, or that the kubelet started it again. u.mu is held.
func (u *unit) begins(pod *corev1.Pod) {
	before := u.rec
	if run := string(pod.UID); u.rec.Current != run {
		if pod.DeletionTimestamp != nil {
			return
		}
		if u.rec.Current != "" { // the cluster's own doing, or that of somebody else
			u.rec.Started++
			if !u.hold && u.rec.State == "" {
				u.rec.Reason = cmp.Or(u.rec.Reason, lostPod)
			}
		}
		u.rec.Current, u.rec.Counted, u.rec.Ends = run, 0, 0
	}
	if n := restarted(pod); n > u.rec.Counted {
		u.rec.Started += n - u.rec.Counted
		u.rec.Counted = n
	}
	if u.rec.Started != before.Started || u.rec.Current != before.Current {
		u.save()
		u.r.changes.Add(u.agentID)
	}
}

// heed decides what follows the ends of a pod's program that were not counted yet.
func (u *unit) heed(pod *corev1.Pod) {
	w := u.r.workload(u.instanceID)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rec.Current != string(pod.UID) { // it was suspended or replaced meanwhile
		return
	}
	u.begins(pod)
	fresh := ends(pod) - u.rec.Ends
	if fresh <= 0 || u.hold || u.rec.State != "" || pod.DeletionTimestamp != nil || w == nil || w.wanted == 0 {
		return
	}
	u.rec.Ends = ends(pod)
	// When those were that nobody saw is not known: they count if all were within
	// the window.
	last := pod.CreationTimestamp.Time
	if n := len(u.rec.Recent); n > 0 && u.rec.Recent[n-1].After(last) {
		last = u.rec.Recent[n-1]
	}
	if time.Since(last) > u.restart.Window.Or(upkeep.Window) {
		fresh = 1
	}
	e := endOf(pod)
	e.why = u.r.because(pod, e)
	u.last, u.rec.Seen, u.rec.Code = &e, e.finished, e.code
	u.rec.Reason = e.why
	for range fresh {
		if u.rec.Over(u.restart, e.why, e.failed, time.Now()) {
			break
		}
	}
	u.save()
	u.copied.Note(u.rec.Reason)
	u.r.changes.Add(u.agentID)
}

// concluded says of an instance that is done with how the end was after which it was
// so: until it is scaled to nothing the kubelet may start it once more, and end that
// run. u.mu is held.
func (u *unit) concluded(in *fleet.Instance) {
	switch {
	case !isOver(u.rec.State):
	case u.last != nil:
		in.StartedAt, in.EndedAt, in.ExitCode, in.Signal, in.OOMKilled = u.last.started, u.last.finished, u.last.code, u.last.signal, u.last.oom
	case in.EndedAt.IsZero() && !u.rec.Seen.IsZero(): // heeded by the portal before this one
		in.StartedAt, in.EndedAt, in.ExitCode = time.Time{}, u.rec.Seen, u.rec.Code
		if in.ExitCode != nil {
			in.Signal = upkeep.Signal(*in.ExitCode)
		}
	}
}

// finish scales an instance to nothing that is done with; its pod, nil if there is
// none, tells how it ended.
func (r *Runtime) finish(ctx context.Context, u *unit, w *workload, pod *corev1.Pod) error {
	end := described(w, pod)
	u.mu.Lock()
	end.State, end.Reason, end.Restarts = u.rec.State, u.rec.Reason, u.rec.Started
	u.concluded(&end)
	u.mu.Unlock()
	end.Host, end.Port = "", 0
	if end.EndedAt.IsZero() {
		end.EndedAt = time.Now().UTC()
	}
	text, err := json.Marshal(end)
	if err != nil {
		return err
	}
	return r.scale(ctx, w, 0, map[string]string{noteEnd: string(text)})
}
