// Package signin_test signs in to the built portal, as people, browsers and
// command lines do, and as those who should not get in.
package signin_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/oidc/oidctest"
)

var built struct {
	once sync.Once
	dir  string
	bin  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "portal-built-"); built.err == nil {
			built.bin, built.err = drive.Build(built.dir)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.bin
}

// The people who have an account at the provider; the rules know ann and bob.
const (
	ann, bob, eve = "ann@example.com", "bob@partner.example", "eve@elsewhere.example"
	password      = "correct horse battery"
	secret        = "not-a-secret"
)

// world is a portal, and maybe the provider where its people sign in.
type world struct {
	*drive.Portal
	t            *testing.T
	stopProvider func()
}

func start(t *testing.T, args ...string) *world {
	t.Helper()
	p, err := drive.New(program(t), t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Portal: p, t: t}
	w.launch()
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) launch() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.Start(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// withProvider is a portal whose people sign in at Dex. The portal's address has
// to be known to Dex, and Dex's to the portal: the portal is restarted with it.
func withProvider(t *testing.T) *world {
	t.Helper()
	p, err := drive.New(program(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	issuer, stop := oidctest.Stoppable(t, oidctest.Config{
		Clients: []oidctest.Client{{ID: "portal", Secret: secret, RedirectURIs: []string{p.URL + "/auth/callback"}}},
		People: []oidctest.Person{{ID: "1", Name: "Ann", Email: ann, Password: password}, {ID: "2", Name: "Bob", Email: bob, Password: password},
			{ID: "3", Name: "Eve", Email: eve, Password: password}},
		Groups: true,
	})
	secrets := t.TempDir()
	if err := os.WriteFile(secrets+"/oidc", []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Args("--oidc-issuer", issuer, "--oidc-client-id", "portal", "--oidc-client-secret", "file:oidc", "--secrets-dir", secrets, "--oidc-name", "Test people",
		"--oidc-scopes", "email profile groups", "--roles-admins", ann, "--roles-viewers", "@partner.example", "--roles-operators", "claim:groups=authors")
	w := &world{Portal: p, t: t, stopProvider: stop}
	w.launch()
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// browser keeps cookies and follows no redirect by itself.
type browser struct {
	w      *world
	client *http.Client
}

func (w *world) browser() *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{w: w, client: &http.Client{Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// page is what a browser got.
type page struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (b *browser) do(method, address string, form url.Values, header ...string) page {
	b.w.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.w.URL + address
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.w.t.Context(), method, address, body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return page{b.w.t, resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(address string, header ...string) page {
	b.w.t.Helper()
	return b.do(http.MethodGet, address, nil, header...)
}

func (b *browser) post(address string, form url.Values, header ...string) page {
	b.w.t.Helper()
	return b.do(http.MethodPost, address, form, header...)
}

// want checks the status, and that the texts are in the page.
func (p page) want(status int, texts ...string) page {
	p.t.Helper()
	if p.status != status {
		p.t.Errorf("status %d, want %d: %s", p.status, status, p.body)
	}
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(p.body), text) {
			p.t.Errorf("no %q in %s", text, p.body)
		}
	}
	return p
}

func (p page) location() string { return p.header.Get("Location") }

// signedIn tells who the browser is signed in as; "" if it is not.
func (b *browser) signedIn() string {
	b.w.t.Helper()
	p := b.get("/auth/me", "Accept", "application/json")
	if p.status != http.StatusOK {
		return ""
	}
	return p.body
}

func (b *browser) cookie(name string) string {
	u, err := url.Parse(b.w.URL)
	if err != nil {
		b.w.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

var button = regexp.MustCompile(`href="(/auth/provider/[^"]*)"`)

// toProvider opens the sign-in page and presses the provider's button; it gives
// the address at the provider.
func (b *browser) toProvider(next string) string {
	b.w.t.Helper()
	p := b.get("/auth/login?next=" + url.QueryEscape(next)).want(200)
	m := button.FindStringSubmatch(p.body)
	if m == nil {
		b.w.t.Fatalf("no button of the provider: %s", p.body)
	}
	return b.get(html.UnescapeString(m[1])).want(http.StatusSeeOther).location()
}

// signInAt signs in at the provider and comes back.
func (b *browser) signInAt(email, next string) page {
	b.w.t.Helper()
	back := oidctest.SignIn(b.w.t, b.toProvider(next), email, password)
	return b.get(back.String(), "Sec-Fetch-Site", "cross-site")
}

// link makes a one-time link for an admin.
func (w *world) signInByLink(b *browser) page {
	w.t.Helper()
	link, err := w.SignInLink()
	if err != nil {
		w.t.Fatal(err)
	}
	return b.post(link, url.Values{})
}

// user makes a local user.
func (w *world) user(email, role string) {
	w.t.Helper()
	err := w.Call(w.t.Context(), http.MethodPost, "/users", map[string]string{"email": email, "role": role, "password": password, "name": "Local"}, nil)
	if err != nil {
		w.t.Fatal(fmt.Errorf("make a user: %w", err))
	}
}
