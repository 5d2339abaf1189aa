package kubernetes

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// container is the name of the one container of a pod.
const container = "agent"

// number reads a whole number of an annotation.
func number(pod *corev1.Pod, note string) int {
	n, _ := strconv.Atoi(pod.Annotations[note])
	return n
}

// state is where the container is; a zero one before anything is known of it.
func state(pod *corev1.Pod) corev1.ContainerState {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == container {
			return c.State
		}
	}
	return corev1.ContainerState{}
}

// hasRun tells whether the program runs, or did.
func hasRun(pod *corev1.Pod) bool { return state(pod).Running != nil || hasEnded(pod) }

func hasEnded(pod *corev1.Pod) bool {
	return state(pod).Terminated != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// end is how a run ended.
type end struct {
	started, finished time.Time
	code              *int
	signal            string
	oom, failed       bool
	why               string
}

// endOf reads it from a pod that has ended.
func endOf(pod *corev1.Pod) end {
	t := state(pod).Terminated
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
	if w := state(pod).Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" && w.Reason != "" {
		return w.Reason, w.Message
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason, c.Message
		}
	}
	return "", ""
}

// described is what the cluster itself says of an instance.
func described(pod *corev1.Pod) fleet.Instance {
	in := fleet.Instance{
		ID: pod.Annotations[noteInstance], AgentID: pod.Annotations[noteAgent],
		Revision: number(pod, noteRevision), Index: number(pod, noteIndex), Host: pod.Status.PodIP, Port: number(pod, notePort),
		Guarded: guarded(pod),
	}
	switch running := state(pod).Running; {
	case hasEnded(pod):
		e := endOf(pod)
		in.StartedAt, in.EndedAt, in.ExitCode, in.Signal, in.OOMKilled = e.started, e.finished, e.code, e.signal, e.oom
	case running != nil:
		in.StartedAt = running.StartedAt.UTC()
	}
	return in
}
