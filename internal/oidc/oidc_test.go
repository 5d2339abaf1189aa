package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/oidc"
	"github.com/waooaw/platform-portal/internal/oidc/oidctest"
)

// world is a portal's side of sign-ins, with a clock of its own.
type world struct {
	t     *testing.T
	now   time.Time
	flows oidc.Flows
	rogue *rogue
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Now()}
	w.flows = newFlows(t, func() time.Time { return w.now })
	w.rogue = newRogue(t, func() time.Time { return w.now })
	return w
}

// again is the same portal with another provider: opening its store takes long.
func (w *world) again(t *testing.T) *world {
	out := &world{t: t, now: w.now, flows: w.flows}
	out.rogue = newRogue(t, func() time.Time { return out.now })
	return out
}

func (w *world) provider(change ...func(*oidc.Config)) *oidc.Provider {
	w.t.Helper()
	cfg := oidc.Config{
		Issuer: w.rogue.issuer(), ClientID: clientID, Secret: clientSecret, Redirect: redirect,
		Flows: w.flows, Now: func() time.Time { return w.now },
	}
	for _, c := range change {
		c(&cfg)
	}
	p, err := oidc.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// begin starts a sign-in and gives what the provider would send back.
func (w *world) begin(p *oidc.Provider, browser string) url.Values {
	w.t.Helper()
	address, err := p.Begin(w.t.Context(), browser, "/agents?x=1")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.rogue.authorize(address)
}

// refused checks that the sign-in fails as it should, in words that give
// nothing away.
func (w *world) refused(err error, kind fault.Kind, code, why string) {
	w.t.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != kind || f.Code != code || !strings.Contains(f.Error(), why) {
		w.t.Errorf("got %v, want %s %s with %q", err, kind, code, why)
		return
	}
	if text := f.Error(); strings.Contains(text, clientSecret) || strings.Contains(text, "at-1") || f.Remedy == "" {
		w.t.Errorf("the fault says too much or too little: %s", text)
	}
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	p, browser := w.provider(), oidc.NewBrowser()
	who, next, err := p.Finish(t.Context(), browser, w.begin(p, browser))
	if err != nil {
		t.Fatal(err)
	}
	if who.Subject != "ann-1" || who.Email != "Ann@Example.com" || !who.EmailVerified || who.Name != "Ann" || who.Provider != p.Name() || next != "/agents?x=1" {
		t.Errorf("%+v %q", who, next)
	}
	if !slices.Equal(who.Claims["groups"], []string{"ops", "dev"}) || !slices.Equal(who.Claims["hd"], []string{"example.com"}) || who.Claims["nonce"] != nil {
		t.Errorf("claims %v", who.Claims)
	}
	if n := w.rogue.asked["/userinfo"]; n != 0 {
		t.Errorf("UserInfo was asked %d times without need", n)
	}
}

func TestStateIsForOneSignInInOneBrowser(t *testing.T) {
	w := newWorld(t)
	p, browser := w.provider(), oidc.NewBrowser()
	good := func() url.Values { return w.begin(p, browser) }
	for name, c := range map[string]struct {
		browser string
		answer  func() url.Values
		code    string
	}{
		"none":            {browser, func() url.Values { a := good(); a.Del("state"); return a }, "auth.flow_over"},
		"made up":         {browser, func() url.Values { a := good(); a.Set("state", rand.Text()); return a }, "auth.flow_over"},
		"another browser": {oidc.NewBrowser(), good, "oidc.answer"},
		"no browser":      {"", good, "oidc.answer"},
		"twice":           {browser, func() url.Values { a := good(); a.Add("state", a.Get("state")); return a }, "oidc.answer"},
		"two codes":       {browser, func() url.Values { a := good(); a.Add("code", "x"); return a }, "oidc.answer"},
		"no code":         {browser, func() url.Values { a := good(); a.Del("code"); return a }, "oidc.answer"},
		"replayed": {browser, func() url.Values {
			a := good()
			if _, _, err := p.Finish(t.Context(), browser, a); err != nil {
				t.Error(err)
			}
			return a
		}, "auth.flow_over"},
		"too late":                   {browser, func() url.Values { a := good(); w.now = w.now.Add(oidc.FlowLife); return a }, "auth.flow_over"},
		"of another provider's flow": {browser, func() url.Values { a := good(); a.Set("iss", "https://evil.example"); return a }, "oidc.answer"},
	} {
		before := w.rogue.asked["/token"]
		answer := c.answer()
		if name == "replayed" {
			before++
		}
		_, _, err := p.Finish(t.Context(), c.browser, answer)
		if w.refused(err, fault.Unauthenticated, c.code, ""); w.rogue.asked["/token"] != before {
			t.Errorf("%s: the code was used all the same", name)
		}
	}
}

func TestFlowOfAnotherProvider(t *testing.T) {
	w := newWorld(t)
	browser := oidc.NewBrowser()
	answer := w.begin(w.provider(), browser)
	other := newRogue(t, func() time.Time { return w.now })
	p := w.provider(func(c *oidc.Config) { c.Issuer = other.issuer() })
	_, _, err := p.Finish(t.Context(), browser, answer)
	w.refused(err, fault.Unauthenticated, "oidc.answer", "another identity provider")
	if other.asked["/token"] != 0 {
		t.Error("one provider's code was given to another")
	}
}

func TestIssuerThatMustBeSaid(t *testing.T) {
	w := newWorld(t)
	w.rogue.metadata = map[string]any{"authorization_response_iss_parameter_supported": true}
	p, browser := w.provider(), oidc.NewBrowser()
	_, _, err := p.Finish(t.Context(), browser, w.begin(p, browser))
	w.refused(err, fault.Unauthenticated, "oidc.answer", "does not come from")
	answer := w.begin(p, browser)
	answer.Set("iss", w.rogue.issuer())
	if _, _, err := p.Finish(t.Context(), browser, answer); err != nil {
		t.Error(err)
	}
}

func publicPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(keyOf().Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestTokensThatMustNotBeTaken(t *testing.T) {
	base := newWorld(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, value any) func(*world) {
		return func(w *world) { w.rogue.claims = func(c map[string]any) { c[name] = value } }
	}
	sign := func(how func(*rogue, map[string]any) string) func(*world) {
		return func(w *world) {
			w.rogue.sign = func(c map[string]any) string { return how(w.rogue, c) }
		}
	}
	for name, c := range map[string]struct {
		change func(*world)
		why    string
	}{
		"wrong nonce":       {set("nonce", "other"), "another sign-in"},
		"no nonce":          {set("nonce", nil), "another sign-in"},
		"wrong audience":    {set("aud", "other"), "not one that"},
		"no audience":       {set("aud", nil), "not one that"},
		"many audiences":    {set("aud", []string{clientID, "other"}), "another program"},
		"another party":     {set("azp", "other"), "another program"},
		"wrong issuer":      {set("iss", "https://accounts.google.com"), "not one that"},
		"no subject":        {set("sub", ""), "for whom"},
		"another at_hash":   {set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "another access token"},
		"claims of no kind": {set("azp", 7), "not one that"},
		"expired":           {func(w *world) { set("exp", w.now.Add(-time.Second).Unix())(w) }, "expired"},
		"no expiry":         {set("exp", nil), "not one that"},
		"not yet valid":     {func(w *world) { set("nbf", w.now.Add(time.Hour).Unix())(w) }, "not one that"},
		"alg none":          {sign(func(_ *rogue, c map[string]any) string { return unsigned(c) }), "not one that"},
		"no token":          {sign(func(*rogue, map[string]any) string { return "" }), "not one that"},
		"rubbish":           {sign(func(*rogue, map[string]any) string { return "a.b.c" }), "not one that"},
		"a stranger's key":  {sign(func(p *rogue, c map[string]any) string { return p.signed(jose.RS256, stranger, c) }), "not one that"},
		"key made of secret": {sign(func(p *rogue, c map[string]any) string {
			return p.signed(jose.HS256, []byte(strings.Repeat(clientSecret, 4)), c)
		}), "not one that"},
		"public key as key": {sign(func(p *rogue, c map[string]any) string { return p.signed(jose.HS256, publicPEM(p.t), c) }), "not one that"},
		"changed afterwards": {sign(func(p *rogue, c map[string]any) string {
			parts := strings.Split(p.signed(jose.RS256, keyOf(), c), ".")
			c["sub"] = "root"
			parts[1] = strings.Split(unsigned(c), ".")[1]
			return strings.Join(parts, ".")
		}), "not one that"},
	} {
		t.Run(name, func(t *testing.T) {
			w := base.again(t)
			c.change(w)
			p, browser := w.provider(), oidc.NewBrowser()
			who, _, err := p.Finish(t.Context(), browser, w.begin(p, browser))
			if w.refused(err, fault.Unauthenticated, "oidc.answer", c.why); who.Subject != "" || who.Email != "" {
				t.Errorf("it says who: %+v", who)
			}
		})
	}
}

func TestWhatTheTokenLacksComesFromUserInfo(t *testing.T) {
	base := newWorld(t)
	type is struct {
		email    string
		verified bool
		groups   []string
	}
	for name, c := range map[string]struct {
		token, info map[string]any
		want        is
	}{
		"all in the token":       {map[string]any{}, map[string]any{"sub": "ann-1", "email": "eve@example.com", "groups": []string{"admins"}}, is{"Ann@Example.com", true, []string{"ops", "dev"}}},
		"no e-mail":              {map[string]any{"email": nil, "email_verified": nil}, map[string]any{"sub": "ann-1", "email": "ann@b.org", "email_verified": true}, is{"ann@b.org", true, []string{"ops", "dev"}}},
		"verified as a text":     {map[string]any{"email": nil, "email_verified": nil}, map[string]any{"sub": "ann-1", "email": "ann@b.org", "email_verified": "true"}, is{"ann@b.org", true, []string{"ops", "dev"}}},
		"not verified":           {map[string]any{"email_verified": false}, map[string]any{"sub": "ann-1", "email": "ann@example.com", "email_verified": false}, is{"ann@example.com", false, []string{"ops", "dev"}}},
		"not said":               {map[string]any{"email_verified": nil}, map[string]any{"sub": "ann-1"}, is{"Ann@Example.com", false, []string{"ops", "dev"}}},
		"another is verified":    {map[string]any{"email_verified": nil}, map[string]any{"sub": "ann-1", "email": "eve@example.com", "email_verified": true}, is{"Ann@Example.com", false, []string{"ops", "dev"}}},
		"verified, but of what?": {map[string]any{"email": nil, "email_verified": true}, map[string]any{"sub": "ann-1", "email": "eve@example.com"}, is{"eve@example.com", false, []string{"ops", "dev"}}},
		"no e-mail anywhere":     {map[string]any{"email": nil}, map[string]any{"sub": "ann-1"}, is{"", true, []string{"ops", "dev"}}},
		"groups":                 {map[string]any{"groups": nil}, map[string]any{"sub": "ann-1", "groups": []string{"admins"}}, is{"Ann@Example.com", true, []string{"admins"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := base.again(t)
			w.rogue.userInfo = c.info
			w.rogue.claims = func(claims map[string]any) {
				for k, v := range c.token {
					if claims[k] = v; v == nil {
						delete(claims, k)
					}
				}
			}
			p, browser := w.provider(func(cfg *oidc.Config) { cfg.Claims = []string{"groups"} }), oidc.NewBrowser()
			who, _, err := p.Finish(t.Context(), browser, w.begin(p, browser))
			if err != nil || who.Email != c.want.email || who.EmailVerified != c.want.verified || !slices.Equal(who.Claims["groups"], c.want.groups) {
				t.Errorf("%+v %v", who, err)
			}
		})
	}
}

func TestUserInfoOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	w.rogue.claims = func(c map[string]any) { delete(c, "email") }
	w.rogue.userInfo = map[string]any{"sub": "root-1", "email": "root@example.com", "email_verified": true}
	p, browser := w.provider(), oidc.NewBrowser()
	_, _, err := p.Finish(t.Context(), browser, w.begin(p, browser))
	w.refused(err, fault.Unauthenticated, "oidc.answer", "somebody else")
}

func TestProviderThatFails(t *testing.T) {
	base := newWorld(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the code was sent elsewhere") }))
	defer elsewhere.Close()
	status := func(code int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code); _, _ = w.Write([]byte(body)) }
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		kind   fault.Kind
		code   string
	}{
		"code refused":   {status(400, `{"error":"invalid_grant","error_description":"<b>at-1</b>"}`), fault.Unauthenticated, "oidc.answer"},
		"client refused": {status(401, `{"error":"invalid_client"}`), fault.Unavailable, "oidc.client"},
		"broken":         {status(500, `oops not-a-secret`), fault.Unavailable, "oidc.unreachable"},
		"no JSON":        {status(200, `<html>`), fault.Unavailable, "oidc.unreachable"},
		"too large":      {status(200, strings.Repeat(" ", 2<<20)+`{"access_token":"at-1"}`), fault.Unavailable, "oidc.unreachable"},
		"redirects": {func(w http.ResponseWriter) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, fault.Unavailable, "oidc.unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			w := base.again(t)
			w.rogue.answer = c.answer
			p, browser := w.provider(), oidc.NewBrowser()
			_, _, err := p.Finish(t.Context(), browser, w.begin(p, browser))
			w.refused(err, c.kind, c.code, "")
		})
	}
}

func TestProviderThatDeclines(t *testing.T) {
	w := newWorld(t)
	p, browser := w.provider(), oidc.NewBrowser()
	for said, want := range map[string]struct {
		kind fault.Kind
		code string
	}{
		"access_denied": {fault.Unauthenticated, "oidc.declined"}, "server_error": {fault.Unavailable, "oidc.refused"},
		"<script>alert(1)</script>": {fault.Unavailable, "oidc.refused"},
	} {
		answer := w.begin(p, browser)
		answer.Del("code")
		answer.Set("error", said)
		answer.Set("error_description", "call 555")
		_, next, err := p.Finish(t.Context(), browser, answer)
		if w.refused(err, want.kind, want.code, ""); strings.Contains(err.Error(), "<") || strings.Contains(err.Error(), "555") || next == "" {
			t.Errorf("it repeats what anybody can write: %v", err)
		}
	}
}

func TestProviderThatIsDownForAWhile(t *testing.T) {
	w := newWorld(t)
	w.rogue.down = true
	p := w.provider()
	for range 3 {
		if _, err := p.Begin(t.Context(), "b", "/"); !fault.Is(err, fault.Unavailable) {
			t.Fatal(err)
		}
		w.refused(p.Check(t.Context()), fault.Unavailable, "oidc.unreachable", "can't be reached")
	}
	const configuration = "/.well-known/openid-configuration"
	if n := w.rogue.asked[configuration]; n != 1 {
		t.Errorf("a provider that is down was asked %d times in one moment", n)
	}
	w.rogue.down = false
	w.now = w.now.Add(5 * time.Second)
	if err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Finish(t.Context(), "b", w.begin(p, "b")); err != nil {
		t.Fatal(err)
	}
	if n := w.rogue.asked[configuration]; n != 2 {
		t.Errorf("the configuration was read %d times", n)
	}
	w.rogue.down = true
	w.now = w.now.Add(time.Minute)
	w.refused(p.Check(t.Context()), fault.Unavailable, "oidc.unreachable", "can't be reached")
}

// Nobody can make a sign-in look broken to others by going away.
func TestWhoGoesAwayBreaksNothing(t *testing.T) {
	w := newWorld(t)
	p := w.provider()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = p.Check(gone)
	if err := p.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConfigurationThatMustNotBeTrusted(t *testing.T) {
	base := newWorld(t)
	for name, change := range map[string]map[string]any{
		"another issuer":              {"issuer": "https://accounts.google.com"},
		"sign-in not encrypted":       {"authorization_endpoint": "http://example.com/a"},
		"a script":                    {"authorization_endpoint": "javascript:alert(1)"},
		"codes not encrypted":         {"token_endpoint": "http://example.com/t"},
		"keys not encrypted":          {"jwks_uri": "http://10.0.0.1/k"},
		"no keys":                     {"jwks_uri": ""},
		"addresses without a machine": {"token_endpoint": "https:///t"},
	} {
		w := base.again(t)
		w.rogue.metadata = change
		_, err := w.provider().Begin(t.Context(), "b", "/")
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIssuers(t *testing.T) {
	for issuer, ok := range map[string]bool{
		oidc.Google: true, "https://login.example.com/realms/x": true, "http://127.0.0.1:5556/dex": true, "http://localhost/dex": true, "http://[::1]:1": true,
		"": false, "accounts.google.com": false, "http://example.com": false, "http://127.0.0.1.example.com": false, "https://u:p@example.com": false,
		"https://example.com?x=1": false, "https://example.com#x": false, "ftp://example.com": false, "https://": false,
	} {
		p, err := oidc.New(oidc.Config{Issuer: issuer})
		if (err == nil) != ok {
			t.Errorf("%q: %v", issuer, err)
		}
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", issuer, err)
		}
		if err == nil && (p.Label() == "" || p.Name() == "" || len(p.Name()) > 64 || url.PathEscape(p.Name()) != p.Name()) {
			t.Errorf("%q is called %q and %q", issuer, p.Name(), p.Label())
		}
	}
	a, _ := oidc.New(oidc.Config{Issuer: "https://login.example.com/realms/a"})
	b, _ := oidc.New(oidc.Config{Issuer: "https://login.example.com/realms/b"})
	g, _ := oidc.New(oidc.Config{Issuer: oidc.Google})
	if a.Name() == b.Name() || g.Name() != "google" || g.Label() != "Google" {
		t.Errorf("names %q %q %q", a.Name(), b.Name(), g.Name())
	}
}

// TestDex signs in at a real provider.
func TestDex(t *testing.T) {
	w := newWorld(t)
	issuer, stop := oidctest.Stoppable(t, oidctest.Config{
		Clients: []oidctest.Client{{ID: clientID, Secret: clientSecret, RedirectURIs: []string{redirect}}},
		People:  []oidctest.Person{{ID: "1", Name: "Ann", Email: "ann@example.com", Password: "correct horse"}},
		Groups:  true,
	})
	p := w.provider(func(c *oidc.Config) {
		c.Issuer, c.Scopes, c.Claims = issuer, []string{"email", "profile", "groups"}, []string{"groups"}
	})
	begin := func(browser string) string {
		t.Helper()
		address, err := p.Begin(t.Context(), browser, "/")
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	browser := oidc.NewBrowser()
	back := oidctest.SignIn(t, begin(browser), "ann@example.com", "correct horse")
	who, next, err := p.Finish(t.Context(), browser, back.Query())
	if err != nil || who.Email != "ann@example.com" || !who.EmailVerified || who.Name != "Ann" || who.Subject == "" || next != "/" {
		t.Fatalf("%+v %v", who, err)
	}
	again, _, err := p.Finish(t.Context(), browser, oidctest.SignIn(t, begin(browser), "ann@example.com", "correct horse").Query())
	if err != nil || again.Subject != who.Subject {
		t.Errorf("the second time: %+v %v", again, err)
	}
	// A code that was used, in a flow that is new.
	replay := oidctest.SignIn(t, begin(browser), "ann@example.com", "correct horse").Query()
	replay.Set("code", back.Query().Get("code"))
	_, _, err = p.Finish(t.Context(), browser, replay)
	w.refused(err, fault.Unauthenticated, "oidc.answer", "its code")
	// A code of somebody else's flow: their verifier is not ours.
	theirs := oidctest.SignIn(t, begin(oidc.NewBrowser()), "ann@example.com", "correct horse").Query()
	mine := oidctest.SignIn(t, begin(browser), "ann@example.com", "correct horse").Query()
	mine.Set("code", theirs.Get("code"))
	_, _, err = p.Finish(t.Context(), browser, mine)
	w.refused(err, fault.Unauthenticated, "oidc.answer", "its code")

	grouped, _, err := p.Finish(t.Context(), browser, oidctest.SignInWithGroups(t, begin(browser)).Query())
	if err != nil || grouped.Email != "kilgore@kilgore.trout" || !slices.Equal(grouped.Claims["groups"], []string{"authors"}) {
		t.Errorf("%+v %v", grouped, err)
	}

	wrong := w.provider(func(c *oidc.Config) { c.Issuer, c.Secret = issuer, "wrong" })
	address, err := wrong.Begin(t.Context(), browser, "/")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = wrong.Finish(t.Context(), browser, oidctest.SignIn(t, address, "ann@example.com", "correct horse").Query())
	w.refused(err, fault.Unavailable, "oidc.client", "client id or secret")

	last := oidctest.SignIn(t, begin(browser), "ann@example.com", "correct horse").Query()
	stop()
	_, _, err = p.Finish(t.Context(), browser, last)
	w.refused(err, fault.Unavailable, "oidc.unreachable", "can't be reached")
}
