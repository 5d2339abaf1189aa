// Package testenv runs engines of scripts/testenv for the tests of one test binary:
// real ones, with everything in a directory of their own. Nothing is left afterwards.
package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Image is the name of an image that holds nothing but the program of the
// conformance suite, at ProgramPath, and runs it.
const (
	Image       = "platform-portal/test-program:latest"
	ProgramPath = "/program"
)

// Env is an engine that starts when the first test asks for it, and runs until the
// test binary ends.
type Env struct {
	Kind     string                      // as scripts/testenv calls it
	Needs    string                      // what it takes to start one
	Programs []string                    // that have to be installed
	Check    func(checkout string) error // says what else is missing; may be nil
	Prepare  func(address string) error  // when it runs, before the first test gets it
	Environ  []string                    // what scripts/testenv finds in its environment beside that of the tests

	mu       sync.Mutex
	tried    bool
	err      error
	address  string // what scripts/testenv printed
	checkout string
	dir      string
}

// errMissing means that no engine can run here.
var errMissing = errors.New("it can't be started here")

// Runner runs the tests of a binary, as testing.M does. With another engine's Main
// in its place a binary has both.
type Runner interface{ Run() int }

// Main runs the tests and ends the engine, if one of them started it. It gives
// the exit code; TestMain passes it to os.Exit.
func (e *Env) Main(m Runner) int {
	code := m.Run()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.end(); err != nil {
		fmt.Fprintf(os.Stderr, "end %s: %v\n", e.Kind, err)
		return max(code, 1)
	}
	return code
}

// Start gives the address of the engine, as scripts/testenv prints it. Where none
// can run the test is skipped, but fails if CI=true.
func (e *Env) Start(t testing.TB) string {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.tried {
		e.tried = true
		if e.err = e.start(); e.err != nil {
			e.err = errors.Join(e.err, e.end())
		}
	}
	switch {
	case errors.Is(e.err, errMissing) && os.Getenv("CI") != "true":
		t.Skipf("not tested on %s: %v", e.Kind, e.err)
	case e.err != nil:
		t.Fatal(e.err)
	}
	return e.address
}

func (e *Env) start() (err error) {
	missing := fmt.Errorf("%s: %w; that needs %s", e.Kind, errMissing, e.Needs)
	if os.Getuid() != 0 {
		return missing
	}
	for _, program := range e.Programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %w", missing, err)
		}
	}
	if e.checkout, err = checkout(); err != nil {
		return err
	}
	if e.Check != nil {
		if err := e.Check(e.checkout); err != nil {
			return fmt.Errorf("%w: %w", missing, err)
		}
	}
	if e.dir, err = os.MkdirTemp("", "portal-"+e.Kind+"-"); err != nil {
		return err
	}
	if e.address, err = e.command("up"); err != nil {
		return err
	}
	return e.Prepare(e.address)
}

// End ends the engine before the test binary does.
func (e *Env) End() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.end()
}

func (e *Env) end() error {
	if e.dir == "" {
		return nil
	}
	_, err := e.command("down")
	if err = errors.Join(err, left(e.dir)); err == nil { // else it can still be ended by hand
		err = os.RemoveAll(e.dir)
	}
	e.dir = ""
	return err
}

// left names what is still there of an engine that ended: processes that were
// started with its directory, and mounts below it.
func left(dir string) error {
	var found []error
	files, err := filepath.Glob("/proc/[0-9]*/cmdline") // empty for zombies
	if err != nil {
		return err
	}
	for _, file := range files {
		// Processes may end meanwhile.
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, fmt.Errorf("%s is still running: %q", filepath.Dir(file), line))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && bytes.Contains(mounts, []byte(" "+dir)) {
		found = append(found, fmt.Errorf("something is still mounted below %s", dir))
	}
	return errors.Join(append(found, err)...)
}

// checkout gives the directory of the module.
func checkout() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, serr := os.Stat(filepath.Join(dir, "go.mod")); serr == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("the checkout was not found")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// Root is the directory of the engine, as scripts/testenv knows it.
func (e *Env) Root() string { return filepath.Join(e.dir, "engine") }

// Dir is a directory that is removed when the engine ends.
func (e *Env) Dir() string { return e.dir }

// command runs scripts/testenv for this engine.
func (e *Env) command(what string, args ...string) (string, error) {
	c := exec.Command(filepath.Join(e.checkout, "scripts", "testenv"), append([]string{what, e.Kind, e.Root()}, args...)...)
	c.Env = append(os.Environ(), e.Environ...)
	return output(c)
}

// output gives what the command prints, or an error with what it complains of.
func output(c *exec.Cmd) (string, error) {
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", strings.Join(c.Args, " "), err, out, complaint.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// Halt ends the engine's daemon, or the API server; containers go on.
func (e *Env) Halt(t testing.TB) { e.mustCommand(t, "halt") }

// Resume starts the daemon or the API server again.
func (e *Env) Resume(t testing.TB) { e.mustCommand(t, "resume") }

// HaltNode ends what runs pods on the node; they go on, and nobody hears of them.
func (e *Env) HaltNode(t testing.TB) { e.mustCommand(t, "halt-node") }

// ResumeNode starts it again.
func (e *Env) ResumeNode(t testing.TB) { e.mustCommand(t, "resume-node") }

func (e *Env) mustCommand(t testing.TB, what string) {
	t.Helper()
	if _, err := e.command(what); err != nil {
		t.Fatal(err)
	}
}

// Archive builds Image and gives the path of an archive of it.
func (e *Env) Archive() (string, error) {
	program := filepath.Join(e.dir, filepath.Base(ProgramPath))
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program,
		"./internal/fleet/fleettest/testenv/testdata/program")
	c.Dir = e.checkout
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if _, err := output(c); err != nil {
		return "", fmt.Errorf("build the program of the image: %w", err)
	}
	return e.Pack(Image, program, "")
}

// Pack makes an image of a static program, to be run as the user, and gives the path
// of an archive of it.
func (e *Env) Pack(name, program, user string) (string, error) {
	archive, err := os.CreateTemp(e.dir, "image-*.tar")
	if err != nil {
		return "", err
	}
	defer archive.Close()
	c := exec.Command(filepath.Join(e.checkout, "scripts", "image.sh"), name, program, user)
	var complaint bytes.Buffer
	c.Stdout, c.Stderr = archive, &complaint
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("make an image of %s: %w: %s", program, err, complaint.String())
	}
	return archive.Name(), archive.Close()
}

// Import gives the engine the images of an archive.
func (e *Env) Import(archive string) error {
	_, err := e.command("image", archive)
	return err
}
