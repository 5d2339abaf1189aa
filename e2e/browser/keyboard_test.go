package browser_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/waooaw/platform-portal/e2e/browser"
)

// focused gives what has the focus, and fails the test if that can't be seen.
func (p *tab) focused() browser.Focus {
	p.t.Helper()
	f, err := p.Focused()
	p.must(err)
	if !f.Visible || !f.Inside {
		p.t.Errorf("the focus is on %s %q and can't be seen: %+v", f.Tag, f.Name, f)
	}
	return f
}

// onto presses a key until the condition holds, at most n times.
func (p *tab) onto(what, key, condition string, n int) {
	p.t.Helper()
	for range n {
		p.press(key)
		if eval[bool](p, "!!("+condition+")") {
			return
		}
	}
	f, _ := p.Focused()
	p.t.Fatalf("%d times %s did not lead to %s; the focus is on %+v", n, key, what, f)
}

// Every control is reached with Tab, in an order without traps, and it is seen
// where one is.
func TestTabReachesEverything(t *testing.T) {
	t.Parallel()
	h := shared(t)
	for _, path := range []string{"/agents?view=cards", "/agents/wow-memory", "/", "/settings"} {
		p := h.visit(t, path)
		p.press("Tab")
		if f := p.focused(); f.Name != "Skip to content" {
			t.Errorf("%s: Tab first leads to %q", path, f.Name)
		}
		p.press("Enter")
		p.wait("the focus in the content", `document.activeElement?.id === 'main'`)
		seen := 0
		for range 25 {
			p.press("Tab")
			if eval[bool](p, `document.activeElement === document.body`) {
				break // past the last one
			}
			p.focused()
			seen++
		}
		if seen == 0 {
			t.Errorf("%s has nothing in its content that Tab leads to", path)
		}
		p.clean()
	}
}

// The palette goes anywhere and acts on any agent.
func TestPalette(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/agents?view=cards")
	p.mark()
	p.press("Control+k")
	p.wait("the palette", `document.querySelector('#palette')?.matches(':popover-open') && document.activeElement?.closest('#palette')`)
	p.must(p.Type("memory"))
	p.wait("the agent", `[...document.querySelectorAll('#palette [role="option"]')].some(o => o.dataset.agent === 'wow-memory' && o.checkVisibility())`)
	p.wait("it to be chosen", `document.querySelector('#palette [role="option"][aria-selected="true"]')?.dataset.agent === 'wow-memory'`)
	p.press("Enter")
	p.wait("its page", `location.pathname === '/agents/wow-memory' && !document.querySelector('#palette')?.matches(':popover-open')`)
	p.press("Control+k")
	p.wait("the palette again", `document.querySelector('#palette')?.matches(':popover-open') && document.activeElement?.closest('#palette')`)
	p.must(p.Type("restart memory"))
	p.wait("the action", `/restart/i.test(document.querySelector('#palette [role="option"][aria-selected="true"]')?.innerText ?? '')`)
	p.press("Enter")
	p.wait("its impact", `document.querySelector('dialog[open] form.confirm')?.getAttribute('action').endsWith('/agents/wow-memory/actions/restart')`)
	p.press("Escape")
	p.wait("the dialog to close", `!document.querySelector('dialog[open]')`)
	p.marked()
	p.clean()
}

// The search box of the header opens the palette over the page and leads nowhere
// by itself.
func TestSearchBoxStays(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/events")
	p.click(".search-open")
	p.wait("the palette", `document.querySelector('#palette')?.matches(':popover-open') && document.activeElement?.closest('#palette')`)
	for _, r := range p.Requests() {
		if u, err := url.Parse(r.URL); err == nil && u.Path == "/agents" {
			t.Errorf("the search box asked for %s", r.URL)
		}
	}
	p.press("Escape")
	p.wait("the page as it was", `!document.querySelector('#palette')?.matches(':popover-open') && location.pathname === '/events'`)
	p.clean()
}

// The sheet of shortcuts opens with a key and gives the focus back; so does a
// dialog that an action opened.
func TestFocusReturns(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/agents?view=cards")
	p.press("?")
	p.wait("the sheet", `document.querySelector('dialog[open]')?.innerText.includes('Keyboard shortcuts')`)
	p.press("Escape")
	p.wait("the sheet to close", `!document.querySelector('dialog[open]')`)
	opener := `[data-actions="wow-memory"]`
	eval[bool](p, fmt.Sprintf(`(document.querySelector(%q).focus(), true)`, opener))
	p.press("Enter")
	p.wait("the menu", `document.querySelector('#action-menu').matches(':popover-open') && document.activeElement?.closest('#action-menu')`)
	p.onto("restart", "ArrowDown", `document.activeElement?.dataset.action === 'restart'`, 9)
	p.focused()
	p.press("Enter")
	p.wait("the dialog, with the focus in it", `document.querySelector('dialog[open]') && document.activeElement?.closest('dialog')`)
	for range 12 { // the focus stays in it
		p.press("Tab")
		if !eval[bool](p, `!!document.activeElement?.closest('dialog') || document.activeElement === document.body`) {
			t.Fatal("Tab leads out of the dialog")
		}
	}
	p.press("Escape")
	p.wait("the focus where it was", fmt.Sprintf(`!document.querySelector('dialog[open]') && document.activeElement?.matches(%q)`, opener))
	p.clean()
}

// Agents are walked through, ticked and opened by single keys.
func TestKeysWalkThroughTheList(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/agents?view=cards")
	p.press("j", "j")
	p.wait("the focus on an agent", `document.activeElement?.closest('[data-row^="agent:"]')`)
	id := eval[string](p, `document.activeElement.closest('[data-row]').dataset.row`)
	p.press("x")
	p.wait("it to be ticked", fmt.Sprintf(`document.querySelector('[data-row="%s"] input[type=checkbox]').checked`, id))
	p.press("Escape")
	p.wait("nothing to be ticked", `!document.querySelector('#fleet input[name=agent]:checked')`)
	p.press("/")
	p.wait("the focus in the search", `document.activeElement?.id === 'fleet-q'`)
	p.must(p.Type("memory"))
	p.wait("the agent", rows+` === 1`)
	p.press("Escape")
	p.press("g", "o")
	p.wait("the operations", `location.pathname === '/operations'`)
	p.clean()
}

// The context chosen in one tab is that of the other, the address wins, and it
// is cleared when the agent is revoked.
func TestContextFollows(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.running(t, "chosen", "another")
	p := h.visit(t, "/")
	q, err := p.Sibling()
	p.must(err)
	other := &tab{q, t}
	other.open(h.URL + "/operations")
	p.click(".context-open")
	p.wait("the panel", `document.querySelector('#context-panel').matches(':popover-open')`)
	p.click(`#context-results button[value="chosen"]`)
	p.wait("the context", `document.querySelector('[data-context]').dataset.context === 'chosen'`)
	other.wait("the context in the other tab", `document.querySelector('[data-context]').dataset.context === 'chosen'`)
	other.open(h.URL + "/operations?agent=another")
	other.wait("the context of the address", `document.querySelector('[data-context]').dataset.context === 'another'`)
	h.act(t, "chosen", "revoke")
	p.wait("no context", `document.querySelector('[data-context]').dataset.context === ''`)
	p.wait("to be told why", `/revoked/i.test(document.body.innerText)`)
	p.clean()
	other.clean()
}

// A theme that was chosen stays, and is there from the first paint.
func TestThemeIsKept(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "")
	p.must(p.Remember(h.URL, "portal_theme", "")) // one who has chosen nothing
	p.prefer(browser.Preferences{Scheme: "light"})
	p.open(h.URL + "/agents")
	if got := eval[string](p, `document.documentElement.dataset.theme`); got != "dark" {
		t.Errorf("for one who has chosen nothing the theme is %q", got)
	}
	paper := `getComputedStyle(document.body).backgroundColor`
	dark := eval[string](p, paper)
	p.click(`.topbar button[name="theme"][value="light"]`)
	p.wait("the light theme", fmt.Sprintf(`document.documentElement.dataset.theme === 'light' && %s !== %q`, paper, dark))
	p.must(p.Reload())
	if got := eval[string](p, `document.documentElement.dataset.theme`); got != "light" {
		t.Errorf("after a reload the theme is %q", got)
	}
	p.prefer(browser.Preferences{Scheme: "dark"})
	p.click(`.topbar button[name="theme"][value="system"]`)
	p.wait("the theme of the system", fmt.Sprintf(`%s === %q`, paper, dark))
	p.clean()
}
