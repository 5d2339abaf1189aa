package browser_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/waooaw/platform-portal/e2e/browser"
	"github.com/waooaw/platform-portal/e2e/drive"
)

// house is a portal and the session of the operator who signed in to it first.
type house struct {
	*drive.Portal
	root string // of the repository

	once    sync.Once
	session *network.Cookie
	err     error
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "portal-built-")
	if err != nil {
		return "", err
	}
	atEnd(func() error { return os.RemoveAll(dir) })
	return drive.Build(dir)
})

// ends is what is done when all tests are over.
var ends struct {
	mu  sync.Mutex
	fns []func() error
}

func atEnd(fn func() error) {
	ends.mu.Lock()
	defer ends.mu.Unlock()
	ends.fns = append(ends.fns, fn)
}

func retire() (err error) {
	ends.mu.Lock()
	defer ends.mu.Unlock()
	for _, fn := range ends.fns {
		err = errors.Join(err, fn())
	}
	return err
}

func begin(dir string, args ...string) (*house, error) {
	bin, err := build()
	if err != nil {
		return nil, err
	}
	root, err := drive.Root()
	if err != nil {
		return nil, err
	}
	p, err := drive.New(bin, dir, args...)
	if err != nil {
		return nil, err
	}
	h := &house{Portal: p, root: root}
	ctx, cancel := context.WithTimeout(context.Background(), browser.Patience)
	defer cancel()
	return h, p.Start(ctx)
}

// fresh gives a portal that the test has for itself, without agents.
func fresh(t *testing.T, args ...string) *house {
	t.Helper()
	h, err := begin(t.TempDir(), args...)
	if h != nil {
		t.Cleanup(func() {
			if err := h.leave(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// leave ends the portal, its agents and their shims.
func (h *house) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), browser.Patience)
	defer cancel()
	var err error
	if h.Up() {
		_, err = h.RunBulk(ctx, map[string]any{"action": "revoke", "filter": map[string]any{}, "max_parallel": 20})
		if drive.StatusOf(err) == http.StatusBadRequest {
			err = nil // there is no agent
		}
	}
	return errors.Join(err, h.Stop(), drive.EndAgents(h.Data))
}

// example is the portal that many tests share: the example fleet is running.
// They only look at it.
var example = sync.OnceValues(func() (*house, error) {
	dir, err := os.MkdirTemp("", "portal-example-")
	if err != nil {
		return nil, err
	}
	h, err := begin(dir)
	if h != nil {
		atEnd(func() error { return errors.Join(h.leave(), os.RemoveAll(dir)) })
	}
	if err != nil {
		return nil, err
	}
	return h, h.deployFleet()
})

func shared(t *testing.T) *house {
	t.Helper()
	h, err := example()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) importFleet() error {
	ctx, cancel := context.WithTimeout(context.Background(), browser.Patience)
	defer cancel()
	_, err := h.Run(ctx, "import", filepath.Join(h.root, "examples", "fleet"))
	return err
}

// deployFleet imports the example fleet and brings it to RUNNING.
func (h *house) deployFleet() error {
	if err := h.importFleet(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*browser.Patience)
	defer cancel()
	bulk, err := h.RunBulk(ctx, map[string]any{"actions": []string{"provision", "deploy", "start"}, "filter": map[string]any{}, "max_parallel": 4})
	if err == nil && bulk.State != "SUCCEEDED" {
		err = errors.New("the example fleet is not running: " + bulk.State)
	}
	return err
}

// link gives the sign-in link that the portal printed at its last start.
func (h *house) link(t *testing.T) string {
	t.Helper()
	var link string
	deadline(t, func() bool {
		var err error
		link, err = h.SignInLink()
		return err == nil
	}, func() string { return "the portal printed no sign-in link:\n" + h.Tail() })
	return link
}

// signIn opens the link that the portal printed and sends the form there.
func (h *house) signIn(t *testing.T, p *tab) {
	t.Helper()
	p.open(h.link(t))
	p.click("form button")
	p.wait("the page after the sign-in", `!location.pathname.startsWith('/auth/') && document.readyState === 'complete'`)
}

// visit opens a tab of a new visitor who is signed in as the operator, and
// shows the path; none opens nothing.
func (h *house) visit(t *testing.T, path string) *tab {
	t.Helper()
	h.once.Do(func() { h.session, h.err = h.firstSession(t) })
	if h.err != nil {
		t.Fatal(h.err)
	}
	p := visit(t)
	p.must(p.SetCookie(h.URL, h.session.Name, h.session.Value))
	if path != "" {
		p.open(h.URL + path)
	}
	return p
}

func (h *house) firstSession(t *testing.T) (*network.Cookie, error) {
	p := visit(t)
	h.signIn(t, p)
	cookies, err := p.Cookies(h.URL)
	if err != nil {
		return nil, err
	}
	for _, c := range cookies {
		if c.HTTPOnly {
			return c, nil
		}
	}
	return nil, errors.New("no session after the sign-in")
}

// limit is a context for calls of a test.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*browser.Patience)
	t.Cleanup(cancel)
	return ctx
}

// restart starts the portal again and waits until it is ready.
func (h *house) restart(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
}
