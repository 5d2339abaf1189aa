package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// named is a value with its name.
type named struct {
	Name string
	Cell view.Cell
}

// figureNote says how far the figures can be relied on.
func figureNote(f metrics.AgentFigures) string {
	text := map[metrics.Status]string{
		metrics.Reporting: "As its instances report themselves",
		metrics.Partly:    fmt.Sprintf("%d of %d instances report", f.Reporting, f.Instances),
		metrics.Silent:    "It has not reported lately.",
		metrics.Waiting:   "It was not asked yet.",
		metrics.NoMetrics: "It offers no figures (GET /metrics).",
		metrics.Down:      "Nothing of it runs.",
	}[f.Status]
	if f.Reason != "" {
		text = capital(view.Plain(f.Reason, 300)) + ". " + text
	}
	return text
}

// sorted lists counts by their names.
func sorted(counts map[string]float64) []named {
	var out []named
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, named{view.Words(view.Plain(k, 60)), view.Cell{Text: view.Number(counts[k])}})
	}
	return out
}

// The measures of a chart's drawing, in its own units.
const (
	drawWidth  = 600.0
	drawHeight = 140.0
	tableRows  = 24
)

// drawing is a chart as it is shown: a line for each series, and the values
// behind it.
type drawing struct {
	ID, Name string
	Lines    []line
	Top      string // what the upper edge stands for
	Low      string // what the lower edge stands for
	Text     string // all of it in a sentence, for those who do not see it
	Data     string // JSON for the script that shows values under the pointer
	Rows     [][]string
	Marks    []mark
	Cut      int // series that are left out
	Warnings []string
	FileCSV  string
	FileJSON string
}

// line is one series of a drawing.
type line struct {
	Name   string
	Href   string // where it comes from; "" if that has no page
	Path   string
	Color  int  // 1 to maxLines
	Before bool // it is of the time to compare with
	Last   string

	values []float64 // by step; NaN where nothing is known
}

// written gives how values of a unit are written.
func written(u metrics.Unit) func(float64) string {
	return map[metrics.Unit]func(float64) string{
		metrics.UnitNumber: view.Number, metrics.UnitShare: view.Percent, metrics.UnitSeconds: view.Seconds, metrics.UnitDollars: view.Money,
		metrics.UnitBytes: func(v float64) string { return view.Bytes(int64(v)) },
	}[u]
}

// drawing asks for the series of a panel, and for those of the time to compare
// with, and draws them.
func (s *Server) drawing(ctx context.Context, sp span, p metrics.Panel, expr string, marks []mark) (drawing, error) {
	d := drawing{ID: p.ID, Name: p.Name, Marks: marks, FileCSV: sp.file(p.ID, "csv"), FileJSON: sp.file(p.ID, "json")}
	r := metrics.Range{Start: sp.From, End: sp.To, Step: sp.Step}
	result, err := s.cfg.Series.Range(ctx, expr, r)
	if err != nil {
		return d, err
	}
	d.Warnings = result.Warnings
	d.add(sp, r, result.Series, false)
	if back := sp.shift(); back > 0 {
		r.Start, r.End = r.Start.Add(-back), r.End.Add(-back)
		before, err := s.cfg.Series.Range(ctx, expr, r)
		if err != nil {
			return d, err
		}
		d.add(sp, r, before.Series, true)
	}
	d.finish(sp, written(p.Unit))
	return d, nil
}

// add takes in series; those without any value say nothing.
func (d *drawing) add(sp span, r metrics.Range, list []metrics.Points, before bool) {
	n := int(r.End.Sub(r.Start)/r.Step) + 1
	color := 0
	same := shared(list)
	for _, s := range list {
		l := line{Before: before, values: make([]float64, n)}
		for i := range l.values {
			l.values[i] = math.NaN()
		}
		known := false
		for _, p := range s.Points {
			if i := int(p.At.Sub(r.Start) / r.Step); i >= 0 && i < n && !math.IsInf(p.Value, 0) {
				l.values[i] = p.Value
				known = known || !math.IsNaN(p.Value)
			}
		}
		if !known {
			continue
		}
		if color++; color > maxLines {
			d.Cut++
			continue
		}
		l.Color = color
		l.Name, l.Href = sp.called(s.Labels, same)
		if before {
			l.Name, l.Href = l.Name+", "+strings.ToLower(beforeLabel(sp.Before)), ""
		}
		d.Lines = append(d.Lines, l)
	}
}

func beforeLabel(name string) string {
	for _, b := range befores {
		if b.Name == name {
			return b.Label
		}
	}
	return ""
}

// shared gives the labels that are the same in all series, if there are several.
func shared(list []metrics.Points) map[string]string {
	if len(list) < 2 {
		return nil
	}
	out := maps.Clone(list[0].Labels)
	for _, s := range list[1:] {
		maps.DeleteFunc(out, func(name, value string) bool { return s.Labels[name] != value })
	}
	return out
}

// called is how people know a series: the agent by its name, and what else tells
// it from the others.
func (sp span) called(labels, same map[string]string) (name, href string) {
	if id := labels[metrics.LabelAgent]; id != "" {
		parts := []string{cmp.Or(sp.Names[id], view.Plain(labels[metrics.LabelAgentName], 80), view.Plain(id, 80))}
		for _, label := range slices.Sorted(maps.Keys(labels)) {
			value := labels[label]
			_, known := same[label]
			switch {
			case known || label == metrics.LabelAgent || label == metrics.LabelAgentName || same == nil && label == metrics.LabelJob:
			case label == metrics.LabelName:
				parts = append(parts, view.Plain(value, 80))
			case label == metrics.LabelInstance:
				parts = append(parts, view.Plain(strings.TrimPrefix(value, id+"-"), 80))
			default:
				parts = append(parts, view.Plain(label, 60)+"="+strconv.Quote(view.Plain(value, 80)))
			}
		}
		return strings.Join(parts, " "), agentPath(id) + "?tab=metrics"
	}
	if len(labels) == 0 {
		return "All together", ""
	}
	return labelText(labels), ""
}

// labelText writes labels as PromQL does.
func labelText(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != metrics.LabelName {
			parts = append(parts, view.Plain(name, 60)+"="+strconv.Quote(view.Plain(labels[name], 80)))
		}
	}
	return view.Plain(labels[metrics.LabelName], 80) + "{" + strings.Join(parts, ", ") + "}"
}

// finish draws the lines to one scale, and writes the values down.
func (d *drawing) finish(sp span, format func(float64) string) {
	low, high := 0.0, math.Inf(-1)
	for _, l := range d.Lines {
		for _, v := range l.values {
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if len(d.Lines) == 0 {
		return
	}
	d.Top, d.Low = format(high), format(low)
	if high <= low {
		high = low + 1
	}
	type data struct {
		Start float64    `json:"start"` // Unix seconds
		Step  float64    `json:"step"`
		Names []string   `json:"names"`
		Texts [][]string `json:"texts"`
	}
	out := data{Start: float64(sp.From.UnixMilli()) / 1000, Step: sp.Step.Seconds()}
	var said []string
	for i := range d.Lines {
		l := &d.Lines[i]
		l.Path = pathOf(l.values, low, high, sp)
		texts := make([]string, len(l.values))
		for j, v := range l.values {
			texts[j] = view.None
			if !math.IsNaN(v) {
				texts[j] = format(v)
				l.Last = texts[j]
			}
		}
		out.Names, out.Texts = append(out.Names, l.Name), append(out.Texts, texts)
		said = append(said, l.Name+" last "+l.Last)
	}
	d.Text = fmt.Sprintf("%s from %s to %s: %s; at most %s", d.Name, clock(sp.From), clock(sp.To), strings.Join(said, ", "), d.Top)
	text, _ := json.Marshal(out) // texts and numbers always encode
	d.Data = string(text)
	n := len(d.Lines[0].values)
	every := max(1, (n+tableRows-1)/tableRows)
	for j := (n - 1) % every; j < n; j += every {
		row := []string{clock(sp.From.Add(time.Duration(j) * sp.Step))}
		for i := range d.Lines {
			row = append(row, out.Texts[i][j])
		}
		d.Rows = append(d.Rows, row)
	}
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// pathOf draws values. Where some are missing the line is broken; a value by
// itself is a dot.
func pathOf(values []float64, low, high float64, sp span) string {
	var b strings.Builder
	length := sp.To.Sub(sp.From).Seconds()
	open := false
	for i, v := range values {
		if math.IsNaN(v) {
			open = false
			continue
		}
		x := float64(i) * sp.Step.Seconds() / length * drawWidth
		y := drawHeight - 2 - (v-low)/(high-low)*(drawHeight-4)
		op := "L"
		if !open {
			op = "M"
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", op, x, y)
		if !open && (i+1 == len(values) || math.IsNaN(values[i+1])) {
			b.WriteString("h.5")
		}
		open = true
	}
	return b.String()
}
