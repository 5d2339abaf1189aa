package scrape_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/scrape"
)

// instance serves /metrics with h and gives the target to ask.
func instance(t *testing.T, h http.HandlerFunc) metrics.Target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return metrics.Target{AgentID: "a", InstanceID: "a-1", Port: port}
}

func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

const good = `# HELP agent_tasks_total Tasks.
# TYPE agent_tasks_total counter
agent_tasks_total{status="done"} 40
agent_tasks_total{status="failed"} 2
# TYPE agent_task_duration_seconds histogram
agent_task_duration_seconds_bucket{type="a",le="0.1"} 3
agent_task_duration_seconds_bucket{type="a",le="1"} 5
agent_task_duration_seconds_bucket{type="a",le="+Inf"} 6
agent_task_duration_seconds_sum{type="a"} 9
agent_task_duration_seconds_count{type="a"} 6
agent_task_duration_seconds_bucket{type="b",le="0.1"} 1
agent_task_duration_seconds_bucket{type="b",le="1"} 1
agent_task_duration_seconds_bucket{type="b",le="+Inf"} 1
agent_task_duration_seconds_sum{type="b"} 0.05
agent_task_duration_seconds_count{type="b"} 1
agent_tokens_total{kind="input",model="x"} 100
agent_tokens_total{kind="input",model="y"} 11
agent_tokens_total{kind="output"} 7
agent_cost_usd_total 0.25
process_cpu_seconds_total 1.5
process_resident_memory_bytes 2.5e+07
`

func TestPageReadsTheContract(t *testing.T) {
	p, err := scrape.Client{}.Page(t.Context(), instance(t, page(good)))
	if err != nil {
		t.Fatal(err)
	}
	if p.Tasks["done"] != 40 || p.Tasks["failed"] != 2 || p.Tokens["input"] != 111 || p.Tokens["output"] != 7 {
		t.Errorf("tasks %v, tokens %v", p.Tasks, p.Tokens)
	}
	if *p.Cost != 0.25 || *p.CPU != 1.5 || *p.Memory != 2.5e7 || len(p.Dropped) != 0 {
		t.Errorf("cost %v, cpu %v, memory %v, dropped %v", *p.Cost, *p.CPU, *p.Memory, p.Dropped)
	}
	h := p.Duration
	if h == nil || h.Total != 7 || h.Sum != 9.05 || fmt.Sprint(h.Bounds, h.Counts) != "[0.1 1] [4 6]" {
		t.Errorf("duration %+v", h)
	}
}

// What an agent does wrong in one metric must not cost the others.
func TestPageLeavesOutWhatCannotBe(t *testing.T) {
	p, err := scrape.Client{}.Page(t.Context(), instance(t, page(`agent_tasks_total{status="done"} 3
agent_cost_usd_total -1
process_resident_memory_bytes NaN
agent_task_duration_seconds 4
this line of another metric is garbage {{{
`)))
	if err != nil {
		t.Fatal(err)
	}
	if p.Tasks["done"] != 3 || p.Cost != nil || p.Memory != nil || p.Duration != nil || p.CPU != nil || p.Tokens != nil {
		t.Errorf("%+v", p)
	}
	for _, name := range []string{"agent_cost_usd_total", "process_resident_memory_bytes", "agent_task_duration_seconds"} {
		if !strings.Contains(strings.Join(p.Dropped, "\n"), name) {
			t.Errorf("%s is not named among what was left out: %q", name, p.Dropped)
		}
	}
}

func TestHistogramsThatContradictThemselvesAreLeftOut(t *testing.T) {
	for name, text := range map[string]string{
		"falling":   "x_bucket{le=\"1\"} 5\nx_bucket{le=\"2\"} 4\nx_count 5\nx_sum 1\n",
		"few":       "x_bucket{le=\"1\"} 5\nx_count 3\nx_sum 1\n",
		"different": "x_bucket{a=\"1\",le=\"1\"} 5\nx_count{a=\"1\"} 5\nx_bucket{a=\"2\",le=\"2\"} 5\nx_count{a=\"2\"} 5\n",
	} {
		text = "# TYPE x histogram\n" + text
		text = strings.ReplaceAll(strings.ReplaceAll(text, "x_", "agent_task_duration_seconds_"), "TYPE x ", "TYPE agent_task_duration_seconds ")
		p, err := scrape.Client{}.Page(t.Context(), instance(t, page(text)))
		if err != nil || p.Duration != nil || len(p.Dropped) != 1 {
			t.Errorf("%s: %+v, %q, %v", name, p.Duration, p.Dropped, err)
		}
	}
}

func TestInstancesWithoutMetricsSaySo(t *testing.T) {
	targets := map[string]metrics.Target{
		"answers 404": instance(t, http.NotFound),
		"none of the": instance(t, page("<!doctype html><title>hello</title>")),
		"answers 302": instance(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}),
		"not a port":   {Port: -1},
		"none of the ": instance(t, page("")),
	}
	// A port that nobody listens on: last, or one of the others gets it.
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	targets["nothing listens"] = metrics.Target{Port: closed.Addr().(*net.TCPAddr).Port}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, target := range targets {
		_, err := scrape.Client{}.Page(t.Context(), target)
		if !errors.Is(err, metrics.ErrNone) || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The reason must be there and name who is to blame; the rest of the agent's
// text must not get through as it is.
func TestHostilePagesAreRefused(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "exploding_labels{user=\"%d\"} 1\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"100 MB": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := bytes.Repeat([]byte("huge_metric{a=\"b\"} 1\n"), 50_000)
			for range 100 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "over 4096 KiB, most of it huge_metric"},
		"one endless line": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := bytes.Repeat([]byte("a"), 1<<20)
			for range 100 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "over 4096 KiB"},
		"label explosion": {page(good + many(6000)), "6018 series, and 5000 are allowed; most are of exploding_labels"},
		"no number":       {page("agent_tasks_total{status=\"done\"} many\n"), "not Prometheus text: expected float"},
		"cut off":         {page("agent_tasks_total{status=\"do"), "not Prometheus text"},
		"500":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "GET /metrics: 500"},
		"gzip bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte{0x1f, 0x8b})
		}, "compressed"},
		"large headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}, "exceeded"},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "agent_tasks_total 1\n")
		}, "broke off"},
		"escape sequences": {page("agent_tasks_total{status=\"\x1b[31m\u202e\"} oops\x1b[0m\n"), "not Prometheus text"},
	} {
		_, err := scrape.Client{}.Page(t.Context(), instance(t, c.h))
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, metrics.ErrNone) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
			continue
		}
		if text := err.Error(); len(text) > 400 || strings.ContainsAny(text, "\x1b\u202e\n") {
			t.Errorf("%s: what the agent sent is shown as it is: %q", name, text)
		}
	}
}

// Everything on the page is stored, not only what the contract knows.
func TestAllSamplesOfAPageAreGiven(t *testing.T) {
	p, err := scrape.Client{}.Page(t.Context(), instance(t, page(`# HELP cache_hits_total Hits of the cache.
# TYPE cache_hits_total counter
cache_hits_total{tier="1",empty=""} 3
# TYPE cache_bytes gauge
cache_bytes 1.5e3
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.5"} 1
wait_seconds_bucket{le="+Inf"} 2
wait_seconds_sum 4
wait_seconds_count 2
# TYPE size summary
size{quantile="0.5"} 7
size_sum 8
size_count 1
untyped_thing NaN
`)))
	if !errors.Is(err, metrics.ErrNone) || p.Refused != nil {
		t.Fatalf("%v, %v", err, p.Refused)
	}
	var got []string
	for _, s := range p.Samples {
		got = append(got, fmt.Sprint(s.Labels, "=", s.Value))
	}
	want := []string{
		"map[__name__:cache_bytes]=1500", "map[__name__:cache_hits_total tier:1]=3",
		"map[__name__:size quantile:0.5]=7", "map[__name__:size_count]=1", "map[__name__:size_sum]=8",
		"map[__name__:untyped_thing]=NaN",
		"map[__name__:wait_seconds_bucket le:0.5]=1", "map[__name__:wait_seconds_bucket le:+Inf]=2",
		"map[__name__:wait_seconds_count]=2", "map[__name__:wait_seconds_sum]=4",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !p.Grows["cache_hits_total"] || !p.Grows["wait_seconds_bucket"] || p.Grows["cache_bytes"] {
		t.Errorf("what counts up: %v", p.Grows)
	}
	if m := p.About["cache_hits_total"]; m.Type != "counter" || m.Help != "Hits of the cache." {
		t.Errorf("about: %+v", p.About)
	}
}

// A line that makes no sense is named; nothing of the page is stored, and the
// figures of the contract are still known.
func TestInvalidTextIsRefusedWithItsLine(t *testing.T) {
	for what, c := range map[string]struct{ text, want, metric string }{
		"no value":   {"agent_tasks_total 1\nother{a=\"b\"}\n", "in line 2", "other"},
		"no number":  {"agent_tasks_total 1\n\nother many\n", "in line 3", "other"},
		"long label": {"agent_tasks_total 1\nother{a=\"" + strings.Repeat("a", 5000) + "\"} 1\n", "longer than 1024", "other"},
		"many labels": {"agent_tasks_total 1\nother{" + func() (s string) {
			for i := range 60 {
				s += fmt.Sprintf("l%d=\"v\",", i)
			}
			return s
		}() + "} 1\n", "has 61 labels", "other"},
	} {
		p, err := scrape.Client{}.Page(t.Context(), instance(t, page(c.text)))
		if err != nil || p.Tasks[""] != 1 || len(p.Samples) != 0 {
			t.Errorf("%s: tasks %v, %d samples, %v", what, p.Tasks, len(p.Samples), err)
		}
		if r := p.Refused; r == nil || !strings.Contains(r.Why, c.want) || r.Metric != c.metric || len(p.Dropped) != 1 || len(r.Why) > 400 {
			t.Errorf("%s: %+v, dropped %q", what, r, p.Dropped)
		}
	}
}

// FuzzPage: whatever an agent serves, it is read or refused.
func FuzzPage(f *testing.F) {
	for _, text := range []string{good, "x{", "x{a=\"b\"} 1 2 3", "# TYPE x histogram\nx_bucket{le=\"a\"} 1\n", "# HELP x \\\n", "x{a=\"\\\"} NaN\n", "\x00", "# TYPE a summary\na{quantile=\"x\"} 1"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := scrape.Read(body)
		var refusal *metrics.Refusal
		if err != nil && !errors.Is(err, metrics.ErrNone) && !errors.As(err, &refusal) {
			t.Errorf("%v", err)
		}
		for _, s := range p.Samples {
			if err := metrics.CheckLabels(s.Labels); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLabelsAreShownHarmlessly(t *testing.T) {
	p, err := scrape.Client{}.Page(t.Context(), instance(t, page("agent_tasks_total{status=\"\x1b[31m\u202eevil\\n"+strings.Repeat("x", 1000)+"\"} 1\n")))
	if err != nil || len(p.Tasks) != 1 {
		t.Fatalf("%v, %v", p.Tasks, err)
	}
	for status := range p.Tasks {
		if len(status) > 110 || strings.ContainsAny(status, "\x1b\u202e\n") {
			t.Errorf("the label is %q", status)
		}
	}
}

func TestAnInstanceThatHangsIsLeft(t *testing.T) {
	let := make(chan struct{})
	hangs := instance(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-let:
		case <-r.Context().Done():
		}
	})
	trickles := instance(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, "a 1\n"); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-let:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	defer close(let)
	for name, target := range map[string]metrics.Target{"silent": hangs, "trickling": trickles} {
		_, err := scrape.Client{Timeout: 100 * time.Millisecond}.Page(t.Context(), target)
		if err == nil || !strings.Contains(err.Error(), "no answer within 100ms") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (scrape.Client{}).Page(ctx, hangs); err == nil {
		t.Error("asked although the context had ended")
	}
}
