package alert_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
)

const pair = `groups:
  - name: g
    rules:
      - alert: Slow
        expr: warn
        labels: {severity: warning}
      - alert: Slow
        expr: crit
        labels: {severity: critical}
      - alert: Down
        expr: down
        labels: {severity: critical}
`

func TestReceiversAreToldInGroupsAndAgainAndOfTheEnd(t *testing.T) {
	w := newWorld(t, pair)
	w.receiver(alert.Receiver{Name: "ops"})
	w.facts.are("warn", of("a", 1))
	w.evaluate()
	w.told() // it waits for more
	w.pass(5 * time.Second)
	w.facts.are("warn", of("a", 1), of("b", 1))
	w.evaluate()
	w.pass(5 * time.Second)
	w.told("ops: Slow a firing, Slow b firing")
	w.told()
	w.pass(30 * time.Second)
	w.facts.are("warn", of("a", 1), of("c", 1))
	w.evaluate()
	w.told()
	w.pass(30 * time.Second)
	w.told("ops: Slow a firing, Slow c firing, Slow b resolved")
	w.pass(4*time.Hour - time.Second)
	w.told()
	w.pass(time.Second)
	w.told("ops: Slow a firing, Slow c firing") // again
	w.facts.are("warn")
	w.evaluate()
	w.pass(time.Minute)
	w.told("ops: Slow a resolved, Slow c resolved")
	w.pass(24 * time.Hour)
	w.told()
}

func TestAWarningIsNotToldWhileTheSameIsCritical(t *testing.T) {
	w := newWorld(t, pair)
	w.receiver(alert.Receiver{Name: "all", GroupBy: []string{"agent"}})
	w.receiver(alert.Receiver{Name: "pager", Matchers: []alert.Matcher{{Label: "severity", Value: "critical"}}})
	w.facts.are("warn", of("a", 1), of("b", 1))
	w.facts.are("crit", of("a", 1))
	w.evaluate()
	w.pass(10 * time.Second)
	w.told("all: Slow a firing", "all: Slow b firing", "pager: Slow a firing")
}

func TestAcknowledgedAndSilencedAlertsAreNotToldAgain(t *testing.T) {
	w := newWorld(t, pair)
	w.receiver(alert.Receiver{Name: "ops", Repeat: 60})
	w.receiver(alert.Receiver{Name: "am", Kind: alert.Alertmanager, URL: "https://am.example.com"})
	w.facts.are("down", of("a", 1), of("b", 1))
	w.evaluate()
	w.told("am: Down a firing, Down b firing")
	w.pass(10 * time.Second)
	w.told("ops: Down a firing, Down b firing")
	list, _, err := w.svc.Find(t.Context(), alert.Query{AgentIDs: []string{"a"}})
	must(t, err)
	_, err = w.svc.Acknowledge(t.Context(), list[0].ID, "mine")
	must(t, err)
	w.pass(time.Minute)
	w.told("am: Down b firing, Down a acknowledged", "ops: Down b firing")
	_, err = w.svc.Silence(t.Context(), alert.Silence{Matchers: []alert.Matcher{{Label: "agent", Value: "b"}}, EndsAt: w.clock().Add(24 * time.Hour), Reason: "known"})
	must(t, err)
	w.pass(time.Minute)
	w.told("am: Down a acknowledged")
	w.facts.are("down", of("b", 1))
	w.evaluate()
	w.pass(2 * time.Minute)
	w.told("am: Down a resolved")
}

func TestANewReceiverIsToldWhatFiresAlready(t *testing.T) {
	w := newWorld(t, pair)
	w.facts.are("down", of("a", 1))
	w.evaluate()
	r := w.receiver(alert.Receiver{Name: "late"})
	w.pass(10 * time.Second)
	w.told("late: Down a firing")
	r.Disabled = true
	w.receiver(*r)
	w.facts.are("down")
	w.evaluate()
	w.pass(time.Hour)
	w.told()
	must(t, w.svc.DeleteReceiver(t.Context(), r.ID))
	wantKind(t, w.svc.DeleteReceiver(t.Context(), r.ID), fault.NotFound)
}

func TestMessagesAreTriedAgainWithTheSameKeyAlsoAfterARestart(t *testing.T) {
	w := newWorld(t, pair)
	r := w.receiver(alert.Receiver{Name: "ops"})
	w.out.fails["ops"] = fault.New(fault.Unavailable, "x", "It does not answer")
	w.facts.are("down", of("a", 1))
	w.evaluate()
	w.pass(10 * time.Second)
	w.told()
	w.boot()
	w.pass(10 * time.Second)
	w.told()
	delete(w.out.fails, "ops")
	w.boot()
	w.pass(time.Minute)
	w.told("ops: Down a firing")
	if len(w.out.keys) != 3 || len(slices.Compact(slices.Clone(w.out.keys))) != 1 {
		t.Errorf("keys %v", w.out.keys)
	}
	list, _, err := w.svc.ListDeliveries(t.Context(), r.ID, "", 10)
	must(t, err)
	if len(list) != 1 || list[0].State != alert.Delivered || list[0].Attempts != 3 || list[0].Firing != 1 || list[0].Error != "" {
		t.Errorf("deliveries %+v", list)
	}
}

func TestWhatCanNotBeDeliveredIsGivenUp(t *testing.T) {
	w := newWorld(t, pair)
	r := w.receiver(alert.Receiver{Name: "ops"})
	w.out.fails["ops"] = fault.New(fault.Forbidden, "egress.refused", "The portal does not connect to there")
	w.facts.are("down", of("a", 1))
	w.evaluate()
	w.pass(10 * time.Second)
	w.told()
	w.out.fails["ops"] = fault.New(fault.Unavailable, "x", "It does not answer")
	w.facts.are("down", of("a", 1), of("b", 1))
	w.evaluate()
	w.pass(time.Minute)
	w.told()
	w.pass(25 * time.Hour)
	w.told()
	list, _, err := w.svc.ListDeliveries(t.Context(), r.ID, "", 10)
	must(t, err)
	for _, d := range list[1:] {
		if d.State != alert.Failed || d.Error == "" {
			t.Errorf("delivery %+v", d)
		}
	}
	if d, err := w.svc.Test(t.Context(), r.ID); err != nil || d.State != alert.Failed {
		t.Errorf("test %+v %v", d, err)
	}
	delete(w.out.fails, "ops")
	if d, err := w.svc.Test(t.Context(), r.ID); err != nil || d.State != alert.Delivered {
		t.Errorf("test %+v %v", d, err)
	}
}

func TestAReceiverThatHangsHoldsUpNoOther(t *testing.T) {
	w := newWorld(t, pair)
	w.out.hold, w.out.done = make(chan struct{}), make(chan struct{}, 10)
	w.receiver(alert.Receiver{Name: "hangs", Kind: alert.Alertmanager, URL: "https://a.example.com"})
	w.receiver(alert.Receiver{Name: "works", Kind: alert.Alertmanager, URL: "https://b.example.com"})
	w.facts.are("down", of("a", 1))
	w.evaluate()
	must(t, w.svc.Start(t.Context()))
	select {
	case <-w.out.done:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
	}
	if got := w.out.take(); !slices.Equal(got, []string{"works: Down a firing"}) {
		t.Errorf("told %v", got)
	}
	close(w.out.hold)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	must(t, w.svc.Stop(ctx))
	must(t, w.svc.Stop(ctx))
}

func TestReceiversThatMakeNoSenseAreRefusedWithAllThatIsWrong(t *testing.T) {
	w := newWorld(t, "")
	for name, c := range map[string]struct {
		r      alert.Receiver
		fields string
	}{
		"nothing":         {alert.Receiver{}, "name kind"},
		"a secret":        {alert.Receiver{Name: "a", Kind: alert.Webhook, URL: "https://u:p@example.com", Secret: "hunter2"}, "url secret"},
		"a token in URL":  {alert.Receiver{Name: "a", Kind: alert.Webhook, URL: "https://example.com/?token=x"}, "url secret"},
		"slack in clear":  {alert.Receiver{Name: "a", Kind: alert.Slack, URL: "https://hooks.example.com/T/B/x"}, "url"},
		"no mail":         {alert.Receiver{Name: "a", Kind: alert.Email}, "email"},
		"header in mail":  {alert.Receiver{Name: "a\r\nBcc: x", Kind: alert.Email, Mail: &alert.Mail{Host: "h", Port: 25, TLS: "none", From: "a@b.c\r\nBcc: x@y.z", To: []string{"x"}}}, "name email.from email.to[0]"},
		"password, clear": {alert.Receiver{Name: "a", Kind: alert.Email, Mail: &alert.Mail{Host: "h", Port: 0, TLS: "none", User: "u", Password: "p", From: "a@b.c", To: []string{"x@y.z"}}}, "email.port email.password email.tls"},
		"times":           {alert.Receiver{Name: "a", Kind: alert.Webhook, URL: "https://example.com", Secret: "file:x", Wait: -1, Every: 99999999, Repeat: 1, GroupBy: []string{"a b"}, Matchers: []alert.Matcher{{Label: "x", Value: "(", Regexp: true}}}, "matchers[0].value group_by group_wait_seconds group_interval_seconds repeat_interval_seconds"},
	} {
		_, err := w.svc.SaveReceiver(t.Context(), c.r)
		f := fault.As(err)
		if f == nil || f.Kind != fault.Invalid {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, one := range f.Fields {
			got = append(got, one.Path)
		}
		if strings.Join(got, " ") != c.fields {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: shows the secret: %v", name, err)
		}
	}
	_, err := w.svc.SaveReceiver(t.Context(), alert.Receiver{ID: "none", Name: "a", Kind: alert.Webhook, URL: "file:hook", Secret: "file:key"})
	wantKind(t, err, fault.NotFound)
}

func TestMatchersAreReadAsPeopleWriteThem(t *testing.T) {
	list, err := alert.ParseMatchers(`severity="critical", agent=~"a|b"
alertname!=Down,x!~"q\"\\.*"`)
	must(t, err)
	var got []string
	for _, m := range list {
		got = append(got, m.String())
	}
	if want := `severity="critical" agent=~"a|b" alertname!="Down" x!~"q\"\\.*"`; strings.Join(got, " ") != want {
		t.Errorf("got %s", strings.Join(got, " "))
	}
	for _, text := range []string{"severity", "a b=c", `a="b`, `="x"`, `a="b" c="d"`} {
		if list, err := alert.ParseMatchers(text); err == nil {
			t.Errorf("%s: %v", text, list)
		}
	}
}
