package alert_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
)

const thresholds = `groups:
  - name: g
    rules:
      - alert: Errors
        expr: rate > 0.05
        labels: {severity: warning}
      - alert: Errors
        expr: rate > 0.2
        for: 1m
        labels: {severity: critical}
      - alert: Free
        expr: free < 10
        labels: {severity: warning}
      - alert: Plain
        expr: absent(x)
`

func (w *world) rule(name, severity string) alert.RuleView {
	w.t.Helper()
	list, _ := w.svc.List()
	i := slices.IndexFunc(list, func(r alert.RuleView) bool { return r.Name == name && r.Severity == severity })
	if i < 0 {
		w.t.Fatalf("there is no rule %s %s", name, severity)
	}
	return list[i]
}

func TestTheShippedRulesLoad(t *testing.T) {
	w := newWorld(t, "")
	list, files := w.svc.List()
	if len(files) != 1 || files[0].Error != "" || files[0].Rules < 20 {
		t.Fatalf("files %+v", files)
	}
	for _, r := range list {
		if r.Severity == "" || r.Source == alert.Shipped && (r.Threshold == nil || r.Notes["summary"] == "" || r.Notes["runbook"] == "") {
			t.Errorf("rule %+v", r)
		}
	}
}

func TestThresholdsAreChangedWithoutChangingTheFile(t *testing.T) {
	w := newWorld(t, thresholds)
	w.facts.are("rate > 0.05", of("a", 0.06))
	w.evaluate()
	w.shows("Errors a firing")
	limit, hold, off := 0.1, 2*time.Minute, true
	id := w.rule("Errors", "warning").ID
	v, err := w.svc.Tune(t.Context(), id, alert.Tune{Threshold: &limit, For: &hold, Reason: "too many"})
	must(t, err)
	if *v.Threshold != 0.1 || *v.Original != 0.05 || v.Expr != "rate > 0.1" || v.Hold != 120 || v.Changed.Reason != "too many" {
		t.Errorf("rule %+v", v)
	}
	w.evaluate()
	w.shows("Errors a resolved")
	w.boot() // a restart keeps it
	if v := w.rule("Errors", "warning"); v.ID != id || *v.Threshold != 0.1 {
		t.Errorf("rule %+v", v)
	}
	v, err = w.svc.Tune(t.Context(), id, alert.Tune{Reset: true})
	must(t, err)
	if *v.Threshold != 0.05 || v.Changed != nil || v.Hold != 0 {
		t.Errorf("rule %+v", v)
	}
	w.evaluate()
	v, err = w.svc.Tune(t.Context(), id, alert.Tune{Disabled: &off})
	must(t, err)
	if !v.Disabled {
		t.Errorf("rule %+v", v)
	}
	w.shows("Errors a resolved", "Errors a resolved")
}

func TestThresholdsThatMakeNoSenseAreRefused(t *testing.T) {
	w := newWorld(t, thresholds)
	number := func(v float64) *float64 { return &v }
	long := 30 * 24 * time.Hour
	for _, c := range []struct {
		name, severity string
		tune           alert.Tune
		want           string
	}{
		{"Errors", "warning", alert.Tune{Threshold: number(0.3)}, "warning (0.3) would come after critical (0.2)"},
		{"Errors", "critical", alert.Tune{Threshold: number(0.01)}, "warning (0.05) would come after critical (0.01)"},
		{"Errors", "critical", alert.Tune{For: &long}, "for_seconds"},
		{"Plain", "", alert.Tune{Threshold: number(1)}, "compares with no number"},
		{"AgentErrored", "critical", alert.Tune{For: &long}, "does not wait"},
		{"Free", "warning", alert.Tune{Threshold: number(1e301)}, "must be a number"},
		{"Free", "warning", alert.Tune{Reason: strings.Repeat("x", 2000)}, "reason"},
	} {
		_, err := w.svc.Tune(t.Context(), w.rule(c.name, c.severity).ID, c.tune)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.name, c.severity, err)
		}
	}
	_, err := w.svc.Tune(t.Context(), "none", alert.Tune{})
	wantKind(t, err, fault.NotFound)
}

func TestAFileWithMistakesIsNeverHalfInForce(t *testing.T) {
	w := newWorld(t, thresholds)
	w.facts.are("rate > 0.05", of("a", 1))
	w.evaluate()
	w.shows("Errors a firing")
	w.files[0].Content = []byte("groups:\n- name: g\n  rules:\n  - alert: New\n    expr: up\n  - alert: Broken\n    expr: sum(\n")
	must(t, w.svc.Reload(t.Context()))
	_, files := w.svc.List()
	if f := files[1]; f.Error == "" || len(f.Problems) != 1 || !strings.Contains(f.Problems[0].Path, `rule 2 "Broken", line 7`) || f.Rules != 4 {
		t.Errorf("file %+v", f)
	}
	w.rule("Errors", "warning") // what was good before stays
	w.shows("Errors a firing")
	w.boot()
	list, _ := w.svc.List()
	if slices.ContainsFunc(list, func(r alert.RuleView) bool { return r.Name == "New" || r.Name == "Broken" }) {
		t.Error("half of the file is in force")
	}
	w.shows("Errors a resolved")
}

func TestRulesAreUploadedWholeOrNotAtAll(t *testing.T) {
	w := newWorld(t, thresholds)
	_, err := w.svc.Upload(t.Context(), "x.yml", "groups:\n- name: g\n  interval: 1s\n  rules: []\n")
	wantKind(t, err, fault.Invalid)
	for _, name := range []string{"../x.yml", "X.yml", "x.txt", "platform-portal.yml", ""} {
		_, err := w.svc.Upload(t.Context(), name, thresholds)
		wantKind(t, err, fault.Invalid)
	}
	_, err = w.svc.Upload(t.Context(), "mine.yml", thresholds)
	wantKind(t, err, fault.Conflict)
	_, err = w.svc.Upload(t.Context(), "big.yml", strings.Repeat("#", alert.MaxFile+1))
	wantKind(t, err, fault.TooLarge)
	groups, err := w.svc.Upload(t.Context(), "more.yml", "groups:\n- name: g\n  rules:\n  - alert: New\n    expr: new > 3\n")
	must(t, err)
	if len(groups) != 1 {
		t.Errorf("groups %+v", groups)
	}
	w.boot()
	if v := w.rule("New", ""); v.Source != alert.Uploaded || *v.Threshold != 3 {
		t.Errorf("rule %+v", v)
	}
	if text, err := w.svc.FileContent("more.yml"); err != nil || !strings.Contains(text, "new > 3") {
		t.Errorf("%q %v", text, err)
	}
	must(t, w.svc.DeleteUpload(t.Context(), "more.yml"))
	wantKind(t, w.svc.DeleteUpload(t.Context(), "more.yml"), fault.NotFound)
	_, err = w.svc.FileContent("more.yml")
	wantKind(t, err, fault.NotFound)
}
