package process_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
)

func TestAForkBombIsBoundedAndEnded(t *testing.T) {
	r := newRoom(t)
	if !r.can("pids_limit") {
		t.Skip("pids_limit cannot be enforced here, and the report says so")
	}
	l := launch("bomb", "bomb")
	l.Resources.PIDs = 60
	r.run(l)
	fleettest.Eventually(t, "many processes", func() bool {
		u, err := r.Usage(t.Context(), l.AgentID, l.InstanceID)
		return err != nil || u.PIDs >= 50
	})
	for range 20 {
		if u, err := r.Usage(t.Context(), l.AgentID, l.InstanceID); err == nil && u.PIDs > 62 { // the shim may just add one
			t.Fatalf("%d processes and threads", u.PIDs)
		}
	}
	begun := time.Now()
	r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, 100*time.Millisecond))
	if d := time.Since(begun); d > time.Minute {
		t.Errorf("stopping took %s", d)
	}
	r.nothing(l)
}

func TestTooMuchMemoryEndsTheProgramWithAReason(t *testing.T) {
	r := newRoom(t)
	l := launch("hog", "hog", "300000000")
	l.Resources.Memory = 64 << 20
	r.run(l)
	if !r.can("memory_limit") {
		r.said(l, "holding 300000000") // it runs anyway
		return
	}
	in := r.untilState(l, fleet.InstanceFailed)
	if !in.OOMKilled || in.Signal != "SIGKILL" || !strings.Contains(in.Reason, "memory limit of 64Mi") {
		t.Errorf("observed %+v", in)
	}
	r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, 0))
	r.nothing(l)
}

func TestTheProcessorIsShared(t *testing.T) {
	r := newRoom(t)
	if !r.can("cpu_limit") {
		t.Skip("cpu_limit cannot be enforced here, and the report says so")
	}
	l := launch("spinner", "spin")
	l.Resources.CPU = 0.1
	r.run(l)
	begun := time.Now()
	var u fleet.Usage
	fleettest.Eventually(t, "some use", func() bool {
		u, _ = r.Usage(t.Context(), l.AgentID, l.InstanceID)
		return u.CPUSeconds > 0.15
	})
	if share := u.CPUSeconds / time.Since(begun).Seconds(); share > 0.4 {
		t.Errorf("uses %.2f of a processor, 0.1 is allowed", share)
	}
}

func TestAFullDirectoryEndsTheProgramWithAReason(t *testing.T) {
	r := newRoom(t, func(c *process.Config) { c.QuotaEvery = 20 * time.Millisecond })
	l := launch("filler", "fill", filepath.Join("notes", "big"), "3000000")
	l.Volumes = []agent.Volume{{Name: "notes", Size: 1 << 20}}
	r.run(l)
	if in := r.untilState(l, fleet.InstanceFailed); !strings.Contains(in.Reason, "size of volume notes exceeded") {
		t.Errorf("reason %q", in.Reason)
	}
	r.ok(r.Remove(t.Context(), l.AgentID))

	l = launch("filler", "fill", "big", "9000000") // one file over the limit cannot even be written
	l.Resources.Disk = 4 << 20
	r.run(l)
	fleettest.Eventually(t, "the end", func() bool { return r.instance(l).State == fleet.InstanceFailed })
	if used := shim.DiskUse(r.WorkDir(l.AgentID)); used > 5<<20 {
		t.Errorf("%d bytes were written", used)
	}
}

func TestHugeOutputStaysBounded(t *testing.T) {
	const segment, kept = 256 << 10, 3
	r := newRoom(t, func(c *process.Config) { c.SegmentSize, c.Segments = segment, kept })
	l := launch("chatty", "flood", "100000000")
	l.Restart.Policy = "never"
	r.run(l)
	logs := filepath.Join(r.cfg.Dir, "chatty", "logs")
	rec := r.record(l)
	most := int64(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for r.instance(l).State == fleet.InstanceRunning && ctx.Err() == nil {
		if used := shim.DiskUse(logs); used > (kept+2)*segment {
			t.Fatalf("%d bytes of log", used)
		}
		if b, err := os.ReadFile("/proc/" + itoa(rec.Shim.PID) + "/status"); err == nil {
			most = max(most, field(string(b), "VmRSS:"))
		}
	}
	if most > 48<<10 {
		t.Errorf("the shim took %d KiB", most)
	}
	in := r.untilState(l, fleet.InstanceExited)
	if len(in.LastLogs) != 20 || len(in.LastLogs[0]) != 99 {
		t.Errorf("last logs %q", in.LastLogs)
	}
	t.Logf("shim at most %d KiB", most)
}

func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			var n int64
			for _, c := range strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")) {
				n = 10*n + int64(c-'0')
			}
			return n
		}
	}
	return 0
}

func TestStrangeOutputBecomesText(t *testing.T) {
	r := newRoom(t)
	l := r.run(launch("odd", "text", `caf\xe9 \x00 end\r\nhalf a line`))
	r.untilState(l, fleet.InstanceExited)
	if lines := r.lines(l); len(lines) != 2 || lines[0] != "caf\uFFFD \uFFFD end" || lines[1] != "half a line" {
		t.Errorf("lines %q", lines)
	}
	l = r.run(launch("long", "text", strings.Repeat("é", 60_000)))
	r.untilState(l, fleet.InstanceExited)
	text := ""
	for _, line := range r.lines(l) {
		if len(line) > 70_000 {
			t.Errorf("a line of %d bytes", len(line))
		}
		text += strings.TrimSuffix(line, " [continues]")
	}
	if text != strings.Repeat("é", 60_000) {
		t.Errorf("%d bytes came of %d", len(text), 120_000)
	}
}

func TestAnExecEndsWithAllThatItMade(t *testing.T) {
	for _, noCgroups := range []bool{false, true} {
		r := newRoom(t, func(c *process.Config) { c.NoCgroups = noCgroups })
		l := r.run(launch("worker", "wait"))
		before := len(left(r.cfg, r.Runtime, l.AgentID))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, _, err := r.Exec(ctx, l.AgentID, l.InstanceID, []string{self(), "test-program", "family"})
			done <- err
		}()
		fleettest.Eventually(t, "its processes", func() bool { return len(left(r.cfg, r.Runtime, l.AgentID)) >= before+4 })
		cancel()
		if err := <-done; err == nil {
			t.Error("no error after the end of the context")
		}
		fleettest.Eventually(t, "their end", func() bool { return len(left(r.cfg, r.Runtime, l.AgentID)) == before })
		if in := r.instance(l); in.State != fleet.InstanceRunning || in.Restarts != 0 {
			t.Errorf("the instance was touched: %+v", in)
		}
	}
}
