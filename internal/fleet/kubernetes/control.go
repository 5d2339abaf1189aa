package kubernetes

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// outputLimit is how much of a command's output is given.
const outputLimit = 4096

// Restart implements fleet.Restarter: the pod is removed, and the cluster makes
// another one.
func (r *Runtime) Restart(ctx context.Context, agentID, instanceID, reason string) error {
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	defer release()
	u, w, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	if s := r.observe(w); isOver(s.State) || s.State == fleet.InstanceStopping || s.State == fleet.InstanceSuspended {
		return notRunning(s)
	}
	pod := r.pod(instanceID, w.launch())
	u.mu.Lock()
	if !u.rec.Count(u.restart, time.Now()) {
		u.rec.State, u.rec.Reason = fleet.InstanceFailed, u.rec.Loop(u.restart, reason)
		u.save()
		why := u.rec.Reason
		u.mu.Unlock()
		r.changes.Add(agentID)
		return errors.Join(r.finish(ctx, u, w, pod), notRunning(fleet.Instance{ID: instanceID, State: fleet.InstanceFailed, Reason: why}))
	}
	u.hold, u.rec.Reason = true, reason
	u.mu.Unlock()
	made, err := r.replaced(ctx, w, pod)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil {
		u.copied.Note(reason + "; started again")
		u.begins(made)
	}
	u.hold = false
	return err
}

// replaced removes the pod of a workload, nil for none, and waits for the next one to
// run.
func (r *Runtime) replaced(ctx context.Context, w *workload, pod *corev1.Pod) (*corev1.Pod, error) {
	instanceID, was := keyed(w), types.UID("")
	if pod != nil {
		was = pod.UID
	}
	if w.kind == job { // which counts what is removed as failed, and may end by that
		if err := r.halt(ctx, w.Annotations[noteAgent], instanceID, 0); err != nil {
			return nil, err
		}
		if err := r.again(ctx, w); err != nil {
			return nil, r.answered(ctx, "start "+instanceID, err)
		}
	} else if pod != nil {
		if err := r.remove(ctx, pod, 0); err != nil {
			return nil, err
		}
		if err := r.emptied(ctx, instanceID, killTime, func(p *corev1.Pod) bool { return p.UID != was }); err != nil {
			return nil, err
		}
	}
	return r.begun(ctx, as(w), w.launch(), was)
}

// as describes a workload as its launch did, for people.
func as(w *workload) fleet.Launch {
	c := w.template.Spec.Containers[0]
	return fleet.Launch{AgentID: w.Annotations[noteAgent], InstanceID: keyed(w), Image: c.Image, Command: strings.Join(c.Command, " ")}
}

// Suspend implements fleet.Suspender: the workload is scaled to nothing, and the
// number of its pods remembered. What its program had in memory is gone.
func (r *Runtime) Suspend(ctx context.Context, agentID, instanceID string) error {
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	defer release()
	u, w, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	if s := r.observe(w); isOver(s.State) || s.State == fleet.InstanceStopping || s.State == fleet.InstanceLost {
		return notRunning(s)
	}
	if !w.suspended() || w.wanted > 0 {
		if err := r.scale(ctx, w, 0, map[string]string{noteReplicas: "1"}); err != nil {
			return err
		}
	}
	err = r.bell.Await(ctx, instanceID, func() bool {
		now := r.workload(instanceID)
		return now == nil || now.suspended() && now.wanted == 0
	})
	if err != nil {
		return err
	}
	patience := killTime
	if s := w.template.Spec.TerminationGracePeriodSeconds; s != nil {
		patience += time.Duration(*s) * time.Second
	}
	stays := func(pod *corev1.Pod) bool { return over(pod) && pod.DeletionTimestamp == nil } // of a job, or evicted
	if err := r.emptied(ctx, instanceID, patience, stays); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rec.Current = "" // the next one is no restart
	u.save()
	r.changes.Add(agentID)
	return nil
}

// Resume implements fleet.Suspender.
func (r *Runtime) Resume(ctx context.Context, agentID, instanceID string) error {
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	defer release()
	u, w, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	s := r.observe(w)
	switch {
	case isOver(s.State) || s.State == fleet.InstanceStopping:
		return notRunning(s)
	case s.State != fleet.InstanceSuspended:
		return nil
	}
	u.mu.Lock()
	u.rec.Current, u.rec.Reason, u.hold = "", "", w.over
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.hold = false
		u.mu.Unlock()
	}()
	if w.over { // a job whose pod the suspension ended
		_, err = r.replaced(ctx, w, nil)
		return err
	}
	if err := r.scale(ctx, w, 1, map[string]string{noteReplicas: ""}); err != nil {
		return err
	}
	err = r.bell.Await(ctx, instanceID, func() bool {
		now := r.workload(instanceID)
		return now == nil || now.wanted > 0
	})
	if err != nil {
		return err
	}
	pod, err := r.begun(ctx, as(w), w.launch(), "")
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.begins(pod)
	return nil
}

// Exec implements fleet.Execer. At the context's deadline the error wraps
// context.DeadlineExceeded and the output so far is given. The cluster has no way
// to end a command: it ends with the instance at the latest.
func (r *Runtime) Exec(ctx context.Context, agentID, instanceID string, command []string) (int, string, error) {
	_, w, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return -1, "", err
	}
	pod := r.pod(instanceID, w.launch())
	if pod == nil || status(pod).State.Running == nil || pod.DeletionTimestamp != nil {
		return -1, "", notRunning(r.observe(w))
	}
	address := r.api.ofPod(r.namespace, pod.Name, "exec", &corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}).URL()
	stream, err := remotecommand.NewWebSocketExecutor(r.rest, "GET", address.String())
	if err != nil {
		return -1, "", r.answered(ctx, "run a command in "+instanceID, err)
	}
	out := &head{}
	err = stream.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: out})
	var code exec.CodeExitError
	switch {
	case err == nil:
		return 0, out.String(), nil
	case errors.As(err, &code):
		return code.Code, out.String(), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return -1, out.String(), fault.New(fault.Unavailable, "exec.timeout", "the command in %s was left", instanceID).
			Because("it did not end in time").Do("Allow it more time.").Wrap(context.DeadlineExceeded)
	}
	return -1, out.String(), r.answered(ctx, "run a command in "+instanceID, err)
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
