package kubernetes

import (
	"context"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
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
	var before fleet.InstanceState
	if err == nil {
		before = u.enter(fleet.InstanceStopping)
	}
	release()
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err := r.halt(ctx, agentID, instanceID, grace); err != nil {
		// What the cluster was not asked for, or refused, has not begun.
		if w := r.workload(instanceID); u != nil && before == "" && w != nil && w.DeletionTimestamp == nil {
			u.enter(before)
			r.changes.Add(agentID)
		}
		return err
	}
	if release, err = r.locks.Acquire(ctx, instanceID); err != nil {
		return err
	}
	defer release()
	return r.discard(ctx, agentID, instanceID)
}

// enter notes a state, for the next portal as well, and gives the one before.
func (u *unit) enter(state fleet.InstanceState) (before fleet.InstanceState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before, u.rec.State = u.rec.State, state
	u.save()
	return before
}

// halt removes an instance: its workload, so that no pod follows, and its pods, which
// get SIGTERM, grace, SIGKILL. It returns when they are gone, and with them every
// process.
func (r *Runtime) halt(ctx context.Context, agentID, instanceID string, grace time.Duration) error {
	workloads, pods, err := r.known(ctx, agentID)
	if err != nil {
		return err
	}
	workloads = slices.DeleteFunc(workloads, func(w *workload) bool { return keyed(w) != instanceID })
	pods = slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return keyed(pod) != instanceID })
	for _, w := range workloads {
		if err := r.delete(ctx, w); err != nil {
			return err
		}
	}
	for _, pod := range pods { // before the cluster does so with the grace of the specification
		if err := r.remove(ctx, pod, grace); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, grace+killTime)
	defer cancel()
	var left *corev1.Pod
	err = r.bell.Await(bounded, instanceID, func() bool {
		left = latest(r.pods.Of(instanceID))
		return left == nil && r.workload(instanceID) == nil
	})
	switch {
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case left == nil:
		return fault.New(fault.Unavailable, "instance.stuck", "%s could not be removed", instanceID).
			Because("the cluster keeps its workload").Do("See with kubectl describe what its finalizers wait for.")
	}
	return stuck(instanceID, left)
}

func stuck(instanceID string, pod *corev1.Pod) error {
	return fault.New(fault.Unavailable, "instance.stuck", "%s could not be stopped", instanceID).
		Because("its pod %s on the node %s does not end", pod.Name, pod.Spec.NodeName).
		Do("See whether the node answers. If it is gone for good, delete the node or, by force, the pod.")
}

// emptied waits until no pod of an instance is left but those that are not done
// with, for a time.
func (r *Runtime) emptied(ctx context.Context, instanceID string, most time.Duration, done func(*corev1.Pod) bool) error {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var left *corev1.Pod
	err := r.bell.Await(bounded, instanceID, func() bool {
		left = latest(slices.DeleteFunc(r.pods.Of(instanceID), done))
		return left == nil
	})
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return stuck(instanceID, left)
}

// remove asks the cluster to remove a pod. One that has ended leaves at once.
func (r *Runtime) remove(ctx context.Context, pod *corev1.Pod, grace time.Duration) error {
	wait := seconds(grace)
	if over(pod) {
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
	return r.answered(ctx, "stop "+keyed(pod), err)
}

// discard takes away what is left of an instance that is gone, or never ran, once
// its output is taken. The lock of the instance is held.
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
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
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
		if mirror.Pause(patient, 200*time.Millisecond) {
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
	workloads, pods, err := r.known(ctx, agentID)
	if err != nil {
		return err
	}
	for _, id := range instances(workloads, pods) {
		if err := r.Stop(ctx, agentID, id, 0); err != nil {
			return err
		}
	}
	// A portal that was killed may have left it, and the cluster keeps its volume for it.
	if err := r.dismiss(ctx, r.name(agentID, carrierName)); err != nil && !fault.Is(err, fault.Conflict) {
		return err
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
