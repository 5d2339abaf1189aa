package web

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// metricsRoutes are the page of the metrics, and its charts as files. The address
// /metrics is where programs read the portal's own.
var metricsRoutes = []Route{
	{Method: "GET", Path: "/charts", Role: auth.Viewer, ID: "charts", Title: "Metrics", handle: (*Server).chartsPage},
	{Method: "GET", Path: "/charts/file", Role: auth.Viewer, ID: "charts-file", handle: (*Server).chartsFile},
}

// span is what charts are about: whom, from when to when.
type span struct {
	Agents   []string // ids; none means the fleet together
	Names    map[string]string
	Window   string // one of spans; "" if the ends are named
	From, To time.Time
	Step     time.Duration
	Before   string // how far back the time is to compare with; "" for none
	Query    string // expression of a person's own
}

// spans are the lengths of time to choose from.
var spans = []struct{ Name, Label string }{
	{"5m", "5 minutes"}, {"15m", "15 minutes"}, {"1h", "1 hour"}, {"6h", "6 hours"}, {"1d", "1 day"}, {"7d", "7 days"},
}

// befores are the times to compare with.
var befores = []struct{ Name, Label string }{
	{"", "Nothing"}, {"same", "The time right before"}, {"1d", "A day earlier"}, {"7d", "A week earlier"},
}

const (
	maxLines  = 8 // of a chart
	maxMarks  = 100
	chartStep = 15 * time.Second
	steps     = 160 // of a chart, about
)

// spanOf reads the address.
func (s *Server) spanOf(r *http.Request) (span, error) {
	q := r.URL.Query()
	sp := span{Window: q.Get("window"), Before: q.Get("before"), Query: strings.TrimSpace(q.Get("q")), Names: map[string]string{}}
	if !slices.ContainsFunc(befores, func(b struct{ Name, Label string }) bool { return b.Name == sp.Before }) {
		return sp, invalidQuery("before", "must be one of those offered")
	}
	if err := sp.times(q, s.cfg.Now()); err != nil {
		return sp, err
	}
	var named []string
	if id := s.contextAgent(r); id != "" {
		named = append(named, id)
	}
	for part := range strings.SplitSeq(q.Get("with"), ",") {
		if part = strings.TrimSpace(part); part != "" {
			named = append(named, part)
		}
	}
	if len(named) > maxLines {
		return sp, invalidQuery("with", fmt.Sprintf("at most %d agents fit in one chart", maxLines))
	}
	if len(named) == 0 {
		return sp, nil
	}
	page, err := s.cfg.Agents.Find(r.Context(), agent.Query{IDs: named, Limit: 4 * maxLines})
	if err != nil {
		return sp, err
	}
	for _, name := range named {
		id := strings.ToLower(name)
		for _, a := range page.Agents {
			if strings.EqualFold(a.ID, name) || strings.EqualFold(a.Spec.Name, name) {
				id, sp.Names[a.ID] = a.ID, nameOf(a)
			}
		}
		if !slices.Contains(sp.Agents, id) {
			sp.Agents = append(sp.Agents, id)
		}
	}
	return sp, nil
}

// times finds out the ends: those that are named, or a length of time up to now.
func (sp *span) times(q url.Values, now time.Time) error {
	from, to := q.Get("from"), q.Get("to")
	if from != "" || to != "" {
		var err1, err2 error
		sp.From, err1 = time.Parse(time.RFC3339, from)
		sp.To, err2 = time.Parse(time.RFC3339, to)
		if err1 != nil || err2 != nil || !sp.From.Before(sp.To) || sp.To.Sub(sp.From) > metrics.Longest {
			return invalidQuery("from", "must be a time before to, at most 31 days, both as in 2026-01-31T12:00:00Z")
		}
		sp.From, sp.To, sp.Window = sp.From.UTC(), sp.To.UTC(), ""
	} else {
		if sp.Window == "" {
			sp.Window = "1h"
		}
		if !slices.ContainsFunc(spans, func(w struct{ Name, Label string }) bool { return w.Name == sp.Window }) {
			return invalidQuery("window", "must be one of those offered")
		}
		length, _ := metrics.ParseDuration(sp.Window) // one of the listed
		sp.To = now.UTC().Truncate(time.Second)
		sp.From = sp.To.Add(-length)
	}
	sp.Step = max(chartStep, (sp.To.Sub(sp.From) / steps).Round(chartStep))
	if sp.To.Sub(sp.From) < 40*chartStep {
		sp.Step = 5 * time.Second
	}
	return nil
}

// shift is how far back the time is to compare with.
func (sp span) shift() time.Duration {
	if sp.Before == "same" {
		return sp.To.Sub(sp.From)
	}
	d, _ := metrics.ParseDuration(sp.Before) // 0 for none
	return d
}

// values are what the address says, for links that change a part of it.
func (sp span) values(change ...string) url.Values {
	q := url.Values{}
	set := func(name, value string) {
		q.Del(name)
		if value != "" {
			q.Set(name, value)
		}
	}
	set("agent", strings.Join(sp.Agents[:min(1, len(sp.Agents))], ""))
	set("with", strings.Join(sp.Agents[min(1, len(sp.Agents)):], ","))
	set("before", sp.Before)
	set("q", sp.Query)
	if set("window", sp.Window); sp.Window == "" {
		set("from", sp.From.Format(time.RFC3339))
		set("to", sp.To.Format(time.RFC3339))
	}
	for i := 0; i+1 < len(change); i += 2 {
		set(change[i], change[i+1])
	}
	return q
}

func (sp span) href(change ...string) string { return "/charts?" + sp.values(change...).Encode() }

// moved is the page about another time: by so many of its lengths later, and
// so many times as long.
func (sp span) moved(later, longer float64) string {
	length := float64(sp.To.Sub(sp.From))
	middle := sp.From.Add(time.Duration(length * (0.5 + later)))
	half := time.Duration(max(length*longer, float64(time.Minute)) / 2)
	return sp.href("window", "", "from", middle.Add(-half).Format(time.RFC3339), "to", middle.Add(half).Format(time.RFC3339))
}

// file is a chart as a file.
func (sp span) file(panel, format string) string {
	q := sp.values("panel", panel, "format", format)
	return "/charts/file?" + q.Encode()
}

// mark is something that happened in the time of a chart.
type mark struct {
	At    time.Time
	X     float64
	What  string
	Agent string
}

// metricsView is what the page shows.
type metricsView struct {
	span
	Charts  []drawing
	Marks   []mark
	Own     *drawing // of a person's own expression
	Problem *fault.Error
	Note    string
}

func (s *Server) chartsPage(w http.ResponseWriter, r *http.Request) error {
	sp, err := s.spanOf(r)
	if err != nil {
		return err
	}
	v := &metricsView{span: sp}
	if s.cfg.Series != nil {
		if v.Note, err = s.note(r.Context()); err != nil {
			return err
		}
		if err := s.draw(r.Context(), v); err != nil {
			return err
		}
	}
	if wantsPart(r) {
		return s.fragment(w, r, chartsRegion(v, s.cfg.Series != nil))
	}
	return s.show(w, r, Shell{Title: "Metrics", Active: "/charts"}, chartsBody(v, s.cfg.Series != nil))
}

// note says what is to be known of where the series are.
func (s *Server) note(ctx context.Context) (string, error) {
	if s.cfg.SeriesNote == nil {
		return "", nil
	}
	return s.cfg.SeriesNote(ctx), nil
}

// draw makes all charts and the marks on them.
func (s *Server) draw(ctx context.Context, v *metricsView) (err error) {
	if v.Marks, err = s.marks(ctx, v.span); err != nil {
		return err
	}
	if v.Query != "" {
		d, err := s.drawing(ctx, v.span, metrics.Panel{ID: "q", Name: "Your expression", Unit: metrics.UnitNumber}, v.Query, v.Marks)
		switch f := fault.As(err); {
		case f != nil && f.Kind != fault.Internal:
			v.Problem = f
		case err != nil:
			return err
		default:
			v.Own = &d
		}
		return nil
	}
	v.Charts, err = s.panels(ctx, v.span, v.Marks)
	if f := fault.As(err); f != nil && f.Kind == fault.Unavailable {
		v.Problem, err = f, nil
	}
	return err
}

// panels draws every panel; those about nothing but unknown values come last.
func (s *Server) panels(ctx context.Context, sp span, marks []mark) ([]drawing, error) {
	var some, none []drawing
	for _, p := range metrics.Panels {
		d, err := s.drawing(ctx, sp, p, p.Expression(sp.Step, len(sp.Agents) > 0, sp.Agents...), marks)
		if err != nil {
			return nil, err
		}
		if len(d.Lines) == 0 {
			none = append(none, d)
		} else {
			some = append(some, d)
		}
	}
	return append(some, none...), nil
}

// marks lists what happened to the agents in the time: changes of state and of
// what runs.
func (s *Server) marks(ctx context.Context, sp span) ([]mark, error) {
	if s.cfg.Events == nil {
		return nil, nil
	}
	found, err := s.cfg.Events.Find(ctx, event.Query{AgentID: sp.Agents, Since: sp.From, Until: sp.To.Add(time.Second), Newest: true, Limit: maxMarks, Types: []event.Type{
		event.AgentStateChanged, event.AgentUpdated, event.MetricsRefused,
	}})
	if err != nil {
		return nil, err
	}
	var out []mark
	for _, e := range found {
		h := happeningOf(e)
		what := h.Badge.Text
		if e.Type == event.MetricsRefused {
			what, h.Text = "Metrics refused", ""
			var data struct{ Reason string }
			if json.Unmarshal(e.Data, &data) == nil {
				h.Text = data.Reason
			}
		}
		if h.Text != "" {
			what += ", " + h.Text
		}
		out = append(out, mark{At: e.At, X: float64(e.At.Sub(sp.From)) / float64(sp.To.Sub(sp.From)) * drawWidth, Agent: e.AgentID, What: view.Plain(what, 200)})
	}
	slices.Reverse(out)
	return out, nil
}

// chartsFile gives the values of one chart as a file.
func (s *Server) chartsFile(w http.ResponseWriter, r *http.Request) error {
	sp, err := s.spanOf(r)
	if err != nil {
		return err
	}
	expr := sp.Query
	p, ok := metrics.PanelOf(r.URL.Query().Get("panel"))
	switch {
	case ok:
		expr = p.Expression(sp.Step, len(sp.Agents) > 0, sp.Agents...)
	case expr == "":
		return invalidQuery("panel", "must be one of the charts")
	default:
		p = metrics.Panel{ID: "query", Name: expr}
	}
	if s.cfg.Series == nil {
		return notHere()
	}
	result, err := s.cfg.Series.Range(r.Context(), expr, metrics.Range{Start: sp.From, End: sp.To, Step: sp.Step})
	if err != nil {
		return err
	}
	name := p.ID + "-" + sp.To.Format("20060102T150405Z")
	if r.URL.Query().Get("format") == "json" {
		return jsonFile(w, name+".json", expr, result)
	}
	return csvFile(w, name+".csv", result)
}

func attachment(w http.ResponseWriter, kind, name string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}

// csvFile writes a row for each time and a column for each series.
func csvFile(w http.ResponseWriter, name string, r metrics.Result) error {
	attachment(w, "text/csv; charset=utf-8", name)
	out := csv.NewWriter(w)
	head := []string{"time"}
	rows := map[int64][]string{}
	for i, s := range r.Series {
		head = append(head, harmless(labelText(s.Labels)))
		for _, p := range s.Points {
			row := rows[p.At.UnixMilli()]
			if row == nil {
				row = make([]string, len(r.Series)+1)
				row[0] = p.At.UTC().Format(time.RFC3339Nano)
				rows[p.At.UnixMilli()] = row
			}
			row[i+1] = strconv.FormatFloat(p.Value, 'g', -1, 64)
		}
	}
	_ = out.Write(head) // Flush tells
	for _, at := range slices.Sorted(maps.Keys(rows)) {
		_ = out.Write(rows[at])
	}
	out.Flush()
	return out.Error()
}

// harmless keeps spreadsheets from taking a text for a formula.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

func jsonFile(w http.ResponseWriter, name, expr string, r metrics.Result) error {
	attachment(w, "application/json", name)
	type series struct {
		Labels map[string]string `json:"labels"`
		Times  []time.Time       `json:"times"`
		Values []*float64        `json:"values"`
	}
	out := struct {
		Query  string   `json:"query"`
		Series []series `json:"series"`
	}{Query: expr, Series: []series{}}
	for _, s := range r.Series {
		one := series{Labels: s.Labels}
		for _, p := range s.Points {
			one.Times = append(one.Times, p.At)
			v := &p.Value
			if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
				v = nil
			}
			one.Values = append(one.Values, v)
		}
		out.Series = append(out.Series, one)
	}
	return json.NewEncoder(w).Encode(out)
}
