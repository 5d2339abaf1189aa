package signin_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"html"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// shell is where a person runs commands.
type shell struct {
	w    *world
	home string
}

func (s *shell) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.w.t.Context(), s.w.Bin, args...)
	cmd.Env = []string{"HOME=" + s.home, "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("PORTAL_COVERDIR")}
	return cmd
}

func (s *shell) run(args ...string) (string, int) {
	s.w.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	code := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // it is what Wait gives
		code = exit.ExitCode()
	} else if err != nil {
		s.w.t.Fatal(err)
	}
	return string(out), code
}

var cliAddress = regexp.MustCompile(`http://\S+/auth/cli\?\S+`)

// login runs portal login; the browser's person gives the answer.
func (s *shell) login(b *browser, answer string) (string, int) {
	t := s.w.t
	t.Helper()
	cmd := s.command("login", "--no-browser", s.w.URL)
	var out, told bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(io.TeeReader(errs, &told))
	address := ""
	for address == "" && lines.Scan() {
		address = cliAddress.FindString(lines.Text())
	}
	b.consent(address, answer)
	for lines.Scan() { // until the end
	}
	code := 0
	if exit, ok := cmd.Wait().(*exec.ExitError); ok { //nolint:errorlint // it is what Wait gives
		code = exit.ExitCode()
	}
	return out.String() + told.String(), code
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)

// consent answers the page that asks for the command line, and goes where the
// browser would go then.
func (b *browser) consent(address, answer string) {
	t := b.w.t
	t.Helper()
	p := b.get(address).want(200, "wants to act for you", "portal login")
	form := url.Values{"answer": {answer}}
	for _, m := range hidden.FindAllStringSubmatch(p.body, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	p = b.post("/auth/cli", form).want(200)
	back, ok := strings.CutPrefix(p.header.Get("Refresh"), "0; url=")
	if u, err := url.Parse(back); !ok || err != nil || u.Hostname() != "127.0.0.1" || answer == "allow" && strings.Contains(p.body, u.Query().Get("code")) {
		t.Fatalf("the browser is led to %q", p.header.Get("Refresh"))
	}
	b.get(back, "Sec-Fetch-Site", "cross-site").want(200)
}

func TestPortalLogin(t *testing.T) {
	w := start(t)
	b := w.browser()
	if to := b.get("/auth/cli?code_challenge=x&state=y").want(303).location(); to != "/auth/login?next=%2Fauth%2Fcli%3Fcode_challenge%3Dx%26state%3Dy" {
		t.Errorf("a stranger is led to %s", to)
	}
	w.signInByLink(b).want(303)
	s := &shell{w: w, home: t.TempDir()}

	if out, code := s.login(b, "refuse"); code != 4 || !strings.Contains(out, "refused") {
		t.Errorf("refused: %d %s", code, out)
	}
	if out, code := s.run("agents", "ls", "--server", w.URL); code != 4 {
		t.Errorf("without a sign-in: %d %s", code, out)
	}
	if out, code := s.login(b, "allow"); code != 0 || !strings.Contains(out, "Signed in to "+w.URL) {
		t.Fatalf("allowed: %d %s", code, out)
	}
	if out, code := s.run("agents", "ls"); code != 0 {
		t.Errorf("signed in: %d %s", code, out)
	}

	// Several commands at once find that the access token is over.
	s.age()
	before := s.kept()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if out, code := s.run("agents", "ls"); code != 0 {
				t.Errorf("after renewal: %d %s", code, out)
			}
		})
	}
	wg.Wait()
	after := s.kept()
	if before == after {
		t.Error("the sign-in was not renewed")
	}
	// Whoever has the old refresh token ends the session for everybody.
	s.age()
	s.replace(after, before)
	if out, code := s.run("agents", "ls"); code != 4 || !strings.Contains(out, "portal login") {
		t.Errorf("a refresh token was used twice: %d %s", code, out)
	}

	if _, code := s.login(b, "allow"); code != 0 {
		t.Fatal("the second sign-in fails")
	}
	token := s.sign().Access
	if out, code := s.run("logout"); code != 0 || !strings.Contains(out, "Signed out") || strings.Contains(out, "Warning") {
		t.Errorf("signing out: %d %s", code, out)
	}
	if p := w.browser().get("/api/platform/agents", "Authorization", "Bearer "+token, "Accept", "application/json"); p.status != 401 {
		t.Errorf("the access token works after signing out: %d", p.status)
	}
	if b.signedIn() == "" {
		t.Error("the browser was signed out, too")
	}
}

type kept struct {
	Access  string    `json:"access_token"`
	Expires time.Time `json:"expires"`
	Refresh string    `json:"refresh_token"`
}

func (s *shell) path() string {
	return filepath.Join(s.home, ".config", "platform-portal", "sign-ins.json")
}

func (s *shell) read() map[string]any {
	s.w.t.Helper()
	data, err := os.ReadFile(s.path())
	if err != nil {
		s.w.t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		s.w.t.Fatal(err)
	}
	return all
}

func (s *shell) sign() (k kept) {
	s.w.t.Helper()
	data, err := json.Marshal(s.read()["portals"].(map[string]any)[s.w.URL])
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		s.w.t.Fatal(err)
	}
	return k
}

func (s *shell) kept() string { return s.sign().Refresh }

// age makes the access token look over.
func (s *shell) age() {
	s.w.t.Helper()
	s.replace(s.sign().Expires.Format(time.RFC3339Nano), time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano))
}

func (s *shell) replace(old, with string) {
	s.w.t.Helper()
	data, err := os.ReadFile(s.path())
	if err == nil {
		err = os.WriteFile(s.path(), []byte(strings.ReplaceAll(string(data), old, with)), 0o600)
	}
	if err != nil {
		s.w.t.Fatal(err)
	}
}

func TestCommandLinesThatMustNotBeSignedIn(t *testing.T) {
	w := start(t)
	b := w.browser()
	w.signInByLink(b).want(303)
	const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	good := url.Values{"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "redirect_uri": {"http://127.0.0.1:7777/done"}, "state": {"s"}}
	b.get("/auth/cli?" + good.Encode()).want(200)
	for name, c := range map[string]struct{ field, value string }{
		"another site": {"redirect_uri", "http://evil.example:7777/"}, "like this machine": {"redirect_uri", "http://127.0.0.1.evil.example:7777/"},
		"a user": {"redirect_uri", "http://127.0.0.1:7777@evil.example/"}, "no port": {"redirect_uri", "http://127.0.0.1/"}, "a name": {"redirect_uri", "http://localhost:7777/"},
		"a script": {"redirect_uri", "javascript:alert(1)"}, "a header": {"redirect_uri", "http://127.0.0.1:7777/\r\nX: y"},
		"plain challenge": {"code_challenge_method", "plain"}, "no challenge": {"code_challenge", ""}, "no state": {"state", ""},
	} {
		q := url.Values{}
		for k, v := range good {
			q[k] = v
		}
		q.Set(c.field, c.value)
		if p := b.get("/auth/cli?" + q.Encode()); p.status != 400 || !strings.Contains(html.UnescapeString(p.body), "can't be signed in") {
			t.Errorf("%s: %d %s", name, p.status, p.body)
		}
		q.Set("answer", "allow")
		if p := b.post("/auth/cli", q); p.status != 400 || p.header.Get("Refresh") != "" {
			t.Errorf("%s: %d %v", name, p.status, p.header)
		}
	}
	good.Set("answer", "allow")
	b.post("/auth/cli", good, "Sec-Fetch-Site", "cross-site").want(403)
	if p := w.browser().post("/auth/cli", good); p.status != 401 || p.header.Get("Refresh") != "" {
		t.Errorf("a stranger: %d %v", p.status, p.header)
	}
}
