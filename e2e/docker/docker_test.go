// Package docker lets the built portal run agents as containers of a real Docker
// engine, and takes the engine, the containers and the portal away meanwhile.
package docker

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/e2e/drive/drivetest"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }

// harbour is a portal with an engine.
type harbour struct {
	*drivetest.Pilot
	engine *dockertest.Engine
}

func open(t *testing.T, more ...string) *harbour {
	t.Helper()
	if testing.Short() {
		t.Skip("a Docker engine is started")
	}
	e := dockertest.Start(t)
	bin, err := drive.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &harbour{Pilot: drivetest.Open(t, bin, "docker", append([]string{"--docker-host", e.Host}, more...)...), engine: e}
}

// containers gives the ids of the portal's containers in which the agent runs.
func (h *harbour) containers(agent string) []string {
	return strings.Fields(h.engine.Docker(h.T, "ps", "--quiet", "--no-trunc", "--filter", "label=io.platform-portal.agent="+agent))
}

func TestAgentsLiveInContainers(t *testing.T) {
	h := open(t)
	h.Running("memory", map[string]any{"template": "memory", "resources": map[string]any{"memory": "128Mi"}})
	h.Running("program", map[string]any{"image": dockertest.Image, "command": dockertest.ProgramPath, "args": []string{"ticks"}})
	before := h.containers("memory")
	if len(before) != 1 {
		t.Fatalf("containers %v", before)
	}
	var limits string
	if limits = h.engine.Docker(t, "inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.Privileged}} {{.HostConfig.SecurityOpt}}", before[0]); limits != "134217728 true [ALL] false [no-new-privileges]" {
		t.Errorf("the container is made with %s", limits)
	}

	// What it prints is found as with every runtime.
	err := drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) {
		out, err := h.Portal.Run(h.Ctx, "agents", "logs", "program", "--tail", "5")
		return strings.Contains(out, "tick "), err
	})
	if err != nil {
		t.Errorf("its output: %v", err)
	}

	h.Do("memory", "suspend")
	if state := h.engine.Docker(t, "inspect", "--format", "{{.State.Paused}}", before[0]); state != "true" {
		t.Errorf("suspended, but paused is %s", state)
	}
	h.Do("memory", "resume")
	h.Until("memory", "RUNNING", "healthy")

	// The portal dies, and has its containers again.
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
	if now := h.containers("memory"); len(now) != 1 || now[0] != before[0] {
		t.Errorf("after the portal died there are %v, before %v", now, before)
	}

	h.crashUnseen("memory", before[0])

	// Somebody removes a container.
	h.engine.Docker(t, "rm", "--force", before[0])
	err = drive.Poll(h.Ctx, 100*time.Millisecond, func() (bool, error) {
		now := h.containers("memory")
		return len(now) == 1 && now[0] != before[0], nil
	})
	if err != nil {
		t.Errorf("the container that was removed is not replaced: %v", err)
	}
	h.Until("memory", "RUNNING", "healthy")

	for _, name := range []string{"memory", "program"} {
		h.Do(name, "stop")
		h.Do(name, "revoke")
	}
	if left := h.engine.Docker(t, "ps", "--all", "--quiet", "--filter", "label=io.platform-portal.owner"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	if left := h.engine.Docker(t, "volume", "ls", "--quiet"); left != "" {
		t.Errorf("volumes are left: %s", left)
	}
}

// crashUnseen lets the agent's container crash while the portal is dead: the engine
// starts it again, and the next portal counts it.
func (h *harbour) crashUnseen(agent, id string) {
	h.Helper()
	if err := h.Kill9(); err != nil {
		h.Fatal(err)
	}
	h.crash(id)
	h.crash(id)
	if err := h.Launch(); err != nil {
		h.Fatal(err)
	}
	if err := h.WaitReady(h.Ctx); err != nil {
		h.Fatal(err)
	}
	h.Until(agent, "RUNNING", "healthy")
	err := drive.Poll(h.Ctx, 100*time.Millisecond, func() (bool, error) {
		restarts, reason, err := h.restarts(agent)
		return restarts == 2 && strings.Contains(reason, "2 times while no portal looked: ended by SIGKILL"), err
	})
	if err != nil {
		restarts, reason, _ := h.restarts(agent)
		h.Errorf("after two crashes without a portal: %d restarts, %q: %v", restarts, reason, err)
	}
}

// crash kills what runs in a container, and waits for the engine to start it again.
func (h *harbour) crash(id string) {
	h.Helper()
	const format = "{{.State.Restarting}} {{.State.Pid}}"
	var pid int
	if _, err := fmt.Sscanf(h.engine.Docker(h.T, "inspect", "--format", format, id), "false %d", &pid); err != nil || pid <= 1 {
		h.Fatalf("the container does not run: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.Fatal(err)
	}
	err := drive.Poll(h.Ctx, 20*time.Millisecond, func() (bool, error) {
		var now int
		_, err := fmt.Sscanf(h.engine.Docker(h.T, "inspect", "--format", format, id), "false %d", &now)
		return err == nil && now > 0 && now != pid, nil
	})
	if err != nil {
		h.Fatalf("the engine does not start it again: %v", err)
	}
}

// restarts gives what is told of the only instance of an agent.
func (h *harbour) restarts(agent string) (n int, reason string, err error) {
	var out struct {
		Items []struct {
			Restarts int
			Reason   string
		}
	}
	if err := h.Call(h.Ctx, http.MethodGet, "/agents/"+agent+"/instances", nil, &out); err != nil || len(out.Items) != 1 {
		return 0, "", err
	}
	return out.Items[0].Restarts, out.Items[0].Reason, nil
}

// An engine elsewhere: the portal speaks to agents where they are, not to loopback.
func TestAgentsAreReachedAtTheEnginesAddress(t *testing.T) {
	address := dockertest.Start(t).Address(t)
	h := open(t, "--docker-address", address)
	h.Running("far", map[string]any{"template": "blank"})
	ports := h.engine.Docker(t, "inspect", "--format", "{{json .HostConfig.PortBindings}}", h.containers("far")[0])
	if !strings.Contains(ports, `"HostIp":"`+address+`"`) || strings.Contains(ports, "127.0.0.1") {
		t.Errorf("its ports are %s", ports)
	}
	h.Do("far", "stop")
	h.Do("far", "revoke")
}

func TestEngineGoesAndComesBack(t *testing.T) {
	h := open(t)
	h.Running("steady", map[string]any{"template": "blank"})
	before := h.containers("steady")
	h.engine.Halt(t)
	if problem := h.engineProblem(); !strings.Contains(problem, "engine") {
		t.Errorf("the diagnosis says %q of an engine that is gone", problem)
	}
	if out, _ := h.Portal.Run(h.Ctx, "doctor", "--data", h.Data, "--docker-host", h.engine.Host); !strings.Contains(out, "No agent can be run on the runtime docker.") {
		t.Errorf("the doctor says %s", out)
	}
	op, err := h.Act(h.Ctx, "steady", "restart")
	if err != nil || op.State != "FAILED" || op.Problem == nil || op.Problem.Why == "" {
		t.Errorf("a restart without an engine: %+v, %v", op, err)
	}
	h.engine.Resume(t)
	err = drive.Poll(h.Ctx, 200*time.Millisecond, func() (bool, error) { return h.engineProblem() == "", nil })
	if err != nil {
		t.Errorf("the engine is back, and the diagnosis says %q", h.engineProblem())
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
	if len(before) != 1 || len(h.containers("steady")) != 1 {
		t.Errorf("containers %v, before %v", h.containers("steady"), before)
	}
	h.Do("steady", "stop")
	h.Do("steady", "revoke")
}

// engineProblem is what the report of runtimes says is wrong with the engine; ""
// for nothing.
func (h *harbour) engineProblem() string {
	for _, r := range h.runtimes() {
		for _, c := range r.Checks {
			if r.Name == "docker" && c.Name == "docker_engine" && !c.OK {
				return fmt.Sprint("engine: ", c.Why)
			}
		}
	}
	return ""
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

func (h *harbour) runtimes() []drive.Hosting {
	h.Helper()
	var out struct {
		Runtimes []drive.Hosting `json:"runtimes"`
	}
	if err := h.Call(h.Ctx, http.MethodGet, "/health", nil, &out); err != nil {
		h.Fatal(err)
	}
	return out.Runtimes
}
