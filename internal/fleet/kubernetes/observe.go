package kubernetes

import (
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
	label := ""
	if agentID != "" {
		if err := upkeep.CheckIDs(agentID); err != nil {
			return nil, err
		}
		label = labelled(agentID)
	}
	list, err := r.known(ctx, label)
	if err != nil {
		return nil, err
	}
	var out []fleet.Instance
	for _, pod := range newest(list) {
		out = append(out, r.observe(pod))
	}
	return out, nil
}

// known gives this portal's pods that are instances, as the watch told them.
func (r *Runtime) known(ctx context.Context, agentLabel string) ([]*corev1.Pod, error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	list, err := r.pods.list(bounded, agentLabel)
	if err != nil {
		return nil, r.answered(ctx, "list pods", err)
	}
	return slices.DeleteFunc(list, func(pod *corev1.Pod) bool {
		return upkeep.CheckIDs(pod.Annotations[noteAgent], pod.Annotations[noteInstance]) != nil
	}), nil
}

// observe says where the instance is of which pod is the newest run.
func (r *Runtime) observe(pod *corev1.Pod) fleet.Instance {
	in := described(pod)
	reason, message := pending(pod)
	u := r.unit(in.ID)
	if u == nil && pod.DeletionTimestamp == nil {
		u = r.adopt(pod)
	}
	if u == nil {
		in.State, in.Reason = fleet.InstanceStopping, "its pod is being removed"
		return in
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	in.Restarts, in.Reason = u.rec.Started, u.rec.Reason
	switch {
	case u.rec.State == fleet.InstanceStopping:
		in.State = fleet.InstanceStopping
	case u.hold:
		in.State = fleet.InstanceBackoff
	case pod.DeletionTimestamp != nil:
		in.State, in.Reason = fleet.InstanceStopping, "its pod is being removed"
	case u.rec.State != "":
		in.State = u.rec.State
	case hasEnded(pod): // what follows is being decided
		in.State, in.Reason = fleet.InstanceBackoff, endOf(pod).why
	case hasRun(pod):
		in.State = fleet.InstanceRunning
	default:
		in.State = fleet.InstanceStarting
		if reason != "" {
			in.Reason = reason + ": " + message
		}
	}
	if in.State != fleet.InstanceRunning && in.State != fleet.InstanceStarting {
		in.LastLogs = segment.Last(filepath.Join(r.logsDir(in.AgentID), in.ID), 20, 400)
	}
	return in
}

// find gives who looks after an instance, and the pod of its last run. NotFound.
func (r *Runtime) find(ctx context.Context, agentID, instanceID string) (*unit, *corev1.Pod, error) {
	if err := upkeep.CheckIDs(agentID, instanceID); err != nil {
		return nil, nil, err
	}
	list, err := r.known(ctx, labelled(agentID))
	if err != nil {
		return nil, nil, err
	}
	for _, pod := range newest(list) {
		if pod.Annotations[noteInstance] == instanceID && pod.Annotations[noteAgent] == agentID {
			return r.adopt(pod), pod, nil
		}
	}
	return nil, nil, fault.New(fault.NotFound, "instance.not_found", "instance %s is not there", instanceID)
}

// Agents gives the agents that have anything on the cluster: also those of which
// only volumes or objects are left.
func (r *Runtime) Agents(ctx context.Context) ([]string, error) {
	list, err := r.known(ctx, "")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, pod := range list {
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
