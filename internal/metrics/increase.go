package metrics

import (
	"math"
	"slices"
)

// The statuses of the contract; others count as done.
const statusFailed = "failed"

// Limits on what one agent may make the portal keep.
const (
	maxKinds   = 8  // kinds of tokens, and statuses of tasks
	maxBuckets = 24 // of the histogram
	other      = "other"
)

// increase is what was added between two pages of one run.
type increase struct {
	tasks, tokens map[string]float64
	cost, cpu     *float64
	bounds        []float64
	buckets       []float64 // by bucket, not cumulative; the last is beyond all bounds
}

// grown gives what was added since an earlier value of a counter. A counter
// that fell was reset: it counts from 0 again.
func grown(before, now float64) float64 {
	if now < before {
		return now
	}
	return now - before
}

// since gives what was added from one page of a run to the next. A counter that
// the earlier page lacks has begun at 0 since.
func (p Page) since(before Page) increase {
	in := increase{tasks: grownBy(before.Tasks, p.Tasks), tokens: grownBy(before.Tokens, p.Tokens)}
	if p.Cost != nil {
		in.cost = new(grown(or(before.Cost), *p.Cost))
	}
	if p.CPU != nil {
		in.cpu = new(grown(or(before.CPU), *p.CPU))
	}
	if p.Duration != nil && len(p.Duration.Bounds) <= maxBuckets {
		in.bounds, in.buckets = p.Duration.Bounds, p.Duration.since(before.Duration)
	}
	return in
}

func or(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}

// since gives what was added to each bucket, not cumulative.
func (h *Histogram) since(before *Histogram) []float64 {
	if before == nil || h.Total < before.Total || !slices.Equal(h.Bounds, before.Bounds) {
		before = &Histogram{Counts: make([]float64, len(h.Bounds))}
	}
	out := make([]float64, 0, len(h.Bounds)+1)
	var below float64
	for i := range len(h.Bounds) + 1 {
		upTo := h.Total - before.Total
		if i < len(h.Bounds) {
			upTo = h.Counts[i] - before.Counts[i]
		}
		out = append(out, max(0, upTo-below))
		below = max(below, upTo)
	}
	return out
}

func grownBy(before, now map[string]float64) map[string]float64 {
	if now == nil {
		return nil
	}
	out := make(map[string]float64, len(now))
	for label, v := range now {
		out[label] = grown(before[label], v)
	}
	return out
}

// bounded gives the page with at most maxKinds labels a counter: the first by
// name stay, the rest are summed up as "other".
func (p Page) bounded() Page {
	p.Tasks, p.Tokens = fewer(p.Tasks), fewer(p.Tokens)
	return p
}

func fewer(m map[string]float64) map[string]float64 {
	if len(m) <= maxKinds {
		return m
	}
	labels := make([]string, 0, len(m))
	for l := range m {
		if l != statusFailed {
			labels = append(labels, l)
		}
	}
	slices.Sort(labels)
	out := map[string]float64{}
	if v, ok := m[statusFailed]; ok {
		out[statusFailed] = v
	}
	for i, l := range labels {
		if i >= maxKinds-2 {
			l = other
		}
		out[l] += m[labels[i]]
	}
	return out
}

// quantile finds the bound that the share q of the observations keeps, within
// the bucket by proportion; nil without observations.
func quantile(q float64, bounds, buckets []float64) *Quantile {
	var total float64
	for _, n := range buckets {
		total += n
	}
	if total <= 0 || len(bounds) == 0 {
		return nil
	}
	rank, seen, lower := q*total, 0.0, 0.0
	for i, bound := range bounds {
		if n := buckets[i]; n > 0 && seen+n >= rank {
			from := min(lower, bound)
			return &Quantile{Seconds: from + (bound-from)*(rank-seen)/n}
		}
		seen += buckets[i]
		lower = bound
	}
	return &Quantile{Seconds: bounds[len(bounds)-1], AtLeast: true}
}

// tally adds up observations of histograms whose bounds may differ.
type tally map[float64]float64

// know makes bounds known in which nothing was observed, so that what lies
// between two bounds is not spread further than the histogram said.
func (t tally) know(bounds []float64) {
	for _, b := range bounds {
		t[b] += 0
	}
}

func (t tally) quantile(q float64) *Quantile {
	bounds := make([]float64, 0, len(t))
	for b := range t {
		if !math.IsInf(b, 1) {
			bounds = append(bounds, b)
		}
	}
	slices.Sort(bounds)
	buckets := make([]float64, 0, len(t)+1)
	for _, b := range bounds {
		buckets = append(buckets, t[b])
	}
	return quantile(q, bounds, append(buckets, t[math.Inf(1)]))
}
