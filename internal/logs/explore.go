package logs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Histogram gives how many entries there are over time, in at most buckets steps
// of one length, those without any too.
func (s *Service) Histogram(ctx context.Context, q Query, buckets int) ([]Bucket, time.Duration, error) {
	if err := s.check(&q); err != nil {
		return nil, 0, err
	}
	step := stepOf(q.Until.Sub(q.Since), min(max(buckets, 1), MaxBuckets))
	ctx, done, err := s.slot(ctx, queryTime)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	found, err := s.Store.Count(ctx, q, step)
	if err != nil {
		return nil, 0, slow(ctx, err)
	}
	by := make(map[int64]Bucket, len(found))
	for _, b := range found {
		by[b.At.UnixNano()] = b
	}
	var out []Bucket
	for at := q.Since.Truncate(step); at.Before(q.Until) && len(out) < MaxBuckets+2; at = at.Add(step) {
		b, ok := by[at.UnixNano()]
		if !ok {
			b = Bucket{At: at, Counts: map[Level]int{}}
		}
		b.At = at.UTC()
		out = append(out, b)
	}
	return out, step, nil
}

var steps = []time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour,
}

// stepOf gives a step of a round length with at most n of them in the span.
func stepOf(span time.Duration, n int) time.Duration {
	for _, s := range steps {
		if span <= s*time.Duration(n) {
			return s
		}
	}
	return steps[len(steps)-1]
}

// Fields names the fields that entries have; of one field its most frequent values.
func (s *Service) Fields(ctx context.Context, q Query, field string, limit int) ([]Value, error) {
	if err := s.check(&q); err != nil {
		return nil, err
	}
	if len(field) > maxName {
		return nil, fault.New(fault.Invalid, "logs.query", "The field can't be looked up").
			At(fault.Field{Path: "query.field", Message: fmt.Sprintf("must be at most %d characters", maxName)})
	}
	ctx, done, err := s.slot(ctx, queryTime)
	if err != nil {
		return nil, err
	}
	defer done()
	limit = min(max(limit, 1), MaxPage)
	var list []Value
	if field == "" {
		list, err = s.Store.Fields(ctx, q)
	} else {
		list, err = s.Store.Values(ctx, q, field, limit)
	}
	if err != nil {
		return nil, slow(ctx, err)
	}
	slices.SortFunc(list, func(a, b Value) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	return list[:min(limit, len(list))], nil
}
