package kubernetes

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// Observe implements fleet.Runtime.
func (r *Runtime) Observe(ctx context.Context, agentID string) ([]fleet.Instance, error) {
	if agentID != "" {
		if err := upkeep.CheckIDs(agentID); err != nil {
			return nil, err
		}
	}
	workloads, pods, err := r.known(ctx, agentID)
	if err != nil {
		return nil, err
	}
	var out []fleet.Instance
	for _, id := range instances(workloads, pods) {
		if w := r.workload(id); w != nil {
			out = append(out, r.observe(w))
		} else if pod := latest(r.pods.Of(id)); pod != nil {
			out = append(out, stray(pod))
		}
	}
	return out, nil
}

// stray says where an instance is that has pods and no workload.
func stray(pod *corev1.Pod) fleet.Instance {
	in := described(pod, pod)
	in.State, in.Reason = fleet.InstanceStopping, "its pod is being removed"
	if pod.DeletionTimestamp == nil && meta.GetControllerOf(pod) == nil {
		in.State, in.Reason = fleet.InstanceLost, "its pod is nobody's, as those that older portals made; a workload takes its place"
	}
	return in
}

// observe says where the instance of a workload is.
func (r *Runtime) observe(w *workload) fleet.Instance {
	pod := r.pod(keyed(w), w.launch())
	in := described(w, pod)
	u := r.unit(in.ID)
	if u == nil && w.DeletionTimestamp == nil {
		u = r.adopt(w)
	}
	if u == nil {
		in.State, in.Reason = fleet.InstanceStopping, "it is being removed"
		return in
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	in.Restarts, in.Reason = u.rec.Started, u.rec.Reason
	if end := w.finished(); end != nil && (pod == nil || pod.DeletionTimestamp != nil) {
		in.StartedAt, in.EndedAt, in.ExitCode, in.Signal, in.OOMKilled = end.StartedAt, end.EndedAt, end.ExitCode, end.Signal, end.OOMKilled
	}
	u.concluded(&in)
	switch {
	case u.rec.State != "":
		in.State = u.rec.State
	case w.DeletionTimestamp != nil:
		in.State, in.Reason = fleet.InstanceStopping, "it is being removed"
	case u.hold:
		in.State = fleet.InstanceBackoff
	case w.suspended():
		in.State, in.Reason = fleet.InstanceSuspended, "scaled to nothing"
	case w.wanted == 0:
		in.State, in.Reason = fleet.InstanceSuspended, "somebody else scaled it to nothing"
	default:
		u.runs(w, pod, &in)
		in.Drift = r.drift(w)
	}
	r.explain(w, pod, &in)
	if in.State != fleet.InstanceRunning && in.State != fleet.InstanceStarting {
		in.LastLogs = segment.Last(filepath.Join(r.logsDir(in.AgentID), in.ID), 20, 400)
	}
	return in
}

// runs says where an instance is that the cluster is to run. u.mu is held.
func (u *unit) runs(w *workload, pod *corev1.Pod, in *fleet.Instance) {
	switch {
	case pod == nil && w.over:
		in.State, in.Reason = fleet.InstanceLost, "its pod was removed, and the cluster does not begin a job again: "+w.trouble
	case pod == nil && u.rec.Current == "":
		in.State, in.Reason = fleet.InstanceStarting, w.trouble
	case pod == nil:
		in.State, in.Reason, in.Displaced = fleet.InstanceBackoff, cmp.Or(w.trouble, "its pod went away, and another one is made"), w.trouble == ""
	case pod.DeletionTimestamp != nil:
		in.State, in.Reason, in.Displaced = fleet.InstanceBackoff, "its pod is being removed, and another one follows", true
	case hasEnded(pod):
		in.State, in.Reason = fleet.InstanceBackoff, u.r.because(pod, endOf(pod))
		if over(pod) { // what follows is being decided
			break
		}
		in.Reason += next(pod)
	case hasRun(pod):
		in.State, in.Displaced = fleet.InstanceRunning, in.Reason == lostPod
		in.Restarts = max(in.Restarts, restarted(pod))
		if in.Reason != "" {
			in.Reason = "started again: " + in.Reason
		}
	default:
		in.State, in.Reason = fleet.InstanceStarting, ""
		if reason, message := pending(pod); reason != "" {
			in.Reason = reason + ": " + message
		}
	}
}

// find gives who looks after an instance, and its workload. NotFound.
func (r *Runtime) find(ctx context.Context, agentID, instanceID string) (*unit, *workload, error) {
	if err := upkeep.CheckIDs(agentID, instanceID); err != nil {
		return nil, nil, err
	}
	if _, _, err := r.known(ctx, agentID); err != nil {
		return nil, nil, err
	}
	w := r.workload(instanceID)
	if w == nil || w.Annotations[noteAgent] != agentID {
		return nil, nil, missing(instanceID)
	}
	return r.adopt(w), w, nil
}

func missing(instanceID string) error {
	return fault.New(fault.NotFound, "instance.not_found", "instance %s is not there", instanceID)
}

// Agents gives the agents that have anything on the cluster: also those of which
// only volumes or objects are left.
func (r *Runtime) Agents(ctx context.Context) ([]string, error) {
	workloads, pods, err := r.known(ctx, "")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, w := range workloads {
		found[w.Annotations[noteAgent]] = true
	}
	for _, pod := range pods {
		found[pod.Annotations[noteAgent]] = true
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	claims, err := r.api.claims(r.namespace).List(bounded, meta.ListOptions{LabelSelector: r.mine("")})
	if err != nil {
		return nil, r.answered(ctx, "list volumes", err)
	}
	secrets, err := r.api.secrets(r.namespace).List(bounded, meta.ListOptions{LabelSelector: r.mine("")})
	if err != nil {
		return nil, r.answered(ctx, "list secrets", err)
	}
	things, err := r.around.List(bounded, r.mine(""))
	if err != nil {
		return nil, r.answered(ctx, "list objects", err)
	}
	for _, o := range things {
		found[o.AgentID] = true
	}
	for _, c := range claims.Items {
		found[c.Annotations[noteAgent]] = true
	}
	for _, s := range secrets.Items {
		found[s.Annotations[noteAgent]] = true
	}
	maps.DeleteFunc(found, func(id string, _ bool) bool { return upkeep.CheckIDs(id) != nil })
	return slices.Sorted(maps.Keys(found)), nil
}

func notRunning(in fleet.Instance) *fault.Error {
	return fault.New(fault.Conflict, "instance.not_running", "%s does not run", in.ID).
		Because("it is %s: %s", in.State, in.Reason).Do("Start the agent.")
}
