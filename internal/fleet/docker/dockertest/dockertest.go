// Package dockertest runs a Docker engine for the tests of one test binary. It is
// the installed one, with everything in a directory of its own: the machine's own
// engine and network are left alone, and nothing is left afterwards.
package dockertest

import (
	"archive/tar"
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

// Engine is a Docker engine that runs.
type Engine struct {
	Host string // unix://…
	root string // of the checkout
	dir  string
}

var shared struct {
	sync.Mutex
	engine *Engine
	err    error
	tried  bool
}

// Main runs the tests and ends the engine, if one of them started it. It gives
// the exit code; TestMain passes it to os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.engine != nil {
		if err := shared.engine.command("down"); err != nil {
			fmt.Fprintln(os.Stderr, "end the Docker engine:", err)
			return max(code, 1)
		}
	}
	return code
}

// errMissing means that no engine can run here.
var errMissing = errors.New("no Docker engine can be started here: that needs root and dockerd (on Debian the packages docker.io and iptables)")

// Start gives the engine, which holds Image; it runs until the test binary ends.
// Where none can run the test is skipped, but fails if CI=true.
func Start(t testing.TB) *Engine {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		shared.engine, shared.err = start()
	}
	switch {
	case errors.Is(shared.err, errMissing) && os.Getenv("CI") != "true":
		t.Skip("not tested on Docker: ", shared.err)
	case shared.err != nil:
		t.Fatal(shared.err)
	}
	return shared.engine
}

func start() (*Engine, error) {
	if os.Getuid() != 0 {
		return nil, errMissing
	}
	for _, program := range []string{"dockerd", "containerd", "docker", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: %w", errMissing, err)
		}
	}
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "portal-docker-")
	if err != nil {
		return nil, err
	}
	e := &Engine{Host: "unix://" + filepath.Join(dir, "engine", "docker.sock"), root: root, dir: dir}
	if err = e.command("up"); err == nil {
		err = e.makeImage()
	}
	if err != nil {
		return nil, errors.Join(err, e.command("down"))
	}
	return e, nil
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

// command runs scripts/testenv for this engine.
func (e *Engine) command(what string) error {
	c := exec.Command(filepath.Join(e.root, "scripts", "testenv"), what, "docker", filepath.Join(e.dir, "engine"))
	var out bytes.Buffer
	c.Stderr = &out
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("scripts/testenv %s docker: %w: %s", what, err, out.String())
	}
	if what == "down" {
		return errors.Join(err, os.RemoveAll(e.dir))
	}
	return err
}

// Halt ends the engine's daemon; containers go on.
func (e *Engine) Halt(t testing.TB) {
	t.Helper()
	if err := e.command("halt"); err != nil {
		t.Fatal(err)
	}
}

// Resume starts the daemon again.
func (e *Engine) Resume(t testing.TB) {
	t.Helper()
	if err := e.command("resume"); err != nil {
		t.Fatal(err)
	}
}

// Docker runs the command line of Docker on the engine and gives what it prints.
func (e *Engine) Docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := e.docker(nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (e *Engine) docker(in *bytes.Buffer, args ...string) (string, error) {
	c := exec.Command("docker", append([]string{"--host", e.Host}, args...)...)
	c.Env = append(os.Environ(), "DOCKER_CONFIG="+e.dir) // not that of whoever runs the tests
	if in != nil {
		c.Stdin = in
	}
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// makeImage builds the program and makes an image of it.
func (e *Engine) makeImage() error {
	program := filepath.Join(e.dir, "program")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program,
		"./internal/fleet/docker/dockertest/testdata/program")
	c.Dir = e.root
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program of the image: %w: %s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	if err := t.WriteHeader(&tar.Header{Name: ProgramPath[1:], Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := t.Write(content); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	_, err = e.docker(&b, "import", "--change", `ENTRYPOINT ["`+ProgramPath+`"]`, "-", Image)
	return err
}
