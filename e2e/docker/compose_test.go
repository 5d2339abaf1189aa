package docker

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
)

// yard is an engine with an image of the portal, and deploy/compose.yaml.
type yard struct {
	*testing.T
	engine *dockertest.Engine
	root   string
	bin    string
	port   string
}

// run runs a program on the engine and gives what it prints.
func (y *yard) run(name string, args ...string) string {
	y.Helper()
	c := y.command(name, args...)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		y.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, said.String())
	}
	return strings.TrimSpace(string(out))
}

func (y *yard) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = y.root
	c.Env = append(os.Environ(), "DOCKER_HOST="+y.engine.Host, "DOCKER_BUILDKIT=0", "PORTAL_IMAGE=portal-compose-test", "PORTAL_PORT="+y.port)
	return c
}

// clearing takes a project off the engine at the end, also if the test fails: other
// tests look whether anything is left.
func (y *yard) clearing(project ...string) {
	y.Cleanup(func() {
		if out, err := y.command("docker-compose", slices.Concat(project, []string{"down", "--volumes"})...).CombinedOutput(); err != nil {
			y.Errorf("take down: %v\n%s", err, out)
		}
	})
}

var project = []string{"-p", "yard", "-f", filepath.Join("deploy", "compose.yaml")}

func (y *yard) compose(args ...string) string {
	y.Helper()
	return y.run("docker-compose", slices.Concat(project, args)...)
}

// up starts the portal and waits until its own health check says that it is well.
func (y *yard) up() (container string) {
	y.Helper()
	y.compose("up", "-d")
	container = y.compose("ps", "-q", "portal")
	for end := time.Now().Add(3 * time.Minute); y.engine.Docker(y, "inspect", "-f", "{{.State.Health.Status}}", container) != "healthy"; {
		if time.Now().After(end) {
			y.Fatalf("the container is not healthy: %s", y.engine.Docker(y, "logs", container))
		}
	}
	return container
}

// openYard gives an engine with an image of the portal.
func openYard(t *testing.T) *yard {
	t.Helper()
	if testing.Short() {
		t.Skip("a Docker engine is started")
	}
	y := &yard{T: t, engine: dockertest.Start(t)}
	if _, err := exec.LookPath("docker-compose"); errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skip("docker-compose is not installed")
	}
	var err error
	if y.root, err = drive.Root(); err != nil {
		t.Fatal(err)
	}
	if y.bin, err = drive.Build(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	y.port = fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	y.run(filepath.Join("scripts", "portal-image.sh"), y.bin, "portal-compose-test")
	return y
}

func TestThePortalRunsFromTheComposeFile(t *testing.T) {
	y := openYard(t)
	y.clearing(project...)
	first := y.up()
	if logs := y.engine.Docker(t, "logs", first); !strings.Contains(logs, "/auth/link/") {
		t.Errorf("the log holds no link to sign in: %s", logs)
	}
	p, err := drive.New(y.bin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p.URL = "http://127.0.0.1:" + y.port
	p.Token = drive.TokenIn(y.engine.Docker(t, "exec", first, "/portal", "token", "create", "--name", "test", "--role", "admin"))
	agent := map[string]any{"name": "keeper", "template": "blank", "runtime": "process"}
	if err := p.Call(t.Context(), http.MethodPost, "/agents", agent, nil); err != nil {
		t.Fatal(err)
	}
	y.compose("down") // takes the container away, and leaves the volume
	if second := y.up(); second == first {
		t.Error("the container was not replaced")
	}
	if err := p.Call(t.Context(), http.MethodGet, "/agents/keeper", nil, nil); err != nil {
		t.Errorf("the agent is gone with the container: %v", err)
	}
}

func TestExportedAgentsRunUnderCompose(t *testing.T) {
	y := openYard(t)
	p, err := drive.New(y.bin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(t.TempDir(), "agents.yaml")
	for _, args := range [][]string{
		{"import", filepath.Join(y.root, "examples", "fleet")},
		{"agents", "export", "--format", "compose", "--image", "portal-compose-test", "--file", file},
	} {
		if _, err := p.Run(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	exported := []string{"-p", "exported", "-f", file}
	y.run("docker-compose", slices.Concat(exported, []string{"config", "-q"})...)
	y.clearing(exported...)
	y.run("docker-compose", slices.Concat(exported, []string{"up", "-d", "--no-deps", "wow-memory"})...)
	container := y.run("docker-compose", slices.Concat(exported, []string{"ps", "-q", "wow-memory"})...)
	for end := time.Now().Add(2 * time.Minute); !strings.Contains(y.engine.Docker(t, "logs", container), "ready"); {
		if time.Now().After(end) {
			t.Fatalf("the agent is not ready: %s", y.engine.Docker(t, "logs", container))
		}
	}
}
