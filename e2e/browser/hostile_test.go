package browser_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/e2e/browser"
	"github.com/waooaw/platform-portal/e2e/drive"
)

// What an agent may say of itself, if it means harm.
const (
	script = `<script>window.harmed = 'script'</script><img src=x onerror="window.harmed='image'"><svg onload=window.harmed=1>`
	link   = `javascript:window.harmed='link'`
	ansi   = "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07click\x1b]8;;\x07"
	bidi   = "invoice\u202exe.fdp \u2066mixed\u2069 end"
)

// speaker is an agent that prints all of it, a line of 1 MB too, and fails with
// it or goes on.
func speaker(name, end string) map[string]any {
	say := fmt.Sprintf(`printf '%%s\n' "$SCRIPT" "$ANSI" "$BIDI"; head -c 1000000 /dev/zero | tr '\0' 'A'; echo; printf '%%s\n' "$SCRIPT" >&2; %s`, end)
	return map[string]any{
		"name": name, "display_name": strings.Repeat("W", 60) + script, "description": script + "\n" + link,
		"capabilities":   map[string]any{script: []string{script, link}},
		"constraints":    []map[string]any{{"rule": script, "reason": link}},
		"specialization": map[string]any{"role": script, "expertise": []string{script}},
		"command":        "/bin/sh", "args": []string{"-c", say},
		"env":     map[string]any{"SCRIPT": script, "ANSI": ansi, "BIDI": bidi},
		"restart": map[string]any{"max_restarts": 0},
	}
}

// Names, descriptions, logs and errors of agents are text, whatever they hold.
func TestHostileAgentsAreShownHarmlessly(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	for name, end := range map[string]string{"Speaker": "sleep 600", "Failing": "exit 3"} {
		if err := h.Call(limit(t), http.MethodPost, "/agents", speaker(name, end), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.RunBulk(limit(t), map[string]any{"actions": []string{"provision", "deploy", "start"}, "filter": map[string]any{}}); err != nil {
		t.Fatal(err)
	}
	var failed drive.Agent
	deadline(t, func() bool {
		var err error
		failed, err = h.Agent(limit(t), "Failing")
		return err == nil && failed.State == "ERRORED"
	}, func() string { return fmt.Sprintf("the agent did not fail: %+v", failed) })
	for _, id := range []string{"speaker", "failing"} {
		h.mustShowHarmlessly(t, id)
	}
}

// disguised is a condition that gives what stands on the page and could mislead
// a reader: characters that steer a terminal or turn the direction of text.
const disguised = `(document.body.innerText.match(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g) ?? []).length`

func (h *house) mustShowHarmlessly(t *testing.T, agent string) {
	t.Helper()
	p := h.visit(t, "")
	quoted := false
	for _, pl := range places(t, h, agent) {
		p.open(h.URL + pl.path)
		p.settle()
		if harmed := eval[bool](p, `'harmed' in window`); harmed {
			t.Errorf("%s ran a script of the agent", pl.path)
		}
		if n := eval[int](p, disguised); n > 0 {
			t.Errorf("%s shows %d characters that disguise others", pl.path, n)
		}
		if n := eval[int](p, `document.body.textContent.length`); n > 600_000 {
			t.Errorf("%s holds %d characters", pl.path, n)
		}
		links := eval[[]string](p, `[...document.querySelectorAll('a[href], form[action], [src]')].map(e => e.getAttribute('href') ?? e.getAttribute('action') ?? e.getAttribute('src')).filter(l => /^(javascript|data:text|vbscript)|evil\.example/i.test(l.trim()))`)
		if len(links) > 0 {
			t.Errorf("%s has links of the agent: %q", pl.path, links)
		}
		if wide, err := p.TooWide(); err != nil || len(wide) > 0 {
			t.Errorf("%s is too wide: %q %v", pl.path, wide, err)
		}
		p.must(p.Resize(browser.Phone))
		if wide, err := p.TooWide(); err != nil || len(wide) > 0 {
			t.Errorf("%s is too wide for a phone: %q %v", pl.path, wide, err)
		}
		p.must(p.Resize(browser.Laptop))
		quoted = quoted || strings.Contains(eval[string](p, `document.body.innerText`), "<script>window.harmed")
	}
	if !quoted {
		t.Error("no page showed what the agent says; the test has looked at nothing")
	}
	p.clean("404")
}
