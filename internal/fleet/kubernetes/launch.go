package kubernetes

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// placeTime is how long the cluster may look for a node; it may have to make one.
const placeTime = time.Minute

// Launch implements fleet.Runtime.
func (r *Runtime) Launch(ctx context.Context, l fleet.Launch) error {
	if err := upkeep.CheckIDs(l.AgentID, l.InstanceID); err != nil {
		return err
	}
	release, err := r.locks.Acquire(ctx, l.InstanceID)
	if err != nil {
		return err
	}
	defer release()
	running, err := r.clear(ctx, l)
	if err != nil || running {
		return err
	}
	pod, err := r.prepare(ctx, &l)
	if err != nil {
		return err
	}
	r.pruneLogs(l.AgentID, l.InstanceID)
	if err := r.secret(ctx, l); err != nil {
		return err
	}
	pod.Annotations[noteLaunch] = rand.Text()
	made, err := r.create(ctx, pod)
	if err != nil {
		return errors.Join(r.refused(ctx, l, err), r.dropSecret(ctx, l.InstanceID))
	}
	r.adopt(made)
	if err := r.begun(ctx, l, made.Name); err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
		defer cancel()
		if derr := r.discard(late, l.AgentID, l.InstanceID); derr != nil {
			r.cfg.Log.Warn("a pod that could not be started is left", "instance", l.InstanceID, "error", derr)
		}
		return err
	}
	return nil
}

// clear makes the way free for a launch: true if the instance already runs, else
// its pods are gone. The lock of the instance is held.
func (r *Runtime) clear(ctx context.Context, l fleet.Launch) (running bool, err error) {
	u, pod, err := r.find(ctx, l.AgentID, l.InstanceID)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	u.mu.Lock()
	state := u.rec.State
	u.mu.Unlock()
	over := state == fleet.InstanceFailed || state == fleet.InstanceExited || state == fleet.InstanceStopping
	if !over && pod.DeletionTimestamp == nil {
		if hasRun(pod) {
			return true, nil
		}
		return true, r.begun(ctx, l, pod.Name) // a portal before this one began it
	}
	if err := r.halt(ctx, l.AgentID, l.InstanceID, 0); err != nil {
		return false, err
	}
	return false, r.discard(ctx, l.AgentID, l.InstanceID)
}

// create makes a pod.
func (r *Runtime) create(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	made, err := r.api.pods(r.namespace).Create(bounded, pod, meta.CreateOptions{FieldManager: manager})
	if kerrors.IsAlreadyExists(err) {
		got, gerr := r.api.pods(r.namespace).Get(bounded, pod.Name, meta.GetOptions{})
		if gerr != nil {
			return nil, err
		}
		if oerr := r.owned("pod", got.ObjectMeta); oerr != nil {
			return nil, oerr
		}
		made, err = got, nil
	}
	if err != nil {
		return nil, err
	}
	r.pods.put(slim(made))
	return made, nil
}

// begun waits until the program of a pod runs, or did.
func (r *Runtime) begun(ctx context.Context, l fleet.Launch, name string) error {
	placed := time.NewTimer(placeTime)
	defer placed.Stop()
	for {
		pod, moved := r.pods.get(name)
		if pod == nil || pod.DeletionTimestamp != nil {
			return fault.New(fault.Unavailable, "kubernetes.removed", "The pod of %s was removed while it was started", l.InstanceID).
				Because("somebody else, or the cluster itself, deleted %s", name).Do("See the events of the namespace %s, then start the agent again.", r.namespace)
		}
		if hasRun(pod) {
			if t := state(pod).Terminated; t != nil && couldNotStart(t) {
				return commandMissing(l, t.Message)
			}
			return nil
		}
		reason, message := pending(pod)
		if err := r.hopeless(l, reason, message); err != nil {
			return err
		}
		select {
		case <-moved:
		case <-placed.C:
			if pod.Spec.NodeName == "" {
				return unschedulable(l, reason+": "+message)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
