package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/e2e/drive/drivetest"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
)

// spread tells where the agent lives: processes of it, and containers.
func (h *harbour) spread(agent string) (processes, containers int) {
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
	return processes, len(h.containers(agent))
}

func TestAgentsMoveBetweenRuntimes(t *testing.T) {
	h := open(t)
	h.Running("mover", map[string]any{"template": "memory", "runtime": "process"})
	if out := h.Command("agents", "move", "mover", "--to", "docker", "--plan"); !strings.Contains(out, "Content is not copied: directory data") {
		t.Errorf("the plan says %s", out)
	}
	if p, c := h.spread("mover"); p != 1 || c != 0 {
		t.Fatalf("the plan moved something: %d processes, %d containers", p, c)
	}
	h.Command("agents", "move", "mover", "--to", "docker")
	h.Until("mover", "RUNNING", "healthy")
	if p, c := h.spread("mover"); p != 0 || c != 1 {
		t.Errorf("moved, and there are %d processes and %d containers", p, c)
	}
	if out := h.Command("orphans", "ls"); !strings.Contains(out, "process/mover") || !strings.Contains(out, "runs on docker now") {
		t.Errorf("left over: %s", out)
	}

	// What does not get ready on the other side leaves everything as it was.
	h.Running("stayer", map[string]any{"command": "/bin/sleep", "args": []string{"3600"}, "runtime": "process"})
	if out, err := h.Portal.Run(h.Ctx, "agents", "move", "stayer", "--to", "docker", "--image", dockertest.Image, "--command", "/no/such"); err == nil || !strings.Contains(err.Error(), "/no/such") {
		t.Errorf("a move to a program that is not there: %s, %v", out, err)
	}
	h.Until("stayer", "RUNNING", "")
	if p, c := h.spread("stayer"); p != 1 || c != 0 {
		t.Errorf("after a failed move there are %d processes and %d containers", p, c)
	}

	// The portal dies on the way, again and again.
	to := "process"
	for range 4 {
		h.Command("agents", "move", "mover", "--to", to, "--no-wait")
		select {
		case <-time.After(time.Duration(rand.IntN(1200)) * time.Millisecond):
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
		if to == "process" && (p != 1 || c != 0) || to == "docker" && (p != 0 || c != 1) {
			t.Fatalf("moved to %s with a kill on the way: %d processes, %d containers", to, p, c)
		}
		if to == "process" {
			to = "docker"
		} else {
			to = "process"
		}
	}
	h.Do("mover", "revoke")
	h.Do("stayer", "revoke")
	if out := h.Command("orphans", "ls", "-o", "name"); out != "" {
		t.Errorf("left over: %s", out)
	}
}

func TestPortalKilledWhileContainersChange(t *testing.T) {
	h := open(t)
	s := drive.NewSiege(h.Portal, 3, rand.Uint64())
	s.Window = 1500 * time.Millisecond
	s.Living = func(context.Context) (map[string]string, error) {
		out := map[string]string{}
		for _, id := range strings.Fields(h.engine.Docker(t, "ps", "--all", "--quiet", "--filter", "label=io.platform-portal.owner")) {
			var pid, instance string
			// One that goes away meanwhile is no stray.
			if line, err := h.engine.Try("inspect", "--format", `{{.State.Pid}} {{index .Config.Labels "io.platform-portal.instance"}}`, id); err == nil {
				_, _ = fmt.Sscan(line, &pid, &instance)
				if pid == "0" {
					pid = id
				}
				out[pid] = instance
			}
		}
		return out, nil
	}
	for i := range s.Size {
		spec := map[string]any{"name": fmt.Sprint("victim-", i), "template": "blank", "runtime": "docker", "restart": map[string]any{"max_restarts": 1000, "window": "1s"}}
		if err := h.Call(h.Ctx, http.MethodPost, "/agents", spec, nil); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 5 {
		if err := s.Round(h.Ctx); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, h.Tail())
		}
	}
	if err := s.Clear(h.Ctx); err != nil {
		t.Error(err)
	}
	if left := h.engine.Docker(t, "volume", "ls", "--quiet"); left != "" {
		t.Errorf("volumes are left: %s", left)
	}
}

func TestComposeServicesBecomeAgents(t *testing.T) {
	h := open(t)
	before := h.engine.Docker(t, "run", "--detach", "--network=none", "--name", "shop-ticker-1", dockertest.Image, "ticks")
	t.Cleanup(func() { h.engine.Docker(t, "rm", "--force", "shop-ticker-1") })
	file := filepath.Join(t.TempDir(), "compose.yaml")
	text := "name: shop\nservices:\n  ticker:\n    image: " + dockertest.Image + "\n    command: [ticks]\n    privileged: true\n    restart: always\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Command("import", "compose", file, "--plan")
	if agents, err := h.Agents(h.Ctx, ""); err != nil || len(agents) != 0 {
		t.Fatalf("the plan made %v, %v", agents, err)
	}
	var answer struct {
		Notes []struct {
			Path string `json:"path"`
			Lost bool   `json:"lost"`
		} `json:"notes"`
	}
	if err := json.Unmarshal([]byte(h.Command("import", "compose", file, "-o", "json")), &answer); err != nil || len(answer.Notes) == 0 || answer.Notes[0].Path != "services.ticker.privileged" {
		t.Errorf("notes %+v, %v", answer.Notes, err)
	}
	if state := h.engine.Docker(t, "inspect", "--format", "{{.Id}} {{.State.Running}} {{.RestartCount}}", "shop-ticker-1"); state != before+" true 0" {
		t.Errorf("what ran before is %s", state)
	}
	h.Do("ticker", "provision", "deploy", "start")
	h.Until("ticker", "RUNNING", "")
	h.Do("ticker", "revoke")
	if state := h.engine.Docker(t, "inspect", "--format", "{{.State.Running}}", "shop-ticker-1"); state != "true" {
		t.Errorf("what ran before runs no more")
	}
}

// failing does an action that has to fail, and gives what is said of it.
func (h *harbour) failing(name, action string) string {
	h.Helper()
	before, err := h.Holdings(h.Ctx, name)
	if err != nil {
		h.Fatal(err)
	}
	op, err := h.Act(h.Ctx, name, action)
	if err != nil || op.State != "FAILED" || op.Problem == nil || op.Problem.What == "" || op.Problem.Why == "" {
		h.Fatalf("%s %s: %+v, %v; it has to fail and to say why", action, name, op, err)
	}
	if after, err := h.Holdings(h.Ctx, name); err != nil || !slices.Equal(after, before) {
		h.Errorf("after a failed %s %s holds %v, before %v; %v", action, name, after, before, err)
	}
	a, err := h.Agent(h.Ctx, name)
	if err != nil || a.State != "ERRORED" || a.Failure == nil {
		h.Fatalf("after a failed %s %s is %+v, %v", action, name, a, err)
	}
	return op.Problem.What + ": " + op.Problem.Why
}

func (h *harbour) draft(name string, spec map[string]any) {
	h.Helper()
	h.Create(name, spec)
	h.Do(name, "provision")
}

func TestWhatOthersHaveOnTheEngine(t *testing.T) {
	h := open(t)
	h.Running("first", map[string]any{"template": "blank"})
	owner := h.engine.Docker(t, "inspect", "--format", `{{index .Config.Labels "io.platform-portal.owner"}}`, h.containers("first")[0])

	// A foreign container has the name.
	name := "portal-" + owner + "-named-r1-0"
	h.engine.Docker(t, "create", "--name", name, dockertest.Image)
	h.draft("named", map[string]any{"template": "blank"})
	h.Do("named", "deploy")
	if said := h.failing("named", "start"); !strings.Contains(said, name) {
		t.Errorf("a name that is taken: %s", said)
	}
	h.engine.Docker(t, "rm", name) // it is there still
	h.Do("named", "start")
	h.Until("named", "RUNNING", "healthy")

	// A foreign volume has the name.
	volume := "portal-" + owner + "-stored.data"
	h.engine.Docker(t, "volume", "create", volume)
	h.draft("stored", map[string]any{"template": "blank"})
	if said := h.failing("stored", "deploy"); !strings.Contains(said, "belongs to somebody else") {
		t.Errorf("a volume that is taken: %s", said)
	}
	h.engine.Docker(t, "volume", "rm", volume)
	h.Do("stored", "deploy")

	// An image that is nowhere.
	h.draft("nowhere", map[string]any{"image": "127.0.0.1:1/nowhere:1"})
	if said := h.failing("nowhere", "deploy"); !strings.Contains(said, "127.0.0.1:1/nowhere:1") {
		t.Errorf("an image that is nowhere: %s", said)
	}

	// Another portal on the same engine touches nothing of this one's.
	o := &harbour{Pilot: drivetest.Open(t, h.Bin, "docker", "--docker-host", h.engine.Host), engine: h.engine}
	before := h.containers("first")
	o.Running("first", map[string]any{"template": "blank"})
	if both := h.containers("first"); len(both) != 2 {
		t.Errorf("containers of both portals: %v", both)
	}
	if out := o.Command("orphans", "ls", "-o", "name"); out != "" {
		t.Errorf("the other portal takes for left over: %s", out)
	}
	o.Do("first", "revoke")
	if now := h.containers("first"); len(now) != 1 || now[0] != before[0] {
		t.Errorf("containers %v, before %v", now, before)
	}
	for _, name := range []string{"first", "named", "stored", "nowhere"} {
		h.Do(name, "revoke")
	}
	if left := h.engine.Docker(t, "ps", "--all", "--quiet", "--filter", "label=io.platform-portal.owner") + h.engine.Docker(t, "volume", "ls", "--quiet"); left != "" {
		t.Errorf("left are %s", left)
	}
}
