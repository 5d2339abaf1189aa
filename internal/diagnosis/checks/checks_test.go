package checks_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/diagnosis/checks"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// named gives the outcome of one of the checks.
func named(t *testing.T, list []diagnosis.Check, name string, on diagnosis.Subject) diagnosis.Outcome {
	t.Helper()
	for _, c := range list {
		if c.Name() == name {
			return c.Run(t.Context(), on)
		}
	}
	t.Fatalf("there is no check %s", name)
	return diagnosis.Outcome{}
}

// want holds an outcome to its status, and to words that somebody must read in
// it. What is not in order says what to do.
func want(t *testing.T, what string, o diagnosis.Outcome, status diagnosis.Status, words ...string) {
	t.Helper()
	all := strings.Join(o.Evidence, "\n") + "\n" + o.Meaning + "\n" + o.Remedy
	if o.Status != status {
		t.Errorf("%s: %s, want %s: %s", what, o.Status, status, all)
	}
	for _, w := range words {
		if !strings.Contains(all, w) {
			t.Errorf("%s: %q is not in %s", what, w, all)
		}
	}
	if (status == diagnosis.Failed || status == diagnosis.Warning) && (o.Remedy == "" || o.Meaning == "" || len(o.Evidence) == 0) {
		t.Errorf("%s: says too little: %+v", what, o)
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// closedPort gives a port that nobody listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return portOf(t, l.Addr().String())
}

func running(port int, spec agent.Spec) diagnosis.Subject {
	return diagnosis.Subject{
		Agent: &agent.Agent{ID: "a", Spec: spec, State: agent.Running}, Spec: spec,
		Instances: []fleet.Instance{{ID: "a-0", State: fleet.InstanceRunning, Port: port, PID: os.Getpid()}, {ID: "a-1", State: fleet.InstanceBackoff}},
	}
}

// TestTheContractIsAskedFor speaks to agents of every kind.
func TestTheContractIsAskedFor(t *testing.T) {
	answers := map[string]string{} // path to status and body
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body, ok := strings.Cut(answers[r.URL.Path], " ")
		if !ok {
			http.NotFound(w, r)
			return
		}
		n, _ := strconv.Atoi(status)
		w.Header().Set("Location", "http://192.0.2.1/")
		w.WriteHeader(n)
		_, _ = io.WriteString(w, body)
	}))
	defer server.Close()
	port := portOf(t, server.Listener.Addr().String())
	list := checks.Contract{Metrics: func(_ context.Context, _ string, in fleet.Instance) error {
		if in.Port != port {
			return fmt.Errorf("port %d", in.Port)
		}
		if strings.Contains(answers["/metrics"], "broken") {
			return errors.New("line 1 can't be read")
		}
		return nil
	}}.Checks()
	template, plain := running(port, agent.Spec{Template: "blank"}), running(port, agent.Spec{})
	for _, c := range []struct {
		check, answer string
		on            diagnosis.Subject
		status        diagnosis.Status
		words         string
	}{
		{"contract_health", "200 ok", template, diagnosis.OK, "GET /health: 200"},
		{"contract_health", "500 no", plain, diagnosis.Failed, "should be 200 and is 500"},
		{"contract_health", "302 moved", plain, diagnosis.Failed, "is 302"},
		{"contract_health", "", plain, diagnosis.Skipped, "level 1"},
		{"contract_health", "", template, diagnosis.Failed, "Answer GET /health"},
		{"contract_ready", "503 no", template, diagnosis.Warning, "takes no work now"},
		{"contract_ready", "200 ", template, diagnosis.OK, ""},
		{"contract_metrics", "200 a 1", template, diagnosis.OK, "level 2"},
		{"contract_metrics", "200 broken", template, diagnosis.Warning, "line 1 can't be read"},
		{"contract_config", `200 {"values":{},"fields":{}}`, template, diagnosis.OK, ""},
		{"contract_config", `200 [1]`, template, diagnosis.Warning, "not a JSON object"},
		{"contract_config", `200 {}`, template, diagnosis.Warning, `no "values"`},
		{"contract_config", "", plain, diagnosis.Skipped, "level 2"},
	} {
		path := map[string]string{"contract_health": "/health", "contract_ready": "/ready", "contract_metrics": "/metrics", "contract_config": "/v1/config"}[c.check]
		clear(answers)
		if c.answer != "" {
			answers[path] = c.answer
		}
		want(t, c.check+" "+c.answer, named(t, list, c.check, c.on), c.status, c.words)
	}
	closed := closedPort(t)
	want(t, "nobody", named(t, list, "contract_health", running(closed, agent.Spec{Template: "blank"})), diagnosis.Failed, "nothing listens on its port "+strconv.Itoa(closed))
	want(t, "level 0", named(t, list, "contract_health", running(closed, agent.Spec{})), diagnosis.Skipped)
	want(t, "stopped", named(t, list, "contract_health", diagnosis.Subject{Agent: &agent.Agent{}}), diagnosis.Skipped, "No instance runs")
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := mute.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	defer mute.Close()
	want(t, "mute", named(t, list, "contract_health", running(portOf(t, mute.Addr().String()), agent.Spec{})), diagnosis.Failed, "does not answer")
}

// TestWhoListens gives ports to the agent, to another process, and to nobody.
func TestWhoListens(t *testing.T) {
	who := map[int]checks.Listener{1: {PID: 10, Name: "own"}, 2: {PID: 11, Name: "child"}, 3: {PID: 99, Name: "intruder"}, 4: {}}
	check := checks.Ports{
		Listener: func(port int) (checks.Listener, bool) { l, ok := who[port]; return l, ok },
		Family:   func(pid int) []int { return []int{pid + 1} },
	}.Check()
	on := func(port int, spec agent.Spec) diagnosis.Outcome {
		return check.Run(t.Context(), diagnosis.Subject{Agent: &agent.Agent{}, Spec: spec, Instances: []fleet.Instance{{ID: "a-0", State: fleet.InstanceRunning, PID: 10, Port: port}}})
	}
	want(t, "own", on(1, agent.Spec{}), diagnosis.OK, "own (pid 10) listens on 1")
	want(t, "child", on(2, agent.Spec{}), diagnosis.OK, "child")
	want(t, "intruder", on(3, agent.Spec{}), diagnosis.Failed, "intruder (pid 99)", "Stop process 99")
	want(t, "unknown", on(4, agent.Spec{}), diagnosis.OK, "does not tell")
	want(t, "nobody", on(5, agent.Spec{}), diagnosis.Skipped, "level 0")
	want(t, "nobody of a template", on(5, agent.Spec{Template: "blank"}), diagnosis.Failed, "nobody listens on 5")
	want(t, "fixed", on(1, agent.Spec{Ports: []agent.Port{{Name: "admin", Port: 3}}}), diagnosis.Failed, "port admin")
	want(t, "stopped", check.Run(t.Context(), diagnosis.Subject{}), diagnosis.Skipped)
}

// fleetOf answers with its agents whatever is asked.
type fleetOf []*agent.Agent

func (f fleetOf) Find(context.Context, agent.Query) (agent.Page, error) {
	return agent.Page{Agents: f}, nil
}

// keys knows one secret, unless it is broken.
type keys struct{ err error }

func (k keys) Secret(context.Context, string) (string, error)   { return "s3cret", k.err }
func (k keys) Verify(_ context.Context, _, secret string) error { return k.err }

// stats gives the state of every queue.
type stats func() (queue.Stats, error)

func (s stats) Stats(context.Context, string) (queue.Stats, error) { return s() }

// TestWhatAnAgentStandsOn looks at dependencies, secrets, credentials and queues.
func TestWhatAnAgentStandsOn(t *testing.T) {
	st := queue.Stats{Consumers: 1}
	k, refused := keys{}, error(nil)
	of := func() []diagnosis.Check {
		return checks.Agents{
			Agents: fleetOf{
				{ID: "up", Spec: agent.Spec{Name: "up"}, State: agent.Running, Health: agent.HealthHealthy},
				{ID: "sick", Spec: agent.Spec{Name: "Sick"}, State: agent.Running, Health: agent.HealthDegraded, HealthReason: "cold"},
				{ID: "down", Spec: agent.Spec{Name: "down"}, State: agent.Stopped},
			},
			Keys: k, Queues: stats(func() (queue.Stats, error) { return st, nil }),
			SignIn: func(_ context.Context, _, secret string) error {
				if secret != "s3cret" {
					return errors.New("another secret")
				}
				return refused
			},
			Resolve: fleet.SecretDir{Dir: t.TempDir(), Getenv: func(name string) (string, bool) {
				return map[string]string{"PORTAL_SECRET_A": "v"}[name], name == "PORTAL_SECRET_A" || name == "PORTAL_SECRET_EMPTY"
			}}.Secret,
		}.Checks()
	}
	a := running(1, agent.Spec{})
	needs := func(names ...string) diagnosis.Outcome {
		return named(t, of(), "dependencies", diagnosis.Subject{Agent: a.Agent, Spec: agent.Spec{Dependencies: names}})
	}
	want(t, "none", needs(), diagnosis.Skipped)
	want(t, "up", needs("UP"), diagnosis.OK)
	want(t, "sick", needs("up", "sick"), diagnosis.Warning, "cold", "Look at sick first")
	want(t, "down", needs("up", "sick", "down"), diagnosis.Failed, "Start down first")
	want(t, "ghost", needs("ghost"), diagnosis.Warning, "not in the fleet")

	secrets := func(refs map[string]string) diagnosis.Outcome {
		return named(t, of(), "secrets", diagnosis.Subject{Agent: a.Agent, Spec: agent.Spec{Secrets: refs}})
	}
	want(t, "no secrets", secrets(nil), diagnosis.Skipped)
	want(t, "a secret", secrets(map[string]string{"A": "env:PORTAL_SECRET_A"}), diagnosis.OK)
	want(t, "empty", secrets(map[string]string{"A": "env:PORTAL_SECRET_EMPTY"}), diagnosis.Warning, "empty")
	want(t, "missing", secrets(map[string]string{"A": "env:PORTAL_SECRET_A", "B": "file:gone"}), diagnosis.Failed, "B: There is no secret file:gone")

	want(t, "credential", named(t, of(), "credential", a), diagnosis.OK, "lets the agent in")
	refused = fault.New(fault.Unauthenticated, "bus.refused", "not let in").Do("Provision anew.")
	want(t, "refused", named(t, of(), "credential", a), diagnosis.Failed, "not let in", "Provision anew.")
	k.err = fault.New(fault.Conflict, "x", "another key").Do("Put it back.")
	want(t, "derived", named(t, of(), "credential", a), diagnosis.Failed, "another key", "Put it back.")
	want(t, "draft", named(t, of(), "credential", diagnosis.Subject{Agent: &agent.Agent{State: agent.Draft}}), diagnosis.Skipped)

	want(t, "queue", named(t, of(), "queue", a), diagnosis.OK)
	st = queue.Stats{Pending: 3, Oldest: time.Now()}
	want(t, "nobody takes", named(t, of(), "queue", a), diagnosis.Failed, "3 wait")
	st = queue.Stats{Dead: 1, Consumers: 1}
	want(t, "a dead letter", named(t, of(), "queue", a), diagnosis.Warning, "1 dead")
	st.Dead = 50
	want(t, "dead letters", named(t, of(), "queue", a), diagnosis.Failed)

	a.Agent.State, a.Agent.Failure = agent.Errored, &agent.Failure{Reason: "crashed 5 times", Remedy: "See the logs."}
	want(t, "errored", named(t, of(), "state", a), diagnosis.Failed, "crashed 5 times", "See the logs.", "a-1: backoff")
	a.Agent.State, a.Agent.Health = agent.Running, agent.HealthUnhealthy
	want(t, "unhealthy", named(t, of(), "state", a), diagnosis.Failed)
	a.Agent.Health = agent.HealthHealthy
	want(t, "well", named(t, of(), "state", a), diagnosis.OK)
}

// selfMade gives a server with a certificate that ends then, and what trusts it.
func selfMade(t *testing.T, end time.Time) (address string, trust *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); _ = conn.Close() }()
		}
	}()
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	return l.Addr().String(), &tls.Config{RootCAs: pool}
}

// TestServersAndTheirCertificates reaches real servers with certificates of
// every age, and one that is not there.
func TestServersAndTheirCertificates(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		left   time.Duration
		trust  bool
		status diagnosis.Status
		words  string
	}{
		"long":     {60*day + time.Hour, true, diagnosis.OK, "60 more days"},
		"soon":     {10*day + time.Hour, true, diagnosis.Warning, "10 more days"},
		"tomorrow": {day, true, diagnosis.Failed, "Renew the certificate now"},
		"over":     {-day, true, diagnosis.Failed, "until"},
		"unknown":  {60 * day, false, diagnosis.Failed, "is for localhost"},
	} {
		address, trust := selfMade(t, time.Now().Add(c.left))
		if !c.trust {
			trust = nil
		}
		s, ok := checks.ServerOf("issuer", "oidc.issuer", "https://me:hush@localhost:"+strconv.Itoa(portOf(t, address))+"/x")
		if !ok {
			t.Fatal("no server")
		}
		still := time.Now() // how long this machine takes is not looked at
		n := checks.Network{Servers: []checks.Server{s}, TLS: trust, Now: func() time.Time { return still }}.Checks()
		o := named(t, n, "certificate_expiry", diagnosis.Subject{})
		want(t, name, o, c.status, c.words)
		if strings.Contains(fmt.Sprint(o), "hush") {
			t.Errorf("%s tells the password: %v", name, o)
		}
		want(t, name+" is there", named(t, n, "external_servers", diagnosis.Subject{}), diagnosis.OK, "connected in")
		want(t, name+" has a name", named(t, n, "dns", diagnosis.Subject{}), diagnosis.OK, "localhost: ")
	}
	deaf := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no name server") }}
	gone := checks.Network{Now: time.Now, Resolver: deaf, Servers: []checks.Server{{Name: "database", Setting: "database.url", Host: "no-such-host.invalid", Port: "5432"}}}.Checks()
	want(t, "no name", named(t, gone, "dns", diagnosis.Subject{}), diagnosis.Failed, "no-such-host.invalid", "database.url")
	gone = checks.Network{Now: time.Now, Servers: []checks.Server{{Name: "queue", Setting: "bus.url", Host: "127.0.0.1", Port: strconv.Itoa(closedPort(t)), TLS: true}}}.Checks()
	want(t, "not there", named(t, gone, "external_servers", diagnosis.Subject{}), diagnosis.Failed, "connection refused", "bus.url")
	want(t, "no certificate", named(t, gone, "certificate_expiry", diagnosis.Subject{}), diagnosis.Failed)
	none := checks.Network{Now: time.Now}.Checks()
	want(t, "none", named(t, none, "external_servers", diagnosis.Subject{}), diagnosis.Skipped)
	want(t, "none", named(t, none, "certificate_expiry", diagnosis.Subject{}), diagnosis.Skipped)
	for address, port := range map[string]string{"postgres://u:p@db/x": "5432", "nats://n": "4222", "http://h:9": "9", "file:x": "", "127.0.0.1:80": "", "gopher://h": ""} {
		if s, ok := checks.ServerOf("x", "y", address); ok != (port != "") || s.Port != port && ok {
			t.Errorf("%s: %+v %t", address, s, ok)
		}
	}
}

// TestTheMachine looks at the machine that the test runs on: what it says
// depends on it, that it says something does not.
func TestTheMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	list := slices.Concat(checks.Disk(dir), checks.Limits(), []diagnosis.Check{checks.DataDir(dir), checks.Clock{Now: time.Now, Started: time.Now()}})
	for _, c := range list {
		o := c.Run(t.Context(), diagnosis.Subject{})
		if len(o.Evidence) == 0 || c.Scope() != diagnosis.Portal {
			t.Errorf("%s saw nothing: %+v", c.Name(), o)
		}
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, "others may read", checks.DataDir(open).Run(t.Context(), diagnosis.Subject{}), diagnosis.Failed, "mode 0755", "chmod 700")
	file := filepath.Join(open, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, "a file", checks.DataDir(file).Run(t.Context(), diagnosis.Subject{}), diagnosis.Failed, "not a directory")
}

// TestClocksThatDisagree moves the clock of the machine, and that of a server.
func TestClocksThatDisagree(t *testing.T) {
	start := time.Now()
	server := func(off time.Duration, other bool, err error) func(context.Context) (time.Time, bool, error) {
		return func(context.Context) (time.Time, bool, error) { return time.Now().Add(off), other, err }
	}
	for name, c := range map[string]struct {
		server func(context.Context) (time.Time, bool, error)
		status diagnosis.Status
		words  string
	}{
		"right":   {server(0, true, nil), diagnosis.OK, "differs by"},
		"behind":  {server(-5*time.Second, true, nil), diagnosis.Warning, "differs by -5"},
		"ahead":   {server(time.Hour, true, nil), diagnosis.Failed, "time service"},
		"same":    {server(time.Hour, false, nil), diagnosis.OK, ""},
		"no word": {server(0, true, errors.New("down")), diagnosis.Failed, "down"},
	} {
		want(t, name, checks.Clock{Now: time.Now, Started: start, Server: c.server}.Run(t.Context(), diagnosis.Subject{}), c.status, c.words)
	}
}

type messenger struct {
	took time.Duration
	err  error
}

func (m messenger) RoundTrip(context.Context) (time.Duration, error) { return m.took, m.err }

type trier struct {
	write time.Duration
	err   error
}

func (s trier) Try(context.Context) (time.Duration, time.Duration, error) {
	return s.write, time.Millisecond, s.err
}

// TestEngines has engines that are quick, slow and gone, and a real store.
func TestEngines(t *testing.T) {
	run := func(c diagnosis.Check) diagnosis.Outcome { return c.Run(t.Context(), diagnosis.Subject{}) }
	s := storetest.New(t)
	real := run(checks.Store(s.Diagnoses()))
	if real.Status == diagnosis.Warning { // the machine is slow, and that is said
		real.Status = diagnosis.OK
	}
	want(t, "store", real, diagnosis.OK, "stored in", "read again in")
	want(t, "quick", run(checks.Store(trier{write: time.Millisecond})), diagnosis.OK, "stored in 1 ms")
	want(t, "audit", run(checks.Audit(s.Audit())), diagnosis.OK, "0 entries")
	want(t, "slow", run(checks.Store(trier{write: time.Second})), diagnosis.Warning, "1.0 s")
	want(t, "stuck", run(checks.Store(trier{write: 10 * time.Second})), diagnosis.Failed)
	want(t, "full", run(checks.Store(trier{err: fault.New(fault.Unavailable, "store.disk_full", "It is full").Do("Free space.")})), diagnosis.Failed, "It is full", "Free space.")
	want(t, "queue", run(checks.Queue(messenger{took: time.Millisecond})), diagnosis.OK, "1 ms")
	want(t, "slow queue", run(checks.Queue(messenger{took: time.Second})), diagnosis.Warning)
	want(t, "no queue", run(checks.Queue(messenger{err: errors.New("gone")})), diagnosis.Failed, "gone")
	want(t, "part", run(checks.Component("x", func(context.Context) error { return errors.New("no") })), diagnosis.Failed)
	want(t, "not here", run(checks.Unavailable("x", "Why.")), diagnosis.Skipped, "Why.")
	report := func(list ...fleet.Check) diagnosis.Outcome {
		return run(checks.Runtime("process", func(context.Context) []fleet.Check { return list }))
	}
	want(t, "all limits", report(fleet.Check{Name: "memory_limit", OK: true, How: "cgroup v2"}, fleet.Check{Name: "volumes", Why: "no"}), diagnosis.OK, "volumes: not here")
	want(t, "no limit", report(fleet.Check{Name: "memory_limit", Why: "no cgroup", Remedy: "Mount one."}), diagnosis.Warning, "no cgroup", "Mount one.")
	want(t, "no engine", report(fleet.Check{Name: "docker_engine", Down: true, Why: "it is gone", Remedy: "Start it."}), diagnosis.Failed, "it is gone", "Start it.")
	want(t, "settings", run(checks.Secrets(map[string]string{"oidc.client-secret": "file:x"}, fleet.SecretDir{Dir: t.TempDir()}.Secret)), diagnosis.Failed, "oidc.client-secret")
}
