package browser_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/web"
)

// person opens a tab of a visitor who is signed in as somebody with the role.
func (h *house) person(t *testing.T, name string, role auth.Role) *tab {
	t.Helper()
	var user struct {
		ID string `json:"id"`
	}
	body := map[string]any{"email": name + "@example.com", "name": name, "role": role}
	if err := h.Call(limit(t), http.MethodPost, "/users", body, &user); err != nil {
		t.Fatal(err)
	}
	var link struct {
		Path string `json:"path"`
	}
	if err := h.Call(limit(t), http.MethodPost, "/users/"+user.ID+"/link", nil, &link); err != nil {
		t.Fatal(err)
	}
	p := visit(t)
	p.open(h.URL + link.Path)
	p.click("form button")
	p.wait("the page after the sign-in", `!location.pathname.startsWith('/auth/') && document.readyState === 'complete'`)
	return p
}

// sends gives every request that the page offers to send: forms, and what
// scripts would send for an element.
const sends = `[
	...[...document.forms].map(f => [f.method.toUpperCase(), new URL(f.getAttribute('action') ?? '', location.href).pathname]),
	...[...document.querySelectorAll('button[formaction], input[formaction]')].map(b => ['POST', new URL(b.formAction).pathname]),
	...['post', 'put', 'patch', 'delete'].flatMap(m => [...document.querySelectorAll('[hx-' + m + ']')].map(e => [m.toUpperCase(), new URL(e.getAttribute('hx-' + m), location.href).pathname])),
].filter(s => s[0] !== 'GET' && s[0] !== 'DIALOG')`

// roles finds the row of the table of pages that a request would come to.
func roles() func(method, path string) (web.Route, bool) {
	mux, byPattern := http.NewServeMux(), map[string]web.Route{}
	for _, r := range web.Routes {
		pattern := r.Method + " " + r.Path
		mux.Handle(pattern, http.NotFoundHandler())
		byPattern[pattern] = r
	}
	return func(method, path string) (web.Route, bool) {
		req, err := http.NewRequest(method, path, nil)
		if err != nil {
			return web.Route{}, false
		}
		_, pattern := mux.Handler(req)
		r, ok := byPattern[pattern]
		return r, ok
	}
}

// A viewer's pages offer nothing that a viewer may not do.
func TestViewerIsOfferedNoAction(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.person(t, "viewer", auth.Viewer)
	find := roles()
	for _, pl := range places(t, h, exemplary) {
		if pl.anonymous {
			continue
		}
		p.open(h.URL + pl.path)
		for _, s := range eval[[][]string](p, sends) {
			r, ok := find(s[0], s[1])
			switch {
			case !ok && s[1] == "/auth/logout":
			case !ok:
				t.Errorf("%s offers %s %s, which is in no row of the table of pages", pl.path, s[0], s[1])
			case !r.Public && r.Role != auth.Viewer:
				t.Errorf("%s offers a viewer %s %s, which needs the role %s", pl.path, s[0], s[1], r.Role)
			}
		}
	}
	p.clean("403", "404")
}

// filled puts something into the braces of a route.
func filled(path string) string {
	path = strings.NewReplacer("{$}", "", "{id}", exemplary, "{action}", "stop").Replace(path)
	return braces.ReplaceAllString(path, "x")
}

// send sends what a browser would send from a page of the portal, and gives the
// status of the answer.
func (h *house) send(t *testing.T, r web.Route, cookies []*network.Cookie) int {
	t.Helper()
	req, err := http.NewRequestWithContext(limit(t), r.Method, h.URL+filled(r.Path), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Accept": "text/html", "Origin": h.URL, "Sec-Fetch-Site": "same-origin"} {
		req.Header.Set(name, value)
	}
	for _, c := range cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // which follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Whatever a viewer's browser sends is refused if it is not for viewers, and so
// is everything that comes from somebody who is not signed in.
func TestServerRefusesWhatPagesDoNotOffer(t *testing.T) {
	t.Parallel()
	h := shared(t)
	viewer, err := h.person(t, "sender", auth.Viewer).Cookies(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, r := range web.Routes {
		if r.Public {
			continue
		}
		if got := h.send(t, r, nil); got != http.StatusUnauthorized && (got != http.StatusSeeOther || r.Method != http.MethodGet) {
			t.Errorf("%s %s without a session: answer %d", r.Method, r.Path, got)
		}
		if r.Role == auth.Viewer {
			continue
		}
		refused++
		if got := h.send(t, r, viewer); got != http.StatusForbidden {
			t.Errorf("%s %s by a viewer: answer %d, want 403", r.Method, r.Path, got)
		}
	}
	if refused == 0 {
		t.Error("no route needs more than a viewer; the test has looked at nothing")
	}
}

// Nothing that was written into the editor is lost because the session ended or the
// portal was away when it was sent, and what others stored meanwhile is not undone.
func TestTheEditorLosesNothing(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	id := h.sleeper(t, "written")
	edit := h.URL + "/agents/" + id + "/edit"
	p := h.visit(t, "/agents/"+id+"/edit")
	write := func(text string) {
		t.Helper()
		p.wait("the editor", `document.activeElement?.id === 'spec' || (document.querySelector('#spec')?.focus(), false)`)
		p.press("Control+End")
		p.must(p.Type("\n" + text))
		p.wait("the check of it", `document.querySelector('#check')?.innerText.includes('The spec is valid')`)
	}
	save := func() { t.Helper(); p.click("[data-save]") }

	write("description: precious")
	p.must(p.SetCookie(h.URL, h.session.Name, "ended"))
	p.must(p.Type(" text"))
	p.wait("a way to sign in beside it", `document.querySelector('#check a[target=_blank][href^="/auth/login"]')`)
	save()
	p.wait("that nobody is signed in", `document.querySelector('main > .problem')?.innerText.includes('The session ended or was never there.')`)
	if to, want := eval[string](p, `document.querySelector('main > .problem a').getAttribute('href')`), "/auth/login?next=%2Fagents%2Fwritten%2Fedit"; to != want {
		t.Errorf("the sign-in is at %q, want %q", to, want)
	}
	// Somebody else changes it, then the session is there again.
	if err := h.Call(limit(t), http.MethodPatch, "/agents/"+id, map[string]any{"labels": map[string]string{"by": "another"}}, nil); err != nil {
		t.Fatal(err)
	}
	p.must(p.SetCookie(h.URL, h.session.Name, h.session.Value))
	p.open(edit)
	const back = `document.querySelector('#spec')?.value.includes('description: precious text')`
	p.wait("the text again", back+` && document.querySelector('#toasts')?.innerText.includes('What you sent was not saved')`)
	save()
	p.wait("both changes", back+` && document.body.innerText.includes('Somebody else changed this agent') && document.querySelector('#spec').value.includes('by: another')`)
	save()
	p.wait("that it was stored", `location.search.includes('saved=3')`)

	p.open(edit)
	p.wait("what is stored, without a word", back+` && !document.querySelector('#toasts').innerText.includes('not saved')`)
	p.open(h.URL + "/agents/" + id)
	p.click(`main a[href$="/edit"]`)
	p.wait("the editor", `document.querySelector('#spec')`)
	write("display_name: later")
	eval[bool](p, `(window.confirm = () => (window.asked = (window.asked ?? 0) + 1, false), document.activeElement.blur(), true)`)
	p.press("g", "o")
	p.wait("the question whether to leave", `window.asked === 1 && location.pathname.endsWith('/edit')`)
	p.must(p.Back())
	p.wait("the question whether to go back", `window.asked === 2 && location.pathname.endsWith('/edit') && document.querySelector('#spec').value.includes('later')`)
	if err := h.Kill9(); err != nil {
		t.Fatal(err)
	}
	save()
	p.wait("the page of the browser", `location.protocol === 'chrome-error:'`)
	h.restart(t)
	p.open(edit)
	p.wait("the text that the portal was not there for", `document.querySelector('#spec')?.value.includes('display_name: later')`)

	// A browser that keeps nothing has an editor all the same.
	strict := h.visit(t, "")
	strict.must(strict.EachPage(`for (const kind of ['sessionStorage', 'localStorage'])
		Object.defineProperty(window, kind, {get() { throw new DOMException('refused', 'SecurityError') }})`))
	strict.open(edit)
	strict.wait("the numbers of the lines", `document.querySelector('.editor-gutter')?.innerText.trim().startsWith('1')`)
	strict.press("?")
	strict.click(`dialog[open] [data-single-keys]`)
	strict.press("Escape")
	strict.press("g", "a") // turned off for this page
	strict.press("Control+k")
	strict.wait("the palette", `document.querySelector('#palette:popover-open') && location.pathname.endsWith('/edit')`)
	strict.clean()
	p.clean("401", "409", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "WebSocket connection", "Failed to fetch")
}
