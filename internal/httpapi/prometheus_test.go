package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/tsdb"
)

// bearer signs requests in.
type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

// stored gives a portal with real time series: up of two agents, and a counter
// that grows by 1 each second.
func stored(t *testing.T) (*world, v1.API, time.Time) {
	t.Helper()
	db := tsdb.New(tsdb.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Stop(context.Background()) })
	w := newWorld(t, func(c *httpapi.Config) { c.Observe.Series, c.Observe.Catalog = db, db })
	now := w.clock.Now().UTC().Truncate(time.Second)
	var batch []metrics.Sample
	for i := range 121 {
		at := now.Add(time.Duration(i-120) * 15 * time.Second)
		for _, agent := range []string{"busy", "calm"} {
			batch = append(batch,
				metrics.Sample{Labels: metrics.Labels("up", "agent", agent, agent, agent+"-1"), At: at, Value: 1},
				metrics.Sample{Labels: metrics.Labels("agent_tasks_total", "agent", agent, agent, agent+"-1", "status", "done"), At: at, Value: float64(15 * i)})
		}
	}
	if err := db.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	client, err := promapi.NewClient(promapi.Config{Address: w.server.URL + "/api/platform/prometheus", RoundTripper: bearer{w.secrets[auth.Viewer]}})
	if err != nil {
		t.Fatal(err)
	}
	return w, v1.NewAPI(client), now
}

// What is made for Prometheus reads the portal, here its own client library.
func TestPrometheusClientsReadThePortal(t *testing.T) {
	_, client, now := stored(t)
	ctx := t.Context()
	v, warnings, _, err := client.Query(ctx, "round(sum by (agent) (rate(agent_tasks_total[5m])), 0.001)", now)
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	if got := v.String(); !strings.Contains(got, `{agent="busy"} => 1 @`) || !strings.Contains(got, `{agent="calm"} => 1 @`) {
		t.Errorf("a vector: %s", got)
	}
	v, _, _, err = client.QueryRange(ctx, "sum(up)", v1.Range{Start: now.Add(-10 * time.Minute), End: now, Step: time.Minute})
	m, ok := v.(model.Matrix)
	if err != nil || !ok || len(m) != 1 || len(m[0].Values) != 11 || m[0].Values[10].Value != 2 {
		t.Errorf("a matrix: %v, %v", v, err)
	}
	if v, _, _, err = client.Query(ctx, "1/0", now); err != nil || v.String() != fmt.Sprintf("scalar: +Inf @[%s]", model.TimeFromUnix(now.Unix())) {
		t.Errorf("a scalar: %v, %v", v, err)
	}
	series, _, _, err := client.Series(ctx, []string{`up{agent="busy"}`}, now.Add(-time.Hour), now)
	if err != nil || len(series) != 1 || series[0]["instance"] != "busy-1" {
		t.Errorf("series: %v, %v", series, err)
	}
	names, _, _, err := client.LabelNames(ctx, nil, now.Add(-time.Hour), now)
	if err != nil || !slices.Contains(names, "agent_name") {
		t.Errorf("names of labels: %v, %v", names, err)
	}
	values, _, _, err := client.LabelValues(ctx, "agent", []string{"up"}, now.Add(-time.Hour), now)
	if err != nil || fmt.Sprint(values) != "[busy calm]" {
		t.Errorf("values of a label: %v, %v", values, err)
	}
	if _, err = client.Metadata(ctx, "", "10"); err != nil {
		t.Errorf("metadata: %v", err)
	}
	if b, err := client.Buildinfo(ctx); err != nil || b.Version == "" {
		t.Errorf("build: %+v, %v", b, err)
	}
}

func TestPrometheusClientsAreToldWhatIsWrong(t *testing.T) {
	w, client, now := stored(t)
	for expr, want := range map[string]v1.ErrorType{"sum(up": v1.ErrBadData, "": v1.ErrBadData, "up / on() up": v1.ErrBadData} {
		_, _, _, err := client.Query(t.Context(), expr, now)
		var e *v1.Error
		if !errors.As(err, &e) || e.Type != want || e.Msg == "" {
			t.Errorf("%q: %#v", expr, err)
		}
	}
	_, _, _, err := client.QueryRange(t.Context(), "up", v1.Range{Start: now.Add(-24 * time.Hour), End: now, Step: time.Second})
	var e *v1.Error
	if !errors.As(err, &e) || e.Type != v1.ErrExec || !strings.Contains(e.Msg, "11000 are allowed") {
		t.Errorf("too many points: %v", err)
	}
	for _, path := range []string{"/query_range?query=up", "/query?query=up&time=soon", "/series", "/series?match[]=up&limit=x", "/query_range?query=up&start=1&end=2&step=never"} {
		r := w.do("GET", "/api/platform/prometheus/api/v1"+path, nil, w.as(auth.Viewer)...)
		if r.Status != http.StatusBadRequest || !strings.Contains(r.Body, `"errorType":"bad_data"`) {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
	w.do("GET", "/api/platform/prometheus/api/v1/query?query=up", nil, w.as(auth.Nobody)...).want(t, http.StatusUnauthorized)
}

func TestQueriesOfTheAPI(t *testing.T) {
	w, _, _ := stored(t)
	got := decode[observe.QueryResult](t, w.do("GET", "/api/platform/metrics/query?query=up&agent=BUSY", nil))
	if got.Type != metrics.Vector || len(got.Series) != 1 || got.Series[0].Labels["agent"] != "busy" || !slices.Equal(got.Filtered, []string{"busy"}) || got.Query != `up{agent="busy"}` {
		t.Errorf("%+v", got)
	}
	all := decode[observe.QueryResult](t, w.do("GET", "/api/platform/metrics/query_range?query=sum(up)%2F0", nil))
	if all.Type != metrics.Matrix || len(all.Series) != 1 || len(all.Series[0].Points) < 100 || all.Filtered != nil {
		t.Errorf("%+v", all)
	}
	bad := w.do("GET", "/api/platform/metrics/query?query=sum(up%20by", nil).want(t, http.StatusBadRequest)
	if p := bad.JSON(t); p["line"] != 1.0 || p["column"] != 8.0 {
		t.Errorf("%s", bad.Body)
	}
	w.do("GET", "/api/platform/metrics/query_range?query=up&start=2020-01-01T00:00:00Z&step=1s", nil).want(t, http.StatusRequestEntityTooLarge)
	w.do("GET", "/api/platform/metrics/query_range?query=up&step=fast", nil).want(t, http.StatusBadRequest)
	w.do("GET", "/api/platform/metrics/query", nil).want(t, http.StatusBadRequest)
}
