package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/cli"
)

var update = flag.Bool("update", false, "write the golden files and the command reference anew")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// request is one request that the fake portal got.
type request struct {
	method, path, query, body string
	header                    http.Header
}

// fakePortal answers with what a test recorded. That the real API answers like
// this is tested by the black-box scripts.
type fakePortal struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	got    []request
	routes map[string]func(w http.ResponseWriter, r *http.Request)
}

func newFake(t *testing.T) *fakePortal {
	t.Helper()
	f := &fakePortal{t: t, routes: map[string]func(http.ResponseWriter, *http.Request){}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakePortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.got = append(f.got, request{r.Method, r.URL.Path, r.URL.RawQuery, string(body), r.Header})
	r.Body = io.NopCloser(bytes.NewReader(body))
	h := f.routes[r.Method+" "+r.URL.Path]
	f.mu.Unlock()
	if h == nil {
		problem(w, 404, `{"title":"Not Found","status":404,"code":"route.unknown","what":"There is nothing at this address"}`)
		return
	}
	h(w, r)
}

func problem(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// on answers a route with each of the bodies in turn, and then with the last.
func (f *fakePortal) on(route string, status int, bodies ...string) {
	n := 0
	f.handle(route, func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		body := bodies[min(n, len(bodies)-1)]
		n++
		f.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
}

func (f *fakePortal) handle(route string, h func(w http.ResponseWriter, r *http.Request)) {
	method, path, _ := strings.Cut(route, " ")
	if strings.HasPrefix(path, "/agents") || strings.HasPrefix(path, "/operations") || strings.HasPrefix(path, "/bulk") ||
		strings.HasPrefix(path, "/events") || strings.HasPrefix(path, "/audit") || strings.HasPrefix(path, "/tokens") || strings.HasPrefix(path, "/live") || strings.HasPrefix(path, "/metrics") {
		path = "/api/platform" + path
	}
	f.mu.Lock()
	f.routes[method+" "+path] = h
	f.mu.Unlock()
}

// requests are those with the method and path, "" for any.
func (f *fakePortal) requests(method, path string) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []request
	for _, r := range f.got {
		if (method == "" || r.method == method) && strings.HasSuffix(r.path, path) {
			out = append(out, r)
		}
	}
	return out
}

// result is what a command printed and how it ended.
type result struct {
	code     int
	out, err string
}

// console is where a test runs commands.
type console struct {
	t     *testing.T
	env   map[string]string
	in    string
	stdin io.Reader // in place of in
	tty   bool
	deps  cli.Deps
	edit  func(path string) error
	open  func(address string) error // the user's browser; nil for none
	// each is called with everything that is on stderr whenever something is written there.
	each func(stderr string)
}

func at(t *testing.T, f *fakePortal) *console {
	c := &console{t: t, env: map[string]string{"PORTAL_TOKEN": "ptl_secret"}}
	c.deps.Version = cli.Version{Version: "1.2.3", Commit: "abcdef123456", Date: "2026-03-01T00:00:00Z"}
	if f != nil {
		c.env["PORTAL_URL"] = f.URL
	}
	return c
}

type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	each func(string)
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.buf.Write(p)
	text := w.buf.String()
	w.mu.Unlock()
	if w.each != nil {
		w.each(text)
	}
	return len(p), nil
}

func (c *console) run(args ...string) result { return c.runIn(c.t.Context(), args...) }

func (c *console) runIn(ctx context.Context, args ...string) result {
	c.t.Helper()
	var out bytes.Buffer
	errs := &watched{each: c.each}
	io := cli.IO{
		In: strings.NewReader(c.in), Out: &out, Err: errs, InTTY: c.tty, OutTTY: c.tty, ErrTTY: c.tty,
		Getenv: func(k string) string { return c.env[k] },
		Now:    func() time.Time { return now },
		Edit:   func(_ context.Context, path string) error { return c.edit(path) },
	}
	if c.stdin != nil {
		io.In = c.stdin
	}
	if c.open != nil {
		io.Open = func(_ context.Context, address string) error { return c.open(address) }
	}
	code := cli.Run(ctx, c.deps, io, args)
	return result{code, out.String(), errs.buf.String()}
}

// want checks the exit code, and that the texts are in what was printed.
func (r result) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	bad := false
	if r.code != code {
		bad = true
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			bad = true
			t.Errorf("no %q in the output", text)
		}
	}
	if bad {
		t.Logf("stdout:\n%s\nstderr:\n%s", r.out, r.err)
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", path, got, want)
	}
}

// body decodes the body of a request.
func (r request) json(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := json.Unmarshal([]byte(r.body), &out); err != nil {
		t.Fatalf("%s %s: %v in %q", r.method, r.path, err, r.body)
	}
	return out
}
