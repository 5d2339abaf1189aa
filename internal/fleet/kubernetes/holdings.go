package kubernetes

import (
	"context"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

var _ fleet.Accountant = (*Runtime)(nil)

// Holdings implements fleet.Accountant. What volumes hold is not told by a cluster.
func (r *Runtime) Holdings(ctx context.Context, agentID string) ([]fleet.Holding, error) {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return nil, err
	}
	pods, err := r.known(ctx, labelled(agentID))
	if err != nil {
		return nil, err
	}
	var list []fleet.Holding
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
	list = append(list, upkeep.Logs(r.logsDir(agentID))...)
	fleet.SortHoldings(list)
	return list, nil
}
