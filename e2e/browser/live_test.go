package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/browser"
)

func quote(s string) string { return strconv.Quote(s) }

// sleeper makes an agent that only sleeps, in the given state's first step.
func (h *house) sleeper(t *testing.T, name string) string {
	t.Helper()
	var out struct {
		ID string `json:"id"`
	}
	body := map[string]any{"name": name, "command": "/bin/sleep", "args": []string{"600"}}
	if err := h.Call(limit(t), http.MethodPost, "/agents", body, &out); err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// act does an action through the API, as another operator would.
func (h *house) act(t *testing.T, id, action string) {
	t.Helper()
	op, err := h.Act(limit(t), id, action)
	if err != nil || op.State != "SUCCEEDED" {
		t.Fatalf("%s: %+v, %v", action, op, err)
	}
}

// state is a condition: the agent's cell says that it is in the state.
func state(id, status string) string {
	return fmt.Sprintf(`document.querySelector('[data-row="agent:%s"] [data-cell="state"]')?.dataset.status?.toUpperCase() === %q`, id, status)
}

// mark notes something that does not survive when the page is loaded again.
func (p *tab) mark() { p.t.Helper(); eval[bool](p, `window.marked = true`) }

func (p *tab) marked() {
	p.t.Helper()
	if !eval[bool](p, `window.marked === true`) {
		p.t.Error("the page was loaded again")
	}
}

// What happens elsewhere is seen on the page by itself.
func TestChangesAreSeenWithoutReload(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	id := h.sleeper(t, "watched")
	p := h.visit(t, "/agents")
	p.mark()
	p.wait("the new agent", state(id, "DRAFT"))
	for _, step := range [][2]string{{"provision", "PROVISIONED"}, {"deploy", "DEPLOYED"}, {"start", "RUNNING"}, {"suspend", "SUSPENDED"}} {
		h.act(t, id, step[0])
		p.wait("the state "+step[1], state(id, step[1]))
	}
	later := h.sleeper(t, "latecomer")
	p.wait("an agent that was made later", state(later, "DRAFT"))
	p.marked()
	p.clean()
}

// What works on an agent shows on its card while it does, although most cards have
// no place for it.
func TestWorkShowsOnTheCard(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.stubborn(t, 1)
	h.running(t)
	p := h.visit(t, "/agents?view=cards")
	p.wait("no work", `document.querySelector('[data-row="agent:stubborn-0"] [data-fill]')`)
	p.mark()
	eval[bool](p, `(new MutationObserver((_, o) => {
		const work = document.querySelector('[data-row="agent:stubborn-0"] .agent-work');
		if (work.querySelector('a')?.checkVisibility() && work.querySelector('progress').hasAttribute('value')) { window.worked = true; o.disconnect() }
	}).observe(document.querySelector('#fleet'), {subtree: true, childList: true, attributes: true}), true)`)
	h.act(t, "stubborn-0", "stop")
	p.wait("what is done to it", `window.worked`)
	p.wait("its end", state("stubborn-0", "STOPPED"))
	p.wait("no work again", `!document.querySelector('[data-row="agent:stubborn-0"] .agent-work').checkVisibility()`)
	p.marked()
	p.clean()
}

// The portal dies while a page is open. The page says so, finds the next one,
// and misses nothing.
func TestPageOutlivesThePortal(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	id := h.sleeper(t, "steady")
	p := h.visit(t, "/agents")
	p.mark()
	p.wait("the live connection", live)
	if err := h.Kill9(); err != nil {
		t.Fatal(err)
	}
	p.wait("the page to notice", "!("+live+")")
	h.restart(t)
	h.act(t, id, "provision") // before the page is back, so that it has to catch up
	p.wait("what happened meanwhile", state(id, "PROVISIONED"))
	p.wait("the live connection", live)
	h.act(t, id, "deploy")
	p.wait("what happened then", state(id, "DEPLOYED"))
	p.marked()
	// A part that was being loaded again when it died says so as well.
	p.clean("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "WebSocket connection", "Failed to fetch")
}

// What was asked of a portal that is away says that it waits, and then that no answer
// came; nothing that was clicked is silent. Two clicks open one dialog, and whoever
// works with the keyboard does not begin anew after each action.
func TestNoClickIsSilent(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	id := h.sleeper(t, "asked")
	p := h.visit(t, "/agents/"+id)
	p.wait("the live connection", live)
	eval[bool](p, `(a => (a.focus(), a.click(), a.click(), true))(document.querySelector('a[data-dialog][href$="/actions/provision"]'))`)
	p.wait("the dialog", `document.querySelector('dialog[open]') && !document.documentElement.dataset.busy`)
	p.press("Enter")
	p.wait("the end of it", `document.querySelector('main a[data-dialog][href$="/actions/deploy"]')`)
	p.wait("the focus in the content", `document.querySelector('#main').contains(document.activeElement)`)
	p.click(`a[data-dialog][href$="/actions/deploy"]`)
	p.wait("the next dialog", `document.querySelector('dialog[open]')`)
	if err := h.Kill9(); err != nil {
		t.Fatal(err)
	}
	p.click(`dialog[open] .dialog-foot .button-primary`)
	p.wait("the button to say that it waits", `getComputedStyle(document.querySelector('dialog[open] .dialog-foot .button-primary'), '::after').content !== 'none'`)
	const said = `[...document.querySelectorAll('#toasts .toast')].filter(t => t.innerText.includes('did not answer') && t.innerText.includes(%q)).length === %d`
	p.wait("that no answer came", fmt.Sprintf(said, "done once only", 1))
	p.click(`#toasts .toast[role="alert"] [data-dismiss]`) // it lies in front of the dialog
	p.wait("the message to go, and the dialog to stay", fmt.Sprintf(said, "done once only", 0)+` && document.querySelector('dialog[open]')`)
	p.press("Escape")
	p.click(`#nav a[href="/operations"]`)
	p.wait("that no page came", fmt.Sprintf(said, "Try again", 1))
	p.click(`a[data-dialog][href$="/actions/deploy"]`)
	p.wait("that no dialog came", fmt.Sprintf(said, "Try again", 2))
	h.restart(t)
	p.click(`a[data-dialog][href$="/actions/deploy"]`)
	p.wait("the dialog, now that it is back", `document.querySelector('dialog[open]')`)
	p.clean("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "WebSocket connection", "Failed to fetch")
}

// live is a condition: the page says that it is connected.
const live = `document.querySelector('[data-live-state]')?.dataset.liveState === 'live'`

// obstacle stands between the visitors and the portal, as some companies'
// proxies do: it lets no WebSocket through, and on demand no endless answer.
type obstacle struct {
	url              string
	sockets, streams atomic.Int64
	starting         atomic.Bool // live updates are not up yet, as in a portal that starts
}

func obstruct(t *testing.T, h *house, streams bool) *obstacle {
	t.Helper()
	target, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := &obstacle{}
	through := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target) // and its host, which is the only one that the portal answers to
		if r.In.Header.Get("Origin") != "" {
			r.Out.Header.Set("Origin", h.URL)
		}
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case o.starting.Load() && strings.HasPrefix(r.URL.Path, "/api/platform/live"):
			if r.Header.Get("Upgrade") != "" {
				o.sockets.Add(1)
			}
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		case r.Header.Get("Upgrade") != "":
			o.sockets.Add(1)
			http.Error(w, "no upgrade here", http.StatusBadRequest)
		case !streams && strings.HasSuffix(r.URL.Path, "/live/sse"):
			o.streams.Add(1)
			http.Error(w, "no stream here", http.StatusBadGateway)
		default:
			through.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	o.url = s.URL
	return o
}

// Where no WebSocket gets through, events come as a stream, and where that is
// held up too, the page asks again and again.
func TestLiveTakesWhateverWayThereIs(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	for _, streams := range []bool{true, false} {
		o := obstruct(t, h, streams)
		id := h.sleeper(t, fmt.Sprint("behind-", streams))
		p := h.visit(t, "")
		p.must(p.SetCookie(o.url, h.session.Name, h.session.Value))
		p.open(o.url + "/agents")
		p.mark()
		h.act(t, id, "provision")
		p.wait("the change", state(id, "PROVISIONED"))
		p.marked()
		if o.sockets.Load() == 0 {
			t.Error("no WebSocket was tried")
		}
		if !streams && o.streams.Load() == 0 {
			t.Error("no stream was tried")
		}
		p.clean("WebSocket connection", "400", "502")
		p.Close()
	}
}

// A portal that starts shows pages before it takes live connections. Nothing is in
// the way of them then, and the page does not say so or give up.
func TestAPortalThatStartsIsWaitedFor(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	o := obstruct(t, h, true)
	o.starting.Store(true)
	p := h.visit(t, "")
	p.must(p.SetCookie(o.url, h.session.Name, h.session.Value))
	p.open(o.url + "/agents")
	limit := time.Now().Add(browser.Patience)
	for o.sockets.Load() < 5 {
		if s := eval[string](p, `document.querySelector('[data-live-state]').dataset.liveState`); s == "polling" || time.Now().After(limit) {
			t.Fatalf("%s after %d tries", s, o.sockets.Load())
		}
	}
	o.starting.Store(false)
	p.wait("the live connection", live)
	p.clean("WebSocket connection", "400", "503")
}
