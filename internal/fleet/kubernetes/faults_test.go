package kubernetes_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// launch describes an instance that waits.
func launch(id string, behaviour ...string) fleet.Launch {
	l := fleet.Launch{
		InstanceID: fleet.InstanceID(id, 1, 0), AgentID: id, Revision: 1, Grace: time.Second,
		Restart: agent.RestartPolicy{Backoff: agent.Backoff{Initial: agent.Duration(time.Millisecond)}},
	}
	program(&l, behaviour...)
	return l
}

func apply(t *testing.T, c *kubernetestest.Cluster, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "apply", "-f", file)
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// in gives a runtime in a namespace of its own.
func in(t *testing.T, namespace string, labels ...string) (*kubernetes.Runtime, kubernetes.Config) {
	t.Helper()
	c := kubernetestest.Start(t)
	c.Kubectl(t, "create", "namespace", namespace)
	if len(labels) > 0 {
		c.Kubectl(t, append([]string{"label", "namespace", namespace}, labels...)...)
	}
	cfg := config(t)
	cfg.Namespace = namespace
	return open(t, cfg), cfg
}

func observed(t *testing.T, rt fleet.Runtime, l fleet.Launch) fleet.Instance {
	t.Helper()
	list, err := rt.Observe(bounded(t), l.AgentID)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range list {
		if in.ID == l.InstanceID {
			return in
		}
	}
	return fleet.Instance{}
}

func TestNamespacesWithTheStrictestPolicyTakePods(t *testing.T) {
	rt, _ := in(t, "strict", "pod-security.kubernetes.io/enforce=restricted")
	l := launch("careful", "wait")
	l.Resources = agent.Resources{CPU: 0.2, Memory: 64 << 20}
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	if got := observed(t, rt, l); got.State != fleet.InstanceRunning || got.Host == "" {
		t.Errorf("observed %+v", got)
	}
}

func TestRefusalsSayWhyAndLeaveNothing(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "crowded")
	apply(t, c, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: small, namespace: crowded}, spec: {hard: {limits.memory: 64Mi, limits.cpu: "1"}}}`)
	huge := launch("huge", "wait")
	huge.Resources = agent.Resources{CPU: 0.1, Memory: 1 << 30}
	nowhere := launch("nowhere", "wait")
	nowhere.Resources = agent.Resources{CPU: 0.1, Memory: 16 << 20}
	nowhere.Image = "registry.invalid/nothing:1"
	bare := launch("bare", "wait")
	bare.Image = ""
	for _, one := range []struct {
		l    fleet.Launch
		code string
		why  string
	}{
		{huge, "kubernetes.quota", "exceeded quota"},
		{nowhere, "image.pull", "registry.invalid"},
		{bare, "image.missing", "images"},
	} {
		err := rt.Launch(bounded(t), one.l)
		f := fault.As(err)
		if f == nil || f.Code != one.code || !strings.Contains(f.Why, one.why) || f.Remedy == "" {
			t.Errorf("%s: %v", one.l.AgentID, err)
		}
		if left := c.Kubectl(t, "get", "pods,secrets", "-n", cfg.Namespace, "-l", "platform-portal.io/owner", "-o", "name"); left != "" {
			t.Errorf("%s leaves %s", one.l.AgentID, left)
		}
	}
}

func TestObjectsOfOthersAreLeftAlone(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "shared")
	l := launch("guest", "wait")
	name := "portal-" + cfg.Owner + "-" + l.InstanceID
	c.Kubectl(t, "create", "secret", "generic", name+"-env", "--from-literal=A=theirs", "-n", "shared")
	if err := rt.Launch(bounded(t), l); !fault.Is(err, fault.Conflict) {
		t.Errorf("a foreign secret of the name: %v", err)
	}
	if err := rt.Remove(bounded(t), "guest"); err != nil {
		t.Error(err)
	}
	if got := c.Kubectl(t, "get", "secret", name+"-env", "-n", "shared", "-o", "jsonpath={.data.A}"); got != "dGhlaXJz" {
		t.Errorf("their secret now holds %q", got)
	}
	c.Kubectl(t, "delete", "secret", name+"-env", "-n", "shared")
	apply(t, c, `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: `+name+`-w, namespace: shared, labels: {whose: theirs}}, spec: {replicas: 0,
		selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: `+kubernetestest.Image+`}]}}}}`)
	if err := rt.Launch(bounded(t), l); !fault.Is(err, fault.Conflict) {
		t.Errorf("a foreign workload of the name: %v", err)
	}
	if got := c.Kubectl(t, "get", "statefulset", name+"-w", "-n", "shared", "-o", "jsonpath={.metadata.labels}"); got != `{"whose":"theirs"}` {
		t.Errorf("their workload is now %q", got)
	}
}

func TestEndsAreTold(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "ends")
	greedy := launch("greedy", "hog", "200000000")
	greedy.Restart.Policy, greedy.Resources = "never", agent.Resources{CPU: 0.5, Memory: 32 << 20}
	if err := rt.Launch(bounded(t), greedy); err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, "its end", func() bool { return observed(t, rt, greedy).State == fleet.InstanceFailed })
	if got := observed(t, rt, greedy); !got.OOMKilled || !strings.Contains(got.Reason, "32Mi") {
		t.Errorf("observed %+v", got)
	}

	// The cluster makes another pod for one that somebody removes.
	l := launch("target", "wait")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "delete", "pod", "-n", cfg.Namespace, "--grace-period=1", "-l", "platform-portal.io/agent=target")
	fleettest.Eventually(t, "that it runs again", func() bool {
		got := observed(t, rt, l)
		return got.State == fleet.InstanceRunning && got.Restarts == 1 && got.Displaced && strings.Contains(got.Reason, "its pod before this one went away")
	})
	// One whose workload somebody removes is gone, and can be launched again.
	c.Kubectl(t, "delete", "statefulset", "-n", cfg.Namespace, "-l", "platform-portal.io/agent=target")
	fleettest.Eventually(t, "that it is gone", func() bool { return observed(t, rt, l).ID == "" })
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Error(err)
	}
	if got := observed(t, rt, l); got.State != fleet.InstanceRunning {
		t.Errorf("observed %+v", got)
	}
}

func TestTheAPIServerMayGoAway(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "away")
	l := launch("steady", "ticks")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	before := observed(t, rt, l)
	c.Halt(t)
	fleettest.Eventually(t, "that the cluster is gone", func() bool {
		_, err := rt.Observe(bounded(t), "")
		return fault.Is(err, fault.Unavailable)
	})
	if err := rt.Stop(bounded(t), l.AgentID, l.InstanceID, time.Second); !fault.Is(err, fault.Unavailable) {
		t.Errorf("stopping on a cluster that is gone: %v", err)
	}
	for _, check := range rt.Report(bounded(t)) {
		if !check.Down || check.Why == "" || check.Remedy == "" {
			t.Errorf("reported %+v", check)
		}
	}
	c.Resume(t)
	fleettest.Eventually(t, "that the cluster is back", func() bool {
		_, err := rt.Observe(bounded(t), "")
		return err == nil
	})
	if now := observed(t, rt, l); now.State != fleet.InstanceRunning || !now.StartedAt.Equal(before.StartedAt) {
		t.Errorf("was %+v, is %+v", before, now)
	}
	last := func() (text string) {
		_ = rt.ReadLogs(bounded(t), fleet.LogQuery{AgentID: "steady", Tail: 1}, func(l fleet.LogLine) error { text = l.Text; return nil })
		return text
	}
	was := last()
	fleettest.Eventually(t, "more output", func() bool { return last() != was })
	c.Kubectl(t, "delete", "statefulset", "-n", cfg.Namespace, "-l", "platform-portal.io/agent=steady")
	fleettest.Eventually(t, "that changes are heard again", func() bool { return observed(t, rt, l).ID == "" })
}

// The rights in docs/runtimes.md are enough, and when they are taken away that is
// told.
func TestTheDocumentedRightsAreEnough(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, _ := modest(t, c, "agents")
	l := launch("modest", "wait")
	once := launch("once", "wait")
	once.Restart.Policy = "never"
	for _, step := range []func() error{
		func() error { return rt.Prepare(bounded(t), l) },
		func() error { return rt.Launch(bounded(t), l) },
		func() error {
			_, _, err := rt.Exec(bounded(t), l.AgentID, l.InstanceID, []string{kubernetestest.ProgramPath, "env", "X", "end"})
			return err
		},
		func() error { return rt.Restart(bounded(t), l.AgentID, l.InstanceID, "test") },
		func() error { return rt.Suspend(bounded(t), l.AgentID, l.InstanceID) },
		func() error { return rt.Resume(bounded(t), l.AgentID, l.InstanceID) },
		func() error { return rt.Launch(bounded(t), once) },
		func() error { return rt.Stop(bounded(t), once.AgentID, once.InstanceID, 0) },
		func() error {
			return rt.UnpackVolume(bounded(t), once, fleet.DataVolume, 1, bytes.NewReader(fleettest.Archive(map[string]string{"a": "b"})))
		},
		func() error { return rt.PackVolume(bounded(t), once, fleet.DataVolume, io.Discard) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	c.Kubectl(t, "delete", "rolebinding", "portal", "-n", "agents")
	fleettest.Eventually(t, "that it is told", func() bool {
		f := fault.As(rt.Prepare(bounded(t), l))
		return f != nil && f.Code == "kubernetes.forbidden" && f.Remedy != ""
	})
	if err := rt.Stop(bounded(t), l.AgentID, l.InstanceID, 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("stopping without the right to: %v", err)
	}
	c.Kubectl(t, "create", "rolebinding", "portal", "-n", "agents", "--role=platform-portal", "--serviceaccount=agents:portal")
	fleettest.Eventually(t, "that it still runs", func() bool { return observed(t, rt, l).State == fleet.InstanceRunning })
	fleettest.Eventually(t, "that it works again", func() bool { return rt.Stop(bounded(t), l.AgentID, l.InstanceID, 0) == nil })
}

// What a container does while no portal runs is the cluster's matter, and is counted
// afterwards.
func TestCrashesWithoutAPortalAreStartedAgain(t *testing.T) {
	c := kubernetestest.Start(t)
	cfg := config(t)
	rt := open(t, cfg)
	l := launch("orphaned", "exit", "3")
	l.Restart.MaxRestarts = 1000
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, "two restarts by the kubelet", func() bool {
		n, _ := strconv.Atoi(c.Kubectl(t, "get", "pods", "-l", "platform-portal.io/owner="+cfg.Owner, "-o", "jsonpath={.items[0].status.containerStatuses[0].restartCount}"))
		return n >= 2
	})
	next := open(t, cfg)
	fleettest.Eventually(t, "that they are counted", func() bool {
		got := observed(t, next, l)
		return got.Restarts >= 2 && strings.Contains(got.Reason, "exit code 3")
	})
}

// Portals before this one ran bare pods.
func TestPodsOfOlderPortalsAreReplaced(t *testing.T) {
	c := kubernetestest.Start(t)
	cfg := config(t)
	l := launch("veteran", "wait")
	name := "portal-" + cfg.Owner + "-" + l.InstanceID + "-0"
	apply(t, c, `{apiVersion: v1, kind: Pod, metadata: {name: `+name+`,
		labels: {app.kubernetes.io/managed-by: platform-portal, platform-portal.io/owner: `+cfg.Owner+`, platform-portal.io/agent: veteran, platform-portal.io/instance: `+l.InstanceID+`},
		annotations: {platform-portal.io/agent: veteran, platform-portal.io/instance: `+l.InstanceID+`, platform-portal.io/launch: OLD, platform-portal.io/run: "0", platform-portal.io/revision: "1", platform-portal.io/index: "0"}},
		spec: {restartPolicy: Never, containers: [{name: agent, image: `+kubernetestest.Image+`, imagePullPolicy: Never, args: [wait]}]}}`)
	rt := open(t, cfg)
	if got := observed(t, rt, l); got.State != fleet.InstanceLost || got.Revision != 1 || got.Reason == "" {
		t.Errorf("observed %+v", got)
	}
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	if got := observed(t, rt, l); got.State != fleet.InstanceRunning {
		t.Errorf("observed %+v", got)
	}
	if _, err := c.Try("get", "pod", name); err == nil {
		t.Error("the older pod is still there")
	}
}

// A suspended workload stays so while nobody resumes it, with every kind.
func TestSuspendedWorkloadsAreRemembered(t *testing.T) {
	cfg := config(t)
	rt := open(t, cfg)
	for _, policy := range []string{"always", "on-failure", "never"} {
		l := launch("dreamer-"+policy, "wait")
		l.Restart.Policy = policy
		if err := rt.Launch(bounded(t), l); err != nil {
			t.Fatal(err)
		}
		if err := rt.Suspend(bounded(t), l.AgentID, l.InstanceID); err != nil {
			t.Fatal(err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
		rt = open(t, cfg)
		if got := observed(t, rt, l); got.State != fleet.InstanceSuspended {
			t.Errorf("policy %s: observed %+v", policy, got)
		}
		if err := rt.Resume(bounded(t), l.AgentID, l.InstanceID); err != nil {
			t.Fatalf("policy %s: %v", policy, err)
		}
		if got := observed(t, rt, l); got.State != fleet.InstanceRunning || got.Restarts != 0 {
			t.Errorf("policy %s: observed %+v", policy, got)
		}
		if err := rt.Restart(bounded(t), l.AgentID, l.InstanceID, "test"); err != nil {
			t.Errorf("policy %s: %v", policy, err)
		}
		if got := observed(t, rt, l); got.State != fleet.InstanceRunning || got.Restarts != 1 {
			t.Errorf("policy %s: observed %+v", policy, got)
		}
	}
}

// Somebody who scales a workload makes it neither lost nor failed.
func TestScalingByOthersIsSeenAndUndone(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "scaled")
	l := launch("shrunk", "wait")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "scale", "statefulset", "-n", cfg.Namespace, "--replicas=0", "-l", "platform-portal.io/agent=shrunk")
	fleettest.Eventually(t, "that it is seen", func() bool {
		got := observed(t, rt, l)
		return got.State == fleet.InstanceSuspended && strings.Contains(got.Reason, "somebody else")
	})
	if err := rt.Resume(bounded(t), l.AgentID, l.InstanceID); err != nil {
		t.Fatal(err)
	}
	if got := observed(t, rt, l); got.State != fleet.InstanceRunning {
		t.Errorf("observed %+v", got)
	}
}

// What somebody changes of an agent is shown, and of secrets only which; a launch
// anew takes it all back.
func TestChangesByOthersAreShown(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "changed")
	l := launch("edited", "wait")
	l.Resources = agent.Resources{Memory: 64 << 20, CPU: 0.5}
	l.Env, l.Open = map[string]string{"KEY": "hush", "OTHER": "quiet", "LEVEL": "info"}, []string{"LEVEL"}
	l.Health.Readiness = &agent.Probe{Exec: &agent.ExecProbe{Command: []string{kubernetestest.ProgramPath, "env", "X", "end"}}}
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	if got := observed(t, rt, l); len(got.Drift) > 0 {
		t.Errorf("nobody changed it, and it shows %v", got.Drift)
	}
	name := "portal-" + cfg.Owner + "-" + l.InstanceID
	shows := func(rt *kubernetes.Runtime, want ...fleet.Difference) {
		t.Helper()
		var got []fleet.Difference
		defer func() {
			if t.Failed() {
				t.Logf("shown is %+v", got)
			}
		}()
		fleettest.Eventually(t, "that it is shown", func() bool {
			got = observed(t, rt, l).Drift
			return slices.Equal(got, want)
		})
		if strings.Contains(fmt.Sprint(got), "swapped") {
			t.Errorf("a value is shown: %v", got)
		}
	}
	other := "docker.io/" + kubernetestest.Image // the same by another name
	c.Kubectl(t, "patch", "statefulset", name+"-w", "-n", "changed", "--type=strategic", "-p",
		`{"spec":{"template":{"spec":{"containers":[{"name":"agent","image":"`+other+`","args":["ticks"],"readinessProbe":{"periodSeconds":3},"resources":{"limits":{"memory":"96Mi"}}}]}}}}`)
	c.Kubectl(t, "patch", "secret", name+"-env", "-n", "changed", "-p", `{"stringData":{"KEY":"swapped","MORE":"swapped"},"data":{"OTHER":null}}`)
	c.Kubectl(t, "patch", "configmap", name+"-env", "-n", "changed", "-p", `{"data":{"LEVEL":"swapped"}}`)
	probe := `run ["` + kubernetestest.ProgramPath + `","env","X","end"] every `
	template := []fleet.Difference{
		{Field: "args", Wanted: `["wait"]`, Live: `["ticks"]`},
		{Field: "health.readiness", Wanted: probe + "10 s after 0 s, within 1 s; 3 failures, 1 successes", Live: probe + "3 s after 0 s, within 1 s; 3 failures, 1 successes"},
		{Field: "image", Wanted: kubernetestest.Image, Live: other},
		{Field: "resources.memory", Wanted: "64Mi", Live: "96Mi"},
	}
	values := []fleet.Difference{
		{Field: "env.KEY", Wanted: "the value that was written", Live: "another value in the Secret, with effect at the next start"},
		{Field: "env.MORE", Wanted: fleet.Absent, Live: "a value in the Secret, with effect at the next start"},
		{Field: "env.OTHER", Wanted: "the value that was written", Live: fleet.Absent},
		{Field: "env.LEVEL", Wanted: "the value that was written", Live: "another value in the ConfigMap, with effect at the next start"},
	}
	shows(rt, slices.Concat(template, values)...)
	// A portal with another key can't tell what, and a label is no value.
	foreign := cfg
	foreign.Dir, foreign.Key = t.TempDir(), []byte("another")
	stranger := open(t, foreign)
	shows(stranger, slices.Concat(template, []fleet.Difference{
		{Field: "env", Wanted: "the Secret as it was written", Live: "changed, with effect at the next start"},
		{Field: "env", Wanted: "the ConfigMap as it was written", Live: "changed, with effect at the next start"},
	})...)
	repaired := func() {
		t.Helper()
		if err := rt.Stop(bounded(t), l.AgentID, l.InstanceID, 0); err != nil {
			t.Fatal(err)
		}
		if err := rt.Launch(bounded(t), l); err != nil {
			t.Fatal(err)
		}
		if got := observed(t, rt, l); len(got.Drift) > 0 || got.State != fleet.InstanceRunning {
			t.Errorf("observed %+v", got)
		}
	}
	repaired()
	c.Kubectl(t, "label", "secret", name+"-env", "-n", "changed", "team=red")
	c.Kubectl(t, "delete", "configmap", name+"-env", "-n", "changed")
	shows(rt, fleet.Difference{Field: "env", Wanted: "the ConfigMap " + name + "-env", Live: fleet.Absent})
	c.Kubectl(t, "delete", "secret", name+"-env", "-n", "changed")
	shows(rt, fleet.Difference{Field: "env", Wanted: "the Secret " + name + "-env", Live: fleet.Absent},
		fleet.Difference{Field: "env", Wanted: "the ConfigMap " + name + "-env", Live: fleet.Absent})
	repaired()
}

// A portal that was killed while it copied a volume leaves a pod beside it.
func TestPodsLeftBesideVolumesAreRemoved(t *testing.T) {
	c := kubernetestest.Start(t)
	cfg := config(t)
	name, foreign := "portal-"+cfg.Owner+"-mover-carrier", "portal-"+cfg.Owner+"-foreign-carrier"
	for name, owner := range map[string]string{name: cfg.Owner, foreign: "somebody-else"} {
		apply(t, c, `{apiVersion: v1, kind: Pod, metadata: {name: `+name+`,
			labels: {app.kubernetes.io/managed-by: platform-portal, platform-portal.io/owner: `+owner+`, platform-portal.io/role: carrier}},
			spec: {restartPolicy: Never, containers: [{name: agent, image: `+kubernetestest.Image+`, imagePullPolicy: Never, args: [wait]}]}}`)
	}
	t.Cleanup(func() { c.Kubectl(t, "delete", "pod", foreign, "--now", "--wait=false") })
	open(t, cfg)
	fleettest.Eventually(t, "that it is gone", func() bool {
		_, err := c.Try("get", "pod", name)
		return err != nil
	})
	c.Kubectl(t, "get", "pod", foreign)
}
