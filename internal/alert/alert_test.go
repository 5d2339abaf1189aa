package alert_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

const slow = `groups:
  - name: g
    interval: 15s
    labels: {team: core}
    rules:
      - record: agent:errors
        expr: errors
        labels: {level: agent}
      - alert: Slow
        expr: slow > 5
        for: 1m
        keep_firing_for: 2m
        labels: {severity: warning}
        annotations:
          summary: "{{ $labels.agent }} takes {{ $value }} s"
          broken: "{{ query \"x\" | first }}"
`

func TestAnAlertIsPendingThenFiresAndIsResolved(t *testing.T) {
	w := newWorld(t, slow)
	w.evaluate()
	w.shows()
	w.facts.are("slow > 5", of("a", 7))
	w.evaluate()
	w.shows("Slow a pending")
	w.pass(59 * time.Second)
	w.evaluate()
	w.shows("Slow a pending")
	w.pass(time.Second)
	w.facts.are("slow > 5", of("a", 8), of("b", 6))
	w.evaluate()
	w.shows("Slow a firing", "Slow b pending")
	list, _, err := w.svc.Find(t.Context(), alert.Query{Statuses: []alert.Status{alert.Firing}})
	must(t, err)
	a := list[0]
	if a.Summary() != "a takes 8 s" || a.Value != "8" || a.Labels["team"] != "core" || a.AgentName != "a-name" || a.Labels["__name__"] != "" {
		t.Errorf("alert %+v", a)
	}
	if a.Annotations["broken"] != "(the template can't be filled in)" {
		t.Errorf("broken template: %q", a.Annotations["broken"])
	}
	w.facts.are("slow > 5")
	w.pass(time.Minute)
	w.evaluate()
	w.shows("Slow a firing") // b came to nothing, a is kept firing for a while
	w.pass(2 * time.Minute)
	w.evaluate()
	w.shows("Slow a resolved")
	_, changes, err := w.svc.Get(t.Context(), a.ID)
	must(t, err)
	var states []string
	for _, c := range changes {
		states = append(states, string(c.Status))
	}
	if !slices.Equal(states, []string{"pending", "firing", "resolved"}) {
		t.Errorf("history %v", states)
	}
	want := []string{"alert:changed", "alert:changed", "alert:fired", "alert:changed", "alert:resolved"}
	if got := w.events(); len(got) != 5 || got[0] != want[0] || got[4] != want[4] || !slices.Contains(got, "alert:fired") {
		t.Errorf("events %v", got)
	}
}

func TestRecordingRulesStoreWhatTheyFind(t *testing.T) {
	w := newWorld(t, slow)
	w.facts.are("errors", of("a", 3))
	w.evaluate()
	if len(w.facts.recorded) != 1 {
		t.Fatalf("recorded %v", w.facts.recorded)
	}
	got := w.facts.recorded[0]
	if got.Labels["__name__"] != "agent:errors" || got.Labels["level"] != "agent" || got.Labels["agent"] != "a" || got.Value != 3 || !got.At.Equal(w.clock()) {
		t.Errorf("sample %+v", got)
	}
	w.svc.Appender = nil
	w.evaluate()
	list, _ := w.svc.List()
	i := slices.IndexFunc(list, func(r alert.RuleView) bool { return r.Name == "agent:errors" })
	if !strings.Contains(list[i].Status.Error, "another server") {
		t.Errorf("status %+v", list[i].Status)
	}
}

func TestForDoesNotBeginAnewAfterARestart(t *testing.T) {
	w := newWorld(t, slow)
	w.facts.are("slow > 5", of("a", 7), of("old", 7))
	w.evaluate()
	w.pass(time.Minute)
	w.facts.are("slow > 5", of("old", 7))
	w.evaluate()
	w.facts.are("slow > 5", of("a", 7), of("old", 7))
	w.evaluate()
	w.pass(45 * time.Second)
	w.evaluate()
	must(t, w.store.Alerts().Rules.SetMark(t.Context(), "alerts.evaluated", w.clock().UnixMicro()))

	w.pass(time.Hour) // nobody looks
	w.boot()
	w.shows("Slow old firing", "Slow a pending")
	w.facts.are("slow > 5")
	w.evaluate() // no metrics yet
	w.shows("Slow old firing", "Slow a pending")
	w.facts.are("slow > 5", of("a", 7))
	w.pass(14 * time.Second)
	w.evaluate()
	w.shows("Slow old firing", "Slow a pending")
	w.pass(time.Second)
	w.evaluate()
	w.shows("Slow a firing", "Slow old firing")
	w.pass(3 * time.Minute)
	w.evaluate()
	w.shows("Slow a firing", "Slow old resolved")
}

func TestAServerThatDoesNotAnswerResolvesNothing(t *testing.T) {
	w := newWorld(t, slow)
	w.facts.are("slow > 5", of("a", 7))
	w.evaluate()
	w.pass(time.Minute)
	w.evaluate()
	w.facts.err = fault.New(fault.Unavailable, "metrics.down", "The metrics server does not answer")
	w.pass(time.Hour)
	w.evaluate()
	w.shows("Slow a firing")
	list, _ := w.svc.List()
	i := slices.IndexFunc(list, func(r alert.RuleView) bool { return r.Name == "Slow" })
	if list[i].Status.Error != "The metrics server does not answer" || list[i].Active != 1 {
		t.Errorf("status %+v", list[i].Status)
	}
	w.facts.err = errors.New("secret detail")
	w.evaluate()
	list, _ = w.svc.List()
	if strings.Contains(list[i].Status.Error, "secret") {
		t.Errorf("status %+v", list[i].Status)
	}
}

const many = `groups:
  - name: g
    rules:
      - alert: Many
        expr: many
      - alert: Same
        expr: same
        labels: {agent: x}
`

func TestTooManySeriesMakeALimitedNumberOfAlerts(t *testing.T) {
	w := newWorld(t, many)
	var list []series
	for n := range alert.MaxOfRule + 5 {
		list = append(list, of(fmt.Sprint("a", n), 1))
	}
	w.facts.are("many", list...)
	w.facts.are("same", of("a", 1), of("a", 2))
	w.evaluate()
	tally, err := w.svc.Counts(t.Context())
	must(t, err)
	if len(tally) != 1 || tally[0].Count != alert.MaxOfRule+1 {
		t.Errorf("tally %+v", tally)
	}
	rules, _ := w.svc.List()
	for name, want := range map[string]string{"Many": "finds 1005 series", "Same": "the same"} {
		i := slices.IndexFunc(rules, func(r alert.RuleView) bool { return r.Name == name })
		if !strings.Contains(rules[i].Status.Error, want) {
			t.Errorf("%s: %+v", name, rules[i].Status)
		}
	}
}

func TestAcknowledgedAndSilenced(t *testing.T) {
	w := newWorld(t, many)
	w.facts.are("many", of("a", 1), of("b", 1))
	w.evaluate()
	ctx := audit.WithActor(t.Context(), audit.Actor{ID: "user:kim", Role: "operator"})
	list, _, err := w.svc.Find(ctx, alert.Query{AgentIDs: []string{"a"}})
	must(t, err)
	_, err = w.svc.Acknowledge(ctx, list[0].ID, "")
	wantKind(t, err, fault.Invalid)
	_, err = w.svc.Acknowledge(ctx, "nobody", "x")
	wantKind(t, err, fault.NotFound)
	got, err := w.svc.Acknowledge(ctx, list[0].ID, "I look at it")
	must(t, err)
	if got.Status != alert.Acknowledged || got.Ack.By != "user:kim" || got.Ack.Reason != "I look at it" {
		t.Errorf("acknowledged %+v", got)
	}
	w.shows("Many b firing", "Many a acknowledged")

	one, err := w.svc.Silence(ctx, alert.Silence{Matchers: []alert.Matcher{{Label: "agent", Value: "a|b", Regexp: true}}, EndsAt: w.clock().Add(time.Hour), Reason: "upgrade"})
	must(t, err)
	w.shows("Many b silenced", "Many a silenced")
	must(t, w.svc.EndSilence(ctx, one.ID))
	w.shows("Many b firing", "Many a acknowledged")
	_, err = w.svc.Silence(ctx, *one)
	wantKind(t, err, fault.Conflict)

	_, err = w.svc.Silence(ctx, alert.Silence{Matchers: []alert.Matcher{{Label: "alertname", Value: "Many"}}, EndsAt: w.clock().Add(time.Minute), Reason: "short"})
	must(t, err)
	w.boot() // a restart keeps it
	w.facts.are("many", of("a", 1), of("b", 1), of("c", 1))
	w.evaluate()
	w.shows("Many c silenced", "Many b silenced", "Many a silenced")
	w.pass(time.Minute)
	must(t, w.svc.Elapse(ctx))
	w.shows("Many c firing", "Many b firing", "Many a acknowledged")
	w.facts.are("many")
	w.evaluate()
	_, err = w.svc.Acknowledge(ctx, list[0].ID, "late")
	wantKind(t, err, fault.Conflict)

	entries, _, err := w.store.Audit().Find(ctx, audit.Query{Action: "alert.*"})
	must(t, err)
	var actions []string
	for _, e := range entries {
		actions = append(actions, e.Action+" by "+e.Actor)
	}
	if want := []string{"alert.silence by user:kim", "alert.silence_end by user:kim", "alert.silence by user:kim", "alert.acknowledge by user:kim"}; !slices.Equal(actions, want) {
		t.Errorf("audit %v", actions)
	}
}

func TestSilencesThatMakeNoSenseAreRefusedWithAllThatIsWrong(t *testing.T) {
	w := newWorld(t, "")
	_, err := w.svc.Silence(t.Context(), alert.Silence{Matchers: []alert.Matcher{{Label: "a", Value: "(", Regexp: true}, {}}, EndsAt: w.clock()})
	wantKind(t, err, fault.Invalid)
	for _, field := range []string{"matchers[0].value", "matchers[1].label", "reason", "ends_at"} {
		if !slices.ContainsFunc(fault.As(err).Fields, func(f fault.Field) bool { return f.Path == field }) {
			t.Errorf("%s is not named in %v", field, err)
		}
	}
	for _, m := range [][]alert.Matcher{nil, {{Label: "x", Value: ".*", Regexp: true}}, {{Label: "x", Value: "y", Not: true}}} {
		_, err := w.svc.Silence(t.Context(), alert.Silence{Matchers: m, EndsAt: w.clock().Add(time.Hour), Reason: "all"})
		wantKind(t, err, fault.Invalid)
	}
}

func state(agent, from, to string) event.Event {
	return event.New(event.AgentStateChanged, agent, "system", time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC), event.StateChanged{AgentID: agent, OldState: from, NewState: to, Reason: "it broke"})
}

func TestEventsFireAtOnceAndEndWhatTheyBegan(t *testing.T) {
	w := newWorld(t, "")
	w.append(event.Event{Type: event.AgentUpdated})
	w.append(state("a", "RUNNING", "ERRORED"))
	w.shows("AgentErrored a firing")
	a := w.only()
	if a.Severity != alert.Critical || a.Annotations["description"] != "it broke" || a.Source != alert.FromEvent {
		t.Errorf("alert %+v", a)
	}
	w.append(state("a", "ERRORED", "RUNNING"))
	w.shows("AgentErrored a resolved")

	op := func(state string) event.Event {
		return event.New(event.OperationChanged, "b", "system", w.clock(), event.Operation{OperationID: "o", Kind: "agent.start", AgentID: "b", State: state, Error: "no"})
	}
	w.append(op("FAILED"), op("FAILED"))
	w.shows("OperationFailed b firing", "AgentErrored a resolved")
	w.append(op("SUCCEEDED"))
	w.shows("AgentErrored a resolved", "OperationFailed b resolved")
}

func TestEventsOfATimeWithoutAPortalAreNotLost(t *testing.T) {
	w := newWorld(t, "")
	w.append(event.Event{Type: event.AgentUpdated})
	must(t, w.store.Events().Append(t.Context(), state("a", "RUNNING", "ERRORED"), state("b", "RUNNING", "ERRORED"), state("b", "ERRORED", "RUNNING"),
		state("c", "RUNNING", "ERRORED"), state("c", "ERRORED", "RUNNING"), state("c", "RUNNING", "ERRORED")))
	w.boot()
	w.shows("AgentErrored c firing", "AgentErrored a firing")
	w.boot()
	w.shows("AgentErrored c firing", "AgentErrored a firing") // not taken twice
}

func TestAnAlertThatEndsAndBeginsAnewInOneBatch(t *testing.T) {
	w := newWorld(t, "")
	w.append(event.Event{Type: event.AgentUpdated})
	w.append(state("a", "RUNNING", "ERRORED"))
	w.append(state("a", "ERRORED", "RUNNING"), state("a", "RUNNING", "ERRORED"))
	w.shows("AgentErrored a firing", "AgentErrored a resolved")
}

func TestWhatNoEventEndsEndsWhenItStaysQuiet(t *testing.T) {
	w := newWorld(t, "")
	w.append(event.Event{Type: event.AgentUpdated})
	dead := func() event.Event {
		return event.New(event.DeadLetter, "q", "system", w.clock(), map[string]any{"id": "7", "reason": "max_deliveries", "error": "poison"})
	}
	w.append(dead())
	w.pass(29 * time.Minute)
	w.append(dead())
	if a := w.only(); a.Count != 2 || !strings.Contains(a.Annotations["description"], "poison") {
		t.Errorf("alert %+v", a)
	}
	w.pass(29 * time.Minute)
	must(t, w.svc.Elapse(t.Context()))
	w.shows("DeadLetter q firing")
	w.pass(time.Minute)
	must(t, w.svc.Elapse(t.Context()))
	w.shows("DeadLetter q resolved")

	crash := func(restarts int, state string) event.Event {
		return event.New(event.InstanceChanged, "c", "system", w.clock(), event.Instance{AgentID: "c", InstanceID: "c-0", State: state, Restarts: restarts, Reason: "exit 1"})
	}
	w.append(crash(1, "backoff"), crash(2, "backoff"), crash(9, "running"))
	w.shows("DeadLetter q resolved")
	w.append(crash(3, "backoff"))
	w.shows("AgentCrashLoop c firing", "DeadLetter q resolved")
	w.append(state("c", "RUNNING", "STOPPED"))
	w.shows("AgentCrashLoop c resolved", "DeadLetter q resolved")
}

func TestPreviewSaysWhenItWouldHaveFired(t *testing.T) {
	w := newWorld(t, "")
	end := w.clock()
	at := func(minutes int, v float64) metrics.Point {
		return metrics.Point{At: end.Add(time.Duration(minutes-60) * time.Minute), Value: v}
	}
	w.facts.history = map[string][]metrics.Points{"slow": {
		{Labels: map[string]string{"agent": "calm"}, Points: []metrics.Point{at(0, 1), at(1, 2)}},
		{Labels: map[string]string{"agent": "busy"}, Points: nil},
	}}
	for m := range 61 {
		v := 1.0
		if m >= 10 && m < 20 || m == 30 {
			v = 9
		}
		for q := range 4 {
			p := at(m, v)
			p.At = p.At.Add(time.Duration(q) * 15 * time.Second)
			w.facts.history["slow"][1].Points = append(w.facts.history["slow"][1].Points, p)
		}
	}
	p, err := w.svc.Preview(t.Context(), alert.Look{Expr: "slow > 5", For: 2 * time.Minute, Back: time.Hour})
	must(t, err)
	if p.Alerts != 1 || p.Series != 2 || *p.Threshold != 5 || p.List[0].Labels["agent"] != "busy" || len(p.List[0].Spans) != 1 {
		t.Fatalf("preview %+v", p)
	}
	if from := p.List[0].Spans[0].From; !from.Equal(end.Add(-48 * time.Minute)) {
		t.Errorf("would have fired at %s", from)
	}
	_, err = w.svc.Preview(t.Context(), alert.Look{Expr: "slow >"})
	wantKind(t, err, fault.Invalid)
	_, err = w.svc.Preview(t.Context(), alert.Look{Expr: "slow", Back: time.Hour * 24 * 30})
	wantKind(t, err, fault.Invalid)
	w.svc.Querier = nil
	_, err = w.svc.Preview(t.Context(), alert.Look{Expr: "slow"})
	wantKind(t, err, fault.Unavailable)
}

// FuzzMatchers: what was read is written so that it reads the same.
func FuzzMatchers(f *testing.F) {
	for _, s := range []string{`alertname="AgentMemory", agent=~"wow-.*"`, "severity!=critical\nagent!~\"a\\\\d+\"", `a="wow-\d+"`, `a="x\n"`, `a=`, `a="`, `="x"`, `a="1" b="2"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := alert.ParseMatchers(text)
		if err != nil {
			return
		}
		var parts []string
		for _, m := range list {
			parts = append(parts, m.String())
		}
		again, err := alert.ParseMatchers(strings.Join(parts, ", "))
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("%q is %+v, then %+v, %v", text, list, again, err)
		}
	})
}
