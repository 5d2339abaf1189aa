package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// logsRoutes are the pages of what all agents write.
var logsRoutes = []Route{
	{Method: "GET", Path: "/logs", Role: auth.Viewer, ID: "logs-page", Title: "Logs", handle: (*Server).logsPage},
	{Method: "GET", Path: "/logs/around", Role: auth.Viewer, ID: "logs-around-page", handle: (*Server).logsAroundPage},
}

// LogReader reads what agents wrote. See logs.Service.
type LogReader interface {
	Find(ctx context.Context, q logs.Query, cursor string) (logs.Page, error)
	Histogram(ctx context.Context, q logs.Query, buckets int) ([]logs.Bucket, time.Duration, error)
	Around(ctx context.Context, agentID, instance, cursor string, before, after int) (list []logs.Entry, at int, err error)
	Status(ctx context.Context) logs.Status
}

const (
	logBars     = 60
	linesAround = 25 // before and after
)

// logRanges are the times to choose from.
var logRanges = []components.Option{
	{Value: "15m", Label: "15 minutes"}, {Value: "1h", Label: "An hour"}, {Value: "6h", Label: "6 hours"}, {Value: "24h", Label: "A day"}, {Value: "168h", Label: "A week"}, {Value: "720h", Label: "30 days"},
}

// logsView is what the page shows.
type logsView struct {
	Query      url.Values // what is asked for, without the cursor
	Search     string
	Level      string
	Agent      string // as it was named
	Filter     string
	Range      string
	From, To   string // times that the address names
	Since      time.Time
	Until      time.Time
	Marks      []string
	Entries    []logs.Entry // the oldest first
	Older      string
	Buckets    []logs.Bucket
	Step       time.Duration
	Most       int // in a bucket
	Total      int
	Status     logs.Status
	Problem    *fault.Error // why nothing is shown
	FilterNote string       // what is wrong with the filter
	Agents     []string     // ids that were chosen
}

func (s *Server) logsPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.logsView(r)
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, allLogsBody(v))
	}
	return s.show(w, r, Shell{Title: "Logs", Active: "/logs"}, allLogsBody(v))
}

// logsView reads what the address asks for, and looks it up.
func (s *Server) logsView(r *http.Request) (*logsView, error) {
	in := r.URL.Query()
	v := &logsView{Query: url.Values{}, Search: in.Get("q"), Level: in.Get("level"), Agent: strings.Join(values(in, "agent"), ","), Filter: in.Get("filter"), Range: in.Get("range"),
		From: in.Get("since"), To: in.Get("until")}
	if v.Agent == "" {
		v.Agent = s.contextAgent(r)
	}
	for name, value := range map[string]string{"q": v.Search, "level": v.Level, "agent": v.Agent, "filter": v.Filter, "range": v.Range, "since": v.From, "until": v.To} {
		if value != "" {
			v.Query.Set(name, value)
		}
	}
	if err := v.times(s.cfg.Now()); err != nil {
		return nil, err
	}
	ids, err := s.agentIDs(r.Context(), strings.FieldsFunc(v.Agent, func(c rune) bool { return c == ',' }))
	if err != nil {
		return nil, err
	}
	v.Agents, v.Marks = ids, logs.Marks(v.Search)
	q := logs.Query{Text: v.Search, Filter: v.Filter, Level: logs.Level(v.Level), Agents: ids, Since: v.Since, Until: v.Until, Limit: logLines}
	err = s.lookUp(r.Context(), v, q, in.Get("cursor"))
	switch f := fault.As(err); {
	case f == nil:
		return v, err
	case f.Kind == fault.Unavailable, f.Kind == fault.TooLarge, f.Kind == fault.RateLimited:
		v.Problem = f
	case f.Code == "logs.filter":
		v.FilterNote = strings.TrimSuffix(f.What+": "+f.Why, ": ")
	default:
		return nil, err
	}
	return v, nil
}

// times finds the time that the page is about: what the address names, or up to now.
func (v *logsView) times(now time.Time) (err error) {
	if v.Range == "" || !slices.ContainsFunc(logRanges, func(o components.Option) bool { return o.Value == v.Range }) {
		v.Range = "1h"
	}
	length, err := time.ParseDuration(v.Range)
	if err != nil {
		return err
	}
	v.Until = now.Add(time.Second)
	if v.To != "" {
		if v.Until, err = dayOf(v.To); err != nil {
			return invalidQuery("until", "must be a day as in 2026-01-31, or a time as in RFC 3339")
		}
	}
	v.Since = v.Until.Add(-length)
	if v.From != "" {
		if v.Since, err = dayOf(v.From); err != nil {
			return invalidQuery("since", "must be a day as in 2026-01-31, or a time as in RFC 3339")
		}
	}
	return nil
}

// lookUp reads the lines and counts them.
func (s *Server) lookUp(ctx context.Context, v *logsView, q logs.Query, cursor string) error {
	v.Status = s.cfg.Logs.Status(ctx)
	page, err := s.cfg.Logs.Find(ctx, q, cursor)
	if err != nil {
		return err
	}
	v.Entries = page.Entries
	slices.Reverse(v.Entries)
	if page.Next != "" {
		v.Older = v.href("cursor", page.Next)
	}
	if v.Buckets, v.Step, err = s.cfg.Logs.Histogram(ctx, q, logBars); err != nil {
		return err
	}
	for _, b := range v.Buckets {
		v.Total += b.Total
		v.Most = max(v.Most, b.Total)
	}
	return nil
}

// logsAroundPage shows what an instance wrote before and after a line.
func (s *Server) logsAroundPage(w http.ResponseWriter, r *http.Request) error {
	in := r.URL.Query()
	list, at, err := s.cfg.Logs.Around(r.Context(), in.Get("agent"), in.Get("instance"), in.Get("cursor"), linesAround, linesAround)
	if err != nil {
		return err
	}
	return s.show(w, r, Shell{Title: "Lines around", Active: "/logs", Crumbs: []Crumb{{"Logs", "/logs"}}}, logsAround(list, at))
}

// href is the page with one thing changed, and from its newest line on.
func (v *logsView) href(pairs ...string) string {
	q := url.Values{}
	for name, list := range v.Query {
		q[name] = list
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	if len(q) == 0 {
		return "/logs"
	}
	return "/logs?" + q.Encode()
}

// apiHref is a route of the API with what is asked for; with when its time, too.
func (v *logsView) apiHref(route string, when bool, more ...string) string {
	q := url.Values{}
	for name, value := range map[string]string{"q": v.Search, "level": v.Level, "filter": v.Filter} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, id := range v.Agents {
		q.Add("agent", id)
	}
	if when {
		q.Set("since", v.Since.UTC().Format(time.RFC3339Nano))
		q.Set("until", v.Until.UTC().Format(time.RFC3339Nano))
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return "/api/platform/logs/" + route + "?" + q.Encode()
}

// tailHref is where a script hears of new lines; "" where the address names an end.
func (v *logsView) tailHref() string {
	if v.To != "" || v.FilterNote != "" || v.Problem != nil {
		return ""
	}
	last := ""
	if n := len(v.Entries); n > 0 {
		last = v.Entries[n-1].Cursor
	}
	if last == "" {
		return v.apiHref("tail", false)
	}
	return v.apiHref("tail", false, "cursor", last)
}

// zoomHref is the page about one bar.
func (v *logsView) zoomHref(b logs.Bucket) string {
	return v.href("since", b.At.UTC().Format(time.RFC3339Nano), "until", b.At.Add(v.Step).UTC().Format(time.RFC3339Nano), "range", "")
}

// zoomed tells whether the address names times.
func (v *logsView) zoomed() bool { return v.From != "" || v.To != "" }

func (v *logsView) span() string {
	return v.Since.UTC().Format("2006-01-02 15:04:05") + " to " + v.Until.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// bar is a part of a bar of the histogram, in the units of its picture.
type bar struct {
	Class      string
	X, Y, W, H string
}

const (
	chartWide = 600.0
	chartHigh = 64.0
)

// bars gives the parts of the bar of a bucket: errors at its foot, then warnings,
// then the rest.
func (v *logsView) bars(i int) []bar {
	b, width := v.Buckets[i], chartWide/float64(len(v.Buckets))
	var out []bar
	below := 0.0
	rest := b.Total - b.Counts[logs.Error] - b.Counts[logs.Warn]
	for _, part := range []struct {
		class string
		n     int
	}{{"bar-error", b.Counts[logs.Error]}, {"bar-warn", b.Counts[logs.Warn]}, {"bar-rest", rest}} {
		if part.n <= 0 {
			continue
		}
		h := max(1, chartHigh*float64(part.n)/float64(v.Most))
		below += h
		out = append(out, bar{Class: part.class, X: coordinate(float64(i) * width), Y: coordinate(max(0, chartHigh-below)), W: coordinate(max(1, width-1)), H: coordinate(h)})
	}
	return out
}

func coordinate(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// barText says what a bar shows.
func (v *logsView) barText(b logs.Bucket) string {
	text := fmt.Sprintf("%s: %s", b.At.UTC().Format("2006-01-02 15:04:05"), count(b.Total, "line", "lines"))
	if n := b.Counts[logs.Error]; n > 0 {
		text += fmt.Sprintf(", %s", count(n, "error", "errors"))
	}
	if n := b.Counts[logs.Warn]; n > 0 {
		text += fmt.Sprintf(", %s", count(n, "warning", "warnings"))
	}
	return text
}

func aroundHref(e logs.Entry) string {
	return "/logs/around?" + url.Values{"agent": {e.AgentID}, "instance": {e.Instance}, "cursor": {e.Cursor}}.Encode()
}

// entryLines gives the first line of an entry, with its colours, and the others.
func entryLines(e logs.Entry) (first string, rest []string) {
	text := e.Text
	if e.Raw != "" {
		text = e.Raw
	}
	list := strings.Split(text, "\n")
	return list[0], list[1:]
}

// logFields are the fields of an entry, harmless and short.
func logFields(e logs.Entry) string { return view.Plain(logs.FieldText(e), 1000) }
