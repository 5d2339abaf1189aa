// Package kubernetes lets the built portal run agents as pods of a real Kubernetes
// cluster, and takes the API server, the pods and the portal away meanwhile.
package kubernetes

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/e2e/drive/drivetest"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

func TestMain(m *testing.M) { os.Exit(kubernetestest.Main(withDocker{m})) }

// withDocker ends the Docker engine as well that a test may have started.
type withDocker struct{ m *testing.M }

// Run implements testenv.Runner.
func (w withDocker) Run() int { return dockertest.Main(w.m) }

// portalImage has the portal's program as its entry point.
const portalImage = "platform-portal/portal:test"

// everything are the kinds of objects that the portal makes.
const everything = "deployments,statefulsets,jobs,replicasets,pods,secrets,configmaps,pvc,services,serviceaccounts,networkpolicies,poddisruptionbudgets"

// helm is a portal with a cluster.
type helm struct {
	*drivetest.Pilot
	cluster *kubernetestest.Cluster
}

func open(t *testing.T, more ...string) *helm {
	t.Helper()
	if testing.Short() {
		t.Skip("a Kubernetes cluster is started")
	}
	c := kubernetestest.Start(t)
	bin, err := drive.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c.Import(t, portalImage, bin, "65532")
	t.Cleanup(func() {
		if t.Failed() { // what it left would fail those that come after it
			c.Kubectl(t, "delete", "quota", "--all")
			c.Kubectl(t, "delete", everything, "-l", "app.kubernetes.io/managed-by=platform-portal", "--wait=false")
		}
	})
	return &helm{Pilot: drivetest.Open(t, bin, "kubernetes", append([]string{"--kubernetes-kubeconfig", c.Kubeconfig, "--kubernetes-image", portalImage}, more...)...), cluster: c}
}

// pods gives the names and unique ids of the pods in which the agent runs.
func (h *helm) pods(agent string) []string {
	return strings.Fields(h.cluster.Kubectl(h.T, "get", "pods", "-l", "platform-portal.io/agent="+agent,
		"-o", `jsonpath={range .items[*]}{.metadata.name}/{.metadata.uid}{"\n"}{end}`))
}

// replaced waits for one pod that was not there before.
func (h *helm) replaced(agent string, before []string) {
	h.Helper()
	err := drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) {
		now := h.pods(agent)
		return len(now) == 1 && now[0] != before[0], nil
	})
	if err != nil {
		h.Fatalf("pods %v, before %v: %v", h.pods(agent), before, err)
	}
}

func TestAgentsLiveInPods(t *testing.T) {
	h := open(t)
	h.Running("memory", map[string]any{"template": "memory", "resources": map[string]any{"memory": "128Mi", "cpu": 0.5}})
	h.Running("program", map[string]any{"image": kubernetestest.Image, "command": kubernetestest.ProgramPath, "args": []string{"ticks"}})
	before := h.pods("memory")
	if len(before) != 1 {
		t.Fatalf("pods %v", before)
	}
	name, _, _ := strings.Cut(before[0], "/")
	made := h.cluster.Kubectl(t, "get", "pod", name, "-o", "jsonpath={.spec.containers[0].resources.limits.memory} {.spec.containers[0].securityContext} {.spec.automountServiceAccountToken} {.spec.securityContext.runAsUser}")
	for _, want := range []string{"128Mi ", `"readOnlyRootFilesystem":true`, `"drop":["ALL"]`, `"allowPrivilegeEscalation":false`, " false 65532"} {
		if !strings.Contains(made, want) {
			t.Errorf("the pod is made with %s, without %s", made, want)
		}
	}
	if whole := h.cluster.Kubectl(t, "get", "pod", name, "-o", "yaml"); strings.Contains(whole, "QUEUE_TOKEN") {
		t.Error("the pod itself holds the agent's credentials")
	}

	// What it prints is found as with every runtime.
	err := drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) {
		out, err := h.Portal.Run(h.Ctx, "agents", "logs", "program", "--tail", "5")
		return strings.Contains(out, "tick "), err
	})
	if err != nil {
		t.Errorf("its output: %v", err)
	}

	// The portal dies, and has its pods again.
	if err := h.Kill9(); err != nil {
		t.Fatal(err)
	}
	if err := h.Launch(); err != nil {
		t.Fatal(err)
	}
	if err := h.WaitReady(h.Ctx); err != nil {
		t.Fatal(err)
	}
	h.Until("memory", "RUNNING", "healthy")
	if now := h.pods("memory"); len(now) != 1 || now[0] != before[0] {
		t.Errorf("after the portal died there are %v, before %v", now, before)
	}

	// Somebody removes a pod.
	h.cluster.Kubectl(t, "delete", "pod", name, "--grace-period=1", "--wait=false")
	h.replaced("memory", before)
	h.Until("memory", "RUNNING", "healthy")

	for _, name := range []string{"memory", "program"} {
		h.Do(name, "stop")
		h.Do(name, "revoke")
	}
	err = drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) {
		return h.cluster.Kubectl(t, "get", everything, "-l", "platform-portal.io/owner", "-o", "name") == "", nil
	})
	if err != nil {
		t.Errorf("objects are left: %s", h.cluster.Kubectl(t, "get", everything, "-l", "platform-portal.io/owner", "-o", "name"))
	}
}

func TestAPIServerGoesAndComesBack(t *testing.T) {
	h := open(t)
	h.Running("steady", map[string]any{"template": "blank"})
	before := h.pods("steady")
	h.cluster.Halt(t)
	err := drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) { return strings.Contains(h.problem(), "reached"), nil })
	if err != nil {
		t.Errorf("the diagnosis says %q of a cluster that is gone", h.problem())
	}
	if out, _ := h.Portal.Run(h.Ctx, "doctor", "--data", h.Data, "--kubernetes-kubeconfig", h.cluster.Kubeconfig); !strings.Contains(out, "No agent can be run on the runtime kubernetes.") {
		t.Errorf("the doctor says %s", out)
	}
	op, err := h.Act(h.Ctx, "steady", "restart")
	if err != nil || op.State != "FAILED" || op.Problem == nil || op.Problem.Why == "" {
		t.Errorf("a restart without a cluster: %+v, %v", op, err)
	}
	h.cluster.Resume(t)
	err = drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) { return h.problem() == "", nil })
	if err != nil {
		t.Errorf("the cluster is back, and the diagnosis says %q", h.problem())
	}
	err = drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) {
		a, err := h.Agent(h.Ctx, "steady")
		return a.State == "RUNNING" && a.Health == "healthy" || a.State == "ERRORED", err
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := h.Agent(h.Ctx, "steady"); a.State == "ERRORED" {
		h.Do("steady", "restart")
		h.Until("steady", "RUNNING", "healthy")
	}
	if len(before) != 1 || len(h.pods("steady")) != 1 {
		t.Errorf("pods %v, before %v", h.pods("steady"), before)
	}
	h.Do("steady", "stop")
	h.Do("steady", "revoke")
}

func TestWhatCannotRunSaysWhyAndWhatToDo(t *testing.T) {
	h := open(t)
	h.Create("nowhere", map[string]any{"image": "registry.invalid/nothing:1", "command": "/x"})
	h.Do("nowhere", "provision")
	h.Do("nowhere", "deploy")
	before, err := h.Holdings(h.Ctx, "nowhere")
	if err != nil {
		t.Fatal(err)
	}
	op, err := h.Act(h.Ctx, "nowhere", "start")
	if err != nil || op.State != "FAILED" || op.Problem == nil || !strings.Contains(op.Problem.What, "registry.invalid/nothing:1") || op.Problem.Why == "" {
		t.Fatalf("an image that can't be pulled: %+v, %v", op, err)
	}
	if left := h.pods("nowhere"); len(left) > 0 {
		t.Errorf("pods are left: %v", left)
	}
	if after, err := h.Holdings(h.Ctx, "nowhere"); err != nil || !slices.Equal(after, before) {
		t.Errorf("after the start that failed it holds %v, before %v; %v", after, before, err)
	}

	// Nothing of an agent that can't be prepared is on the cluster.
	h.Create("refused", map[string]any{"image": kubernetestest.Image, "command": kubernetestest.ProgramPath, "args": []string{"ticks"},
		"volumes": []map[string]any{{"name": "notes", "size": "1Mi"}}})
	h.Do("refused", "provision")
	h.cluster.Kubectl(t, "create", "quota", "tight", "--hard=persistentvolumeclaims=2")
	h.cluster.Kubectl(t, "wait", "quota/tight", "--for=jsonpath={.status.used.persistentvolumeclaims}=1", "--timeout=60s")
	op, err = h.Act(h.Ctx, "refused", "deploy")
	h.cluster.Kubectl(t, "delete", "quota", "tight")
	if err != nil || op.State != "FAILED" || op.Problem == nil || !strings.Contains(op.Problem.What, "quota") {
		t.Errorf("a quota that is used up: %+v, %v", op, err)
	}
	if left := h.objects("refused"); left != "" {
		t.Errorf("on the cluster are left %s", left)
	}

	h.Running("crasher", map[string]any{"template": "blank", "restart": map[string]any{"policy": "always"}})
	before = h.pods("crasher")
	name, _, _ := strings.Cut(before[0], "/")
	h.cluster.Kubectl(t, "patch", "pod", name, "--type=merge", "-p", `{"spec":{"activeDeadlineSeconds":1}}`)
	h.replaced("crasher", before)
	h.Until("crasher", "RUNNING", "healthy")
	for _, name := range []string{"crasher", "nowhere", "refused"} {
		if name == "crasher" {
			h.Do(name, "stop")
		}
		h.Do(name, "revoke")
	}
}

// TestFourteenAgentsStartTogether measures how long a platform takes to come up.
func TestFourteenAgentsStartTogether(t *testing.T) {
	h := open(t)
	const n = 14
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("crew-%d", i))
		h.Create(names[i], map[string]any{"template": "blank"})
	}
	begun := time.Now()
	for _, action := range []string{"provision", "deploy", "start"} {
		b, err := h.RunBulk(h.Ctx, map[string]any{"actions": []string{action}, "agent_ids": names})
		if err != nil || b.Succeeded != n {
			t.Fatalf("%s: %+v, %v", action, b, err)
		}
	}
	for _, name := range names {
		h.Until(name, "RUNNING", "healthy")
	}
	took := time.Since(begun)
	t.Logf("%d agents from DRAFT to ready in %.1f s", n, took.Seconds())
	if took > 5*time.Minute { // the target is 60 s on a machine that does nothing else
		t.Errorf("took %s", took)
	}
	for _, action := range []string{"stop", "revoke"} {
		if b, err := h.RunBulk(h.Ctx, map[string]any{"actions": []string{action}, "agent_ids": names}); err != nil || b.Succeeded != n {
			t.Errorf("%s: %+v, %v", action, b, err)
		}
	}
}

func TestCapabilitiesAreDocumented(t *testing.T) {
	h := open(t)
	problems, err := drive.Undocumented(h.runtimes())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// problem is what the report of runtimes says is wrong with the cluster; "" for
// nothing.
func (h *helm) problem() string {
	for _, r := range h.runtimes() {
		for _, c := range r.Checks {
			if r.Name == "kubernetes" && c.Name == "kubernetes_cluster" && !c.OK {
				return c.Why
			}
		}
	}
	return ""
}

func (h *helm) runtimes() []drive.Hosting {
	h.Helper()
	var out struct {
		Runtimes []drive.Hosting `json:"runtimes"`
	}
	if err := h.Call(h.Ctx, http.MethodGet, "/health", nil, &out); err != nil {
		h.Fatal(err)
	}
	return out.Runtimes
}

// reborn kills the portal and starts it again.
func (h *helm) reborn() {
	h.Helper()
	if err := h.Kill9(); err != nil {
		h.Fatal(err)
	}
	if err := h.Launch(); err != nil {
		h.Fatal(err)
	}
	if err := h.WaitReady(h.Ctx); err != nil {
		h.Fatal(err)
	}
}

func TestWorkloadsOutliveWhatIsDoneToThem(t *testing.T) {
	h := open(t)
	h.Create("hardy", map[string]any{"template": "memory", "replicas": 2})
	h.Do("hardy", "provision")
	h.Do("hardy", "deploy")

	// The portal dies while it starts the agent.
	if err := h.Call(h.Ctx, http.MethodPost, "/agents/hardy/start", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	h.reborn()
	h.Until("hardy", "RUNNING", "healthy")
	if n := len(h.pods("hardy")); n != 2 {
		t.Errorf("%d pods", n)
	}

	// Somebody removes the workloads.
	before := h.pods("hardy")
	h.cluster.Kubectl(t, "delete", "statefulsets", "-l", "platform-portal.io/agent=hardy")
	err := drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) {
		now := h.pods("hardy")
		return len(now) == 2 && !slices.ContainsFunc(now, func(p string) bool { return slices.Contains(before, p) }), nil
	})
	if err != nil {
		t.Errorf("pods are %v, before %v", h.pods("hardy"), before)
	}
	h.Until("hardy", "RUNNING", "healthy")

	// Suspended it has no pods, which the next portal leaves so.
	h.Do("hardy", "suspend")
	h.reborn()
	h.Until("hardy", "SUSPENDED", "")
	if left := h.pods("hardy"); len(left) > 0 {
		t.Errorf("it is suspended and has %v", left)
	}
	h.Do("hardy", "resume")
	h.Until("hardy", "RUNNING", "healthy")
	h.Do("hardy", "stop")
	h.Do("hardy", "revoke")
}
