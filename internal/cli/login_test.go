package cli_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// issuer is the side of the portal that signs command lines in. Its refresh
// tokens work once: a second use ends the session, as at the real one.
type issuer struct {
	t  *testing.T
	mu sync.Mutex

	challenge, redirect string // of the code that is out
	serial              int
	refresh             string // the one that works; "" when the session is over
	reused              bool
	life                int // of access tokens, in seconds
	ended               bool
}

func (i *issuer) serve(f *fakePortal) *issuer {
	f.handle("POST /auth/token", i.token)
	f.handle("POST /auth/logout", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.ended = r.Header.Get("Authorization") == fmt.Sprintf("Bearer access-%d", i.serial)
		w.WriteHeader(http.StatusNoContent)
	})
	f.on("GET /tokens", 200, `{"items":[]}`)
	return i
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var in map[string]string
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		i.t.Error(err)
	}
	ok := false
	switch in["grant_type"] {
	case "authorization_code":
		sum := sha256.Sum256([]byte(in["code_verifier"]))
		ok = in["code"] == "the-code" && base64.RawURLEncoding.EncodeToString(sum[:]) == i.challenge && in["redirect_uri"] == i.redirect
	case "refresh_token":
		ok = i.refresh != "" && in["refresh_token"] == i.refresh
		i.reused = i.reused || !ok && i.refresh != ""
	}
	if !ok {
		i.refresh = ""
		problem(w, 401, `{"status":401,"code":"auth.session_over","what":"You are not signed in any more"}`)
		return
	}
	i.serial++
	i.refresh = fmt.Sprintf("refresh-%d", i.serial)
	fmt.Fprintf(w, `{"access_token":"access-%d","token_type":"Bearer","expires_in":%d,"refresh_token":%q}`, i.serial, i.life, i.refresh)
}

// agree is a browser whose person says yes.
func (i *issuer) agree(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	q := u.Query()
	i.mu.Lock()
	i.challenge, i.redirect = q.Get("code_challenge"), q.Get("redirect_uri")
	i.mu.Unlock()
	if u.Path != "/auth/cli" || q.Get("code_challenge_method") != "S256" {
		i.t.Errorf("asked at %s", address)
	}
	go i.visit(q.Get("redirect_uri") + "?" + url.Values{"code": {"the-code"}, "state": {q.Get("state")}}.Encode())
	return nil
}

func (i *issuer) visit(address string) (int, string) {
	resp, err := http.Get(address) //nolint:noctx // it ends with the command
	if err != nil {
		i.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		i.t.Error(err)
	}
	return resp.StatusCode, string(page)
}

// signedOut is a console without a token, of a user with a home.
func signedOut(t *testing.T, f *fakePortal) *console {
	c := at(t, f)
	delete(c.env, "PORTAL_TOKEN")
	c.env["HOME"] = t.TempDir()
	return c
}

func (c *console) file() string {
	return filepath.Join(c.env["HOME"], ".config", "platform-portal", "sign-ins.json")
}

func (f *fakePortal) lastToken() string {
	f.t.Helper()
	all := f.requests("GET", "/tokens")
	if len(all) == 0 {
		f.t.Fatal("no request")
	}
	return all[len(all)-1].header.Get("Authorization")
}

func TestLogin(t *testing.T) {
	f := newFake(t)
	i := (&issuer{t: t, life: 600}).serve(f)
	c := signedOut(t, f)
	c.open = i.agree
	delete(c.env, "PORTAL_URL")
	c.run("login", f.URL+"/").want(t, 0, "Signed in to "+f.URL)
	info, err := os.Stat(c.file())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the sign-in is kept as %v, %v", info, err)
	}
	// No command needs an address or a token any more.
	c.run("token", "ls").want(t, 0)
	if got := f.lastToken(); got != "Bearer access-1" {
		t.Errorf("sent %q", got)
	}
	c.env["PORTAL_TOKEN"] = "ptl_given"
	c.run("token", "ls").want(t, 0)
	if got := f.lastToken(); got != "Bearer ptl_given" {
		t.Errorf("a given token does not win: %q", got)
	}
	delete(c.env, "PORTAL_TOKEN")
	c.run("logout").want(t, 0, "Signed out of "+f.URL)
	if data, _ := os.ReadFile(c.file()); !i.ended || strings.Contains(string(data), "refresh") || strings.Contains(string(data), "access") {
		t.Errorf("ended %v, kept %s", i.ended, data)
	}
	c.env["PORTAL_URL"] = f.URL
	c.run("logout").want(t, 0, "You were not signed in")
	c.run("token", "ls").want(t, 0)
	if got := f.lastToken(); got != "" {
		t.Errorf("sent %q after signing out", got)
	}
}

func TestSignInsRenewThemselvesOnce(t *testing.T) {
	f := newFake(t)
	i := (&issuer{t: t, life: 20}).serve(f) // shorter than what a command wants to have left
	c := signedOut(t, f)
	c.open = i.agree
	c.run("login").want(t, 0)
	i.mu.Lock()
	i.life = 600
	i.mu.Unlock()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { c.run("token", "ls").want(t, 0) })
	}
	wg.Wait()
	if i.serial != 2 || i.reused || f.lastToken() != "Bearer access-2" {
		t.Errorf("%d grants, used again %v, sent %s", i.serial, i.reused, f.lastToken())
	}
}

func TestSignInThatIsOver(t *testing.T) {
	f := newFake(t)
	i := (&issuer{t: t, life: 20}).serve(f)
	c := signedOut(t, f)
	c.open = i.agree
	c.run("login").want(t, 0)
	i.mu.Lock()
	i.refresh = ""
	i.mu.Unlock()
	c.run("token", "ls").want(t, 4, "not signed in to "+f.URL, "portal login "+f.URL)
	if n := len(f.requests("GET", "/tokens")); n != 0 {
		t.Errorf("%d requests without a token", n)
	}
	c.run("logout").want(t, 0, "You were not signed in")
}

func TestLogoutWithoutThePortal(t *testing.T) {
	f := newFake(t)
	i := (&issuer{t: t, life: 600}).serve(f)
	c := signedOut(t, f)
	c.open = i.agree
	c.run("login").want(t, 0)
	f.Close()
	c.run("logout").want(t, 0, "Signed out", "could not be told")
}

// Other pages and programs of this machine reach the port, too.
func TestLoginTakesOnlyItsOwnAnswer(t *testing.T) {
	f := newFake(t)
	i := (&issuer{t: t, life: 600}).serve(f)
	c := signedOut(t, f)
	c.open = func(address string) error {
		u, _ := url.Parse(address)
		redirect := u.Query().Get("redirect_uri")
		for _, wrong := range []string{redirect, redirect + "?code=evil", redirect + "?code=evil&state=guess", strings.TrimSuffix(redirect, "/done") + "/?code=evil&state=" + u.Query().Get("state"),
			strings.Replace(redirect, "127.0.0.1", "localhost", 1) + "?code=evil&state=" + u.Query().Get("state")} {
			if status, page := i.visit(wrong); status != 400 || !strings.Contains(page, "not for us") {
				t.Errorf("%s: %d %s", wrong, status, page)
			}
		}
		return i.agree(address)
	}
	c.run("login").want(t, 0, "Signed in")
}

func TestLoginRefused(t *testing.T) {
	f := newFake(t)
	i := (&issuer{t: t}).serve(f)
	c := signedOut(t, f)
	c.open = func(address string) error {
		u, _ := url.Parse(address)
		go i.visit(u.Query().Get("redirect_uri") + "?error=access_denied&state=" + u.Query().Get("state"))
		return nil
	}
	c.run("login").want(t, 4, "refused in the browser")
	if _, err := os.Stat(c.file()); err == nil {
		t.Error("something was kept")
	}
	c.open = nil
	c.run("login", "--wait", "1ms").want(t, 6, "Nobody signed in", "Open this address")
	c.run("login", "--wait", "0s").want(t, 2)
	c.run("login", "portal.example.com").want(t, 2, "not the address of a portal")
	c.run("login", "https://u:p@portal.example.com").want(t, 2)
}

var printed = regexp.MustCompile(`http\S+/auth/cli\S+`)

// A browser on another machine can't come back; its last address is pasted.
func TestLoginByPasting(t *testing.T) {
	f := newFake(t)
	i := (&issuer{t: t, life: 600}).serve(f)
	c := signedOut(t, f)
	c.tty = true
	pasted, paste := io.Pipe()
	c.stdin = pasted
	var once sync.Once
	c.each = func(text string) {
		if m := printed.FindString(text); m != "" && strings.Contains(text, "paste") {
			once.Do(func() {
				u, _ := url.Parse(m)
				q := u.Query()
				i.mu.Lock()
				i.challenge, i.redirect = q.Get("code_challenge"), q.Get("redirect_uri")
				i.mu.Unlock()
				go fmt.Fprintf(paste, "nonsense\n%s?code=the-code&state=%s\n", i.redirect, q.Get("state"))
			})
		}
	}
	c.run("login", "--no-browser").want(t, 0, "Signed in")
}

func TestSignInFileThatIsBroken(t *testing.T) {
	f := newFake(t)
	c := signedOut(t, f)
	if err := os.MkdirAll(filepath.Dir(c.file()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.file(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("token", "ls").want(t, 2, c.file(), "portal login")
	c.env["PORTAL_TOKEN"] = "ptl_given"
	f.on("GET /tokens", 200, `{"items":[]}`)
	c.run("token", "ls").want(t, 0) // who brings a token needs no file
	delete(c.env, "HOME")
	delete(c.env, "PORTAL_TOKEN")
	i := (&issuer{t: t, life: 600}).serve(f)
	c.open = i.agree
	c.run("login").want(t, 2, "HOME")
}
