package kubernetes

import (
	"context"
	"encoding/json"
	"strings"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/surroundings"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

var _ fleet.Accountant = (*Runtime)(nil)

// Holdings implements fleet.Accountant. What volumes hold is not told by a cluster.
func (r *Runtime) Holdings(ctx context.Context, agentID string) ([]fleet.Holding, error) {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return nil, err
	}
	workloads, pods, err := r.known(ctx, agentID)
	if err != nil {
		return nil, err
	}
	var list []fleet.Holding
	for _, w := range workloads {
		list = append(list, fleet.Holding{
			Kind: "instance", Name: strings.ToLower(w.kind) + " " + w.Name, Where: "namespace " + w.Namespace, Instance: keyed(w),
			CreatedAt: w.CreationTimestamp.UTC(),
		})
	}
	for _, pod := range pods {
		list = append(list, fleet.Holding{
			Kind: "instance", Name: "pod " + pod.Name, Where: "node " + pod.Spec.NodeName, Instance: pod.Annotations[noteInstance],
			CreatedAt: pod.CreationTimestamp.UTC(),
		})
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	mine := meta.ListOptions{LabelSelector: r.mine(agentID)}
	secrets, err := r.api.secrets(r.namespace).List(bounded, mine)
	if err != nil {
		return nil, r.answered(ctx, "list secrets", err)
	}
	for _, s := range secrets.Items {
		list = append(list, fleet.Holding{Kind: "credential", Name: "secret " + s.Name, Where: "namespace " + s.Namespace, CreatedAt: s.CreationTimestamp.UTC()})
	}
	claims, err := r.api.claims(r.namespace).List(bounded, mine)
	if err != nil {
		return nil, r.answered(ctx, "list volumes", err)
	}
	for _, c := range claims.Items {
		list = append(list, fleet.Holding{
			Kind: "volume", Name: "claim " + c.Name, Where: "namespace " + c.Namespace, Limit: c.Status.Capacity.Storage().Value(),
			CreatedAt: c.CreationTimestamp.UTC(),
		})
	}
	things, err := r.around.List(bounded, r.mine(agentID))
	if err != nil {
		return nil, r.answered(ctx, "list objects", err)
	}
	for _, o := range things {
		list = append(list, fleet.Holding{Kind: "object", Name: o.Kind + " " + o.Name, Where: "namespace " + r.namespace, CreatedAt: o.CreatedAt})
	}
	list = append(list, upkeep.Logs(r.logsDir(agentID))...)
	fleet.SortHoldings(list)
	return list, nil
}

// ownObjects ends the names of an agent's objects that nobody asks for by name.
const ownObjects = "agent"

// surround makes the objects that the agent of a launch has beside its pods.
func (r *Runtime) surround(ctx context.Context, l fleet.Launch) error {
	a := surroundings.Agent{ID: l.AgentID, Name: serviceName(l.AgentID), Object: r.name(l.AgentID, ownObjects), Main: l.Port > 0, Budget: upkeep.Again(l.Restart, false)}
	for _, n := range ports(l) {
		if n != l.Port {
			a.Ports = append(a.Ports, n)
		}
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	return r.refused(ctx, l, r.around.Keep(bounded, a))
}

// serviceName is what others in the cluster call an agent: its id where that is
// possible. Names of services begin with a letter.
func serviceName(agentID string) string {
	name := labelled(agentID)
	if name[0] < 'a' {
		return "agent-" + name
	}
	return name
}

// maxWorkloads bounds how many workloads of a namespace are read at once.
const maxWorkloads = 500

// Workloads gives the Deployments and StatefulSets of a namespace, as the API
// server has them. Nothing is changed.
func (r *Runtime) Workloads(ctx context.Context, namespace string) ([]map[string]any, error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	options := meta.ListOptions{Limit: maxWorkloads + 1}
	deployments, err := r.api.deployments(namespace).List(bounded, options)
	if err != nil {
		return nil, r.unread(ctx, namespace, err)
	}
	sets, err := r.api.statefulSets(namespace).List(bounded, options)
	if err != nil {
		return nil, r.unread(ctx, namespace, err)
	}
	if n := len(deployments.Items) + len(sets.Items); n > maxWorkloads {
		return nil, fault.New(fault.Invalid, "workload.too_many", "The namespace %s has more than %d workloads", namespace, maxWorkloads).
			Do("Take over those of a smaller namespace.")
	}
	var out []map[string]any
	for kind, list := range map[string]any{"Deployment": deployments.Items, "StatefulSet": sets.Items} {
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		var objects []map[string]any
		if err := json.Unmarshal(text, &objects); err != nil {
			return nil, err
		}
		for _, o := range objects {
			o["kind"] = kind
			out = append(out, o)
		}
	}
	return out, nil
}

// unread makes a fault of why the workloads of a namespace can't be listed.
func (r *Runtime) unread(ctx context.Context, namespace string, err error) error {
	if kerrors.IsForbidden(err) {
		return fault.New(fault.Conflict, "workload.forbidden", "%s does not let the portal see what runs in the namespace %s", r.cluster(), namespace).
			Because("%s", brief(err)).Do("Let the portal's account list deployments and statefulsets of the group apps there; docs/runtimes.md shows the role.").Wrap(err)
	}
	return r.answered(ctx, "list the workloads of "+namespace, err)
}
