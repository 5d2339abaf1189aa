package compose_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/compose"
	"github.com/waooaw/platform-portal/internal/fault"
)

func read(t *testing.T, file string, o compose.Options) *compose.Plan {
	t.Helper()
	p, err := compose.Read(t.Context(), []byte(file), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func shop(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServicesBecomeSpecifications(t *testing.T) {
	p := read(t, shop(t), compose.Options{Env: map[string]string{"TAG": "3"}})
	got := map[string]agent.Spec{}
	for _, doc := range p.Docs {
		spec, _, err := agent.Decode(doc, agent.Strict)
		if err != nil {
			t.Fatalf("%v: %+v", doc["name"], fault.As(err).Fields)
		}
		got[spec.Name] = spec
	}
	if len(got) != 2 {
		t.Fatalf("%d agents, want web and db", len(got))
	}
	web, db := got["web"], got["db"]
	text, _ := json.Marshal(web)
	for _, part := range []string{
		`"image":"registry.example/web:3"`, `"command":"/web"`, `"args":["--verbose","serve","--port","8080"]`, `"env":{"LEVEL":"debug"}`,
		`"ports":[{"name":"port-8080","port":8080}]`, `"volumes":[{"name":"content","path":"var/www"}]`, `"dependencies":["db"]`,
		`"exec":{"command":["/web","check"]}`, `"interval":"5s"`, `"failure_threshold":2`, `"cpu":0.5`, `"memory":"64Mi"`, `"pids":50`,
		`"stop_timeout":"1m`, `"runtime":"docker"`, `"policy":"always"`, `"com.example/team":"shop"`,
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("web has no %s: %s", part, text)
		}
	}
	if !slices.Equal(db.Args, []string{"postgres", "-c", "max_connections=10"}) || db.Resources.Memory != 1<<30 || db.Resources.OpenFiles != 1024 ||
		db.Restart.Policy != "on-failure" || db.Restart.MaxRestarts != 3 {
		t.Errorf("db %+v", db)
	}
}

func TestEverythingThatIsLostIsNamed(t *testing.T) {
	p := read(t, shop(t), compose.Options{})
	var lost []string
	for _, n := range p.Notes {
		if n.Lost {
			lost = append(lost, n.Path)
		}
		if strings.Contains(n.Text, "hunter2") {
			t.Errorf("a note tells a secret: %s", n.Text)
		}
	}
	want := []string{
		"networks.front", "secrets", "services.db.env_file", "services.db.ulimits.core",
		"services.web.deploy.resources.reservations", "services.web.environment.DB_PASSWORD", "services.web.environment.FROM_SHELL",
		"services.web.networks", "services.web.ports[1]", "services.web.ports[2]", "services.web.privileged", "services.web.volumes[1]",
		"services.worker.build", "volumes.content", "x-common",
	}
	if !slices.Equal(lost, want) {
		t.Errorf("lost\n%s\nwant\n%s", strings.Join(lost, "\n"), strings.Join(want, "\n"))
	}
}

func TestBuiltServicesTakeTheImageThatIsNamed(t *testing.T) {
	p := read(t, "services: {worker: {build: .}}", compose.Options{Images: map[string]string{"worker": "registry/worker:1"}, Runtime: "kubernetes"})
	if len(p.Docs) != 1 || p.Docs[0]["image"] != "registry/worker:1" || p.Docs[0]["runtime"] != "kubernetes" {
		t.Errorf("%+v", p.Docs)
	}
}

func TestNoFileBesideIsRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/other.yaml", []byte("services: {stolen: {image: x}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := read(t, "include: ["+dir+"/other.yaml]\nservices: {a: {image: y, env_file: "+dir+"/other.yaml, extends: {file: "+dir+"/other.yaml, service: stolen}}}", compose.Options{})
	if len(p.Docs) != 1 || p.Docs[0]["image"] != "y" || p.Docs[0]["env"] != nil {
		t.Errorf("%+v", p.Docs)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	for name, file := range map[string]string{
		"nothing": "", "no compose file": "a: b", "no services": "services: 3", "two documents": "services: {a: {image: b}}\n---\nservices: {}",
		"not valid": "services: {a: {image: [b]}}", "unknown field": "services: {a: {image: b, colour: red}}", "nothing to run": "services: {a: {build: .}}",
		"more ports than anybody has": "services: {a: {image: b, ports: [1-65535]}}",
		"a variable without an end":   "services: {a: {image: \"${X\"}}",
	} {
		if _, err := compose.Read(t.Context(), []byte(file), compose.Options{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	b, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("services: {a: {image: b, command: 'x \"y'}}"))
	f.Add([]byte("services: {a: {image: b, ports: [1-9], volumes: [/x], deploy: {}, healthcheck: {test: NONE}}}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := compose.Read(t.Context(), file, compose.Options{Env: map[string]string{"TAG": "1"}})
		if err != nil {
			if fault.As(err) == nil {
				t.Errorf("no fault: %v", err)
			}
			return
		}
		for _, n := range p.Notes {
			if n.Path == "" || n.Text == "" {
				t.Errorf("an empty note: %+v", n)
			}
		}
		if _, err := json.Marshal(p.Docs); err != nil {
			t.Error(err)
		}
	})
}

// What is left out as a whole is told once, and not field by field.
func TestAServiceThatIsLeftOutIsToldOnce(t *testing.T) {
	file := "services:\n  db: {image: \"db:1\"}\n  app: {build: ./app, depends_on: [db], healthcheck: {test: [CMD, \"true\"]}}\n"
	p := read(t, file, compose.Options{Runtime: agent.Docker})
	told := 0
	for _, n := range p.Notes {
		if strings.HasPrefix(n.Path, "services.app") {
			told++
		}
	}
	if len(p.Docs) != 1 || told != 1 {
		t.Errorf("%d documents, %+v", len(p.Docs), p.Notes)
	}
}
