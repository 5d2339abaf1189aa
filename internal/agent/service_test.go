package agent_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// world is a service on a fresh store.
type world struct {
	*agent.Service
	store *store.Store
	ctx   context.Context
	t     testing.TB
}

func newWorld(t testing.TB) *world {
	s := storetest.New(t)
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	n := 0
	tick := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		n++
		return start.Add(time.Duration(n) * time.Second)
	}
	id := func() string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", tick().Unix()-start.Unix()) }
	return &world{
		Service: &agent.Service{Store: s.Agents(), History: s.History(), Tx: s, Audit: &audit.Recorder{Store: s.Audit(), Now: tick},
			Events: s.Events(), Now: tick, NewID: id},
		store: s, ctx: audit.WithActor(t.Context(), audit.Actor{ID: "token:t", Role: "operator"}), t: t,
	}
}

func (w *world) create(spec agent.Spec) *agent.Agent {
	w.t.Helper()
	a, _, err := w.Create(w.ctx, spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) get(id string) *agent.Agent {
	w.t.Helper()
	a, err := w.store.Agents().Get(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// trail is what is on record: the actions audited and the events, oldest first.
func (w *world) trail() (entries []audit.Entry, events []event.Event) {
	w.t.Helper()
	if err := w.store.Audit().Walk(w.ctx, 1, func(e audit.Entry) error { entries = append(entries, e); return nil }); err != nil {
		w.t.Fatal(err)
	}
	events, err := w.store.Events().Find(w.ctx, event.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	return entries, events
}

func wantFault(t testing.TB, err error, kind fault.Kind, text string) *fault.Error {
	t.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != kind || !strings.Contains(f.Error(), text) {
		t.Fatalf("got %v, want %s: …%s…", err, kind, text)
	}
	return f
}

func TestCreate(t *testing.T) {
	w := newWorld(t)
	a, warnings, err := w.Create(w.ctx, agent.Spec{Name: "WowMemory", Dependencies: []string{"WowEvent", "X"},
		Env: map[string]string{"TOKEN": "hunter2"}, Secrets: map[string]string{"KEY": "file:keyfile"}})
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != "wow-memory" || a.State != agent.Draft || a.Revision != 1 || a.LockVersion != 1 || a.Health != agent.HealthUnknown ||
		a.Spec.Template != "blank" || a.Spec.Runtime != "process" {
		t.Errorf("got %+v", a)
	}
	if want := []string{"WowMemory depends on WowEvent, X, which are not in the fleet"}; !reflect.DeepEqual(warnings, want) {
		t.Errorf("warnings %q", warnings)
	}
	if got := w.get("WOWMEMORY"); !reflect.DeepEqual(got, a) {
		t.Errorf("stored %+v\nwant   %+v", got, a)
	}
	rev, err := w.History.Revision(w.ctx, "wow-memory", 1)
	if err != nil || rev.CreatedBy != "token:t" || rev.Spec.Name != "WowMemory" {
		t.Errorf("revision %+v, %v", rev, err)
	}
	moves, _, err := w.History.Transitions(w.ctx, "wow-memory", "", 10)
	if err != nil || len(moves) != 1 || moves[0].State != agent.Draft || moves[0].TriggeredBy != "token:t" {
		t.Errorf("history %+v, %v", moves, err)
	}
	entries, events := w.trail()
	if len(entries) != 1 || entries[0].Action != "agent.create" || entries[0].Target != "agent/wow-memory" || entries[0].Actor != "token:t" {
		t.Fatalf("audit %+v", entries)
	}
	if text := string(entries[0].After); strings.Contains(text, "hunter2") || strings.Contains(text, "keyfile") || !strings.Contains(text, "TOKEN") {
		t.Errorf("the audit entry says %s", text)
	}
	if len(events) != 1 || events[0].Type != event.AgentCreated || !reflect.DeepEqual(events[0].Rooms, []string{"agents", "agent:wow-memory"}) {
		t.Errorf("events %+v", events)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	w.create(agent.Spec{Name: "One", ID: "first"})
	for name, tt := range map[string]struct {
		spec agent.Spec
		kind fault.Kind
		text string
	}{
		"invalid":           {agent.Spec{Name: "a", Tier: 9}, fault.Invalid, "tier"},
		"taken name":        {agent.Spec{Name: "ONE"}, fault.Conflict, "name ONE"},
		"taken id":          {agent.Spec{Name: "Two", ID: "first"}, fault.Conflict, "id first"},
		"id of another":     {agent.Spec{Name: "first"}, fault.Conflict, "first"},
		"id that is a name": {agent.Spec{Name: "Three", ID: "one"}, fault.Conflict, "id one"},
	} {
		_, _, err := w.Create(w.ctx, tt.spec)
		t.Log(name)
		wantFault(t, err, tt.kind, tt.text)
	}
	if entries, events := w.trail(); len(entries) != 1 || len(events) != 1 {
		t.Errorf("a refusal left traces: %d entries, %d events", len(entries), len(events))
	}
}

func TestCyclesAreRefusedByName(t *testing.T) {
	w := newWorld(t)
	w.create(agent.Spec{Name: "A", Dependencies: []string{"B"}})
	w.create(agent.Spec{Name: "B", ID: "bee", Dependencies: []string{"c"}})
	_, _, err := w.Create(w.ctx, agent.Spec{Name: "C", Dependencies: []string{"a"}})
	f := wantFault(t, err, fault.Invalid, "C → A → B → C")
	if len(f.Fields) != 1 || f.Fields[0].Path != "dependencies" {
		t.Errorf("fields %v", f.Fields)
	}
	w.create(agent.Spec{Name: "C"})
	_, _, err = w.Patch(w.ctx, "c", 0, tree(t, "dependencies: [bee]"), "")
	wantFault(t, err, fault.Invalid, "C → B → C")
	if _, warnings, err := w.Patch(w.ctx, "c", 0, tree(t, "dependencies: [Z]"), ""); err != nil || !strings.Contains(strings.Join(warnings, ""), "Z, which is not in the fleet") {
		t.Errorf("got %v, %v", warnings, err)
	}
}

func TestPatch(t *testing.T) {
	w := newWorld(t)
	w.create(agent.Spec{Name: "A", Env: map[string]string{"K": "old-value", "L": "1"}, Labels: map[string]string{"x": "1"}})
	a, _, err := w.Patch(w.ctx, "a", 1, tree(t, `
command: /bin/x
env: {K: new-value, L: null}
labels: null
probes: {liveness: {tcp: {port: 80}}}
specialization: {role: r, drop: null}
`), "because")
	if err != nil {
		t.Fatal(err)
	}
	if a.Revision != 2 || a.LockVersion != 2 || a.Spec.Command != "/bin/x" || a.Spec.Template != "" || len(a.Spec.Labels) != 0 ||
		!reflect.DeepEqual(a.Spec.Env, map[string]string{"K": "new-value"}) || a.Spec.Probes.Liveness.TCP.Port != "80" ||
		!reflect.DeepEqual(a.Spec.Specialization, map[string]any{"role": "r"}) {
		t.Errorf("got %+v", a)
	}
	if got := w.get("a"); !reflect.DeepEqual(got.Spec, a.Spec) {
		t.Errorf("stored %+v", got.Spec)
	}
	revs, err := w.History.Revisions(w.ctx, "a", 0, 10)
	if err != nil || len(revs) != 2 || revs[0].Number != 2 || revs[0].Reason != "because" || revs[1].Spec.Env["K"] != "old-value" {
		t.Errorf("revisions %+v, %v", revs, err)
	}
	entries, events := w.trail()
	last := entries[len(entries)-1]
	if last.Action != "agent.update" || last.Reason != "because" || strings.Contains(string(last.Before)+string(last.After), "-value") ||
		!strings.Contains(string(last.After), `"env.K":"(not recorded)"`) || !strings.Contains(string(last.After), `"command":"/bin/x"`) {
		t.Errorf("audit %s → %s", last.Before, last.After)
	}
	if e := events[len(events)-1]; e.Type != event.AgentUpdated {
		t.Errorf("event %+v", e)
	}
	// The same again changes nothing.
	again, _, err := w.Patch(w.ctx, "A", 0, tree(t, "command: /bin/x"), "")
	if err != nil || again.Revision != 2 || again.LockVersion != 2 {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	if e, _ := w.trail(); len(e) != len(entries) {
		t.Error("a patch without effect was recorded")
	}
}

func TestPatchRefuses(t *testing.T) {
	w := newWorld(t)
	w.create(agent.Spec{Name: "Alpha", ID: "a", Template: "memory"})
	w.create(agent.Spec{Name: "B", Dependencies: []string{"ALPHA"}})
	w.create(agent.Spec{Name: "D", Dependencies: []string{"a"}})
	w.create(agent.Spec{Name: "C"})
	for _, tt := range []struct {
		id, patch string
		match     int64
		kind      fault.Kind
		text      string
	}{
		{"nobody", "tier: 1", 0, fault.NotFound, "nobody"},
		{"a", "tier: 1", 7, fault.Stale, "its version is 1, not 7"},
		{"a", "tier: 9", 0, fault.Invalid, "tier: must be 1 to 6"},
		{"a", "teir: 1", 0, fault.Invalid, "did you mean tier?"},
		{"a", "state: RUNNING", 0, fault.Invalid, "state: is set by the portal"},
		{"a", "id: b2", 0, fault.Invalid, "id: can't be changed"},
		{"a", "{id: null, tier: 9}", 0, fault.Invalid, "id: can't be changed"},
		{"a", "name: null", 0, fault.Invalid, "name: must be given"},
		{"a", "command: x", 0, fault.Invalid, "template: can't be given together with command"},
		{"a", "name: A2", 0, fault.Conflict, "B depend on it by that name"},
		{"c", "name: b", 0, fault.Conflict, "already an agent with the name b"},
	} {
		_, _, err := w.Patch(w.ctx, tt.id, tt.match, tree(t, tt.patch), "")
		t.Log(tt.patch)
		wantFault(t, err, tt.kind, tt.text)
	}
	f := fault.As(func() error { _, _, err := w.Patch(w.ctx, "a", 9, tree(t, "tier: 1"), ""); return err }())
	if f.Extra["current"] != int64(1) {
		t.Errorf("the stale refusal says %v", f.Extra)
	}
	if a, _, err := w.Patch(w.ctx, "c", 0, tree(t, "name: See"), ""); err != nil || a.Spec.Name != "See" || a.ID != "c" {
		t.Errorf("rename: %v, %v", a, err)
	}
	if a, _, err := w.Patch(w.ctx, "a", 0, tree(t, "name: alpha"), ""); err != nil || a.Spec.Name != "alpha" {
		t.Errorf("rename in case alone: %v, %v", a, err)
	}
	if a, _, err := w.Patch(w.ctx, "a", 0, tree(t, "{template: null, command: x}"), ""); err != nil || a.Spec.Command != "x" {
		t.Errorf("from template to command: %v, %v", a, err)
	}
}

// Of two who saw the same version one succeeds; without a version both do.
func TestConcurrentPatches(t *testing.T) {
	w := newWorld(t)
	w.create(agent.Spec{Name: "A"})
	race := func(match int64) (ok int) {
		errs := make(chan error, 2)
		for i := range 2 {
			go func() {
				_, _, err := w.Patch(w.ctx, "a", match, map[string]any{"labels": map[string]any{fmt.Sprint("l", i): fmt.Sprint(match)}}, "")
				errs <- err
			}()
		}
		for range 2 {
			if err := <-errs; err == nil {
				ok++
			} else {
				wantFault(t, err, fault.Stale, "changed meanwhile")
			}
		}
		return ok
	}
	if ok := race(1); ok != 1 {
		t.Errorf("%d of 2 with the same version succeeded", ok)
	}
	if ok := race(0); ok != 2 || w.get("a").Revision != 4 {
		t.Errorf("%d of 2 succeeded, revision %d", ok, w.get("a").Revision)
	}
}

// A place that the portal is not configured with is refused wherever a spec comes in,
// but not of agents that are meant for it already.
func TestPlacesThatAreNotThereAreRefused(t *testing.T) {
	w := newWorld(t)
	w.Runtimes = []string{"kubernetes/eu", "process"}
	const why = "kubernetes/us is no place that this portal is configured with; it has kubernetes/eu, process"
	refused := func(err error) {
		t.Helper()
		f := fault.As(err)
		if f == nil || f.Kind != fault.Invalid || len(f.Fields) != 1 || !strings.HasSuffix(f.Fields[0].Path, "runtime") || f.Fields[0].Message != why {
			t.Errorf("got %v, %+v", err, f)
		}
	}
	_, _, err := w.Create(w.ctx, agent.Spec{Name: "a", Runtime: "kubernetes/us"})
	refused(err)
	a := w.create(agent.Spec{Name: "a", Runtime: "kubernetes/eu"})
	w.create(agent.Spec{Name: "later", Runtime: "kubernetes"}) // whose engine may come yet
	_, _, err = w.Patch(w.ctx, a.ID, 0, map[string]any{"runtime": "kubernetes/us"}, "")
	refused(err)
	docs := []map[string]any{{"name": "a", "runtime": "kubernetes/us"}}
	_, err = w.Import(w.ctx, docs, agent.ImportOptions{Mode: agent.ImportApply, Decode: agent.Strict})
	refused(err)
	w.Runtimes = []string{"process"} // the place is taken away
	if _, _, err := w.Patch(w.ctx, a.ID, 0, map[string]any{"labels": map[string]any{"x": "y"}}, ""); err != nil {
		t.Errorf("an agent of a place that is gone can't be changed: %v", err)
	}
	docs = []map[string]any{{"name": "a", "runtime": "kubernetes/eu", "description": "Waits."}}
	if _, err := w.Import(w.ctx, docs, agent.ImportOptions{Mode: agent.ImportApply, Decode: agent.Strict}); err != nil {
		t.Errorf("nor applied: %v", err)
	}
}
