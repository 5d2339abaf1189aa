package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
)

// portalMain is a portal that launches agents and waits to be killed; with
// "churn" it launches and stops without end.
func portalMain(args []string) int {
	rt, err := process.New(config(args[0]))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for n := 0; ; n++ {
		l := launch("agent"+itoa(n%4), "ticks")
		l.Restart.Policy = "always"
		if err := rt.Launch(context.Background(), l); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("launched", l.AgentID)
		if args[1] == "hold" && n == 3 {
			select {}
		}
		if args[1] == "churn" && n%3 == 2 {
			_ = rt.Stop(context.Background(), l.AgentID, l.InstanceID, 0)
		}
	}
}

// startPortal runs portalMain and waits for its n-th word.
func startPortal(t *testing.T, dir, mode string, n int) *exec.Cmd {
	t.Helper()
	c := exec.Command(self(), "test-portal", dir, mode)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for s := bufio.NewScanner(out); n > 0 && s.Scan(); n-- {
		if !strings.HasPrefix(s.Text(), "launched") {
			t.Fatal(s.Text())
		}
	}
	go func() { _, _ = bufio.NewReader(out).WriteTo(&strings.Builder{}) }()
	return c
}

func TestInstancesOutliveAKilledPortal(t *testing.T) {
	dir := dataDir(t)
	portal := startPortal(t, dir, "hold", 4)
	before := map[string]int{}
	for n := range 4 {
		rec, err := shim.ReadRecord(filepath.Join(dir, "agents", "agent"+itoa(n), "instances", launch("agent"+itoa(n)).InstanceID))
		if err != nil {
			t.Fatal(err)
		}
		before[rec.Instance.ID] = rec.Instance.PID
	}
	_ = portal.Process.Kill()
	_ = portal.Wait()
	r := &room{t, open(t, config(dir)), config(dir)}
	list, err := r.Observe(t.Context(), "")
	r.ok(err)
	if len(list) != 4 {
		t.Fatalf("observed %+v", list)
	}
	for _, in := range list {
		if in.PID != before[in.ID] || in.State != fleet.InstanceRunning || in.Restarts != 0 {
			t.Errorf("was pid %d, is %+v", before[in.ID], in)
		}
		l := launch(in.AgentID)
		seen := len(r.lines(l))
		fleettest.Eventually(t, "more ticks", func() bool { return len(r.lines(l)) > seen+2 })
	}
}

func TestAPortalKilledAtAnyMomentLeavesNothingDoubled(t *testing.T) {
	dir := dataDir(t)
	for range 12 {
		portal := startPortal(t, dir, "churn", 1+rand.IntN(8))
		<-time.After(time.Duration(rand.IntN(20_000)) * time.Microsecond) // a moment between two steps
		_ = portal.Process.Kill()
		_ = portal.Wait()
	}
	r := &room{t, open(t, config(dir)), config(dir)}
	for n := range 4 {
		l := launch("agent"+itoa(n), "wait")
		fleettest.Eventually(t, "a settled state", func() bool {
			in := r.instance(l)
			return in.State != fleet.InstanceStarting && in.State != fleet.InstanceStopping
		})
		r.run(l)
		r.untilState(l, fleet.InstanceRunning)
		if main := procfs.WithEnviron("AGENT_INSTANCE="+l.InstanceID, "AGENT_DATA_DIR="+r.DataDir(l.AgentID)); len(main) != 1 {
			t.Errorf("%s runs as %v", l.AgentID, main)
		}
		r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, time.Second))
		r.nothing(l)
	}
}

// killShim kills the instance's shim and waits for its end.
func (r *room) killShim(l fleet.Launch) shim.Record {
	r.Helper()
	rec := r.record(l)
	rec.Shim.Signal(syscall.SIGKILL)
	rec.Shim.Wait(r.T.Context())
	return rec
}

func TestALostInstanceIsSeenAndCleanedUp(t *testing.T) {
	for _, set := range []func(*process.Config){
		func(*process.Config) {},
		func(c *process.Config) { c.CgroupVersion = 1 },
		func(c *process.Config) { c.NoCgroups = true },
	} {
		r := newRoom(t, set)
		l := launch("victim", "family")
		l.Restart.Policy = "always"
		r.run(l)
		r.said(l, "ready")
		rec := r.killShim(l)
		fleettest.Eventually(t, "the end of the main process", func() bool { return !rec.Process.Alive() })
		in := r.instance(l)
		if in.State != fleet.InstanceLost || in.PID != 0 || in.Reason == "" || len(in.LastLogs) == 0 {
			t.Errorf("observed %+v", in)
		}
		r.kind(r.Suspend(t.Context(), l.AgentID, l.InstanceID), fault.Unavailable)
		program(&l, "wait")
		r.run(l) // first removes what survived
		if left := procfs.WithEnviron("AGENT_DATA_DIR=" + r.DataDir("victim")); len(left) != 1 {
			t.Errorf("%d processes run", len(left))
		}
		r.killShim(l)
		r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, time.Second))
		r.nothing(l)
	}
}

// bystander is a process that must survive the test.
func bystander(t *testing.T) procfs.ID {
	t.Helper()
	c := exec.Command(self(), "test-program", "wait")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return procfs.Of(c.Process.Pid)
}

func TestAReusedPIDFoolsNobody(t *testing.T) {
	r := newRoom(t)
	l := r.run(launch("victim", "wait"))
	rec := r.killShim(l)
	other := bystander(t)
	rec.Shim.PID, rec.Process.PID, rec.Instance.PID = other.PID, other.PID, other.PID
	rec.Shim.Start, rec.Process.Start = rec.Shim.Start-500, rec.Process.Start-500 // it ran long before
	b, err := json.Marshal(rec)
	r.ok(err)
	r.ok(os.WriteFile(filepath.Join(r.dir(l), shim.StateFile), b, 0o600))
	if in := r.instance(l); in.State != fleet.InstanceLost {
		t.Errorf("observed %+v", in)
	}
	r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, time.Second))
	r.nothing(l)
	if !other.Alive() {
		t.Error("a process that only has the pid was killed")
	}
	if other.Signal(0) != true || (procfs.ID{PID: other.PID, Start: other.Start + 1}).Signal(syscall.SIGKILL) {
		t.Error("a signal went by the pid alone")
	}
}

func TestADamagedStateFileIsALoss(t *testing.T) {
	r := newRoom(t)
	l := r.run(launch("victim", "wait"))
	good, err := os.ReadFile(filepath.Join(r.dir(l), shim.StateFile))
	r.ok(err)
	write := func(b []byte) { r.ok(os.WriteFile(filepath.Join(r.dir(l), shim.StateFile), b, 0o600)) }
	write(good[:len(good)/2])
	if in := r.instance(l); in.State != fleet.InstanceRunning {
		t.Errorf("its shim was not asked: %+v", in)
	}
	rec, err := shim.ParseRecord(good)
	r.ok(err)
	rec.Shim.Signal(syscall.SIGKILL)
	rec.Shim.Wait(t.Context())
	for _, bad := range []string{string(good[:len(good)/2]), "", "null", "{}", "[1]", `{"Instance":{"ID":"victim-r1-0","State":"running"}}`} {
		write([]byte(bad))
		if in := r.instance(l); in.State != fleet.InstanceLost || in.Reason == "" || in.AgentID != "victim" {
			t.Errorf("%.20q is observed as %+v", bad, in)
		}
	}
	r.ok(os.Remove(filepath.Join(r.dir(l), shim.StateFile)))
	if in := r.instance(l); in.State != fleet.InstanceLost {
		t.Errorf("without a file: %+v", in)
	}
	r.run(l)
	r.untilState(l, fleet.InstanceRunning)
}

func TestAHangingShimIsOvercome(t *testing.T) {
	defer process.SetStopSlack(300 * time.Millisecond)()
	r := newRoom(t)
	l := r.run(launch("stuck", "family"))
	r.said(l, "ready")
	r.record(l).Shim.Signal(syscall.SIGSTOP)
	r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, 0))
	r.nothing(l)
}

func TestAShimThatIsToldToEndEndsItsInstanceInOrder(t *testing.T) {
	r := newRoom(t)
	l := r.run(launch("polite", "graceful"))
	r.said(l, "ready")
	r.record(l).Shim.Signal(syscall.SIGTERM)
	if in := r.untilState(l, fleet.InstanceLost); in.Reason == "" {
		t.Error("no reason")
	}
	r.said(l, "bye")
	r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, 0))
	r.nothing(l)
}

func TestAnInstanceKilledWhileSuspendedStaysSuspended(t *testing.T) {
	r := newRoom(t)
	l := launch("sleeper", "ticks")
	l.Restart.Policy = "always"
	r.run(l)
	r.said(l, "tick 2")
	r.ok(r.Suspend(t.Context(), l.AgentID, l.InstanceID))
	first := r.record(l).Process
	first.Signal(syscall.SIGKILL)
	fleettest.Eventually(t, "its end", func() bool { return r.instance(l).PID == 0 })
	if in := r.instance(l); in.State != fleet.InstanceSuspended || in.Signal != "SIGKILL" {
		t.Errorf("observed %+v", in)
	}
	r.ok(r.Resume(t.Context(), l.AgentID, l.InstanceID))
	if in := r.untilState(l, fleet.InstanceRunning); in.PID == first.PID || in.Restarts != 1 {
		t.Errorf("resumed as %+v", in)
	}
}

func TestGroupsOfVanishedInstancesAreSwept(t *testing.T) {
	dir := dataDir(t)
	r := &room{t, open(t, config(dir)), config(dir)}
	if !r.can("pids_limit") {
		t.Skip("no control groups here")
	}
	l := r.run(launch("vanished", "family"))
	r.said(l, "ready")
	r.killShim(l)
	r.ok(os.RemoveAll(r.dir(l)))
	open(t, config(dir))
	r.nothing(l)
}
