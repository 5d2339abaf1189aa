package web_test

import (
	"context"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/web"
	"github.com/waooaw/platform-portal/internal/webhook"
	"github.com/waooaw/platform-portal/internal/webhook/post"
)

// house is the pages behind their door, with real accounts.
type house struct {
	t     *testing.T
	ctx   context.Context // of the portal itself
	store *store.Store
	auth  *auth.Service
	hooks *webhook.Service
	url   string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	st := storetest.New(t)
	newID := func() string { return uuid.Must(uuid.NewV7()).String() }
	rec := &audit.Recorder{Store: st.Audit(), Now: time.Now}
	h := &house{t: t, ctx: auth.With(t.Context(), auth.System), store: st}
	h.auth = &auth.Service{Tokens: st.Tokens(), Links: st.Links(), Users: st.Users(), Sessions: st.Sessions(), Passkeys: st.Passkeys(), Flows: st.Flows(),
		Attempts: st.Attempts(), Passwords: auth.Argon2{Memory: 64, Time: 1, Threads: 1}, Key: make([]byte, 32), Tx: st, Audit: rec, Events: st.Events(), Now: time.Now, NewID: newID}
	server := httptest.NewUnstartedServer(nil)
	h.url = "http://" + server.Listener.Addr().String()
	loopback := egress.Policy{AllowLoopback: true}
	h.hooks = &webhook.Service{Store: st.Webhooks(), Attempts: st.Webhooks(), Log: st.Events(), Tx: st, Audit: rec, Key: make([]byte, 32),
		Sender: post.New(loopback, "test", time.Now), Source: h.url, Now: time.Now, NewID: newID, Random: func() float64 { return 0.5 },
		CheckURL: func(field, text string) error {
			_, err := loopback.CheckURL(field, text)
			return err
		}}
	pages := web.New(web.Config{
		Settings: web.Settings{Own: h.auth, Tokens: h.auth, Users: h.auth, Webhooks: h.hooks, WebhookReader: st.Webhooks()}, SignIns: web.SignIns{Accounts: h.auth, PublicURL: h.url},
		Door: web.Door{SetSession: door.SetSession, SessionOf: door.SessionOf, SecureOf: door.SecureOf, WrongCredentials: door.WrongCredentials},
		Log:  slog.New(slog.DiscardHandler),
	})
	cfg := httpapi.Config{Auth: h.auth, Observe: observe.Config{Audit: st.Audit(), Recorder: rec}, Recorder: rec, Idempotency: st.Idempotency(), Tx: st, NewID: newID,
		Log: slog.New(slog.DiscardHandler), Listen: "127.0.0.1:0"}
	for _, r := range web.Routes {
		cfg.Pages = append(cfg.Pages, door.Page{Handler: pages.Handler(r),
			Route: door.Route{Method: r.Method, Path: r.Path, Role: r.Role, Public: r.Public, ID: r.ID, Hidden: r.Hidden, Secret: r.Secret, Outward: r.Outward}})
	}
	cfg.ErrorPage = func(w http.ResponseWriter, r *http.Request, p *door.Problem) {
		pages.ErrorPage(w, r, web.Problem{Status: p.Status, What: p.What, Why: p.Why, Remedy: p.Remedy, Fields: p.Errors})
	}
	server.Config = httpapi.Server(httpapi.New(cfg), cfg.Log)
	server.Start()
	t.Cleanup(server.Close)
	return h
}

// browser is a browser without scripts.
type browser struct {
	h      *house
	client *http.Client
	status int
	at     string // path of the page that it shows
	page   string
	raw    string // with its markup
}

func (h *house) browser() *browser {
	h.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return &browser{h: h, client: &http.Client{Jar: jar}}
}

func (b *browser) do(req *http.Request, err error) *browser {
	b.h.t.Helper()
	if err != nil {
		b.h.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	resp, err := b.client.Do(req)
	if err != nil {
		b.h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	b.status, b.at, b.raw, b.page = resp.StatusCode, resp.Request.URL.Path, string(body), text(string(body))
	return b
}

func (b *browser) open(path string) *browser {
	b.h.t.Helper()
	return b.do(http.NewRequestWithContext(b.h.t.Context(), http.MethodGet, b.h.url+path, nil))
}

// send sends a form, as pairs of name and value.
func (b *browser) send(path string, fields ...string) *browser {
	b.h.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	req, err := http.NewRequestWithContext(b.h.t.Context(), http.MethodPost, b.h.url+path, strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.h.url)
	}
	return b.do(req, err)
}

// sees fails the test unless the page with the status shows all texts.
func (b *browser) sees(status int, texts ...string) *browser {
	b.h.t.Helper()
	if b.status != status {
		b.h.t.Errorf("%s: status %d, want %d: %.500s", b.at, b.status, status, b.page)
	}
	for _, s := range texts {
		if !strings.Contains(b.page, s) {
			b.h.t.Errorf("%s does not say %q: %.2000s", b.at, s, b.page)
		}
	}
	return b
}

func (b *browser) seesNot(texts ...string) *browser {
	b.h.t.Helper()
	for _, s := range texts {
		if strings.Contains(b.raw, s) {
			b.h.t.Errorf("%s says %q", b.at, s)
		}
	}
	return b
}

// value gives the value of the field with the name.
func (b *browser) value(name string) string {
	b.h.t.Helper()
	for _, tag := range regexp.MustCompile(`<input[^>]*>`).FindAllString(b.raw, -1) {
		if strings.Contains(tag, ` name="`+name+`"`) {
			if m := regexp.MustCompile(` value="([^"]*)"`).FindStringSubmatch(tag); m != nil {
				return html.UnescapeString(m[1])
			}
		}
	}
	b.h.t.Fatalf("%s has no field %s: %.2000s", b.at, name, b.raw)
	return ""
}

// text is what of a page people read.
func text(page string) string {
	page = regexp.MustCompile(`(?s)<(script|style|title)\b.*?</(script|style|title)>`).ReplaceAllString(page, " ")
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")
	return strings.Join(strings.Fields(html.UnescapeString(page)), " ")
}

// in opens a browser that a one-time link for the role has signed in.
func (h *house) in(role auth.Role) *browser {
	h.t.Helper()
	code, err := h.auth.NewLink(h.ctx, role, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.enter("/auth/link/" + code)
}

func (h *house) enter(path string) *browser {
	h.t.Helper()
	b := h.browser()
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if b.send(path); b.status != http.StatusSeeOther {
		h.t.Fatalf("status %d: %s", b.status, b.page)
	}
	b.client.CheckRedirect = nil
	return b
}

// person adds a user by the pages and gives their id and a browser that they
// are signed in with, by the link that the pages make.
func (h *house) person(admin *browser, email, role string) (string, *browser) {
	h.t.Helper()
	admin.open("/settings/users").send("/settings/users", "email", email, "name", "Ann <i>Ahrend</i>", "role", role, "provider", "local").
		sees(200, "The user was added", "Give "+email+" a sign-in link")
	id := regexp.MustCompile(`/settings/users/([^"/]+)/link`).FindStringSubmatch(admin.raw)[1]
	link := admin.send("/settings/users/"+id+"/link").sees(200, "It works once").value("link")
	return id, h.enter(strings.TrimPrefix(link, h.url))
}

const phrase = "a few words of mine"

func TestFromTheFirstLinkToAnAccount(t *testing.T) {
	h := newHouse(t)
	first := h.in(auth.Admin)
	first.open("/settings").sees(200, "one-time link", "Admin", "You have no account of your own")
	_, ann := h.person(first, "ann@example.com", "admin")
	ann.open("/settings/profile").sees(200, "ann@example.com", "Ann <i>Ahrend</i>", "You have no passkey yet").seesNot("Password now", "<i>")
	ann.send("/settings/profile/password", "password", "short").sees(400, "The password can't be used", "Is shorter than 12 characters")
	ann.send("/settings/profile/password", "password", phrase).sees(200, "Your password was changed")
	ann.send("/settings/profile", "name", "Ann").sees(200, "Your name was changed")
	ann.send("/settings/profile", "name", "a\x01b").sees(400, "Holds a character that can't be printed")

	again := h.browser()
	again.open("/settings/users")
	if again.at != "/auth/login" {
		t.Errorf("a stranger is led to %s", again.at)
	}
	again.send("/auth/login", "email", "ann@example.com", "password", "wrong wrong wrong").sees(401, "The e-mail or the password is wrong")
	again.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	again.send("/auth/login", "email", "ann@example.com", "password", phrase).sees(303)
	again.client.CheckRedirect = nil
	again.open("/settings/profile").sees(200, "Password now")
	again.send("/settings/profile/password", "current", "wrong wrong wrong", "password", phrase+" 2").sees(400, "Is wrong")
	again.seesNot("wrong wrong", phrase)
	again.open("/settings/profile?done=%3Cb%3Eowned").seesNot("owned")
}

func TestSessionsPage(t *testing.T) {
	h := newHouse(t)
	admin := h.in(auth.Admin)
	id, here := h.person(admin, "ann@example.com", "viewer")
	link := admin.send("/settings/users/" + id + "/link").sees(200).value("link")
	there := h.enter(strings.TrimPrefix(link, h.url))
	here.open("/settings/sessions").sees(200, "Firefox on Linux", "This one", "127.0.0.1", "One-time link", "Sign out everywhere")
	var other string
	for _, m := range regexp.MustCompile(`/settings/sessions/([^"/]+)/end`).FindAllStringSubmatch(here.raw, -1) {
		if i := strings.Index(here.raw, m[0]); strings.Contains(here.raw[i:min(i+400, len(here.raw))], "End session") {
			other = m[1]
		}
	}
	admin.send("/settings/sessions/"+other+"/end").sees(200, "The session was ended") // somebody else's: nothing happens
	there.open("/settings/sessions").sees(200, "This one")
	here.send("/settings/sessions/"+other+"/end").sees(200, "The session was ended")
	if there.open("/settings/sessions"); there.at != "/auth/login" {
		t.Errorf("the ended session shows %s", there.at)
	}
	if here.send("/settings/sessions/end"); here.at != "/auth/login" {
		t.Errorf("after signing out everywhere: %s", here.at)
	}
	if here.open("/settings/sessions"); here.at != "/auth/login" {
		t.Errorf("afterwards: %s", here.at)
	}
}

func TestTokensPage(t *testing.T) {
	h := newHouse(t)
	admin := h.in(auth.Admin)
	_, ann := h.person(admin, "ann@example.com", "operator")
	ann.open("/settings/tokens").sees(200, "never allow more than your own role", "Operator: acts on agents").seesNot("Admin: also manages", "Nobody: for machines")
	secret := ann.send("/settings/tokens", "name", "ci <b>", "role", "operator", "life", "24h").sees(200, "The token ci <b> was made", "it is not shown again").value("secret")
	if p, err := h.auth.Authenticate(h.ctx, secret); err != nil || p.Role != auth.Operator {
		t.Errorf("%+v %v", p, err)
	}
	ann.open("/settings/tokens").sees(200, "ci <b>", "Valid").seesNot(secret, "<b>")
	ann.send("/settings/tokens", "name", "x", "role", "admin", "life", "24h").sees(403, "You can't make a token for the role admin", "Must not be above your own")
	ann.send("/settings/tokens", "name", "", "role", "viewer", "life", "soon").sees(400, "Is missing", "Must be positive")
	ann.send("/settings/tokens", "name", "x", "role", "viewer", "life", "24h", "owner", "nobody").sees(403, "You may not make a token that belongs to nobody")
	admin.open("/settings/tokens").sees(200, "ci <b>", "Nobody: for machines")
	admin.send("/settings/tokens", "name", "machine", "role", "viewer", "life", "24h", "owner", "nobody").sees(200, "The token machine was made")
	ann.open("/settings/tokens").seesNot("machine")
	tokens, _, err := h.auth.ListTokens(h.ctx, "", 10)
	if err != nil || len(tokens) != 2 {
		t.Fatalf("%v %v", tokens, err)
	}
	for _, one := range tokens { // newest first: that of the machine is none of hers
		ann.send("/settings/tokens/" + one.ID + "/revoke").sees(map[string]int{"machine": 404, "ci <b>": 200}[one.Name])
	}
	ann.open("/settings/tokens").sees(200, "Revoked")
	if _, err := h.auth.Authenticate(h.ctx, secret); err == nil {
		t.Error("the revoked token is good")
	}
	h.in(auth.Viewer).open("/settings/tokens").sees(200, "You can't make tokens")
}

func TestASecretIsNotShownASecondTime(t *testing.T) {
	h := newHouse(t)
	admin := h.in(auth.Admin)
	send := func() *browser {
		return admin.send("/settings/tokens", "name", "machine", "role", "viewer", "life", "24h", "owner", "nobody", "idempotency_key", "k1")
	}
	secret := send().sees(200).value("secret")
	send().sees(409, "There is a token named").seesNot(secret)
}

func TestUsersPages(t *testing.T) {
	h := newHouse(t)
	admin := h.in(auth.Admin)
	rules, err := auth.ParseRules(auth.Operator, "@ops.example.com")
	if err != nil {
		t.Fatal(err)
	}
	h.auth.Rules = rules
	admin.open("/settings/users").sees(200, "Nobody has an account yet", "@ops.example.com", "Operator")
	root, asRoot := h.person(admin, "root@example.com", "admin")
	id, ann := h.person(admin, "ann@example.com", "operator")
	admin.send("/settings/users", "email", "ann@example.com", "role", "viewer").sees(409, "There is a user ann@example.com already")
	admin.send("/settings/users", "email", "no address", "role", "king").sees(400, "Must be an e-mail address", "Must be viewer, operator or admin")
	ann.open("/settings/profile").seesNot("/settings/users")
	for _, path := range []string{"/settings/users", "/settings/users/" + root} {
		ann.open(path).sees(403, "You may not do this")
	}
	for path, field := range map[string]string{"": "role", "/link": "", "/delete": "confirm"} {
		ann.send("/settings/users/"+id+path, field, "admin").sees(403, "You may not do this")
	}
	admin.open("/settings/users/"+id).sees(200, "ann@example.com", "given by an administrator", "by a link only, so far")
	asRoot.open("/settings/users/"+root).sees(200, "This is you").seesNot("Disable user")
	asRoot.send("/settings/users/"+root, "role", "viewer").sees(403, "You can't change your own role")
	admin.send("/settings/users/"+root, "role", "viewer").sees(409, "root@example.com is the last administrator")
	admin.send("/settings/users/"+id, "role", "viewer").sees(200, "The user was changed", "Viewer")
	ann.open("/settings/profile").sees(200, "Role Viewer")
	admin.send("/settings/users/"+id, "disabled", "true").sees(200, "Disabled", "Enable user").seesNot("Make a sign-in link")
	if ann.open("/settings/profile"); ann.at != "/auth/login" {
		t.Errorf("who is disabled sees %s", ann.at)
	}
	admin.send("/settings/users/"+id, "disabled", "false").sees(200, "Disable user")
	admin.send("/settings/users/"+id+"/delete", "confirm", "ann").sees(400, "Is not the e-mail of the user")
	admin.send("/settings/users/"+id+"/delete", "confirm", "ann@example.com").sees(200, "The user was deleted")
	admin.open("/settings/users/"+id).sees(404, "There is no such user")
}

func TestSettingsFromAnotherSite(t *testing.T) {
	h := newHouse(t)
	b := h.in(auth.Admin)
	for _, path := range []string{"/settings/tokens", "/settings/users", "/settings/profile/password", "/settings/sessions/end"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+path, strings.NewReader("name=x&role=admin&life=24h&owner=nobody&email=a@b.org"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "https://evil.example")
		b.do(req, nil).sees(403, "The request comes from another site")
	}
}
