package kubernetes

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/browser"
	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// drifts gives what the API says that somebody else changed, as FIELD:WANTED>LIVE.
func (h *helm) drifts(agent string) (list []string) {
	h.Helper()
	var answer struct {
		Items []struct {
			Drift []struct{ Field, Wanted, Live string }
		}
	}
	if err := h.Call(h.Ctx, http.MethodGet, "/agents/"+agent+"/instances", nil, &answer); err != nil {
		h.Fatal(err)
	}
	for _, in := range answer.Items {
		for _, d := range in.Drift {
			list = append(list, d.Field+":"+d.Wanted+">"+d.Live)
		}
	}
	return list
}

func (h *helm) awaitDrift(agent string, want ...string) {
	h.Helper()
	err := drive.Poll(h.Ctx, 100*time.Millisecond, func() (bool, error) { return slices.Equal(h.drifts(agent), want), nil })
	if err != nil {
		h.Fatalf("changed is %q, want %q: %v", h.drifts(agent), want, err)
	}
}

// page opens the agent's page in a browser.
func (h *helm) page(agent string) *browser.Tab {
	h.Helper()
	dir, remove, err := browser.Profile()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(remove)
	b, err := browser.Start(dir)
	if errors.Is(err, browser.ErrMissing) {
		h.Skip(err)
	} else if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(b.Close)
	p, err := b.Visitor()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(p.Close)
	link := ""
	err = drive.Poll(h.Ctx, 50*time.Millisecond, func() (bool, error) {
		link, err = h.SignInLink()
		return err == nil, nil
	})
	for _, step := range []func() error{
		func() error { return err },
		func() error { return p.Open(link) },
		func() error { return p.Click("form button") },
		func() error {
			return p.Wait("the sign-in", `!location.pathname.startsWith('/auth/') && document.readyState === 'complete'`)
		},
		func() error { return p.Open(h.URL + "/agents/" + agent) },
	} {
		if err := step(); err != nil {
			h.Fatal(err)
		}
	}
	return p
}

// edited is an agent of which somebody else changes the objects, and its page.
type edited struct {
	*helm
	*browser.Tab
}

func (e *edited) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// sees waits for something on the page, which nobody loads again meanwhile.
func (e *edited) sees(what, condition string) {
	e.Helper()
	e.must(e.Wait(what+", without a reload", "window.same && "+condition))
}

// object gives a field of its workload.
func (e *edited) object(path string) string {
	e.Helper()
	return e.cluster.Kubectl(e.T, "get", "statefulsets", "-l", "platform-portal.io/agent=edited", "-o", "jsonpath={.items[0]"+path+"}")
}

// change is what somebody does to its container.
func (e *edited) change(fields string) {
	e.Helper()
	e.patch("statefulset", e.object(".metadata.name"), `{"spec":{"template":{"spec":{"containers":[{"name":"agent",`+fields+`}]}}}}`)
}

func (e *edited) patch(kind, name, change string) {
	e.Helper()
	e.cluster.Kubectl(e.T, "patch", kind, name, "--type=strategic", "--field-manager=somebody", "-p", change)
}

// stored checks the newest specification.
func (e *edited) stored(revision int, memory string) {
	e.Helper()
	var a struct {
		Revision  int
		Resources struct{ Memory string }
	}
	if err := e.Call(e.Ctx, http.MethodGet, "/agents/edited", nil, &a); err != nil || a.Revision != revision || a.Resources.Memory != memory {
		e.Errorf("its specification is %+v, %v", a, err)
	}
}

// What an administrator of the cluster changes is shown as it happens, and taken back
// or over by whoever operates the agent.
func TestWhatOthersChangedIsTakenBackOrOver(t *testing.T) {
	h := open(t)
	h.Running("edited", map[string]any{
		"image": kubernetestest.Image, "command": kubernetestest.ProgramPath, "args": []string{"ticks"},
		"resources": map[string]any{"memory": "64Mi", "cpu": 0.5}, "env": map[string]string{"LEVEL": "hush-hush"},
		"probes": map[string]any{"readiness": map[string]any{"exec": map[string]any{"command": []string{kubernetestest.ProgramPath, "env", "X", "end"}}}},
	})
	e := &edited{h, h.page("edited")}
	e.must(e.Wait("the agent as it is", `document.querySelector('main')?.innerText.includes('edited') && !document.querySelector('#foreign-changes')`))
	_, err := browser.Eval[bool](e.Tab, `window.same = true`)
	e.must(err)
	e.takenBack()
	e.takenOver()
	e.takenOverOnThePage()
	for _, problem := range e.Problems() {
		t.Errorf("in the browser: %s", problem)
	}
	h.Do("edited", "revoke")
}

func (e *edited) takenBack() {
	const other = "docker.io/" + kubernetestest.Image // the same by another name
	e.change(`"image":"` + other + `"`)
	e.awaitDrift("edited", "image:"+kubernetestest.Image+">"+other)
	e.sees("the difference", `document.querySelector('#foreign-changes .diff-added')?.innerText === '`+other+`' && document.querySelector('#foreign-changes .diff-removed')?.innerText === '`+kubernetestest.Image+`'`)
	if out := e.Command("agents", "drift", "edited"); !strings.Contains(out, "image") || !strings.Contains(out, other) {
		e.Errorf("the command line shows %s", out)
	}
	e.Command("agents", "drift", "edited", "--repair", "--reason", "not ours")
	e.awaitDrift("edited")
	if image := e.object(".spec.template.spec.containers[0].image"); image != kubernetestest.Image {
		e.Errorf("repaired, and its image is %s", image)
	}
	e.Until("edited", "RUNNING", "")
	e.sees("that it is gone", `!document.querySelector('#foreign-changes')`)
}

// takenOver adopts what a specification can say, and no more: the program has it once
// the revision is deployed.
func (e *edited) takenOver() {
	e.change(`"resources":{"limits":{"memory":"96Mi"}},"readinessProbe":{"periodSeconds":3,"failureThreshold":7}`)
	e.patch("secret", strings.TrimSuffix(e.object(".metadata.name"), "-w")+"-env", `{"stringData":{"LEVEL":"swapped-out","MORE":"$(swapped-out)","QUEUE_TOKEN":"swapped-out"}}`)
	asks := `run ["` + kubernetestest.ProgramPath + `","env","X","end"] every `
	const swapped = ":the value that was written>another value in the Secret, with effect at the next start"
	e.awaitDrift("edited", "health.readiness:"+asks+"10 s after 0 s, within 1 s; 3 failures, 1 successes>"+asks+"3 s after 0 s, within 1 s; 7 failures, 1 successes",
		"resources.memory:64Mi>96Mi", "env.LEVEL"+swapped, "env.MORE:none>a value in the Secret, with effect at the next start", "env.QUEUE_TOKEN"+swapped)
	e.sees("the differences", `document.querySelectorAll('#foreign-changes tbody tr').length === 5`)
	if text, err := browser.Eval[string](e.Tab, `document.documentElement.outerHTML`); err != nil || strings.Contains(text, "hush-hush") || strings.Contains(text, "swapped-out") {
		e.Errorf("a secret is on the page, or %v", err)
	}
	if plan := e.Command("agents", "drift", "edited", "--adopt", "--plan"); !strings.Contains(plan, "resources.memory") || !strings.Contains(plan, "env.QUEUE_TOKEN") || strings.Contains(plan, "swapped-out") {
		e.Errorf("the plan is %s", plan)
	}
	var a struct{ Warnings []string }
	out := e.Command("agents", "drift", "edited", "--adopt", "-o", "json")
	if err := json.Unmarshal([]byte(out), &a); err != nil || len(a.Warnings) != 1 || !strings.HasPrefix(a.Warnings[0], "env.QUEUE_TOKEN is not adopted: ") {
		e.Errorf("it says %q, %v", a.Warnings, err)
	}
	e.stored(2, "96Mi")
	for _, list := range []string{"/audit?limit=100", "/events?limit=1000"} {
		var all json.RawMessage
		if err := e.Call(e.Ctx, http.MethodGet, list, nil, &all); err != nil || strings.Contains(string(all), "swapped-out") {
			e.Errorf("a secret is in %s, or %v", list, err)
		}
	}
	for _, action := range []string{"stop", "deploy", "start"} {
		e.Do("edited", action)
	}
	e.awaitDrift("edited")
	if memory := e.object(".spec.template.spec.containers[0].resources.limits.memory"); memory != "96Mi" {
		e.Errorf("deployed, and its limit is %s", memory)
	}
	if p := e.object(".spec.template.spec.containers[0].readinessProbe"); !strings.Contains(p, `"periodSeconds":3`) || !strings.Contains(p, `"failureThreshold":7`) {
		e.Errorf("deployed, and its probe is %s", p)
	}
	for name, value := range map[string]string{"LEVEL": "swapped-out", "MORE": "$(swapped-out)"} {
		if got := e.cluster.Kubectl(e.T, "exec", "statefulset/"+e.object(".metadata.name"), "--", kubernetestest.ProgramPath, "env", name, "end"); got != name+"="+value {
			e.Errorf("deployed, and the program has %s", got)
		}
	}
}

func (e *edited) takenOverOnThePage() {
	e.change(`"resources":{"limits":{"memory":"128Mi"}}`)
	e.awaitDrift("edited", "resources.memory:96Mi>128Mi")
	e.sees("the difference", `document.querySelector('#foreign-changes')?.innerText.includes('128Mi')`)
	root, err := drive.Root()
	e.must(err)
	e.must(e.Screenshot(filepath.Join(root, "build", "screenshots", "drift.png")))
	violations, _, err := e.Axe()
	e.must(err)
	for _, v := range violations {
		e.Errorf("not for everybody: %s", v)
	}
	e.must(e.Click(`a[href="/agents/edited/adopt"]`))
	e.must(e.Wait("the question", `document.querySelector('dialog[open]')?.innerText.includes('next revision') && document.querySelector('dialog[open]').innerText.includes('Adopted: resources.memory')`))
	e.must(e.Fill(`dialog[open] [name="reason"]`, "more is needed"))
	e.must(e.Press("Enter"))
	e.must(e.Wait("the revision", `location.search.includes('saved=3') && document.readyState === 'complete'`))
	e.stored(3, "128Mi")
}
