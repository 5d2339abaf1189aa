package process_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/fleet/process/cgroup"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
)

// The test binary is also the shim, the program that instances run, and a
// portal that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "test-shim":
			exit(process.ShimMain(), os.Args[len(os.Args)-1])
		case "test-program":
			exit(fleettest.Program(os.Args[2:]), "")
		case "test-portal":
			exit(portalMain(os.Args[2:]), "")
		}
	}
	fleettest.Abreast(4)
	os.Exit(m.Run())
}

// exit ends a process that is not the test itself. What it covered is written
// to the directory; without one nothing is, and nothing is said about that.
func exit(code int, coverage string) {
	if filepath.IsAbs(coverage) {
		os.Setenv("GOCOVERDIR", coverage)
		os.Exit(code)
	}
	syscall.Exit(code)
}

func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

func program(l *fleet.Launch, behaviour ...string) {
	l.Command, l.Args = self(), append([]string{"test-program"}, behaviour...)
}

func config(dir string) process.Config {
	return process.Config{
		Dir: filepath.Join(dir, "agents"), RunDir: filepath.Join(dir, "run"),
		// Shims write their coverage to the directory, if one is given.
		Shim: []string{self(), "test-shim", os.Getenv("SHIM_COVERAGE")},
	}
}

// open gives a runtime that is emptied at the end of the test.
func open(t testing.TB, cfg process.Config) *process.Runtime {
	t.Helper()
	rt, err := process.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		empty(t, rt, cfg)
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return rt
}

// dataDir is not t.TempDir: instances must be gone before it is removed.
func dataDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "process-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// left names processes, control groups, sockets and directories of the agent.
func left(cfg process.Config, rt *process.Runtime, agentID string) []string {
	var found []string
	for _, id := range procfs.WithEnviron("AGENT_DATA_DIR=" + rt.DataDir(agentID)) {
		found = append(found, "process "+cmdline(id.PID))
	}
	dir := filepath.Join(cfg.Dir, agentID, "instances")
	for _, p := range procfs.All() {
		b, _ := os.ReadFile("/proc/" + itoa(p.PID) + "/environ")
		if !p.Dead() && strings.Contains(string(b), shim.MarkVariable+"="+dir) {
			found = append(found, "shim "+itoa(p.PID))
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		found = append(found, "directory "+e.Name())
	}
	real, _ := filepath.EvalSymlinks(cfg.Dir)
	for _, base := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		groups, _ := filepath.Glob(base + cgroup.Name(real) + "/" + agentID + "-r*")
		found = append(found, groups...)
	}
	return found
}

func cmdline(pid int) string {
	b, _ := os.ReadFile("/proc/" + itoa(pid) + "/cmdline")
	return strings.ReplaceAll(string(b), "\x00", " ")
}
