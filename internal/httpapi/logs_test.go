package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/logs/logstest"
)

// wrote makes the store hold n entries of each of two agents, and gives the time
// of the first.
func (w *world) wrote(n int) time.Time {
	first := time.Now().Add(-30 * time.Minute).UTC().Truncate(time.Second)
	var list []logs.Entry
	for i := range n {
		at := first.Add(time.Duration(i) * time.Second)
		list = append(list, logstest.Entry(at, "one", "stdout", fmt.Sprintf(`{"level":"info","msg":"order %d","status":%d}`, i, 200+i)),
			logstest.Entry(at, "two", "stderr", fmt.Sprintf("ERROR <b>order %d</b> fails", i)))
	}
	if err := w.entries.Add(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
	return first
}

func said(page observe.LogPage) string {
	var out []string
	for _, e := range page.Items {
		out = append(out, e.Text)
	}
	return strings.Join(out, "|")
}

func TestLogsOfAllAgents(t *testing.T) {
	w := newWorld(t)
	w.running("One")
	w.wrote(5)
	get := func(query string) observe.LogPage {
		return decode[observe.LogPage](t, w.do("GET", api+"/logs"+query, nil))
	}
	if page := get("?limit=2"); said(page) != "<b>order 4</b>|" && len(page.Items) != 2 {
		t.Errorf("newest: %s", said(page))
	}
	if page := get("?agent=ONE&q=order&order=asc"); said(page) != "order 0|order 1|order 2|order 3|order 4" || fmt.Sprint(page.Filtered) != "[one]" {
		t.Errorf("one agent: %s of %v", said(page), page.Filtered)
	}
	if page := get("?level=error&q=" + url.QueryEscape("order 3")); said(page) != "ERROR <b>order 3</b> fails" {
		t.Errorf("errors: %s", said(page))
	}
	if page := get("?q=" + url.QueryEscape("status:>=203")); said(page) != "order 4|order 3" {
		t.Errorf("a field: %s", said(page))
	}
	var all []string
	for cursor, pages := "", 0; pages < 10; pages++ {
		page := get("?limit=3&cursor=" + cursor)
		all = append(all, said(page))
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if got := strings.Split(strings.Join(all, "|"), "|"); len(got) != 10 || got[9] != "order 0" && got[9] != "ERROR <b>order 0</b> fails" {
		t.Errorf("by pages: %q", got)
	}
}

func TestLogsAroundAnEntryAndOverTime(t *testing.T) {
	w := newWorld(t)
	first := w.wrote(5)
	page := decode[observe.LogPage](t, w.do("GET", api+"/logs?agent=one&limit=1&q="+url.QueryEscape(`"order 2"`)+"", nil))
	e := page.Items[0]
	around := decode[observe.LogContext](t, w.do("GET", api+"/logs/context?agent=one&before=1&after=1&instance="+e.Instance+"&cursor="+e.Cursor, nil))
	if len(around.Items) != 3 || around.At != 1 || around.Items[0].Text != "order 1" || around.Items[2].Text != "order 3" {
		t.Errorf("%+v", around)
	}
	w.do("GET", api+"/logs/context?agent=two&instance="+e.Instance+"&cursor="+e.Cursor, nil).want(t, 404)
	span := "?since=" + first.Format(time.RFC3339) + "&until=" + first.Add(5*time.Second).Format(time.RFC3339)
	h := decode[observe.LogHistogram](t, w.do("GET", api+"/logs/histogram"+span+"&buckets=5", nil))
	if h.Total != 10 || len(h.Buckets) != 5 || h.Step != 1 || h.Buckets[2].Counts[logs.Error] != 1 || !h.Buckets[2].At.Equal(first.Add(2*time.Second)) {
		t.Errorf("%+v", h)
	}
	fields := items(t, w.do("GET", api+"/logs/fields"+span, nil))
	if fmt.Sprint(fields[0]["count"]) != "10" {
		t.Errorf("fields %v", fields)
	}
	values := items(t, w.do("GET", api+"/logs/fields"+span+"&field=status&agent=one", nil))
	if len(values) != 5 || values[0]["value"] != "200" {
		t.Errorf("values %v", values)
	}
}

func TestLogsAsFiles(t *testing.T) {
	w := newWorld(t)
	w.wrote(1200)
	r := w.do("GET", api+"/logs/download?agent=two&limit=1100", nil).want(t, 200)
	lines := strings.Split(strings.TrimSpace(r.Body), "\n")
	if len(lines) != 1100 || !strings.HasSuffix(lines[1099], " two two-r1-0 stderr ERROR ERROR <b>order 1099</b> fails") || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") ||
		!strings.Contains(r.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%d lines, the last %q, %v", len(lines), lines[len(lines)-1], r.Header)
	}
	r = w.do("GET", api+"/logs/download?agent=one&format=jsonl&order=desc&limit=2", nil).want(t, 200)
	var e logs.Entry
	if err := json.Unmarshal([]byte(strings.Split(r.Body, "\n")[0]), &e); err != nil || e.Text != "order 1199" || e.Fields["status"] != "1399" {
		t.Errorf("%v: %s", err, r.Body)
	}
}

func TestQuestionsAboutLogsThatCanNotBeAnswered(t *testing.T) {
	w := newWorld(t)
	for query, path := range map[string]string{
		"/logs?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z": "query.since", "/logs?level=loud": "query.level", "/logs?limit=1001": "query.limit",
		"/logs?cursor=x": "query.cursor", "/logs?filter=%7C": "query.filter", "/logs/tail?cursor=-1": "query.cursor", "/logs/histogram?buckets=0": "query.buckets",
		"/logs?since=0001-01-01T00:00:01Z&until=2026-01-01T00:00:00Z": "query.since", "/logs?q=" + strings.Repeat("x", 1001): "query.q",
	} {
		r := w.do("GET", api+query, nil).want(t, 400)
		if paths := fmt.Sprint(errorPaths(t, r)); !strings.Contains(paths, path) {
			t.Errorf("%s: %s", query, r.Body)
		}
	}
	w.entries.Refuse = func() error {
		return fault.New(fault.Unavailable, "logs.disk_full", "The disk is nearly full").Do("Free it.")
	}
	w.do("GET", api+"/logs", nil).want(t, 503)
	w.do("GET", api+"/logs/download", nil).want(t, 503)
	if st := decode[logs.Status](t, w.do("GET", api+"/logs/status", nil)); st.Problem != "The disk is nearly full" || st.Remedy != "Free it." {
		t.Errorf("%+v", st)
	}
}

func TestLogsAreFollowed(t *testing.T) {
	w := newWorld(t)
	w.output.Write("one", "one-r1-0", "stdout", time.Now().UTC(), "INFO before")
	if err := w.taking.Start(w.ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.taking.Stop(context.Background()) })
	logstest.Eventually(t, func() bool { return len(w.entries.All()) == 1 })
	next, place := w.tail(t, "?level=info&agent=one", "")
	w.output.Write("one", "one-r1-0", "stdout", time.Now().UTC(), "DEBUG not this")
	w.output.Write("one", "one-r1-0", "stdout", time.Now().UTC(), `{"level":"error","msg":"<i>now</i>"}`)
	w.taking.Poke("one")
	if got := next(); got != "<i>now</i>" {
		t.Errorf("first %q", got)
	}
	w.output.Write("one", "one-r1-0", "stdout", time.Now().UTC(), "INFO while away")
	w.taking.Poke("one")
	if got := next(); got != "INFO while away" {
		t.Errorf("then %q", got)
	}
	back, _ := w.tail(t, "?agent=one", place.first())
	if got := back(); got != "INFO while away" {
		t.Errorf("back again comes %q", got)
	}
	w.service.Drain()
	if got := next(); got != "" {
		t.Errorf("after the end came %q", got)
	}
}

// tail follows; next gives the text of the next entry, "" at the end.
func (w *world) tail(t *testing.T, query, last string) (next func() string, place *places) {
	t.Helper()
	secret, _, err := w.auth.CreateToken(auth.With(t.Context(), auth.System), fmt.Sprint("follower", last != ""), auth.Viewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+api+"/logs/tail"+query, nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	place = &places{}
	return func() string {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				*place = append(*place, text)
			}
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			var e logs.Entry
			if ok && json.Unmarshal([]byte(text), &e) == nil {
				return e.Text
			}
		}
		return ""
	}, place
}

// places are the ids of the events that came.
type places []string

func (p *places) first() string { return (*p)[0] }
