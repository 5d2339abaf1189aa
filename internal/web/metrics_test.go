package web_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/tsdb"
	"github.com/waooaw/platform-portal/internal/web"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// charted keeps real time series: two agents that have done tasks for two hours,
// "memory" one a second and "user" two.
func charted(t *testing.T) func(*web.Config) {
	t.Helper()
	db := tsdb.New(tsdb.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	must(t, db.Start(t.Context()))
	t.Cleanup(func() { _ = db.Stop(context.Background()) })
	now := time.Now()
	var batch []metrics.Sample
	for i := range 481 {
		at := now.Add(time.Duration(i-480) * 15 * time.Second)
		for pace, id := range map[float64]string{1: "memory", 2: "user"} {
			add := func(name, job string, v float64, more ...string) {
				batch = append(batch, metrics.Sample{Labels: metrics.Labels(name, job, id, id, id+"-r1-0", more...), At: at, Value: v})
			}
			add("up", "agent", 1)
			add("agent_tasks_total", "agent", pace*float64(15*i), "status", "done")
			add("agent_cost_usd_total", "agent", pace*float64(i)/100)
			add("instance_memory_bytes", "runtime", pace*1e6)
		}
	}
	must(t, db.Append(t.Context(), batch))
	return func(c *web.Config) { c.Series = db }
}

func TestChartsOfTheFleetAndOfAgents(t *testing.T) {
	h := lively(t)
	page := h.page(auth.Viewer, "/charts")
	h.contains(page, "All agents together,", "Tasks a minute", "180", "Memory", view.Bytes(3e6), "Cost an hour", "No values in this time", "changes in this time")
	h.marks(page, `data-chart="`, `class="chart-mark"`, `data-every="15"`, `aria-current="page"`)
	both := h.page(auth.Viewer, "/charts?agent=MEMORY&with=user&window=15m")
	h.contains(both, "Our memory", "User", "60", "120")
	h.marks(both, `href="/agents/memory?tab=metrics"`, "chart-color-2")
	// Each line is named, with what it is now, and leads to its agent.
	tasks := both[strings.Index(both, `aria-label="Lines of Tasks a minute"`):]
	tasks = tasks[:strings.Index(tasks, "</ul>")]
	for i, want := range []string{`chart-color-1`, `href="/agents/memory?tab=metrics"`, `Our memory`, `>60<`, `chart-color-2`, `User`, `>120<`} {
		at := strings.Index(tasks, want)
		if at < 0 {
			t.Errorf("legend, %d: no %s in order in %s", i, want, tasks)
			break
		}
		tasks = tasks[at:]
	}
	// An agent that is not there has no series, and the others do.
	h.contains(h.page(auth.Viewer, "/charts?with=memory,nobody"), "nobody (not there)")
}

func TestChartsOfAnotherTime(t *testing.T) {
	h := lively(t)
	now := time.Now().UTC()
	zoomed := "/charts?from=" + now.Add(-40*time.Minute).Format(time.RFC3339) + "&to=" + now.Add(-30*time.Minute).Format(time.RFC3339)
	page := h.page(auth.Viewer, zoomed)
	h.contains(page, "As zoomed", "Now", "Tasks a minute")
	h.lacks(page, `data-every=`)
	compared := h.page(auth.Viewer, "/charts?window=1h&before=same")
	h.contains(compared, "All together, the time right before")
	h.marks(compared, "chart-before")
	for _, bad := range []string{"window=3y", "before=soon", "from=1&to=2", "from=2026-01-01T00:00:00Z&to=2020-01-01T00:00:00Z", "with=a,b,c,d,e,f,g,h,i"} {
		if _, err := h.ask(auth.Viewer, "GET", "/charts?"+bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestExpressionsOfPeople(t *testing.T) {
	h := lively(t)
	page := h.page(auth.Viewer, "/charts?window=15m&q="+url.QueryEscape("sum by (agent) (rate(agent_tasks_total[5m]))"))
	h.contains(page, "Your expression", "memory", "Back to the charts")
	wrong := h.page(auth.Viewer, "/charts?q="+url.QueryEscape("sum(up"))
	h.contains(wrong, "The expression can't be evaluated", "unclosed left parenthesis", "sum(up\n")
	h.marks(wrong, "<pre class=\"query-place\"")
	h.lacks(h.page(auth.Viewer, "/charts?q="+url.QueryEscape(`"<script>alert(1)</script>"`)), "<script>alert")
}

func TestChartsAsFiles(t *testing.T) {
	h := lively(t)
	file := h.send(auth.Viewer, "GET", "/charts/file?panel=tasks&window=5m&with=memory,user&format=csv")
	if file.Code != http.StatusOK || !strings.Contains(file.Header().Get("Content-Disposition"), `filename="tasks-`) {
		t.Fatalf("%d %v", file.Code, file.Header())
	}
	lines := strings.Split(strings.TrimSpace(file.Body.String()), "\n")
	if lines[0] != `time,"{agent=""memory""}","{agent=""user""}"` || len(lines) < 50 || !strings.Contains(lines[len(lines)-2], ",60") && !strings.Contains(lines[len(lines)-2], ",59.9") {
		t.Errorf("%d lines: %s … %s", len(lines), lines[0], lines[len(lines)-2])
	}
	var out struct {
		Query  string
		Series []struct{ Values []*float64 }
	}
	must(t, json.Unmarshal(h.send(auth.Viewer, "GET", "/charts/file?q=up&window=5m&format=json").Body.Bytes(), &out))
	if out.Query != "up" || len(out.Series) != 2 || len(out.Series[0].Values) < 50 {
		t.Errorf("%+v", out)
	}
	if _, err := h.ask(auth.Viewer, "GET", "/charts/file?panel=weather"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a chart that does not exist: %v", err)
	}
}

func TestWithoutSeriesThePageSaysSo(t *testing.T) {
	h := newHome(t)
	h.declares(agent.Spec{Name: "Memory", Template: "memory"})
	h.contains(h.page(auth.Viewer, "/charts"), "No time series are kept here")
}
