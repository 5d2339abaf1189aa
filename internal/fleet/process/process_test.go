package process_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/process"
)

func itoa(n int) string { return strconv.Itoa(n) }

// empty removes every agent.
func empty(t testing.TB, rt *process.Runtime, cfg process.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	entries, _ := os.ReadDir(cfg.Dir)
	for _, e := range entries {
		if err := rt.Remove(ctx, e.Name()); err != nil {
			t.Errorf("cleaning up %s: %v", e.Name(), err)
		}
	}
}

func harness(change func(*process.Config)) fleettest.Harness {
	configs := map[fleet.Runtime]process.Config{}
	return fleettest.Harness{
		New: func(t *testing.T) fleet.Runtime {
			cfg := config(dataDir(t))
			change(&cfg)
			rt := open(t, cfg)
			configs[rt] = cfg
			return rt
		},
		Reopen: func(t *testing.T, old fleet.Runtime) fleet.Runtime {
			rt := open(t, configs[old])
			configs[rt] = configs[old]
			return rt
		},
		Program: program,
		Command: func(behaviour ...string) []string {
			return append([]string{self(), "test-program"}, behaviour...)
		},
		Left: func(t *testing.T, rt fleet.Runtime, agentID string) []string {
			return left(configs[rt], rt.(*process.Runtime), agentID)
		},
	}
}

func TestRuntimeKeepsThePromises(t *testing.T) {
	fleettest.Run(t, harness(func(*process.Config) {}))
}

func TestRuntimeWithoutControlGroupsKeepsThePromises(t *testing.T) {
	fleettest.Run(t, harness(func(c *process.Config) { c.NoCgroups = true }))
}
