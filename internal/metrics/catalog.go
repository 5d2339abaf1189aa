package metrics

import (
	"context"
	"time"
)

// Selection picks series: those that match any of the selectors in a span of
// time; all of them without a selector.
type Selection struct {
	Match      []string // selectors of PromQL
	Start, End time.Time
	Limit      int // 0 means 10,000
}

// Metadata is what is known of a metric beside its values.
type Metadata struct {
	Type string `json:"type"` // counter, gauge, histogram, summary or unknown
	Help string `json:"help"`
	Unit string `json:"unit"`
}

// Catalog tells which series there are. Faults as those of Querier.
type Catalog interface {
	// Series gives the labels of the series.
	Series(ctx context.Context, s Selection) ([]map[string]string, error)
	// LabelNames gives the names of their labels, sorted.
	LabelNames(ctx context.Context, s Selection) ([]string, error)
	// LabelValues gives the values of one label, sorted.
	LabelValues(ctx context.Context, name string, s Selection) ([]string, error)
}

// MostSeries is how many entries a Selection gives where it names no limit, and
// at most.
const MostSeries = 10_000

// Most gives the limit of a selection.
func (s Selection) Most() int {
	if s.Limit <= 0 || s.Limit > MostSeries {
		return MostSeries
	}
	return s.Limit
}
