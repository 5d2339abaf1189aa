package logstest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/logs"
)

// DB is a store with everything that one has to do.
type DB interface {
	logs.Store
	logs.Sink
	logs.Cursors
}

// Run holds a store to what every store does. Open gives a fresh one. Filters says
// that it knows filters in LogsQL.
func Run(t *testing.T, open func(t *testing.T) DB, filters bool) {
	t.Run("found", func(t *testing.T) { found(t, open(t), filters) })
	t.Run("kept", func(t *testing.T) { kept(t, open(t)) })
	t.Run("counted", func(t *testing.T) { counted(t, open(t)) })
	t.Run("cursors", func(t *testing.T) { cursors(t, open(t)) })
}

func cursors(t *testing.T, db DB) {
	want := map[string]string{"a": "r1-0~1~2", "b": "x"}
	if c, err := db.Load(t.Context()); err != nil || len(c) > 0 {
		t.Errorf("at first %v, %v", c, err)
	}
	for range 2 {
		if err := db.Save(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := db.Load(t.Context()); err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%v, %v", c, err)
	}
}

// Eventually polls until ok, or the test fails.
func Eventually(t testing.TB, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it did not come to be")
		}
	}
}

// base is a time to begin at, an hour ago.
func base() time.Time { return time.Now().Add(-time.Hour).UTC().Truncate(time.Second) }

// Entry makes one of a line.
func Entry(at time.Time, agent, stream, line string) logs.Entry {
	e := logs.Entry{At: at, AgentID: agent, Instance: agent + "-r1-0", Stream: stream}
	e.Parse(line)
	return e
}

// Fill adds entries and waits until they are found.
func Fill(t testing.TB, db DB, list []logs.Entry) {
	t.Helper()
	if err := db.Add(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	q := logs.Query{Since: list[0].At.Add(-time.Hour), Until: list[len(list)-1].At.Add(time.Hour), Limit: len(list)}
	Eventually(t, func() bool {
		_, err := db.Times(t.Context(), list[0].AgentID, list[0].At, list[0].At)
		got, err2 := db.Find(t.Context(), q)
		return err == nil && err2 == nil && len(got) == len(list)
	})
}

// Texts are what entries say.
func Texts(list []logs.Entry) (out []string) {
	for _, e := range list {
		out = append(out, e.Text)
	}
	return out
}

func found(t *testing.T, db DB, filters bool) {
	b := base()
	Fill(t, db, []logs.Entry{
		Entry(b, "a", "stdout", `{"level":"info","msg":"order 1 shipped","order_id":"X-17","status":200,"agent":"courier"}`),
		Entry(b.Add(1), "a", "stderr", "ERROR \x1b[31mcan't reach\x1b[0m localhost:5432"),
		Entry(b.Add(time.Second), "b", "stdout", `level=warn msg="slow answer" took=900ms status=503`),
		Entry(b.Add(time.Minute), "b", "stdout", "DEBUG looking at order 12"),
		Entry(b.Add(2*time.Minute), "b", "portal", "started"),
	})
	all := logs.Query{Since: b.Add(-time.Minute), Until: b.Add(time.Hour), Limit: 10}
	for name, c := range map[string]struct {
		change func(q *logs.Query)
		want   string
	}{
		"everything, the newest first": {func(*logs.Query) {}, "started|DEBUG looking at order 12|slow answer|ERROR can't reach localhost:5432|order 1 shipped"},
		"the oldest first":             {func(q *logs.Query) { q.Oldest, q.Limit = true, 2 }, "order 1 shipped|ERROR can't reach localhost:5432"},
		"skipped":                      {func(q *logs.Query) { q.Skip, q.Limit = 1, 2 }, "DEBUG looking at order 12|slow answer"},
		"words in any case":            {func(q *logs.Query) { q.Text = "ORDER" }, "DEBUG looking at order 12|order 1 shipped"},
		"beginnings of words":          {func(q *logs.Query) { q.Text = "ship" }, "order 1 shipped"},
		"all words":                    {func(q *logs.Query) { q.Text = "order looking" }, "DEBUG looking at order 12"},
		"phrases":                      {func(q *logs.Query) { q.Text = `"order 1"` }, "order 1 shipped"},
		"without":                      {func(q *logs.Query) { q.Text = "order -looking" }, "order 1 shipped"},
		"what fields say":              {func(q *logs.Query) { q.Text = "x-17" }, "order 1 shipped"},
		"a field":                      {func(q *logs.Query) { q.Text = "order_id:x-1" }, "order 1 shipped"},
		"a number in a field":          {func(q *logs.Query) { q.Text = "status:>=500" }, "slow answer"},
		"a field that is there":        {func(q *logs.Query) { q.Text = "order_id:*" }, "order 1 shipped"},
		"a field named as ours":        {func(q *logs.Query) { q.Text = "courier" }, "order 1 shipped"},
		"an address":                   {func(q *logs.Query) { q.Text = "localhost:5432" }, "ERROR can't reach localhost:5432"},
		"colours aside":                {func(q *logs.Query) { q.Text = `"can't reach localhost"` }, "ERROR can't reach localhost:5432"},
		"what breaks quotes":           {func(q *logs.Query) { q.Text = `") or (*` }, ""},
		"errors":                       {func(q *logs.Query) { q.Level = logs.Error }, "ERROR can't reach localhost:5432"},
		"warnings and errors":          {func(q *logs.Query) { q.Level = logs.Warn }, "slow answer|ERROR can't reach localhost:5432"},
		"info and what does not say":   {func(q *logs.Query) { q.Level = logs.Info }, "started|slow answer|ERROR can't reach localhost:5432|order 1 shipped"},
		"an agent":                     {func(q *logs.Query) { q.Agents = []string{"a"} }, "ERROR can't reach localhost:5432|order 1 shipped"},
		"an instance":                  {func(q *logs.Query) { q.Instance = "a-r1-0" }, "ERROR can't reach localhost:5432|order 1 shipped"},
		"a stream":                     {func(q *logs.Query) { q.Stream = "portal" }, "started"},
		"a time":                       {func(q *logs.Query) { q.Since, q.Until = b.Add(1), b.Add(time.Minute) }, "slow answer|ERROR can't reach localhost:5432"},
		"a filter":                     {func(q *logs.Query) { q.Filter = `status:range[200,300) or level:=debug` }, "DEBUG looking at order 12|order 1 shipped"},
		"a filter with a comment":      {func(q *logs.Query) { q.Filter, q.Agents = `order # not all`, []string{"b"} }, "DEBUG looking at order 12"},
	} {
		q := all
		if c.change(&q); q.Filter != "" && !filters {
			continue
		}
		got, err := db.Find(t.Context(), q)
		if err != nil || strings.Join(Texts(got), "|") != c.want {
			t.Errorf("%s: %q, %v", name, Texts(got), err)
		}
		match, err := db.Matcher(q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, e := range got {
			if !match(&e) {
				t.Errorf("%s: the live tail would leave out %q", name, e.Text)
			}
		}
	}
}

func kept(t *testing.T, db DB) {
	b := base()
	want := []logs.Entry{
		Entry(b.Add(123), "a", "stdout", `{"msg":"all","level":"info","instance":"mine","_msg":"own","lines":"many","field.x":"y","fields":"f"}`),
		Entry(b.Add(456), "a", "stderr", "\x1b[1mbold\x1b[0m \ufffd <script>alert(1)</script>"),
	}
	want[1].Lines, want[1].Cut = 17, 5_000_000
	Fill(t, db, want)
	got, err := db.Find(t.Context(), logs.Query{Since: b, Until: b.Add(time.Minute), Oldest: true, Limit: 5})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
}

func counted(t *testing.T, db DB) {
	b := base().Truncate(time.Minute)
	var list []logs.Entry
	for i := range 90 {
		level := []string{"INFO", "ERROR", "just"}[i%3]
		list = append(list, Entry(b.Add(time.Duration(i)*2*time.Second), "a", "stdout", fmt.Sprintf(`%s said by worker-%d`, level, i%2)))
		list[i].Fields = map[string]string{"worker": fmt.Sprint(i % 2)}
	}
	Fill(t, db, list)
	q := logs.Query{Since: b, Until: b.Add(time.Hour)}
	got, err := db.Count(t.Context(), q, time.Minute)
	if err != nil || len(got) != 3 || got[1].Total != 30 || got[1].Counts[logs.Error] != 10 || got[1].Counts[""] != 10 || !got[1].At.Equal(b.Add(time.Minute)) {
		t.Errorf("%+v, %v", got, err)
	}
	fields, err := db.Fields(t.Context(), q)
	if err != nil || !slices.Contains(fields, logs.Value{Value: "worker", Count: 90}) || !slices.ContainsFunc(fields, func(v logs.Value) bool { return v.Value == "level" && v.Count >= 60 }) {
		t.Errorf("fields %+v, %v", fields, err)
	}
	values, err := db.Values(t.Context(), q, "worker", 5)
	if err != nil || len(values) != 2 || values[0].Count != 45 {
		t.Errorf("values %+v, %v", values, err)
	}
	times, err := db.Times(t.Context(), "a", list[3].At, list[5].At)
	if err != nil || len(times["a-r1-0"]) != 3 {
		t.Errorf("times %v, %v", times, err)
	}
}
