package kubernetes

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/metering"
)

var _ fleet.Meter = (*Runtime)(nil)

// Usage implements fleet.Meter.
func (r *Runtime) Usage(ctx context.Context, agentID, instanceID string) (fleet.Usage, error) {
	_, w, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return fleet.Usage{}, err
	}
	pod := r.pod(instanceID, w.launch())
	if pod == nil || status(pod).State.Running == nil || pod.DeletionTimestamp != nil {
		return fleet.Usage{}, notRunning(r.observe(w))
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	use, err := r.meter.Use(bounded, metering.Pod{
		Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName, Container: container,
	})
	switch {
	case errors.Is(err, metering.ErrNothing):
		return fleet.Usage{}, fault.New(fault.Unavailable, "kubernetes.unmeasured", "What %s uses is not known yet", instanceID).
			Because("%v", err).Do("Ask again in a moment.")
	case kerrors.IsForbidden(err):
		return fleet.Usage{}, fault.New(fault.Unavailable, "kubernetes.unmeasured", "What %s uses is not known", instanceID).
			Because("%s", brief(err)).Do("%s", measure).Wrap(err)
	case err != nil:
		return fleet.Usage{}, r.answered(ctx, "measure "+instanceID, err)
	}
	u := fleet.Usage{CPUSeconds: use.CPUSeconds, Memory: use.Memory, PIDs: use.Processes, Disk: use.Disk}
	for _, c := range pod.Spec.Containers {
		if c.Name == container {
			u.MemoryLimit = c.Resources.Limits.Name(corev1.ResourceMemory, "").Value()
		}
	}
	return u, nil
}

// measure is what can be done where nothing is measured.
const measure = "Install the metrics server of Kubernetes on the cluster and let the portal's account get pods of metrics.k8s.io in the namespace of the agents, or, with care, get nodes/proxy; see docs/runtimes.md."

// measuring reports whether instances are measured.
func (r *Runtime) measuring(ctx context.Context) fleet.Check {
	c := fleet.Check{Name: "measuring"}
	way, err := r.meter.Way(ctx, r.namespace)
	if err != nil {
		c.Why, c.Remedy = brief(err), measure
		return c
	}
	c.OK, c.How = true, way
	return c
}
