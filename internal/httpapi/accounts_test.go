package httpapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/jwt"
)

// person makes a local user and gives the cookie of a browser that it signed in.
func (w *world) person(email string, role auth.Role) (*auth.User, *http.Cookie) {
	w.t.Helper()
	ctx := auth.With(w.ctx, auth.System)
	u, err := w.auth.CreateUser(ctx, auth.NewUser{Email: email, Name: "Ann", Role: role})
	if err != nil {
		w.t.Fatal(err)
	}
	code, err := w.auth.NewUserLink(ctx, u.ID, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.do("POST", "/auth/link/"+code, nil, "Authorization", "", "Sec-Fetch-Site", "same-origin", "User-Agent", "Browser/2").want(w.t, http.StatusSeeOther)
	for _, c := range (&http.Response{Header: r.Header}).Cookies() {
		if strings.HasSuffix(c.Name, "portal_session") {
			return u, c
		}
	}
	w.t.Fatalf("no session: %v", r.Header)
	return nil, nil
}

// by gives the headers of the browser with the cookie.
func by(c *http.Cookie, more ...string) []string {
	return append([]string{"Authorization", "", "Cookie", c.Name + "=" + c.Value, "Sec-Fetch-Site", "same-origin"}, more...)
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	r := w.do("POST", api+"/users", map[string]any{"email": "Ann@example.com", "role": "operator", "password": "a long good sentence"}).want(t, 201)
	id := r.JSON(t)["id"].(string)
	if u := r.JSON(t); u["email"] != "ann@example.com" || u["effective_role"] != "operator" || u["has_password"] != true || r.Header.Get("Location") != api+"/users/"+id {
		t.Errorf("made: %s", r.Body)
	}
	list := w.do("GET", api+"/users", nil)
	if len(items(t, list)) != 1 || strings.Contains(list.Body, "argon2") || strings.Contains(strings.ToLower(list.Body), `"password"`) {
		t.Errorf("list: %s", list.Body)
	}
	w.do("POST", api+"/users", map[string]any{"email": "ann@example.com", "role": "viewer"}).want(t, 409)
	for field, body := range map[string]string{"email": `{"email":"x","role":"viewer"}`, "role": `{"email":"x@y.org","role":"king"}`,
		"password": `{"email":"x@y.org","role":"viewer","password":"short"}`} {
		if paths := errorPaths(t, w.do("POST", api+"/users", body).want(t, 400)); len(paths) != 1 || paths[0] != field {
			t.Errorf("%s: %v", field, paths)
		}
	}
	if u := w.do("PATCH", api+"/users/"+id, map[string]any{"role": "viewer", "name": "Ann"}).want(t, 200).JSON(t); u["role"] != "viewer" || u["name"] != "Ann" {
		t.Errorf("changed: %v", u)
	}
	w.do("PATCH", api+"/users/"+id, map[string]any{"role": ""}).want(t, 400) // a local user has no rules
	link := w.do("POST", api+"/users/"+id+"/link", nil, "Idempotency-Key", "k1").want(t, 201).JSON(t)["path"].(string)
	again := w.do("POST", api+"/users/"+id+"/link", nil, "Idempotency-Key", "k1").want(t, 201)
	if !strings.HasPrefix(link, "/auth/link/ptk_") || strings.Contains(again.Body, "ptk_") || strings.Contains(w.log.String(), link) {
		t.Errorf("link %q, again %s", link, again.Body)
	}
	w.do("DELETE", api+"/users/"+id, nil).want(t, 204)
	w.do("POST", link, nil, "Authorization", "").want(t, 401) // its link went with the user
	w.do("PATCH", api+"/users/"+id, map[string]any{}).want(t, 404)
	w.do("DELETE", api+"/users/"+id, nil).want(t, 404)
}

func TestRoleRulesAreShown(t *testing.T) {
	w := newWorld(t)
	rules, err := auth.ParseRules(auth.Admin, "@example.com, claim:groups=ops")
	if err != nil {
		t.Fatal(err)
	}
	w.auth.Rules = rules
	list := items(t, w.do("GET", api+"/role-rules", nil))
	if len(list) != 2 || list[0]["domain"] != "example.com" || list[1]["claim"] != "groups" || list[1]["value"] != "ops" || list[1]["role"] != "admin" {
		t.Errorf("%v", list)
	}
}

func TestOwnSessions(t *testing.T) {
	w := newWorld(t)
	w.person("root@example.com", auth.Admin)
	u, here := w.person("ann@example.com", auth.Viewer)
	_, stranger := w.person("bob@example.com", auth.Admin)
	code, err := w.auth.NewUserLink(auth.With(w.ctx, auth.System), u.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.do("POST", "/auth/link/"+code, nil, "Authorization", "").want(t, 303)
	list := items(t, w.do("GET", "/auth/sessions", nil, by(here)...))
	if len(list) != 2 {
		t.Fatalf("%v", list)
	}
	var other string
	for _, d := range list {
		if d["current"] == false {
			other = d["id"].(string)
		} else if d["user_agent"] != "Browser/2" || d["address"] != "127.0.0.1" {
			t.Errorf("this one: %v", d)
		}
	}
	w.do("DELETE", "/auth/sessions/"+other, nil, by(stranger)...).want(t, 404)
	w.do("DELETE", "/auth/sessions/"+other, nil, by(here, "Sec-Fetch-Site", "cross-site")...).want(t, 403)
	w.do("DELETE", "/auth/sessions/"+other, nil, by(here)...).want(t, 204)
	r := w.do("POST", "/auth/logout/all", nil, by(here)...).want(t, 204)
	if !strings.Contains(r.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the cookie stays: %v", r.Header)
	}
	w.do("GET", "/auth/me", nil, by(here)...).want(t, 401)
	w.do("GET", "/auth/me", nil, by(stranger)...).want(t, 200)
	w.do("POST", "/auth/logout/all", nil).want(t, 409) // a token has no session
}

func TestTheCookieIsReplacedInTime(t *testing.T) {
	w := newWorld(t)
	_, cookie := w.person("ann@example.com", auth.Admin)
	if r := w.do("GET", "/auth/me", nil, by(cookie)...).want(t, 200); r.Header.Get("Set-Cookie") != "" {
		t.Errorf("at once: %v", r.Header)
	}
	w.clock.Forward(2 * time.Hour)
	r := w.do("GET", "/auth/me", nil, by(cookie)...).want(t, 200)
	fresh := (&http.Response{Header: r.Header}).Cookies()
	if len(fresh) != 1 || fresh[0].Value == cookie.Value || !fresh[0].HttpOnly || fresh[0].SameSite != http.SameSiteLaxMode {
		t.Fatalf("after two hours: %v", r.Header)
	}
	w.do("GET", "/auth/me", nil, by(fresh[0])...).want(t, 200)
	w.do("GET", "/auth/me", nil, by(cookie)...).want(t, 200) // was on its way
	w.clock.Forward(2 * time.Minute)
	w.do("GET", "/auth/me", nil, by(cookie)...).want(t, 401)
	w.do("GET", "/auth/me", nil, by(fresh[0])...).want(t, 401) // two browsers had it
}

func TestARoleIsGoneOnTheNextRequestAndOnOpenConnections(t *testing.T) {
	w := newWorld(t)
	w.person("root@example.com", auth.Admin)
	u, cookie := w.person("ann@example.com", auth.Operator)
	w.do("POST", api+"/agents", spec("One"), by(cookie)...).want(t, 201)
	stream := w.open("/live/sse?rooms=agents", by(cookie)...)
	w.do("PATCH", api+"/users/"+u.ID, map[string]any{"role": "viewer"}).want(t, 200)
	w.do("POST", api+"/agents", spec("Two"), by(cookie)...).want(t, 403)
	w.do("GET", api+"/agents", nil, by(cookie)...).want(t, 200)
	w.poll("the connection of an operator ends", stream.ended)
	w.do("PATCH", api+"/users/"+u.ID, map[string]any{"disabled": true}).want(t, 200)
	w.do("GET", api+"/agents", nil, by(cookie)...).want(t, 401)
}

// stream is an answer without end.
type stream struct{ done chan struct{} }

func (s stream) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// open begins to read an answer without end.
func (w *world) open(path string, header ...string) stream {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, w.server.URL+api+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: status %d", path, resp.StatusCode)
	}
	s := stream{done: make(chan struct{})}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	go func() {
		defer close(s.done)
		for b := make([]byte, 512); ; {
			if _, err := resp.Body.Read(b); err != nil {
				return
			}
		}
	}()
	return s
}

func TestOwnTokens(t *testing.T) {
	w := newWorld(t)
	w.person("root@example.com", auth.Admin)
	_, cookie := w.person("ann@example.com", auth.Viewer)
	w.do("POST", api+"/tokens", map[string]any{"name": "x", "role": "operator"}, by(cookie)...).want(t, 403)
	w.do("POST", api+"/tokens", map[string]any{"name": "x", "role": "viewer", "own": false}, by(cookie)...).want(t, 403)
	r := w.do("POST", api+"/tokens", map[string]any{"name": "mine", "role": "viewer"}, by(cookie)...).want(t, 201)
	secret := r.JSON(t)["secret"].(string)
	mine := items(t, w.do("GET", api+"/tokens", nil, by(cookie)...))
	if len(mine) != 1 || mine[0]["name"] != "mine" {
		t.Errorf("%v", mine)
	}
	all := items(t, w.do("GET", api+"/tokens", nil))
	for _, one := range all {
		if one["name"] != "mine" {
			w.do("DELETE", api+"/tokens/"+one["id"].(string), nil, by(cookie)...).want(t, 404)
		}
	}
	if len(all) != 4 {
		t.Errorf("an administrator sees %d", len(all))
	}
	with := []string{"Authorization", "Bearer " + secret}
	if me := w.do("GET", "/auth/me", nil, with...).want(t, 200).JSON(t); me["role"] != "viewer" || !strings.HasPrefix(me["user"].(string), "user:") {
		t.Errorf("%v", me)
	}
	w.do("POST", api+"/tokens", map[string]any{"name": "more", "role": "viewer"}, with...).want(t, 403)
	w.do("DELETE", api+"/tokens/"+mine[0]["id"].(string), nil, by(cookie)...).want(t, 204)
	w.do("GET", "/auth/me", nil, with...).want(t, 401)
	// Who only has a token of nobody has no tokens.
	if list := items(t, w.do("GET", api+"/tokens", nil, w.as(auth.Viewer)...)); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// withKeys gives access tokens to the portal.
func withKeys(c *httpapi.Config) {
	svc := c.Auth.(*auth.Service)
	keys := &jwt.Tokens{Key: svc.Key, Issuer: "http://portal.test", Now: svc.Now, NewID: svc.NewID}
	svc.Access, c.Keys = keys, keys
}

func TestCommandLineSignsIn(t *testing.T) {
	w := newWorld(t, withKeys)
	w.person("root@example.com", auth.Admin)
	u, cookie := w.person("ann@example.com", auth.Operator)
	p, err := w.auth.SessionPrincipal(w.ctx, cookie.Value)
	if err != nil {
		t.Fatal(err)
	}
	verifier, redirect := strings.Repeat("v", 50), "http://127.0.0.1:40000/"
	sum := sha256.Sum256([]byte(verifier))
	ask := auth.CodeRequest{Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Redirect: redirect}
	code, err := w.auth.NewCode(auth.With(w.ctx, p), ask)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {redirect}}.Encode()
	asForm := []string{"Authorization", "", "Content-Type", "application/x-www-form-urlencoded"}
	g := w.do("POST", "/auth/token", form, asForm...).want(t, 200).JSON(t)
	if g["token_type"] != "Bearer" || g["expires_in"].(float64) > 600 || g["expires_in"].(float64) < 590 {
		t.Errorf("%v", g)
	}
	w.do("POST", "/auth/token", form, asForm...).want(t, 401)
	bearer := []string{"Authorization", "Bearer " + g["access_token"].(string)}
	w.do("POST", api+"/agents", spec("One"), bearer...).want(t, 201)
	w.do("GET", api+"/users", nil, bearer...).want(t, 403)
	stream := w.open("/live/sse?rooms=agents", bearer...)
	w.clock.Forward(11 * time.Minute)
	if r := w.do("GET", "/auth/me", nil, bearer...).want(t, 401); r.code(t) != "auth.access_expired" {
		t.Error(r.Body)
	}
	w.poll("the connection ends with its access token", stream.ended)
	old := map[string]any{"grant_type": "refresh_token", "refresh_token": g["refresh_token"]}
	next := w.do("POST", "/auth/token", old, "Authorization", "").want(t, 200).JSON(t)
	bearer[1] = "Bearer " + next["access_token"].(string)
	w.do("PATCH", api+"/users/"+u.ID, map[string]any{"role": "viewer"}).want(t, 200)
	w.do("POST", api+"/agents", spec("Two"), bearer...).want(t, 403)
	w.do("POST", "/auth/token", old, "Authorization", "").want(t, 401) // somebody has copied it
	w.do("GET", "/auth/me", nil, bearer...).want(t, 401)
	for _, body := range []string{`{}`, `{"grant_type":"password"}`, `{"grant_type":"authorization_code"}`, `{"grant_type":"refresh_token","refresh_token":"ptr_x"}`} {
		if r := w.do("POST", "/auth/token", body, "Authorization", ""); r.Status != 400 && r.Status != 401 {
			t.Errorf("%s: %s", body, r.Body)
		}
	}
	w.do("POST", "/auth/token", "grant_type=refresh_token&grant_type=authorization_code", asForm...).want(t, 400)
	w.do("POST", "/auth/token", form, append(asForm, "Origin", "https://evil.example")...).want(t, 403)
	for _, secret := range []string{code, verifier, g["refresh_token"].(string), g["access_token"].(string), cookie.Value} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

func TestKeys(t *testing.T) {
	w := newWorld(t, withKeys)
	r := w.do("GET", "/.well-known/jwks.json", nil, "Authorization", "").want(t, 200)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(r.Body), &set); err != nil || len(set.Keys) != 3 || r.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("%s %v", r.Body, err)
	}
	for _, k := range set.Keys {
		if k["kty"] != "OKP" || k["crv"] != "Ed25519" || k["alg"] != "EdDSA" || k["d"] != "" || k["kid"] == "" {
			t.Errorf("%v", k)
		}
	}
	newWorld(t).do("GET", "/.well-known/jwks.json", nil, "Authorization", "").want(t, 404)
}

func TestGuessingAtTheDoorIsSlowedDown(t *testing.T) {
	w := newWorld(t)
	limited := 0
	for range 400 {
		if r := w.do("POST", "/auth/token", `{"grant_type":"refresh_token","refresh_token":"x"}`, "Authorization", ""); r.Status == http.StatusTooManyRequests {
			if limited++; r.Header.Get("Retry-After") == "" {
				t.Error("it does not say when to try again")
			}
		}
	}
	if limited == 0 {
		t.Error("four hundred tries in a row were answered")
	}
	w.do("GET", "/auth/me", nil).want(t, 200)
}
