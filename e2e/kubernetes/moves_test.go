package kubernetes

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// spread tells where the agent lives: processes of it, and pods.
func (h *helm) spread(agent string) (processes, pods int) {
	h.Helper()
	procs, err := drive.AgentProcesses(h.Data)
	if err != nil {
		h.Fatal(err)
	}
	for _, id := range procs {
		if strings.HasPrefix(id, agent+"-r") {
			processes++
		}
	}
	return processes, len(h.pods(agent))
}

// objects are all of the agent's on the cluster.
func (h *helm) objects(agent string) string {
	return h.cluster.Kubectl(h.T, "get", everything, "-l", "platform-portal.io/agent="+agent, "-o", "name")
}

// works sends the agent tasks, and waits until it has taken all of them.
func (h *helm) works(agent string) {
	h.Helper()
	for range 3 {
		if err := h.Call(h.Ctx, http.MethodPost, "/agents/"+agent+"/tasks", map[string]any{"payload": map[string]any{"text": "hello"}}, nil); err != nil {
			h.Fatal(err)
		}
	}
	queue := ""
	err := drive.Poll(h.Ctx, 50*time.Millisecond, func() (bool, error) {
		var acc struct {
			Stocks []struct {
				Holdings []struct{ Kind, Where string }
			}
		}
		err := h.Call(h.Ctx, http.MethodGet, "/agents/"+agent+"/resources", nil, &acc)
		for _, s := range acc.Stocks {
			for _, x := range s.Holdings {
				if x.Kind == "queue" {
					queue = x.Where
				}
			}
		}
		return queue == "0 messages wait, 0 are worked on", err
	})
	if err != nil {
		h.Fatalf("%s takes nothing from its queue: %s, %v", agent, queue, err)
	}
}

func TestAgentsMoveToTheClusterAndBack(t *testing.T) {
	if testing.Short() {
		t.Skip("a Kubernetes cluster is started")
	}
	node := kubernetestest.Start(t).Kubectl(t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	h := open(t, "--kubernetes-portal-host", node, "--bus-listen", "0.0.0.0:0")
	h.Running("mover", map[string]any{"template": "blank", "runtime": "process"})
	h.works("mover")
	if out := h.Command("agents", "move", "mover", "--to", "kubernetes", "--plan"); !strings.Contains(out, "Content is not copied: directory data") {
		t.Errorf("the plan says %s", out)
	}
	if p, c := h.spread("mover"); p != 1 || c != 0 || h.objects("mover") != "" {
		t.Fatalf("the plan moved something: %d processes, %d pods, %s", p, c, h.objects("mover"))
	}
	h.Command("agents", "move", "mover", "--to", "kubernetes")
	h.Until("mover", "RUNNING", "healthy")
	if p, c := h.spread("mover"); p != 0 || c != 1 {
		t.Errorf("moved, and there are %d processes and %d pods", p, c)
	}
	h.works("mover")

	// What does not get ready on the cluster leaves nothing there.
	h.Running("stayer", map[string]any{"template": "blank", "runtime": "process"})
	out, err := h.Portal.Run(h.Ctx, "agents", "move", "stayer", "--to", "kubernetes", "--image", "registry.invalid/nothing:1", "--command", "/x")
	if err == nil || !strings.Contains(err.Error(), "registry.invalid/nothing:1") {
		t.Errorf("a move to an image that can't be pulled: %s, %v", out, err)
	}
	h.Until("stayer", "RUNNING", "healthy")
	if p, c := h.spread("stayer"); p != 1 || c != 0 || h.objects("stayer") != "" {
		t.Errorf("after a failed move there are %d processes and %d pods, and on the cluster %s", p, c, h.objects("stayer"))
	}
	h.works("stayer")

	// The portal dies on the way.
	for _, to := range []string{"process", "kubernetes"} {
		h.Command("agents", "move", "mover", "--to", to, "--no-wait")
		select {
		case <-time.After(time.Duration(rand.IntN(2500)) * time.Millisecond):
		case <-h.Ctx.Done():
		}
		if err := h.Kill9(); err != nil {
			t.Fatal(err)
		}
		if err := h.Start(h.Ctx); err != nil {
			t.Fatal(err)
		}
		err := drive.Poll(h.Ctx, 50*time.Millisecond, func() (bool, error) {
			a, err := h.Agent(h.Ctx, "mover")
			return a.ActiveOperation == "", err
		})
		if err != nil {
			t.Fatal(err)
		}
		h.Until("mover", "RUNNING", "healthy")
		p, c := h.spread("mover")
		if to == "process" && (p != 1 || c != 0) || to == "kubernetes" && (p != 0 || c != 1) {
			t.Fatalf("moved to %s with a kill on the way: %d processes, %d pods", to, p, c)
		}
		h.works("mover")
	}
	h.Do("mover", "revoke")
	h.Do("stayer", "revoke")
	if left := h.Command("orphans", "ls", "-o", "name") + h.objects("mover") + h.objects("stayer"); left != "" {
		t.Errorf("left over: %s", left)
	}
}

const shop = `{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
  {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ticker", "namespace": "shop", "labels": {"team": "shop"}}, "spec": {
    "replicas": 2, "selector": {"matchLabels": {"app": "ticker"}},
    "template": {"metadata": {"labels": {"app": "ticker"}}, "spec": {"hostNetwork": false, "nodeSelector": {"disk": "fast"}, "containers": [{
      "name": "ticker", "image": "IMAGE", "imagePullPolicy": "IfNotPresent", "command": ["PROGRAM"], "args": ["ticks"],
      "env": [{"name": "LEVEL", "value": "info"}, {"name": "API_KEY", "value": "k-0123456789"}],
      "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "20m", "memory": "64Mi"}},
      "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}],
      "volumes": [{"name": "cache", "emptyDir": {}}]}}}},
  {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "ours", "namespace": "shop", "labels": {"platform-portal.io/owner": "another"}}, "spec": {
    "replicas": 0, "serviceName": "ours", "selector": {"matchLabels": {"app": "ours"}},
    "template": {"metadata": {"labels": {"app": "ours"}}, "spec": {"containers": [{"name": "a", "image": "IMAGE"}]}}}}]}`

func TestWorkloadsOfANamespaceBecomeAgents(t *testing.T) {
	h := open(t)
	file := filepath.Join(t.TempDir(), "shop.json")
	text := strings.NewReplacer("IMAGE", kubernetestest.Image, "PROGRAM", kubernetestest.ProgramPath).Replace(shop)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.cluster.Kubectl(t, "apply", "-f", file)
	t.Cleanup(func() { h.cluster.Kubectl(t, "delete", "namespace", "shop", "--wait=false") })
	state := func() string {
		return h.cluster.Kubectl(t, "get", "deployments,statefulsets", "-n", "shop", "-o", `jsonpath={range .items[*]}{.metadata.uid} {.metadata.generation} {.spec}{"\n"}{end}`)
	}
	before := state()
	h.Command("import", "kubernetes", "--namespace", "shop", "--plan")
	if agents, err := h.Agents(h.Ctx, ""); err != nil || len(agents) != 0 {
		t.Fatalf("the plan made %v, %v", agents, err)
	}
	var answer struct {
		Notes []struct {
			Path string `json:"path"`
			Lost bool   `json:"lost"`
		} `json:"notes"`
	}
	if err := json.Unmarshal([]byte(h.Command("import", "kubernetes", "--namespace", "shop", "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	var lost []string
	for _, n := range answer.Notes {
		if n.Lost {
			lost = append(lost, n.Path)
		}
	}
	if got := strings.Join(lost, " "); got != "deployment/ticker.env.API_KEY deployment/ticker.resources.requests.cpu deployment/ticker.template.spec.nodeSelector" {
		t.Errorf("without effect are %s", got)
	}
	h.Do("ticker", "provision", "deploy", "start")
	h.Until("ticker", "RUNNING", "")
	if pods := h.pods("ticker"); len(pods) != 2 {
		t.Errorf("pods %v", pods)
	}
	h.Do("ticker", "revoke")
	if now := state(); now != before {
		t.Errorf("the workloads were %s and are %s", before, now)
	}
	for namespace, why := range map[string]string{"empty-of-all": "no workload", "Shop_": "namespace"} {
		if out, err := h.Portal.Run(h.Ctx, "import", "kubernetes", "--namespace", namespace); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("of %s: %s, %v", namespace, out, err)
		}
	}
}
