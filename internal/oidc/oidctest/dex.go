// Package oidctest runs a real OpenID Connect provider for a test, and signs
// people in there as a browser would.
package oidctest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Config says who may sign in to what. It is what e2e/dex reads.
type Config struct {
	Clients []Client `json:"clients"`
	People  []Person `json:"people"`
	// Groups adds a way to sign in without a form, as kilgore@kilgore.trout of
	// the group "authors".
	Groups bool `json:"groups"`
}

// Client is a program that people sign in to.
type Client struct {
	ID           string   `json:"id"`
	Secret       string   `json:"secret"`
	RedirectURIs []string `json:"redirect_uris"`
}

// Person signs in with e-mail and password.
type Person struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

// Dex runs Dex until the test ends and gives its issuer.
func Dex(t testing.TB, cfg Config) string {
	t.Helper()
	issuer, _ := Stoppable(t, cfg)
	return issuer
}

// Stoppable is Dex with a way to end it earlier.
func Stoppable(t testing.TB, cfg Config) (issuer string, stop func()) {
	t.Helper()
	in, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t))
	var log bytes.Buffer
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = stdin.Close() // it ends when its input does
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	if _, err := stdin.Write(in); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		t.Fatalf("the provider does not start: %v\n%s", err, log.String())
	}
	return strings.TrimSpace(line), stop
}

// program gives the path of the provider, built first where it is missing.
func program(t testing.TB) string {
	t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "scripts", "dex.sh"))
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the provider: %v", err)
	}
	return strings.TrimSpace(string(path))
}

var (
	formAction = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
	linkTo     = regexp.MustCompile(`href="([^"]*/auth/[^"]*)"`)
)

// SignIn opens the address at the provider as a browser would, signs the person
// in with the password, and gives the address to which the provider sends the
// browser back: the first that is not the provider's.
func SignIn(t testing.TB, address, email, password string) *url.URL {
	t.Helper()
	b := newBrowser(t, address)
	page := b.get(address)
	if b.back == nil && strings.Contains(page, "/auth/local") { // there are several ways: choose this one
		page = b.get(b.find(linkTo, page, "/auth/local"))
	}
	if b.back == nil {
		b.post(b.find(formAction, page, ""), url.Values{"login": {email}, "password": {password}})
	}
	return b.end()
}

// SignInWithGroups is SignIn as kilgore@kilgore.trout, see Config.Groups.
func SignInWithGroups(t testing.TB, address string) *url.URL {
	t.Helper()
	b := newBrowser(t, address)
	b.get(b.find(linkTo, b.get(address), "/auth/mock"))
	return b.end()
}

// browser follows redirects within the provider.
type browser struct {
	t      testing.TB
	client *http.Client
	at     *url.URL // the page that is shown
	back   *url.URL // where the provider sends it back
}

func newBrowser(t testing.TB, address string) *browser {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t}
	b.client = &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == u.Host {
			return nil
		}
		b.back = r.URL
		return http.ErrUseLastResponse
	}}
	return b
}

func (b *browser) get(address string) string {
	b.t.Helper()
	return b.read(b.client.Get(address))
}

func (b *browser) post(address string, form url.Values) {
	b.t.Helper()
	if page := b.read(b.client.PostForm(address, form)); b.back == nil {
		b.t.Fatalf("the provider did not take the password: %s", page)
	}
}

func (b *browser) read(resp *http.Response, err error) string {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	b.at = resp.Request.URL
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(page)
}

// find gives the first address in the page that fits and holds the text.
func (b *browser) find(what *regexp.Regexp, page, text string) string {
	b.t.Helper()
	for _, m := range what.FindAllStringSubmatch(page, -1) {
		if u, err := b.at.Parse(html.UnescapeString(m[1])); err == nil && strings.Contains(u.Path, text) {
			return u.String()
		}
	}
	b.t.Fatalf("the provider's page is not as expected: %s", page)
	return ""
}

func (b *browser) end() *url.URL {
	b.t.Helper()
	if b.back == nil {
		b.t.Fatal("the provider did not send the browser back")
	}
	return b.back
}
