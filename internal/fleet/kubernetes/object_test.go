package kubernetes

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

func TestNamesAreValidAndApart(t *testing.T) {
	r := &Runtime{cfg: Config{Owner: "0123456789ab"}}
	seen := map[string]string{}
	for _, id := range []string{
		"memory-r1-0", "Memory-r1-0", "memory.r1-0", "memory_r1-0", strings.Repeat("a", 190), strings.Repeat("a", 189) + "b", "a-", "x",
	} {
		name := r.name(id, "12")
		if wrong := validation.IsDNS1123Label(name); len(wrong) > 0 {
			t.Errorf("%s gives %s: %v", id, name, wrong)
		}
		if other := seen[name]; other != "" {
			t.Errorf("%s and %s have the name %s", id, other, name)
		}
		seen[name] = id
		if wrong := validation.IsValidLabelValue(labelled(id)); len(wrong) > 0 {
			t.Errorf("%s gives the label %s: %v", id, labelled(id), wrong)
		}
	}
}

func TestHowRunsEnd(t *testing.T) {
	ended := func(s corev1.ContainerStateTerminated) *corev1.Pod {
		pod := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{Name: container, State: corev1.ContainerState{Terminated: &s}}}}}
		pod.Annotations = map[string]string{noteMemory: "64Mi"}
		return pod
	}
	evicted := ended(corev1.ContainerStateTerminated{ExitCode: 137})
	evicted.Status.Reason, evicted.Status.Message = "Evicted", "The node was low on resource: memory"
	refused := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: "Pod was rejected"}}
	for _, c := range []struct {
		pod    *corev1.Pod
		why    string
		failed bool
	}{
		{ended(corev1.ContainerStateTerminated{}), "exit code 0", false},
		{ended(corev1.ContainerStateTerminated{ExitCode: 7}), "exit code 7", true},
		{ended(corev1.ContainerStateTerminated{ExitCode: 137}), "ended by SIGKILL", true},
		{ended(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}), "killed because it used more than its memory limit of 64Mi", true},
		{evicted, "Evicted: The node was low on resource: memory", true},
		{refused, "OutOfcpu: Pod was rejected", true},
	} {
		if e := endOf(c.pod); e.why != c.why || e.failed != c.failed {
			t.Errorf("got %q, %t; want %q, %t", e.why, e.failed, c.why, c.failed)
		}
	}
}

func TestEnvironmentsKeepOutOfPods(t *testing.T) {
	r := &Runtime{cfg: Config{Owner: "o", PortalHost: "portal.example"}, namespace: "n"}
	l := fleet.Launch{
		InstanceID: "a-r1-0", AgentID: "a", Image: "x", Grace: 1500 * time.Millisecond, Port: 9000,
		Env: map[string]string{"SECRET": "hush", "PORTAL_URL": "http://127.0.0.1:8080"}, Open: []string{"PORTAL_URL"},
	}
	w, err := r.object(l, nil, "one")
	if err != nil {
		t.Fatal(err)
	}
	if text := w.template.String(); strings.Contains(text, "hush") || strings.Contains(text, "SECRET") {
		t.Error("the pod holds the environment")
	}
	if g := w.template.Spec.TerminationGracePeriodSeconds; *g != 2 {
		t.Errorf("grace %d", *g)
	}
	open, hidden := r.environ(l)
	if open["PORTAL_URL"] != "http://portal.example:8080" || open["AGENT_HOST"] != "0.0.0.0" || len(hidden) != 1 || hidden["SECRET"] != "hush" {
		t.Errorf("open are %v, hidden %v", open, hidden)
	}
}

func TestEachPolicyHasItsKindOfWorkload(t *testing.T) {
	r := &Runtime{cfg: Config{Owner: "o"}, namespace: "n"}
	for _, c := range []struct {
		policy  string
		volumes []volume
		kind    string
		restart corev1.RestartPolicy
	}{
		{"", nil, "Deployment", corev1.RestartPolicyAlways},
		{"always", []volume{{name: "data", claim: "c"}}, "StatefulSet", corev1.RestartPolicyAlways},
		{"on-failure", []volume{{name: "data", claim: "c"}}, "Job", corev1.RestartPolicyOnFailure},
		{"never", nil, "Job", corev1.RestartPolicyNever},
	} {
		w, err := r.object(fleet.Launch{InstanceID: "a-r1-0", AgentID: "a", Image: "x", Restart: agent.RestartPolicy{Policy: c.policy}}, c.volumes, "one")
		if err != nil || w.kind != c.kind || w.template.Spec.RestartPolicy != c.restart {
			t.Errorf("policy %q gives %+v, %v", c.policy, w, err)
		}
	}
}

// The kubelet tells a crash in several ways; each end counts once.
func TestEndsAreCountedOnce(t *testing.T) {
	ended := &corev1.ContainerStateTerminated{ExitCode: 7}
	running := &corev1.ContainerStateRunning{}
	for _, c := range []struct {
		status corev1.ContainerStatus
		ends   int
		over   bool
	}{
		{corev1.ContainerStatus{}, 0, false},
		{corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}, 0, false},
		{corev1.ContainerStatus{State: corev1.ContainerState{Running: running}}, 0, false},
		{corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended}}, 1, true},
		{corev1.ContainerStatus{RestartCount: 1, State: corev1.ContainerState{Running: running}, LastTerminationState: corev1.ContainerState{Terminated: ended}}, 1, false},
		{corev1.ContainerStatus{RestartCount: 1, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}, LastTerminationState: corev1.ContainerState{Terminated: ended}}, 2, true},
	} {
		c.status.Name = container
		pod := &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c.status}}}
		if ends(pod) != c.ends || hasEnded(pod) != c.over {
			t.Errorf("%+v: %d ends, %t", c.status, ends(pod), hasEnded(pod))
		}
	}
}

// A scheduler that does not work says nothing, and more nodes would not help.
func TestAPodThatNobodySchedulesIsNotBlamedOnTheNodes(t *testing.T) {
	l := fleet.Launch{AgentID: "shop", InstanceID: "shop-r1-0"}
	if f := fault.As(unschedulable(l, "", "")); f.Code != "kubernetes.unscheduled" || f.Kind != fault.Unavailable || !strings.Contains(f.Remedy, "scheduler") || strings.Contains(f.Remedy, "nodes") {
		t.Errorf("%+v", f)
	}
	if f := fault.As(unschedulable(l, "Unschedulable", "0/1 nodes are available: 1 Insufficient memory.")); f.Code != "kubernetes.unschedulable" || f.Why != "Unschedulable: 0/1 nodes are available: 1 Insufficient memory." || !strings.Contains(f.Remedy, "smaller limits") {
		t.Errorf("%+v", f)
	}
}

// What the kubelet tries again by itself is waited for; what it never can is told.
func TestWhatIsOnlySlowIsNotHopeless(t *testing.T) {
	r, l := &Runtime{}, fleet.Launch{AgentID: "shop", InstanceID: "shop-r1-0"}
	for message, hopeless := range map[string]bool{
		"failed to sync configmap cache: timed out waiting for the condition": false,
		"context deadline exceeded":                             false,
		"container has runAsNonRoot and image will run as root": true,
	} {
		if err := r.hopeless(l, "CreateContainerConfigError", message); (err != nil) != hopeless {
			t.Errorf("%s: %v", message, err)
		}
	}
}
