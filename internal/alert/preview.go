package alert

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// The limits of previews.
const (
	previewPoints = 240
	previewSeries = 20
	maxLookBack   = 7 * 24 * time.Hour
)

// Look is a rule as it might be, and how far back it is tried.
type Look struct {
	Expr string
	// Threshold takes the place of the number that the expression compares with.
	Threshold *float64
	For       time.Duration
	Back      time.Duration // an hour if 0
}

// Span is a time during which an alert would have fired.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Tried is one series of a preview.
type Tried struct {
	Labels map[string]string `json:"labels"`
	Points []metrics.Point   `json:"-"`
	Spans  []Span            `json:"would_have_fired"`
}

// Preview is when a rule would have fired.
type Preview struct {
	Start     time.Time     `json:"start"`
	End       time.Time     `json:"end"`
	Step      time.Duration `json:"-"`
	Operator  string        `json:"operator,omitempty"`
	Threshold *float64      `json:"threshold,omitempty"`
	// Alerts is how often any series would have begun to fire, Series how many
	// series there are; only those that fired most are given.
	Alerts int     `json:"alerts"`
	Series int     `json:"series"`
	List   []Tried `json:"list"`
}

// Preview tries a rule on what was. Invalid names the place in an expression that
// can't be asked; Unavailable is for a portal without metrics.
func (s *Service) Preview(ctx context.Context, l Look) (*Preview, error) {
	if s.Querier == nil {
		return nil, fault.New(fault.Unavailable, "alert.no_metrics", "No metrics are kept").Do("Configure where they are.")
	}
	if err := s.Language.Check(l.Expr); err != nil {
		return nil, err
	}
	if l.Threshold != nil {
		var err error
		if l.Expr, err = s.Language.WithThreshold(l.Expr, *l.Threshold); err != nil {
			return nil, err
		}
	}
	l.Back = cmp.Or(l.Back, time.Hour)
	if l.Back < time.Minute || l.Back > maxLookBack || l.For < 0 {
		return nil, fault.New(fault.Invalid, "alert.preview", "The rule can't be tried").
			At(fault.Field{Path: "hours", Message: "must be 1 minute to 7 days"})
	}
	end := s.Now().Truncate(time.Second)
	step := max(l.Back/previewPoints, 5*time.Second).Truncate(time.Second)
	p := &Preview{Start: end.Add(-l.Back), End: end, Step: step, List: []Tried{}}
	expr := l.Expr
	limit, compares := s.Language.Threshold(l.Expr)
	if compares {
		expr, p.Operator, p.Threshold = limit.Left, limit.Op, &limit.Value
	}
	result, err := s.Querier.Range(ctx, expr, metrics.Range{Start: p.Start, End: p.End, Step: step})
	if err != nil {
		return nil, err
	}
	p.Series = len(result.Series)
	for _, one := range result.Series {
		t := Tried{Labels: one.Labels, Points: one.Points, Spans: []Span{}}
		holds := func(v float64) bool { return !compares || limit.Holds(v) }
		t.Spans = spans(one.Points, step, l.For, holds)
		p.Alerts += len(t.Spans)
		p.List = append(p.List, t)
	}
	slices.SortStableFunc(p.List, func(a, b Tried) int {
		return cmp.Or(cmp.Compare(long(b.Spans), long(a.Spans)), cmp.Compare(peak(b, limit.Op), peak(a, limit.Op)))
	})
	p.List = p.List[:min(len(p.List), previewSeries)]
	return p, nil
}

// spans gives the times at which the condition had held for long enough.
func spans(points []metrics.Point, step, hold time.Duration, holds func(float64) bool) []Span {
	out := []Span{}
	var since, last time.Time
	end := func() {
		if !since.IsZero() && last.Sub(since) >= hold {
			out = append(out, Span{From: since.Add(hold), To: last.Add(step)})
		}
		since = time.Time{}
	}
	for _, p := range points {
		if !since.IsZero() && p.At.Sub(last) > step+step/2 {
			end() // a gap
		}
		if metrics.IsStale(p.Value) || !holds(p.Value) {
			end()
			continue
		}
		if since.IsZero() {
			since = p.At
		}
		last = p.At
	}
	end()
	return out
}

func long(list []Span) time.Duration {
	var sum time.Duration
	for _, s := range list {
		sum += s.To.Sub(s.From)
	}
	return sum
}

// peak is the value that came closest to the threshold, or went furthest past it.
func peak(t Tried, op string) float64 {
	best := math.Inf(-1)
	for _, p := range t.Points {
		v := p.Value
		if op == "<" || op == "<=" {
			v = -v
		}
		best = max(best, v)
	}
	return best
}
