package fleettest

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

func testPrepare(t *testing.T, b *bench) {
	l := b.launch("calm", 0, "wait")
	b.ok(b.rt.Prepare(b.ctx(), l))
	b.ok(b.rt.Prepare(b.ctx(), l))
	b.nothing("calm")
}

func testLaunch(t *testing.T, b *bench) {
	l := b.launch("speaker", 2, "env", "GREETING")
	l.Revision, l.InstanceID = 7, fleet.InstanceID("speaker", 7, 2)
	before := time.Now().Add(-2 * time.Second)
	b.ok(b.rt.Launch(b.ctx(), l))
	b.said(l, "GREETING=good day")
	in := b.untilState(l, fleet.InstanceRunning)
	if in.AgentID != "speaker" || in.Revision != 7 || in.Index != 2 || b.h.Run == nil && in.PID <= 0 || in.Restarts != 0 {
		t.Errorf("observed %+v", in)
	}
	if in.StartedAt.Before(before) || in.StartedAt.After(time.Now().Add(2*time.Second)) || !in.EndedAt.IsZero() {
		t.Errorf("started at %s, ended at %s", in.StartedAt, in.EndedAt)
	}
}

func testLaunchTwice(t *testing.T, b *bench) {
	l := b.launch("twin", 0, "env", "GREETING")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := b.rt.Launch(b.ctx(), l); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.said(l, "GREETING=good day")
	first := b.run(b.instance(l))
	b.ok(b.rt.Launch(b.ctx(), l))
	if now := b.instance(l); b.run(now) != first || now.Restarts != 0 {
		t.Errorf("launched anew: %s, then %+v", first, now)
	}
	if lines := b.lines(fleet.LogQuery{AgentID: "twin"}); len(lines) != 1 {
		t.Errorf("the program ran %d times", len(lines))
	}
	other := b.start("twin", 1, "wait")
	list, err := b.rt.Observe(b.ctx(), "twin")
	b.ok(err)
	if len(list) != 2 || b.run(b.instance(other)) == first {
		t.Errorf("observed %+v", list)
	}
}

func testStopAll(t *testing.T, b *bench) {
	l := b.start("parent", 0, "family")
	b.said(l, "ready")
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 200*time.Millisecond))
	b.nothing("parent")
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, time.Second))
	b.ok(b.rt.Launch(b.ctx(), l)) // and it can run again
	b.untilState(l, fleet.InstanceRunning)
}

func testStopGraceful(t *testing.T, b *bench) {
	l := b.start("polite", 0, "graceful")
	b.said(l, "ready")
	begun := time.Now()
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, patience))
	if d := time.Since(begun); d > patience/2 {
		t.Errorf("took %s", d)
	}
	b.nothing("polite")
	if lines := b.lines(fleet.LogQuery{AgentID: "polite"}); !slices.Contains(lines, "bye") {
		t.Errorf("was not asked, or its log is gone: %q", lines)
	}
}

func testStopForced(t *testing.T, b *bench) {
	l := b.start("mule", 0, "stubborn")
	b.said(l, "ready")
	begun := time.Now()
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 300*time.Millisecond))
	if d := time.Since(begun); d < 250*time.Millisecond || d > patience/2 {
		t.Errorf("took %s", d)
	}
	b.nothing("mule")
}

func testStopHurried(t *testing.T, b *bench) {
	l := b.start("mule", 0, "stubborn")
	b.said(l, "ready")
	slow, grace := make(chan error, 1), time.Hour
	if b.h.KeepsGrace {
		grace = 15 * time.Second
	}
	go func() { slow <- b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, grace) }()
	b.untilState(l, fleet.InstanceStopping)
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 0))
	b.ok(<-slow)
	b.nothing("mule")
}

func testEnds(t *testing.T, b *bench) {
	for _, c := range []struct {
		policy, code string
		want         fleet.InstanceState
	}{
		{"never", "0", fleet.InstanceExited},
		{"never", "3", fleet.InstanceFailed},
		{"on-failure", "0", fleet.InstanceExited},
	} {
		l := b.launch("brief-"+c.policy+c.code, 0, "exit", c.code)
		l.Restart.Policy = c.policy
		b.ok(b.rt.Launch(b.ctx(), l))
		in := b.untilState(l, c.want)
		if in.ExitCode == nil || *in.ExitCode != int(c.code[0]-'0') || in.Restarts != 0 || in.EndedAt.IsZero() || in.PID != 0 {
			t.Errorf("policy %s, code %s: %+v", c.policy, c.code, in)
		}
		if !strings.Contains(in.Reason, c.code) || !slices.Contains(in.LastLogs, "exiting with "+c.code) {
			t.Errorf("reason %q, last logs %q", in.Reason, in.LastLogs)
		}
		b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 0))
		b.nothing(l.AgentID)
	}
}

func testRestarts(t *testing.T, b *bench) {
	for name, restart := range map[string]agent.RestartPolicy{
		"phoenix": {MaxRestarts: 1000, Backoff: agent.Backoff{Initial: agent.Duration(time.Millisecond)}},
		"usual":   {},
	} {
		l := b.launch(name, 0, "exit", "0")
		l.Restart = restart
		b.ok(b.rt.Launch(b.ctx(), l))
		b.until(l, "three restarts", func(in fleet.Instance) bool { return in.Restarts >= 3 })
	}
}

// usual is a restart policy with the pauses of specifications that name none, which
// an engine may know how to keep.
func usual(p agent.RestartPolicy) agent.RestartPolicy {
	p.Backoff = agent.Backoff{}
	return p
}

func testBackoff(t *testing.T, b *bench) {
	l := b.launch("waiter", 0, "exit", "1")
	l.Restart.Backoff = agent.Backoff{Initial: agent.Duration(time.Hour), Max: agent.Duration(time.Hour)}
	b.ok(b.rt.Launch(b.ctx(), l))
	in := b.until(l, "the back-off", func(in fleet.Instance) bool { // an engine may begin with none
		return in.State == fleet.InstanceBackoff && (!b.h.EngineBackoff || in.Restarts > 0)
	})
	if in.PID != 0 || in.ExitCode == nil || *in.ExitCode != 1 || in.Reason == "" {
		t.Errorf("observed %+v", in)
	}
	b.ok(b.rt.Launch(b.ctx(), l))
	now := b.instance(l)
	if b.h.EngineBackoff && now.Restarts == in.Restarts+1 { // a pause that was over meanwhile
		in, now = now, b.untilState(l, fleet.InstanceBackoff)
	}
	if now.State != fleet.InstanceBackoff || now.Restarts != in.Restarts {
		t.Errorf("launch touched it: %+v", now)
	}
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, time.Hour))
	b.nothing("waiter")
}

func testCrashLoop(t *testing.T, b *bench) {
	l := b.launch("lemming", 0, "exit", "7")
	l.Restart.MaxRestarts, l.Restart.Window = 3, agent.Duration(5*time.Minute)
	crashLoop(t, b, l)
	l = b.launch("usual", 0, "exit", "7")
	l.Restart = usual(agent.RestartPolicy{Policy: "on-failure", MaxRestarts: 3})
	crashLoop(t, b, l)
}

func crashLoop(t *testing.T, b *bench, l fleet.Launch) {
	t.Helper()
	b.ok(b.rt.Launch(b.ctx(), l))
	in := b.untilState(l, fleet.InstanceFailed)
	if in.Reason != "crash loop: 4 starts within 5m, last exit code 7" || in.Restarts != 3 {
		t.Errorf("reason %q after %d restarts", in.Reason, in.Restarts)
	}
	if in.ExitCode == nil || *in.ExitCode != 7 || !slices.Contains(in.LastLogs, "exiting with 7") {
		t.Errorf("observed %+v", in)
	}
	if r, ok := b.rt.(fleet.Restarter); ok {
		b.kind(r.Restart(b.ctx(), l.AgentID, l.InstanceID, "again"), fault.Conflict)
	}
	b.h.Program(&l, "wait")
	b.ok(b.rt.Launch(b.ctx(), l)) // a new launch has a clean slate
	if in := b.untilState(l, fleet.InstanceRunning); in.Restarts != 0 || in.Reason != "" {
		t.Errorf("launched anew: %+v", in)
	}
}

func testSuspend(t *testing.T, b *bench) {
	s, ok := b.rt.(fleet.Suspender)
	if !ok {
		t.Skip("the runtime cannot suspend")
	}
	l := b.start("sleeper", 0, "ticks")
	b.said(l, "tick 3")
	running := b.run(b.instance(l))
	b.ok(s.Suspend(b.ctx(), l.AgentID, l.InstanceID))
	b.ok(s.Suspend(b.ctx(), l.AgentID, l.InstanceID))
	b.untilState(l, fleet.InstanceSuspended)
	b.ok(b.rt.Launch(b.ctx(), l)) // leaves it alone
	count := func() int { return len(b.lines(fleet.LogQuery{AgentID: l.AgentID})) }
	pause() // what was printed before may still be on its way
	before := count()
	quiet(t, "standstill", func() bool { return count() == before })
	if x, ok := b.rt.(fleet.Execer); ok {
		_, _, err := x.Exec(b.ctx(), l.AgentID, l.InstanceID, b.h.Command("exit", "0"))
		b.kind(err, fault.Conflict)
	}
	b.ok(s.Resume(b.ctx(), l.AgentID, l.InstanceID))
	b.ok(s.Resume(b.ctx(), l.AgentID, l.InstanceID))
	Eventually(t, "more ticks", func() bool { return count() > before+3 })
	lines := b.lines(fleet.LogQuery{AgentID: l.AgentID})
	from := 0
	if b.h.Forgets {
		from = before
	}
	for i, line := range lines {
		if i >= from && line != "tick "+itoa(i-from+1) {
			t.Fatalf("line %d is %q: its memory was lost", i+1, line)
		}
	}
	if in := b.untilState(l, fleet.InstanceRunning); b.run(in) == running == b.h.Forgets || in.Restarts != 0 {
		t.Errorf("was run %s, is %+v", running, in)
	}
	b.ok(s.Suspend(b.ctx(), l.AgentID, l.InstanceID))
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 10*time.Second)) // also while it stands still
	b.nothing(l.AgentID)
}

func testRestarter(t *testing.T, b *bench) {
	r, ok := b.rt.(fleet.Restarter)
	if !ok {
		t.Skip("the runtime cannot restart in place")
	}
	l := b.launch("patient", 0, "family")
	l.Restart.MaxRestarts, l.Restart.Window = 2, agent.Duration(time.Minute)
	restarter(t, b, r, l)
	l.AgentID, l.InstanceID, l.Restart = "usual", fleet.InstanceID("usual", 1, 0), usual(l.Restart)
	restarter(t, b, r, l)
}

func restarter(t *testing.T, b *bench, r fleet.Restarter, l fleet.Launch) {
	t.Helper()
	b.ok(b.rt.Launch(b.ctx(), l))
	before := b.run(b.instance(l))
	for i := range 2 {
		b.ok(r.Restart(b.ctx(), l.AgentID, l.InstanceID, "does not answer"))
		in := b.instance(l)
		if in.State != fleet.InstanceRunning || b.run(in) == before || in.Restarts != i+1 ||
			!strings.Contains(in.Reason, "does not answer") {
			t.Errorf("after restart %d: %+v", i+1, in)
		}
		before = b.run(in)
	}
	b.kind(r.Restart(b.ctx(), l.AgentID, l.InstanceID, "does not answer"), fault.Conflict)
	in := b.untilState(l, fleet.InstanceFailed)
	if !strings.Contains(in.Reason, "crash loop: 3 starts within 1m") || !strings.Contains(in.Reason, "does not answer") {
		t.Errorf("reason %q", in.Reason)
	}
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 0))
	b.nothing(l.AgentID)
}

func testAdoption(t *testing.T, b *bench) {
	if b.h.Reopen == nil {
		t.Skip("the runtime cannot be opened twice")
	}
	var launches []fleet.Launch
	runs := map[string]string{}
	for _, id := range []string{"one", "two", "three"} {
		l := b.start(id, 0, "ticks")
		launches = append(launches, l)
		runs[l.InstanceID] = b.run(b.instance(l))
	}
	b.rt = b.h.Reopen(t, b.rt)
	list, err := b.rt.Observe(b.ctx(), "")
	b.ok(err)
	if len(list) != len(launches) {
		t.Fatalf("observed %+v", list)
	}
	for _, in := range list {
		if b.run(in) != runs[in.ID] || in.State != fleet.InstanceRunning {
			t.Errorf("observed %+v, was run %s", in, runs[in.ID])
		}
	}
	for _, l := range launches {
		b.ok(b.rt.Launch(b.ctx(), l)) // finds it running
		if in := b.instance(l); b.run(in) != runs[l.InstanceID] {
			t.Errorf("launched anew: %+v", in)
		}
		if s, ok := b.rt.(fleet.Suspender); ok {
			b.ok(s.Suspend(b.ctx(), l.AgentID, l.InstanceID))
			b.ok(s.Resume(b.ctx(), l.AgentID, l.InstanceID))
		}
		b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, time.Second))
	}
	b.nothing("")
}

func testRemove(t *testing.T, b *bench) {
	l := b.start("goner", 0, "family")
	b.start("goner", 1, "print", "5")
	other := b.start("other", 0, "wait")
	b.said(l, "ready")
	b.ok(b.rt.Remove(b.ctx(), "goner"))
	b.nothing("goner")
	if lines := b.read(fleet.LogQuery{AgentID: "goner"}); len(lines) > 0 {
		t.Errorf("logs are left: %v", lines)
	}
	b.ok(b.rt.Remove(b.ctx(), "goner"))
	if in := b.instance(other); in.State != fleet.InstanceRunning {
		t.Errorf("another agent was touched: %+v", in)
	}
}

func testVolumes(t *testing.T, b *bench) {
	with := func(l fleet.Launch, path string) fleet.Launch {
		l.Volumes = []agent.Volume{{Name: "notes", Path: path}}
		return l
	}
	l := with(b.launch("keeper", 0, "file", "deep/notes/a.txt", "x"), "deep/notes")
	b.ok(b.rt.Launch(b.ctx(), l))
	b.said(l, "x")
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, time.Second))
	b.ok(b.rt.Launch(b.ctx(), l))
	b.said(l, "xx")
	for _, path := range []string{"../out", "/tmp/out", "a/../../out"} {
		err := b.rt.Prepare(b.ctx(), with(b.launch("thief", 0, "wait"), path))
		b.kind(err, fault.Invalid)
	}
}

func testUsage(t *testing.T, b *bench) {
	m, ok := b.rt.(fleet.Meter)
	if !ok {
		t.Skip("the runtime does not measure")
	}
	l := b.start("busy", 0, "ticks")
	b.said(l, "tick 3")
	Eventually(t, "processor time, memory and processes", func() bool { // clocks may be coarse
		u, err := m.Usage(b.ctx(), l.AgentID, l.InstanceID)
		if fault.Is(err, fault.Unavailable) { // engines measure from time to time
			return false
		}
		b.ok(err)
		return u.Memory > 0 && (u.PIDs > 0 || b.h.CountsNoProcesses) && u.CPUSeconds > 0
	})
}
