package browser_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// An administrator sees by keyboard what agents hold and what is taken of quotas,
// without a reload when that changes, and removes what nobody owns, on record.
func TestWhatIsLeftOverIsRemovedByKeyboard(t *testing.T) {
	t.Parallel()
	h := fresh(t, "--quotas", "tier=2 agents=2 memory=1Gi; runtime=process replicas=8 cpu=4")
	h.abandon(t, stray)
	spec := map[string]any{"name": "holder", "template": "blank", "tier": 2, "replicas": 2, "resources": map[string]any{"memory": "480Mi", "cpu": 0.5}}
	if err := h.Call(limit(t), http.MethodPost, "/agents", spec, nil); err != nil {
		t.Fatal(err)
	}
	p := h.visit(t, "/")
	p.press("g", "c")
	p.wait("the page", `document.querySelector('#resources')?.innerText.includes('No agent holds anything')`)
	p.mark()
	h.act(t, "holder", "provision")
	h.act(t, "holder", "deploy")
	p.wait("the agent, without a reload", `document.querySelector('#holder-process-holder')?.innerText.includes('480') === false && /960.MiB/.test(document.querySelector('#holder-process-holder')?.innerText)`)
	p.marked()
	p.wait("what is taken", `/960.MiB of 1.GiB/.test(document.querySelector('.quotas')?.innerText) && document.querySelector('.quotas .badge[data-status="warning"]')`)
	p.picture(h, "resources")

	const remove = `#orphan-process-` + stray + ` a`
	eval[bool](p, `(document.querySelector('`+remove+`').focus(), true)`)
	p.press("Enter")
	p.wait("what would be removed", `document.querySelector('dialog[open] .impact')?.innerText.includes('data')`)
	p.picture(h, "resources-remove")
	if eval[bool](p, `!document.querySelector('dialog[open] .button-danger').disabled`) {
		t.Error("it can be removed before its name is typed")
	}
	p.fill(`dialog[open] [name="confirm"]`, stray)
	p.fill(`dialog[open] [name="reason"]`, "tidy <b>up</b>")
	p.press("Enter")
	p.wait("that it is gone", `document.querySelector('main')?.innerText.includes('What was left over was removed') && !document.querySelector('`+remove+`')`)
	if left, err := filepath.Glob(filepath.Join(h.Data, "agents", stray, "*")); err != nil || len(left) > 0 {
		t.Errorf("still there: %v, %v", left, err)
	}
	p.open(h.URL + "/audit?action=orphan.remove")
	if text := eval[string](p, `document.querySelector('main').innerText`); !strings.Contains(text, "tidy <b>up</b>") {
		t.Errorf("on record: %s", text)
	}
	p.clean()
}
