package metricstest

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// Store is what the suite is about.
type Store interface {
	metrics.Querier
	metrics.Appender
	metrics.Catalog
}

// Run holds a store to what is promised of every one. fresh gives one that is
// empty; settle, which may be nil, waits until what was appended can be found.
func Run(t *testing.T, fresh func(t *testing.T) Store, settle func(t *testing.T, s Store)) {
	if settle == nil {
		settle = func(*testing.T, Store) {}
	}
	cases := map[string]func(*bench){
		"what was appended is found by its labels":   found,
		"a range has a value at both ends":           ranges,
		"the end of a series is kept to":             ends,
		"a sample with a later one before it is not": order,
		"expressions that make no sense are refused": nonsense,
		"what asks for too much is refused":          limits,
		"labels that can't be are refused":           labelled,
		"numbers are numbers":                        numbers,
		"the catalog knows what there is":            catalog,
	}
	for name, check := range cases {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			check(&bench{T: t, Store: s, settle: func() { settle(t, s) }, now: time.Now().UTC().Truncate(time.Second)})
		})
	}
}

// bench is one store under test.
type bench struct {
	*testing.T
	Store
	settle func()
	now    time.Time
}

func (b *bench) put(name string, labels map[string]string, ago time.Duration, v float64) {
	b.Helper()
	all := map[string]string{metrics.LabelName: name}
	for k, l := range labels {
		all[k] = l
	}
	if err := b.Append(b.Context(), []metrics.Sample{{Labels: all, At: b.now.Add(-ago), Value: v}}); err != nil {
		b.Fatal(err)
	}
}

// at gives the values by the label "agent" at a time.
func (b *bench) at(expr string, ago time.Duration) map[string]float64 {
	b.Helper()
	r, err := b.Instant(b.Context(), expr, b.now.Add(-ago))
	if err != nil {
		b.Fatal(err)
	}
	out := map[string]float64{}
	for _, s := range r.Series {
		if len(s.Points) != 1 {
			b.Fatalf("%v has %d points at one moment", s.Labels, len(s.Points))
		}
		out[s.Labels["agent"]] = s.Points[0].Value
	}
	return out
}

func (b *bench) want(got map[string]float64, want map[string]float64) {
	b.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.Errorf("got %v, want %v", got, want)
	}
}

func found(b *bench) {
	b.put("up", map[string]string{"agent": "a"}, time.Minute, 1)
	b.put("up", map[string]string{"agent": "b"}, time.Minute, 0)
	b.put("down", map[string]string{"agent": "a"}, time.Minute, 7)
	b.settle()
	b.want(b.at("up", 0), map[string]float64{"a": 1, "b": 0})
	b.want(b.at(`up{agent="b"}`, 0), map[string]float64{"b": 0})
	b.want(b.at(`{agent="a",__name__="down"}`, 0), map[string]float64{"a": 7})
	b.want(b.at("count(up)", 0), map[string]float64{"": 2})
	b.want(b.at("nothing", 0), map[string]float64{})
	b.want(b.at("up", 2*time.Minute), map[string]float64{})
	b.want(b.at("up", -10*time.Minute), map[string]float64{})
}

func ranges(b *bench) {
	for i := range 5 {
		b.put("n", map[string]string{"agent": "a"}, time.Duration(4-i)*time.Minute, float64(i))
	}
	b.settle()
	r, err := b.Range(b.Context(), "n", metrics.Range{Start: b.now.Add(-4 * time.Minute), End: b.now, Step: 2 * time.Minute})
	if err != nil || r.Type != metrics.Matrix || len(r.Series) != 1 {
		b.Fatalf("%+v, %v", r, err)
	}
	got := ""
	for _, p := range r.Series[0].Points {
		got += fmt.Sprintf("%v=%v ", p.At.Sub(b.now), p.Value)
	}
	if want := "-4m0s=0 -2m0s=2 0s=4 "; got != want {
		b.Errorf("got %q, want %q", got, want)
	}
}

func ends(b *bench) {
	b.put("up", map[string]string{"agent": "a"}, 2*time.Minute, 1)
	b.put("up", map[string]string{"agent": "a"}, time.Minute, metrics.Stale())
	b.settle()
	b.want(b.at("up", 90*time.Second), map[string]float64{"a": 1})
	b.want(b.at("up", 30*time.Second), map[string]float64{})
	b.put("up", map[string]string{"agent": "a"}, 0, 1)
	b.settle()
	b.want(b.at("up", 0), map[string]float64{"a": 1})
}

func order(b *bench) {
	b.put("n", map[string]string{"agent": "a"}, time.Minute, 1)
	b.put("n", map[string]string{"agent": "a"}, 2*time.Minute, 2)
	b.put("n", map[string]string{"agent": "a"}, time.Minute, 3)
	b.put("n", map[string]string{"agent": "b"}, 0, 4)
	b.settle()
	b.want(b.at("n", 0), map[string]float64{"a": 1, "b": 4})
	b.want(b.at("n", 90*time.Second), map[string]float64{})
}

func nonsense(b *bench) {
	for _, expr := range []string{"", "  ", "up{", "sum(", "up{agent=}", "}{", "\x00"} {
		_, err := b.Instant(b.Context(), expr, b.now)
		if !fault.Is(err, fault.Invalid) || len(fault.As(err).Fields) == 0 || fault.As(err).Fields[0].Path != "query" {
			b.Errorf("%q: %v", expr, err)
		}
	}
	for _, r := range []metrics.Range{
		{Start: b.now, End: b.now.Add(-time.Minute), Step: time.Second},
		{Start: b.now, End: b.now, Step: 0},
		{Start: b.now, End: b.now.AddDate(1000, 0, 0), Step: time.Hour},
	} {
		if _, err := b.Range(b.Context(), "up", r); !fault.Is(err, fault.Invalid) {
			b.Errorf("%+v: %v", r, err)
		}
	}
}

func limits(b *bench) {
	if _, err := b.Range(b.Context(), "up", metrics.Range{Start: b.now.Add(-24 * time.Hour), End: b.now, Step: time.Second}); !fault.Is(err, fault.TooLarge) {
		b.Errorf("86,401 points: %v", err)
	}
	if _, err := b.Instant(b.Context(), strings.Repeat("(", 20_000), b.now); !fault.Is(err, fault.TooLarge) {
		b.Errorf("20,000 bytes: %v", err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	if err := b.Append(ctx, nil); err != nil {
		b.Errorf("nothing appended: %v", err)
	}
}

func labelled(b *bench) {
	many := map[string]string{metrics.LabelName: "x"}
	for i := range 100 {
		many[fmt.Sprintf("label_%d", i)] = "v"
	}
	for what, labels := range map[string]map[string]string{
		"no name": {"agent": "a"}, "many": many,
		"long":    {metrics.LabelName: "x", "agent": strings.Repeat("a", 5000)},
		"garbage": {metrics.LabelName: "x", "agent": "\xff"},
	} {
		if err := b.Append(b.Context(), []metrics.Sample{{Labels: labels, At: b.now, Value: 1}}); !fault.Is(err, fault.Invalid) {
			b.Errorf("%s: %v", what, err)
		}
	}
}

func numbers(b *bench) {
	r, err := b.Instant(b.Context(), "42", b.now)
	if err != nil || r.Type != metrics.Scalar || len(r.Series) != 1 || r.Series[0].Points[0].Value != 42 {
		b.Errorf("%+v, %v", r, err)
	}
	b.put("n", map[string]string{"agent": "a"}, 0, math.Inf(1))
	b.put("n", map[string]string{"agent": "b"}, 0, math.NaN())
	b.settle()
	if got := b.at("n", 0); !math.IsInf(got["a"], 1) || !math.IsNaN(got["b"]) {
		b.Errorf("got %v", got)
	}
}

func catalog(b *bench) {
	for _, agent := range []string{"b", "a"} {
		for _, name := range []string{"up", "down"} {
			b.put(name, map[string]string{"agent": agent}, 0, 1)
		}
	}
	b.settle()
	all := metrics.Selection{Start: b.now.Add(-time.Hour), End: b.now.Add(time.Second)}
	check := func(what string, got any, err error, want string) {
		b.Helper()
		if fmt.Sprint(got) != want || err != nil {
			b.Errorf("%s: %v, %v, want %s", what, got, err, want)
		}
	}
	some := all
	some.Match = []string{`up{agent="a"}`, `{agent="a"}`}
	names, err := b.LabelNames(b.Context(), some)
	check("names", names, err, "[__name__ agent]")
	some.Match = []string{`up`, `down`}
	values, err := b.LabelValues(b.Context(), "agent", some)
	check("values", values, err, "[a b]")
	some.Match = []string{`up{agent="a"}`, `down{agent="a"}`}
	series, err := b.Series(b.Context(), some)
	check("series", series, err, "[map[__name__:down agent:a] map[__name__:up agent:a]]")
	values, err = b.LabelValues(b.Context(), "agent", some)
	check("values of some", values, err, "[a]")
	some.Limit = 1
	if series, err = b.Series(b.Context(), some); len(series) != 1 || err != nil {
		b.Errorf("limited: %v, %v", series, err)
	}
	some.Match = []string{"up{"}
	if _, err := b.Series(b.Context(), some); !fault.Is(err, fault.Invalid) {
		b.Errorf("a mistake: %v", err)
	}
	if _, err := b.LabelNames(b.Context(), all); err != nil {
		b.Errorf("all: %v", err)
	}
}
