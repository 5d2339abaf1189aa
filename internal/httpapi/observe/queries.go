package observe

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/metrics"
)

func (a *area) registerQueries() {
	door.Handle(a.door, "query-metrics", "Evaluate a PromQL expression at one moment", a.query)
	door.Handle(a.door, "query-metrics-range", "Evaluate a PromQL expression over a span of time", a.queryRange)
}

// Number is a value of a series: a JSON number, or one of the texts NaN, +Inf
// and -Inf.
type Number float64

// MarshalJSON writes what JSON has no numbers for as text.
func (n Number) MarshalJSON() ([]byte, error) {
	if v := float64(n); math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(formatFloat(v))
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads both forms.
func (n *Number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	*n = Number(v)
	return err
}

// Schema is a number or a text.
func (Number) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "A number, or NaN, +Inf or -Inf as text", OneOf: []*huma.Schema{{Type: "number"}, {Type: "string", Enum: []any{"NaN", "+Inf", "-Inf"}}}}
}

func formatFloat(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// QueryPoint is a value at a moment.
type QueryPoint struct {
	At    time.Time `json:"at"`
	Value Number    `json:"value"`
}

// QuerySeries are the values of one series.
type QuerySeries struct {
	Labels map[string]string `json:"labels"`
	Points []QueryPoint      `json:"points"`
}

// QueryResult is what a query gives.
type QueryResult struct {
	Query    string             `json:"query" doc:"The expression that was evaluated, narrowed to the agents that were asked for"`
	Type     metrics.ResultType `json:"type" enum:"vector,matrix,scalar,string"`
	Series   []QuerySeries      `json:"series" doc:"One point each, but in a matrix"`
	Text     string             `json:"text,omitempty" doc:"Of a string"`
	Warnings []string           `json:"warnings,omitempty"`
	Filtered []string           `json:"filtered_by_agent,omitempty" doc:"The agents that were asked for"`
}

type queryAnswer struct{ Body QueryResult }

type queryInput struct {
	door.OfAgents
	Query string `query:"query" required:"true" maxLength:"20000" doc:"PromQL expression"`
	Time  string `query:"time" maxLength:"40" doc:"RFC 3339 or Unix seconds; now where it is left out"`
}

func (a *area) query(ctx context.Context, in *queryInput) (*queryAnswer, error) {
	at, err := readTime("query.time", in.Time, a.cfg.Now())
	if err != nil {
		return nil, err
	}
	expr, ids, err := a.narrowed(ctx, in.Query, in.Agent)
	if err != nil {
		return nil, err
	}
	r, err := a.cfg.Series.Instant(ctx, expr, at)
	if err != nil {
		return nil, err
	}
	return &queryAnswer{Body: resultOf(expr, ids, r)}, nil
}

type queryRangeInput struct {
	door.OfAgents
	Query string `query:"query" required:"true" maxLength:"20000" doc:"PromQL expression"`
	Start string `query:"start" maxLength:"40" doc:"RFC 3339 or Unix seconds; an hour before end where it is left out"`
	End   string `query:"end" maxLength:"40" doc:"RFC 3339 or Unix seconds; now where it is left out"`
	Step  string `query:"step" maxLength:"20" doc:"Duration such as 15s, or seconds; a 240th of the span where it is left out"`
}

func (a *area) queryRange(ctx context.Context, in *queryRangeInput) (*queryAnswer, error) {
	r, err := readRange("query.", in.Start, in.End, in.Step, a.cfg.Now())
	if err != nil {
		return nil, err
	}
	expr, ids, err := a.narrowed(ctx, in.Query, in.Agent)
	if err != nil {
		return nil, err
	}
	result, err := a.cfg.Series.Range(ctx, expr, r)
	if err != nil {
		return nil, err
	}
	return &queryAnswer{Body: resultOf(expr, ids, result)}, nil
}

// narrowed makes an expression be about the agents that were named only.
func (a *area) narrowed(ctx context.Context, expr string, named []string) (string, []string, error) {
	ids, err := a.door.AgentIDs(ctx, named)
	if err != nil || len(ids) == 0 || a.cfg.Narrow == nil {
		return expr, ids, err
	}
	expr, err = a.cfg.Narrow(expr, ids)
	return expr, ids, err
}

func resultOf(expr string, ids []string, r metrics.Result) QueryResult {
	out := QueryResult{Query: expr, Type: r.Type, Series: make([]QuerySeries, len(r.Series)), Text: r.Text, Warnings: r.Warnings, Filtered: ids}
	for i, s := range r.Series {
		q := QuerySeries{Labels: s.Labels, Points: make([]QueryPoint, len(s.Points))}
		if q.Labels == nil {
			q.Labels = map[string]string{}
		}
		for j, p := range s.Points {
			q.Points[j] = QueryPoint{At: p.At, Value: Number(p.Value)}
		}
		out.Series[i] = q
	}
	return out
}

// readTime reads RFC 3339 or Unix seconds.
func readTime(field, text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(seconds) < 1e11) {
		return time.Time{}, door.Invalid(field, "must be a time as in RFC 3339, or Unix seconds")
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), nil
}

// readStep reads a duration such as 15s or 1d, or seconds.
func readStep(field, text string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		d, bad := metrics.ParseDuration(text)
		if bad != nil {
			return 0, door.Invalid(field, "must be a duration such as 15s or 5m, or seconds")
		}
		return d, nil
	}
	if !(seconds > 0 && seconds < 1e9) {
		return 0, door.Invalid(field, "must be above 0")
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// readRange reads a span of time; prefix is what the fields are called in faults.
func readRange(prefix, start, end, step string, now time.Time) (r metrics.Range, err error) {
	if r.End, err = readTime(prefix+"end", end, now); err != nil {
		return r, err
	}
	if r.Start, err = readTime(prefix+"start", start, r.End.Add(-time.Hour)); err != nil {
		return r, err
	}
	if step == "" {
		r.Step = max(time.Second, (r.End.Sub(r.Start) / 240).Truncate(time.Second))
		return r, nil
	}
	r.Step, err = readStep(prefix+"step", step)
	return r, err
}
