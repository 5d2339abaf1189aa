package browser_test

import (
	"fmt"
	"net/http"
	"testing"
)

// A filter is saved under a name, is there for the next visit, and goes again.
func TestSavedViews(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.sleeper(t, "alpha")
	h.sleeper(t, "beta")
	p := h.visit(t, "/agents?q=alpha&view=cards")
	p.click(`.views-tools a[href^="/saved-views/new"]`)
	p.fill(`dialog[open] input[name="name"]`, "My alphas")
	// The first answer is lost on its way: the form is sent again, and acts once.
	eval[bool](p, `(() => { const real = window.fetch; window.lost = 0; window.fetch = async (...a) => { const r = await real(...a);
		if (a[1]?.method === 'POST' && window.lost++ === 0) throw new TypeError('lost'); return r }; return true })()`)
	p.click(`dialog[open] .button-primary`)
	p.wait("the view's tab", `[...document.querySelectorAll('.views-bar .tabs a')].some(a => a.innerText.includes('My alphas') && a.getAttribute('aria-current'))`)
	if n := eval[int](p, `window.lost`); n != 2 {
		t.Errorf("the form was sent %d times, want 2", n)
	}
	again := h.visit(t, "/agents")
	again.wait("all agents", rows+` === 2`)
	if n := eval[int](again, `[...document.querySelectorAll('.views-bar .tabs a')].filter(a => a.innerText.includes('My alphas')).length`); n != 1 {
		t.Errorf("the view is there %d times", n)
	}
	again.click(`.views-bar .tabs li:last-child a`)
	again.wait("the agents of the view", rows+` === 1 && document.querySelector('#agent-alpha')`)
	again.click(`.views-tools a[href^="/saved-views/"]`)
	again.click(`dialog[open] button[name="delete"]`)
	again.wait("the view to be gone", `![...document.querySelectorAll('.views-bar .tabs a')].some(a => a.innerText.includes('My alphas'))`)
	p.clean()
	again.clean()
}

// All that match are meant, those of other pages too.
func TestSelectAllThatMatch(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	const n = 103 // more than a page shows
	docs := make([]map[string]any, n)
	for i := range docs {
		docs[i] = map[string]any{"name": fmt.Sprintf("many-%03d", i), "command": "/bin/sleep", "args": []string{"600"}}
	}
	if err := h.Call(limit(t), http.MethodPost, "/agents/import", docs, nil); err != nil {
		t.Fatal(err)
	}
	p := h.visit(t, "/agents?q=many&view=table")
	p.click(`[data-row="agent:many-000"] input[name="agent"]`)
	p.click(`[data-select-matching]`)
	p.wait("all to be selected", fmt.Sprintf(`document.querySelector('[data-selected]').textContent === '%d'`, n))
	p.click(`#selection button[value="deploy"]`)
	p.wait("what would happen", fmt.Sprintf(`document.querySelector('dialog[open]')?.innerText.includes('%d agents are worked on')`, n))
	p.press("Escape")
	p.wait("the dialog to close", `!document.querySelector('dialog[open]')`)
	p.clean()
}

// What was done to many is taken back together.
func TestBulkIsRolledBack(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.running(t, "first", "second", "third")
	p := h.visit(t, "/agents?view=table")
	p.click(`input[data-select-all]`)
	p.click(`#selection button[value="stop"]`)
	p.click(`dialog[open] .confirm .button-primary`)
	p.wait("the end", `/succeeded/i.test(document.querySelector('#bulk [data-cell="state"]')?.dataset.status)`)
	p.click(`#bulk form[action$="/rollback"] button`)
	p.wait("the rollback", `document.querySelectorAll('#bulk-items [data-status~="rolled_back"]').length === 3`)
	deadline(t, func() bool {
		list, err := h.Agents(limit(t), "state=RUNNING")
		return err == nil && len(list) == 3
	}, func() string { return "the agents do not run again" })
	p.clean()
}

// A spec is checked while it is written, each mistake with its line, and saved
// as a new revision.
func TestSpecIsCheckedWhileItIsWritten(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	id := h.sleeper(t, "edited")
	p := h.visit(t, "/agents/"+id+"/edit")
	text := eval[string](p, `document.querySelector('#spec').value`)
	p.fill("#spec", text+"\ntier: 99\n")
	p.wait("the mistake, with its line", `document.querySelector('#check .wrong li')?.innerText.includes('tier')`)
	p.fill("#spec", text+"\ntier: 3\n")
	p.wait("what changes", `!document.querySelector('#check .wrong') && document.querySelector('#check')?.innerText.includes('tier')`)
	p.click(`button[data-save]`)
	p.wait("the agent's page", `location.pathname === '/agents/edited'`)
	a, err := h.Agent(limit(t), id)
	if err != nil || a.Revision != 2 {
		t.Errorf("after saving: %+v, %v", a, err)
	}
	p.clean()
}

// What an agent prints appears below what is there.
func TestOutputIsFollowed(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	body := map[string]any{"name": "talker", "command": "/bin/sh", "args": []string{"-c", "n=0; while :; do n=$((n+1)); echo line-$n; sleep 0.2; done"}}
	if err := h.Call(limit(t), http.MethodPost, "/agents", body, nil); err != nil {
		t.Fatal(err)
	}
	h.running(t)
	p := h.visit(t, "/agents/talker?tab=logs")
	p.mark()
	p.wait("a line", `document.querySelectorAll('[data-log-lines] .log-line').length > 1`)
	before := eval[int](p, `document.querySelectorAll('[data-log-lines] .log-line').length`)
	p.wait("more lines", fmt.Sprintf(`document.querySelectorAll('[data-log-lines] .log-line').length > %d`, before+3))
	p.marked()
	p.clean()
}

// Examples of the gallery do what the parts do on other pages.
func TestGalleryAnswers(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/gallery")
	p.click(`#toast form[action="/gallery/example"] > .button`)
	p.wait("a message", `document.querySelector('#toasts .toast')?.innerText.includes('Nothing was changed')`)
	p.click(`#metric button[hx-get="/gallery/metric"]`)
	p.click(`#dialog a[href="/gallery/confirm-danger"]`)
	p.wait("the dialog", `document.querySelector('dialog[open] .button-danger')?.disabled`)
	p.fill(`dialog[open] input[name="confirm"]`, "wow-memory")
	p.wait("the button to work", `document.querySelector('dialog[open] .button-danger')?.disabled === false`)
	p.press("Escape")
	p.wait("the dialog to close", `!document.querySelector('dialog[open]')`)
	p.click(`[popovertarget="gallery-menu"]`)
	p.wait("the menu", `document.querySelector('#gallery-menu').matches(':popover-open')`)
	p.press("Escape")
	p.clean()
}
