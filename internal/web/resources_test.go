package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// abandoned is a portal whose runtime holds something that nobody owns.
func abandoned(t *testing.T) *home {
	t.Helper()
	h := lively(t)
	launch, _ := h.runtime.Launched("memory", fleet.InstanceID("memory", 1, 0))
	launch.AgentID, launch.InstanceID = "stranger", "stranger-r1-0"
	must(t, h.runtime.Launch(t.Context(), launch))
	return h
}

func TestResourcesShowWhatAgentsHoldAndMayUse(t *testing.T) {
	h := abandoned(t)
	quotas, err := fleet.ParseQuotas("tier=4 replicas=10; runtime=process memory=1Gi")
	must(t, err)
	h.fleet.Quotas = quotas
	h.declares(agent.Spec{Name: "Bounded", Template: "blank", Replicas: 2, Resources: agent.Resources{CPU: 1.5, Memory: 256 << 20, Disk: 1 << 30}})
	h.does("bounded", agent.Provision, agent.Deploy)
	page := strings.ReplaceAll(h.page(auth.Viewer, "/resources"), "\u202f", " ")
	h.contains(page, "By runtime", "By agent", "1 directory, 1 instance", "Tier 4", "1 of 10", "The runtime process", "512 MiB of 1 GiB", "2 GiB")
	h.marks(page, `href="/agents/memory?tab=resources"`, `data-live="agents"`, `id="holder-process-bounded"`, `value="0.1000"`)
	h.lacks(page, "stranger", "holder-process-store", "Left over")

	h.lacks(h.page(auth.Viewer, "/resources?q=bOUND"), `id="holder-process-memory"`)
	h.marks(h.page(auth.Viewer, "/resources?q=bOUND"), `id="holder-process-bounded"`)
	h.marks(h.page(auth.Viewer, "/resources?agent=memory&runtime=process"), `id="holder-process-memory"`)
	h.lacks(h.page(auth.Viewer, "/resources?agent=memory&runtime=process"), `id="holder-process-bounded"`)
	h.contains(h.page(auth.Viewer, "/resources?q=nothing-of-this"), "No agent matches")
	for _, path := range []string{"/resources?runtime=moon", "/resources?cursor=-1", "/resources?cursor=x"} {
		if _, err := h.ask(auth.Viewer, "GET", path); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestResourcesComeInParts(t *testing.T) {
	h := newHome(t)
	for i := range 27 {
		name := fmt.Sprintf("part-%02d", i)
		h.declares(agent.Spec{Name: name, Template: "blank"})
		must(t, h.runtime.Prepare(t.Context(), fleet.Launch{AgentID: name, InstanceID: name + "-r1-0", Command: "portal"}))
	}
	page := h.page(auth.Viewer, "/resources?q=part")
	h.marks(page, `id="holder-process-part-24"`, `href="/resources?cursor=25&amp;q=part"`)
	h.contains(page, "of the 25 listed")
	h.lacks(page, `id="holder-process-part-25"`)
	h.marks(h.page(auth.Viewer, "/resources?cursor=25&q=part"), `id="holder-process-part-26"`)
}

// A runtime that does not answer may hold anything, and nobody says that it does not.
func TestNothingIsSaidOfARuntimeThatDoesNotAnswer(t *testing.T) {
	h := lively(t)
	away := fault.New(fault.Unavailable, "docker.unreachable", "The engine is away").Because("nobody answers").Do("Start it.")
	h.runtime.Fail("Agents", away)
	h.runtime.Fail("Holdings", away)
	page := h.page(auth.Operator, "/resources")
	h.contains(page, "Not everything is known", "Nothing is left over where that is known.")
	h.lacks(page, "an agent owns everything")
}

func TestWhatIsLeftOverIsShownAndRemovedOnRecord(t *testing.T) {
	h := abandoned(t)
	const form = "/resources/orphans/process/stranger"
	page := h.page(auth.Operator, "/resources")
	h.contains(page, "Left over", "stranger", "There is no such agent")
	h.lacks(page, `href="`+form)
	h.marks(h.page(auth.Admin, "/resources"), `href="`+form)
	h.lacks(h.page(auth.Admin, "/resources?q=memory"), "stranger")
	h.contains(h.page(auth.Admin, form), "stranger-r1-0", "nobody owns this", "Can't be undone")
	for _, path := range []string{"/resources/orphans/process/memory", "/resources/orphans/moon/stranger"} {
		if _, err := h.ask(auth.Admin, "GET", path); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for confirm, reason := range map[string]string{"stranger": strings.Repeat("x", 501), "memory": "tidy", "": "tidy"} {
		if _, err := h.ask(auth.Admin, "POST", form, "reason", reason, "confirm", confirm); !fault.Is(err, fault.Invalid) {
			t.Errorf("confirmed by %q: %v", confirm, err)
		}
	}
	if w, err := h.ask(auth.Admin, "POST", form, "reason", "tidy", "confirm", "stranger"); err != nil || w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/resources?done=orphan" {
		t.Fatalf("status %d to %q: %v", w.Code, w.Header().Get("Location"), err)
	}
	page = h.page(auth.Admin, "/resources?done=orphan")
	h.contains(page, "What was left over was removed", "Nothing is left over")
	h.lacks(page, "stranger")
	list, _, err := h.store.Audit().Find(t.Context(), audit.Query{Action: "orphan.remove", Limit: 2})
	if err != nil || len(list) != 1 || list[0].Reason != "tidy" || list[0].Actor != "token:ADMIN" && !strings.Contains(list[0].Actor, "admin") {
		t.Errorf("on record: %+v, %v", list, err)
	}
}
