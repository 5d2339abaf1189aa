package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/metering"
)

// How long a report holds: every agent that is provisioned asks for one, and hundreds
// may be at once. That a cluster is away holds for those who waited for the answer.
const (
	reportFresh = 5 * time.Second
	awayFresh   = time.Second
)

// reported is a report, and for how long.
type reported struct {
	checks []fleet.Check
	until  time.Time // it holds
}

// Report implements fleet.Runtime. A cluster that does not answer, or refuses the
// portal, is the one check that fails then.
func (r *Runtime) Report(ctx context.Context) []fleet.Check {
	release, err := r.locks.Acquire(ctx, "the report") // no instance is called that
	if err != nil {
		return r.look(ctx) // which says it
	}
	defer release()
	if time.Now().Before(r.report.until) {
		return slices.Clone(r.report.checks)
	}
	checks := r.look(ctx)
	if ctx.Err() != nil {
		return checks // of others it says nothing
	}
	holds := reportFresh
	if slices.ContainsFunc(checks, func(c fleet.Check) bool { return c.Down }) {
		holds = awayFresh
	}
	r.report = reported{checks: slices.Clone(checks), until: time.Now().Add(holds)}
	return checks
}

func (r *Runtime) look(ctx context.Context) []fleet.Check {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err := r.api.pods(r.namespace).List(bounded, meta.ListOptions{LabelSelector: r.mine(""), Limit: 1})
	version := ""
	if err == nil {
		version, err = r.version(bounded)
	}
	var lasting bool
	if err == nil {
		lasting, err = r.lasting(bounded)
	}
	if err != nil {
		c := fleet.Check{Name: "kubernetes_cluster", Down: true, Why: err.Error(), Remedy: "Start the cluster, or correct " + r.setting("kubeconfig") + "."}
		if f := fault.As(r.answered(context.WithoutCancel(ctx), "list pods", err)); f != nil {
			c.Why, c.Remedy = f.What+": "+f.Why, f.Remedy
		}
		return []fleet.Check{c}
	}
	storage := fleet.Check{Name: "lasting_volumes", OK: true, How: "a claim for each volume and index"}
	if !lasting {
		storage = fleet.Check{
			Name: storage.Name, Why: "the cluster has no default storage class, or does not tell: volumes and data directories end with each run",
			Remedy: "Set " + r.setting("storage-class") + ", or make one the default.",
		}
	}
	image := fleet.Check{Name: "built_in_agents", OK: true, How: "image " + r.cfg.Image}
	if r.cfg.Image == "" {
		image = fleet.Check{
			Name: image.Name, Why: "no image is named that is the portal's program",
			Remedy: "Set " + r.setting("image") + "; agents with images of their own need none.",
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
		image, events, r.comparing(),
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
