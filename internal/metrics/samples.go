package metrics

import (
	"context"
	"math"
	"slices"
	"time"
)

// LabelName is the label that holds the name of the metric.
const LabelName = "__name__"

// Sample is one value of one series at one moment.
type Sample struct {
	Labels map[string]string // with LabelName
	At     time.Time
	Value  float64
}

// Result is what a query gives.
type Result struct {
	Type     ResultType
	Series   []Points // of a vector, a matrix or a scalar; a point each but in a matrix
	Text     string   // of a string
	Warnings []string // what the answer lacks or may mislead in
}

// ResultType says what a query gave.
type ResultType string

// The types of results.
const (
	Vector ResultType = "vector" // one value of each series
	Matrix ResultType = "matrix" // values of each series over time
	Scalar ResultType = "scalar" // one number
	Text   ResultType = "string"
)

// Points are the values of one series, by time.
type Points struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a moment.
type Point struct {
	At    time.Time
	Value float64
}

// Range is the time that a query is evaluated over, a value every Step, both
// ends included.
type Range struct {
	Start, End time.Time
	Step       time.Duration
}

// Querier answers PromQL, from the embedded store or an outside server. Faults:
// Invalid for an expression that can't be evaluated, with the place in it named;
// TooLarge if it would read or give too much, or take too long; Unavailable.
type Querier interface {
	// Instant evaluates at one moment.
	Instant(ctx context.Context, expr string, at time.Time) (Result, error)
	// Range evaluates over a span of time; its result is a matrix.
	Range(ctx context.Context, expr string, r Range) (Result, error)
}

// Appender stores samples. A sample of a time for which its series has a later
// one is left out. Faults: Unavailable if they can't be kept now, Invalid for
// labels that can't be.
type Appender interface {
	Append(ctx context.Context, samples []Sample) error
}

// staleBits is the NaN that Prometheus knows as the end of a series.
const staleBits = 0x7ff0000000000002

// Stale is the value that ends a series: from its time on, queries do not find
// it until it has another.
func Stale() float64 { return math.Float64frombits(staleBits) }

// IsStale tells whether a value ends a series.
func IsStale(v float64) bool { return math.Float64bits(v) == staleBits }

// Key gives the same text for the same labels, and another for others.
func Key(labels map[string]string) string {
	names := make([]string, 0, len(labels))
	size := 0
	for name, value := range labels {
		names = append(names, name)
		size += len(name) + len(value) + 2
	}
	slices.Sort(names)
	b := make([]byte, 0, size)
	for _, name := range names {
		b = append(append(append(append(b, name...), 0xff), labels[name]...), 0xfe) // no UTF-8 has these
	}
	return string(b)
}
