package kubernetes

import (
	"context"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// killTime is how long a pod may take to go after its grace.
const killTime = 60 * time.Second

// Stop implements fleet.Runtime. A second Stop with a shorter grace hurries the
// first, where nodes listen: kubelets of some versions keep to the first grace that
// they were told.
func (r *Runtime) Stop(ctx context.Context, agentID, instanceID string, grace time.Duration) error {
	if err := upkeep.CheckIDs(agentID, instanceID); err != nil {
		return err
	}
	// Only a launch that is under way is waited for; stops may overtake each other.
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	u, _, err := r.find(ctx, agentID, instanceID)
	if err == nil {
		u.mu.Lock()
		u.rec.State = fleet.InstanceStopping
		u.save()
		u.mu.Unlock()
		u.rest()
	}
	release()
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err := r.halt(ctx, agentID, instanceID, grace); err != nil {
		return err
	}
	if release, err = r.locks.Acquire(ctx, instanceID); err != nil {
		return err
	}
	defer release()
	return r.discard(ctx, agentID, instanceID)
}

// runs gives the pods of an instance.
func (r *Runtime) runs(ctx context.Context, agentID, instanceID string) (list []*corev1.Pod, err error) {
	all, err := r.known(ctx, labelled(agentID))
	if err != nil {
		return nil, err
	}
	for _, pod := range all {
		if pod.Annotations[noteInstance] == instanceID {
			list = append(list, pod)
		}
	}
	return list, nil
}

// halt removes the pods of an instance: SIGTERM, grace, SIGKILL. It returns when
// they are gone, and with them every process.
func (r *Runtime) halt(ctx context.Context, agentID, instanceID string, grace time.Duration) error {
	list, err := r.runs(ctx, agentID, instanceID)
	if err != nil {
		return err
	}
	for _, pod := range list {
		if err := r.remove(ctx, pod, grace); err != nil {
			return err
		}
	}
	for _, pod := range list {
		gone, err := r.gone(ctx, pod, grace+killTime)
		if err != nil {
			return err
		}
		if !gone {
			return fault.New(fault.Unavailable, "instance.stuck", "%s could not be stopped", instanceID).
				Because("its pod %s on the node %s does not end", pod.Name, pod.Spec.NodeName).
				Do("See whether the node answers. If it is gone for good, delete the node or, by force, the pod.")
		}
	}
	return nil
}

// gone tells whether a pod is removed in time.
func (r *Runtime) gone(ctx context.Context, pod *corev1.Pod, most time.Duration) (bool, error) {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	_, err := r.await(bounded, pod.Name, func(p *corev1.Pod) bool { return p == nil || p.UID != pod.UID })
	return err == nil, ctx.Err()
}

// remove asks the cluster to remove a pod. One that has ended leaves at once.
func (r *Runtime) remove(ctx context.Context, pod *corev1.Pod, grace time.Duration) error {
	wait := seconds(grace)
	if hasEnded(pod) && pod.Status.Phase != corev1.PodRunning {
		wait = 0
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	err := r.api.pods(r.namespace).Delete(bounded, pod.Name, meta.DeleteOptions{
		GracePeriodSeconds: &wait, Preconditions: meta.NewUIDPreconditions(string(pod.UID)),
	})
	if kerrors.IsNotFound(err) || kerrors.IsConflict(err) { // another one has the name
		return nil
	}
	return r.answered(ctx, "stop "+pod.Annotations[noteInstance], err)
}

// drop removes the pod of a run that another one followed.
func (r *Runtime) drop(pod *corev1.Pod) {
	if err := r.remove(r.ctx, pod, 0); err != nil && r.ctx.Err() == nil {
		r.cfg.Log.Warn("the pod of a run that is over is left", "pod", pod.Name, "error", err)
	}
}

// discard takes away what is left of an instance whose pods are gone, or never
// ran, once its output is taken. The lock of the instance is held.
func (r *Runtime) discard(ctx context.Context, agentID, instanceID string) error {
	if err := r.halt(ctx, agentID, instanceID, 0); err != nil {
		return err
	}
	if err := r.dropSecret(ctx, instanceID); err != nil {
		return err
	}
	u := r.unit(instanceID)
	if u == nil || u.agentID != agentID {
		return nil
	}
	u.mu.Lock()
	quiet := u.quiet
	u.mu.Unlock()
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
	case <-quiet:
	case <-u.done:
	case <-patience.C:
		r.cfg.Log.Warn("the last output of an instance may be lost", "instance", instanceID)
	case <-ctx.Done():
		return ctx.Err()
	}
	r.forget(u)
	<-u.done // nobody writes its output any more
	r.changes.Add(agentID)
	return nil
}

// dropSecret removes the environment of an instance.
func (r *Runtime) dropSecret(ctx context.Context, instanceID string) error {
	name := r.name(instanceID, "env")
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	secrets := r.api.secrets(r.namespace)
	got, err := secrets.Get(bounded, name, meta.GetOptions{})
	if err == nil && r.owned("secret", got.ObjectMeta) == nil {
		err = secrets.Delete(bounded, name, meta.DeleteOptions{Preconditions: meta.NewUIDPreconditions(string(got.UID))})
	}
	if err == nil || kerrors.IsNotFound(err) {
		err = r.around.Unconfigure(bounded, name)
	}
	return r.answered(ctx, "remove the environment "+name, err)
}

// claimPatience is how long volumes may take to go. The cluster removes one when it
// has noticed that no pod uses it any more, which on a busy one takes its time.
const claimPatience = 3 * time.Minute

// unclaimed waits until the agent's volumes, whose removal was asked for, are gone.
func (r *Runtime) unclaimed(ctx context.Context, agentID string) error {
	patient, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for {
		bounded, done := r.bounded(ctx)
		left, err := r.api.claims(r.namespace).List(bounded, meta.ListOptions{LabelSelector: r.mine(agentID)})
		done()
		if err != nil {
			return r.answered(ctx, "look at the volumes of "+agentID, err)
		}
		if len(left.Items) == 0 {
			return nil
		}
		if pause(patient, 200*time.Millisecond) {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault.New(fault.Unavailable, "kubernetes.volume_held", "The volume %s of %s is still there", left.Items[0].Name, agentID).
			Because("the cluster was told to remove it and has not done so within %s", claimPatience).
			Do("See with kubectl describe which pod uses it, or what its finalizers wait for; then try again.")
	}
}

// Remove implements fleet.Runtime.
func (r *Runtime) Remove(ctx context.Context, agentID string) error {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return err
	}
	list, err := r.known(ctx, labelled(agentID))
	if err != nil {
		return err
	}
	for _, pod := range newest(list) {
		if err := r.Stop(ctx, agentID, pod.Annotations[noteInstance], 0); err != nil {
			return err
		}
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	all := meta.ListOptions{LabelSelector: r.mine(agentID)}
	if err := r.api.secrets(r.namespace).DeleteCollection(bounded, meta.DeleteOptions{}, all); err != nil {
		return r.answered(ctx, "remove the secrets of "+agentID, err)
	}
	if err := r.api.claims(r.namespace).DeleteCollection(bounded, meta.DeleteOptions{}, all); err != nil {
		return r.answered(ctx, "remove the volumes of "+agentID, err)
	}
	if err := r.answered(ctx, "remove the objects of "+agentID, r.around.Remove(bounded, agentID, r.mine(agentID))); err != nil {
		return err
	}
	if err := r.unclaimed(ctx, agentID); err != nil {
		return err
	}
	if err := os.RemoveAll(r.agentDir(agentID)); err != nil {
		return fault.New(fault.Unavailable, "agent.remove", "the directories of %s could not be removed", agentID).
			Do("Check permissions of the data directory.").Wrap(err)
	}
	return nil
}
