package browser_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/e2e/browser"
)

// picture keeps how a page looks, in both themes on a telephone and a laptop.
func (p *tab) picture(h *house, name string) {
	p.t.Helper()
	for _, theme := range themes {
		p.prefer(browser.Preferences{Scheme: theme})
		for width, size := range map[string]browser.Size{"360": browser.Phone, "1280": browser.Laptop} {
			p.resize(size)
			p.settle()
			wide, err := p.TooWide()
			p.must(err)
			for _, w := range wide {
				p.t.Errorf("%s at %d px: %s", name, size.Width, w)
			}
			p.must(p.Screenshot(filepath.Join(h.root, "build", "screenshots", fmt.Sprintf("%s-%s-%s.png", name, theme, width))))
		}
		violations, _, err := p.Axe()
		p.must(err)
		for _, v := range violations {
			p.t.Errorf("%s, %s: %s", name, theme, v)
		}
	}
	p.resize(browser.Laptop)
}

// listening is an agent that listens on a port of its own, which the
// specification names twice.
func (h *house) listening(t *testing.T, name string, port int) {
	t.Helper()
	probe := map[string]any{"http": map[string]any{"path": "/ready", "port": "$(PORT)"}, "interval": "500ms", "timeout": "1s", "failure_threshold": 2}
	spec := map[string]any{"name": name, "command": h.Bin, "args": []string{"agent", "run", "lab"}, "stop_timeout": "2s",
		"env":    map[string]any{"LISTEN": "127.0.0.1:" + strconv.Itoa(port), "VOICE": "go"},
		"ports":  []map[string]any{{"name": "service", "port": port}},
		"probes": map[string]any{"readiness": probe}, "restart": map[string]any{"max_restarts": 2, "backoff": map[string]any{"initial": "200ms", "max": "1s"}}}
	if err := h.Call(limit(t), http.MethodPost, "/agents", spec, nil); err != nil {
		t.Fatal(err)
	}
}

// An operator sees that something went wrong, why, and who is to blame; looks at
// what the first suggestion would do, does it with one click, sees that it
// helped, and takes it back.
func TestAnErrorIsMendedAndTakenBack(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	h.listening(t, "caller", port)
	p := h.visit(t, "/errors")
	p.wait("a list without errors", `document.querySelector('#errors')?.innerText.includes('Nothing went wrong')`)
	p.mark()
	eval[bool](p, `(window.times = [], document.addEventListener('htmx:after:swap', () => setTimeout(() => times.push(...[...document.querySelectorAll('#errors time')].map(e => e.textContent)))), true)`)
	for _, action := range []string{"provision", "deploy", "start"} {
		if _, err := h.Act(limit(t), "caller", action); err != nil {
			t.Fatal(err)
		}
	}
	p.wait("the error, without a reload", fmt.Sprintf(`document.querySelector('#errors tbody tr')?.innerText.includes('Port %d is already in use')`, port))
	p.marked()
	p.wait("a second look at it", `times.length > 1`)
	if shown := eval[string](p, `times.join('|')`); strings.Contains(shown, ":") {
		t.Errorf("how long ago becomes a date when the list is loaded again: %s", shown)
	}
	p.picture(h, "errors-live")
	p.click(`#errors tbody tr a[href^="/errors/"]`)
	holder := fmt.Sprintf("(pid %d)", os.Getpid())
	p.wait("the one who has the port", fmt.Sprintf(`document.querySelector('h1')?.innerText.includes(%[1]q) && document.querySelector('#incident [aria-label="Evidence"]')?.innerText.includes(%[1]q)`, holder))
	p.wait("what to do, the best first", `document.querySelector('#incident .action-list li:first-child a')?.innerText.includes('Use port')
		&& [...document.querySelectorAll('#incident .action-list li')].some(li => !li.querySelector('a') && /Stop .* \(pid \d+\)/.test(li.innerText))`)
	p.picture(h, "error-live")

	p.click(`#incident .action-list li:first-child a`)
	p.wait("what it would do", fmt.Sprintf(`(t => t?.includes('LISTEN') && t.includes('127.0.0.1:%d') && t.includes('change the specification') && t.includes('can be undone for an hour'))(document.querySelector('dialog[open]')?.innerText)`, port))
	p.picture(h, "error-preview")
	if a, err := h.Agent(limit(t), "caller"); err != nil || a.Revision != 1 {
		t.Fatalf("looking changed something: %+v, %v", a, err)
	}
	p.click(`dialog[open] .button-primary`)
	p.wait("the error to be over", `document.querySelector('#incident')?.innerText.includes('Recovered') && document.querySelector('#incident [aria-label="What was tried"]')?.innerText.includes('helped')`)
	p.picture(h, "error-mended")
	if a, err := h.Agent(limit(t), "caller"); err != nil || a.State != "RUNNING" || a.Revision != 2 {
		t.Fatalf("after the fix: %+v, %v", a, err)
	}

	_ = l.Close()
	p.click(`#incident [aria-label="What was tried"] a`)
	p.click(`form[action$="/undo"] button`)
	deadline(t, func() bool {
		a, err := h.Agent(limit(t), "caller")
		if err != nil || a.Revision != 3 || a.State != "RUNNING" {
			return false
		}
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, func() string { return "it does not listen again where it did before" })
	p.wait("who took it back", `document.querySelector('main').innerText.includes('It was taken back by')`)
	p.clean()
}

// Diagnostics are made with a click, say what was seen, what it means and what to
// do, and are kept.
func TestDiagnosticsAreMadeAndKept(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	h.listening(t, "silent", freePort(t))
	for _, action := range []string{"provision", "deploy", "start"} {
		h.act(t, "silent", action)
	}
	p := h.visit(t, "/diagnostics?scope=portal")
	const found = `#diagnostics .finding`
	p.mark()
	p.click(`#diagnostics form[action="/diagnostics"] button`)
	p.wait("what was found", `document.querySelectorAll('`+found+`').length > 10 && document.querySelector('#check-store_latency .evidence')?.innerText.includes('ms')`)
	for _, check := range []string{"data_directory", "disk_space", "dns", "clock", "queue_round_trip", "audit_chain"} {
		if text := eval[string](p, fmt.Sprintf(`document.querySelector('#check-%s')?.innerText ?? ''`, check)); len(text) < 10 {
			t.Errorf("%s says %q", check, text)
		}
	}
	p.click(`#diagnostics form[action="/diagnostics"] button`)
	p.wait("two runs", `document.querySelectorAll('#diagnostics tbody tr').length === 2`)
	p.click(`#diagnostics tbody tr:last-child a`)
	p.wait("the earlier one", `document.querySelector('#diagnosis-head')?.innerText.includes('earlier')`)
	p.open(h.URL + "/diagnostics?agent=silent")
	p.click(`#diagnostics form[action="/diagnostics"] button`)
	p.wait("what is known of the agent", `document.querySelector('#check-state .badge')?.dataset.status && document.querySelector('#check-contract_health .evidence') && document.querySelector('#check-ports .evidence')`)
	p.picture(h, "diagnostics-agent")
	p.clean()
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(t.Context()), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A rule's threshold is tried against what was measured before it is changed, an
// alert is silenced from where it is seen, and who is told is set up and tested.
func TestAlertsAreTunedSilencedAndTold(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	file := map[string]string{"content": strings.Join([]string{"groups:", "- name: load", "  interval: 5s", "  rules:", "  - alert: Load", "    expr: vector(7) > 5", "    labels: {severity: warning}",
		"    annotations: {summary: 'It is {{ $value }}'}", ""}, "\n")}
	if err := h.Call(limit(t), http.MethodPut, "/alerts/rules/files/load.yml", file, nil); err != nil {
		t.Fatal(err)
	}
	p := h.visit(t, "/alerts")
	p.wait("the alert, without a reload", `document.querySelector('#alerts')?.innerText.includes('Load')`)
	p.wait("how many there are, in the navigation", `/[1-9]/.test(document.querySelector('nav a[href="/alerts"]')?.innerText)`)
	p.picture(h, "alerts-live")

	p.click(`#alerts a[href^="/alerts/"] strong`)
	p.wait("the alert", `document.querySelector('#alert')?.innerText.includes('It is 7')`)
	p.picture(h, "alert-live")
	p.fill(`form[action$="/acknowledge"] input[name="reason"]`, "looking at it")
	p.click(`form[action$="/acknowledge"] .button-primary`)
	p.wait("who looks after it", `document.querySelector('#alert')?.innerText.includes('looking at it')`)
	p.open(h.URL + "/alerts/silences?matchers=" + url.QueryEscape(`alertname="Load"`))
	p.fill(`form[action="/alerts/silences"] input[name="reason"]`, "planned work")
	p.click(`form[action="/alerts/silences"] .button-primary`)
	p.wait("the silence", `/In force/.test(document.querySelector('main table')?.innerText) && document.querySelector('main table').innerText.includes('planned work')`)
	p.picture(h, "silences")
	p.click(`form[action$="/end"] button`)
	p.wait("its end", `/Ended/.test(document.querySelector('main table')?.innerText)`)

	p.open(h.URL + "/alerts/rules")
	p.click(`main a[aria-label="Load warning > 5"]`)
	p.wait("the rule", `document.querySelector('#try-threshold')?.value === '5'`)
	p.fill("#try-threshold", "9")
	p.click(`form.filters .button`)
	p.wait("what would have been", `location.search.includes('threshold=9') && document.querySelector('main svg')`)
	p.picture(h, "rule-preview")
	const change = `form[action$="/change"] `
	p.fill(change+`input[name="threshold"]`, "9")
	p.fill(change+`input[name="reason"]`, "seven is fine")
	p.click(change + `button[value="tune"]`)
	p.wait("the change", `document.querySelector('main').innerText.includes('seven is fine') && document.querySelector('#try-threshold')?.value === '9'`)
	deadline(t, func() bool {
		var list struct{ Items []struct{} }
		err := h.Call(limit(t), http.MethodGet, "/alerts?name=Load&state=firing,acknowledged", nil, &list)
		return err == nil && len(list.Items) == 0
	}, func() string { return "it fires above a threshold that is higher" })

	p.open(h.URL + "/alerts/receivers")
	const form = `form[action="/alerts/receivers"] `
	p.fill(form+`input[name="name"]`, "ops")
	p.fill(form+`input[name="url"]`, "http://169.254.169.254/latest/")
	p.fill(form+`input[name="secret"]`, "file:alerts-key")
	p.click(form + `.button-primary`)
	p.wait("why it is refused, with what was written", `document.querySelector('main').innerText.includes('169.254.169.254') || document.querySelector('input[name="url"]')?.value.includes('169.254')`)
	p.picture(h, "receivers-refused")
	p.clean("400", "403", "409", "422")
}
