package health_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/health"
)

func portOf(t *testing.T, raw string) agent.PortRef {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return agent.PortRef(u.Port())
}

func TestHTTPProbe(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		if r.Close == false {
			t.Error("the probe wants to keep its connection")
		}
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) })
	mux.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for range 1 << 14 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer close(release)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for _, c := range []struct{ path, reason string }{
		{"/health", ""}, {"health", ""}, {"/moved", ""}, {"/huge", ""},
		{"/ready", "GET /ready: 503"}, {"/nothing", "GET /nothing: 404"},
		{"/hang", "GET /hang: no answer within 200ms"},
		{"@example.com/", "GET /@example.com/: 404"}, {"/%zz", "not a path"},
	} {
		timeout := time.Minute // a busy machine is not the agent's fault
		if c.path == "/hang" {
			timeout = 200 * time.Millisecond
		}
		p := agent.Probe{HTTP: &agent.HTTPProbe{Path: c.path, Port: portOf(t, srv.URL)}, Timeout: agent.Duration(timeout)}
		a := health.Prober{}.Probe(t.Context(), "a", "a-0", p, nil)
		if a.OK != (c.reason == "") || !strings.Contains(a.Reason, c.reason) {
			t.Errorf("%s: %+v, want %q", c.path, a, c.reason)
		}
	}
}

func TestTCPProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(t, "tcp://"+l.Addr().String())
	ask := func(port agent.PortRef) health.Answer {
		return health.Prober{}.Probe(t.Context(), "a", "a-0", agent.Probe{TCP: &agent.TCPProbe{Port: port}}, nil)
	}
	if a := ask(port); !a.OK {
		t.Fatalf("%+v", a)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if a := ask(port); a.OK || a.Reason != "connect to port "+string(port)+": connection refused" {
		t.Fatalf("%+v", a)
	}
	if a := ask("$(PORT)"); a.OK || !strings.Contains(a.Reason, "is not a port") {
		t.Fatalf("%+v", a)
	}
	if a := (health.Prober{}).Probe(t.Context(), "a", "a-0", agent.Probe{HTTP: &agent.HTTPProbe{Port: "x"}}, nil); a.OK {
		t.Fatalf("%+v", a)
	}
}

type execFunc func(ctx context.Context) (int, string, error)

func (f execFunc) Exec(ctx context.Context, _, _ string, _ []string) (int, string, error) {
	return f(ctx)
}

func TestExecProbe(t *testing.T) {
	for _, c := range []struct {
		exec   health.Execer
		reason string
	}{
		{execFunc(func(context.Context) (int, string, error) { return 0, "fine", nil }), ""},
		{execFunc(func(context.Context) (int, string, error) { return 2, "disk full\nmore", nil }), "exec check: exit code 2: disk full"},
		{execFunc(func(context.Context) (int, string, error) { return 0, "", errors.New("no such file") }), "exec check: no such file"},
		{execFunc(func(ctx context.Context) (int, string, error) { <-ctx.Done(); return -1, "", ctx.Err() }), "exec check: no answer within 50ms"},
		{nil, "can't run commands"},
	} {
		p := agent.Probe{Exec: &agent.ExecProbe{Command: []string{"check"}}, Timeout: agent.Duration(time.Minute)}
		if strings.Contains(c.reason, "50ms") {
			p.Timeout = agent.Duration(50 * time.Millisecond)
		}
		a := health.Prober{}.Probe(t.Context(), "a", "a-0", p, c.exec)
		if a.OK != (c.reason == "") || !strings.Contains(a.Reason, c.reason) || strings.Contains(a.Reason, "more") {
			t.Errorf("%+v, want %q", a, c.reason)
		}
	}
	if a := (health.Prober{}).Probe(t.Context(), "a", "a-0", agent.Probe{Exec: &agent.ExecProbe{}}, nil); a.OK {
		t.Error("an empty command succeeded")
	}
	if a := (health.Prober{}).Probe(t.Context(), "a", "a-0", agent.Probe{}, nil); a.OK {
		t.Error("a probe that asks nothing succeeded")
	}
	p := agent.Probe{Exec: &agent.ExecProbe{Command: []string{"check"}}, Timeout: agent.Duration(time.Minute)}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if a := (health.Prober{}).Probe(gone, "a", "a-0", p, execFunc(func(ctx context.Context) (int, string, error) { return 0, "", ctx.Err() })); a.OK || !a.Unsure {
		t.Errorf("a probe that was called off counts: %+v", a)
	}
}

func TestStarvedProbeProvesNothing(t *testing.T) {
	held := execFunc(func(ctx context.Context) (int, string, error) {
		<-ctx.Done()
		busy := time.NewTimer(500 * time.Millisecond) // the machine gives us no time
		<-busy.C
		return 0, "", ctx.Err()
	})
	p := agent.Probe{Exec: &agent.ExecProbe{Command: []string{"check"}}, Timeout: agent.Duration(10 * time.Millisecond)}
	if a := (health.Prober{}).Probe(t.Context(), "a", "a-0", p, held); a.OK || !a.Unsure {
		t.Fatalf("%+v", a)
	}
}
