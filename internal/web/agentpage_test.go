package web_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web"
)

// ask sends a request of somebody with the role, a form if there are fields (as
// pairs), and gives the answer or the error.
func (h *home) ask(role auth.Role, method, path string, fields ...string) (w *httptest.ResponseRecorder, err error) {
	h.Helper()
	mux := http.NewServeMux()
	for _, route := range web.Routes {
		mux.HandleFunc(route.Method+" "+route.Path, func(w http.ResponseWriter, r *http.Request) { err = h.site.Handler(route)(w, r) })
	}
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	req := httptest.NewRequest(method, path, strings.NewReader(form.Encode())).WithContext(h.as(role))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, req)
	return w, err
}

// form sends a form of an operator, which must be answered with the status.
func (h *home) form(status int, path string, fields ...string) *httptest.ResponseRecorder {
	h.Helper()
	w, err := h.ask(auth.Operator, "POST", path, fields...)
	if err != nil || w.Code != status {
		h.Fatalf("POST %s: status %d, error %v, want %d: %.600s", path, w.Code, err, status, w.Body)
	}
	return w
}

// does brings an agent through actions, each to its end.
func (h *home) does(id string, actions ...agent.Action) (last *operation.Operation) {
	h.Helper()
	for _, a := range actions {
		op, err := h.fleet.Act(auth.With(h.Context(), auth.System), id, a, fleet.ActOptions{Reason: "for the test"})
		if err == nil {
			last, err = h.ops.Wait(h.Context(), op.ID)
		}
		if err != nil {
			h.Fatal(err)
		}
	}
	return last
}

// declares makes an agent of a spec.
func (h *home) declares(spec agent.Spec) *agent.Agent {
	h.Helper()
	a, _, err := h.agents.Create(auth.With(h.Context(), auth.System), spec)
	if err != nil {
		h.Fatal(err)
	}
	return a
}

// lively is a portal with an agent that runs, with something in every part of its page.
func lively(t *testing.T) *home {
	t.Helper()
	h := newHome(t, charted(t))
	h.declares(agent.Spec{Name: "Store", Template: "memory"})
	h.declares(agent.Spec{Name: "Memory", DisplayName: "Our memory", Template: "memory", Tier: 4, Version: "1.2.3", Description: "Remembers.",
		Dependencies: []string{"Store", "Nobody"}, Labels: map[string]string{"env": "prod"}, ResourceBudget: 12.5})
	h.declares(agent.Spec{Name: "User", Template: "blank", Dependencies: []string{"memory"}})
	h.does("memory", agent.Provision, agent.Deploy, agent.Start)
	code, no := 3, false
	instance := fleet.InstanceID("memory", 1, 0)
	must(t, h.store.Instances().PutInstances(h.Context(), "memory", []fleet.Instance{{ID: instance, AgentID: "memory", Revision: 1,
		State: fleet.InstanceRunning, PID: 4711, Port: 15123, Restarts: 2, StartedAt: time.Now().Add(-time.Hour), EndedAt: time.Now().Add(-time.Hour), ExitCode: &code, Ready: &no}}))
	must(t, h.store.Health().AddResult(h.Context(), health.Result{AgentID: "memory", InstanceID: instance, Kind: health.Readiness,
		Reason: "GET /ready: 503", Latency: 12 * time.Millisecond, At: time.Now()}))
	h.runtime.Print("memory", instance, "stdout", `{"level":"warn","msg":"slow","took":1.5}`)
	h.runtime.Print("memory", instance, "stderr", "ERROR it broke")
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryPartOfAnAgentShowsWhatIsThere(t *testing.T) {
	h := lively(t)
	for tab, want := range map[string][]string{
		"":           {"Our memory", "Running", "1.2.3", "Remembers.", "Store", "Nobody", "Not in the fleet", "User", "$12.50", "env=", "prod", "15123", "Deployed → Running"},
		"instances":  {"r1-0", "4711", "15123", "Not ready", "Exit code 3"},
		"logs":       {"slow", "took=1.5", "ERROR it broke"},
		"metrics":    {"Tasks a minute", "Error rate", "Cost an hour"},
		"health":     {"GET /ready: 503", "Fails", "Readiness", "12\u202fms"},
		"operations": {"Start", "Succeeded", "Launch", "for the test"},
		"history":    {"Draft → Provisioned", "Provisioned → Deployed", "Deployed → Running"},
		"events":     {"agent:state_changed", "Deployed → Running", "operation:changed"},
		"spec":       {"name", "Memory", "Revision 1", "newest, deployed"},
		"audit":      {"agent.create", "agent.start", "Done"},
	} {
		path := "/agents/memory"
		if tab != "" {
			path += "?tab=" + tab
		}
		h.contains(h.page(auth.Viewer, path), want...)
	}
	if _, err := h.ask(auth.Viewer, "GET", "/agents/memory?tab=nonsense"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a tab that does not exist: %v", err)
	}
	if _, err := h.ask(auth.Viewer, "GET", "/agents/nobody"); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "list of agents") {
		t.Errorf("an unknown agent: %v", err)
	}
	if w, err := h.ask(auth.Viewer, "GET", "/agents/MEMORY?tab=logs"); err != nil || w.Header().Get("Location") != "/agents/memory?tab=logs" {
		t.Errorf("by its name it is at %q, error %v", w.Header().Get("Location"), err)
	}
	part := h.page(auth.Viewer, "/agents/memory?tab=health", "HX-Request", "true", "HX-Request-Type", "partial")
	h.contains(part, "GET /ready: 503")
	h.lacks(part, "<html", "<nav class=\"sidebar")
	h.marks(part, `data-live="agent:memory"`, `data-row="detail:memory"`, `data-cell="state"`)
}

func TestOnlyOperatorsSeeWhatCanBeDone(t *testing.T) {
	h := lively(t)
	op := h.does("memory", agent.Stop)
	for _, path := range []string{"/agents/memory", "/agents/memory?tab=spec", "/operations", "/operations/" + op.ID} {
		page := h.page(auth.Viewer, path)
		_, page, _ = strings.Cut(page, `<main`)
		h.lacks(page, `method="post"`, "/actions/", "/edit")
	}
	h.marks(h.page(auth.Operator, "/agents/memory"), `href="/agents/memory/actions/start"`, `href="/agents/memory/edit"`)
	h.marks(h.page(auth.Operator, "/operations/"+op.ID), `action="/operations/`+op.ID+`/undo"`)
	door := newHouse(t).in(auth.Viewer)
	for _, path := range []string{"/agents/new", "/agents/new/check", "/agents/memory/edit", "/agents/memory/edit/check",
		"/agents/memory/revisions/1/restore", "/operations/" + op.ID + "/cancel", "/operations/" + op.ID + "/undo"} {
		door.send(path, "spec", "name: X").sees(403, "You may not do this")
	}
	door.open("/agents/memory/edit").sees(403)
	door.open("/agents/new").sees(403)
}

func TestAFailureSaysWhyAndWhatToDo(t *testing.T) {
	h := newHome(t)
	code := 3
	a := h.has("Broken", agent.Errored, agent.HealthUnhealthy, func(a *agent.Agent) {
		a.Failure = &agent.Failure{Code: "crash_loop", Reason: "it ended 5 times within a minute", Remedy: "Correct its command.", ExitCode: &code,
			LastLogs: []string{"starting", "\x1b[31mcannot open /nowhere\x1b[0m"}}
	})
	page := h.page(auth.Operator, "/agents/"+a.ID)
	h.contains(page, "It ended 5 times within a minute", "Correct its command.", "Exit code 3", "crash_loop", "cannot open /nowhere")
	h.marks(page, `role="alert"`, "/actions/start")
	h.lacks(page, "\x1b", "[31m")
	gone := h.has("Gone", agent.Revoked, agent.HealthUnknown)
	page = h.page(auth.Operator, "/agents/"+gone.ID)
	h.contains(page, "This agent is revoked")
	h.lacks(page, "/actions/", "/edit")
	if _, err := h.ask(auth.Operator, "GET", "/agents/"+gone.ID+"/edit"); !fault.Is(err, fault.Conflict) {
		t.Errorf("the spec of a revoked agent can be edited: %v", err)
	}
}

func TestANewerRevisionIsSaid(t *testing.T) {
	h := lively(t)
	ctx := auth.With(h.Context(), auth.System)
	_, _, err := h.agents.Patch(ctx, "memory", 0, map[string]any{"description": "Remembers everything."}, "")
	must(t, err)
	h.contains(h.page(auth.Viewer, "/agents/memory"), "Revision 2 is newer than revision 1", "changes descriptions only")
	_, _, err = h.agents.Patch(ctx, "memory", 0, map[string]any{"env": map[string]any{"A": "1"}}, "")
	must(t, err)
	page := h.page(auth.Viewer, "/agents/memory")
	h.contains(page, "1 change reaches its instances with the next deployment: stop, deploy and start it.", "See 2 differences")
	h.marks(page, `href="/agents/memory?tab=spec&amp;from=1&amp;to=3"`)
}

// hostile is what others may write.
const hostile = `<script>alert(1)</script><img src=x onerror=alert(1)>` + "\x1b[31mred\x1b[0m\x1b]0;title\x07 \u202egnitirw\u202c\x00 end"

func TestTextOfOthersIsShownHarmlessly(t *testing.T) {
	h := lively(t)
	ctx := auth.With(h.Context(), auth.Principal{ID: "user:" + hostile, Role: auth.Admin})
	instance := fleet.InstanceID("memory", 1, 0)
	for _, line := range []string{hostile, `{"level":"error","msg":"<b>x</b>","<i>k</i>":"<u>v</u>"}`, strings.Repeat("y", 1_000_000)} {
		h.runtime.Print("memory", instance, "stdout", line)
	}
	must(t, h.store.Health().AddResult(ctx, health.Result{AgentID: "memory", InstanceID: instance, Kind: health.Liveness, Reason: hostile, At: time.Now()}))
	must(t, h.store.Agents().SaveHealth(ctx, "memory", agent.HealthDegraded, hostile, time.Now()))
	must(t, h.store.Instances().PutInstances(ctx, "memory", []fleet.Instance{{ID: instance, AgentID: "memory", Revision: 1, State: fleet.InstanceBackoff,
		Reason: hostile, LastLogs: []string{hostile}, Signal: hostile}}))
	_, _, err := h.agents.Patch(ctx, "memory", 0, map[string]any{"display_name": "<b onmouseover=alert(1)>", "env": map[string]any{"A": "</textarea><script>"}}, hostile)
	must(t, err)
	h.runtime.Fail("Stop", errors.New(hostile))
	a, err := h.fleet.Act(ctx, "memory", agent.Stop, fleet.ActOptions{Reason: hostile})
	must(t, err)
	_, err = h.ops.Wait(ctx, a.ID)
	must(t, err)
	paths := []string{"/agents/memory", "/agents/memory/edit", "/operations", "/operations/" + a.ID, "/audit", "/agents/memory?tab=spec&from=1&to=2"}
	for _, tab := range []string{"instances", "logs", "health", "operations", "history", "events", "spec", "audit"} {
		paths = append(paths, "/agents/memory?tab="+tab)
	}
	for _, path := range paths {
		page := h.page(auth.Admin, path)
		h.lacks(page, "<script>alert", "<img src=x", "<b onmouse", "</textarea><script>", "<b>x</b>", "<u>v</u>", "\x1b", "\x00", "\u202e", "\u202c", " style=")
		if len(page) > 300_000 {
			t.Errorf("%s has %d bytes", path, len(page))
		}
	}
	page := h.page(auth.Admin, "/agents/memory?tab=logs")
	h.contains(page, "<script>alert(1)</script>", "<b>x</b>", "Show all (975\u202fKiB more)")
	h.marks(page, "a-red")
	href := html.UnescapeString(regexp.MustCompile(`href="(/agents/memory/logs/line[^"]*)"`).FindStringSubmatch(page)[1])
	w := h.send(auth.Viewer, "GET", href)
	if w.Body.Len() != 1_000_001 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the whole line has %d bytes, headers %v", w.Body.Len(), w.Header())
	}
}

func TestLogsAreFilteredAndSavedWithoutScripts(t *testing.T) {
	h := lively(t)
	instance := fleet.InstanceID("memory", 1, 0)
	for i := range 300 {
		h.runtime.Print("memory", instance, "stdout", fmt.Sprintf("INFO line %d of many", i))
	}
	page := h.page(auth.Viewer, "/agents/memory?tab=logs")
	h.contains(page, "line 299 of many", "line 100 of many", "200 lines")
	h.lacks(page, "line 99 of many", "it broke")
	page = h.page(auth.Viewer, "/agents/memory?tab=logs&lines=1000&level=warn")
	h.contains(page, "slow", "it broke")
	h.lacks(page, "of many")
	page = h.page(auth.Viewer, "/agents/memory?tab=logs&q=LINE+29")
	h.contains(page, "line 290 of many")
	h.lacks(page, "line 280 of many")
	if w := h.send(auth.Viewer, "GET", "/agents/memory/logs/file"); !strings.Contains(w.Body.String(), " stderr ERROR it broke\n") ||
		w.Header().Get("Content-Disposition") != `attachment; filename="memory.log"` {
		t.Errorf("the file: %v %.200s", w.Header(), w.Body)
	}
	h.runtime.Fail("ReadLogs", fault.New(fault.Unavailable, "fleet.no_logs", "The output can't be read").Do("Wait."))
	h.contains(h.page(auth.Viewer, "/agents/memory?tab=logs"), "The output can't be read", "Wait.")
}

func TestOperationsPages(t *testing.T) {
	h := lively(t)
	release := h.runtime.Block("Stop")
	op, err := h.fleet.Act(auth.With(h.Context(), auth.System), "memory", agent.Stop, fleet.ActOptions{})
	must(t, err)
	h.until("the operation runs", func(ctx context.Context) bool {
		now, err := h.ops.Get(ctx, op.ID)
		return err == nil && now.State == operation.Running
	})
	page := h.page(auth.Operator, "/operations")
	h.contains(page, "In progress (1)", "Stop", "Our memory")
	if strings.Index(page, "In progress") > strings.Index(page, ">Ended<") {
		t.Error("what has ended stands before what goes on")
	}
	h.contains(h.page(auth.Operator, "/agents/memory"), "Stopping", "See the operation")
	h.form(303, "/operations/"+op.ID+"/pause")
	h.contains(h.page(auth.Operator, "/operations/"+op.ID), "Pause asked for", "Go on")
	h.form(303, "/operations/"+op.ID+"/resume")
	release()
	_, err = h.ops.Wait(h.Context(), op.ID)
	must(t, err)
	page = h.page(auth.Operator, "/operations/"+op.ID)
	h.contains(page, "Succeeded", "Steps", "Stop", "It can be undone (Start)")
	if _, err := h.ask(auth.Operator, "POST", "/operations/"+op.ID+"/cancel"); !fault.Is(err, fault.Conflict) {
		t.Errorf("an operation that has ended is cancelled: %v", err)
	}
	by := h.form(303, "/operations/"+op.ID+"/undo").Header().Get("Location")
	by, _, _ = strings.Cut(by, "?")
	_, err = h.ops.Wait(h.Context(), strings.TrimPrefix(by, "/operations/"))
	must(t, err)
	h.contains(h.page(auth.Viewer, by), "Start Our memory", "It takes back")
	h.contains(h.page(auth.Viewer, "/operations/"+op.ID+"?export=csv"), "at,status,title,note,duration", "Done,Stop")
	var saved []struct{ At, Status, Title string }
	must(t, json.Unmarshal([]byte(h.page(auth.Viewer, "/operations/"+op.ID+"?export=json")), &saved))
	if len(saved) == 0 || saved[0].Title != "Stop" || saved[0].At == "" {
		t.Errorf("the steps are saved as %+v", saved)
	}
	if _, err := h.ask(auth.Viewer, "GET", "/operations/"+op.ID+"?export=xml"); !fault.Is(err, fault.Invalid) {
		t.Errorf("an export that does not exist: %v", err)
	}
	h.contains(h.page(auth.Viewer, "/operations/"+op.ID), "It was taken back by")
	h.lacks(h.page(auth.Viewer, "/operations?kind=agent.stop&agent=MEMORY&state=SUCCEEDED"), ">Deploy</a>")
	h.contains(h.page(auth.Viewer, "/operations?agent=user"), "No operation matches")
	for path, want := range map[string]fault.Kind{"/operations?state=nonsense": fault.Invalid, "/operations/nothing": fault.NotFound} {
		if _, err := h.ask(auth.Viewer, "GET", path); !fault.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := h.ask(auth.Operator, "POST", "/operations/"+op.ID+"/nonsense"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a control that does not exist: %v", err)
	}
}

// until waits for something that happens in the background.
func (h *home) until(what string, ok func(ctx context.Context) bool) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.Fatalf("it did not come: %s", what)
		}
	}
}

func TestAuditPage(t *testing.T) {
	h := lively(t)
	page := h.page(auth.Viewer, "/audit?agent=Memory&action=agent.*&verify=1")
	h.contains(page, "agent.start", "The chain is whole")
	h.lacks(page, ">store</a>")
	h.marks(page, `href="/api/platform/audit/export?action=agent.%2A&amp;agent=Memory&amp;format=csv"`)
	h.contains(h.page(auth.Viewer, "/audit?until=2001-01-01"), "No entry matches")
	today := time.Now().UTC().Format(time.DateOnly)
	h.contains(h.page(auth.Viewer, "/audit?since="+today+"&until="+today), "agent.start")
	for _, path := range []string{"/audit?outcome=maybe", "/audit?since=yesterday"} {
		if _, err := h.ask(auth.Viewer, "GET", path); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestHistoryCanBeSaved(t *testing.T) {
	h := lively(t)
	h.contains(h.page(auth.Viewer, "/agents/memory?tab=history"), "export=json", "export=csv")
	w, err := h.ask(auth.Viewer, "GET", "/agents/memory?tab=history&export=csv")
	must(t, err)
	if got := w.Header().Get("Content-Disposition"); got != `attachment; filename="memory-history.csv"` {
		t.Errorf("the file is sent as %q", got)
	}
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 5 || rows[1][2] != "Deployed → Running" || rows[4][2] != "Draft" {
		t.Errorf("%v, %v", rows, err)
	}
}

// Examples show everything and change nothing.
func TestGallery(t *testing.T) {
	h := newHome(t)
	h.contains(h.page(auth.Viewer, "/gallery"), "Status badge", "Accessibility", "Usage", "Context selector", "In code:")
	h.contains(h.page(auth.Viewer, "/gallery/confirm"), "Stop agent", "They wait until it runs again.")
	h.contains(h.page(auth.Viewer, "/gallery/confirm-danger"), "Type wow-memory to confirm")
	h.contains(h.page(auth.Viewer, "/gallery/metric"), "Tasks a minute")
	h.contains(h.page(auth.Viewer, "/gallery/timeline?format=csv"), "Start the instances")
	if to := h.form(303, "/gallery/example").Header().Get("Location"); to != "/gallery" {
		t.Errorf("an example leads to %s", to)
	}
	if _, err := h.ask(auth.Viewer, "GET", "/gallery/nothing"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an example that does not exist: %v", err)
	}
}
