package kubernetes

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

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
	w, err := r.prepare(ctx, &l, rand.Text())
	if err != nil {
		return err
	}
	if err := r.taken(ctx, l, w); err != nil {
		return err
	}
	r.pruneLogs(l.AgentID, l.InstanceID)
	version, err := r.secret(ctx, l)
	if err == nil {
		err = w.note(version)
	}
	if err != nil {
		return err
	}
	made, err := r.create(ctx, w)
	if err != nil {
		return errors.Join(r.refused(ctx, l, err), r.dropSecret(ctx, l.InstanceID))
	}
	r.adopt(made)
	if _, err := r.begun(ctx, l, made.launch(), ""); err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
		defer cancel()
		if derr := r.discard(late, l.AgentID, l.InstanceID); derr != nil {
			r.cfg.Log.Warn("what could not be started is left", "instance", l.InstanceID, "error", derr)
		}
		return err
	}
	return nil
}

// clear makes the way free for a launch: true if the instance already runs or is
// suspended, else nothing of it is left. The lock of the instance is held.
func (r *Runtime) clear(ctx context.Context, l fleet.Launch) (running bool, err error) {
	u, w, err := r.find(ctx, l.AgentID, l.InstanceID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return false, err
	}
	if err == nil {
		state, _ := u.state()
		pod := r.pod(l.InstanceID, w.launch())
		lost := w.over && pod == nil
		if !isOver(state) && state != fleet.InstanceStopping && !lost && w.DeletionTimestamp == nil {
			if w.wanted == 0 || pod != nil && hasRun(pod) {
				return true, nil
			}
			_, err := r.begun(ctx, l, w.launch(), "") // a portal before this one began it
			return true, err
		}
	} else if len(r.pods.Of(l.InstanceID)) == 0 && r.unit(l.InstanceID) == nil {
		return false, nil
	}
	if err := r.halt(ctx, l.AgentID, l.InstanceID, 0); err != nil {
		return false, err
	}
	return false, r.discard(ctx, l.AgentID, l.InstanceID)
}

// begun waits until a pod of a launch runs its program, or did; one that has the
// unique id does not count.
func (r *Runtime) begun(ctx context.Context, l fleet.Launch, launch string, not types.UID) (*corev1.Pod, error) {
	placed := time.NewTimer(placeTime)
	defer placed.Stop()
	for {
		moved := r.bell.Next(l.InstanceID)
		w, pod := r.workload(l.InstanceID), r.pod(l.InstanceID, launch)
		if w == nil || w.launch() != launch || w.DeletionTimestamp != nil {
			return nil, fault.New(fault.Unavailable, "kubernetes.removed", "%s was removed while it was started", l.InstanceID).
				Because("somebody else deleted its workload").Do("See the audit log of the cluster, then start the agent again.")
		}
		if pod != nil && (pod.UID == not || pod.DeletionTimestamp != nil) {
			pod = nil
		}
		var reason, message string
		if pod != nil {
			if hasRun(pod) {
				if t := lastEnd(pod); t != nil && couldNotStart(t) {
					return nil, commandMissing(l, t.Message)
				}
				return pod, nil
			}
			reason, message = pending(pod)
			if err := r.hopeless(l, reason, message); err != nil {
				return nil, err
			}
		}
		select {
		case <-moved:
		case <-placed.C:
			if pod == nil {
				return nil, r.unmade(ctx, l, w)
			}
			if pod.Spec.NodeName == "" {
				return nil, unschedulable(l, reason, message)
			}
			if err := r.stuck(l, w, pod); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// unmade says why the cluster makes no pod for a workload.
func (r *Runtime) unmade(ctx context.Context, l fleet.Launch, w *workload) error {
	if err := r.taken(ctx, l, w); err != nil { // what it said then may hold no more
		return err
	}
	if err := r.stuck(l, w, nil); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "kubernetes.no_pod", "The cluster makes no pod for %s", l.InstanceID).
		Because("%s", cmp.Or(w.trouble, "its "+w.kind+" "+w.Name+" was made and nothing followed")).
		Do("See its events with kubectl describe, and whether the controller manager of the cluster runs.")
}
