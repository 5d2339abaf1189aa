package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/queue"
)

// reports makes two agents that report for a minute, and one that does not.
func reports(t *testing.T, w *world) {
	t.Helper()
	for _, name := range []string{"Busy", "Calm", "Plain"} {
		w.do("POST", "/api/platform/agents", map[string]any{"name": name, "template": "blank"}).want(t, http.StatusCreated)
	}
	targets := map[string]metrics.Target{}
	var running []metrics.Target
	for _, id := range []string{"busy", "calm", "plain"} {
		targets[id] = metrics.Target{AgentID: id, InstanceID: id + "-1", Run: "1", StartedAt: w.clock.Now()}
		running = append(running, targets[id])
	}
	w.windows.Watch(running)
	for i := range 5 {
		n := float64(i)
		w.windows.Take(targets["busy"], metrics.Page{Tasks: map[string]float64{"done": 3 * n, "failed": n}, Cost: new(n / 4)})
		w.windows.Take(targets["calm"], metrics.Page{Tasks: map[string]float64{"done": 0}})
		w.windows.Miss(targets["plain"], "no metrics: GET /metrics answers 404", true)
		w.clock.Forward(15 * time.Second)
	}
	w.windows.SetBacklogs(map[string]queue.Stats{"busy": {Pending: 4}, "calm": {}})
}

func decode[T any](t *testing.T, r reply) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.want(t, http.StatusOK).Body), &v); err != nil {
		t.Fatal(err, r.Body)
	}
	return v
}

func TestMetricsOfTheFleet(t *testing.T) {
	w := newWorld(t)
	reports(t, w)
	got := decode[observe.PlatformMetrics](t, w.do("GET", "/api/platform/metrics?series=tasks_per_minute&series=cost_usd_per_hour&points=5", nil))
	f := got.Fleet
	if f.Agents != 3 || f.Reporting != 2 || *f.CostTotal != 1 || f.Backlog.Waiting != 4 || f.Tasks["done"] != 12 || *f.ErrorRate != 0.25 || f.P95 != nil {
		t.Errorf("%+v", f)
	}
	if len(got.Items) != 3 || got.Items[0].AgentID != "busy" || got.Items[2].Status != metrics.NoMetrics || got.Items[2].TasksPerMinute != nil {
		t.Errorf("%+v", got.Items)
	}
	if len(got.Series) != 2 || got.Series[0].Measure != metrics.MeasureTasks || len(got.Series[0].Values) > 5 || got.Filtered != nil {
		t.Errorf("%+v, filtered by %v", got.Series, got.Filtered)
	}
	some := decode[observe.PlatformMetrics](t, w.do("GET", "/api/platform/metrics?agent=BUSY&agent=nobody", nil))
	if !slices.Equal(some.Filtered, []string{"busy", "nobody"}) || some.Fleet.Agents != 1 || len(some.Items) != 2 || some.Items[1].Status != metrics.Down {
		t.Errorf("%+v", some)
	}
}

func TestMetricsArePaged(t *testing.T) {
	w := newWorld(t)
	reports(t, w)
	var ids []string
	for path := "/api/platform/metrics?limit=1"; ; {
		got := decode[observe.PlatformMetrics](t, w.do("GET", path, nil))
		for _, f := range got.Items {
			ids = append(ids, f.AgentID)
		}
		if got.Next == "" || len(ids) > 3 {
			break
		}
		path = "/api/platform/metrics?limit=1&cursor=" + got.Next
	}
	if fmt.Sprint(ids) != "[busy calm plain]" {
		t.Errorf("%v", ids)
	}
}

func TestMetricsOfAnAgent(t *testing.T) {
	w := newWorld(t)
	reports(t, w)
	got := decode[observe.AgentMetrics](t, w.do("GET", "/api/platform/agents/Busy/metrics?window=1m&series=error_rate", nil))
	if got.AgentID != "busy" || got.Status != metrics.Reporting || got.Window != "1m" || len(got.Series) != 1 || got.Cost == nil {
		t.Errorf("%+v", got)
	}
	// What is not known is not there, rather than 0.
	calm := w.do("GET", "/api/platform/agents/calm/metrics", nil).JSON(t)
	for _, key := range []string{"error_rate", "p95_duration", "cost_usd", "tokens", "memory_bytes"} {
		if v, there := calm[key]; there {
			t.Errorf("%s is %v", key, v)
		}
	}
	if calm["tasks_per_minute"] != 0.0 {
		t.Errorf("tasks a minute: %v", calm["tasks_per_minute"])
	}
	w.do("GET", "/api/platform/agents/nobody/metrics", nil).want(t, http.StatusNotFound)
	for _, query := range []string{"window=2d", "series=weather", "points=0"} {
		r := w.do("GET", "/api/platform/agents/busy/metrics?"+query, nil)
		if r.Status < 400 || r.Status >= 500 {
			t.Errorf("%s: status %d %s", query, r.Status, r.Body)
		}
	}
}
