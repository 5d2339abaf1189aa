// Package install puts the portal where people run it, with what deploy/ holds.
package install

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

func TestMain(m *testing.M) { os.Exit(kubernetestest.Main(m)) }

const (
	namespace = "platform-portal"
	agents    = "platform-portal-agents"
)

// site is a cluster with deploy/kubernetes applied.
type site struct {
	*testing.T
	*kubernetestest.Cluster
	bin string
}

func open(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("a Kubernetes cluster is started")
	}
	c := kubernetestest.Start(t)
	dir := t.TempDir()
	bin, err := drive.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &site{T: t, Cluster: c, bin: bin}
}

// image gives the node an image of the portal.
func (s *site) image(tag string) {
	s.Helper()
	program := filepath.Join(s.TempDir(), "portal")
	if err := os.Link(s.bin, program); err != nil {
		b, err := os.ReadFile(s.bin)
		if err == nil {
			err = os.WriteFile(program, b, 0o700)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	s.Import(s, "platform-portal:"+tag, program, "65532:65532")
}

// overlay sets images, that of built-in agents too, and has agents reach the portal at
// the address of its pod, as there is no DNS for its name.
const overlay = `
resources: [%q]
images: [{name: platform-portal, newTag: %q}]
patches:
- patch: |
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: portal, namespace: platform-portal}
    spec:
      template:
        spec:
          containers:
          - name: portal
            env:
            - {name: PORTAL_KUBERNETES_IMAGE, value: "platform-portal:first"}
            - {name: PORTAL_KUBERNETES_PORTAL_HOST, value: null, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
`

// apply applies deploy/kubernetes with the image of that tag, and waits for the pod.
func (s *site) apply(tag string) {
	s.Helper()
	root, err := drive.Root()
	if err != nil {
		s.Fatal(err)
	}
	dir := s.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(root, "deploy", "kubernetes"))
	if err != nil {
		s.Fatal(err)
	}
	overlay := fmt.Sprintf(overlay, base, tag)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		s.Fatal(err)
	}
	s.Kubectl(s, "apply", "-k", dir)
	if out, err := s.Try("rollout", "status", "statefulset/portal", "-n", namespace, "--timeout=4m"); err != nil {
		pods, _ := s.Try("describe", "pods", "-n", namespace)
		logs, _ := s.Try("logs", "portal-0", "-n", namespace, "--tail=20")
		s.Fatalf("%s%v\n%s\n%s", out, err, pods, logs)
	}
}

// pod gives a field of the portal's pod.
func (s *site) pod(field string) string {
	s.Helper()
	return s.Kubectl(s, "get", "pod", "portal-0", "-n", namespace, "-o", "jsonpath={"+field+"}")
}

// portal runs the command line within the pod.
func (s *site) portal(args ...string) string {
	s.Helper()
	return s.Kubectl(s, append([]string{"exec", "portal-0", "-n", namespace, "--", "/portal"}, args...)...)
}

// reach gives the portal in the pod, as an admin sees it.
func (s *site) reach(token string) *drive.Portal {
	s.Helper()
	p, err := drive.New(s.bin, s.TempDir())
	if err != nil {
		s.Fatal(err)
	}
	p.URL, p.Token = "http://"+s.pod(".status.podIP")+":8080", token
	return p
}

// run makes an agent of the cluster and brings it to where it runs.
func (s *site) run(p *drive.Portal, name string) {
	s.Helper()
	agent := map[string]any{"name": name, "template": "blank", "runtime": "kubernetes"}
	if err := p.Call(s.Context(), http.MethodPost, "/agents", agent, nil); err != nil {
		s.Fatal(err)
	}
	for _, action := range []string{"provision", "deploy", "start"} {
		if op, err := p.Act(s.Context(), name, action); err != nil || op.State != "SUCCEEDED" {
			pods, _ := s.Try("describe", "pods", "-n", agents)
			s.Fatalf("%s: %+v, %v\n%s", action, op, err, pods)
		}
	}
	s.until(p, name)
}

// until waits until the agent is well.
func (s *site) until(p *drive.Portal, name string) {
	s.Helper()
	var a struct{ State, Health string }
	for end := time.Now().Add(2 * time.Minute); a.State != "RUNNING" || a.Health != "healthy"; {
		if err := p.Call(s.Context(), http.MethodGet, "/agents/"+name, nil, &a); err != nil {
			s.Fatal(err)
		}
		if time.Now().After(end) {
			s.Fatalf("%s is %+v", name, a)
		}
	}
}

// instances gives the agents' pods.
func (s *site) instances() string {
	s.Helper()
	return s.Kubectl(s, "get", "pods", "-n", agents, "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {end}`)
}

func TestAnUpgradedPortalStillHasItsAgents(t *testing.T) {
	s := open(t)
	s.image("first")
	s.image("second")
	s.apply("first")
	token := drive.TokenIn(s.portal("token", "create", "--name", "test", "--role", "admin"))
	s.run(s.reach(token), "keeper")
	instances := s.instances()
	before := s.pod(".metadata.uid")

	s.apply("second")
	if after := s.pod(".metadata.uid"); after == before {
		t.Error("the pod was not replaced")
	}
	if image := s.pod(".spec.containers[0].image"); image != "platform-portal:second" {
		t.Errorf("the portal runs %s", image)
	}
	p := s.reach(token)
	s.until(p, "keeper")
	if after := s.instances(); after == "" || after != instances {
		t.Errorf("the agent's pods were %q and are %q after the upgrade", instances, after)
	}
	if op, err := p.Act(t.Context(), "keeper", "revoke"); err != nil || op.State != "SUCCEEDED" {
		logs, _ := s.Try("logs", "portal-0", "-n", namespace, "--tail=30")
		t.Fatalf("%+v, %+v, %v\n%s", op, op.Problem, err, logs)
	}
	for end := time.Now().Add(time.Minute); s.instances() != ""; {
		if time.Now().After(end) {
			t.Fatalf("the agent was revoked and has pods: %s", s.instances())
		}
	}
	s.portal("audit", "verify", "--data", "/data/portal") // fails where the record is broken
	if out := s.portal("ready"); !strings.Contains(out, "is ready") {
		t.Error(out)
	}
}

func TestThePortalMayDoWhatItsRuntimeNeeds(t *testing.T) {
	s := open(t)
	s.image("first")
	s.apply("first")
	may := func(verb, what, where string) bool {
		what, part, _ := strings.Cut(what, "/")
		out, err := s.Try("auth", "can-i", verb, what, "--subresource="+part, "-n", where, "--as=system:serviceaccount:"+namespace+":portal")
		switch {
		case err == nil && strings.HasSuffix(out, "yes"):
			return true
		case err != nil && strings.Contains(err.Error(), "no"):
			return false
		}
		t.Fatalf("can-i %s %s: %q, %v", verb, what, out, err)
		return false
	}
	for _, what := range []string{
		"create pods", "watch pods", "delete pods", "get pods/log", "create pods/exec",
		"create secrets", "deletecollection secrets", "create persistentvolumeclaims", "deletecollection persistentvolumeclaims",
		"list storageclasses", "watch events", "watch configmaps", "patch services", "create serviceaccounts", "delete configmaps", "create networkpolicies", "create poddisruptionbudgets",
	} {
		verb, kind, _ := strings.Cut(what, " ")
		if !may(verb, kind, agents) {
			t.Errorf("the portal may not %s in the namespace of its agents", what)
		}
	}
	// The cluster here has no metrics, so that it is not asked about them by name.
	if list := s.Kubectl(t, "auth", "can-i", "--list", "-n", agents, "--as=system:serviceaccount:"+namespace+":portal"); !strings.Contains(list, "pods.metrics.k8s.io") {
		t.Errorf("the portal may not read metrics: %s", list)
	}
	for _, what := range []string{
		"create roles", "create rolebindings", "create serviceaccounts/token", "update pods", "patch pods", "create pods/ephemeralcontainers",
		"create events", "update configmaps", "update pods/status", "update serviceaccounts", "delete namespaces", "get nodes", "get nodes/proxy", "create persistentvolumes", "impersonate users",
	} {
		verb, kind, _ := strings.Cut(what, " ")
		if may(verb, kind, agents) {
			t.Errorf("the portal may %s", what)
		}
	}
	for _, where := range []string{namespace, "kube-system", "default"} {
		for _, what := range []string{"get secrets", "get configmaps", "create pods", "create pods/exec", "list pods"} {
			verb, kind, _ := strings.Cut(what, " ")
			if may(verb, kind, where) {
				t.Errorf("the portal may %s in %s", what, where)
			}
		}
	}
}

func TestTheAgentsNamespaceRefusesPrivilegedPods(t *testing.T) {
	s := open(t)
	s.image("first")
	s.apply("first")
	_, err := s.Try("run", "privileged", "-n", agents, "--image="+kubernetestest.Image, "--privileged")
	if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("a privileged pod: %v", err)
	}
}
