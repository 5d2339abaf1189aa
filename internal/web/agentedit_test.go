package web_test

import (
	"html"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// opens gives the text and the revision that the editor of an agent begins with.
func (h *home) opens(id string) (text, base string) {
	h.Helper()
	return h.written(h.page(auth.Operator, "/agents/"+id+"/edit"))
}

func (h *home) written(page string) (text, base string) {
	h.Helper()
	area := regexp.MustCompile(`(?s)<textarea[^>]*>\n(.*?)</textarea>`).FindStringSubmatch(page)
	from := regexp.MustCompile(`name="base" value="(\d+)"`).FindStringSubmatch(page)
	if area == nil || from == nil {
		h.Fatalf("there is no editor: %.2000s", page)
	}
	return html.UnescapeString(area[1]), from[1]
}

// spec gives the stored spec of an agent and the number of its revision.
func (h *home) spec(id string) (agent.Spec, int) {
	h.Helper()
	a, err := h.store.Agents().Get(h.Context(), id)
	if err != nil {
		h.Fatal(err)
	}
	return a.Spec, a.Revision
}

func TestAnEditIsCheckedSavedAndTakenBack(t *testing.T) {
	h := lively(t)
	text, base := h.opens("memory")
	if base != "1" || !strings.Contains(text, "description: Remembers.") {
		t.Fatalf("the editor begins with revision %s: %s", base, text)
	}
	changed := strings.ReplaceAll(strings.Replace(text, "tier: 4", "tier: 5\nenv: {MODE: fast}", 1), "\n", "\r\n") // as browsers send it
	check := h.form(200, "/agents/memory/edit/check", "spec", changed).Body.String()
	h.contains(check, "The spec is valid", "Saving makes revision 2.", "1 change holds at once.", "1 change reaches its instances with the next deployment",
		"env.MODE", "depends on Nobody, which is not in the fleet")
	if _, n := h.spec("memory"); n != 1 {
		t.Fatal("a check stored something")
	}
	w := h.form(303, "/agents/memory/edit", "spec", changed, "base", base, "reason", "more speed", "do", "save")
	if to := w.Header().Get("Location"); to != "/agents/memory?tab=spec&saved=2" {
		t.Fatalf("after saving it leads to %s", to)
	}
	spec, n := h.spec("memory")
	if n != 2 || spec.Tier != 5 || spec.Env["MODE"] != "fast" || spec.Description != "Remembers." {
		t.Errorf("revision %d: %+v", n, spec)
	}
	page := h.page(auth.Operator, "/agents/memory?tab=spec&saved=2")
	h.contains(page, "Saved as revision 2", "Undo", "more speed")
	version := regexp.MustCompile(`revisions/1/restore.*?name="version" value="(\d+)"`).FindStringSubmatch(strings.ReplaceAll(page, "\n", " "))[1]
	h.form(303, "/agents/memory/revisions/1/restore", "version", version)
	if spec, n = h.spec("memory"); n != 3 || spec.Tier != 4 || len(spec.Env) != 0 {
		t.Errorf("taken back, revision %d: %+v", n, spec)
	}
	if _, err := h.ask(auth.Operator, "POST", "/agents/memory/revisions/1/restore", "version", version); !fault.Is(err, fault.Stale) {
		t.Errorf("an old form restores: %v", err)
	}
	page = h.page(auth.Viewer, "/agents/memory?tab=spec&from=1&to=2")
	h.contains(page, "From revision 1 to 2", "env.MODE", "tier")
	if w := h.send(auth.Viewer, "GET", "/agents/memory/spec.yaml?revision=2"); !strings.Contains(w.Body.String(), "tier: 5\n") {
		t.Errorf("the file of revision 2: %s", w.Body)
	}
	if _, err := h.ask(auth.Viewer, "GET", "/agents/memory?tab=spec&revision=9"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a revision that does not exist: %v", err)
	}
}

func TestMistakesOfAnEditAreNamedWithTheirLines(t *testing.T) {
	h := lively(t)
	text, base := h.opens("memory")
	for what, c := range map[string]struct {
		change func(string) string
		want   []string
	}{
		"fields": {func(s string) string {
			return strings.Replace(s, "tier: 4", "tier: 9\nreplicaz: 2\nports: [{name: http}]", 1)
		},
			[]string{"tier", "must be 1 to 6", "replicaz", "did you mean replicas?", "ports[0].port"}},
		"syntax":    {func(s string) string { return s + "\n  : : [" }, []string{"is not valid YAML", "Line"}},
		"two":       {func(s string) string { return s + "\n---\nname: Other" }, []string{"There are 2 documents"}},
		"id":        {func(s string) string { return strings.Replace(s, "id: memory", "id: other", 1) }, []string{"can't be changed; it is memory"}},
		"a name":    {func(s string) string { return strings.Replace(s, "name: Memory", "name: User", 1) }, []string{"is taken by User"}},
		"a circle":  {func(s string) string { return strings.Replace(s, "- Nobody", "- User", 1) }, []string{"dependencies", "close the cycle"}},
		"nothing":   {func(string) string { return "" }, []string{"There is no document"}},
		"read-only": {func(s string) string { return s + "\nstate: RUNNING" }, []string{"is set by the portal"}},
	} {
		t.Run(what, func(t *testing.T) {
			wrong := c.change(text)
			h.contains(h.form(200, "/agents/memory/edit/check", "spec", wrong).Body.String(), c.want...)
			page := h.form(422, "/agents/memory/edit", "spec", wrong, "base", base, "do", "save").Body.String()
			h.contains(page, c.want...)
			if again, _ := h.written(page); again != wrong {
				t.Errorf("what was written is lost: %s", again)
			}
			if _, n := h.spec("memory"); n != 1 {
				t.Errorf("revision %d was stored", n)
			}
		})
	}
	tier := 1 + strings.Count(text[:strings.Index(text, "tier: 4")], "\n")
	check := h.form(200, "/agents/memory/edit/check", "spec", strings.Replace(text, "tier: 4", "tier: 9", 1)).Body.String()
	h.marks(check, `data-goto="`+strconv.Itoa(tier)+`"`)
	for field, value := range map[string]string{"base": "9", "reason": strings.Repeat("x", 501)} {
		form := map[string]string{"base": base, "reason": "", field: value}
		_, err := h.ask(auth.Operator, "POST", "/agents/memory/edit", "spec", text, "base", form["base"], "reason", form["reason"], "do", "save")
		if f := fault.As(err); f == nil || len(f.Fields) != 1 || f.Fields[0].Path != field {
			t.Errorf("a wrong %s: %v", field, err)
		}
	}
}

func TestTwoEditsOfOneSpecAreBroughtTogether(t *testing.T) {
	h := lively(t)
	text, base := h.opens("memory")
	theirs := strings.Replace(strings.Replace(text, "tier: 4", "tier: 5", 1), `version: "1.2.3"`, `version: "2.0.0"`, 1)
	mine := strings.Replace(strings.Replace(text, "tier: 4", "tier: 6", 1), "description: Remembers.", "description: Forgets.", 1)
	h.form(303, "/agents/memory/edit", "spec", theirs, "base", base, "reason", "their reason", "do", "save")
	// The state changes as well, which is nobody's conflict.
	h.does("memory", agent.Stop)
	page := h.form(409, "/agents/memory/edit", "spec", mine, "base", base, "do", "save").Body.String()
	h.contains(page, "Somebody else changed this agent while you were editing", "Revision 2 by the token operator", "their reason", "Changed by both", "tier", "version")
	if spec, n := h.spec("memory"); n != 2 || spec.Description != "Remembers." {
		t.Fatalf("revision %d was stored: %+v", n, spec)
	}
	merged, base := h.written(page)
	if base != "2" || !strings.Contains(merged, "tier: 6") || !strings.Contains(merged, "description: Forgets.") || !strings.Contains(merged, "2.0.0") {
		t.Fatalf("carried over to revision %s: %s", base, merged)
	}
	h.form(303, "/agents/memory/edit", "spec", merged, "base", base, "do", "save")
	if spec, n := h.spec("memory"); n != 3 || spec.Tier != 6 || spec.Version != "2.0.0" || spec.Description != "Forgets." {
		t.Errorf("revision %d: %+v", n, spec)
	}
	// A form that is sent twice is no conflict.
	h.form(303, "/agents/memory/edit", "spec", merged, "base", base, "do", "save")
	if _, n := h.spec("memory"); n != 3 {
		t.Errorf("sent twice it made revision %d", n)
	}
}

func TestUnknownFieldsSurviveAnEdit(t *testing.T) {
	h := newHome(t)
	h.form(303, "/agents/new", "spec", "coe_name: Imported\ntier: 3\ninvented: {deep: [1, 2]}\n", "do", "save")
	text, base := h.opens("imported")
	h.form(303, "/agents/imported/edit", "spec", strings.Replace(text, "tier: 3", "tier: 2", 1), "base", base, "do", "save")
	spec, n := h.spec("imported")
	if n != 2 || spec.Tier != 2 || spec.Extra["invented"] == nil {
		t.Errorf("revision %d: %+v", n, spec)
	}
}

func TestAgentsAreCreatedAllOrNone(t *testing.T) {
	h := newHome(t)
	for _, from := range []string{"blank", "memory", "command", "several"} {
		page := h.page(auth.Operator, "/agents/new?from="+from)
		area := regexp.MustCompile(`(?s)<textarea[^>]*>\n(.*?)</textarea>`).FindStringSubmatch(page)
		h.contains(h.form(200, "/agents/new/check", "spec", html.UnescapeString(area[1])).Body.String(), "Valid")
	}
	two := "name: One\n---\nname: Two\ntier: 9\n"
	page := h.form(422, "/agents/new", "spec", two, "do", "save").Body.String()
	h.contains(page, "Nothing was created", "Line 4", "Two: tier", "must be 1 to 6")
	if len(h.states()) != 0 {
		t.Errorf("something was created: %v", h.states())
	}
	good := strings.Replace(two, "9", "3", 1)
	h.contains(h.form(200, "/agents/new", "spec", good, "do", "check").Body.String(), "2 agents are created.")
	h.form(303, "/agents/new", "spec", good, "do", "save")
	if h.states()[agent.Draft] != 2 {
		t.Errorf("created: %v", h.states())
	}
	h.contains(h.form(422, "/agents/new", "spec", good, "do", "save").Body.String(), "is taken by One")
	h.contains(h.form(200, "/agents/new", "spec", strings.Replace(good, "3", "4", 1), "mode", "apply", "do", "check").Body.String(),
		"1 agent is updated, 1 agent is unchanged.")
	if to := h.form(303, "/agents/new", "spec", "name: Alone", "do", "save").Header().Get("Location"); to != "/agents/alone" {
		t.Errorf("after creating one it leads to %s", to)
	}
}
