package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
)

func TestTokens(t *testing.T) {
	w := newWorld(t)
	r := w.do("POST", api+"/tokens", map[string]any{"name": "ci", "role": "operator", "ttl": "1h"}).want(t, 201)
	secret, token := r.JSON(t)["secret"].(string), r.JSON(t)["token"].(map[string]any)
	bearer := []string{"Authorization", "Bearer " + secret}
	me := w.do("GET", "/auth/me", nil, bearer...).want(t, 200).JSON(t)
	if me["role"] != "operator" || me["name"] != "ci" || !strings.HasSuffix(token["id"].(string), strings.TrimPrefix(me["id"].(string), "token:ci/")) {
		t.Errorf("me: %v", me)
	}
	list := w.do("GET", api+"/tokens", nil).want(t, 200)
	if strings.Contains(list.Body, secret) || strings.Contains(strings.ToLower(list.Body), "hash") || !strings.Contains(list.Body, "last_used_at") {
		t.Errorf("list: %s", list.Body)
	}
	w.do("POST", api+"/tokens", map[string]any{"name": "ci", "role": "viewer"}).want(t, 409)
	w.do("DELETE", api+"/tokens/"+token["id"].(string), nil).want(t, 204)
	if code := w.do("GET", "/auth/me", nil, bearer...).want(t, 401).code(t); code != "auth.token_revoked" {
		t.Errorf("after revoking: %s", code)
	}
	w.do("DELETE", api+"/tokens/none", nil).want(t, 404)
	for _, body := range []string{`{"name":"x","role":"king"}`, `{"name":"","role":"viewer"}`, `{"role":"viewer"}`, `{"name":"x","role":"viewer","ttl":"-1h"}`,
		`{"name":"x","role":"viewer","ttl":"9000h"}`, `{"name":"x","role":"viewer","admin":true}`, `{"name":7,"role":"viewer"}`, `[]`, `{`, ``} {
		w.do("POST", api+"/tokens", body).want(t, 400).code(t)
	}
}

func TestExpiredToken(t *testing.T) {
	w := newWorld(t)
	w.clock.Forward(91 * 24 * time.Hour)
	r := w.do("GET", api+"/agents", nil).want(t, 401)
	if r.code(t) != "auth.token_expired" || !strings.Contains(r.Header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("%s %v", r.Body, r.Header)
	}
	if e := w.refusals()[0]; !strings.HasPrefix(e.Actor, "token:") {
		t.Errorf("the record does not name the token: %+v", e)
	}
}

func TestWrongCredentials(t *testing.T) {
	w := newWorld(t)
	for _, head := range []string{"Bearer", "Bearer ", "Bearer nonsense", "Basic dXNlcjpwYXNz", w.secrets[auth.Admin], "Bearer " + w.secrets[auth.Admin] + "x",
		"Bearer ptl_" + strings.Repeat("a", 43), "Bearer ptl_" + strings.Repeat("é", 43), "Bearer " + strings.Repeat("x", 20_000)} {
		w.do("GET", api+"/agents", nil, "Authorization", head).want(t, 401).code(t)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+api+"/agents", nil)
	req.Header["Authorization"] = []string{"Bearer " + w.secrets[auth.Viewer], "Bearer " + w.secrets[auth.Admin]}
	w.send(req).want(t, 401)
	// A token in the address is no token.
	w.do("GET", api+"/agents?token="+w.secrets[auth.Admin], nil, "Authorization", "").want(t, 401)
	w.do("GET", api+"/agents", nil, "Authorization", "bearer "+w.secrets[auth.Admin]).want(t, 200)
}

func TestTooManyWrongCredentials(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Failures = 5 })
	bad := []string{"Authorization", "Bearer ptl_" + strings.Repeat("a", 43)}
	limited := false
	for range 50 {
		r := w.do("GET", api+"/agents", nil, bad...)
		if r.Status == http.StatusTooManyRequests {
			limited = true
			if r.code(t) != "auth.too_many_failures" || r.Header.Get("Retry-After") == "" {
				t.Errorf("%s %v", r.Body, r.Header)
			}
			break
		}
	}
	if !limited {
		t.Error("fifty wrong tokens in a row were answered")
	}
	w.do("GET", api+"/agents", nil).want(t, 200) // good ones are not locked out
}

// signIn opens a one-time link and gives the session's cookie.
func (w *world) signIn(role auth.Role) *http.Cookie {
	code, err := w.auth.NewLink(auth.With(w.ctx, auth.System), role, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.do("POST", "/auth/link/"+code, nil, "Authorization", "", "Sec-Fetch-Site", "same-origin").want(w.t, http.StatusSeeOther)
	cookies := (&http.Response{Header: r.Header}).Cookies()
	if len(cookies) != 1 {
		w.t.Fatalf("cookies: %v", r.Header)
	}
	return cookies[0]
}

// redeemLink is a page that signs in, with all that a page is given for it.
func (w *world) redeemLink(rw http.ResponseWriter, r *http.Request) error {
	session, err := w.auth.RedeemLink(r.Context(), r.PathValue("code"))
	if err != nil {
		return door.WrongCredentials(r.Context(), err)
	}
	door.SetSession(rw, r, session)
	http.Redirect(rw, r, "/", http.StatusSeeOther)
	return nil
}

func TestPageThatSignsIn(t *testing.T) {
	w := newWorld(t)
	code, err := w.auth.NewLink(auth.With(t.Context(), auth.System), auth.Admin, 0)
	if err != nil {
		t.Fatal(err)
	}
	none := []string{"Authorization", ""}
	w.do("POST", "/auth/link/"+code, nil, "Authorization", "", "Sec-Fetch-Site", "cross-site").want(t, 403)
	w.do("POST", "/auth/link/"+code, nil, "Authorization", "", "Origin", "https://evil.example").want(t, 403)
	r := w.do("POST", "/auth/link/"+code, nil, "Authorization", "", "Origin", w.server.URL).want(t, http.StatusSeeOther)
	cookie := r.Header.Get("Set-Cookie")
	for _, want := range []string{"portal_session=pts_", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q has no %s", cookie, want)
		}
	}
	w.do("POST", "/auth/link/"+code, nil, none...).want(t, 401).code(t)
	if strings.Contains(w.log.String(), code) {
		t.Error("the code is in the log")
	}
	for _, e := range w.refusals() {
		if strings.Contains(e.Target+e.Reason, code) {
			t.Errorf("the code is on record: %+v", e)
		}
	}
}

func TestSession(t *testing.T) {
	w := newWorld(t)
	cookie := w.signIn(auth.Operator)
	with := func(more ...string) []string {
		return append([]string{"Authorization", "", "Cookie", cookie.Name + "=" + cookie.Value}, more...)
	}
	if me := w.do("GET", "/auth/me", nil, with()...).want(t, 200).JSON(t); me["role"] != "operator" {
		t.Errorf("me: %v", me)
	}
	w.do("GET", api+"/users", nil, with()...).want(t, 403)
	// What other sites' pages send is refused; what ours send is not.
	for _, more := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		if code := w.do("POST", api+"/agents", spec("Evil"), with(more...)...).want(t, 403).code(t); code != "auth.cross_site" {
			t.Errorf("%v: %s", more, code)
		}
	}
	w.do("POST", api+"/agents", spec("Good"), with("Sec-Fetch-Site", "same-origin")...).want(t, 201)
	w.do("POST", api+"/agents", spec("Token"), "Sec-Fetch-Site", "cross-site").want(t, 201) // a token is not sent by a browser on its own

	w.do("POST", "/auth/logout", nil).want(t, 409) // with a token there is nothing to end
	r := w.do("POST", "/auth/logout", nil, with("Sec-Fetch-Site", "same-origin")...).want(t, 204)
	if c := r.Header.Get("Set-Cookie"); !strings.Contains(c, "Max-Age=0") || !strings.Contains(c, cookie.Name+"=;") {
		t.Errorf("Set-Cookie %q", c)
	}
	w.do("GET", "/auth/me", nil, with()...).want(t, 401)
}

func TestSessionEndsWhenIdle(t *testing.T) {
	w := newWorld(t)
	cookie := w.signIn(auth.Viewer)
	with := []string{"Authorization", "", "Cookie", cookie.Name + "=" + cookie.Value}
	for range 3 {
		w.clock.Forward(20 * time.Hour)
		w.do("GET", "/auth/me", nil, with...).want(t, 200)
	}
	w.clock.Forward(25 * time.Hour)
	w.do("GET", "/auth/me", nil, with...).want(t, 401)
}

func TestSecureCookie(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Secure = true })
	cookie := w.signIn(auth.Viewer)
	if cookie.Name != "__Host-portal_session" || !cookie.Secure {
		t.Errorf("cookie %+v", cookie)
	}
	r := w.do("GET", "/auth/me", nil, "Authorization", "", "Cookie", cookie.Name+"="+cookie.Value).want(t, 200)
	if r.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security")
	}
	// A cookie that an unsafe neighbour set does not count.
	w.do("GET", "/auth/me", nil, "Authorization", "", "Cookie", "portal_session="+cookie.Value).want(t, 401)
}

func TestHostHeader(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Hosts = []string{"Portal.Example.com"} })
	for host, status := range map[string]int{"127.0.0.1:9": 200, "localhost": 200, "LOCALHOST:80": 200, "[::1]:8080": 200, "portal.example.com": 200, "portal.example.com.:443": 200,
		"evil.example": 403, "127.0.0.1.evil.example": 403, "10.0.0.7": 403} {
		if r := w.do("GET", "/auth/me", nil, "Host", host); r.Status != status {
			t.Errorf("%s: %d", host, r.Status)
		}
	}
	open := newWorld(t, func(c *httpapi.Config) { c.Listen = "0.0.0.0:8080" })
	open.do("GET", "/auth/me", nil, "Host", "anything.example").want(t, 200)
	named := newWorld(t, func(c *httpapi.Config) { c.Listen, c.Hosts = ":8080", []string{"portal.example.com"} })
	named.do("GET", "/auth/me", nil, "Host", "anything.example").want(t, 403)
	named.do("GET", "/auth/me", nil, "Host", "127.0.0.1:8080").want(t, 200)
}

func TestBodies(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("x", 2<<20)
	r := w.do("POST", api+"/agents", `{"name":"`+big+`"}`).want(t, http.StatusRequestEntityTooLarge)
	if r.code(t) != "request.too_large" {
		t.Error(r.Body)
	}
	w.do("POST", api+"/agents/import", `{"name":"`+big+`","command":"/bin/true"}`).want(t, 400) // within 10 MiB: looked at
	w.do("POST", api+"/agents", spec("A"), "Content-Type", "image/png").want(t, http.StatusUnsupportedMediaType).code(t)
	w.do("POST", api+"/agents", spec("A"), "Content-Type", "multipart/form-data; boundary=x").want(t, http.StatusUnsupportedMediaType)
	w.do("POST", api+"/agents", spec("A"), "Content-Type", ";;;").want(t, http.StatusUnsupportedMediaType)
	w.do("POST", api+"/agents", spec("A"), "Content-Encoding", "gzip").want(t, http.StatusUnsupportedMediaType)
	w.do("POST", api+"/agents", spec("A"), "Content-Type", "application/x-www-form-urlencoded").want(t, 201) // what curl -d says
	// 100 MB without saying so beforehand: it is not read to its end.
	sent := &counting{left: 100 << 20}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+api+"/agents/import", io.NopCloser(sent))
	req.Header.Set("Authorization", "Bearer "+w.secrets[auth.Admin])
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", resp.StatusCode)
		}
	} else if !errors.Is(err, io.ErrClosedPipe) && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("unexpected: %v", err)
	}
	if taken := sent.sent.Load(); taken > 40<<20 {
		t.Errorf("%d bytes were taken", taken)
	}
}

// counting is a body of so many bytes. It may still be read when the answer is there.
type counting struct {
	left int
	sent atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), c.left)
	for i := range n {
		p[i] = ' '
	}
	c.left -= n
	c.sent.Add(int64(n))
	return n, nil
}

func TestYAMLBomb(t *testing.T) {
	w := newWorld(t)
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 10; i++ {
		p := "*a" + string(rune('0'+i-1))
		b.WriteString("a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat(p+",", 9) + p + "]\n")
	}
	if r := w.do("POST", api+"/agents/import", b.String()); r.Status != 413 && r.Status != 400 {
		t.Errorf("status %d", r.Status)
	}
	w.do("POST", api+"/agents/import", strings.Repeat("[", 100_000)).want(t, 413).code(t)
}

func TestHeadersCannotBeInjected(t *testing.T) {
	w := newWorld(t)
	u, _ := url.Parse(w.server.URL)
	for _, evil := range []string{"GET /nowhere%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"GET /auth/me HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: good-one-1\r\n Set-Cookie: a=b\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: \"><script>\r\nConnection: close\r\n\r\n"} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Write([]byte(evil)); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if head, _, _ := strings.Cut(string(answer), "\r\n\r\n"); strings.Contains(strings.ToLower(head), "set-cookie") || strings.Contains(head, "<script") {
			t.Errorf("%q was answered by\n%s", evil, head)
		}
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{api + "/agents", "/nowhere", "/docs", "/healthz", api + "/agents/none", "/openapi.json"} {
		h := w.do("GET", path, nil).Header
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Referrer-Policy") == "" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", path, h)
		}
	}
	if id := w.do("GET", "/healthz", nil, "X-Request-Id", "from-the-client-1").Header.Get("X-Request-Id"); id != "from-the-client-1" {
		t.Errorf("request id %q", id)
	}
}

// broken fails in every way.
type broken struct {
	observe.Agents
	how func() error
}

func (b broken) Counts(context.Context) (map[agentState]int, map[agentHealth]int, error) {
	return nil, nil, b.how()
}

func TestErrorsThatNobodyForesaw(t *testing.T) {
	secret := "SELECT password FROM users"
	for name, how := range map[string]func() error{
		"an error": func() error { return errors.New(secret) },
		"a panic":  func() error { panic(secret) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *httpapi.Config) { c.Observe.Agents = broken{c.Observe.Agents, how} })
			r := w.do("GET", api+"/health", nil).want(t, 500)
			if r.code(t) != "internal" || strings.Contains(r.Body, "password") {
				t.Errorf("answer: %s", r.Body)
			}
			id := r.JSON(t)["error_id"].(string)
			if id == "" || !strings.Contains(r.JSON(t)["detail"].(string), id) {
				t.Errorf("no error id: %s", r.Body)
			}
			if n := strings.Count(w.log.String(), id); n != 1 || !strings.Contains(w.log.String(), "password") {
				t.Errorf("the log has the id %d times:\n%s", n, w.log)
			}
		})
	}
}
