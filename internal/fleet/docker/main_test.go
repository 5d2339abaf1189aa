package docker_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

func TestMain(m *testing.M) {
	fleettest.Abreast(3) // more and the engine is what they wait for
	os.Exit(dockertest.Main(m))
}

func program(l *fleet.Launch, behaviour ...string) {
	l.Image, l.Command, l.Args = dockertest.Image, dockertest.ProgramPath, behaviour
}

var owners atomic.Int64

// config is that of a portal of its own on the engine.
func config(t testing.TB) docker.Config {
	e := dockertest.Start(t)
	return docker.Config{Host: e.Host, Owner: "test" + strconv.FormatInt(owners.Add(1), 10), Dir: t.TempDir()}
}

// open gives a runtime that is emptied at the end of the test.
func open(t testing.TB, cfg docker.Config) *docker.Runtime {
	t.Helper()
	rt, err := docker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		empty(t, cfg)
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return rt
}

// empty removes all that the portal has on the engine.
func empty(t testing.TB, cfg docker.Config) {
	t.Helper()
	rt, err := docker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	agents, err := rt.Agents(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, id := range agents {
		if err := rt.Remove(ctx, id); err != nil {
			t.Error(err)
		}
	}
}

// left names containers of the agent.
func left(e *dockertest.Engine, t testing.TB, owner, agentID string) []string {
	filter := "label=io.platform-portal.owner=" + owner
	args := []string{"--filter", filter}
	if agentID != "" {
		args = append(args, "--filter", "label=io.platform-portal.agent="+agentID)
	}
	return strings.Fields(e.Docker(t, append([]string{"ps", "-aq"}, args...)...))
}

func TestConformance(t *testing.T) {
	var configs fleettest.Configs[docker.Config]
	fleettest.Run(t, fleettest.Harness{
		New: func(t *testing.T) fleet.Runtime {
			cfg := config(t)
			rt := open(t, cfg)
			configs.Put(rt, cfg)
			return rt
		},
		Reopen: func(t *testing.T, old fleet.Runtime) fleet.Runtime {
			if err := old.(*docker.Runtime).Close(); err != nil {
				t.Error(err)
			}
			cfg := configs.Of(old)
			rt := open(t, cfg)
			configs.Put(rt, cfg)
			return rt
		},
		Program: program,
		Command: func(behaviour ...string) []string { return append([]string{dockertest.ProgramPath}, behaviour...) },
		Left: func(t *testing.T, rt fleet.Runtime, agentID string) []string {
			return left(dockertest.Start(t), t, configs.Of(rt).Owner, agentID)
		},
	})
}
