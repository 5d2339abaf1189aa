package rulefile_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/rulefile"
)

var lang = rulefile.Language{}

func TestRuleFilesOfOthersLoadAsTheyAre(t *testing.T) {
	content, err := os.ReadFile("testdata/platform.yml")
	if err != nil {
		t.Fatal(err)
	}
	groups, err := lang.Parse("platform.yml", content)
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 1 || groups[0].Name != "shop_alerts" || groups[0].Interval != 30*time.Second || len(groups[0].Rules) != 7 {
		t.Fatalf("got %+v", groups)
	}
	first := groups[0].Rules[0]
	if first.Name != "ShopDown" || first.Expr != "up == 0" || first.For != 2*time.Minute || first.Severity() != "critical" || first.Recording {
		t.Errorf("first rule: %+v", first)
	}
}

func TestTheRuleFileOfThePlanLoads(t *testing.T) {
	content, err := os.ReadFile("../../../shared/inputs/waooaw/alerts/platform.yml")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("it is not beside this checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	groups, err := lang.Parse("platform.yml", content)
	if err != nil || len(groups) != 1 || len(groups[0].Rules) != 14 {
		t.Fatalf("%d groups, error %v", len(groups), err)
	}
}

const broken = `groups:
  - name: one
    rules:
      - alert: Fine
        expr: up == 0
      - alert: Unfinished
        expr: sum by (agent (up)
      - alert: Both
        record: also:this
        expr: up
      - alert: Template
        expr: up == 0
        annotations:
          summary: "{{ $labels.x "
  - name: one
    rules:
      - record: "not a name{}"
        expr: up
        for: 1m
`

func TestAllMistakesAreNamedWithTheirPlace(t *testing.T) {
	groups, err := lang.Parse("mine.yml", []byte(broken))
	f := fault.As(err)
	if f == nil || f.Kind != fault.Invalid || groups != nil {
		t.Fatalf("got %v, %v", groups, err)
	}
	for _, want := range []string{
		`group "one", rule 2 "Unfinished", line 7: could not parse expression`,
		`group "one", rule 3 "Both", line 8: only one of 'record' and 'alert' must be set`,
		`group "one", rule 4 "Template", line 11: annotation "summary"`,
		`group "one", line 15: has the name of another group`,
		`rule 1 "not a name{}", line 17: invalid field 'for' in recording rule`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in\n%v", want, strings.ReplaceAll(err.Error(), "; ", "\n"))
		}
	}
}

// A mistake that keeps the reader from going on hides no other.
func TestMistakesHideNoOthers(t *testing.T) {
	_, err := lang.Parse("mine.yml", []byte(`groups:
- name: one
  interval: often
  rules:
  - alert: A
    expr: up(
    for: "-5q"   # no
    fro: 1m
  - alert: B
    expr: up
    keep_firing_for: 5m
    for: soon
  - alert: C
    expr: sum(
`))
	f := fault.As(err)
	if f == nil || f.Kind != fault.Invalid {
		t.Fatal(err)
	}
	for _, want := range []string{"line 3: is not a duration", "line 7: is not a duration", "line 8: field fro not found", "line 12: is not a duration",
		`rule 1 "A", line 6: could not parse`, `rule 3 "C", line 14: could not parse`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in\n%v", want, strings.ReplaceAll(err.Error(), "; ", "\n"))
		}
	}
	if strings.Contains(err.Error(), "valid duration string") {
		t.Errorf("said twice: %v", err)
	}
}

func TestWhatIsNoRuleFileIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"unknown field":    "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    fro: 1m\n",
		"not YAML":         "groups: [",
		"another shape":    "groups: 3",
		"second document":  "groups: []\n---\ngroups: []\n",
		"NUL":              "groups: []\x00",
		"a bad duration":   "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    for: soon\n",
		"no name":          "groups:\n- rules: []\n",
		"repeated aliases": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := lang.Parse("x.yml", []byte(content))
			f := fault.As(err)
			if f == nil || f.Kind != fault.Invalid || len(f.Fields) == 0 {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "rulefmt.") {
				t.Errorf("speaks of the code: %v", err)
			}
		})
	}
	if _, err := lang.Parse("x.yml", []byte("# a comment\n---\ngroups: []\n")); err != nil {
		t.Errorf("one document with a marker: %v", err)
	}
}

func TestThresholds(t *testing.T) {
	for _, c := range []struct {
		expr, left, op string
		value          float64
		with           string
	}{
		{`up == 0`, `up`, "==", 0, `up == 7.5`},
		{`rate(x[5m]) > 0.05`, `rate(x[5m])`, ">", 0.05, `rate(x[5m]) > 7.5`},
		{`(a / b) < 0.20`, `(a / b)`, "<", 0.2, `(a / b) < 7.5`},
		{`0.2 >= a`, `a`, "<=", 0.2, `7.5 >= a`},
		{`(a > -5) and on (i) b == 1`, `((a)) and on (i) b == 1`, ">", -5, `(a > 7.5) and on (i) b == 1`},
		{`time() - last > 600`, `time() - last`, ">", 600, `time() - last > 7.5`},
	} {
		got, ok := lang.Threshold(c.expr)
		if !ok || got.Left != c.left || got.Op != c.op || got.Value != c.value {
			t.Errorf("%s: %+v %v", c.expr, got, ok)
		}
		if with, err := lang.WithThreshold(c.expr, 7.5); err != nil || with != c.with {
			t.Errorf("%s with another: %q %v", c.expr, with, err)
		}
	}
	for _, expr := range []string{`a > b`, `a`, `a > bool 1`, `1 > 2`, `sum(`, `absent(up)`} {
		if got, ok := lang.Threshold(expr); ok {
			t.Errorf("%s: %+v", expr, got)
		}
		if _, err := lang.WithThreshold(expr, 1); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s with another: %v", expr, err)
		}
	}
}

func TestExpressionsAreChecked(t *testing.T) {
	if err := lang.Check(`sum(up)`); err != nil {
		t.Error(err)
	}
	for expr, want := range map[string]string{`sum(up`: "1:7", `"text"`: "string", `up[5m]`: "matrix", strings.Repeat("a", 20000): "at most"} {
		if err := lang.Check(expr); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v", expr, err)
		}
	}
}

type answers map[string]float64

func (a answers) Instant(_ context.Context, expr string, at time.Time) (metrics.Result, error) {
	v, ok := a[expr]
	if !ok {
		return metrics.Result{}, fault.New(fault.Unavailable, "x", "not now")
	}
	return metrics.Result{Type: metrics.Vector, Series: []metrics.Points{{Labels: map[string]string{"a": "b"}, Points: []metrics.Point{{At: at, Value: v}}}}}, nil
}

func (answers) Range(context.Context, string, metrics.Range) (metrics.Result, error) {
	return metrics.Result{}, nil
}

func TestTemplates(t *testing.T) {
	l := rulefile.Language{Querier: answers{"up": 3}}
	f := alert.Facts{Name: "A", Labels: map[string]string{"agent": "memory"}, Value: 0.25, At: time.Now()}
	for text, want := range map[string]string{
		`{{ $labels.agent }} at {{ $value | humanizePercentage }}`: "memory at 25%",
		`{{ .Value }} {{ $labels.none }}|`:                         "0.25 |",
		`{{ query "up" | first | value }}`:                         "3",
	} {
		if got, err := l.Expand(t.Context(), text, f); err != nil || got != want {
			t.Errorf("%s: %q %v", text, got, err)
		}
	}
	for _, text := range []string{`{{ query "down" }}`, `{{ template "none" }}`, `{{ index .Labels 3 }}`} {
		if got, err := l.Expand(t.Context(), text, f); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
	if _, err := lang.Expand(t.Context(), `{{ query "up" }}`, f); err == nil {
		t.Error("a query without metrics gave an answer")
	}
}

func TestFilesOfThisMachine(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for path, content := range map[string]string{"b.yml": "B", "a.yaml": "A", "notes.txt": "no", ".hidden.yml": "no"} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	single := filepath.Join(other, "b.yml")
	if err := os.WriteFile(single, []byte("twice"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := rulefile.Folder{Paths: []string{dir, filepath.Join(other, "missing"), single, filepath.Join(other, "gone.yml")}}.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range list {
		got = append(got, f.Name+" "+string(f.Content)+" "+string(fault.KindOf(f.Err)))
	}
	if want := "a.yaml A ,b.yml B ,b.yml twice conflict,gone.yml  unavailable"; strings.Join(got, ",") != want {
		t.Errorf("got %q", strings.Join(got, ","))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(broken))
	content, err := os.ReadFile("testdata/platform.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Fuzz(func(t *testing.T, content []byte) {
		groups, err := lang.Parse("f.yml", content)
		if err != nil && (fault.KindOf(err) != fault.Invalid || groups != nil) {
			t.Fatalf("%v with %v", err, groups)
		}
		for _, g := range groups {
			for _, r := range g.Rules {
				if th, ok := lang.Threshold(r.Expr); ok {
					if _, err := lang.WithThreshold(r.Expr, th.Value+1); err != nil {
						t.Fatalf("%s: %v", r.Expr, err)
					}
				}
			}
		}
	})
}
