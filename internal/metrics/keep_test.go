package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/metrics/metricstest"
)

// serving answers with samples: a counter that grows by one a second since the
// agent began, and labels of its own that collide with the portal's.
func serving(more ...metrics.Sample) func(context.Context) (metrics.Page, error) {
	started := time.Now()
	return func(context.Context) (metrics.Page, error) {
		p := did(time.Since(started).Seconds(), 0)
		p.Grows = map[string]bool{"work_total": true}
		p.About = map[string]metrics.Metadata{"work_total": {Type: "counter", Help: "Work."}}
		p.Samples = append(p.Samples, metrics.Sample{
			Labels: map[string]string{metrics.LabelName: "work_total", "job": "mine"}, Value: time.Since(started).Seconds(),
		})
		for _, s := range more {
			labels := map[string]string{}
			for k, v := range s.Labels {
				labels[k] = v
			}
			p.Samples = append(p.Samples, metrics.Sample{Labels: labels, Value: s.Value})
		}
		return p, nil
	}
}

// count gives the number of series that an expression finds now.
func count(t *testing.T, f *metricstest.Fake, expr string) int {
	t.Helper()
	r, err := f.Instant(t.Context(), expr, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return len(r.Series)
}

func TestWhatInstancesServeIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, store := newInstances(), &metricstest.Fake{}
		i.run("a", "1", serving())
		i.run("plain", "1", without)
		s := scraping(t, i, func(s *metrics.Scraper) { s.Into = store })
		time.Sleep(5 * time.Minute)
		if n := count(t, store, `work_total{agent="a",instance="a-1",job="agent",exported_job="mine"}`); n != 1 {
			t.Errorf("%d series of its own: %v", n, store.All())
		}
		r, err := store.Instant(t.Context(), `up`, time.Now())
		if err != nil || len(r.Series) != 1 || r.Series[0].Points[0].Value != 1 {
			t.Errorf("up: %+v, %v", r.Series, err) // one that never had metrics is not down
		}
		if m := s.Metadata("work_total"); m["work_total"].Help != "Work." || len(s.Metadata("")) != 1 || s.Metadata("x") != nil {
			t.Errorf("about: %v", m)
		}
		for _, series := range store.All() {
			if series.Labels[metrics.LabelName] == "work_total" && series.Points[0].Value != 0 {
				t.Errorf("the counter of a new process does not begin with 0: %v", series.Points[0])
			}
		}
		// It hangs: it is down, and its series end at once.
		i.run("a", "1", hanging)
		time.Sleep(30 * time.Second)
		if n := count(t, store, "work_total"); n != 0 {
			t.Errorf("%d series go on though nobody reports them", n)
		}
		if r, _ := store.Instant(t.Context(), `up`, time.Now()); len(r.Series) != 1 || r.Series[0].Points[0].Value != 0 {
			t.Errorf("up: %+v", r.Series)
		}
		// It is gone: nothing of it is found.
		i.stop("a")
		time.Sleep(10 * time.Second)
		if n := count(t, store, `{agent="a"}`); n != 0 {
			t.Errorf("%d series of an instance that ended", n)
		}
	})
}

func TestLabelExplosionsAreRefusedByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var refused []string
		var text strings.Builder
		i, store, n := newInstances(), &metricstest.Fake{}, 0
		i.run("a", "1", func(context.Context) (metrics.Page, error) {
			p := did(1, 0)
			for range 3000 { // within what a page may have, each time with others
				n++
				p.Samples = append(p.Samples, metrics.Sample{Labels: map[string]string{metrics.LabelName: "visits", "user": fmt.Sprint(n)}, Value: 1})
			}
			return p, nil
		})
		i.run("good", "1", serving())
		s := scraping(t, i, func(s *metrics.Scraper) {
			s.Into = store
			s.Log = slog.New(slog.NewTextHandler(&text, nil))
			s.Refused = func(t metrics.Target, why metrics.Refusal) {
				mu.Lock()
				defer mu.Unlock()
				refused = append(refused, t.AgentID+": "+why.Metric+": "+why.Why)
			}
		})
		time.Sleep(10 * time.Minute)
		mu.Lock()
		if len(refused) != 1 || !strings.HasPrefix(refused[0], "a: visits: its series change all the time: more than 20000") {
			t.Errorf("told: %q", refused)
		}
		mu.Unlock()
		if f := statusOf(t, s, "a"); f.Status != metrics.Reporting || !strings.Contains(f.Reason, "visits") {
			t.Errorf("%+v", f)
		}
		if all := len(store.All()); all > 25_000 {
			t.Errorf("%d series are kept", all)
		}
		if n := count(t, store, `work_total{agent="good"}`); n != 1 {
			t.Error("the others suffer")
		}
	})
}

func TestWhatIsMeasuredIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &metricstest.Fake{}
		var mu sync.Mutex
		state, fail := "RUNNING", error(nil)
		set := func(s string, err error) {
			mu.Lock()
			defer mu.Unlock()
			state, fail = s, err
		}
		r := &metrics.Recorder{Into: store, Now: time.Now, Log: slog.New(slog.DiscardHandler), Collectors: []metrics.Collector{
			{Name: "agents", Collect: func(context.Context) ([]metrics.Sample, error) {
				mu.Lock()
				defer mu.Unlock()
				return []metrics.Sample{{Labels: metrics.Labels("agent_state", "portal", "a", "A", "", "state", state), Value: 1}}, fail
			}},
			{Name: "slow", Collect: func(ctx context.Context) ([]metrics.Sample, error) { <-ctx.Done(); return nil, ctx.Err() }},
		}}
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := count(t, store, `agent_state{state="RUNNING",agent_name="A"}`); n != 1 {
			t.Error(store.All())
		}
		set("STOPPED", nil)
		time.Sleep(16 * time.Second)
		if count(t, store, `agent_state{state="RUNNING"}`) != 0 || count(t, store, `agent_state{state="STOPPED"}`) != 1 {
			t.Error("an agent is in two states")
		}
		set("STOPPED", errors.New("the store is away"))
		time.Sleep(time.Minute)
		if err := r.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestRecorderIsAService(t *testing.T) {
	lifecycletest.Run(t, func(*testing.T) lifecycle.Service {
		return &metrics.Recorder{Into: &metricstest.Fake{}, Now: time.Now}
	})
}

func TestDurationsOfQueries(t *testing.T) {
	for text, want := range map[string]time.Duration{"15s": 15 * time.Second, "1h30m": 90 * time.Minute, "2w": 14 * 24 * time.Hour, "1d": 24 * time.Hour, "5ms": 5 * time.Millisecond} {
		if d, err := metrics.ParseDuration(text); err != nil || d != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "0s", "m", "-5m", "1.5h", "5 m", strings.Repeat("9", 30) + "s"} {
		if _, err := metrics.ParseDuration(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
