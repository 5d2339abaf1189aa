package process_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
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
	var configs fleettest.Configs[process.Config]
	return fleettest.Harness{
		New: func(t *testing.T) fleet.Runtime {
			cfg := config(dataDir(t))
			change(&cfg)
			rt := open(t, cfg)
			configs.Put(rt, cfg)
			return rt
		},
		Reopen: func(t *testing.T, old fleet.Runtime) fleet.Runtime {
			cfg := configs.Of(old)
			rt := open(t, cfg)
			configs.Put(rt, cfg)
			return rt
		},
		Program: program,
		Command: func(behaviour ...string) []string {
			return append([]string{self(), "test-program"}, behaviour...)
		},
		Left: func(t *testing.T, rt fleet.Runtime, agentID string) []string {
			return left(configs.Of(rt), rt.(*process.Runtime), agentID)
		},
	}
}

func TestRuntimeKeepsThePromises(t *testing.T) {
	fleettest.Run(t, harness(func(*process.Config) {}))
}

func TestRuntimeOnVersion1KeepsThePromises(t *testing.T) {
	rt := newRoom(t, func(c *process.Config) { c.CgroupVersion = 1 })
	if !rt.can("pids_limit") {
		t.Skip("no control groups of version 1 here")
	}
	fleettest.Run(t, harness(func(c *process.Config) { c.CgroupVersion = 1 }))
}

func TestRuntimeWithoutControlGroupsKeepsThePromises(t *testing.T) {
	fleettest.Run(t, harness(func(c *process.Config) { c.NoCgroups = true }))
}

// room is a runtime for one test, with what most tests do.
type room struct {
	*testing.T
	*process.Runtime
	cfg process.Config
}

func newRoom(t *testing.T, change ...func(*process.Config)) *room {
	cfg := config(dataDir(t))
	for _, c := range change {
		c(&cfg)
	}
	return &room{t, open(t, cfg), cfg}
}

func launch(agentID string, behaviour ...string) fleet.Launch {
	l := fleet.Launch{
		InstanceID: fleet.InstanceID(agentID, 1, 0), AgentID: agentID, Revision: 1, Grace: time.Second,
		Env:     map[string]string{"AGENT_ID": agentID},
		Restart: agent.RestartPolicy{Policy: "never"},
	}
	program(&l, behaviour...)
	return l
}

func (r *room) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *room) run(l fleet.Launch) fleet.Launch {
	r.Helper()
	r.ok(r.Launch(r.T.Context(), l))
	return l
}

func (r *room) instance(l fleet.Launch) fleet.Instance {
	r.Helper()
	list, err := r.Observe(context.Background(), l.AgentID)
	r.ok(err)
	for _, in := range list {
		if in.ID == l.InstanceID {
			return in
		}
	}
	return fleet.Instance{}
}

func (r *room) untilState(l fleet.Launch, s fleet.InstanceState) (in fleet.Instance) {
	r.Helper()
	fleettest.Eventually(r.T, string(s), func() bool {
		in = r.instance(l)
		return in.State == s
	})
	return in
}

func (r *room) lines(l fleet.Launch) []string {
	var lines []string
	r.ok(r.ReadLogs(context.Background(), fleet.LogQuery{AgentID: l.AgentID, Instance: l.InstanceID}, func(line fleet.LogLine) error {
		if line.Stream != "portal" {
			lines = append(lines, line.Text)
		}
		return nil
	}))
	return lines
}

func (r *room) said(l fleet.Launch, text string) {
	r.Helper()
	fleettest.Eventually(r.T, "the line "+text, func() bool {
		for _, line := range r.lines(l) {
			if line == text {
				return true
			}
		}
		return false
	})
}

func (r *room) dir(l fleet.Launch) string {
	return filepath.Join(r.cfg.Dir, l.AgentID, "instances", l.InstanceID)
}

func (r *room) record(l fleet.Launch) shim.Record {
	r.Helper()
	rec, err := shim.ReadRecord(r.dir(l))
	r.ok(err)
	return rec
}

func (r *room) nothing(l fleet.Launch) {
	r.Helper()
	fleettest.Eventually(r.T, "nothing left of "+l.AgentID, func() bool { return len(left(r.cfg, r.Runtime, l.AgentID)) == 0 })
}

func (r *room) can(check string) bool {
	for _, c := range r.Report(context.Background()) {
		if c.Name == check {
			return c.OK
		}
	}
	return false
}

func (r *room) kind(err error, want fault.Kind) *fault.Error {
	r.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != want {
		r.Fatalf("got %v, want a fault of kind %s", err, want)
	}
	return f
}

func TestALongDataDirectoryWorks(t *testing.T) {
	r := newRoom(t, func(c *process.Config) {
		long := strings.Repeat("very-long-name-", 8)
		c.Dir, c.RunDir = filepath.Join(c.Dir, long, long), filepath.Join(c.RunDir, long, long)
	})
	l := r.run(launch("deep", "wait"))
	code, _, err := r.Exec(t.Context(), l.AgentID, l.InstanceID, []string{"/bin/sh", "-c", "exit 4"})
	if err != nil || code != 4 {
		t.Errorf("exec gives %d, %v", code, err)
	}
	r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, time.Second))
	select {
	case <-r.Changes():
	case <-time.After(time.Minute):
		t.Error("no change was told")
	}
}

func TestIDsAreNoPaths(t *testing.T) {
	r := newRoom(t)
	ctx := t.Context()
	for _, bad := range []string{"..", "../x", "a/b", "", ".hidden", "a\x00b", strings.Repeat("x", 300)} {
		l := launch("fine", "wait")
		l.AgentID = bad
		for i, err := range []error{
			r.Prepare(ctx, l), r.Launch(ctx, l), r.Stop(ctx, bad, "x", 0), r.Stop(ctx, "x", bad, 0), r.Remove(ctx, bad),
			r.Suspend(ctx, bad, "x"), r.Resume(ctx, "x", bad), r.Restart(ctx, bad, bad, ""),
			r.ReadLogs(ctx, fleet.LogQuery{AgentID: bad}, nil),
		} {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("call %d with %q gives %v", i, bad, err)
			}
		}
		if _, err := r.Usage(ctx, "x", bad); fault.KindOf(err) != fault.Invalid {
			t.Errorf("usage of %q gives %v", bad, err)
		}
		if bad != "" {
			if _, err := r.Observe(ctx, bad); fault.KindOf(err) != fault.Invalid {
				t.Errorf("observing %q gives %v", bad, err)
			}
		}
	}
	if names, _ := os.ReadDir(r.cfg.Dir); len(names) > 0 {
		t.Errorf("directories were made: %v", names)
	}
}

func TestAVolumeCannotLeaveByALinkOfTheAgent(t *testing.T) {
	r := newRoom(t)
	outside := t.TempDir()
	l := launch("thief", "wait")
	r.ok(r.Prepare(t.Context(), l))
	r.ok(os.Symlink(outside, filepath.Join(r.WorkDir("thief"), "out")))
	l.Volumes = []agent.Volume{{Name: "v", Path: "out/sub"}}
	r.kind(r.Launch(t.Context(), l), fault.Invalid)
	if names, _ := os.ReadDir(outside); len(names) > 0 {
		t.Errorf("written outside: %v", names)
	}
	// Its own link at the volume's place is replaced, its own file is not.
	l.Volumes[0].Path = "out"
	r.ok(r.Prepare(t.Context(), l))
	if target, _ := os.Readlink(filepath.Join(r.WorkDir("thief"), "out")); !strings.Contains(target, "volumes/v") {
		t.Errorf("the volume leads to %q", target)
	}
	r.ok(os.WriteFile(filepath.Join(r.WorkDir("thief"), "mine"), []byte("x"), 0o600))
	l.Volumes[0].Path = "mine/v"
	f := r.kind(r.Prepare(t.Context(), l), fault.Invalid)
	if len(f.Fields) != 1 || f.Fields[0].Path != "volumes[0].path" {
		t.Errorf("fields %+v", f.Fields)
	}
}

func TestATakenPortIsAConflict(t *testing.T) {
	r := newRoom(t)
	port := takePort(t)
	l := launch("late", "wait")
	l.Port = port
	r.kind(r.Launch(t.Context(), l), fault.Conflict)
	r.nothing(l)
}

func TestSecretsAndThePortalsEnvironmentStayWhereTheyBelong(t *testing.T) {
	t.Setenv("PORTAL_OWN_SECRET", "portal-secret-value")
	r := newRoom(t)
	l := launch("bearer", "wait")
	l.Env["TOKEN"] = "agent-secret-value"
	r.run(l)
	_, out, err := r.Exec(t.Context(), l.AgentID, l.InstanceID, []string{"/bin/sh", "-c", "env; pwd; ulimit -c; ulimit -n"})
	r.ok(err)
	for _, want := range []string{
		"TOKEN=agent-secret-value", "AGENT_INSTANCE=bearer-r1-0", "AGENT_DATA_DIR=" + r.DataDir("bearer"), r.WorkDir("bearer") + "\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %s", want, out)
		}
	}
	if strings.Contains(out, "portal-secret-value") {
		t.Error("the portal's environment leaks")
	}
	r.ok(filepath.WalkDir(filepath.Dir(r.cfg.Dir), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if b, _ := os.ReadFile(path); strings.Contains(string(b), "secret-value") {
				t.Errorf("%s holds a secret", path)
			}
		}
		return nil
	}))
}
