package kubernetes

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// places gives the flag that names a configuration file with the places.
func places(t *testing.T, text string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "portal.yaml")
	if err := os.WriteFile(path, []byte("places:\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", path}
}

// in gives the names and unique ids of the agent's pods in a namespace.
func (h *helm) in(namespace, agent string) string {
	h.Helper()
	return h.cluster.Kubectl(h.T, "get", "pods", "-n", namespace, "-l", "platform-portal.io/agent="+agent, "-o", `jsonpath={range .items[*]}{.metadata.name}/{.metadata.uid} {end}`)
}

// namespace makes one that is removed at the end of the test.
func namespace(t *testing.T, name string) {
	t.Helper()
	c := kubernetestest.Start(t)
	c.Kubectl(t, "create", "namespace", name)
	t.Cleanup(func() { c.Kubectl(t, "delete", "namespace", name, "--wait=false") })
}

func TestTwoNamespacesAreTwoPlacesOfOnePortal(t *testing.T) {
	if testing.Short() {
		t.Skip("a Kubernetes cluster is started")
	}
	namespace(t, "second")
	h := open(t, append(places(t, "  kubernetes/second: {namespace: second}\n"), "--quotas", "runtime=kubernetes replicas=3; runtime=kubernetes/second replicas=2")...)
	h.Running("here", map[string]any{"template": "blank"})
	h.Running("there", map[string]any{"template": "memory", "runtime": "kubernetes/second"})
	here, there := h.in("default", "here"), h.in("second", "there")
	if strings.Count(here, "/") != 1 || strings.Count(there, "/") != 1 || h.in("second", "here")+h.in("default", "there") != "" {
		t.Fatalf("pods in the one namespace %q, in the other %q", here, there)
	}
	h.clean("both run")

	if err := h.Kill9(); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(h.Ctx); err != nil {
		t.Fatal(err)
	}
	h.Until("here", "RUNNING", "healthy")
	h.Until("there", "RUNNING", "healthy")
	if a, b := h.in("default", "here"), h.in("second", "there"); a != here || b != there {
		t.Errorf("after the portal was killed the pods are %q and %q, before %q and %q", a, b, here, there)
	}
	h.clean("adopted again")

	// What somebody removes is made anew where it was.
	h.cluster.Kubectl(t, "delete", "deployments,statefulsets", "-n", "second", "-l", "platform-portal.io/agent=there")
	err := drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) {
		now := h.in("second", "there")
		return strings.Count(now, "/") == 1 && now != there, nil
	})
	if err != nil {
		t.Fatalf("pods %q: %v", h.in("second", "there"), err)
	}
	h.Until("there", "RUNNING", "healthy")

	// The quota of a kind bounds all of its places together.
	h.Create("third", map[string]any{"template": "blank", "runtime": "kubernetes/second", "replicas": 2})
	if out, err := h.Portal.Run(h.Ctx, "agents", "provision", "third"); err == nil || !strings.Contains(err.Error(), "kubernetes") {
		t.Errorf("more than the quotas allow: %s, %v", out, err)
	}

	// From one namespace to the other, and back.
	h.Command("agents", "move", "here", "--to", "kubernetes/second", "--copy-data")
	h.Until("here", "RUNNING", "healthy")
	if a, b := h.in("default", "here"), h.in("second", "here"); a != "" || strings.Count(b, "/") != 1 {
		t.Errorf("moved, the pods are %q and %q", a, b)
	}
	if left := strings.Fields(h.Command("orphans", "ls", "-o", "name")); len(left) != 1 || left[0] != "kubernetes/here" {
		t.Errorf("left over: %v, want what the agent left where it was", left)
	}
	h.Command("agents", "move", "here", "--to", "kubernetes")
	h.Until("here", "RUNNING", "healthy")
	if left := strings.Fields(h.Command("orphans", "ls", "-o", "name")); len(left) != 1 || left[0] != "kubernetes/second/here" {
		t.Errorf("moved back, and left over: %v", left)
	}
	if err := h.Call(h.Ctx, http.MethodDelete, "/orphans/kubernetes%2Fsecond/there", nil, nil); drive.StatusOf(err) != http.StatusNotFound {
		t.Errorf("what an agent owns is removed as left over: %v", err)
	}
	h.Command("orphans", "rm", "kubernetes/second/here", "--yes")
	h.clean("what was left is removed")
	h.Until("there", "RUNNING", "healthy")

	h.refusals()
	for _, name := range []string{"here", "there"} {
		h.Do(name, "revoke")
		if left := h.objects(name) + h.cluster.Kubectl(t, "get", everything, "-n", "second", "-l", "platform-portal.io/agent="+name, "-o", "name"); left != "" {
			t.Errorf("%s is revoked and leaves %s", name, left)
		}
	}
}

// refusals looks at what can't be had from places.
func (h *helm) refusals() {
	h.Helper()
	for runtime, want := range map[string]string{"kubernetes/nowhere": "kubernetes/second", "process/second": "KIND/NAME", "kubernetes/Second": "KIND/NAME"} {
		err := h.Call(h.Ctx, http.MethodPost, "/agents", map[string]any{"name": "x", "template": "blank", "runtime": runtime}, nil)
		if drive.StatusOf(err) != http.StatusUnprocessableEntity && drive.StatusOf(err) != http.StatusBadRequest || !strings.Contains(fmt.Sprint(err), want) {
			h.Errorf("an agent for %s: %v", runtime, err)
		}
	}
	if out, err := h.Portal.Run(h.Ctx, "import", "kubernetes", "--namespace", "default", "--runtime", "kubernetes/nowhere", "--plan"); err == nil || !strings.Contains(err.Error(), "kubernetes/nowhere") {
		h.Errorf("import from a cluster that is not there: %s, %v", out, err)
	}
}

// clean demands that nothing is left over.
func (h *helm) clean(when string) {
	h.Helper()
	if left := h.Command("orphans", "ls", "-o", "name"); left != "" {
		h.Errorf("%s, and left over is %s", when, left)
	}
}
