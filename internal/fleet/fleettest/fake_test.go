package fleettest_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

func TestFakeKeepsThePromises(t *testing.T) {
	fleettest.Run(t, fleettest.Harness{
		New: func(t *testing.T) fleet.Runtime { return fleettest.NewFake() },
		Reopen: func(t *testing.T, old fleet.Runtime) fleet.Runtime {
			return old.(*fleettest.Fake).Reopen()
		},
		Program: func(l *fleet.Launch, behaviour ...string) {
			l.Command, l.Args = "program", behaviour
		},
		Change: func(t *testing.T, rt fleet.Runtime, l fleet.Launch, env map[string]*string) {
			rt.(*fleettest.Fake).Change(l.AgentID, l.InstanceID, env)
		},
		Command: func(behaviour ...string) []string { return append([]string{"program"}, behaviour...) },
	})
}
