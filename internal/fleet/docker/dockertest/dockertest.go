// Package dockertest runs a Docker engine for the tests of one test binary. It is
// the installed one, with everything in a directory of its own: the machine's own
// engine and network are left alone, and nothing is left afterwards.
package dockertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fleet/fleettest/testenv"
)

// Image is the name of an image that holds nothing but the program of the
// conformance suite, at ProgramPath, and runs it.
const (
	Image       = testenv.Image
	ProgramPath = testenv.ProgramPath
)

// Engine is a Docker engine that runs.
type Engine struct {
	Host string // unix://…
}

var (
	needs    = "root and dockerd (on Debian the packages docker.io and iptables)"
	programs = []string{"dockerd", "containerd", "docker", "iptables"}
	shared   = testenv.Env{Kind: "docker", Needs: needs, Programs: programs}
)

func init() { shared.Prepare = prepare }

// Main runs the tests and ends the engine, if one of them started it. It gives
// the exit code; TestMain passes it to os.Exit.
func Main(m testenv.Runner) int { return shared.Main(m) }

// Start gives the engine, which holds Image; it runs until the test binary ends.
// Where none can run the test is skipped, but fails if CI=true.
func Start(t testing.TB) *Engine {
	t.Helper()
	return &Engine{Host: shared.Start(t)}
}

// Small gives another engine, whose disk holds so much, and where that disk is. It
// ends with the test.
func Small(t testing.TB, size string) (e *Engine, disk string) {
	t.Helper()
	Start(t) // its program is needed
	own := &testenv.Env{Kind: "docker", Needs: needs, Programs: programs, Prepare: prepare, Environ: []string{"TESTENV_DATA_SIZE=" + size}}
	t.Cleanup(func() {
		if err := own.End(); err != nil {
			t.Error(err)
		}
	})
	e = &Engine{Host: own.Start(t)}
	return e, filepath.Join(own.Root(), "data")
}

// Halt ends the engine's daemon; containers go on.
func (e *Engine) Halt(t testing.TB) {
	t.Helper()
	shared.Halt(t)
}

// Resume starts the daemon again.
func (e *Engine) Resume(t testing.TB) {
	t.Helper()
	shared.Resume(t)
}

// Docker runs the command line of Docker on the engine and gives what it prints.
func (e *Engine) Docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := docker(e.Host, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Docker for what may fail.
func (e *Engine) Try(args ...string) (string, error) { return docker(e.Host, args...) }

// Address gives one of this machine, until the test ends, that is not loopback, and
// that no other machine reaches: that of a bridge of the engine.
func (e *Engine) Address(t testing.TB) string {
	t.Helper()
	id := e.Docker(t, "network", "create", "address")
	t.Cleanup(func() { e.Docker(t, "network", "rm", id) })
	return e.Docker(t, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", id)
}

// Make gives the engine an image as Image is, with layers that no other image has.
func (e *Engine) Make(t testing.TB, name string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(shared.Dir(), filepath.Base(ProgramPath)))
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), filepath.Base(ProgramPath))
	if err := os.WriteFile(own, append(program, name...), 0o755); err != nil {
		t.Fatal(err)
	}
	archive, err := shared.Pack(name, own, "")
	if err != nil {
		t.Fatal(err)
	}
	e.Docker(t, "load", "--input", archive)
}

func docker(host string, args ...string) (string, error) {
	c := exec.Command("docker", append([]string{"--host", host}, args...)...)
	c.Env = append(os.Environ(), "DOCKER_CONFIG="+shared.Dir()) // not that of whoever runs the tests
	var warnings strings.Builder                                // of the engine's machine, as of packets that it does not forward
	c.Stderr = &warnings
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s%s", strings.Join(args, " "), err, out, warnings.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// prepare gives the engine the image of the suite's program.
func prepare(host string) error {
	archive, err := shared.Archive()
	if err != nil {
		return err
	}
	_, err = docker(host, "load", "--input", archive)
	return err
}
