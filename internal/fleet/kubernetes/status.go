package kubernetes

import (
	"regexp"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// container is the name of the one container of a pod.
const container = "agent"

// number reads a whole number of an annotation.
func number(o meta.Object, note string) int {
	n, _ := strconv.Atoi(o.GetAnnotations()[note])
	return n
}

// status is that of the container; a zero one before anything is known of it.
func status(pod *corev1.Pod) corev1.ContainerStatus {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == container {
			return c
		}
	}
	return corev1.ContainerStatus{}
}

// restarted is how often the kubelet has started the program again.
func restarted(pod *corev1.Pod) int { return int(status(pod).RestartCount) }

// over tells whether the pod itself has ended, and will not run again.
func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// ends is how often the program has ended.
func ends(pod *corev1.Pod) int {
	c := status(pod)
	n := int(c.RestartCount)
	if over(pod) || c.State.Terminated != nil || c.State.Waiting != nil && c.LastTerminationState.Terminated != nil {
		n++
	}
	return n
}

// hasRun tells whether the program runs, or did.
func hasRun(pod *corev1.Pod) bool { return status(pod).State.Running != nil || ends(pod) > 0 }

// hasEnded tells that the program does not run any more, or not again yet.
func hasEnded(pod *corev1.Pod) bool { return ends(pod) > restarted(pod) }

// lastEnd is what is told of the last end; nil if nothing is.
func lastEnd(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	c := status(pod)
	if c.State.Terminated != nil {
		return c.State.Terminated
	}
	return c.LastTerminationState.Terminated
}

// end is how a run ended.
type end struct {
	started, finished time.Time
	code              *int
	signal            string
	oom, failed       bool
	why               string
}

// endOf reads it from a pod whose program has ended.
func endOf(pod *corev1.Pod) end {
	t := lastEnd(pod)
	if t == nil { // the node refused it, or gave it up
		why := pod.Status.Message
		if why == "" {
			why = "the cluster ended its pod"
		}
		if pod.Status.Reason != "" {
			why = pod.Status.Reason + ": " + why
		}
		at := pod.CreationTimestamp.UTC()
		return end{started: at, finished: at, failed: true, why: why}
	}
	code := int(t.ExitCode)
	e := end{started: t.StartedAt.UTC(), finished: t.FinishedAt.UTC(), code: &code, signal: upkeep.Signal(code), failed: code != 0}
	switch {
	case t.Reason == "OOMKilled":
		e.oom, e.why = true, "killed because it used more than its memory limit of "+pod.Annotations[noteMemory]
	case pod.Status.Reason != "": // Evicted and the like
		e.why = pod.Status.Reason + ": " + pod.Status.Message
	case couldNotStart(t):
		e.why = "could not be started: " + t.Message
	case e.signal != "":
		e.why = "ended by " + e.signal
	default:
		e.why = "exit code " + itoa(code)
	}
	return e
}

// couldNotStart tells whether the program never ran.
func couldNotStart(t *corev1.ContainerStateTerminated) bool {
	return t.Reason == "StartError" || t.Reason == "ContainerCannotRun"
}

// pending says why a pod does not run yet; "" if it is on its way.
func pending(pod *corev1.Pod) (reason, message string) {
	if w := status(pod).State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" && w.Reason != "" {
		return w.Reason, w.Message
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason, c.Message
		}
	}
	return "", ""
}

var backOff = regexp.MustCompile(`back-off (\S+) `)

// next says when the kubelet starts the program again that has ended.
func next(pod *corev1.Pod) string {
	if w := status(pod).State.Waiting; w != nil {
		if found := backOff.FindStringSubmatch(w.Message); found != nil {
			return "; starts again within " + found[1]
		}
	}
	return "; starts again"
}

// described is what the cluster itself says of an instance, of which o is the
// workload or a pod, and pod the newest pod or nil.
func described(o meta.Object, pod *corev1.Pod) fleet.Instance {
	notes := o.GetAnnotations()
	in := fleet.Instance{
		ID: notes[noteInstance], AgentID: notes[noteAgent],
		Revision: number(o, noteRevision), Index: number(o, noteIndex), Port: number(o, notePort),
	}
	if pod == nil {
		return in
	}
	in.Host, in.Guarded = pod.Status.PodIP, guarded(pod)
	switch running := status(pod).State.Running; {
	case hasEnded(pod):
		e := endOf(pod)
		in.StartedAt, in.EndedAt, in.ExitCode, in.Signal, in.OOMKilled = e.started, e.finished, e.code, e.signal, e.oom
	case running != nil:
		in.StartedAt = running.StartedAt.UTC()
	}
	return in
}
