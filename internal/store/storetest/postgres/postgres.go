// Package postgres runs a PostgreSQL server for the tests of one test binary.
//
// The server is the one that is installed on the machine, run by the tests
// themselves in a directory of its own: nothing has to be set up before, and
// nothing is left afterwards.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience bounds the start and the stop of the server.
const patience = 60 * time.Second

// errMissing means that PostgreSQL is not installed.
var errMissing = errors.New("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql; on Debian, install the package postgresql")

// server is a running PostgreSQL.
type server struct {
	dir   string
	port  int
	pid   int
	ended chan struct{} // closed when its process has ended
	last  atomic.Int64  // number of the newest database
}

var shared struct {
	sync.Mutex
	server *server
	err    error
	tried  bool
}

// Main runs the tests and stops the server, if one of them started it. It gives
// the exit code; TestMain passes it to os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			return max(code, 1)
		}
	}
	return code
}

// New gives the address of a fresh, empty database, which is there until the
// test binary ends. It starts the server if it does not run yet. Where
// PostgreSQL is not installed the test is skipped, but fails if CI=true.
func New(t testing.TB) string {
	t.Helper()
	s, err := running()
	switch {
	case errors.Is(err, errMissing) && os.Getenv("CI") != "true":
		t.Skip("not tested on PostgreSQL: ", err)
	case err != nil:
		t.Fatal(err)
	}
	name := fmt.Sprintf("test_%d", s.last.Add(1))
	if err := s.exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	return s.url(name)
}

// Disconnect breaks all connections to the database of the address, as a
// restart of the server does.
func Disconnect(t testing.TB, address string) {
	t.Helper()
	s, err := running()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	err = s.exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+strings.Trim(u.Path, "/")+"'")
	if err != nil {
		t.Fatalf("disconnect: %v", err)
	}
}

func running() (*server, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		shared.server, shared.err = start()
	}
	return shared.server, shared.err
}

func (s *server) url(database string) string {
	return fmt.Sprintf("postgres://portal@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

func (s *server) exec(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// start makes a cluster and runs a server on it.
func start() (*server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	as, err := unprivileged(dir)
	if err == nil {
		err = initialise(bin, dir, as)
	}
	if err == nil {
		err = s.run(bin, as)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// programs gives the directory of the newest server that is installed.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errMissing
	}
	version := func(path string) float64 {
		v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(path))), 64)
		return v
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return int(version(a) - version(b)) })), nil
}

// unprivileged gives the user that the server runs as, where that is another
// one: PostgreSQL refuses to run as root.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func initialise(bin, dir string, as *syscall.Credential) error {
	// A locale that does not sort by bytes, for the store must not depend on it.
	options := [][]string{{"--locale-provider=icu", "--icu-locale=en", "--locale=C.UTF-8"}, {"--locale=C.UTF-8"}, {"--locale=C"}}
	var err error
	for _, locale := range options {
		data := filepath.Join(dir, "data")
		cmd := exec.Command(filepath.Join(bin, "initdb"), append([]string{
			"-D", data, "-U", "portal", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"}, locale...)...)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
		out, failed := cmd.CombinedOutput()
		if failed == nil {
			return nil
		}
		err = fmt.Errorf("initdb: %w\n%s", failed, out)
		if removed := os.RemoveAll(data); removed != nil {
			return errors.Join(err, removed)
		}
	}
	return err
}

// run starts the server and waits until it answers. A port that somebody else
// takes at the same moment is given up for another.
func (s *server) run(bin string, as *syscall.Credential) error {
	var err error
	for range 3 {
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = s.launch(bin, as); err != nil {
			return err
		}
		if err = s.ready(); err == nil {
			return nil
		}
		if s.running() {
			return err
		}
	}
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// launch starts the server's process.
func (s *server) launch(bin string, as *syscall.Credential) error {
	args := []string{"-D", filepath.Join(s.dir, "data"), "-p", strconv.Itoa(s.port), "-k", s.dir}
	for _, set := range []string{
		"listen_addresses=127.0.0.1", "fsync=off", "synchronous_commit=off", "full_page_writes=off",
		"max_connections=300", "shared_buffers=32MB", "autovacuum=off",
	} {
		args = append(args, "-c", set)
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	// The server ends with the tests, however they end. The signal is sent when
	// the thread that started it ends, so that thread stays for as long.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
	started := make(chan error)
	s.ended = make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := cmd.Start()
		if err == nil {
			s.pid = cmd.Process.Pid
		} else {
			close(s.ended)
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			close(s.ended)
		}
	}()
	return <-started
}

func (s *server) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return s.pid != 0
	}
}

// ready waits until the server answers.
func (s *server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := s.exec(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-s.ended:
			return fmt.Errorf("PostgreSQL ended at once: %s", s.log())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, s.log())
		}
	}
}

func (s *server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// stop ends the server and removes its directory.
func (s *server) stop() error {
	var err error
	if s.pid != 0 && s.running() {
		err = syscall.Kill(s.pid, syscall.SIGINT) // fast shutdown
		select {
		case <-s.ended:
		case <-time.After(patience):
			err = errors.Join(err, errors.New("it did not end when told to"), syscall.Kill(s.pid, syscall.SIGKILL))
			<-s.ended
		}
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
