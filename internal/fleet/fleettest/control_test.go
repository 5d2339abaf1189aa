package fleettest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

func launched(t *testing.T, f *fleettest.Fake, restart agent.RestartPolicy) string {
	t.Helper()
	id := fleet.InstanceID("a", 1, 0)
	if err := f.Launch(t.Context(), fleet.Launch{InstanceID: id, AgentID: "a", Revision: 1, Command: "x", Restart: restart}); err != nil {
		t.Fatal(err)
	}
	return id
}

func state(t *testing.T, f *fleettest.Fake) fleet.Instance {
	t.Helper()
	list, err := f.Observe(context.Background(), "a")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0]
}

func TestAFakeCrashesAndBacksOffInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fleettest.NewFake()
		id := launched(t, f, agent.RestartPolicy{MaxRestarts: 2})
		if !f.Crash("a", id, 5) || state(t, f).State != fleet.InstanceBackoff || f.Crash("a", id, 5) {
			t.Errorf("after a crash: %+v", state(t, f))
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if in := state(t, f); in.State != fleet.InstanceRunning || in.Restarts != 1 {
			t.Errorf("after the back-off: %+v", in)
		}
		f.Crash("a", id, 5)
		time.Sleep(200 * time.Millisecond) // twice as long
		synctest.Wait()
		f.Crash("a", id, 5)
		if in := state(t, f); in.State != fleet.InstanceFailed || *in.ExitCode != 5 {
			t.Errorf("after the limit: %+v", in)
		}
	})
}

func TestAFakeDoesWhatTestsAskOfIt(t *testing.T) {
	f := fleettest.NewNamedFake("docker")
	id := launched(t, f, agent.RestartPolicy{})
	if l, ok := f.Launched("a", id); !ok || l.Command != "x" || f.Name() != "docker" {
		t.Errorf("launched %+v", l)
	}
	if !f.OOM("a", id) || !state(t, f).OOMKilled || !f.Lose("a", id) || state(t, f).State != fleet.InstanceLost || f.Lose("b", id) {
		t.Errorf("observed %+v", state(t, f))
	}
	id = launched(t, f, agent.RestartPolicy{})
	broken := errors.New("broken")
	f.Fail("Stop", broken)
	if err := f.Stop(t.Context(), "a", id, 0); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	f.Fail("Stop", nil)
	f.SetUsage(id, fleet.Usage{Memory: 7})
	if u, err := f.Usage(t.Context(), "a", id); err != nil || u.Memory != 7 {
		t.Errorf("usage %+v, %v", u, err)
	}
	f.SetChecks(fleet.Check{Name: "mine"})
	if c := f.Report(t.Context()); len(c) != 1 || c[0].Name != "mine" {
		t.Errorf("checks %+v", c)
	}
	f.OnExec(func(context.Context, string, []string) (int, string, error) { return 9, "out", nil })
	if code, out, err := f.Exec(t.Context(), "a", id, nil); code != 9 || out != "out" || err != nil {
		t.Errorf("exec gives %d, %q, %v", code, out, err)
	}
	f.Print("a", id, "stderr", "hello")
	var lines []fleet.LogLine
	err := f.ReadLogs(t.Context(), fleet.LogQuery{AgentID: "a"}, func(l fleet.LogLine) error { lines = append(lines, l); return nil })
	if err != nil || len(lines) != 1 || lines[0].Text != "hello" || lines[0].Stream != "stderr" {
		t.Errorf("lines %+v, %v", lines, err)
	}
	if calls := f.Calls(); !slices.Contains(calls, "Stop "+id) || calls[0] != "Launch "+id {
		t.Errorf("calls %v", calls)
	}
}

func TestAFakeHoldsCallsBack(t *testing.T) {
	f := fleettest.NewFake()
	release := f.Block("Observe")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Observe(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a held call gives %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := f.Observe(context.Background(), "")
		done <- err
	}()
	release()
	release() // again
	if err := <-done; err != nil {
		t.Error(err)
	}
}
