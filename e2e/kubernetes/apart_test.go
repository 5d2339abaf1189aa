package kubernetes

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// gate passes connections on, and nothing at all while it is shut: neither bytes nor
// ends, as a network does that drops packets.
type gate struct {
	at string // address
	mu sync.RWMutex
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	g := &gate{at: l.Addr().String()}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				g.wait()
				out, err := net.Dial("tcp", to)
				if err != nil {
					_ = in.Close()
					return
				}
				t.Cleanup(func() { _, _ = in.Close(), out.Close() })
				go g.pass(out, in)
				go g.pass(in, out)
			}()
		}
	}()
	return g
}

func (g *gate) wait() { g.mu.RLock(); defer g.mu.RUnlock() }

func (g *gate) pass(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.wait()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (g *gate) shut() { g.mu.Lock() }
func (g *gate) open() { g.mu.Unlock() }

// farPlace makes a namespace of agents as deploy/ has it, and a kubeconfig of the portal's
// account that leads through a gate. grant gives the account its rights there again.
func farPlace(t *testing.T, name string) (kubeconfig string, g *gate, grant func()) {
	t.Helper()
	c := kubernetestest.Start(t)
	root, err := drive.Root()
	if err != nil {
		t.Fatal(err)
	}
	deploy, dir := filepath.Join(root, "deploy", "kubernetes"), t.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(deploy, "place"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: ["+base+"]\nnamespace: "+name+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"namespaces.yaml", "access.yaml"} {
		c.Kubectl(t, "apply", "-f", filepath.Join(deploy, file))
	}
	grant = func() { c.Kubectl(t, "apply", "-k", dir) }
	grant()
	t.Cleanup(func() { c.Kubectl(t, "delete", "namespace", name, "platform-portal", "--wait=false") })
	admin, err := os.ReadFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	server := regexp.MustCompile(`server: "https://([^":]+):(\d+)", certificate-authority: ("[^"]+")`).FindStringSubmatch(string(admin))
	if server == nil {
		t.Fatalf("no server in %s", admin)
	}
	g = newGate(t, net.JoinHostPort(server[1], server[2]))
	token := strings.TrimSpace(c.Kubectl(t, "create", "token", "portal", "-n", "platform-portal", "--duration=4h"))
	kubeconfig = filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: far,
clusters: [{name: far, cluster: {server: "https://%s", tls-server-name: "%s", certificate-authority: %s}}],
users: [{name: portal, user: {token: %s}}], contexts: [{name: far, context: {cluster: far, user: portal, namespace: %s}}]}`, g.at, server[1], server[3], token, name)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, g, grant
}

// repaired removes an agent's workload and gives how long it takes until another pod
// runs.
func (h *helm) repaired(namespace, agent string) time.Duration {
	h.Helper()
	before, begun := h.in(namespace, agent), time.Now()
	h.cluster.Kubectl(h.T, "delete", "deployments,statefulsets", "-n", namespace, "-l", "platform-portal.io/agent="+agent, "--wait=false")
	err := drive.Poll(h.Ctx, 100*time.Millisecond, func() (bool, error) {
		now := h.in(namespace, agent)
		return strings.Count(now, "/") == 1 && now != before, nil
	})
	if err != nil {
		h.Fatalf("%s in %s: %v; pods %q, before %q", agent, namespace, err, h.in(namespace, agent), before)
	}
	return time.Since(begun)
}

// troubled demands that the diagnosis names the place alone, and that pages of what is
// held where come although it says nothing.
func (h *helm) troubled(place, why string) {
	h.Helper()
	for _, r := range h.runtimes() {
		down := slices.ContainsFunc(r.Checks, func(c drive.Check) bool { return c.Down })
		if down != (r.Name == place) {
			h.Errorf("%s is said to be out of order: %v, %+v", r.Name, down, r.Checks)
		}
		if down && !strings.Contains(fmt.Sprint(r.Checks), place) {
			h.Errorf("%s is not named in %+v", place, r.Checks)
		}
	}
	var left struct{ Notes []string }
	begun := time.Now()
	if err := h.Call(h.Ctx, http.MethodGet, "/orphans", nil, &left); err != nil || len(left.Notes) != 1 || !strings.Contains(left.Notes[0], place) {
		h.Errorf("what is left over, while %s %s: %q, %v", place, why, left.Notes, err)
	}
	if took := time.Since(begun); took > 25*time.Second {
		h.Errorf("what is left over takes %s to be told while a place %s", took, why)
	}
}

// One place hangs, then refuses the portal. The other one is repaired as before, and
// the first as soon as it is back.
func TestAPlaceInTroubleHoldsUpNobodyElse(t *testing.T) {
	if testing.Short() {
		t.Skip("a Kubernetes cluster is started")
	}
	kubeconfig, far, grant := farPlace(t, "far")
	h := open(t, places(t, "  kubernetes/far: {kubeconfig: "+kubeconfig+"}\n")...)
	h.Running("near", map[string]any{"template": "blank"})
	h.Running("distant", map[string]any{"template": "blank", "runtime": "kubernetes/far"})
	well := h.repaired("default", "near")
	h.Until("near", "RUNNING", "healthy")

	far.shut()
	hangs := h.repaired("default", "near")
	h.troubled("kubernetes/far", "hangs")
	far.open()
	h.repaired("far", "distant")
	h.Until("distant", "RUNNING", "healthy")

	h.cluster.Kubectl(t, "delete", "rolebinding", "portal", "-n", "far")
	err := drive.Poll(h.Ctx, 100*time.Millisecond, func() (bool, error) {
		_, err := h.cluster.Try("auth", "can-i", "create", "deployments", "-n", "far", "--as=system:serviceaccount:platform-portal:portal")
		return err != nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.cluster.Kubectl(t, "delete", "deployments,statefulsets", "-n", "far", "-l", "platform-portal.io/agent=distant")
	refuses := h.repaired("default", "near")
	h.troubled("kubernetes/far", "refuses")
	if err := drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) { return h.in("far", "distant") == "", nil }); err != nil {
		t.Errorf("without rights there is %q", h.in("far", "distant"))
	}
	grant()
	h.Until("distant", "RUNNING", "healthy")
	err = drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) { return strings.Count(h.in("far", "distant"), "/") == 1, nil })
	if err != nil {
		t.Errorf("with its rights back: %q, %v", h.in("far", "distant"), err)
	}
	h.Until("near", "RUNNING", "healthy")
	t.Logf("a workload that was removed is back after %s, while the other place hangs after %s, while it refuses after %s", well, hangs, refuses)
	// One request to a place that hangs would take 30 s.
	if most := well + 25*time.Second; hangs > most || refuses > most {
		t.Errorf("with the other place in trouble it takes longer")
	}
	for _, name := range []string{"near", "distant"} {
		h.Do(name, "stop")
		h.Do(name, "revoke")
	}
}
