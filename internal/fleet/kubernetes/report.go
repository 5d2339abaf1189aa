package kubernetes

import (
	"context"
	"encoding/json"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Report implements fleet.Runtime. A cluster that does not answer, or refuses the
// portal, is the one check that fails then.
func (r *Runtime) Report(ctx context.Context) []fleet.Check {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err := r.api.pods(r.namespace).List(bounded, meta.ListOptions{LabelSelector: r.mine(""), Limit: 1})
	version := ""
	if err == nil {
		version, err = r.version(bounded)
	}
	var lasting bool
	if err == nil {
		lasting, err = r.storage(bounded)
	}
	if err != nil {
		c := fleet.Check{Name: "kubernetes_cluster", Down: true, Why: err.Error(), Remedy: "Start the cluster, or correct kubernetes.kubeconfig."}
		if f := fault.As(r.answered(context.WithoutCancel(ctx), "list pods", err)); f != nil {
			c.Why, c.Remedy = f.What+": "+f.Why, f.Remedy
		}
		return []fleet.Check{c}
	}
	storage := fleet.Check{Name: "lasting_volumes", OK: true, How: "a claim for each volume and index"}
	if !lasting {
		storage = fleet.Check{
			Name: storage.Name, Why: "the cluster has no default storage class, or does not tell: volumes and data directories end with each run",
			Remedy: "Set kubernetes.storage-class, or make one the default.",
		}
	}
	image := fleet.Check{Name: "built_in_agents", OK: true, How: "image " + r.cfg.Image}
	if r.cfg.Image == "" {
		image = fleet.Check{
			Name: image.Name, Why: "no image is named that is the portal's program",
			Remedy: "Set kubernetes.image; agents with images of their own need none.",
		}
	}
	events := fleet.Check{Name: "cluster_events", OK: true, How: "warnings of the namespace are watched"}
	if err := r.warnings.Heard(); err != nil {
		events = fleet.Check{
			Name: events.Name, Why: brief(err),
			Remedy: "Give the portal's account the right to list and watch events in the namespace " + r.namespace + ". Until then reasons that only events tell are left out.",
		}
	}
	return []fleet.Check{
		{Name: "kubernetes_cluster", OK: true, How: "version " + version + " at " + r.host + ", namespace " + r.namespace},
		{Name: "memory_limit", OK: true, How: "the node's"},
		{Name: "cpu_limit", OK: true, How: "the node's"},
		{Name: "pids_limit", Why: "a pod can't ask for one", Remedy: "Set podPidsLimit of the kubelets."},
		{Name: "oom_detection", OK: true, How: "the node's"},
		{Name: "freeze", Why: "a pod can't be frozen: suspending scales its workload to 0, and what its program has in memory is gone", Remedy: "Let agents keep what matters in their volumes."},
		{Name: "kill_tree", OK: true, How: "a PID namespace for each instance"},
		{Name: "disk_limit", Why: "claims are as big as the storage makes them", Remedy: "Use storage that keeps to the size of claims."},
		{Name: "read_only_volumes", OK: true, How: "mounted so"},
		storage,
		{Name: "privileges", OK: true, How: "no capabilities, no new privileges, no service account, nothing of the node"},
		{Name: "system_call_filter", OK: true, How: "seccomp, the node's profile"},
		{Name: "non_root", OK: true, How: "user " + itoa(nobody)},
		{Name: "read_only_root", OK: true, How: "only volumes and /tmp can be written to"},
		r.measuring(bounded),
		image, events,
		{Name: "adoption", OK: true, How: "by labels, owner " + r.cfg.Owner},
	}
}

// version asks the API server for its own.
func (r *Runtime) version(ctx context.Context) (string, error) {
	body, err := r.api.Get().AbsPath("/version").SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return "", err
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return "", err
	}
	return v.GitVersion, nil
}
