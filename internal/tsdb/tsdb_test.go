package tsdb_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/metrics/metricstest"
	"github.com/waooaw/platform-portal/internal/tsdb"
)

// journal is a log that a test can read while others write it.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// opened starts a store over the files in cfg.Dir and stops it with the test.
func opened(t *testing.T, cfg tsdb.Config) *tsdb.DB {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "tsdb")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	db := tsdb.New(cfg)
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, db) })
	return db
}

func stop(t *testing.T, db *tsdb.DB) {
	t.Helper()
	if err := db.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// put appends one sample of n{agent="a"}.
func put(t *testing.T, db *tsdb.DB, at time.Time, v float64) {
	t.Helper()
	err := db.Append(t.Context(), []metrics.Sample{{Labels: map[string]string{metrics.LabelName: "n", "agent": "a"}, At: at, Value: v}})
	if err != nil {
		t.Fatal(err)
	}
}

// value gives the one number that an expression has at a time.
func value(t *testing.T, db *tsdb.DB, expr string, at time.Time) (float64, bool) {
	t.Helper()
	r, err := db.Instant(t.Context(), expr, at)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Series) == 0 {
		return 0, false
	}
	return r.Series[0].Points[0].Value, true
}

func TestStore(t *testing.T) {
	metricstest.Run(t, func(t *testing.T) metricstest.Store { return opened(t, tsdb.Config{}) }, nil)
}

func TestService(t *testing.T) {
	lifecycletest.Run(t, func(t *testing.T) lifecycle.Service {
		return tsdb.New(tsdb.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	})
}

func TestWhatWasKeptIsThereAfterAStop(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	db := opened(t, tsdb.Config{Dir: dir})
	put(t, db, now.Add(-time.Minute), 3)
	stop(t, db)
	if _, err := db.Instant(contextSoon(t), "n", now); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a stopped store answers %v", err)
	}
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, ok := value(t, db, "n", now); !ok || v != 3 {
		t.Errorf("got %v, %v", v, ok)
	}
	if s, err := db.Stats(); err != nil || s.Series != 1 || s.Oldest.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
}

// contextSoon ends before a store that does not open has been waited for.
func contextSoon(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestQuestionsThatCostTooMuchAreRefused(t *testing.T) {
	db := opened(t, tsdb.Config{Limits: metrics.Limits{Samples: 100, Values: 50, Queries: 1, Timeout: time.Minute}})
	now := time.Now()
	var batch []metrics.Sample
	for i := range 60 {
		batch = append(batch, metrics.Sample{Labels: map[string]string{metrics.LabelName: "n", "i": fmt.Sprint(i)}, At: now, Value: 1})
	}
	if err := db.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Instant(t.Context(), "n", now); !fault.Is(err, fault.TooLarge) || fault.As(err).Code != "metrics.values" {
		t.Errorf("60 values: %v", err)
	}
	hour := metrics.Range{Start: now, End: now.Add(time.Minute), Step: time.Second}
	if _, err := db.Range(t.Context(), "n", hour); !fault.Is(err, fault.TooLarge) || fault.As(err).Code != "metrics.samples" {
		t.Errorf("3,600 samples: %v", err)
	}
	if v, ok := value(t, db, "count(n)", now); !ok || v != 60 {
		t.Errorf("a small one: %v, %v", v, ok)
	}
	slow := opened(t, tsdb.Config{Limits: metrics.Limits{Timeout: time.Nanosecond}})
	if _, err := slow.Instant(t.Context(), "n", now); !fault.Is(err, fault.TooLarge) && !fault.Is(err, fault.Unavailable) {
		t.Errorf("a slow one: %v", err)
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	db := opened(t, tsdb.Config{})
	_, err := db.Instant(t.Context(), "sum(rate(up[5m])) by\n  (agent) +", time.Now())
	f := fault.As(err)
	if f == nil || f.Kind != fault.Invalid || f.Extra["line"] != 2 || f.Extra["column"] != 12 || !strings.Contains(f.Fields[0].Message, "unexpected end of input") {
		t.Errorf("%+v", f)
	}
	now := time.Now()
	for _, side := range []string{"l", "r"} {
		for _, k := range []string{"1", "2"} {
			labels := map[string]string{metrics.LabelName: side, "k": k}
			if err := db.Append(t.Context(), []metrics.Sample{{Labels: labels, At: now, Value: 1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := db.Instant(t.Context(), "l / on() r", now); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "many-to-many") {
		t.Errorf("many to many: %v", err)
	}
}

func TestAFullDiskIsWaitedFor(t *testing.T) {
	var mu sync.Mutex
	left, now := uint64(1<<20), time.Now()
	log := &journal{}
	db := opened(t, tsdb.Config{
		Log: slog.New(slog.NewTextHandler(log, nil)),
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
		Free: func(string) (uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			return left, nil
		},
	})
	if _, ok := value(t, db, "n", time.Now()); ok { // it is open
		t.Fatal("not empty")
	}
	sample := []metrics.Sample{{Labels: map[string]string{metrics.LabelName: "n"}, At: time.Now(), Value: 1}}
	for range 3 {
		if err := db.Append(t.Context(), sample); !fault.Is(err, fault.Unavailable) || fault.As(err).Remedy == "" {
			t.Errorf("on a full disk: %v", err)
		}
	}
	if err := db.Ping(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("ping: %v", err)
	}
	mu.Lock()
	left, now = 1<<30, now.Add(time.Minute)
	mu.Unlock()
	if err := db.Append(t.Context(), sample); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n := strings.Count(log.String(), "disk is full"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
}

func TestAFolderThatCannotBeUsedIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db := opened(t, tsdb.Config{Dir: dir})
	_, err := db.Instant(t.Context(), "n", time.Now())
	if f := fault.As(err); f == nil || f.Kind != fault.Unavailable || !strings.Contains(f.What, dir) || f.Remedy == "" {
		t.Errorf("gave %v", err)
	}
	if err := db.Append(t.Context(), []metrics.Sample{{Labels: map[string]string{metrics.LabelName: "n"}}}); err == nil {
		t.Error("kept what can't be kept")
	}
	if db.Ping(t.Context()) == nil {
		t.Error("it says that it is well")
	}
}

// FuzzExpression: whatever is asked, it is answered or refused as a fault.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"up", "rate(x[5m])", "((((", `{a=~".*"}`, "1 +", "sum by(a)(x) / 0", "x[1d:1s]", "-1^1e308", "label_replace(up,\"a\",\"$1\",\"b\",\"(.*)\")"} {
		f.Add(s)
	}
	db := tsdb.New(tsdb.Config{Dir: f.TempDir(), Log: slog.New(slog.DiscardHandler), Limits: metrics.Limits{Timeout: time.Second}})
	if err := db.Start(f.Context()); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Stop(context.Background()) })
	f.Fuzz(func(t *testing.T, expr string) {
		if _, err := db.Instant(t.Context(), expr, time.Now()); err != nil && fault.As(err) == nil {
			t.Errorf("%q: %v", expr, err)
		}
	})
}
