package fleet_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
)

func TestSecretsAreResolvedOrNamed(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Secrets = map[string]string{"API_KEY": "file:api-key", "OTHER": "env:PORTAL_SECRET_OTHER_THING"}
	sp.Env = map[string]string{"LOG_LEVEL": "debug", "WHO": "$(AGENT_ID)@$(PORT)"}
	id := w.create(sp)
	w.must(id, agent.Provision)
	op := w.act(id, agent.Deploy)
	if op.State != operation.Failed || !strings.Contains(op.Problem.Why, "secrets.API_KEY") || !strings.Contains(op.Problem.Why, "secrets.OTHER") {
		t.Fatalf("%s %+v", op.State, op.Problem)
	}
	if err := os.WriteFile(filepath.Join(w.secrets, "api-key"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env["PORTAL_SECRET_OTHER_THING"] = "other"
	w.must(id, agent.Deploy, agent.Start)
	l, ok := w.runtime.Launched(id, fleet.InstanceID(id, 1, 0))
	if !ok {
		t.Fatal("not launched")
	}
	token, err := w.keys.Secret(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"API_KEY": "s3cret", "OTHER": "other", "LOG_LEVEL": "debug", "AGENT_ID": id, "AGENT_NAME": "Worker",
		"AGENT_INSTANCE": fleet.InstanceID(id, 1, 0), "PORT": fmt.Sprint(l.Port), "PORTAL_URL": "http://127.0.0.1:8080",
		"QUEUE_URL": w.broker.URL(), "QUEUE_USER": id, "QUEUE_TOKEN": token, "WHO": fmt.Sprintf("%s@%d", id, l.Port),
	} {
		if l.Env[k] != want {
			t.Errorf("%s=%q, want %q", k, l.Env[k], want)
		}
	}
	for _, name := range []string{"API_KEY", "OTHER", "LOG_LEVEL", "WHO", "QUEUE_TOKEN"} {
		if slices.Contains(l.Open, name) {
			t.Errorf("%s may be a secret, and is open", name)
		}
	}
	if !slices.Contains(l.Open, "PORT") || !slices.Contains(l.Open, "AGENT_NAME") {
		t.Errorf("open are %v", l.Open)
	}
	for _, name := range agent.ContractVars {
		if _, ok := l.Env[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestTemplateRunsThePortalItself(t *testing.T) {
	w := newWorld(t)
	w.prober.says(func(string) string { return "" })
	id := w.running(agent.Spec{Name: "Mind", Template: "memory"})
	l, _ := w.runtime.Launched(id, fleet.InstanceID(id, 1, 0))
	if l.Command != "/opt/portal" || !slices.Equal(l.Args, []string{"agent", "run", "memory"}) {
		t.Fatalf("%s %v", l.Command, l.Args)
	}
}

func TestFixedPortInUse(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	sp := spec("Worker")
	sp.Ports = []agent.Port{{Name: "api", Port: port}}
	id := w.create(sp)
	w.must(id, agent.Provision, agent.Deploy)
	op := w.act(id, agent.Start)
	want := fmt.Sprintf("Port %d is in use by process squatter (pid 4711)", port)
	if op.State != operation.Failed || op.Problem.What != want || op.Problem.Remedy == "" {
		t.Fatalf("%s %+v", op.State, op.Problem)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.must(id, agent.Start)
}

func TestForeignProcessOnTheReservedPort(t *testing.T) {
	w := newWorld(t)
	id := w.create(spec("Worker"))
	w.must(id, agent.Provision, agent.Deploy)
	taken := w.ports(id)[0]
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", taken))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.must(id, agent.Start)
	if p := w.on(id)[0].Port; p == taken || p == 0 {
		t.Fatalf("it was given the port %d, which is taken", p)
	}
}

func TestDependenciesAreNamedAndDoNotBlock(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	w.create(spec("Store"))
	sp.Dependencies = []string{"Store", "Ghost"}
	id := w.create(sp)
	op := w.must(id, agent.Provision, agent.Deploy, agent.Start)
	if d := op.Steps[0].Detail; !strings.Contains(d, "Store is DRAFT") || !strings.Contains(d, "Ghost is not in the fleet") {
		t.Fatalf("detail %q", d)
	}
}
