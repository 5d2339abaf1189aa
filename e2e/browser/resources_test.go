package browser_test

import (
	"net/http"
	"os"
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
	p.open(h.URL + "/events?group=resources")
	if text := eval[string](p, `document.querySelector('main').innerText`); !strings.Contains(text, "What was left over of "+stray+" on process was removed") {
		t.Errorf("told: %s", text)
	}
	p.clean()
}

// Places are found wherever runtimes are: in menus, filters, sums and editors. One that
// does not answer is named.
func TestPlacesAreShownByTheirNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, kubeconfig := filepath.Join(dir, "portal.yaml"), filepath.Join(dir, "kubeconfig")
	for file, text := range map[string]string{
		kubeconfig: `{apiVersion: v1, kind: Config, current-context: eu, clusters: [{name: eu, cluster: {server: "http://127.0.0.1:1"}}], contexts: [{name: eu, context: {cluster: eu, namespace: agents}}]}`,
		config:     "places: {kubernetes/eu: {kubeconfig: '" + kubeconfig + "'}, docker/gpu: {host: 'unix://" + dir + "/nowhere.sock'}}\nquotas: runtime=kubernetes/eu replicas=4\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := fresh(t, "--config", config)
	for name, runtime := range map[string]string{"here": "process", "abroad": "kubernetes/eu"} {
		if err := h.Call(limit(t), http.MethodPost, "/agents", map[string]any{"name": name, "template": "blank", "runtime": runtime}, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.act(t, "here", "provision")
	p := h.visit(t, "/agents")
	p.wait("the place among the filters", `document.querySelector('#chip-runtime-kubernetes_eu')?.textContent.includes('Kubernetes/eu')`)
	p.open(eval[string](p, `document.querySelector('#chip-runtime-kubernetes_eu').href`))
	p.wait("the agent of the place alone", `location.search.includes('runtime=kubernetes%2Feu') && document.querySelector('main').innerText.includes('abroad') && !document.querySelector('main a[href="/agents/here"]')`)
	p.picture(h, "places-agents")

	p.open(h.URL + "/agents/here")
	p.wait("where it can go", `['Move to docker/gpu', 'Move to kubernetes/eu'].every(t => document.querySelector('#agent-menu').textContent.includes(t))`)
	p.open(h.URL + "/agents/here/move?to=kubernetes%2Feu")
	p.wait("that nothing can go there now", `document.querySelector('main').innerText.includes("The runtime kubernetes/eu can't take the agent")`)
	p.picture(h, "places-move")

	p.open(h.URL + "/resources")
	p.wait("what can be said of places", `[...document.querySelectorAll('[name="runtime"] option')].some(o => o.value === 'kubernetes/eu') && document.querySelector('#place-kubernetes_eu')
		&& document.querySelector('main').innerText.includes('hold on docker/gpu is not known') && document.querySelector('.quotas').innerText.includes('kubernetes/eu')`)
	p.picture(h, "places-resources")
	p.open(h.URL + "/resources?runtime=kubernetes%2Feu")
	p.wait("that place alone", `document.querySelector('#place-kubernetes_eu') && !document.querySelector('#place-process')`)

	p.open(h.URL + "/agents/abroad/edit")
	p.wait("what can be written", `document.querySelector('.editor-main').innerText.includes('docker/gpu, kubernetes/eu, process')`)
	p.fill("#spec", "name: abroad\ntemplate: blank\nruntime: kubernetes/us\n")
	p.wait("that there is no such place", `document.querySelector('#check').innerText.includes('kubernetes/us is no place') && document.querySelector('#check').innerText.includes('kubernetes/eu')`)
	p.picture(h, "places-edit")
	p.clean()
}
