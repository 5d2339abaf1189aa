package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// strangers are other origins as the portal sees them: one that differs in its
// port alone, to which browsers send the portal's cookies, and another site.
func strangers(t *testing.T) []string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>stranger</title><link rel="icon" href="data:,"><p>come in</p></html>`))
	}))
	t.Cleanup(s.Close)
	return []string{s.URL, strings.Replace(s.URL, "127.0.0.1", "localhost", 1)}
}

// A page of somebody else can't act for an operator who is signed in, neither by
// a form nor by a script, and can't listen to the fleet.
func TestStrangersCantAct(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	for _, stranger := range strangers(t) {
		p := h.visit(t, "/agents")
		for what, attack := range map[string]string{
			"form": `(() => {
				const f = document.createElement('form');
				f.method = 'post'; f.enctype = 'text/plain'; f.action = PORTAL + '/api/platform/agents';
				const i = document.createElement('input');
				i.name = '{"name":"forged","command":"/bin/true","description":"'; i.value = '"}';
				f.append(i); document.body.append(f); f.submit(); return true })()`,
			"sign-out": `(() => {
				const f = document.createElement('form');
				f.method = 'post'; f.action = PORTAL + '/auth/logout';
				document.body.append(f); f.submit(); return true })()`,
		} {
			p.open(stranger)
			eval[bool](p, strings.ReplaceAll(attack, "PORTAL", quote(h.URL)))
			p.wait("the portal's answer", `location.origin === `+quote(h.URL))
			if got := p.Status(); got != http.StatusForbidden && got != http.StatusUnauthorized {
				t.Errorf("%s from %s: answer %d, want 403 or 401", what, stranger, got)
			}
		}
		p.open(stranger)
		eval[string](p, strings.ReplaceAll(`fetch(PORTAL + '/api/platform/agents', {method: 'POST', mode: 'no-cors', credentials: 'include',
			body: '{"name":"forged","command":"/bin/true"}'}).then(() => 'sent', e => 'refused: ' + e)`, "PORTAL", quote(h.URL)))
		if got := eval[string](p, strings.ReplaceAll(socket, "ORIGIN", quote(strings.Replace(h.URL, "http", "ws", 1)))); got != "refused" {
			t.Errorf("a WebSocket from %s is %s", stranger, got)
		}
		p.open(h.URL + "/agents") // still signed in
		if got := p.Status(); got != http.StatusOK {
			t.Errorf("after the visit to %s the portal answers %d", stranger, got)
		}
		if got := eval[string](p, strings.ReplaceAll(socket, "ORIGIN", `location.origin.replace('http', 'ws')`)); got != "open" {
			t.Errorf("the portal's own WebSocket is %s", got)
		}
	}
	agents, err := h.Agents(limit(t), "")
	if err != nil || len(agents) != 0 {
		t.Errorf("there are agents that a stranger made: %+v, %v", agents, err)
	}
}

const socket = `new Promise(done => {
	const s = new WebSocket(ORIGIN + '/api/platform/live?rooms=agents');
	s.onopen = () => { s.close(); done('open') };
	s.onerror = () => done('refused') })`

// Nobody can put the portal into a frame and lead clicks astray.
func TestFramingIsRefused(t *testing.T) {
	t.Parallel()
	h := shared(t)
	for _, stranger := range strangers(t) {
		p := h.visit(t, "")
		p.open(stranger)
		eval[bool](p, fmt.Sprintf(`(() => { const f = document.createElement('iframe'); f.src = %q; document.body.append(f); return true })()`, h.URL+"/agents"))
		deadline(t, func() bool {
			return slices.ContainsFunc(p.Problems(), func(s string) bool { return strings.Contains(s, "frame-ancestors") })
		}, func() string { return fmt.Sprintf("the portal may be framed: %q", p.Problems()) })
	}
}

// secrets fails the test if a script of the page could read what signs the
// visitor in, or if it stands in the address.
func (p *tab) secrets(h *house) {
	p.t.Helper()
	if h.session == nil {
		return
	}
	seen := eval[map[string]string](p, `({address: location.href, cookies: document.cookie, local: JSON.stringify(localStorage),
		session: JSON.stringify(sessionStorage), page: document.documentElement.outerHTML, history: JSON.stringify(history.state)})`)
	for where, text := range seen {
		for _, secret := range []string{h.session.Value, h.Token} {
			if strings.Contains(text, secret) {
				p.t.Errorf("%s holds a secret", where)
			}
		}
	}
	if strings.Contains(seen["cookies"], h.session.Name) {
		p.t.Errorf("scripts can read the cookie of the session: %s", seen["cookies"])
	}
}

// The printed link signs in once, and its code is gone from the address.
func TestLinkSignsInOnce(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	link := h.link(t)
	p := visit(t)
	h.signIn(t, p)
	if at := eval[string](p, `location.href`); strings.Contains(at, "/auth/link/") {
		t.Errorf("the code is still in the address: %s", at)
	}
	p.clean()
	again := visit(t)
	again.open(link)
	again.click("form button")
	again.wait("the refusal", `document.readyState === 'complete' && !document.querySelector('form[method=post] button[autofocus]')`)
	if got := again.Status(); got != http.StatusUnauthorized {
		t.Errorf("the second use of the link is answered with %d", got)
	}
}
