// Package e2e runs black-box scripts against the built program: what a user
// types, and what they see. Each script has a portal of its own.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/waooaw/platform-portal/e2e/drive"
)

var program, root string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "portal-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		program, root, err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// prepare builds the program and makes it callable as "portal".
func prepare(dir string) (bin, root string, err error) {
	if root, err = drive.Root(); err != nil {
		return "", "", err
	}
	if bin, err = drive.Build(dir); err != nil {
		return "", "", err
	}
	called := filepath.Join(dir, "bin", "portal")
	if err = os.MkdirAll(filepath.Dir(called), 0o700); err != nil {
		return "", "", err
	}
	return called, root, os.Symlink(bin, called)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"portal-up":    up,
			"portal-down":  down,
			"portal-kill9": kill9,
			"wait-for":     waitFor,
			"save":         save,
			"alive":        alive,
			"code":         code,
		},
	})
}

// house is what the commands of one script share.
type house struct {
	portal  *drive.Portal
	running bool
}

type houseKey struct{}

func setup(env *testscript.Env) error {
	p, err := drive.New(program, env.WorkDir)
	if err != nil {
		return err
	}
	h := &house{portal: p}
	env.Values[houseKey{}] = h
	for name, value := range map[string]string{
		"PATH": filepath.Dir(program) + string(os.PathListSeparator) + env.Getenv("PATH"),
		"HOME": env.WorkDir, "DATA": p.Data, "ROOT": root, "PORTAL_URL": p.URL, "NO_COLOR": "1",
		"GOCOVERDIR": os.Getenv("PORTAL_COVERDIR"),
	} {
		env.Setenv(name, value)
	}
	env.Defer(func() { h.leaveNothing(env) })
	return nil
}

// leaveNothing ends the portal and every process that belongs to its agents,
// which would otherwise outlive the test, as they should.
func (h *house) leaveNothing(env *testscript.Env) {
	if h.running {
		_ = h.portal.Stop()
	}
	if err := drive.EndAgents(h.portal.Data); err != nil {
		env.T().Log("ending what is left: ", err)
	}
}

func houseOf(ts *testscript.TestScript) *house { return ts.Value(houseKey{}).(*house) }

// patience bounds every wait of the scripts.
const patience = 60 * time.Second

// up starts the portal, again on the same data and address, and sets
// PORTAL_TOKEN to an admin's token.
func up(ts *testscript.TestScript, neg bool, args []string) {
	h := houseOf(ts)
	if neg || len(args) > 0 || h.running {
		ts.Fatalf("usage: portal-up, while it is not running")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(h.portal.Start(ctx))
	h.running = true
	ts.Setenv("PORTAL_TOKEN", h.portal.Token)
}

func down(ts *testscript.TestScript, _ bool, _ []string) {
	h := houseOf(ts)
	h.running = false
	ts.Check(h.portal.Stop())
}

func kill9(ts *testscript.TestScript, _ bool, _ []string) {
	h := houseOf(ts)
	h.running = false
	ts.Check(h.portal.Kill9())
}

// waitFor runs a command again and again until its output matches:
//
//	wait-for REGEXP COMMAND ARG…
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: wait-for REGEXP COMMAND ARG…")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := command(ctx, ts, args[1:])
		if want.MatchString(out) {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("no %q within %v; the last output was (%v):\n%s", args[0], patience, err, out)
		case <-tick.C:
		}
	}
}

func command(ctx context.Context, ts *testscript.TestScript, args []string) (string, error) {
	bin := args[0]
	if bin == "portal" {
		bin = program
	}
	cmd := exec.CommandContext(ctx, bin, args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{"PATH", "HOME", "PORTAL_URL", "PORTAL_TOKEN", "GOCOVERDIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// save puts what a command prints into a variable:
//
//	save NAME COMMAND ARG…
func save(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: save NAME COMMAND ARG…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := command(ctx, ts, args[1:])
	if err != nil {
		ts.Fatalf("%v\n%s", err, out)
	}
	ts.Setenv(args[0], strings.TrimSpace(out))
}

// alive says whether a process is there: alive PID, ! alive PID.
func alive(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] alive PID")
	}
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	if drive.Alive(pid) == neg {
		ts.Fatalf("process %d: alive is %v", pid, !neg)
	}
}

// code checks the exit code of a command:
//
//	code NUMBER COMMAND ARG…
//
// What it prints is for stdout and stderr of the next commands.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError) //nolint:errorlint // testscript gives it as it is
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
