package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/queue/queuetest"
)

// instances are what runs, and what each answers.
type instances struct {
	mu      sync.Mutex
	list    []metrics.Target
	answer  map[string]func(ctx context.Context) (metrics.Page, error) // by agent
	asked   map[string][]time.Time
	now     int // being asked
	most    int
	missing error // what Targets answers
}

func newInstances() *instances {
	return &instances{answer: map[string]func(context.Context) (metrics.Page, error){}, asked: map[string][]time.Time{}}
}

// run adds a running instance of an agent that answers so.
func (i *instances) run(agentID, run string, answer func(ctx context.Context) (metrics.Page, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = slices.DeleteFunc(i.list, func(t metrics.Target) bool { return t.AgentID == agentID })
	i.list = append(i.list, metrics.Target{AgentID: agentID, InstanceID: agentID + "-1", Run: run, StartedAt: time.Now()})
	i.answer[agentID] = answer
}

func (i *instances) stop(agentID string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = slices.DeleteFunc(i.list, func(t metrics.Target) bool { return t.AgentID == agentID })
}

func (i *instances) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.missing = err
}

func (i *instances) times(agentID string) []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.asked[agentID])
}

// atOnce is how many were asked at the same moment at most.
func (i *instances) atOnce() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.most
}

func (i *instances) Targets(context.Context) ([]metrics.Target, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.list), i.missing
}

func (i *instances) Page(ctx context.Context, t metrics.Target) (metrics.Page, error) {
	i.mu.Lock()
	i.asked[t.AgentID] = append(i.asked[t.AgentID], time.Now())
	i.now++
	i.most = max(i.most, i.now)
	answer := i.answer[t.AgentID]
	i.mu.Unlock()
	p, err := answer(ctx)
	i.mu.Lock()
	i.now--
	i.mu.Unlock()
	return p, err
}

// working answers as an agent that does a task a second.
func working() func(context.Context) (metrics.Page, error) {
	started := time.Now()
	return func(context.Context) (metrics.Page, error) { return did(time.Since(started).Seconds(), 0), nil }
}

func hanging(ctx context.Context) (metrics.Page, error) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
	return metrics.Page{}, errors.New("GET /metrics: no answer within 2s")
}

func without(context.Context) (metrics.Page, error) {
	return metrics.Page{}, fmt.Errorf("%w: GET /metrics answers 404", metrics.ErrNone)
}

// scraping runs a scraper over the instances until the test is over.
func scraping(t *testing.T, i *instances, change func(*metrics.Scraper)) *metrics.Scraper {
	s := &metrics.Scraper{Targets: i, Source: i, Windows: &metrics.Windows{Now: time.Now}, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(s)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func statusOf(t *testing.T, s *metrics.Scraper, id string) metrics.AgentFigures {
	t.Helper()
	list, err := s.Windows.Agents(t.Context(), metrics.Window{}, id)
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func TestRunningInstancesAreAskedEvery15Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstances()
		i.run("busy", "1", working())
		i.run("plain", "1", without)
		i.run("hung", "1", hanging)
		s := scraping(t, i, nil)
		time.Sleep(10 * time.Minute)
		if f := statusOf(t, s, "busy"); f.Status != metrics.Reporting || f.TasksPerMinute == nil || *f.TasksPerMinute < 59 || *f.TasksPerMinute > 61 {
			t.Errorf("%+v", f)
		}
		if f := statusOf(t, s, "plain"); f.Status != metrics.NoMetrics || f.Reason == "" {
			t.Errorf("%+v", f)
		}
		if f := statusOf(t, s, "hung"); f.Status != metrics.Silent || f.Reason != "GET /metrics: no answer within 2s" {
			t.Errorf("%+v", f)
		}
		busy := i.times("busy")
		for n := 1; n < len(busy); n++ {
			if d := busy[n].Sub(busy[n-1]); d < 12*time.Second || d > 15*time.Second {
				t.Errorf("asked again after %v", d)
			}
		}
		if n := len(i.times("plain")); n < 5 || n > 10 {
			t.Errorf("one without metrics was asked %d times in ten minutes", n)
		}
		if n := len(i.times("hung")); n > 10 {
			t.Errorf("one that hangs was asked %d times in ten minutes", n)
		}
	})
}

func TestWhatChangesIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstances()
		i.run("a", "1", without)
		s := scraping(t, i, nil)
		time.Sleep(20 * time.Minute)
		// Another process has metrics: it is asked soon, not in five minutes.
		i.run("a", "2", working())
		s.Poke()
		time.Sleep(time.Second)
		if f := statusOf(t, s, "a"); f.Status != metrics.Reporting {
			t.Errorf("%+v", f)
		}
		// New ones are found without being told, also after a failure to look.
		i.fail(errors.New("the store is away"))
		time.Sleep(time.Minute)
		i.run("b", "1", working())
		i.fail(nil)
		time.Sleep(30 * time.Second)
		if f := statusOf(t, s, "b"); f.Status != metrics.Reporting || f.TasksPerMinute == nil {
			t.Errorf("%+v", f)
		}
		i.stop("b")
		time.Sleep(10 * time.Second)
		asked := len(i.times("b"))
		time.Sleep(time.Minute)
		if n := len(i.times("b")); n != asked || statusOf(t, s, "b").Status != metrics.Down {
			t.Errorf("one that stopped was asked %d times more", n-asked)
		}
		// One that falls silent is asked again within a minute or so, and found well.
		i.run("a", "2", hanging)
		time.Sleep(10 * time.Minute)
		if f := statusOf(t, s, "a"); f.Status != metrics.Silent {
			t.Errorf("%+v", f)
		}
		i.run("a", "2", working())
		time.Sleep(70 * time.Second)
		if f := statusOf(t, s, "a"); f.Status != metrics.Reporting {
			t.Errorf("%+v", f)
		}
	})
}

// Instances that hang must not keep the others from being asked, nor tie up
// more than the workers there are.
func TestHangingInstancesDoNotHoldUpTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstances()
		for n := range 150 {
			i.run(fmt.Sprint("hung-", n), "1", hanging)
		}
		for n := range 50 {
			i.run(fmt.Sprint("busy-", n), "1", working())
		}
		s := scraping(t, i, nil)
		time.Sleep(5 * time.Minute)
		f, err := s.Windows.Fleet(t.Context(), metrics.Window{Length: time.Minute})
		if err != nil || f.Reporting != 50 || f.Agents != 200 {
			t.Errorf("%d of %d agents report, %v", f.Reporting, f.Agents, err)
		}
		if f.TasksPerMinute == nil || *f.TasksPerMinute < 2800 || *f.TasksPerMinute > 3100 {
			t.Errorf("%v tasks a minute, want 3000", show(f.TasksPerMinute))
		}
		if most := i.atOnce(); most > 16 {
			t.Errorf("%d were asked at once", most)
		}
	})
}

func TestBacklogsAndChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := queuetest.NewFake()
		if err := broker.Provision(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		told := map[string]int{}
		i := newInstances()
		i.run("worker", "1", working())
		s := scraping(t, i, func(s *metrics.Scraper) {
			s.Backlogs = backlogsOf(broker, "a")
			s.Changed = func(ids []string) {
				mu.Lock()
				defer mu.Unlock()
				for _, id := range ids {
					told[id]++
				}
			}
		})
		time.Sleep(time.Minute)
		mu.Lock()
		before := told["a"]
		if told["worker"] < 3 || told["worker"] > 10 {
			t.Errorf("the agent was told of %d times in a minute", told["worker"])
		}
		mu.Unlock()
		if err := broker.Publish(t.Context(), "a", "1", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(7 * time.Second)
		mu.Lock()
		if told["a"] != before+1 {
			t.Errorf("the queue was told of %d times", told["a"]-before)
		}
		mu.Unlock()
		if b := statusOf(t, s, "a").Backlog; b == nil || b.Waiting != 1 {
			t.Errorf("%+v", b)
		}
		broker.SetFail(errors.New("away"))
		time.Sleep(time.Minute)
		if b := statusOf(t, s, "a").Backlog; b != nil {
			t.Errorf("the queues do not answer, and shown is %+v", b)
		}
	})
}

type backlogs func(context.Context) (map[string]queue.Stats, error)

func (f backlogs) Backlogs(ctx context.Context) (map[string]queue.Stats, error) { return f(ctx) }

func backlogsOf(b *queuetest.Fake, ids ...string) metrics.Backlogs {
	return backlogs(func(ctx context.Context) (map[string]queue.Stats, error) {
		out := map[string]queue.Stats{}
		for _, id := range ids {
			s, err := b.Stats(ctx, id)
			if err != nil {
				return nil, err
			}
			out[id] = s
		}
		return out, nil
	})
}

func TestScraperIsAService(t *testing.T) {
	lifecycletest.Run(t, func(t *testing.T) lifecycle.Service {
		i := newInstances()
		i.run("hung", "1", hanging)
		return &metrics.Scraper{Targets: i, Source: i, Windows: &metrics.Windows{Now: time.Now}}
	})
}
