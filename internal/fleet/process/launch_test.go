package process_test

import (
	"os"
	"testing"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
)

func TestManyInstancesCostThePortalNoThreadsAndLeaveNoZombies(t *testing.T) {
	r := newRoom(t)
	threads := func() int64 {
		b, _ := os.ReadFile("/proc/self/status")
		return field(string(b), "Threads:")
	}
	before := threads()
	const n = 30
	var all []fleet.Launch
	for i := range n {
		l := launch("one"+itoa(i), "wait")
		l.Command, l.Args = "sleep", []string{"1000"}
		all = append(all, r.run(l))
	}
	if grown := threads() - before; grown > n/2 {
		t.Errorf("%d instances cost %d threads", n, grown)
	}
	for _, l := range all {
		r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, 0))
	}
	fleettest.Eventually(t, "no zombies", func() bool {
		for _, p := range procfs.All() {
			if p.PPID == os.Getpid() && p.Dead() {
				return false
			}
		}
		return true
	})
}
