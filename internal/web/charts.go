package web

import (
	"fmt"
	"maps"
	"slices"
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

// series is a measure over time.
type series = metrics.Series

// sorted lists counts by their names.
func sorted(counts map[string]float64) []named {
	var out []named
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, named{view.Words(view.Plain(k, 60)), view.Cell{Text: view.Number(counts[k])}})
	}
	return out
}

// measureNames are what the measures are called and how their values are written.
var measureNames = map[metrics.Measure]struct {
	Name   string
	Format func(float64) string
}{
	metrics.MeasureTasks:     {"Tasks a minute", view.Number},
	metrics.MeasureErrorRate: {"Error rate", view.Percent},
	metrics.MeasureP95:       {"95 % of tasks within", view.Seconds},
	metrics.MeasureTokens:    {"Tokens a minute", view.Number},
	metrics.MeasureCost:      {"Cost an hour", view.Money},
	metrics.MeasureCPU:       {"CPU cores", view.Number},
	metrics.MeasureMemory:    {"Memory", func(v float64) string { return view.Bytes(int64(v)) }},
}

// The measures of a chart's drawing, in its own units.
const (
	chartWidth  = 300
	chartHeight = 90
)

// chart is a series as it is drawn: the line, and the same closed to an area.
type chart struct {
	Name            string
	Line, Area      string
	Last, Top, Span string // the newest value, the greatest, and how long it is
	Points          []named
	Empty           bool
}

// chartOf draws a series. Where values are missing the line is broken.
func chartOf(s metrics.Series) chart {
	m := measureNames[s.Measure]
	c := chart{Name: m.Name, Empty: true, Last: view.None, Span: view.Seconds(s.Step * float64(len(s.Values)))}
	top := 0.0
	for _, v := range s.Values {
		if v != nil {
			top, c.Empty = max(top, *v), false
		}
	}
	if c.Empty {
		return c
	}
	c.Top = m.Format(top)
	scale := top
	if scale == 0 {
		scale = 1
	}
	x := func(i int) float64 { return float64(i) * chartWidth / float64(max(1, len(s.Values)-1)) }
	var line, area strings.Builder
	for i := 0; i < len(s.Values); i++ {
		if s.Values[i] == nil {
			continue
		}
		from := i
		for ; i < len(s.Values) && s.Values[i] != nil; i++ {
			y := chartHeight - *s.Values[i]/scale*(chartHeight-4) - 1
			op := "L"
			if i == from {
				op = "M"
				fmt.Fprintf(&area, "M%.1f %d", x(i), chartHeight)
			}
			fmt.Fprintf(&line, "%s%.1f %.1f", op, x(i), y)
			fmt.Fprintf(&area, "L%.1f %.1f", x(i), y)
			at := s.Start.Add(time.Duration(float64(i) * s.Step * float64(time.Second)))
			c.Points = append(c.Points, named{at.UTC().Format("15:04:05"), view.Cell{Text: m.Format(*s.Values[i])}})
			c.Last = m.Format(*s.Values[i])
		}
		if i-from == 1 {
			line.WriteString("h.1") // a point by itself is drawn too
		}
		fmt.Fprintf(&area, "L%.1f %dZ", x(i-1), chartHeight)
	}
	c.Line, c.Area = line.String(), area.String()
	return c
}
