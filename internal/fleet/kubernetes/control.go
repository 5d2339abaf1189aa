package kubernetes

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// outputLimit is how much of a command's output is given.
const outputLimit = 4096

// Restart implements fleet.Restarter: the pod is removed, and another made.
func (r *Runtime) Restart(ctx context.Context, agentID, instanceID, reason string) error {
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	defer release()
	u, pod, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	u.mu.Lock()
	s, quiet := u.rec.State, u.quiet
	if s == fleet.InstanceFailed || s == fleet.InstanceExited || s == fleet.InstanceStopping {
		defer u.mu.Unlock()
		return notRunning(fleet.Instance{ID: instanceID, State: s, Reason: u.rec.Reason})
	}
	u.hold = true
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.hold = false
		u.mu.Unlock()
	}()
	u.rest()
	u.mu.Lock()
	if !u.rec.Count(u.restart, time.Now()) {
		u.rec.State, u.rec.Reason = fleet.InstanceFailed, u.rec.Loop(u.restart, reason)
		u.rec.Run = pod.Name
		u.save()
		why := u.rec.Reason
		u.mu.Unlock()
		r.changes.Add(agentID)
		return errors.Join(r.expire(ctx, pod), notRunning(fleet.Instance{ID: instanceID, State: fleet.InstanceFailed, Reason: why}))
	}
	u.mu.Unlock()
	if err := r.halt(ctx, agentID, instanceID, 0); err != nil {
		return err
	}
	select { // all of its output belongs before the new run
	case <-quiet:
	case <-ctx.Done():
		return ctx.Err()
	}
	made, err := r.create(ctx, r.another(pod))
	u.mu.Lock()
	if err != nil {
		u.mu.Unlock()
		return r.answered(ctx, "start "+instanceID, err)
	}
	u.copied.note(reason + "; started again")
	u.runs(made, reason)
	u.mu.Unlock()
	l := fleet.Launch{AgentID: agentID, InstanceID: instanceID, Image: pod.Spec.Containers[0].Image, Command: strings.Join(pod.Spec.Containers[0].Command, " ")}
	return r.begun(ctx, l, made.Name)
}

// expire ends the program of a pod that stays, so that it can be looked at.
func (r *Runtime) expire(ctx context.Context, pod *corev1.Pod) error {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err := r.api.pods(r.namespace).Patch(bounded, pod.Name, types.MergePatchType,
		[]byte(`{"spec":{"activeDeadlineSeconds":1}}`), meta.PatchOptions{FieldManager: manager})
	if kerrors.IsNotFound(err) {
		return nil
	}
	return r.answered(ctx, "end "+pod.Name, err)
}

// Exec implements fleet.Execer. At the context's deadline the error wraps
// context.DeadlineExceeded and the output so far is given. The cluster has no way
// to end a command: it ends with the instance at the latest.
func (r *Runtime) Exec(ctx context.Context, agentID, instanceID string, command []string) (int, string, error) {
	u, pod, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return -1, "", err
	}
	if state(pod).Running == nil || pod.DeletionTimestamp != nil {
		u.mu.Lock()
		in := fleet.Instance{ID: instanceID, State: u.rec.State, Reason: u.rec.Reason}
		u.mu.Unlock()
		if in.State == "" {
			in.State, in.Reason = fleet.InstanceStarting, "its pod does not run"
		}
		return -1, "", notRunning(in)
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
