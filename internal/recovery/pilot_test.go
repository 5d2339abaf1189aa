package recovery_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// begun are the operations that were begun; nobody carries them out.
type begun struct{ list []*operation.Operation }

func (b *begun) Register(operation.Definition)     {}
func (b *begun) OnUndo(string, operation.UndoFunc) {}
func (b *begun) Create(_ context.Context, op *operation.Operation) error {
	b.list = append(b.list, op)
	return nil
}

func (b *begun) Get(_ context.Context, id string) (*operation.Operation, error) {
	for _, op := range b.list {
		if op.ID == id {
			return op, nil
		}
	}
	return nil, fault.New(fault.NotFound, "operation.unknown", "There is no such operation")
}

func (b *begun) Wait(ctx context.Context, id string) (*operation.Operation, error) {
	return b.Get(ctx, id)
}

// ward is recovery with one agent, whose clock the test turns.
type ward struct {
	*testing.T
	*recovery.Service
	store *store.Store
	ops   *begun
	clock time.Time
	a     *agent.Agent
}

func newWard(t *testing.T) *ward {
	t.Helper()
	st := storetest.New(t)
	w := &ward{T: t, store: st, ops: &begun{}, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return w.clock }
	newID := func() string { return uuid.Must(uuid.NewV7()).String() }
	rec := &audit.Recorder{Store: st.Audit(), Now: now}
	agents := &agent.Service{Store: st.Agents(), History: st.History(), Tx: st, Audit: rec, Events: st.Events(), Now: now, NewID: newID}
	w.Service = &recovery.Service{Store: st.Incidents(), Memory: st.Incidents(), Decided: st.Incidents(), Agents: st.Agents(), History: st.History(), Editor: agents,
		Ops: w.ops, Tx: st, Audit: rec, Events: st.Events(), Now: now, NewID: newID, Log: slog.New(slog.DiscardHandler)}
	a, _, err := agents.Create(w.as(), agent.Spec{Name: "patient", Command: "/bin/patient"})
	if err != nil {
		t.Fatal(err)
	}
	a.State, a.DeployedRevision = agent.Errored, 1
	if err := st.Agents().Save(w.as(), a); err != nil {
		t.Fatal(err)
	}
	w.a = a
	return w
}

func (w *ward) as() context.Context { return auth.With(w.Context(), auth.System) }

func (w *ward) passes(d time.Duration) { w.clock = w.clock.Add(d) }

// falls makes an incident of the agent, with one-click suggestions in this order.
func (w *ward) falls(fixes ...cause.Fix) *recovery.Incident {
	w.Helper()
	in := &recovery.Incident{ID: w.NewID(), AgentID: w.a.ID, AgentName: "patient", Source: recovery.FromCrash, Class: cause.Permanent, Cause: cause.OutOfMemory, Certainty: 0.9,
		Fingerprint: "patient/oom", Title: "It ran out of memory", State: recovery.Open, Count: 1, FirstSeen: w.clock, LastSeen: w.clock}
	for i, f := range fixes {
		in.Suggestions = append(in.Suggestions, cause.Suggestion{Fix: f, Title: string(f), ExpectedSuccess: 0.9 - float64(i)/10, OneClick: true})
	}
	if err := w.Store.InsertIncident(w.as(), in); err != nil {
		w.Fatal(err)
	}
	return in
}

// looks lets the pilot look at the incident once.
func (w *ward) looks(in *recovery.Incident, p recovery.Policies) *recovery.Incident {
	w.Helper()
	a, err := w.Agents.Get(w.as(), w.a.ID)
	if err != nil {
		w.Fatal(err)
	}
	if err := recovery.Pilot(w.Service, w.as(), a, w.stored(in), p, false); err != nil {
		w.Fatal(err)
	}
	return w.stored(in)
}

func (w *ward) stored(in *recovery.Incident) *recovery.Incident {
	w.Helper()
	got, err := w.Store.Incident(w.as(), in.ID)
	if err != nil {
		w.Fatal(err)
	}
	return got
}

// ends ends the newest operation.
func (w *ward) ends(state operation.State) {
	w.Helper()
	op := w.ops.list[len(w.ops.list)-1]
	op.State = state
	if err := w.Tx.Do(w.as(), func(ctx context.Context) error { return recovery.Finish(w.Service, ctx, op) }); err != nil {
		w.Fatal(err)
	}
}

func (w *ward) kinds() string {
	var out []string
	for _, op := range w.ops.list {
		out = append(out, strings.TrimPrefix(op.Kind, "fix."))
	}
	return strings.Join(out, " ")
}

// audited gives the outcomes of an action, oldest first.
func (w *ward) audited(action string) string {
	w.Helper()
	list, _, err := w.store.Audit().Find(w.as(), audit.Query{Action: action, Limit: 100})
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, e := range slices.Backward(list) {
		out = append(out, string(e.Outcome))
	}
	return strings.Join(out, " ")
}

func automatic(perHour, coolDown int) recovery.Policies {
	return recovery.Policies{Default: recovery.Automatic, Limits: recovery.Limits{MaxPerHour: perHour, CoolDownSeconds: coolDown}}
}

func TestNothingIsDoneUnlessThePolicySaysSo(t *testing.T) {
	w := newWard(t)
	in := w.falls(cause.Restart)
	w.passes(time.Minute)
	for _, p := range []recovery.Policies{recovery.DefaultPolicies(), {Default: recovery.Off, Limits: recovery.DefaultPolicies().Limits},
		{Default: recovery.Automatic, Agents: map[string]recovery.Mode{w.a.ID: recovery.Suggest}, Limits: recovery.DefaultPolicies().Limits}} {
		if got := w.looks(in, p); got.State != recovery.Open || len(w.ops.list) != 0 {
			t.Errorf("with %+v: %s, %s", p, got.State, w.kinds())
		}
	}
	got := w.looks(in, recovery.Policies{Default: recovery.Off, Agents: map[string]recovery.Mode{w.a.ID: recovery.Automatic}, Limits: recovery.DefaultPolicies().Limits})
	if got.State != recovery.Recovering || got.Policy != string(recovery.Automatic) || w.kinds() != "restart" || !strings.Contains(w.ops.list[0].Reason, "by the policy automatic") {
		t.Errorf("automatic: %+v, %s", got, w.kinds())
	}
	if w.audited("error.fix") != "done" {
		t.Errorf("audited: %q", w.audited("error.fix"))
	}
}

func TestThePilotKeepsItsHandsOff(t *testing.T) {
	w := newWard(t)
	in := w.falls(cause.Restart)
	if w.looks(in, automatic(6, 0)); len(w.ops.list) != 0 {
		t.Error("something was done before a better cause could be found")
	}
	w.passes(time.Minute)
	if err := recovery.Pilot(w.Service, w.as(), w.a, w.stored(in), automatic(6, 0), true); err != nil || len(w.ops.list) != 0 {
		t.Errorf("an agent that is well: %s, %v", w.kinds(), err)
	}
	busy := *w.a
	busy.ActiveOperation = "other"
	if err := recovery.Pilot(w.Service, w.as(), &busy, w.stored(in), automatic(6, 0), false); err != nil || len(w.ops.list) != 0 {
		t.Errorf("an agent that somebody works on: %s, %v", w.kinds(), err)
	}
	tired := w.stored(in)
	tired.NeedsHuman = true
	if err := recovery.Pilot(w.Service, w.as(), w.a, tired, automatic(6, 0), false); err != nil || len(w.ops.list) != 0 {
		t.Errorf("an incident that needs a person: %s, %v", w.kinds(), err)
	}
}

func TestWhatJustFailedIsNotRepeated(t *testing.T) {
	w := newWard(t)
	in := w.falls(cause.Restart, cause.Wait)
	w.passes(time.Minute)
	w.looks(in, automatic(6, 5))
	w.passes(time.Second)
	w.ends(operation.Failed)
	if got := w.stored(in); got.State != recovery.Open || len(got.Tried) != 1 || got.Tried[0].Helped == nil || *got.Tried[0].Helped {
		t.Fatalf("after a fix that failed: %+v", got)
	}
	w.passes(3 * time.Second)
	if w.looks(in, automatic(6, 5)); w.kinds() != "restart" {
		t.Errorf("within the cool-down: %s", w.kinds())
	}
	w.passes(3 * time.Second)
	if w.looks(in, automatic(6, 5)); w.kinds() != "restart wait" {
		t.Errorf("after the cool-down: %s", w.kinds())
	}
	w.ends(operation.Failed)
	w.passes(time.Minute)
	got := w.looks(in, automatic(6, 5))
	if !got.NeedsHuman || got.Note == "" || w.kinds() != "restart wait" {
		t.Errorf("everything was tried: %+v, %s", got, w.kinds())
	}
	if w.audited("error.needs_human") != "failed" || w.audited("error.fix_ended") != "failed failed" {
		t.Errorf("audited: %q, %q", w.audited("error.needs_human"), w.audited("error.fix_ended"))
	}

	// The like of it, soon after: what failed for one is not tried for the other.
	next := w.falls(cause.Restart)
	w.passes(time.Minute)
	if got := w.looks(next, automatic(6, 5)); !got.NeedsHuman || w.kinds() != "restart wait" {
		t.Errorf("the same again: %+v, %s", got, w.kinds())
	}
	later := w.falls(cause.Restart)
	w.passes(2 * time.Hour)
	if w.looks(later, automatic(6, 5)); w.kinds() != "restart wait restart" {
		t.Errorf("hours later: %s", w.kinds())
	}
}

func TestThereAreSoManyFixesInAnHour(t *testing.T) {
	w := newWard(t)
	p := automatic(2, 0)
	for range 2 {
		in := w.falls(cause.Restart)
		w.passes(time.Minute)
		w.looks(in, p)
		w.ends(operation.Succeeded)
		if got := w.stored(in); got.State != recovery.Recovered || got.RecoveredAt == nil {
			t.Fatalf("a fix that helped: %+v", got)
		}
	}
	third := w.falls(cause.Restart)
	w.passes(time.Minute)
	if got := w.looks(third, p); !got.NeedsHuman || !strings.Contains(got.Note, "2 fixes in an hour") || len(w.ops.list) != 2 {
		t.Errorf("the third in an hour: %+v, %s", got, w.kinds())
	}
	w.passes(time.Hour)
	fourth := w.falls(cause.Restart)
	w.passes(time.Minute)
	if w.looks(fourth, p); len(w.ops.list) != 3 {
		t.Errorf("an hour later: %s", w.kinds())
	}
}

// However much else went wrong since, what was tried within the hour counts.
func TestLimitsHoldForAgentsInMuchTrouble(t *testing.T) {
	w := newWard(t)
	in := w.falls(cause.Restart)
	w.passes(time.Minute)
	p := automatic(1, 0)
	w.looks(in, p)
	w.ends(operation.Failed)
	for range 510 {
		w.passes(time.Second)
		w.falls(cause.Restart)
	}
	last := w.falls(cause.Restart, cause.Wait)
	w.passes(time.Minute)
	if got := w.looks(last, p); !got.NeedsHuman || !strings.Contains(got.Note, "1 fixes in an hour") || w.kinds() != "restart" {
		t.Errorf("beyond the limit: %+v, %s", got, w.kinds())
	}
	more := w.falls(cause.Restart, cause.Wait)
	w.passes(time.Minute)
	if w.looks(more, automatic(6, 0)); w.kinds() != "restart wait" {
		t.Errorf("what failed for the like of it is tried again: %s", w.kinds())
	}
}

func TestAFixIsBegunOnce(t *testing.T) {
	w := newWard(t)
	in := w.falls(cause.Restart)
	if _, err := w.Fix(w.as(), in.ID, "pray", nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a fix that there is not: %v", err)
	}
	if _, err := w.Fix(w.as(), "nobody", cause.Restart, nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("an error that there is not: %v", err)
	}
	op, err := w.Fix(w.as(), in.ID, cause.Restart, nil)
	if err != nil || op.AgentID != w.a.ID {
		t.Fatalf("%+v, %v", op, err)
	}
	if _, err := w.Fix(w.as(), in.ID, cause.Restart, nil); !fault.Is(err, fault.Conflict) || len(w.ops.list) != 1 {
		t.Errorf("a second time: %v, %s", err, w.kinds())
	}
	if _, err := w.Dismiss(w.as(), in.ID, "no"); !fault.Is(err, fault.Conflict) {
		t.Errorf("dismissed while it is being fixed: %v", err)
	}
	if got := w.audited("error.fix"); got != "refused refused done refused" {
		t.Errorf("audited: %q", got)
	}
	w.ends(operation.Cancelled)
	if got := w.stored(in); got.State != recovery.Open || got.Tried[0].Helped != nil || got.Tried[0].EndedAt == nil {
		t.Errorf("a fix that was cancelled: %+v", got)
	}
	got, err := w.Dismiss(w.as(), in.ID, "it is to be so")
	if err != nil || got.State != recovery.Dismissed || got.Note != "it is to be so" {
		t.Errorf("dismissed: %+v, %v", got, err)
	}
	if _, err := w.Fix(w.as(), in.ID, cause.Restart, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("fixed after it was dismissed: %v", err)
	}
}

func TestExperienceOrdersSuggestions(t *testing.T) {
	w := newWard(t)
	in := w.falls(cause.Restart, cause.RaiseMemory)
	first := func() cause.Fix {
		t.Helper()
		got, err := w.Get(w.as(), in.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got.Suggestions[0].Fix
	}
	if first() != cause.Restart {
		t.Fatalf("at first: %s", first())
	}
	for range 10 {
		if err := w.Memory.AddOutcome(w.as(), cause.OutOfMemory, cause.Restart, false); err != nil {
			t.Fatal(err)
		}
		if err := w.Memory.AddOutcome(w.as(), cause.OutOfMemory, cause.RaiseMemory, true); err != nil {
			t.Fatal(err)
		}
	}
	if first() != cause.RaiseMemory {
		t.Errorf("after ten restarts that did not help: %s", first())
	}
}

func TestPoliciesAreCheckedWhole(t *testing.T) {
	w := newWard(t)
	_, err := w.SetPolicies(w.as(), recovery.Policies{Default: "sometimes", Agents: map[string]recovery.Mode{"a": "never"}, Limits: recovery.Limits{MaxPerHour: 61, CoolDownSeconds: -1}})
	f := fault.As(err)
	if f == nil || f.Kind != fault.Invalid || len(f.Fields) != 4 {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"default", "agents.a", "limits.max_per_hour", "limits.cool_down_seconds"} {
		if !slices.ContainsFunc(f.Fields, func(g fault.Field) bool { return g.Path == want }) {
			t.Errorf("%s is not named: %v", want, f.Fields)
		}
	}
	if got, err := w.Policies(w.as()); err != nil || got.Default != recovery.Suggest {
		t.Errorf("after a refusal: %+v, %v", got, err)
	}
	if _, err := w.SetPolicies(w.as(), recovery.Policies{Default: recovery.Automatic}); err != nil {
		t.Fatal(err)
	}
	got, err := w.Policies(w.as())
	if err != nil || got.Default != recovery.Automatic || got.Limits != recovery.DefaultPolicies().Limits {
		t.Errorf("%+v, %v", got, err)
	}
	if a := w.audited("recovery.policies"); a != "refused done" {
		t.Errorf("audited: %q", a)
	}
}

func TestWhatComesBackIsAPattern(t *testing.T) {
	w := newWard(t)
	w.falls(cause.Restart)
	if list, err := w.Patterns(w.as(), nil, 0, 10); err != nil || len(list) != 0 {
		t.Errorf("what happened once: %+v, %v", list, err)
	}
	w.passes(time.Hour)
	w.falls(cause.Restart)
	list, err := w.Patterns(w.as(), []string{w.a.ID}, 0, 10)
	if err != nil || len(list) != 1 || list[0].Incidents != 2 || list[0].Fingerprint != "patient/oom" {
		t.Errorf("what happened twice: %+v, %v", list, err)
	}
	w.passes(31 * 24 * time.Hour)
	if list, err := w.Patterns(w.as(), nil, 0, 10); err != nil || len(list) != 0 {
		t.Errorf("a month later: %+v, %v", list, err)
	}
}
