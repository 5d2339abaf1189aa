package fleettest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Harness tells the suite how to use one kind of runtime.
type Harness struct {
	// New gives a runtime with nothing on it; the test's cleanup takes it away
	// with all that runs on it.
	New func(t *testing.T) fleet.Runtime
	// Reopen gives a second object over the same instances, as after the portal's
	// death.
	Reopen func(t *testing.T, old fleet.Runtime) fleet.Runtime
	// Program makes the launch run Program with the behaviour.
	Program func(l *fleet.Launch, behaviour ...string)
	// Command gives what runs Program inside an instance by Exec.
	Command func(behaviour ...string) []string
	// Left names what is left of the agent's instances on the machine, apart from
	// logs and directories that outlive instances; nil if Observe says it all.
	Left func(t *testing.T, rt fleet.Runtime, agentID string) []string
	// Run tells the runs of an instance apart where the runtime does not know process
	// ids; nil if it does.
	Run func(t *testing.T, rt fleet.Runtime, in fleet.Instance) string
	// FoundAtLaunch says that a command which is not there is noticed only when it is
	// to be run.
	FoundAtLaunch bool
	// EngineBackoff says that the engine starts an instance again by itself, after
	// pauses of its own and not those of the specification.
	EngineBackoff bool
	// Forgets says that what is suspended is ended, and loses its memory.
	Forgets bool
	// Patience bounds every wait; a minute if it is not told.
	Patience time.Duration
	// KeepsGrace says that a stop may go on for the grace that was told first,
	// although a second one is in a hurry.
	KeepsGrace bool
	// Change gives an instance that runs other variables, nil for one that it loses, as
	// somebody else on the engine could; nil if nobody can.
	Change func(t *testing.T, rt fleet.Runtime, l fleet.Launch, env map[string]*string)
	// CountsNoProcesses says that usage does not tell how many there are.
	CountsNoProcesses bool
}

// patience bounds every wait where a harness names no other.
const patience = time.Minute

// Run checks that a runtime keeps the promises of fleet.Runtime and of the
// optional interfaces that it has.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, *bench){
		"a report names checks, and for each gap why and what to do": testReport,
		"prepare runs nothing":                                         testPrepare,
		"launch runs the program with its environment":                 testLaunch,
		"launching again leaves the instance alone":                    testLaunchTwice,
		"a command that does not exist is refused":                     testMissingCommand,
		"volumes keep their content and cannot leave":                  testVolumes,
		"what volumes hold is carried in and out":                      testCarry,
		"stop ends every process":                                      testStopAll,
		"stop gives the program its grace":                             testStopGraceful,
		"stop kills what ignores it":                                   testStopForced,
		"a second stop hurries the first":                              testStopHurried,
		"what is not there can be stopped and removed, not more":       testUnknown,
		"an end is final as the policy says":                           testEnds,
		"an instance that ends is started again":                       testRestarts,
		"back-off waits, and is left alone":                            testBackoff,
		"a crash loop ends in failure with reason, code and last logs": testCrashLoop,
		"suspend stands still, with its memory where that is promised": testSuspend,
		"restart counts, up to the limit":                              testRestarter,
		"exec runs inside the instance":                                testExec,
		"usage is measured":                                            testUsage,
		"changes are told and never wait":                              testChanges,
		"logs are read from any point":                                 testLogs,
		"logs of instances are merged, and followed":                   testLogsMerged,
		"a new object adopts what runs":                                testAdoption,
		"what is held is accounted for":                                testHoldings,
		"what somebody else changed is told":                           testWitness,
		"remove leaves nothing":                                        testRemove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bench{T: t, h: h, rt: h.New(t)}
			t.Cleanup(b.explain)
			test(t, b)
		})
	}
}

// bench is what a test of the suite works with.
type bench struct {
	*testing.T
	h  Harness
	rt fleet.Runtime
}

// launch describes instance index of an agent's first revision.
func (b *bench) launch(agentID string, index int, behaviour ...string) fleet.Launch {
	l := fleet.Launch{
		InstanceID: fleet.InstanceID(agentID, 1, index), AgentID: agentID, Revision: 1, Index: index,
		Env:     map[string]string{"AGENT_ID": agentID, "GREETING": "good day"},
		Restart: agent.RestartPolicy{Backoff: agent.Backoff{Initial: agent.Duration(time.Millisecond)}},
		Grace:   5 * time.Second,
	}
	b.h.Program(&l, behaviour...)
	return l
}

// start launches it, which must succeed.
func (b *bench) start(agentID string, index int, behaviour ...string) fleet.Launch {
	b.Helper()
	l := b.launch(agentID, index, behaviour...)
	b.ok(b.rt.Launch(b.ctx(), l))
	return l
}

// explain shows what was observed and logged if the test failed.
func (b *bench) explain() {
	if !b.Failed() {
		return
	}
	list, err := b.rt.Observe(b.ctx(), "")
	b.Logf("observed %+v, %v", list, err)
	r, ok := b.rt.(fleet.LogReader)
	for _, in := range list {
		if ok {
			_ = r.ReadLogs(b.ctx(), fleet.LogQuery{AgentID: in.AgentID, Instance: in.ID, Tail: 30}, func(l fleet.LogLine) error {
				b.Logf("%s %s %.200s", in.ID, l.Stream, l.Text)
				return nil
			})
		}
	}
}

// most is how long the suite waits for anything.
func (b *bench) most() time.Duration { return cmp.Or(b.h.Patience, patience) }

func (b *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), b.most())
	b.Cleanup(cancel)
	return ctx
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// kind checks that err is a fault of the kind.
func (b *bench) kind(err error, want fault.Kind) *fault.Error {
	b.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != want {
		b.Fatalf("got %v, want a fault of kind %s", err, want)
	}
	return f
}

// run names the run of an instance.
func (b *bench) run(in fleet.Instance) string {
	b.Helper()
	if b.h.Run != nil {
		return b.h.Run(b.T, b.rt, in)
	}
	return itoa(in.PID)
}

// instance gives the instance as observed, or a zero one.
func (b *bench) instance(l fleet.Launch) fleet.Instance {
	b.Helper()
	list, err := b.rt.Observe(b.ctx(), l.AgentID)
	b.ok(err)
	for _, in := range list {
		if in.ID == l.InstanceID {
			return in
		}
	}
	return fleet.Instance{}
}

// until waits for the instance to satisfy done.
func (b *bench) until(l fleet.Launch, what string, done func(fleet.Instance) bool) (in fleet.Instance) {
	b.Helper()
	within(b.T, b.most(), what, func() bool {
		in = b.instance(l)
		return done(in)
	})
	return in
}

func (b *bench) untilState(l fleet.Launch, s fleet.InstanceState) fleet.Instance {
	b.Helper()
	return b.until(l, string(s), func(in fleet.Instance) bool { return in.State == s })
}

// lines gives the texts that the program printed.
func (b *bench) lines(q fleet.LogQuery) []string {
	b.Helper()
	var texts []string
	for _, l := range b.read(q) {
		texts = append(texts, l.Text)
	}
	return texts
}

// read gives the lines, without those of the supervisor.
func (b *bench) read(q fleet.LogQuery) []fleet.LogLine {
	b.Helper()
	var lines []fleet.LogLine
	b.ok(b.logs().ReadLogs(b.ctx(), q, func(l fleet.LogLine) error {
		if l.Stream != "portal" {
			lines = append(lines, l)
		}
		return nil
	}))
	return lines
}

func (b *bench) logs() fleet.LogReader {
	r, ok := b.rt.(fleet.LogReader)
	if !ok {
		b.Skip("the runtime has no logs")
	}
	return r
}

// said waits for the program to print the line.
func (b *bench) said(l fleet.Launch, text string) {
	b.Helper()
	Eventually(b.T, "the line "+text, func() bool {
		return slices.Contains(b.lines(fleet.LogQuery{AgentID: l.AgentID, Instance: l.InstanceID}), text)
	})
}

// nothing checks that no instance of the agent is left.
func (b *bench) nothing(agentID string) {
	b.Helper()
	list, err := b.rt.Observe(b.ctx(), agentID)
	b.ok(err)
	if len(list) > 0 {
		b.Errorf("still observed: %+v", list)
	}
	if b.h.Left == nil {
		return
	}
	var left []string
	deadline := time.Now().Add(time.Minute) // the kernel takes a moment to reap
	for left = b.h.Left(b.T, b.rt, agentID); len(left) > 0 && time.Now().Before(deadline); {
		pause()
		left = b.h.Left(b.T, b.rt, agentID)
	}
	if len(left) > 0 {
		b.Errorf("left behind: %v", left)
	}
}

// Eventually waits until done gives true, and fails the test if it does not in
// time.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	within(t, patience, what, done)
}

func within(t testing.TB, most time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(most); !done(); pause() {
		if time.Now().After(deadline) {
			t.Fatalf("did not come: %s", what)
		}
	}
}

// pause is the step of a poll.
func pause() { <-time.After(5 * time.Millisecond) }

// quiet checks for a while that still stays true.
func quiet(t testing.TB, what string, still func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * tickEvery); time.Now().Before(end); pause() {
		if !still() {
			t.Fatalf("did not last: %s", what)
		}
	}
}

func testReport(t *testing.T, b *bench) {
	checks := b.rt.Report(b.ctx())
	if len(checks) == 0 {
		t.Fatal("no checks")
	}
	for _, c := range checks {
		if c.Name == "" || c.OK && c.How == "" || !c.OK && (c.Why == "" || c.Remedy == "") {
			t.Errorf("incomplete check %+v", c)
		}
	}
	if b.rt.Name() == "" {
		t.Error("the runtime has no name")
	}
}

func testUnknown(t *testing.T, b *bench) {
	ctx := b.ctx()
	const id = "nobody-r1-0"
	b.ok(b.rt.Stop(ctx, "nobody", id, time.Second))
	b.ok(b.rt.Remove(ctx, "nobody"))
	if s, ok := b.rt.(fleet.Suspender); ok {
		b.kind(s.Suspend(ctx, "nobody", id), fault.NotFound)
		b.kind(s.Resume(ctx, "nobody", id), fault.NotFound)
	}
	if r, ok := b.rt.(fleet.Restarter); ok {
		b.kind(r.Restart(ctx, "nobody", id, "test"), fault.NotFound)
	}
	if x, ok := b.rt.(fleet.Execer); ok {
		_, _, err := x.Exec(ctx, "nobody", id, []string{"true"})
		b.kind(err, fault.NotFound)
	}
	if m, ok := b.rt.(fleet.Meter); ok {
		_, err := m.Usage(ctx, "nobody", id)
		b.kind(err, fault.NotFound)
	}
	if w, ok := b.rt.(fleet.Witness); ok {
		_, err := w.LiveEnv(ctx, "nobody", id)
		b.kind(err, fault.NotFound)
		_, _, err = w.LiveProbes(ctx, "nobody", id, agent.Probes{})
		b.kind(err, fault.NotFound)
	}
	if len(b.lines(fleet.LogQuery{AgentID: "nobody"})) > 0 {
		t.Error("lines of an agent that is not there")
	}
	b.nothing("")
}

func testMissingCommand(t *testing.T, b *bench) {
	l := b.launch("ghost", 0, "wait")
	l.Command = "/no/such/program"
	found := []error{b.rt.Launch(b.ctx(), l)}
	if !b.h.FoundAtLaunch {
		found = append(found, b.rt.Prepare(b.ctx(), l))
	}
	for _, err := range found {
		f := b.kind(err, fault.Invalid)
		if !strings.Contains(f.Error(), "/no/such/program") || f.Remedy == "" {
			t.Errorf("unclear: %v", f)
		}
	}
	b.nothing("ghost")
}

func testExec(t *testing.T, b *bench) {
	x, ok := b.rt.(fleet.Execer)
	if !ok {
		t.Skip("the runtime cannot run commands")
	}
	l := b.start("worker", 0, "wait")
	run := func(ctx context.Context, behaviour ...string) (int, string, error) {
		return x.Exec(ctx, l.AgentID, l.InstanceID, b.h.Command(behaviour...))
	}
	if code, out, err := run(b.ctx(), "exit", "3"); err != nil || code != 3 || out != "exiting with 3\n" {
		t.Errorf("exit 3 gives %d, %q, %v", code, out, err)
	}
	if code, out, err := run(b.ctx(), "env", "GREETING"); err != nil || code != 0 || out != "GREETING=good day\n" {
		t.Errorf("env gives %d, %q, %v", code, out, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, _, err := run(ctx, "stubborn"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command over its deadline gives %v", err)
	}
	if d := time.Since(begun); d > 10*time.Second {
		t.Errorf("the deadline took %s", d)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if _, out, _ := run(ctx, "print", "10000"); len(out) > 4096 {
		t.Errorf("%d bytes of output", len(out))
	}
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 0))
	b.nothing(l.AgentID)
}
