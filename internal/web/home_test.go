package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/waooaw/platform-portal/agents"
	"github.com/waooaw/platform-portal/examples"
	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/logs/logstest"
	"github.com/waooaw/platform-portal/internal/manifest"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
	"github.com/waooaw/platform-portal/internal/preference"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/queue/queuetest"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/web"
)

// home is the pages over real services and a real store, with a runtime, an
// engine and queues in memory.
type home struct {
	*testing.T
	store   *store.Store
	agents  *agent.Service
	fleet   *fleet.Service
	ops     *operation.Service
	bulks   *bulk.Service
	runtime *fleettest.Fake
	windows *metrics.Windows
	entries logstest.Memory
	parts   []web.Part
	site    *web.Server
	alerts  *alert.Service
}

func newHome(t *testing.T, change ...func(*web.Config)) *home {
	t.Helper()
	h := &home{T: t, store: storetest.New(t), runtime: fleettest.NewFake(), windows: &metrics.Windows{Now: time.Now}}
	st, log := h.store, slog.New(slog.DiscardHandler)
	newID := func() string { return uuid.Must(uuid.NewV7()).String() }
	rec := &audit.Recorder{Store: st.Audit(), Now: time.Now}
	h.agents = &agent.Service{Store: st.Agents(), History: st.History(), Tx: st, Audit: rec, Events: st.Events(), Now: time.Now, NewID: newID}
	h.ops = &operation.Service{Store: st.Operations(), Tx: st, Events: st.Events(), Audit: rec, Now: time.Now, NewID: newID, Log: log}
	h.ops.Engine = operationtest.NewEngine(t, h.ops)
	h.fleet = &fleet.Service{Agents: st.Agents(), History: st.History(), AgentSvc: h.agents, Specs: h.agents, Ops: h.ops,
		Runtimes: map[string]fleet.Runtime{"process": h.runtime}, Observed: st.Instances(), Broker: queuetest.NewFake(),
		Keys: &auth.Keyring{Key: bytes.Repeat([]byte{7}, 32), Store: st.Credentials(), Tx: st, Audit: rec, Now: time.Now},
		Tx:   st, Audit: rec, Events: st.Events(), Now: time.Now, NewID: newID, Log: log, SelfCommand: []string{"portal"}, Templates: agents.Names(), Prober: ready{}}
	h.fleet.Register()
	h.bulks = &bulk.Service{Store: st.Bulks(), Agents: st.Agents(), Operations: h.ops, Tx: st, Events: st.Events(), Audit: rec, Now: time.Now, NewID: newID,
		Actor: bulk.ActFunc(func(ctx context.Context, id string, a agent.Action, o bulk.ActOptions) (*operation.Operation, error) {
			return h.fleet.Act(ctx, id, a, fleet.ActOptions{Reason: o.Reason, ParentID: o.ParentID, OperationID: o.OperationID})
		})}
	h.bulks.Register()
	h.alerts = newAlerts(h, rec, newID, log)
	cfg := web.Config{
		Alerts: h.alerts, Facets: st.Facets(), Preferences: &preference.Service{Store: st.Preferences(), Tx: st, Now: time.Now},
		Agents: st.Agents(), Editor: h.agents, History: st.History(), Fleet: h.fleet, Steward: h.fleet, Mover: h.fleet, Operations: h.ops, Bulks: h.bulks,
		Probes: st.Health(), Audit: st.Audit(), Events: st.Events(), Figures: h.windows, Logs: logs.NewService(&h.entries, nil, time.Now), Examples: exampleDocs, Parts: func(context.Context) []web.Part { return h.parts }, Log: log,
	}
	for _, fn := range change {
		fn(&cfg)
	}
	h.site = web.New(cfg)
	return h
}

// ready is a prober whose instances are always ready.
type ready struct{}

func (ready) Probe(context.Context, string, string, agent.Probe, health.Execer) health.Answer {
	return health.Answer{OK: true}
}

func exampleDocs() ([]map[string]any, error) {
	files, err := examples.Fleet()
	if err != nil {
		return nil, err
	}
	docs, err := manifest.Parse(bytes.Join(files, []byte("\n---\n")))
	var out []map[string]any
	for _, d := range docs {
		out = append(out, d.Tree)
	}
	return out, err
}

// as is a context of somebody with the role.
func (h *home) as(role auth.Role) context.Context {
	return auth.With(h.Context(), auth.Principal{ID: "token:" + string(role), Role: role})
}

// send serves one request of somebody with the role.
func (h *home) send(role auth.Role, method, path string, header ...string) *httptest.ResponseRecorder {
	h.Helper()
	mux := http.NewServeMux()
	for _, route := range web.Routes {
		mux.HandleFunc(route.Method+" "+route.Path, func(w http.ResponseWriter, r *http.Request) {
			if err := h.site.Handler(route)(w, r); err != nil {
				h.Errorf("%s %s: %v", method, path, err)
			}
		})
	}
	req := httptest.NewRequest(method, path, nil).WithContext(h.as(role))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, req)
	return w
}

// page gives a page as HTML.
func (h *home) page(role auth.Role, path string, header ...string) string {
	h.Helper()
	w := h.send(role, "GET", path, header...)
	if w.Code != http.StatusOK {
		h.Fatalf("GET %s: status %d", path, w.Code)
	}
	return w.Body.String()
}

func (h *home) post(path string) {
	h.Helper()
	if w := h.send(auth.Operator, "POST", path); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/start" {
		h.Fatalf("POST %s: status %d to %q", path, w.Code, w.Header().Get("Location"))
	}
}

var cellPattern = regexp.MustCompile(`data-cell="([^"]+)"([^>]*)>([^<]*)<`)

// cells gives the texts of the cells within the part of the page that begins at
// from.
func cells(page, from string) map[string]string {
	_, page, _ = strings.Cut(page, from)
	out := map[string]string{}
	for _, m := range cellPattern.FindAllStringSubmatch(page, -1) {
		if out[m[1]] == "" && !strings.Contains(m[2], "aria-hidden") {
			out[m[1]] = strings.ReplaceAll(html.UnescapeString(m[3]), "\u202f", " ")
		}
	}
	return out
}

func (h *home) contains(page string, texts ...string) {
	h.Helper()
	for _, text := range texts {
		if !strings.Contains(page, html.EscapeString(text)) {
			h.Errorf("the page does not say %q", text)
		}
	}
}

// marks checks for pieces of markup, as they are.
func (h *home) marks(page string, pieces ...string) {
	h.Helper()
	for _, piece := range pieces {
		if !strings.Contains(page, piece) {
			h.Errorf("the page has no %s", piece)
		}
	}
}

func (h *home) lacks(page string, texts ...string) {
	h.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			h.Errorf("the page says %q", text)
		}
	}
}

// has makes an agent that is in a state, as if everything before had been done.
func (h *home) has(name string, state agent.State, health agent.Health, change ...func(*agent.Agent)) *agent.Agent {
	h.Helper()
	ctx := auth.With(h.Context(), auth.System)
	a, _, err := h.agents.Create(ctx, agent.Spec{Name: name, DisplayName: "The " + name, Template: "blank"})
	if err != nil {
		h.Fatal(err)
	}
	a.State = state
	for _, fn := range change {
		fn(a)
	}
	if err := h.store.Agents().Save(ctx, a); err != nil {
		h.Fatal(err)
	}
	if err := h.store.Agents().SaveHealth(ctx, a.ID, health, "its probe says so", time.Now()); err != nil {
		h.Fatal(err)
	}
	return a
}

// settled waits until nothing is being done any more.
func (h *home) settled() []*bulk.Bulk {
	h.Helper()
	list, _, err := h.bulks.List(h.Context(), "", 10)
	if err != nil {
		h.Fatal(err)
	}
	for _, b := range list {
		if _, err := h.ops.Wait(h.Context(), b.ID); err != nil {
			h.Fatal(err)
		}
	}
	return list
}

func (h *home) states() map[agent.State]int {
	h.Helper()
	states, _, err := h.store.Agents().Counts(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	return states
}

func TestAnEmptyPortalLeadsToARunningFleet(t *testing.T) {
	h := newHome(t)
	h.contains(h.page(auth.Operator, "/"), "Load the example fleet", "0 of 14 agents are loaded.")
	for range 2 { // a second click changes nothing
		h.post("/start/load")
		if s := h.states(); s[agent.Draft] != 14 || len(s) != 1 {
			t.Fatalf("states %v", s)
		}
	}
	page := h.page(auth.Operator, "/start")
	h.contains(page, "14 of 14 agents are loaded.", "Deploy and start all", "Wow Memory")
	h.contains(h.page(auth.Operator, "/"), "Your fleet is loaded, and nothing of it runs yet")
	release := h.runtime.Block("Launch")
	for range 2 {
		h.post("/start/run")
	}
	page = h.page(auth.Operator, "/start")
	list, _, err := h.bulks.List(t.Context(), "", 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d bulk operations, %v", len(list), err)
	}
	h.marks(page, `data-row="bulk:`+list[0].ID+`"`)
	if c := cells(page, `data-row="bulk:`); c["state"] != "Running" && c["state"] != "Pending" || !strings.HasSuffix(c["progress"], "/14") {
		t.Errorf("progress: %v", c)
	}
	h.lacks(page, `action="/start/run"`)
	release()
	h.settled()
	if s := h.states(); s[agent.Running] != 14 {
		t.Fatalf("states %v", s)
	}
	h.contains(h.page(auth.Operator, "/start"), "14 of 14 agents run.")
	h.lacks(h.page(auth.Operator, "/"), "nothing of it runs yet")
	h.post("/start/run")
	if list := h.settled(); len(list) != 1 {
		t.Errorf("starting what runs made another bulk operation: %d", len(list))
	}
}

func TestAFirstRunGoesOnWhereItWasLeft(t *testing.T) {
	h := newHome(t)
	ctx := auth.With(t.Context(), auth.System)
	// One that somebody made and changed is left as it is.
	mine, _, err := h.agents.Create(ctx, agent.Spec{Name: "WowCache", DisplayName: "My own cache", Template: "blank"})
	if err != nil {
		t.Fatal(err)
	}
	h.contains(h.page(auth.Operator, "/start"), "1 of 14 agents are loaded.", "Load the missing 13")
	h.post("/start/load")
	if a, err := h.store.Agents().Get(ctx, mine.ID); err != nil || a.Spec.DisplayName != "My own cache" || a.Revision != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	// The first attempt fails, and says of whom and why.
	h.runtime.Fail("Launch", errors.New("no room"))
	h.post("/start/run")
	h.settled()
	page := h.page(auth.Operator, "/start")
	h.contains(page, "agents could not be started", "Try again")
	// One was revoked meanwhile: it is not brought back.
	op, err := h.fleet.Act(ctx, "wow-support", agent.Revoke, fleet.ActOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.ops.Wait(ctx, op.ID); err != nil {
		t.Fatal(err)
	}
	h.runtime.Fail("Launch", nil)
	h.post("/start/run")
	if list := h.settled(); len(list) != 2 {
		t.Fatalf("%d bulk operations", len(list))
	}
	if s := h.states(); s[agent.Running] != 13 || s[agent.Revoked] != 1 {
		t.Fatalf("states %v", s)
	}
	h.contains(h.page(auth.Operator, "/start"), "13 of 14 agents run. 1 were suspended or revoked and are left alone.")
}

func TestViewersSeeWhyTheyOnlyLookOn(t *testing.T) {
	h := newHome(t)
	page := h.page(auth.Viewer, "/start")
	h.contains(page, "Your role is viewer.", "It takes the role operator or admin")
	if !regexp.MustCompile(`<button[^>]*disabled[^>]*>`).MatchString(page) {
		t.Error("the button is not disabled")
	}
	for _, route := range web.Routes {
		if strings.HasPrefix(route.Path, "/start/") && (route.Role != auth.Operator || route.Public) {
			t.Errorf("%s is for %q", route.Path, route.Role)
		}
	}
}

// populated is a fleet in which something of everything is wrong.
func populated(t *testing.T) *home {
	h := newHome(t)
	h.has("busy", agent.Running, agent.HealthHealthy)
	h.has("calm", agent.Running, agent.HealthDegraded)
	h.has("sick", agent.Running, agent.HealthUnhealthy)
	h.has("gone", agent.Stopped, agent.HealthUnknown)
	h.has("broken", agent.Errored, agent.HealthUnhealthy, func(a *agent.Agent) {
		a.Failure = &agent.Failure{Code: "crash_loop", Reason: "It <b>ended</b> 4 times \x1b[31m\u202e", Remedy: "Correct its port."}
	})
	var running []metrics.Target
	for _, id := range []string{"busy", "calm", "sick"} {
		running = append(running, metrics.Target{AgentID: id, InstanceID: id, Run: "1", StartedAt: time.Now()})
	}
	h.windows.Watch(running)
	h.windows.Take(running[0], metrics.Page{Tasks: map[string]float64{"done": 0}, Cost: new(0.0)})
	h.windows.Take(running[0], metrics.Page{Tasks: map[string]float64{"done": 30, "failed": 10}, Cost: new(2.5)})
	h.windows.Take(running[1], metrics.Page{Tasks: map[string]float64{"done": 0}})
	h.windows.Miss(running[2], "GET /metrics: 500", false)
	h.windows.SetBacklogs(map[string]queue.Stats{"busy": {Pending: 7, InFlight: 1}, "gone": {Dead: 3}})
	return h
}

// Every number on the dashboard is the one that the services give.
func TestTheDashboardShowsWhatIsStored(t *testing.T) {
	h := populated(t)
	page := h.page(auth.Viewer, "/")
	got := cells(page, `id="dash-figures"`)
	want := map[string]string{
		"state-running": "3", "state-stopped": "1", "state-errored": "1", "state-draft": "0", "state-revoked": "0",
		"health-healthy": "1", "health-degraded": "1", "health-unhealthy": "2", "health-unknown": "1",
		"errors": "25 %", "queue": "7", "coverage": "2 of 3 agents report",
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	h.contains(page, "$2.50 since start", "3 dead letters, as of")
	rows, err := h.site.Rows(t.Context(), []string{"fleet"})
	if err != nil {
		t.Fatal(err)
	}
	for name := range got { // and the live updates say the same of every one of them
		if _, there := rows["fleet"][name]; !there {
			t.Errorf("live updates know nothing of %s", name)
		}
	}
	for _, href := range []string{"/agents?state=RUNNING", "/agents?health=degraded", "/figures?sort=errors", "/figures?sort=queue"} {
		h.marks(page, `href="`+href+`"`)
	}
	for name := range got {
		if strings.HasSuffix(name, "-trend") && got[name] != "" {
			t.Errorf("%s is %q, and nothing is known of before", name, got[name])
		}
	}
	h.lacks(page, "<b>ended</b>", "\x1b", "\u202e")
}

func TestWhatNeedsAttentionComesFirst(t *testing.T) {
	h := populated(t)
	h.parts = []web.Part{{Name: "store"}, {Name: "bus", Problem: "The message bus does not answer", Remedy: "See the log."}}
	page := h.page(auth.Operator, "/")
	order := []string{"The message bus does not answer", "The broken", "The sick", "The calm", "The gone", "Tasks a minute"}
	at := -1
	for _, text := range order {
		i := strings.Index(page, text)
		if i <= at {
			t.Errorf("%q is at %d, after %d", text, i, at)
		}
		at = i
	}
	h.contains(page, "Crash loop", "Correct its port.", "its probe says so", "3 commands could not be done")
	h.marks(page, `action="/agents/broken/actions/restart"`)
	h.lacks(h.page(auth.Viewer, "/"), "/actions/restart")
	h.lacks(page, "Silent") // the sick one is listed already, for a better reason
	h.lacks(page, "Nothing. No agent is errored")
	calm := newHome(t)
	calm.has("well", agent.Running, agent.HealthHealthy)
	calm.contains(calm.page(auth.Viewer, "/"), "Nothing. No agent is errored or unwell")
}

func TestFailedOperationsNeedAttentionUntilSomethingIsDone(t *testing.T) {
	h := newHome(t)
	ctx := auth.With(t.Context(), auth.System)
	if _, _, err := h.agents.Create(ctx, agent.Spec{Name: "memory", Template: "blank"}); err != nil {
		t.Fatal(err)
	}
	act := func(a agent.Action) *operation.Operation {
		t.Helper()
		op, err := h.fleet.Act(ctx, "memory", a, fleet.ActOptions{})
		if err == nil {
			op, err = h.ops.Wait(ctx, op.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		return op
	}
	act(agent.Provision)
	h.runtime.Fail("Prepare", errors.New("the disk is full"))
	failed := act(agent.Deploy)
	if failed.State != operation.Failed {
		t.Fatalf("the deploy is %s", failed.State)
	}
	page := h.page(auth.Operator, "/")
	a, err := h.store.Agents().Get(ctx, "memory")
	if err != nil {
		t.Fatal(err)
	}
	if a.State == agent.Errored {
		h.contains(page, "Errored", "memory")
	} else {
		h.contains(page, "Deploy of memory", "/operations/"+failed.ID)
	}
	h.runtime.Fail("Prepare", nil)
	act(agent.Deploy)
	h.lacks(h.page(auth.Operator, "/"), "/operations/"+failed.ID)
}

func TestPartsOfTheDashboardAreFetchedAlone(t *testing.T) {
	h := populated(t)
	for part, text := range map[string]string{"attention": "Needs attention", "figures": "Tasks a minute", "work": "Active operations", "events": "Recent events"} {
		page := h.page(auth.Viewer, "/?part="+part, "HX-Request", "true", "HX-Request-Type", "partial")
		h.contains(page, text)
		h.marks(page, `id="dash-`+part+`"`)
		if strings.Contains(page, "<html") || strings.Count(page, `id="dash-`) != 1 {
			t.Errorf("%s brings more than itself", part)
		}
	}
	if page := h.page(auth.Viewer, "/?part=work"); !strings.Contains(page, "<html") {
		t.Error("a visitor gets a part instead of the page")
	}
}

// With an agent chosen as the context every part is about it alone.
func TestTheDashboardOfOneAgent(t *testing.T) {
	h := populated(t)
	page := h.page(auth.Operator, "/?agent=busy")
	h.contains(page, "which is chosen as the context", "The busy")
	h.marks(page, `data-row="detail:busy"`, `hx-get="/?agent=busy&amp;part=work"`)
	if c := cells(page, `id="dash-figures"`); c["errors"] != "25 %" || c["queue"] != "7" || c["coverage"] != "1 of 1 agents report" || c["state"] != "Running" {
		t.Errorf("%v", c)
	}
	_, body, _ := strings.Cut(page, `class="dash"`)
	h.lacks(body, "The broken", "The gone", "By state", `data-row="fleet"`)
	h.contains(h.page(auth.Operator, "/?agent=broken"), "Crash loop")
	_, figures, _ := strings.Cut(h.page(auth.Viewer, "/figures?agent=gone"), `id="figures"`)
	h.marks(figures, `data-row="detail:gone"`)
	h.lacks(figures, `data-row="detail:busy"`)
}

func TestFiguresByAgent(t *testing.T) {
	h := populated(t)
	page := h.page(auth.Viewer, "/figures?sort=dead")
	if gone, busy := strings.Index(page, "The gone"), strings.Index(page, "The busy"); gone < 0 || busy < 0 || gone > busy {
		t.Errorf("sorted by dead letters, the one with them is at %d, another at %d", gone, busy)
	}
	if c := cells(page, `data-row="detail:busy"`); c["errors"] != "25 %" || c["queue"] != "7" || c["cpu"] != "–" {
		t.Errorf("%v", c)
	}
	h.marks(h.page(auth.Viewer, "/figures?sort=nonsense"), `aria-sort="descending"`)
	h.contains(newHome(t).page(auth.Viewer, "/figures"), "No figures yet")
}

func TestEventsAreSaidInWords(t *testing.T) {
	h := newHome(t)
	ctx := h.as(auth.Operator)
	for i := range 3 {
		if _, _, err := h.agents.Create(ctx, agent.Spec{Name: fmt.Sprint("memory", i), Template: "blank"}); err != nil {
			t.Fatal(err)
		}
	}
	page := h.page(auth.Viewer, "/?part=events", "HX-Request", "true", "HX-Request-Type", "partial")
	h.contains(page, "Created", "memory2", "By token:operator")
	if strings.Index(page, "memory2") > strings.Index(page, "memory0") {
		t.Error("the newest is not first")
	}
}

// Agents of one's own are reached from where agents are looked for, by those who may
// make some.
func TestNewAgentsAreWithinReach(t *testing.T) {
	h := newHome(t)
	const link = `href="/agents/new"`
	for _, path := range []string{"/", "/agents"} {
		h.marks(h.page(auth.Operator, path), link, `data-href="/agents/new"`)
		h.lacks(h.page(auth.Viewer, path), link, `data-href="/agents/new"`)
	}
	h.has("Memory", agent.Running, agent.HealthHealthy)
	h.marks(h.page(auth.Operator, "/agents"), link)
	h.lacks(h.page(auth.Viewer, "/agents"), link)
}

// A way back is offered only where there is one.
func TestABulkOffersNoRollbackOfWhatCannotBeUndone(t *testing.T) {
	h := newHome(t)
	h.has("Memory", agent.Running, agent.HealthHealthy)
	const back = `value="rollback"`
	h.marks(h.page(auth.Operator, "/bulk/new?action=stop&agent=memory"), back)
	h.lacks(h.page(auth.Operator, "/bulk/new?action=restart&agent=memory"), back)
}

// What went wrong is looked for first, once a bulk operation is over.
func TestWhatFailedOfABulkComesFirst(t *testing.T) {
	h := newHome(t)
	well := h.has("aside", agent.Running, agent.HealthHealthy)
	bad := h.has("zone", agent.Draft, agent.HealthUnknown)
	b, err := h.bulks.Start(h.as(auth.Operator), bulk.Request{Actions: []agent.Action{agent.Stop}, AgentIDs: []string{well.ID, bad.ID}})
	if err != nil {
		t.Fatal(err)
	}
	h.settled()
	page := h.page(auth.Operator, "/bulk/"+b.ID)
	first, second := strings.Index(page, `id="item-`+bad.ID), strings.Index(page, `id="item-`+well.ID)
	if first < 0 || first > second {
		t.Errorf("the failed one is at %d, the other at %d", first, second)
	}
}
