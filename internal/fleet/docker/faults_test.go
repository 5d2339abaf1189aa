package docker_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

// way is a way to the engine on which things go wrong.
type way struct {
	before atomic.Pointer[func(*http.Request)]      // called before a request is passed on
	after  atomic.Pointer[func(*http.Request) bool] // called after it was answered; true loses the answer
}

// through leads the portal to the engine on such a way.
func through(t *testing.T, e *dockertest.Engine, cfg *docker.Config) *way {
	w := &way{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	proxy.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket(e))
	}}
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	lost := errors.New("the answer is lost")
	proxy.ModifyResponse = func(r *http.Response) error {
		if f := w.after.Load(); f != nil && (*f)(r.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			return lost
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if f := w.before.Load(); f != nil {
			(*f)(r)
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	cfg.Host = "tcp://" + s.Listener.Addr().String()
	return w
}

// code checks that err is a fault with the code, and that it says what to do.
func code(t *testing.T, what string, err error, want string) {
	t.Helper()
	if f := fault.As(err); f == nil || f.Code != want || f.Why == "" || f.Remedy == "" {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func TestASlowEngine(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	fast := cfg
	w := through(t, e, &cfg)
	cfg.Timeout = 500 * time.Millisecond
	t.Cleanup(func() { empty(t, fast) })
	rt, err := docker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close() })
	slow := func(r *http.Request) {
		select {
		case <-time.After(2 * time.Second):
		case <-r.Context().Done():
		}
	}
	w.before.Store(&slow)
	_, err = rt.Observe(t.Context(), "")
	code(t, "observe", err, "docker.slow")
	l := instance("patient", agent.RestartPolicy{}, "ticks")
	code(t, "launch", rt.Launch(t.Context(), l), "docker.slow")
	if checks := rt.Report(t.Context()); len(checks) != 1 || checks[0].OK || !checks[0].Down || checks[0].Remedy == "" {
		t.Errorf("the report says %+v", checks)
	}
	w.before.Store(nil)
	fleettest.Eventually(t, "a launch on an engine that is quick again", func() bool { return rt.Launch(t.Context(), l) == nil })
	until(t, rt, "patient", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning && in.Restarts == 0 })
	// However often it was too slow, it keeps nothing of an agent that is gone.
	sane := open(t, fast)
	if err := sane.Remove(t.Context(), "patient"); err != nil {
		t.Fatal(err)
	}
	if ids := left(e, t, cfg.Owner, ""); len(ids) != 0 {
		t.Errorf("containers %v", ids)
	}
}

// While an engine answers some and not others, many learn at once which version it
// speaks. Nobody waits for another's answer, and nobody reads what another writes.
func TestManyMeetAnEngineThatSometimesAnswers(t *testing.T) {
	var asked atomic.Int64
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%4 != 0 {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Api-Version", "1.44")
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			_, _ = io.WriteString(w, "[]")
		}
	}))
	t.Cleanup(engine.Close)
	for range 50 {
		rt, err := docker.New(docker.Config{
			Host: "tcp://" + engine.Listener.Addr().String(), Owner: "many", Dir: t.TempDir(), Timeout: 10 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		var askers sync.WaitGroup
		for range 8 {
			askers.Go(func() {
				for range 4 {
					_, _ = rt.Observe(t.Context(), "")
				}
			})
		}
		askers.Wait()
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The engine does what it was asked, and the portal does not hear of it.
func TestAnswersThatAreLost(t *testing.T) {
	for _, part := range []string{"/containers/create", "/start"} {
		t.Run(filepath.Base(part), func(t *testing.T) {
			e, cfg := dockertest.Start(t), config(t)
			w := through(t, e, &cfg)
			rt := open(t, cfg)
			l := instance("deaf", agent.RestartPolicy{}, "ticks")
			if err := rt.Prepare(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			lose := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, part) }
			w.after.Store(&lose)
			code(t, "launch", rt.Launch(t.Context(), l), "docker.unreachable")
			w.after.Store(nil)
			if err := rt.Launch(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			until(t, rt, "deaf", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning && in.Restarts == 0 })
			if ids := left(e, t, cfg.Owner, ""); len(ids) != 1 {
				t.Errorf("containers %v", ids)
			}
		})
	}
}

func TestTheEngineIsRestartedDuringALaunch(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	w := through(t, e, &cfg)
	rt := open(t, cfg)
	other := instance("bystander", agent.RestartPolicy{}, "ticks")
	if err := rt.Launch(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	pid := observed(t, rt, "bystander").PID
	var once atomic.Bool
	halt := func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/create") && once.CompareAndSwap(false, true) {
			e.Halt(t)
		}
	}
	w.before.Store(&halt)
	l := instance("surprised", agent.RestartPolicy{}, "ticks")
	code(t, "launch", rt.Launch(t.Context(), l), "docker.unreachable")
	e.Resume(t)
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	until(t, rt, "surprised", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning })
	in := until(t, rt, "bystander", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning })
	if in.PID != pid || in.Restarts != 0 { // live-restore keeps it
		t.Errorf("what ran before is %+v, was process %d", in, pid)
	}
	before := len(prints(t, rt, "bystander"))
	fleettest.Eventually(t, "output after the engine's return", func() bool { return len(prints(t, rt, "bystander")) > before+3 })
	fleettest.Eventually(t, "two containers", func() bool { return len(left(e, t, cfg.Owner, "")) == 2 })
}

func TestTheEnginesDiskIsFull(t *testing.T) {
	e, disk := dockertest.Small(t, "48m")
	cfg := config(t)
	cfg.Host = e.Host
	rt := open(t, cfg)
	l := instance("full", agent.RestartPolicy{}, "wait")
	if err := rt.Prepare(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(disk, "much")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(f, zeros{}); err == nil || n == 0 {
		t.Fatalf("the disk takes %d bytes and more", n)
	}
	_ = f.Close()
	code(t, "launch", rt.Launch(t.Context(), l), "docker.disk_full")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	until(t, rt, "full", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning })
	if ids := left(e, t, cfg.Owner, ""); len(ids) != 1 {
		t.Errorf("containers %v", ids)
	}
	// What can't be ended runs on, and is shown so.
	if f, err = os.Create(file); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(f, zeros{})
	_ = f.Close()
	code(t, "stop", rt.Stop(t.Context(), l.AgentID, l.InstanceID, time.Second), "docker.disk_full")
	if in := until(t, rt, "full", func(fleet.Instance) bool { return true }); in.State != fleet.InstanceRunning {
		t.Errorf("an instance that could not be stopped is %+v", in)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := rt.Stop(t.Context(), l.AgentID, l.InstanceID, time.Second); err != nil {
		t.Error(err)
	}
	if ids := left(e, t, cfg.Owner, ""); len(ids) != 0 {
		t.Errorf("containers %v", ids)
	}
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestWhatOthersHaveOnTheEngine(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	rt := open(t, cfg)
	l := instance("guest", agent.RestartPolicy{}, "wait")
	l.Port = 27000 + os.Getpid()%2000
	name := "portal-" + cfg.Owner + "-" + l.InstanceID
	foreign := func(args ...string) (remove func()) {
		t.Helper()
		id := e.Docker(t, append(append([]string{"run", "-d"}, args...), dockertest.Image, "ticks")...)
		return func() { e.Docker(t, "rm", "-f", id) }
	}
	untouched := func(name string) {
		t.Helper()
		if got := e.Docker(t, "inspect", "--format", "{{.State.Running}} {{.RestartCount}}", name); got != "true 0" {
			t.Errorf("the foreign container is %s", got)
		}
	}
	remove := foreign("--name", name)
	code(t, "a name that is taken", rt.Launch(t.Context(), l), "docker.name_taken")
	if err := errors.Join(rt.Stop(t.Context(), l.AgentID, l.InstanceID, 0), rt.Remove(t.Context(), l.AgentID)); err != nil {
		t.Error(err)
	}
	untouched(name)
	remove()
	net := e.Docker(t, "network", "create", "foreign-"+cfg.Owner)
	remove = foreign("--name", "foreign", "--network", net, "-p", "127.0.0.1:"+strconv.Itoa(l.Port)+":80")
	code(t, "a port that is taken", rt.Launch(t.Context(), l), "port.taken")
	fixed := l
	fixed.Port, fixed.Ports = l.Port+1, []agent.Port{{Name: "api", Port: l.Port}}
	err := rt.Launch(t.Context(), fixed)
	code(t, "a port of the specification that is taken", err, "fleet.port_in_use")
	if f := fault.As(err); f != nil && !strings.Contains(f.What, strconv.Itoa(l.Port)) {
		t.Errorf("it names another port: %v", f)
	}
	untouched("foreign")
	if ids := left(e, t, cfg.Owner, ""); len(ids) != 0 {
		t.Errorf("what could not be started is left: %v", ids)
	}
	remove()
	e.Docker(t, "network", "rm", net)
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	until(t, rt, "guest", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning })
	volume := "portal-" + cfg.Owner + "-other.data"
	e.Docker(t, "volume", "create", volume)
	code(t, "a volume that is taken", rt.Prepare(t.Context(), instance("other", agent.RestartPolicy{}, "wait")), "volume.taken")
	e.Docker(t, "volume", "rm", volume)
}

func TestAContainerIsRemovedBehindThePortalsBack(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	rt := open(t, cfg)
	l := instance("taken", agent.RestartPolicy{}, "ticks")
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, "output", func() bool { return len(prints(t, rt, "taken")) > 0 })
	e.Docker(t, "rm", "-f", left(e, t, cfg.Owner, "taken")[0])
	for deadline := time.After(time.Minute); observed(t, rt, "taken").ID != ""; {
		select {
		case <-rt.Changes():
		case <-deadline:
			t.Fatal("it is still observed")
		}
	}
	if err := rt.Restart(t.Context(), l.AgentID, l.InstanceID, "test"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a restart: %v", err)
	}
	before := len(prints(t, rt, "taken"))
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	in := until(t, rt, "taken", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning })
	if in.Restarts != 0 || before == 0 {
		t.Errorf("observed %+v; %d lines were kept", in, before)
	}
}

func TestTwoPortalsOnOneEngine(t *testing.T) {
	e, first, second := dockertest.Start(t), config(t), config(t)
	one, two := open(t, first), open(t, second)
	l := instance("shared", agent.RestartPolicy{}, "ticks")
	for _, rt := range []*docker.Runtime{one, two} {
		if err := rt.Launch(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	mine, other := observed(t, one, "shared"), observed(t, two, "shared")
	if mine.PID == 0 || other.PID == 0 || mine.PID == other.PID {
		t.Fatalf("observed %+v and %+v", mine, other)
	}
	if err := one.Remove(t.Context(), "shared"); err != nil {
		t.Error(err)
	}
	if got := observed(t, one, "shared"); got.ID != "" {
		t.Errorf("observed %+v", got)
	}
	if got := observed(t, two, "shared"); got.PID != other.PID || got.State != fleet.InstanceRunning {
		t.Errorf("the other portal's is %+v", got)
	}
	if ids := left(e, t, second.Owner, "shared"); len(ids) != 1 {
		t.Errorf("containers %v", ids)
	}
}
