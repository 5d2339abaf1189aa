package logdb_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logdb"
	"github.com/waooaw/platform-portal/internal/logdb/logdbtest"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/logs/logstest"
)

var quiet = slog.New(slog.DiscardHandler)

// open starts a store and waits until it answers.
func open(t testing.TB, cfg logdb.Config) *logdb.DB {
	t.Helper()
	cfg.Log = quiet
	if cfg.MinFree == 0 {
		cfg.MinFree = 1
	}
	db, err := logdb.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Stop(context.Background()) })
	logstest.Eventually(t, func() bool {
		_, err := db.Find(t.Context(), logs.Query{Since: time.Now(), Until: time.Now().Add(1), Limit: 1})
		return err == nil
	})
	return db
}

func TestStore(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		logstest.Run(t, func(t *testing.T) logstest.DB { return open(t, logdb.Config{Dir: t.TempDir()}) }, true)
	})
	t.Run("server", func(t *testing.T) {
		logstest.Run(t, func(t *testing.T) logstest.DB {
			url, _ := logdbtest.Server(t, t.TempDir(), "")
			return open(t, logdb.Config{Dir: t.TempDir(), URL: url})
		}, true)
	})
}

// base is a time to begin at, an hour ago.
func base() time.Time { return time.Now().Add(-time.Hour).UTC().Truncate(time.Second) }

func TestFiltersThatCanNotBeUsedAreExplained(t *testing.T) {
	db := open(t, logdb.Config{Dir: t.TempDir()})
	for filter, why := range map[string]string{
		`level:=info | stats count()`:  "pipe at character 13",
		`u:in(_time:1d | fields u)`:    "pipe at character 15",
		`options(concurrency=9) x`:     "options",
		`a)(b`:                         "unparsed tail",
		`x:~"["`:                       "missing closing ]",
		`) or (_time:1d`:               "missing query",
		"say \"a|b\" and `c|d` '|' \"": "say",
	} {
		_, err := db.Matcher(logs.Query{Filter: filter})
		f := fault.As(err)
		if f == nil || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Path != "query.filter" || !strings.Contains(f.Fields[0].Message, why) {
			t.Errorf("%s: %v", filter, err)
		}
	}
	if _, err := db.Matcher(logs.Query{Filter: `"a|b" or 'c|d'`}); err != nil {
		t.Error(err)
	}
}

func TestNothingIsTakenInWhileTheDiskIsNearlyFull(t *testing.T) {
	dir := t.TempDir()
	b := base()
	logstest.Fill(t, open(t, logdb.Config{Dir: filepath.Join(dir, "x")}), []logs.Entry{logstest.Entry(b, "a", "stdout", "before")})
	db, err := logdb.New(logdb.Config{Dir: dir, MinFree: 1 << 60, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Stop(context.Background()) }()
	logstest.Eventually(t, func() bool { return strings.Contains(db.Status(t.Context()).Problem, "disk is nearly full") })
	err = db.Add(t.Context(), []logs.Entry{logstest.Entry(b, "a", "stdout", "later")})
	if f := fault.As(err); f == nil || f.Kind != fault.Unavailable || f.Code != "logs.disk_full" || f.Remedy == "" {
		t.Errorf("adding: %v", err)
	}
}

func TestAStorageThatEndsTheProcessIsSetAside(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(dir, "opening"): "2", filepath.Join(dir, "store", "partitions", "not-a-day", "x"): "damaged", filepath.Join(dir, "cursors.json"): `{"cursors":{"a":"x"}}`,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db := open(t, logdb.Config{Dir: dir})
	logstest.Fill(t, db, []logs.Entry{logstest.Entry(base(), "a", "stdout", "anew")})
	if aside, _ := filepath.Glob(filepath.Join(dir, "store.damaged-*")); len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
	if c, err := db.Load(t.Context()); err != nil || len(c) > 0 {
		t.Errorf("cursors %v, %v: everything has to be read again", c, err)
	}
}

func TestCursorsAreOfOneStore(t *testing.T) {
	dir := t.TempDir()
	db := open(t, logdb.Config{Dir: dir})
	if err := db.Save(t.Context(), map[string]string{"a": "r1-0~1~2"}); err != nil {
		t.Fatal(err)
	}
	if c, err := db.Load(t.Context()); err != nil || c["a"] != "r1-0~1~2" {
		t.Errorf("%v, %v", c, err)
	}
	other, err := logdb.New(logdb.Config{Dir: dir, URL: "http://127.0.0.1:1", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := other.Load(t.Context()); err != nil || len(c) > 0 {
		t.Errorf("another store begins with %v, %v", c, err)
	}
}

func TestAServerThatDoesNotAnswerIsNamedWithoutItsPassword(t *testing.T) {
	db, err := logdb.New(logdb.Config{Dir: t.TempDir(), URL: "http://user:hunter2@127.0.0.1:1", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Add(t.Context(), []logs.Entry{logstest.Entry(base(), "a", "stdout", "x")})
	f := fault.As(err)
	if f == nil || f.Kind != fault.Unavailable || !strings.Contains(f.Why, "127.0.0.1:1") || strings.Contains(err.Error()+fmt.Sprint(f), "hunter2") {
		t.Errorf("%v", err)
	}
	if st := db.Status(t.Context()); st.Problem == "" || strings.Contains(fmt.Sprint(st), "hunter2") {
		t.Errorf("%+v", st)
	}
	if _, err := logdb.New(logdb.Config{Dir: t.TempDir(), URL: "localhost:9428"}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("an address without http: %v", err)
	}
}

func TestTheOldestIsRemovedWhereThereIsTooMuch(t *testing.T) {
	db := open(t, logdb.Config{Dir: t.TempDir(), Most: 1})
	day := time.Now().UTC().Truncate(24 * time.Hour)
	var list []logs.Entry
	for i := range 3 {
		list = append(list, logstest.Entry(day.Add(time.Duration(i-2)*24*time.Hour), "a", "stdout", fmt.Sprint("day ", i)))
	}
	for i := range 1000 {
		list = append(list, logstest.Entry(day.Add(time.Duration(i+1)*time.Millisecond), "a", "stdout", fmt.Sprint("today ", i)))
	}
	logstest.Fill(t, db, list)
	if err := db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	logdb.Sweep(t.Context(), db)
	got, err := db.Find(t.Context(), logs.Query{Since: day.Add(-72 * time.Hour), Until: day, Limit: 10})
	if err != nil || len(got) != 0 {
		t.Errorf("earlier days: %q, %v", logstest.Texts(got), err)
	}
	q := logs.Query{Since: day, Until: day.Add(time.Hour), Oldest: true, Limit: 2000}
	logstest.Eventually(t, func() bool {
		got, err = db.Find(t.Context(), q)
		return err == nil && len(got) < 600
	})
	if len(got) == 0 || got[len(got)-1].Text != "today 999" {
		t.Errorf("%d entries of today stay", len(got))
	}
}

// FuzzSearch: whatever is searched for, the query is one, and what it selects is
// bounded in time and to the agents as it was asked.
func FuzzSearch(f *testing.F) {
	for _, s := range [][2]string{{`time order-17`, ""}, {`"a phrase" -x a:b status:>=500 f:*`, `level:=error`}, {`"`, `a or b`}, {"a\x00\"", "x # comment"},
		{`a) or (b`, `a) or (b`}, {"", "_time:1d"}, {`-`, "`|`"}, {`a:"b|c"`, `options(a=b) x`}, {"*", "*"}, {`x:>1`, `in(a | fields b)`}} {
		f.Add(s[0], s[1])
	}
	until := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text, filter string) {
		if strings.TrimSpace(filter) != "" {
			if err := logdb.CheckFilter(filter); err != nil {
				if fault.As(err) == nil {
					t.Errorf("%q: %v", filter, err)
				}
				filter = ""
			}
		}
		asked := logdb.Selection(logs.Query{Text: text, Filter: filter, Agents: []string{"a"}, Since: until.Add(-time.Hour), Until: until})
		q, err := logstorage.ParseQuery(asked)
		if err != nil {
			t.Fatalf("%q, %q: %s: %v", text, filter, asked, err)
		}
		lowest, highest := q.GetFilterTimeRange()
		if lowest < until.Add(-time.Hour).UnixNano() || highest > until.UnixNano() {
			t.Errorf("%q, %q: from %s to %s: %s", text, filter, time.Unix(0, lowest).UTC(), time.Unix(0, highest).UTC(), asked)
		}
		if s := q.String(); strings.Contains(text+filter, "|") == false && strings.Contains(s, "|") || !strings.Contains(s, "{agent=") && !strings.Contains(s, `agent in ("a")`) && !strings.Contains(s, "agent in (a)") && !strings.Contains(s, "agent=~") {
			t.Errorf("%q, %q: %s", text, filter, s)
		}
	})
}
