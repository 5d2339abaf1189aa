package browser_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/auth"
)

// rows counts the agents on the page.
const rows = `document.querySelectorAll('#fleet [data-row^="agent:"]').length`

// running makes agents that sleep, and brings them to RUNNING.
func (h *house) running(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		h.sleeper(t, name)
	}
	bulk, err := h.RunBulk(limit(t), map[string]any{"actions": []string{"provision", "deploy", "start"}, "filter": map[string]any{}})
	if err != nil || bulk.State != "SUCCEEDED" {
		t.Fatalf("the agents are not running: %+v, %v", bulk, err)
	}
}

// What is searched and filtered stands in the address, can be given to others,
// and is gone back from.
func TestSearchAndFiltersAreAddresses(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/agents?view=cards")
	p.mark()
	all := eval[int](p, rows)
	p.fill("#fleet-q", "memory")
	p.wait("the agent that matches", rows+` === 1 && location.search.includes('q=memory')`)
	other := h.visit(t, eval[string](p, `location.pathname + location.search`))
	if n := eval[int](other, rows); n != 1 {
		t.Errorf("the address shows %d agents to somebody else", n)
	}
	p.fill("#fleet-q", "")
	p.wait("all agents again", fmt.Sprintf(`%s === %d && !location.search.includes('q=')`, rows, all))
	p.click(`#fleet a.chip[href*="state=running"]`)
	p.wait("the agents that run", rows+` > 0 && /state=RUNNING/i.test(location.search)`)
	p.click(`#fleet a[data-clear]`)
	p.wait("all agents without a filter", fmt.Sprintf(`%s === %d`, rows, all))
	p.click(`#layout-table`)
	p.wait("the table", `document.querySelector('#fleet-table tbody tr') && location.search.includes('view=table')`)
	p.must(p.Back())
	p.wait("the cards again", `document.querySelector('#fleet .agent-card') && !document.querySelector('#fleet-table')`)
	p.marked()
	p.open(h.URL + "/agents?sort=beauty")
	p.click(`main > .problem a`)
	p.wait("the list without what can't be read", `location.pathname + location.search === '/agents' && `+rows+` > 0`)
	p.clean("400")
}

// A link to an agent opens its page without a reload, and Back leads to the same
// list.
func TestBackFromAnAgent(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/agents?q=memory&view=cards")
	p.mark()
	p.click(`[data-row="agent:wow-memory"] h2 a`)
	p.wait("the agent's page", `location.pathname === '/agents/wow-memory' && document.querySelector('h1').innerText.includes('Memory')`)
	p.must(p.Back())
	p.wait("the list", `location.search.includes('q=memory') && `+rows+` === 1 && document.querySelector('#fleet-q').value === 'memory'`)
	p.press("Control+k")
	p.wait("the palette, which works as before", `document.querySelector('#palette:popover-open')`)
	p.press("Escape")
	p.click(`[data-actions="wow-memory"]`)
	p.click(`#action-menu [data-action="stop"]`)
	p.wait("a dialog", `document.querySelector('dialog[open]')?.innerText.includes('Stop')`)
	p.marked()
	p.clean()
}

// What was ticked is ticked again when Back leads there from another filter.
func TestBackToWhatWasTicked(t *testing.T) {
	t.Parallel()
	h := shared(t)
	p := h.visit(t, "/agents?q=memory&view=cards")
	p.click(`#fleet-form input[name="agent"][value="wow-memory"]`)
	const ticked = `location.search.includes('selected=wow-memory') && document.querySelector('[data-selected]').textContent === '1'`
	p.wait("it in the address", ticked)
	p.click(`.chip-clear`)
	p.wait("all agents, none ticked", `!location.search.includes('q=memory') && document.querySelector('[data-selected]').textContent === '0'`)
	p.must(p.Back())
	p.wait("it ticked again", ticked+` && location.search.includes('q=memory')`)
	p.clean()
}

// An action says what it will disturb, shows that it is being done, and can be
// taken back.
func TestActAndUndo(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.depends(t, "leaf", "base")
	h.running(t, "base", "other")
	p := h.visit(t, "/agents?view=cards")
	p.mark()
	p.click(`[data-actions="base"]`)
	p.click(`#action-menu [data-action="stop"]`)
	p.wait("the impact", `document.querySelector('dialog[open] .impact')?.innerText.match(/leaf/i)`)
	p.click(`dialog[open] .confirm .button-primary, dialog[open] .confirm .button-danger`)
	p.wait("the dialog to close", `!document.querySelector('dialog[open]')`)
	p.wait("the state", state("base", "STOPPED"))
	p.click(`#toasts form[action$="/undo"] button`)
	p.wait("the state as before", state("base", "RUNNING"))
	p.marked()
	p.clean()
}

// depends makes an agent that needs another.
func (h *house) depends(t *testing.T, name, on string) {
	t.Helper()
	body := map[string]any{"name": name, "command": "/bin/sleep", "args": []string{"600"}, "dependencies": []string{on}}
	if err := h.Call(limit(t), http.MethodPost, "/agents", body, nil); err != nil {
		t.Fatal(err)
	}
}

// stubborn makes agents that take some time to stop.
func (h *house) stubborn(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		body := map[string]any{"name": fmt.Sprint("stubborn-", i), "command": "/bin/sh", "args": []string{"-c", "trap '' TERM; while :; do sleep 1; done"},
			"stop_timeout": "2s"}
		if err := h.Call(limit(t), http.MethodPost, "/agents", body, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Many agents are worked on together: what will happen is said before, each
// result is seen as it comes, and what has not begun can be called off.
func TestBulkWithProgressAndCancel(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.stubborn(t, 6)
	h.running(t)
	p := h.visit(t, "/agents?view=table")
	p.click(`input[data-select-all]`)
	p.wait("six to be ticked", `document.querySelector('[data-selected]').textContent === '6'`)
	p.click(`#selection button[value="stop"]`)
	p.wait("what would happen", `document.querySelector('dialog[open]')?.innerText.includes('6')`)
	p.fill(`dialog[open] input[name="parallel"]`, "1")
	p.click(`dialog[open] .confirm .button-primary`)
	p.wait("the progress", `location.pathname.startsWith('/bulk/') || document.querySelector('#bulk')`)
	p.mark()
	p.wait("the first result", `[...document.querySelectorAll('#bulk-items [data-cell^="item-"]')].some(e => /succeeded/i.test(e.dataset.status))`)
	p.click(`#bulk form[action$="/cancel"] button`)
	p.wait("the end", `/cancelled/i.test(document.querySelector('#bulk [data-cell="state"]').dataset.status)`)
	left := eval[int](p, `[...document.querySelectorAll('#bulk-items [data-cell^="item-"]')].filter(e => /cancelled|skipped/i.test(e.dataset.status)).length`)
	if left == 0 {
		t.Error("all agents were worked on though it was cancelled")
	}
	p.marked()
	p.clean()
}

// Two people look at the same agent. What one does, the other sees, and learns
// why the same can't be done a second time.
func TestTwoOperators(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.running(t, "shared")
	one, two := h.visit(t, "/agents?view=cards"), h.person(t, "second", auth.Operator)
	two.open(h.URL + "/agents/shared/actions/stop")
	one.click(`[data-actions="shared"]`)
	one.click(`#action-menu [data-action="stop"]`)
	one.click(`dialog[open] .confirm .button-primary`)
	one.wait("the state", state("shared", "STOPPED"))
	two.click(`.confirm button.button-primary`)
	two.wait("why it can't be done", `/stopped|changed|another/i.test(document.querySelector('[role="alert"], .notice, .problem, .toast')?.innerText ?? '') && document.querySelector('main').innerText.includes('choose again')`)
	two.open(h.URL + "/agents?view=cards")
	two.mark()
	one.click(`[data-actions="shared"]`)
	one.click(`#action-menu [data-action="start"]`)
	one.click(`dialog[open] .confirm .button-primary`)
	two.wait("what the other did", state("shared", "RUNNING"))
	two.marked()
	one.clean()
	two.clean("409", "412")
}

// Forms work without scripts: the action is done, and the next page says so.
func TestActWithoutScripts(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.running(t, "plain")
	p := h.visit(t, "")
	p.must(p.Scripts(false))
	p.open(h.URL + "/agents?view=cards")
	p.click(`[data-actions="plain"]`)
	p.wait("the actions", `document.querySelector('.action-list')`)
	p.click(`a[href$="/actions/stop"]`)
	p.wait("the form", `document.querySelector('form.confirm')`)
	p.click(`form.confirm button.button-primary`)
	p.wait("the next page to say so", `document.querySelector('#toasts .toast') && document.readyState === 'complete'`)
	deadline(t, func() bool {
		a, err := h.Agent(limit(t), "plain")
		return err == nil && a.State == "STOPPED"
	}, func() string { return "the agent was not stopped" })
	p.open(h.URL + "/agents?view=cards")
	p.wait("the state", `/stopped/i.test(document.querySelector('[data-row="agent:plain"] [data-cell="state"]').innerText)`)
	p.click(`#fleet-search input[type=search]`)
	p.must(p.Type("nobody"))
	p.click(`#fleet-search button`)
	p.wait("the search", `location.search.includes('q=nobody') && !document.querySelector('[data-row^="agent:"]')`)
	p.clean()
}

// From nothing to a running fleet in three clicks.
func TestFirstRunInThreeClicks(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	p := h.visit(t, "/")
	p.wait("the way to begin", `document.querySelector('form[action="/start/load"] button')`)
	p.click(`form[action="/start/load"] button`)
	p.wait("the agents", `document.querySelectorAll('[data-row^="agent:"]').length >= 14`)
	p.click(`form[action="/start/run"] button`)
	p.wait("all of them to run", `[...document.querySelectorAll('.start-agents [data-row] [data-cell="state"]')].filter(e => e.dataset.status === 'running').length >= 14`)
	p.click(`#start a[href="/agents"]`)
	p.wait("the fleet", rows+` >= 14`)
	if text := eval[string](p, `document.querySelector('main').innerText`); strings.Contains(strings.ToLower(text), "errored") && strings.Contains(text, "ERRORED") {
		t.Error("an agent of the example fleet is errored")
	}
	p.clean()
}
