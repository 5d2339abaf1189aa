package scrape

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/waooaw/platform-portal/internal/metrics"
)

// Samples gives what a registry gathered as samples.
func Samples(families []*dto.MetricFamily) []metrics.Sample {
	byName := make(map[string]*dto.MetricFamily, len(families))
	for _, f := range families {
		byName[f.GetName()] = f
	}
	out, _, _, _ := flatten(byName)
	return out
}

// maxHelp is how much of an explanation is kept.
const maxHelp = 200

// flat is a page as single values.
type flat struct {
	samples []metrics.Sample
	grows   map[string]bool
	about   map[string]metrics.Metadata
	refused *metrics.Refusal
}

// flatten makes single values of families, as a scraper stores them: a
// histogram is a counter for each bucket, and two more.
func flatten(families map[string]*dto.MetricFamily) ([]metrics.Sample, map[string]bool, map[string]metrics.Metadata, *metrics.Refusal) {
	f := flat{grows: map[string]bool{}, about: map[string]metrics.Metadata{}}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		family := families[name]
		kind := strings.ToLower(family.GetType().String())
		if kind == "untyped" {
			kind = "unknown"
		}
		help := shown(family.GetHelp())
		f.about[name] = metrics.Metadata{Type: kind, Help: help[:min(len(help), maxHelp)]}
		for _, m := range family.Metric {
			f.metric(name, m)
		}
	}
	if f.refused != nil {
		return nil, nil, nil, f.refused
	}
	return f.samples, f.grows, f.about, nil
}

func (f *flat) metric(name string, m *dto.Metric) {
	switch {
	case m.Counter != nil:
		f.grows[name] = true
		f.add(name, m, m.GetCounter().GetValue())
	case m.Gauge != nil:
		f.add(name, m, m.GetGauge().GetValue())
	case m.Histogram != nil:
		f.histogram(name, m)
	case m.Summary != nil:
		s := m.GetSummary()
		for _, q := range s.Quantile {
			f.add(name, m, q.GetValue(), "quantile", number(q.GetQuantile()))
		}
		f.totals(name, m, float64(s.GetSampleCount()), s.GetSampleSum())
	default:
		f.add(name, m, m.GetUntyped().GetValue())
	}
}

func (f *flat) histogram(name string, m *dto.Metric) {
	h := m.GetHistogram()
	f.grows[name+"_bucket"] = true
	total := max(h.GetSampleCountFloat(), float64(h.GetSampleCount()))
	last := false
	for _, b := range h.Bucket {
		last = last || math.IsInf(b.GetUpperBound(), 1)
		f.add(name+"_bucket", m, max(b.GetCumulativeCountFloat(), float64(b.GetCumulativeCount())), "le", number(b.GetUpperBound()))
	}
	if !last {
		f.add(name+"_bucket", m, total, "le", "+Inf")
	}
	f.totals(name, m, total, h.GetSampleSum())
}

func (f *flat) totals(name string, m *dto.Metric, count, sum float64) {
	f.grows[name+"_count"], f.grows[name+"_sum"] = true, true
	f.add(name+"_count", m, count)
	f.add(name+"_sum", m, sum)
}

// add takes one value in; more are further labels and their values.
func (f *flat) add(name string, m *dto.Metric, v float64, more ...string) {
	if f.refused != nil {
		return
	}
	labels := make(map[string]string, len(m.Label)+len(more)/2+5) // room for those of the portal
	for _, l := range m.Label {
		if l.GetValue() != "" {
			labels[l.GetName()] = l.GetValue()
		}
	}
	for i := 0; i < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	labels[metrics.LabelName] = name
	if err := metrics.CheckLabels(labels); err != nil {
		f.refused = refuse(shown(name), "GET /metrics: %s", shown(err.Error()))
		return
	}
	f.samples = append(f.samples, metrics.Sample{Labels: labels, Value: v})
}

// number writes a bound as the text format does.
func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
