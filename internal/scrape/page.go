package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/waooaw/platform-portal/internal/metrics"
)

// The metrics that are read; an agent may have any others beside them.
const (
	tasksTotal  = "agent_tasks_total"
	taskSeconds = "agent_task_duration_seconds"
	tokensTotal = "agent_tokens_total"
	costTotal   = "agent_cost_usd_total"
	cpuSeconds  = "process_cpu_seconds_total"
	memoryBytes = "process_resident_memory_bytes"
)

var names = map[string]bool{
	tasksTotal: true, taskSeconds: true, tokensTotal: true, costTotal: true, cpuSeconds: true, memoryBytes: true,
	taskSeconds + "_bucket": true, taskSeconds + "_sum": true, taskSeconds + "_count": true,
}

// read takes in a page. If a line of it makes no sense nothing of it is stored;
// the metrics of the contract are still read, so that a mistake elsewhere does
// not hide what the agent does.
func (c Client) read(body []byte) (metrics.Page, error) {
	series, limit := 0, def(c.MaxSeries, defaultMaxSeries)
	var ours bytes.Buffer
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if line[0] != '#' {
			series++
		}
		if names[string(nameOf(line))] {
			ours.Write(line)
			ours.WriteByte('\n')
		}
	}
	if series > limit {
		most := largest(body, false)
		return metrics.Page{}, refuse(most, "GET /metrics: %d series, and %d are allowed; most are of %s", series, limit, most)
	}
	contract := ours.Len() > 0
	all, refused := parse(body)
	found := all
	if refused != nil {
		var err error
		if found, err = textParser().TextToMetricFamilies(&ours); err != nil {
			return metrics.Page{}, refused
		}
	}
	p := pageOf(found)
	if refused == nil {
		p.Samples, p.Grows, p.About, refused = flatten(all)
	}
	if p.Refused = refused; refused != nil {
		p.Dropped = append(p.Dropped, "nothing is stored: "+refused.Why)
	}
	if !contract {
		return p, none("GET /metrics has none of the metrics of an agent")
	}
	return p, nil
}

func textParser() *expfmt.TextParser {
	p := expfmt.NewTextParser(model.UTF8Validation)
	return &p
}

// parse reads the text format; what makes no sense is named with its line.
func parse(body []byte) (map[string]*dto.MetricFamily, *metrics.Refusal) {
	found, err := textParser().TextToMetricFamilies(bytes.NewReader(body))
	if err == nil {
		return found, nil
	}
	var p expfmt.ParseError
	if !errors.As(err, &p) {
		return nil, refuse("", "GET /metrics is not Prometheus text: %s", shown(err.Error()))
	}
	var line []byte
	n := 0
	for l := range bytes.Lines(body) {
		if n++; n == p.Line {
			line = bytes.TrimSpace(l)
			break
		}
	}
	return nil, refuse(shown(string(nameOf(line))), "GET /metrics is not Prometheus text: %s in line %d, %q", shown(p.Msg), p.Line, shown(string(line)))
}

// pageOf takes the figures out. A value that can't be is left out and named.
func pageOf(found map[string]*dto.MetricFamily) metrics.Page {
	var p metrics.Page
	p.Tasks = byLabel(found[tasksTotal], "status", &p.Dropped)
	p.Tokens = byLabel(found[tokensTotal], "kind", &p.Dropped)
	p.Cost = single(found[costTotal], &p.Dropped)
	p.CPU = single(found[cpuSeconds], &p.Dropped)
	p.Memory = single(found[memoryBytes], &p.Dropped)
	p.Duration = histogram(found[taskSeconds], &p.Dropped)
	return p
}

// valueOf gives the value of a counter, gauge or untyped metric.
func valueOf(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	case m.Untyped != nil:
		return m.GetUntyped().GetValue()
	}
	return math.NaN()
}

// usable tells whether a figure can be: a number, not negative, finite.
func usable(v float64, name string, dropped *[]string) bool {
	if v >= 0 && !math.IsInf(v, 0) {
		return true
	}
	*dropped = append(*dropped, fmt.Sprintf("%s is left out: its value %v is not an amount", name, v))
	return false
}

// byLabel sums a metric up by the value of one label; nil if it is not there.
func byLabel(f *dto.MetricFamily, label string, dropped *[]string) map[string]float64 {
	if f == nil {
		return nil
	}
	out := map[string]float64{}
	for _, m := range f.Metric {
		v := valueOf(m)
		if !usable(v, f.GetName(), dropped) {
			return nil
		}
		key := ""
		for _, l := range m.Label {
			if l.GetName() == label {
				key = shown(l.GetValue())
			}
		}
		out[key] += v
	}
	return out
}

// single sums a metric up; nil if it is not there.
func single(f *dto.MetricFamily, dropped *[]string) *float64 {
	if f == nil {
		return nil
	}
	var sum float64
	for _, m := range f.Metric {
		v := valueOf(m)
		if !usable(v, f.GetName(), dropped) {
			return nil
		}
		sum += v
	}
	return &sum
}

// histogram sums a histogram up over its labels; nil if it is none.
func histogram(f *dto.MetricFamily, dropped *[]string) *metrics.Histogram {
	if f == nil {
		return nil
	}
	bad := func(why string) *metrics.Histogram {
		*dropped = append(*dropped, f.GetName()+" is left out: "+why)
		return nil
	}
	var out *metrics.Histogram
	for _, m := range f.Metric {
		if m.Histogram == nil {
			return bad("it is not a histogram")
		}
		h, ok := one(m.Histogram)
		switch {
		case !ok:
			return bad("its buckets contradict each other")
		case out == nil:
			out = h
		case !slices.Equal(out.Bounds, h.Bounds):
			return bad("its series have different buckets")
		default:
			for i, n := range h.Counts {
				out.Counts[i] += n
			}
			out.Total, out.Sum = out.Total+h.Total, out.Sum+h.Sum
		}
	}
	return out
}

// one reads one series of a histogram, and whether it can be.
func one(m *dto.Histogram) (*metrics.Histogram, bool) {
	h := &metrics.Histogram{Total: max(m.GetSampleCountFloat(), float64(m.GetSampleCount())), Sum: m.GetSampleSum()}
	buckets := slices.Clone(m.Bucket)
	slices.SortFunc(buckets, func(a, b *dto.Bucket) int {
		switch {
		case a.GetUpperBound() < b.GetUpperBound():
			return -1
		case a.GetUpperBound() > b.GetUpperBound():
			return 1
		}
		return 0
	})
	before := 0.0
	for _, b := range buckets {
		bound, n := b.GetUpperBound(), max(b.GetCumulativeCountFloat(), float64(b.GetCumulativeCount()))
		if math.IsNaN(bound) || math.IsInf(bound, -1) || !(n >= before) || math.IsInf(n, 0) {
			return nil, false
		}
		before = n
		if math.IsInf(bound, 1) {
			continue
		}
		if k := len(h.Bounds); k > 0 && h.Bounds[k-1] == bound {
			return nil, false
		}
		h.Bounds, h.Counts = append(h.Bounds, bound), append(h.Counts, n)
	}
	return h, h.Total >= before && !math.IsInf(h.Total, 0)
}
