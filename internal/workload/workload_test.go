package workload_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/adoption"
	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
	"github.com/waooaw/platform-portal/internal/workload"
)

// shop gives what is in the example's namespace.
func shop(t *testing.T) *adoption.Plan {
	t.Helper()
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := manifest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var objects []map[string]any
	for _, d := range docs {
		objects = append(objects, d.Tree)
	}
	p, err := workload.Read(objects, "kubernetes")
	if err != nil {
		t.Fatalf("%v: %+v", err, fault.As(err).Fields)
	}
	return p
}

func TestWorkloadsBecomeSpecifications(t *testing.T) {
	specs := map[string]string{}
	for _, doc := range shop(t).Docs {
		spec, _, err := agent.Decode(doc, agent.Strict)
		if err != nil {
			t.Fatalf("%v: %+v", doc["name"], fault.As(err).Fields)
		}
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		specs[spec.Name] = string(text)
	}
	want := map[string][]string{
		"web": {
			`"runtime":"kubernetes"`, `"image":"registry.example/web:3"`, `"command":"/web"`, `"args":["serve","--verbose"]`, `"env":{"LEVEL":"debug"}`,
			`"ports":[{"name":"http","port":8080}]`, `"replicas":3`, `"cpu":0.5`, `"memory":"256Mi"`, `"stop_timeout":"45s"`, `"team":"shop"`,
			`"liveness":{"http":{"path":"/alive","port":8080},"initial_delay":"7s","interval":"5s","timeout":"2s","failure_threshold":4,"success_threshold":1}`,
			`{"name":"cache","path":"var/cache","size":"64Mi"}`, `{"name":"content","path":"var/www","read_only":true}`, `"policy":"always"`,
		},
		"web-statefulset": {`"cpu":0.1`, `"size":"2Gi"`, `"path":"data"`, `"readiness":{"tcp":{"port":5432}`, `"exec":{"command":["/db","check"]}`},
	}
	if len(specs) != len(want) {
		t.Fatalf("agents %v", specs)
	}
	for name, parts := range want {
		for _, part := range parts {
			if !strings.Contains(specs[name], part) {
				t.Errorf("%s has no %s: %s", name, part, specs[name])
			}
		}
	}
	if text := specs["web"]; strings.Contains(text, "abc123xyz") || strings.Contains(text, `"readiness"`) || strings.Contains(text, `"tmp"`) {
		t.Errorf("web has too much: %s", text)
	}
}

func TestEverythingWithoutEffectIsNamed(t *testing.T) {
	p := shop(t)
	lost, told := map[string]string{}, map[string]string{}
	for _, n := range p.Notes {
		if strings.Contains(n.Text, "abc123xyz") {
			t.Errorf("a value that looks like a secret is told: %s %s", n.Path, n.Text)
		}
		if n.Lost {
			lost[n.Path] = n.Text
		} else {
			told[n.Path] = n.Text
		}
	}
	for path, text := range map[string]string{
		"env.API_TOKEN": "looks like a secret", "env.PASSWORD": "password of the Secret db", "env.REGION": "ConfigMap site", "env.POD_IP": "fieldRef",
		"envFrom.defaults": "configMap", "ports[1]": "9090/UDP", "readinessProbe": "HTTPS", "startupProbe": "initial_delay",
		"resources.limits.nvidia.com/gpu": "not supported", "resources.requests.cpu": "a tenth", "volumeMounts[2].subPath": "not supported",
		"volumeMounts[3]": "a configMap at /etc/web", "containers.sidecar": "one container", "containers.web.workingDir": "of the image",
		"initContainers.migrate": "before an agent", "template.spec.hostNetwork": "nothing of the node", "template.spec.serviceAccountName": "no service account",
		"metadata.annotations.example.com/owner": "labels only", "template.metadata.annotations.example.com/scrape": "pods",
	} {
		if got := lost["deployment/web."+path]; !strings.Contains(got, text) {
			t.Errorf("of %s is told %q, want %q", path, got, text)
		}
		delete(lost, "deployment/web."+path)
	}
	for path, text := range map[string]string{
		"statefulset/web.spec.replicas": "at least one", "statefulset/web.resources.limits.cpu": "50m", "statefulset/web.spec.serviceName": "queues",
		"deployment/large.spec": "replicas", "deployment/bare.containers.a.image": "missing",
	} {
		if got := lost[path]; !strings.Contains(got, text) {
			t.Errorf("of %s is told %q, want %q", path, got, text)
		}
		delete(lost, path)
	}
	if len(lost) > 0 {
		t.Errorf("beside it is told %v", lost)
	}
	for path, text := range map[string]string{
		"deployment/ours": "made by a portal", "deployment/web.volumeMounts[2]": "web-content", "deployment/web.metadata.ownerReferences": "Shop main",
		"deployment/web.spec": "scale it to 0", "statefulset/web.metadata.name": "web-statefulset", "deployment/web.volumeMounts[1]": "keeps its content",
	} {
		if !strings.Contains(told[path], text) {
			t.Errorf("of %s is told %q, want %q", path, told[path], text)
		}
	}
}

func TestANamespaceWithoutWorkloadsIsRefused(t *testing.T) {
	f := fault.As(func() error { _, err := workload.Read(nil, "kubernetes"); return err }())
	if f == nil || f.Kind != fault.Invalid || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
	_, err := workload.Read([]map[string]any{{"kind": "Deployment", "metadata": map[string]any{"name": "x"}}}, "kubernetes")
	if f := fault.As(err); f == nil || len(f.Fields) != 1 || f.Fields[0].Path != "deployment/x.containers" {
		t.Errorf("%+v", f)
	}
}
