package docker_test

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

// instance describes one that runs the suite's program.
func instance(agentID string, restart agent.RestartPolicy, behaviour ...string) fleet.Launch {
	l := fleet.Launch{InstanceID: fleet.InstanceID(agentID, 1, 0), AgentID: agentID, Revision: 1, Restart: restart}
	program(&l, behaviour...)
	return l
}

// observed gives what the runtime says of the agent's only instance.
func observed(t *testing.T, rt *docker.Runtime, agentID string) fleet.Instance {
	t.Helper()
	list, err := rt.Observe(t.Context(), agentID)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		return fleet.Instance{}
	}
	return list[0]
}

// until waits for the agent's only instance to be so.
func until(t *testing.T, rt *docker.Runtime, agentID string, want func(fleet.Instance) bool) (in fleet.Instance) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("observed %+v", in)
		}
	}()
	fleettest.Eventually(t, agentID+" as it should be", func() bool {
		in = observed(t, rt, agentID)
		return want(in)
	})
	return in
}

// engineSays gives fields of the container of an agent.
func engineSays(t *testing.T, e *dockertest.Engine, cfg docker.Config, agentID, format string) string {
	t.Helper()
	ids := left(e, t, cfg.Owner, agentID)
	if len(ids) != 1 {
		t.Fatalf("containers %v", ids)
	}
	return e.Docker(t, "inspect", "--format", format, ids[0])
}

// crash kills the program of an agent as its own fault would, and waits until the
// engine has started it again.
func crash(t *testing.T, e *dockertest.Engine, cfg docker.Config, agentID string) {
	t.Helper()
	const format = "{{.State.Running}} {{.State.Restarting}} {{.State.Pid}}"
	words := strings.Fields(engineSays(t, e, cfg, agentID, format))
	pid, err := strconv.Atoi(words[2])
	if err != nil || pid <= 1 {
		t.Fatalf("the engine says %v", words)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, "another run", func() bool {
		now := strings.Fields(engineSays(t, e, cfg, agentID, format))
		return now[0] == "true" && now[1] == "false" && now[2] != words[2]
	})
}

// closed gives a portal that has launched the instance and is gone.
func closed(t *testing.T, cfg docker.Config, l fleet.Launch) {
	t.Helper()
	rt, err := docker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Error(err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}

func TestContainersAreStartedAgainWhileNoPortalRuns(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	t.Cleanup(func() { empty(t, cfg) })
	closed(t, cfg, instance("alone", agent.RestartPolicy{}, "ticks"))
	crash(t, e, cfg, "alone")
	crash(t, e, cfg, "alone")

	rt := open(t, cfg)
	in := until(t, rt, "alone", func(in fleet.Instance) bool { return in.Restarts == 2 })
	if in.State != fleet.InstanceRunning || in.Reason != "started again 2 times while no portal looked: ended by SIGKILL" {
		t.Errorf("observed %+v", in)
	}
	notes := 0
	err := rt.ReadLogs(t.Context(), fleet.LogQuery{AgentID: "alone"}, func(l fleet.LogLine) error {
		if l.Stream == "portal" && strings.Contains(l.Text, "ended by SIGKILL; started again by the engine at ") {
			notes++
		}
		return nil
	})
	if err != nil || notes != 2 {
		t.Errorf("the log has %d notes, %v", notes, err)
	}
	crash(t, e, cfg, "alone") // and now somebody looks
	in = until(t, rt, "alone", func(in fleet.Instance) bool { return in.Restarts == 3 })
	if in.Reason != "started again: ended by SIGKILL" {
		t.Errorf("observed %+v", in)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	rt = open(t, cfg) // what was counted is not counted again
	if in := until(t, rt, "alone", func(in fleet.Instance) bool { return in.ID != "" }); in.Restarts != 3 || in.State != fleet.InstanceRunning {
		t.Errorf("observed %+v", in)
	}
}

func TestACrashLoopEndsWhenAPortalIsBack(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	t.Cleanup(func() { empty(t, cfg) })
	closed(t, cfg, instance("lemming", agent.RestartPolicy{MaxRestarts: 2}, "exit", "7"))
	fleettest.Eventually(t, "more restarts than are allowed", func() bool {
		return engineSays(t, e, cfg, "lemming", "{{.RestartCount}}") == "4"
	})
	rt := open(t, cfg)
	in := until(t, rt, "lemming", func(in fleet.Instance) bool { return in.State == fleet.InstanceFailed })
	if in.Reason != "crash loop: 3 starts within 5m, last exit code 7" || in.ExitCode == nil || *in.ExitCode != 7 ||
		!slices.Contains(in.LastLogs, "exiting with 7") {
		t.Errorf("observed %+v", in)
	}
	fleettest.Eventually(t, "an engine that starts it no more", func() bool {
		return engineSays(t, e, cfg, "lemming", "{{.HostConfig.RestartPolicy.Name}} {{.State.Status}}") == "no exited"
	})
}

func TestWhoStartsAgain(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	rt := open(t, cfg)
	slow := agent.Backoff{Initial: agent.Duration(1e9)}
	for name, c := range map[string]struct {
		policy agent.RestartPolicy
		want   string
	}{
		"usual":   {agent.RestartPolicy{}, "always 0"},
		"failing": {agent.RestartPolicy{Policy: "on-failure", MaxRestarts: 9}, "on-failure 9"},
		"never":   {agent.RestartPolicy{Policy: "never"}, "no 0"},
		"slow":    {agent.RestartPolicy{Backoff: slow}, "no 0"},
		"long":    {agent.RestartPolicy{MaxRestarts: 10}, "no 0"},
	} {
		if err := rt.Launch(t.Context(), instance(name, c.policy, "wait")); err != nil {
			t.Fatal(err)
		}
		const format = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
		if got := engineSays(t, e, cfg, name, format); got != c.want {
			t.Errorf("%s: the engine follows %q, want %q", name, got, c.want)
		}
	}
}
