package observe

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// prometheus is where the API begins that speaks as Prometheus does, so that
// what is made for Prometheus can read the portal's time series.
const prometheus = base + "/prometheus/api/v1"

func (a *area) registerPrometheus() {
	routes := []struct {
		id, summary string
		form        bool
		handle      func(r *http.Request, q url.Values) (any, []string, error)
		params      string
	}{
		{"prometheus-query", "Instant query, as in Prometheus", true, a.promQuery, "query time timeout"},
		{"prometheus-query-range", "Range query, as in Prometheus", true, a.promRange, "query start end step timeout"},
		{"prometheus-series", "Series that match selectors, as in Prometheus", true, a.promSeries, "match[] start end limit"},
		{"prometheus-labels", "Names of labels, as in Prometheus", true, a.promLabels, "match[] start end limit"},
		{"prometheus-label-values", "Values of a label, as in Prometheus", false, a.promValues, "match[] start end limit"},
		{"prometheus-metadata", "What metrics are, as in Prometheus", false, a.promMetadata, "metric limit"},
		{"prometheus-buildinfo", "What answers, as in Prometheus", false, a.promBuild, ""},
	}
	for _, route := range routes {
		ids := []string{route.id}
		if route.form {
			ids = append(ids, route.id+"-form")
		}
		for _, id := range ids {
			a.door.Raw(id, func(w http.ResponseWriter, r *http.Request) error {
				q, err := values(r)
				if err != nil {
					return sendProm(w, nil, nil, err)
				}
				data, warnings, err := route.handle(r, q)
				return sendProm(w, data, warnings, err)
			})
			var params []*huma.Param
			for name := range strings.FieldsSeq(route.params) {
				params = append(params, &huma.Param{Name: name, In: "query", Schema: &huma.Schema{Type: "string"}})
			}
			if route.id == "prometheus-label-values" {
				params = append(params, &huma.Param{Name: "name", In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
			}
			a.door.DescribeRaw(id, route.summary, "application/json", params...)
		}
	}
}

// values reads the parameters, from the address and from a form.
func values(r *http.Request) (url.Values, error) {
	q := r.URL.Query()
	if r.Method != http.MethodPost {
		return q, nil
	}
	body, err := io.ReadAll(r.Body) // bounded by the door
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, door.Invalid("body", "must be a form")
	}
	for name, list := range form {
		q[name] = append(q[name], list...)
	}
	return q, nil
}

func (a *area) promQuery(r *http.Request, q url.Values) (any, []string, error) {
	at, err := readTime("time", q.Get("time"), a.cfg.Now())
	if err != nil {
		return nil, nil, err
	}
	result, err := a.cfg.Series.Instant(r.Context(), q.Get("query"), at)
	return promResult{result}, result.Warnings, err
}

func (a *area) promRange(r *http.Request, q url.Values) (any, []string, error) {
	for _, name := range []string{"start", "end", "step"} {
		if q.Get(name) == "" {
			return nil, nil, door.Invalid(name, "is missing")
		}
	}
	span, err := readRange("", q.Get("start"), q.Get("end"), q.Get("step"), a.cfg.Now())
	if err != nil {
		return nil, nil, err
	}
	result, err := a.cfg.Series.Range(r.Context(), q.Get("query"), span)
	return promResult{result}, result.Warnings, err
}

// selection reads which series are asked for; the last two hours where no time is
// named, as everything older is on the disk.
func (a *area) selection(q url.Values, needed bool) (metrics.Selection, error) {
	s := metrics.Selection{Match: q["match[]"]}
	var err error
	if s.End, err = readTime("end", q.Get("end"), a.cfg.Now()); err != nil {
		return s, err
	}
	if s.Start, err = readTime("start", q.Get("start"), s.End.Add(-2*time.Hour)); err != nil {
		return s, err
	}
	if text := q.Get("limit"); text != "" {
		if s.Limit, err = strconv.Atoi(text); err != nil || s.Limit < 0 {
			return s, door.Invalid("limit", "must be a number from 0")
		}
	}
	if needed && len(s.Match) == 0 {
		return s, door.Invalid("match[]", "must name at least one selector")
	}
	return s, nil
}

func (a *area) promSeries(r *http.Request, q url.Values) (any, []string, error) {
	s, err := a.selection(q, true)
	if err != nil {
		return nil, nil, err
	}
	list, err := a.cfg.Catalog.Series(r.Context(), s)
	return list, truncated(len(list), s), err
}

func (a *area) promLabels(r *http.Request, q url.Values) (any, []string, error) {
	s, err := a.selection(q, false)
	if err != nil {
		return nil, nil, err
	}
	list, err := a.cfg.Catalog.LabelNames(r.Context(), s)
	return list, truncated(len(list), s), err
}

func (a *area) promValues(r *http.Request, q url.Values) (any, []string, error) {
	s, err := a.selection(q, false)
	if err != nil {
		return nil, nil, err
	}
	list, err := a.cfg.Catalog.LabelValues(r.Context(), r.PathValue("name"), s)
	return list, truncated(len(list), s), err
}

// truncated warns of a list that may have more entries.
func truncated(n int, s metrics.Selection) []string {
	if n > 0 && n >= s.Most() {
		return []string{"results truncated due to limit"}
	}
	return nil
}

func (a *area) promMetadata(_ *http.Request, q url.Values) (any, []string, error) {
	limit := -1
	if text := q.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return nil, nil, door.Invalid("limit", "must be a number")
		}
	}
	all := a.cfg.About.Metadata(q.Get("metric"))
	out := make(map[string][]metrics.Metadata, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if limit >= 0 && len(out) >= limit {
			break
		}
		out[name] = []metrics.Metadata{all[name]}
	}
	return out, nil, nil
}

func (a *area) promBuild(*http.Request, url.Values) (any, []string, error) {
	// Clients look at the version to find out what the query language knows.
	return map[string]string{
		"version": "3.15.0", "revision": "platform-portal " + a.cfg.Version, "branch": "", "buildUser": "", "buildDate": "", "goVersion": runtime.Version(),
	}, nil, nil
}

// errorTypes are what Prometheus calls kinds of faults, and the status of each.
var errorTypes = map[fault.Kind]struct {
	name   string
	status int
}{
	fault.Invalid:     {"bad_data", http.StatusBadRequest},
	fault.NotFound:    {"not_found", http.StatusNotFound},
	fault.TooLarge:    {"execution", http.StatusUnprocessableEntity},
	fault.Unavailable: {"unavailable", http.StatusServiceUnavailable},
}

// sendProm answers as Prometheus does. What has no place in its format is left
// to the door.
func sendProm(w http.ResponseWriter, data any, warnings []string, err error) error {
	f := fault.As(err)
	if err != nil && (f == nil || errorTypes[f.Kind].name == "") {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		e := errorTypes[f.Kind]
		if f.Code == "metrics.slow" {
			e.name, e.status = "timeout", http.StatusServiceUnavailable
		}
		w.WriteHeader(e.status)
		return json.NewEncoder(w).Encode(map[string]string{"status": "error", "errorType": e.name, "error": place(f) + f.Error()})
	}
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.WriteString(`{"status":"success","data":`)
	if r, ok := data.(promResult); ok {
		r.write(out)
	} else if err := json.NewEncoder(out).Encode(data); err != nil {
		return errors.Join(err, out.Flush())
	}
	if len(warnings) > 0 {
		text, _ := json.Marshal(warnings) // texts always encode
		_, _ = fmt.Fprintf(out, `,"warnings":%s`, text)
	}
	_, _ = out.WriteString("}\n")
	return out.Flush()
}

// place says where an expression goes wrong.
func place(f *fault.Error) string {
	if line, ok := f.Extra["line"]; ok {
		return fmt.Sprintf("%v:%v: ", line, f.Extra["column"])
	}
	return ""
}

// promResult writes the result of a query without another copy of it in memory.
type promResult struct{ metrics.Result }

func (r promResult) write(w *bufio.Writer) {
	fmt.Fprintf(w, `{"resultType":%q,"result":`, r.Type)
	switch r.Type {
	case metrics.Scalar:
		writePoint(w, r.Series[0].Points[0])
	case metrics.Text:
		text, _ := json.Marshal(r.Text)
		fmt.Fprintf(w, `[%s,%s]`, seconds(time.Time{}), text)
	default:
		_ = w.WriteByte('[')
		for i, s := range r.Series {
			if i > 0 {
				_ = w.WriteByte(',')
			}
			r.writeSeries(w, s)
		}
		_ = w.WriteByte(']')
	}
	_ = w.WriteByte('}')
}

func (r promResult) writeSeries(w *bufio.Writer, s metrics.Points) {
	labels := s.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	text, _ := json.Marshal(labels)
	fmt.Fprintf(w, `{"metric":%s,`, text)
	if r.Type == metrics.Vector {
		_, _ = w.WriteString(`"value":`)
		writePoint(w, s.Points[0])
	} else {
		_, _ = w.WriteString(`"values":[`)
		for i, p := range s.Points {
			if i > 0 {
				_ = w.WriteByte(',')
			}
			writePoint(w, p)
		}
		_ = w.WriteByte(']')
	}
	_ = w.WriteByte('}')
}

func writePoint(w *bufio.Writer, p metrics.Point) {
	_ = w.WriteByte('[')
	_, _ = w.WriteString(seconds(p.At))
	_, _ = w.WriteString(`,"`)
	_, _ = w.WriteString(formatFloat(p.Value))
	_, _ = w.WriteString(`"]`)
}

// seconds writes a time as Prometheus does.
func seconds(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64)
}
