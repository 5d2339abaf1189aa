package process_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/process"
)

func TestAShimThatCannotRunIsReported(t *testing.T) {
	for name, argv := range map[string][]string{
		"missing": {"/no/such/portal", "shim"},
		"mute":    {"/bin/sh", "-c", "echo broken >&2; exit 3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, func(c *process.Config) { c.Shim = argv })
			l := launch("agent", "wait")
			if f := r.kind(r.Launch(t.Context(), l), fault.Unavailable); f.Remedy == "" {
				t.Errorf("no remedy: %v", f)
			}
			if in := r.instance(l); in.ID != "" {
				t.Errorf("left: %+v", in)
			}
		})
	}
	if _, err := process.New(process.Config{Dir: t.TempDir(), RunDir: t.TempDir()}); err == nil {
		t.Error("a runtime without a shim was made")
	}
}

func TestADirectoryThatCannotBeMadeIsReported(t *testing.T) {
	r := newRoom(t)
	r.ok(os.WriteFile(filepath.Join(r.cfg.Dir, "agent"), nil, 0o600)) // a file where the directory belongs
	if f := r.kind(r.Prepare(t.Context(), launch("agent", "wait")), fault.Unavailable); f.Why == "" || f.Remedy == "" {
		t.Errorf("unclear: %v", f)
	}
	if _, err := r.Observe(t.Context(), ""); err != nil { // and others are still seen
		t.Error(err)
	}
}

func TestOnlyTheLatestLogsOfEndedInstancesAreKept(t *testing.T) {
	r := newRoom(t)
	logs := filepath.Join(r.cfg.Dir, "agent", "logs")
	for n := range 40 {
		dir := filepath.Join(logs, fleet.InstanceID("agent", n+100, 0))
		at := time.Now().Add(time.Duration(n-1000) * time.Minute)
		r.ok(os.MkdirAll(dir, 0o700))
		r.ok(os.Chtimes(dir, at, at))
	}
	l := r.run(launch("agent", "wait"))
	left, err := os.ReadDir(logs)
	r.ok(err)
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	all := strings.Join(names, " ")
	if len(names) != 21 || !strings.Contains(all, l.InstanceID) || !strings.Contains(all, "r139-0") || strings.Contains(all, "r119-0") {
		t.Errorf("kept %v", names)
	}
}

func TestAnEndedContextEndsTheWaitOnly(t *testing.T) {
	r := newRoom(t)
	l := r.run(launch("mule", "stubborn"))
	r.said(l, "ready")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Stop(ctx, l.AgentID, l.InstanceID, time.Hour); err == nil {
		t.Error("no error")
	}
	if in := r.untilState(l, fleet.InstanceStopping); in.PID == 0 {
		t.Errorf("observed %+v", in)
	}
	r.kind(r.Restart(t.Context(), l.AgentID, l.InstanceID, "why not"), fault.Conflict)
	r.kind(r.Suspend(t.Context(), l.AgentID, l.InstanceID), fault.Conflict)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if r.Launch(gone, l) == nil || r.Prepare(gone, l) == nil {
		t.Error("worked with an ended context")
	}
	if _, err := r.Observe(gone, ""); err == nil {
		t.Error("observed with an ended context")
	}
	program(&l, "wait")
	r.run(l) // hurries the stop, then launches
	if in := r.instance(l); in.State != fleet.InstanceRunning {
		t.Errorf("observed %+v", in)
	}
}

func TestASuspendedBackoffWaitsForResume(t *testing.T) {
	r := newRoom(t)
	l := launch("agent", "exit", "1")
	l.Restart.Policy, l.Restart.Backoff.Initial, l.Restart.Backoff.Max = "always", 1<<42, 1<<42
	r.run(l)
	r.untilState(l, fleet.InstanceBackoff)
	r.ok(r.Suspend(t.Context(), l.AgentID, l.InstanceID))
	if in := r.instance(l); in.State != fleet.InstanceSuspended {
		t.Errorf("observed %+v", in)
	}
	r.ok(r.Resume(t.Context(), l.AgentID, l.InstanceID)) // starts it at once
	fleettest.Eventually(t, "the next end", func() bool { return r.instance(l).Restarts == 2 })
	_, err := r.Usage(t.Context(), l.AgentID, l.InstanceID)
	r.ok(err)
}
