package process_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// takePort listens on a free loopback port.
func takePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestCommandsThatCannotRunAreExplained(t *testing.T) {
	r := newRoom(t)
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		r.ok(os.WriteFile(path, []byte(content), mode))
		return path
	}
	for name, c := range map[string]struct{ command, code, says string }{
		"empty":          {"", "command.missing", "no command"},
		"not in PATH":    {"no-such-program-anywhere", "command.not_found", "PATH"},
		"not a program":  {file("data", "\x00\x01\x02\x03", 0o755), "command.not_executable", "no program for this machine"},
		"no permission":  {file("plain", "#!/bin/sh\n", 0o644), "command.not_executable", "chmod +x"},
		"directory":      {dir, "command.not_executable", "is a directory"},
		"no interpreter": {file("script", "#!/no/such/interpreter -x\n", 0o755), "command.not_found", "/no/such/interpreter"},
		"through a file": {file("f", "x", 0o755) + "/x", "command.not_found", "does not exist"},
		"relative":       {"./missing.sh", "command.not_found", "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			l := launch("agent", "wait")
			l.Command, l.Env["PATH"] = c.command, "/usr/bin:/bin:relative"
			if c.says == "PATH" {
				c.says = l.Env["PATH"]
			}
			f := r.kind(r.Launch(t.Context(), l), fault.Invalid)
			if f.Code != c.code || !strings.Contains(f.Error(), c.says) || f.Remedy == "" {
				t.Errorf("code %s: %v", f.Code, f)
			}
			if in := r.instance(l); in.ID != "" {
				t.Errorf("left: %+v", in)
			}
		})
	}
	l := launch("agent", "wait")
	l.Env["BAD"] = "a\x00b"
	r.kind(r.Launch(t.Context(), l), fault.Invalid)
	l = launch("agent", "wait")
	l.Env["HUGE"] = strings.Repeat("x", 1<<20)
	r.kind(r.Launch(t.Context(), l), fault.Invalid)
	r.nothing(l)
}

func TestCommandsAreFound(t *testing.T) {
	r := newRoom(t)
	l := launch("agent", "wait")
	r.ok(r.Prepare(t.Context(), l))
	r.ok(os.WriteFile(filepath.Join(r.WorkDir("agent"), "start.sh"), []byte("#!/bin/sh\necho started in \"$PWD\"\n"), 0o755))
	for _, command := range []string{"./start.sh", "start.sh"} {
		l.Command, l.Args = command, nil
		l.Env["PATH"] = r.WorkDir("agent") + ":/usr/bin:/bin"
		r.run(l)
		if in := r.untilState(l, fleet.InstanceExited); in.LastLogs[0] != "started in "+r.WorkDir("agent") {
			t.Errorf("%s: last logs %q", command, in.LastLogs)
		}
	}
}

func TestAProgramThatVanishesEndsInACrashLoop(t *testing.T) {
	r := newRoom(t)
	path := filepath.Join(t.TempDir(), "once")
	r.ok(os.WriteFile(path, []byte("#!/bin/sh\nrm \"$0\"\n"), 0o755))
	l := launch("agent")
	l.Command, l.Args, l.Restart.Policy, l.Restart.MaxRestarts = path, nil, "always", 2
	r.run(l)
	in := r.untilState(l, fleet.InstanceFailed)
	if !strings.Contains(in.Reason, "could not be started") || !strings.Contains(in.Reason, "does not exist") {
		t.Errorf("reason %q", in.Reason)
	}
}

func TestADaemonIsToldToStayInTheForeground(t *testing.T) {
	r := newRoom(t)
	l := r.run(launch("daemon", "orphan"))
	in := r.untilState(l, fleet.InstanceExited)
	if !strings.Contains(in.Reason, "foreground") {
		t.Errorf("reason %q", in.Reason)
	}
	r.ok(r.Stop(t.Context(), l.AgentID, l.InstanceID, 0))
	r.nothing(l)
}
