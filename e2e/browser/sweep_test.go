package browser_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/browser"
	"github.com/waooaw/platform-portal/internal/web"
)

// place is one page as a visitor sees it.
type place struct {
	name string // of its pictures
	path string
	// anonymous pages are seen without a session.
	anonymous bool
}

// further are addresses of pages that look different from the page alone, forms
// that scripts show in a dialog, and pages that stand beside the portal's own.
var further = []place{
	{name: "docs", path: "/docs"},
	{name: "not-found", path: "/nowhere"},
	{name: "agents-table", path: "/agents?view=table"},
	{name: "agents-none", path: "/agents?q=nothing-is-called-this"},
	{name: "action-form", path: "/agents/{id}/actions/stop"},
	{name: "bulk-form", path: "/bulk/new?action=restart&agent={id}"},
	{name: "orphan-form", path: "/resources/orphans/process/" + stray},
	{name: "view-form", path: "/saved-views/new?query=state%3DRUNNING"},
	{name: "agent-gone", path: "/agents/nobody"},
}

// tabs are the parts of an agent's page.
var tabs = []string{"instances", "logs", "metrics", "health", "errors", "operations", "history", "events", "spec", "resources", "audit"}

// stray is whose data is there and nobody's.
const stray = "nobody-any-more"

// queries are what the address of a page needs beside its path.
var queries = map[string]string{
	"cli-page": "?redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fdone&state=s&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
}

// fillings give the parts of a path that are named in braces; a name that is
// missing here fails the test.
func fillings(t *testing.T, h *house, agent string) map[string]string {
	t.Helper()
	fill := map[string]string{"/agents/{id}": agent, "/alerts/{id}": anAlert(t, h), "/errors/{id}": failure(t, h)}
	for noun, path := range map[string]string{"/operations/{id}": "/operations?limit=1", "/bulk/{id}": "/bulk?limit=1", "/alerts/rules/{id}": "/alerts/rules?limit=1"} {
		var list struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		if err := h.Call(limit(t), http.MethodGet, path, nil, &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) > 0 {
			fill[noun] = list.Items[0].ID
		}
	}
	return fill
}

// failure gives an error to look at: an agent whose program is not there could not
// be deployed, and was removed again.
func failure(t *testing.T, h *house) string {
	t.Helper()
	const id = "sweep-failure"
	call := func(method, path string, body any, into any) {
		if err := h.Call(limit(t), method, path, body, into); err != nil {
			t.Fatal(err)
		}
	}
	var list struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	call(http.MethodPost, "/agents", map[string]any{"name": id, "command": "no-such-program-" + id}, nil)
	call(http.MethodPost, "/agents/"+id+"/provision?wait=60s", map[string]any{}, nil)
	call(http.MethodPost, "/agents/"+id+"/deploy?wait=60s", map[string]any{}, nil)
	for ctx := limit(t); len(list.Items) == 0 && ctx.Err() == nil; {
		call(http.MethodGet, "/errors?limit=1&agent="+id, nil, &list)
	}
	call(http.MethodPost, "/agents/"+id+"/revoke?wait=60s", map[string]any{}, nil)
	call(http.MethodDelete, "/agents/"+id, nil, nil)
	if len(list.Items) == 0 {
		t.Fatal("no error was recorded")
	}
	return list.Items[0].ID
}

// abandon leaves data of an agent that does not exist.
func (h *house) abandon(t *testing.T, id string) {
	t.Helper()
	dir := filepath.Join(h.Data, "agents", id, "data")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), make([]byte, 70_000), 0o600); err != nil {
		t.Fatal(err)
	}
}

// anAlert lets a rule fire and takes it away again, and gives the alert that is
// left, which is resolved.
func anAlert(t *testing.T, h *house) string {
	t.Helper()
	file := map[string]string{"content": "groups:\n- name: sweep\n  interval: 5s\n  rules:\n  - alert: Sweep\n    expr: vector(1)\n"}
	if err := h.Call(limit(t), http.MethodPut, "/alerts/rules/files/sweep.yml", file, nil); err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	for ctx := limit(t); len(list.Items) == 0; {
		if err := h.Call(ctx, http.MethodGet, "/alerts?name=Sweep", nil, &list); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatal("the rule does not fire")
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := h.Call(limit(t), http.MethodDelete, "/alerts/rules/files/sweep.yml", nil, nil); err != nil {
		t.Fatal(err)
	}
	return list.Items[0].ID
}

var braces = regexp.MustCompile(`\{[^}]*\}`)

// exemplary is the agent of the example fleet that is looked at.
const exemplary = "wow-memory"

// places is every page of the table of routes, with its parts filled in.
func places(t *testing.T, h *house, agent string) []place {
	t.Helper()
	fill := fillings(t, h, agent)
	h.abandon(t, stray)
	var out []place
	for _, pl := range further {
		pl.path = strings.ReplaceAll(pl.path, "{id}", agent)
		out = append(out, pl)
	}
	for _, tab := range tabs {
		out = append(out, place{name: "agent-" + tab, path: "/agents/" + agent + "?tab=" + tab})
	}
	out = append(out, place{name: "fix-form", path: "/errors/" + fill["/errors/{id}"] + "/fixes/restart"})
	for _, r := range web.Routes {
		if r.Method != http.MethodGet || r.Title == "" {
			continue
		}
		path := strings.TrimSuffix(r.Path, "{$}")
		for before, id := range fill {
			if rest, ok := strings.CutPrefix(path, before); ok {
				path = strings.TrimSuffix(before, "{id}") + id + rest
			}
		}
		if braces.MatchString(path) {
			t.Errorf("the page %s (%s) is not looked at: say in fillings what to put in its braces", r.ID, r.Path)
			continue
		}
		out = append(out, place{name: r.ID, path: path + queries[r.ID], anonymous: r.Public})
	}
	return out
}

// themes are the two that a page is looked at in.
var themes = []string{"dark", "light"}

// Every page, in both themes: nothing went wrong in the browser, axe finds
// nothing, no size of screen makes it scroll sideways, no secret is within reach
// of scripts, nothing moves for whoever asks for that, and without scripts it
// says the same. What was seen is kept as pictures.
func TestEveryPage(t *testing.T) {
	h := shared(t)
	for _, pl := range places(t, h, exemplary) {
		t.Run(pl.name, func(t *testing.T) {
			t.Parallel()
			var p *tab
			if pl.anonymous {
				p = visit(t)
			} else {
				p = h.visit(t, "")
			}
			p.prefer(browser.Preferences{Scheme: "dark"})
			p.resize(browser.Laptop)
			p.open(h.URL + pl.path)
			p.look(h, pl, "dark", "1280", "360", "4k") // what is too wide in one theme is so in both
			p.secrets(h)
			heading := eval[string](p, title)
			p.prefer(browser.Preferences{Scheme: "light", LessMotion: true}) // and the page follows
			p.look(h, pl, "light", "1280", "360")
			for _, m := range eval[[]string](p, moving) {
				t.Errorf("%s moves: %s", pl.path, m)
			}
			p.must(p.Scripts(false))
			p.resize(browser.Laptop)
			p.open(h.URL + pl.path)
			if got := eval[string](p, title); got != heading || got == "" {
				t.Errorf("the heading is %q with scripts and %q without", heading, got)
			}
			if n := eval[int](p, `document.querySelector('main').innerText.trim().length`); n < 20 {
				t.Errorf("without scripts there is hardly anything to read: %d characters", n)
			}
			p.clean(expectedOf(pl)...)
		})
	}
}

const title = `document.querySelector('h1')?.innerText ?? ''`

// moving gives what is animated for longer than a moment.
const moving = `[...document.querySelectorAll('*')].filter(e => { const s = getComputedStyle(e);
	const long = v => v.split(',').some(d => parseFloat(d) * (d.trim().endsWith('ms') ? 1 : 1000) > 20);
	return (s.animationName !== 'none' && long(s.animationDuration)) || long(s.transitionDuration) || s.scrollBehavior === 'smooth' })
	.slice(0, 5).map(e => e.outerHTML.slice(0, 120))`

// expectedOf is what the browser says of pages that are problems.
func expectedOf(pl place) []string {
	if pl.name == "not-found" || pl.name == "agent-gone" {
		return []string{"404"}
	}
	return nil
}

var sizes = map[string]browser.Size{"360": browser.Phone, "1280": browser.Laptop, "4k": browser.Large}

// look checks the open page and keeps pictures of it, in sizes that are named.
func (p *tab) look(h *house, pl place, theme string, names ...string) {
	p.t.Helper()
	for i, name := range names {
		p.resize(sizes[name])
		p.settle()
		if i == 0 {
			violations, _, err := p.Axe()
			p.must(err)
			for _, v := range violations {
				p.t.Errorf("%s, %s: %s", pl.path, theme, v)
			}
		}
		wide, err := p.TooWide()
		p.must(err)
		for _, w := range wide {
			p.t.Errorf("%s at %s: %s", pl.path, name, w)
		}
		p.must(p.Screenshot(filepath.Join(h.root, "build", "screenshots", fmt.Sprintf("%s-%s-%s.png", pl.name, theme, name))))
	}
}

// settle waits until the page has loaded, its fonts too, and has been painted.
func (p *tab) settle() {
	p.t.Helper()
	p.wait("the page to settle", `document.readyState === 'complete' && document.fonts.status === 'loaded'
		&& document.getAnimations().every(a => a.playState !== 'running' || a.effect?.getTiming().iterations === Infinity)
		&& new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}
