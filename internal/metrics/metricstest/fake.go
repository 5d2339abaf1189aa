// Package metricstest holds the conformance suite that every store of time
// series passes, and one in memory for the tests of other packages.
package metricstest

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/metrics"
)

// Fake keeps series in memory. Of PromQL it knows selectors by equality
// (name{label="value"}), with count(…) or sum(…) around one, and numbers; it
// refuses the rest as it would a mistake.
type Fake struct {
	Limits metrics.Limits
	Fail   error // where set, every method gives it

	mu     sync.Mutex
	series map[string]*metrics.Points
}

const lookback = 5 * time.Minute

// Append implements metrics.Appender.
func (f *Fake) Append(_ context.Context, samples []metrics.Sample) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Fail != nil {
		return f.Fail
	}
	for _, s := range samples {
		if err := metrics.CheckLabels(s.Labels); err != nil {
			return err
		}
	}
	if f.series == nil {
		f.series = map[string]*metrics.Points{}
	}
	for _, s := range samples {
		key := metrics.Key(s.Labels)
		p := f.series[key]
		if p == nil {
			p = &metrics.Points{Labels: maps.Clone(s.Labels)}
			f.series[key] = p
		}
		at := s.At.UTC().Truncate(time.Millisecond)
		if n := len(p.Points); n == 0 || p.Points[n-1].At.Before(at) {
			p.Points = append(p.Points, metrics.Point{At: at, Value: s.Value})
		}
	}
	return nil
}

// SetFail makes every later call fail with err, or work again for nil.
func (f *Fake) SetFail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Fail = err
}

// Instant implements metrics.Querier.
func (f *Fake) Instant(_ context.Context, expr string, at time.Time) (metrics.Result, error) {
	e, err := f.parse(expr)
	if err != nil {
		return metrics.Result{}, err
	}
	if e.number != nil {
		return metrics.Result{Type: metrics.Scalar, Series: []metrics.Points{{Points: []metrics.Point{{At: at, Value: *e.number}}}}}, nil
	}
	out := metrics.Result{Type: metrics.Vector}
	out.Series = append(out.Series, f.eval(e, at)...)
	return out, nil
}

// Range implements metrics.Querier.
func (f *Fake) Range(_ context.Context, expr string, r metrics.Range) (metrics.Result, error) {
	e, err := f.parse(expr)
	if err != nil {
		return metrics.Result{}, err
	}
	if err := f.Limits.Complete().CheckRange(r); err != nil {
		return metrics.Result{}, err
	}
	byKey := map[string]*metrics.Points{}
	var keys []string
	for at := r.Start; !at.After(r.End); at = at.Add(r.Step) {
		for _, s := range f.eval(e, at) {
			key := metrics.Key(s.Labels)
			if byKey[key] == nil {
				byKey[key] = &metrics.Points{Labels: s.Labels}
				keys = append(keys, key)
			}
			byKey[key].Points = append(byKey[key].Points, s.Points...)
		}
	}
	out := metrics.Result{Type: metrics.Matrix}
	slices.Sort(keys)
	for _, key := range keys {
		out.Series = append(out.Series, *byKey[key])
	}
	return out, nil
}

// query is an expression that the fake understands.
type query struct {
	number *float64
	want   map[string]string
	sum    string // count, sum or nothing
}

var (
	shape = regexp.MustCompile(`^\s*(?:(count|sum)\s*\()?\s*([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?:\{([^{}]*)\})?\s*(\))?\s*$`)
	pair  = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"([^"\\]*)"\s*$`)
)

func (f *Fake) parse(expr string) (query, error) {
	f.mu.Lock()
	fail := f.Fail
	f.mu.Unlock()
	if fail != nil {
		return query{}, fail
	}
	if err := f.Limits.Complete().CheckExpr(expr); err != nil {
		return query{}, err
	}
	if n, err := strconv.ParseFloat(strings.TrimSpace(expr), 64); err == nil {
		return query{number: &n}, nil
	}
	m := shape.FindStringSubmatch(expr)
	if m == nil || (m[1] == "") != (m[4] == "") || m[2] == "" && m[3] == "" {
		return query{}, metrics.Misread(expr, len(expr), "the fake does not know this form of expression")
	}
	e := query{want: map[string]string{}, sum: m[1]}
	if m[2] != "" {
		e.want[metrics.LabelName] = m[2]
	}
	for part := range strings.SplitSeq(m[3], ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		p := pair.FindStringSubmatch(part)
		if p == nil {
			return query{}, metrics.Misread(expr, strings.Index(expr, part), "the fake knows no such matcher")
		}
		e.want[p[1]] = p[2]
	}
	return e, nil
}

// eval gives a point of each series that counts at the time.
func (f *Fake) eval(e query, at time.Time) []metrics.Points {
	if e.number != nil {
		return []metrics.Points{{Labels: map[string]string{}, Points: []metrics.Point{{At: at, Value: *e.number}}}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []metrics.Points
	for _, key := range slices.Sorted(maps.Keys(f.series)) {
		s := f.series[key]
		if !matches(s.Labels, e.want) {
			continue
		}
		n, found := slices.BinarySearchFunc(s.Points, at, func(p metrics.Point, at time.Time) int { return p.At.Compare(at) })
		if !found {
			n--
		}
		if n < 0 || !s.Points[n].At.After(at.Add(-lookback)) || metrics.IsStale(s.Points[n].Value) {
			continue
		}
		out = append(out, metrics.Points{Labels: s.Labels, Points: []metrics.Point{{At: at, Value: s.Points[n].Value}}})
	}
	if e.sum == "" || len(out) == 0 {
		return out
	}
	var sum float64
	for _, s := range out {
		sum += s.Points[0].Value
	}
	if e.sum == "count" {
		sum = float64(len(out))
	}
	return []metrics.Points{{Labels: map[string]string{}, Points: []metrics.Point{{At: at, Value: sum}}}}
}

func matches(labels, want map[string]string) bool {
	for name, value := range want {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// Series implements metrics.Catalog; the times of a selection do not count.
func (f *Fake) Series(_ context.Context, s metrics.Selection) ([]map[string]string, error) {
	var wants []query
	for _, m := range s.Match {
		q, err := f.parse(m)
		if err != nil {
			return nil, err
		}
		wants = append(wants, q)
	}
	out := []map[string]string{}
	for _, p := range f.All() {
		fits := len(wants) == 0 || slices.ContainsFunc(wants, func(q query) bool { return matches(p.Labels, q.want) })
		if fits && len(out) < s.Most() {
			out = append(out, p.Labels)
		}
	}
	return out, nil
}

// LabelNames implements metrics.Catalog.
func (f *Fake) LabelNames(ctx context.Context, s metrics.Selection) ([]string, error) {
	return f.words(ctx, s, func(labels map[string]string) []string { return slices.Collect(maps.Keys(labels)) })
}

// LabelValues implements metrics.Catalog.
func (f *Fake) LabelValues(ctx context.Context, name string, s metrics.Selection) ([]string, error) {
	return f.words(ctx, s, func(labels map[string]string) []string {
		if v, ok := labels[name]; ok {
			return []string{v}
		}
		return nil
	})
}

func (f *Fake) words(ctx context.Context, s metrics.Selection, of func(map[string]string) []string) ([]string, error) {
	series, err := f.Series(ctx, s)
	out := []string{}
	for _, labels := range series {
		out = append(out, of(labels)...)
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

// All gives all that is kept, by the key of its labels.
func (f *Fake) All() []metrics.Points {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []metrics.Points
	for _, key := range slices.Sorted(maps.Keys(f.series)) {
		s := f.series[key]
		out = append(out, metrics.Points{Labels: s.Labels, Points: slices.Clone(s.Points)})
	}
	return out
}
