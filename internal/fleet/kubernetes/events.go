package kubernetes

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/happenings"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
)

// hear begins to remember what the cluster warns of. Without the right to be told
// that, states have the reasons that objects themselves give.
func (r *Runtime) hear() {
	r.warnings = mirror.New(&mirror.Bell{}, func(*happenings.Happening) string { return "" })
	r.warnings.Timeout, r.warnings.Fields, r.warnings.Passing = r.cfg.Timeout, "type="+corev1.EventTypeWarning, true
	ours := "portal-" + labelled(r.cfg.Owner) + "-"
	r.warnings.Changed = func(h *happenings.Happening, gone bool) {
		if !gone && strings.HasPrefix(h.Name, ours) {
			r.book.Note(*h)
			r.told(h)
		}
	}
	from := source[*corev1.Event, *corev1.EventList](r.api.events(r.namespace), func(e *corev1.Event) *happenings.Happening {
		h := happenings.Of(e)
		return &h
	})
	r.tasks.Go(func() { r.warnings.Follow(r.ctx, from) })
}

// told lets somebody look at the agent that a warning is about.
func (r *Runtime) told(h *happenings.Happening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, u := range r.units {
		if name := r.name(id, "x"); strings.HasPrefix(h.Name+"-", strings.TrimSuffix(name, "x")) {
			r.changes.Add(u.agentID)
		}
	}
}

// Warnings that say why a pod is not made or does not begin to run.
var hindering = map[string]bool{
	"FailedCreate": true, "FailedMount": true, "FailedAttachVolume": true, "FailedMapVolume": true, "FailedScheduling": true,
	"FailedCreatePodSandBox": true, "FailedPostStartHook": true, "NetworkNotReady": true, "FailedBinding": true, "ProvisioningFailed": true,
}

// hindrance is why an instance does not begin to run, as the cluster warned; the pod
// is nil where there is none.
func (r *Runtime) hindrance(w *workload, pod *corev1.Pod) (happenings.Happening, bool) {
	name := w.Name
	if pod != nil {
		name = pod.Name
	}
	return r.book.Newest(name, w.CreationTimestamp.UTC(), func(h happenings.Happening) bool {
		return hindering[h.Reason] && (pod == nil) == (h.Kind != "Pod")
	})
}

// explain adds to what is observed of an instance what the cluster warned of, and
// what can be done.
func (r *Runtime) explain(w *workload, pod *corev1.Pod, in *fleet.Instance) {
	switch in.State {
	case fleet.InstanceStarting, fleet.InstanceBackoff:
	case fleet.InstanceFailed, fleet.InstanceExited:
		in.Remedy = r.remedy(in.Reason)
		return
	case fleet.InstanceRunning:
		if pod != nil && unheard(pod) {
			in.Reason = "NodeNotReady: its node " + pod.Spec.NodeName + " is not heard of; it may run there still"
			in.Remedy = r.remedy(in.Reason)
		}
		return
	default:
		return
	}
	if pod == nil || !hasRun(pod) {
		if h, ok := r.hindrance(w, pod); ok {
			in.Reason = h.Reason + ": " + h.Message
		}
	}
	in.Remedy = r.remedy(in.Reason)
}

// unheard tells whether the cluster takes the node of a pod for lost: then it says
// that the pod is not ready, although its container was when it was last heard of.
func unheard(pod *corev1.Pod) bool {
	is := map[corev1.PodConditionType]corev1.ConditionStatus{}
	for _, c := range pod.Status.Conditions {
		is[c.Type] = c.Status
	}
	return is[corev1.PodReady] == corev1.ConditionFalse && is[corev1.ContainersReady] == corev1.ConditionTrue
}

// because adds to how a run ended that its liveness probe failed, if that is why the
// kubelet ended it.
func (r *Runtime) because(pod *corev1.Pod, e end) string {
	h, ok := r.book.Newest(pod.Name, e.started, func(h happenings.Happening) bool {
		return h.Reason == "Unhealthy" && (strings.HasPrefix(h.Message, "Liveness") || strings.HasPrefix(h.Message, "Startup")) &&
			!h.At.Before(e.finished.Add(-time.Minute)) && h.At.Before(e.finished.Add(time.Second))
	})
	if !ok || e.oom || e.signal == "" && e.code != nil && *e.code == 0 && !guarded(pod) {
		return e.why
	}
	_, why, _ := strings.Cut(h.Message, ": ")
	return "liveness probe failed: " + why + " (" + e.why + ")"
}

// stuck makes a fault of what keeps a workload from having a pod, or its pod from
// running; nil if nothing is known.
func (r *Runtime) stuck(l fleet.Launch, w *workload, pod *corev1.Pod) error {
	h, ok := r.hindrance(w, pod)
	if !ok {
		return nil
	}
	return fault.New(fault.Unavailable, "kubernetes.stuck", "%s does not begin to run", l.InstanceID).
		Because("%s: %s", h.Reason, h.Message).Do("%s", r.remedy(h.Reason+": "+h.Message))
}

// remedies say what can be done about reasons that the cluster gives; the first that
// is found in one counts.
var remedies = []struct{ sign, do string }{
	{"exceeded quota", "Raise the quota of the namespace NS, stop other agents, or give this one smaller limits."},
	{"violates PodSecurity", "Correct the policy of the namespace NS: it refuses even pods without privileges."},
	{"admission webhook", "Change what the admission check complains about, or ask the cluster's administrator."},
	{"FailedCreate:", "See with kubectl describe why the namespace NS takes no pods."},
	{"FailedMount:", "See that the volume exists and its storage works: kubectl get pvc,events in the namespace NS."},
	{"FailedAttachVolume:", "See that the volume is attached to no other node, and that its storage works."},
	{"FailedBinding:", "Name a storage class that makes volumes in storage-class."},
	{"ProvisioningFailed:", "See why the storage class makes no volume."},
	{"FailedScheduling:", "Add nodes, stop other agents, or give this one smaller limits."},
	{"Unschedulable:", "Add nodes, stop other agents, or give this one smaller limits."},
	{"FailedCreatePodSandBox:", "See that the network and the container runtime of the node work."},
	{"NetworkNotReady:", "See that the network of the node works."},
	{"NodeNotReady:", "See whether the node and its kubelet run. If it is gone for good, delete the node: the cluster then runs the agent elsewhere."},
	{"Evicted:", "Give the node more room, or the agent limits that fit what it uses: the node ended it to save itself."},
	{"ErrImagePull:", "See whether the nodes reach the registry, and correct the image or pull-secret."},
	{"ImagePullBackOff:", "See whether the nodes reach the registry, and correct the image or pull-secret."},
	{"liveness probe failed", "Look at its logs for what keeps it from answering, or let its liveness probe be more patient."},
}

// remedy is what can be done about a reason; "" where nothing particular is known.
func (r *Runtime) remedy(reason string) string {
	for _, one := range remedies {
		if strings.Contains(reason, one.sign) {
			return strings.NewReplacer("NS", r.namespace, "storage-class", r.setting("storage-class"), "pull-secret", r.setting("pull-secret")).Replace(one.do)
		}
	}
	return ""
}
