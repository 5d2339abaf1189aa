package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/oidc/oidctest"
)

func TestProvider(t *testing.T) {
	w := withProvider(t)
	t.Run("a rule lets in", w.ruleLetsIn)
	t.Run("a domain and a group let in", w.domainAndGroupLetIn)
	t.Run("nothing lets in", w.nothingLetsIn)
	t.Run("a sign-in is for one browser, once", w.oneBrowserOnce)
	t.Run("two windows at once", w.twoWindows)
	t.Run("made up answers", w.madeUpAnswers)
	t.Run("only from where the provider comes back to", w.fromWhereItComesBack)
	t.Run("the provider is gone", w.providerGone)
}

func (w *world) ruleLetsIn(t *testing.T) {
	b := w.browser()
	if to := b.get("/agents?q=a%26b").want(303).location(); to != "/auth/login?next=%2Fagents%3Fq%3Da%2526b" {
		t.Errorf("led to %s", to)
	}
	p := b.signInAt(ann, "/agents?q=a%26b").want(303)
	if p.location() != "/agents?q=a%26b" {
		t.Errorf("came back to %s", p.location())
	}
	for _, c := range p.header.Values("Set-Cookie") {
		if !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=") || !strings.Contains(c, "Path=/") {
			t.Errorf("cookie %s", c)
		}
	}
	if me := b.signedIn(); !strings.Contains(me, `"role":"admin"`) || !strings.Contains(me, `"name":"Ann"`) {
		t.Errorf("ann is %s", me)
	}
	b.get("/agents").want(200)
	b.post("/auth/sign-out", url.Values{}).want(303)
	if me := b.signedIn(); me != "" {
		t.Errorf("still signed in: %s", me)
	}
}

func (w *world) domainAndGroupLetIn(t *testing.T) {
	b := w.browser()
	b.signInAt(bob, "/").want(303)
	if me := b.signedIn(); !strings.Contains(me, `"role":"viewer"`) {
		t.Errorf("bob is %s", me)
	}
	b = w.browser()
	b.get(oidctest.SignInWithGroups(t, b.toProvider("/")).String()).want(303)
	if me := b.signedIn(); !strings.Contains(me, `"role":"operator"`) {
		t.Errorf("an author is %s", me)
	}
}

func (w *world) nothingLetsIn(t *testing.T) {
	b := w.browser()
	b.signInAt(eve, "/agents").want(403, "You have no access to this portal", eve, "Ask an administrator", "Use another account")
	if b.signedIn() != "" || b.cookie("portal_session") != "" {
		t.Error("eve has a session")
	}
}

func (w *world) oneBrowserOnce(t *testing.T) {
	b := w.browser()
	back := oidctest.SignIn(t, b.toProvider("/"), ann, password).String()
	other := w.browser()
	other.get(back).want(401, "The sign-in did not work", "another browser")
	if other.signedIn() != "" {
		t.Error("a sign-in was taken over")
	}
	b.get(back).want(401, "can't be continued") // it is used up all the same
	back = oidctest.SignIn(t, b.toProvider("/"), ann, password).String()
	b.get(back).want(303)
	again := w.browser()
	again.client.Jar = b.client.Jar
	again.post("/auth/sign-out", url.Values{}).want(303)
	again.get(back).want(401, "can't be continued")
	if again.signedIn() != "" {
		t.Error("an answer signed in twice")
	}
}

func (w *world) twoWindows(t *testing.T) {
	b := w.browser()
	first, second := b.toProvider("/agents"), b.toProvider("/docs")
	if to := b.get(oidctest.SignIn(t, first, ann, password).String()).want(303).location(); to != "/agents" {
		t.Errorf("the first came to %s", to)
	}
	if to := b.get(oidctest.SignIn(t, second, ann, password).String()).want(303).location(); to != "/docs" {
		t.Errorf("the second came to %s", to)
	}
}

func (w *world) madeUpAnswers(t *testing.T) {
	b := w.browser()
	b.toProvider("/")
	for _, q := range []string{"", "?state=x&code=y", "?error=access_denied&state=x", "?state=%00", "?code=1&code=2&state=a&state=b"} {
		if p := b.get("/auth/callback" + q); p.status != 401 && p.status != 429 {
			t.Errorf("%s: status %d", q, p.status)
		}
	}
	w.browser().get("/auth/provider/other").want(404)
	if b.signedIn() != "" {
		t.Error("signed in by a made up answer")
	}
}

func (w *world) fromWhereItComesBack(t *testing.T) {
	b := w.browser()
	path := button.FindStringSubmatch(b.get("/auth/login").body)
	p := b.get(path[1], "Host", "localhost").want(303)
	if p.location() != w.URL+path[1] || p.header.Get("Set-Cookie") != "" {
		t.Errorf("led to %s", p.location())
	}
}

// The portal starts and can be used without its provider.
func (w *world) providerGone(t *testing.T) {
	b := w.browser()
	inFlight := oidctest.SignIn(t, b.toProvider("/"), ann, password).String()
	w.stopProvider()
	b.get(inFlight).want(503, "Test people can't be reached")
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	w.launch()
	b.get("/auth/login").want(200, "Test people can't be reached", "Try again")
	w.signInByLink(b).want(303)
	if b.signedIn() == "" {
		t.Error("the other ways do not work")
	}
}

func TestOneTimeLink(t *testing.T) {
	w := start(t)
	b := w.browser()
	b.get("/auth/login").want(200, "Nobody has an account here yet", "sign-in link")
	link, err := w.SignInLink()
	if err != nil {
		t.Fatal(err)
	}
	code := link[strings.LastIndex(link, "/")+1:]
	for range 3 { // looking does not use it up
		p := b.get(link).want(200, "This link works once", `<form method="post"`)
		if strings.Contains(p.body, code) || p.header.Get("Cache-Control") != "no-store" || !strings.Contains(p.header.Get("Content-Security-Policy"), "form-action 'self'") {
			t.Errorf("%v %s", p.header, p.body)
		}
	}
	b.post(link, url.Values{}, "Sec-Fetch-Site", "cross-site").want(403)
	b.post(link, url.Values{}).want(303)
	if b.signedIn() == "" {
		t.Error("not signed in")
	}
	w.browser().post(link, url.Values{}).want(401, "does not work any more")
	if strings.Contains(w.Tail(), "path=/auth/link/"+code) {
		t.Error("the code is in the log")
	}
}

func TestLocalAccount(t *testing.T) {
	w := start(t)
	w.user("carl@example.com", "operator")
	b := w.browser()
	b.get("/auth/login?next=/agents").want(200, `name="email"`, `name="password"`, `value="/agents"`)
	form := func(email, password, next string) url.Values {
		return url.Values{"email": {email}, "password": {password}, "next": {next}}
	}
	b.post("/auth/login", form("carl@example.com", "wrong password here", "/agents")).want(401, "The e-mail or the password is wrong", "carl@example.com")
	unknown := b.post("/auth/login", form("nobody@example.com", "wrong password here", "/agents")).want(401, "The e-mail or the password is wrong")
	if strings.Contains(unknown.body, "wrong password here") {
		t.Error("the page repeats the password")
	}
	b.post("/auth/login", form("carl@example.com", password, "/agents"), "Sec-Fetch-Site", "cross-site").want(403)
	if b.signedIn() != "" {
		t.Error("signed in by another site")
	}
	if to := b.post("/auth/login", form("Carl@Example.com", password, "/agents")).want(303).location(); to != "/agents" || !strings.Contains(b.signedIn(), `"role":"operator"`) {
		t.Errorf("led to %s as %s", to, b.signedIn())
	}
	for next, want := range map[string]string{
		"//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "/%5cevil.example": "/", "/a\r\nSet-Cookie: x=1": "/",
		"javascript:alert(1)": "/", "": "/", "evil.example": "/", "/auth/login?next=/": "/", "//evil.example/%2f..": "/", "/\tevil": "/", "/%2f/evil.example": "/",
		"/auth/cli?x=1": "/auth/cli?x=1", "/agents?q=//x#y": "/agents?q=//x#y",
	} {
		if to := w.browser().post("/auth/login", form("carl@example.com", password, next)).want(303).location(); to != want {
			t.Errorf("%q led to %q, want %q", next, to, want)
		}
	}
}

func TestBruteForceIsSlowed(t *testing.T) {
	w := start(t)
	w.user("carl@example.com", "operator")
	b, slowed := w.browser(), false
	for range 30 {
		p := b.post("/auth/login", url.Values{"email": {"carl@example.com"}, "password": {"guess and guess again"}})
		if slowed = p.status == http.StatusTooManyRequests; slowed {
			p.want(429, "too many")
			break
		}
		p.want(401)
	}
	if !slowed {
		t.Error("thirty wrong passwords were looked at")
	}
	if b.post("/auth/login", url.Values{"email": {"carl@example.com"}, "password": {password}}); b.signedIn() != "" {
		t.Error("the right one is taken in the middle of it")
	}
}
