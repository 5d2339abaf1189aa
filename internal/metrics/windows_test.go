package metrics_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/queue"
)

// clock is a time that the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

// world is a set of windows with their time.
type world struct {
	*testing.T
	clock
	*metrics.Windows
	running []metrics.Target
}

func begin(t *testing.T) *world {
	w := &world{T: t, clock: clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	w.Windows = &metrics.Windows{Now: w.now}
	return w
}

// runs starts an instance that has run for age already.
func (w *world) runs(agentID, instance, run string, age time.Duration) metrics.Target {
	t := metrics.Target{AgentID: agentID, InstanceID: instance, Run: run, StartedAt: w.now().Add(-age)}
	w.running = append(w.running, t)
	w.Watch(w.running)
	return t
}

func (w *world) stops(t metrics.Target) {
	for i, r := range w.running {
		if r == t {
			w.running = append(w.running[:i:i], w.running[i+1:]...)
		}
	}
	w.Watch(w.running)
}

func (w *world) agent(id string, win metrics.Window) metrics.AgentFigures {
	w.Helper()
	list, err := w.Agents(w.Context(), win, id)
	if err != nil || len(list) != 1 {
		w.Fatalf("%v, %v", list, err)
	}
	return list[0]
}

func (w *world) fleet(ids ...string) metrics.FleetFigures {
	w.Helper()
	f, err := w.Fleet(w.Context(), metrics.Window{}, ids...)
	if err != nil {
		w.Fatal(err)
	}
	return f
}

// did is a page of an agent that did some tasks since its process started.
func did(done, failed float64) metrics.Page {
	return metrics.Page{Tasks: map[string]float64{"done": done, "failed": failed}}
}

func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > math.Abs(want)/1000+1e-9 {
		t.Errorf("%s: %v, want %v", what, show(got), want)
	}
}

func show(v *float64) any {
	if v == nil {
		return "unknown"
	}
	return *v
}

func TestWhatIsNotKnownIsNotZero(t *testing.T) {
	w := begin(t)
	if f := w.agent("nobody", metrics.Window{}); f.Status != metrics.Down || f.TasksPerMinute != nil || f.Backlog != nil || f.Tasks != nil {
		t.Errorf("of an agent that does not exist: %+v", f)
	}
	a := w.runs("a", "a-1", "1", time.Hour)
	if f := w.agent("a", metrics.Window{}); f.Status != metrics.Waiting || f.TasksPerMinute != nil {
		t.Errorf("before the first answer: %+v", f)
	}
	w.Take(a, did(1000, 10))
	f := w.agent("a", metrics.Window{})
	if f.Status != metrics.Reporting || f.TasksPerMinute != nil || f.ErrorRate != nil || f.Tasks != nil || f.Covered != 0 {
		t.Errorf("one page says nothing of how fast it goes: %+v", f)
	}
	w.pass(15 * time.Second)
	w.Take(a, did(1000, 10))
	f = w.agent("a", metrics.Window{})
	near(t, "tasks a minute", f.TasksPerMinute, 0)
	if f.ErrorRate != nil || f.P95 != nil || f.CostPerHour != nil || f.Cost != nil || f.Memory != nil || f.CPU != nil || f.Tokens != nil {
		t.Errorf("nothing ended, and nothing else was reported: %+v", f)
	}
}

func TestRatesOverAWindow(t *testing.T) {
	w := begin(t)
	a := w.runs("a", "a-1", "1", time.Hour)
	page := func(i float64) metrics.Page {
		p := did(100+9*i, 7+i)
		p.Tokens = map[string]float64{"input": 1000 + 50*i, "output": 10 * i}
		p.Cost, p.CPU, p.Memory = new(3+0.01*i), new(5+3*i), new(2e7)
		p.Duration = &metrics.Histogram{Bounds: []float64{0.1, 1, 10}, Counts: []float64{5 * i, 9 * i, 10 * i}, Total: 10 * i}
		return p
	}
	for i := range 41 { // ten minutes
		w.Take(a, page(float64(i)))
		if i < 40 {
			w.pass(15 * time.Second)
		}
	}
	f := w.agent("a", metrics.Window{Length: 5 * time.Minute})
	near(t, "tasks a minute", f.TasksPerMinute, 40)
	near(t, "error rate", f.ErrorRate, 0.1)
	near(t, "cost an hour", f.CostPerHour, 2.4)
	near(t, "cost in all", f.CostTotal, 3.4)
	near(t, "cores", f.CPU, 0.2)
	near(t, "memory", f.Memory, 2e7)
	if f.P95 == nil || f.P95.AtLeast || math.Abs(f.P95.Seconds-5.5) > 0.01 {
		t.Errorf("p95 is %+v, want 5.5 s: half way through the bucket from 1 to 10", f.P95)
	}
	if f.Tokens["input"] < 900 || f.Tokens["input"] > 1000 || f.Covered > 300 || f.Covered < 280 {
		t.Errorf("tokens %v in %v s", f.Tokens, f.Covered)
	}
	if !f.At.Equal(w.now()) || !f.Since.Equal(a.StartedAt) {
		t.Errorf("at %v since %v", f.At, f.Since)
	}
	before := w.agent("a", metrics.Window{Length: time.Minute, Before: 30 * time.Minute})
	if before.TasksPerMinute != nil || before.P95 != nil {
		t.Errorf("half an hour ago nobody asked: %+v", before)
	}
}

// A counter that begins anew has counted what it shows, no less and no more.
func TestResetsAndRestarts(t *testing.T) {
	w := begin(t)
	a := w.runs("a", "a-1", "1", time.Hour)
	w.Take(a, did(1000, 0))
	w.pass(15 * time.Second)
	w.Take(a, did(1010, 0)) // 10
	w.pass(15 * time.Second)
	w.Take(a, did(3, 0)) // reset within the run: 3
	w.pass(15 * time.Second)
	w.stops(a)
	b := w.runs("a", "a-1", "2", 5*time.Second)
	w.Take(b, did(4, 0)) // a new process, which shows more than the last page: 4
	w.Take(a, did(5000, 0))
	w.pass(15 * time.Second)
	w.Take(b, did(6, 0)) // 2
	if f := w.agent("a", metrics.Window{}); f.Tasks["done"] != 19 {
		t.Errorf("%v tasks, want 19", f.Tasks)
	}
	// One that had run for long when it was first asked: what it did before has
	// no time.
	c := w.runs("c", "c-1", "1", 10*time.Minute)
	w.Take(c, did(5000, 0))
	w.pass(15 * time.Second)
	w.Take(c, did(5001, 0))
	if f := w.agent("c", metrics.Window{}); f.Tasks["done"] != 1 {
		t.Errorf("%v tasks, want 1", f.Tasks)
	}
}

func TestCountersThatAppearBeganAtZero(t *testing.T) {
	w := begin(t)
	a := w.runs("a", "a-1", "1", time.Hour)
	w.Take(a, metrics.Page{Tasks: map[string]float64{"done": 5}})
	w.pass(15 * time.Second)
	w.Take(a, metrics.Page{Tasks: map[string]float64{"done": 5, "failed": 2}, Tokens: map[string]float64{"input": 70}})
	f := w.agent("a", metrics.Window{})
	if f.Tasks["failed"] != 2 || f.Tokens["input"] != 70 {
		t.Errorf("tasks %v, tokens %v", f.Tasks, f.Tokens)
	}
	near(t, "error rate", f.ErrorRate, 1)
}

func TestFleetAddsUpAndSaysOfHowMany(t *testing.T) {
	w := begin(t)
	one, two := w.runs("one", "1", "1", 0), w.runs("two", "2", "1", 0)
	twin := w.runs("two", "2b", "1", 0)
	mute, plain := w.runs("mute", "3", "1", time.Hour), w.runs("plain", "4", "1", time.Hour)
	for i := range 9 {
		n := float64(i)
		for _, t := range []metrics.Target{one, two, twin} {
			p := did(5*n, 0)
			p.Memory, p.Cost = new(1e6), new(n)
			w.Take(t, p)
		}
		w.Miss(mute, "GET /metrics: no answer within 2s", false)
		w.Miss(plain, "no metrics: GET /metrics answers 404", true)
		w.pass(15 * time.Second)
	}
	f := w.fleet()
	near(t, "tasks a minute", f.TasksPerMinute, 60)
	near(t, "memory", f.Memory, 3e6)
	near(t, "cost in all", f.CostTotal, 24)
	if f.Agents != 4 || f.Reporting != 2 {
		t.Errorf("%d of %d agents report, want 2 of 4", f.Reporting, f.Agents)
	}
	near(t, "tasks a minute of one", w.fleet("one").TasksPerMinute, 20)
	for id, want := range map[string]metrics.Status{"one": metrics.Reporting, "two": metrics.Reporting, "mute": metrics.Silent, "plain": metrics.NoMetrics} {
		if got := w.agent(id, metrics.Window{}); got.Status != want || (want == metrics.Silent || want == metrics.NoMetrics) != (got.Reason != "") {
			t.Errorf("%s is %s (%s), want %s", id, got.Status, got.Reason, want)
		}
	}
	// A minute later only one instance of the two goes on.
	w.pass(time.Minute)
	p := did(50, 0)
	p.Memory, p.Cost = new(1e6), new(9.0)
	w.Take(twin, p)
	w.Miss(two, "GET /metrics: 500", false)
	f = w.fleet()
	if got := w.agent("two", metrics.Window{}); got.Status != metrics.Partly || got.Reporting != 1 || got.Instances != 2 || got.Reason == "" {
		t.Errorf("%+v", got)
	}
	if got := w.agent("one", metrics.Window{}); got.Status != metrics.Silent || got.Memory != nil || !got.At.Equal(w.now().Add(-75*time.Second)) {
		t.Errorf("what is old is shown as new: %+v", got)
	}
	near(t, "memory", f.Memory, 1e6)
	near(t, "cost in all", f.CostTotal, 9)
}

func TestWhatStoppedIsRememberedForAnHour(t *testing.T) {
	w := begin(t)
	a := w.runs("a", "a-1", "1", 10*time.Second)
	w.Take(a, did(60, 0))
	w.stops(a)
	if f := w.fleet(); f.Tasks["done"] != 60 || f.Agents != 0 {
		t.Errorf("right after: %+v", f)
	}
	if f := w.agent("a", metrics.Window{}); f.Status != metrics.Down || f.Tasks["done"] != 60 {
		t.Errorf("right after: %+v", f)
	}
	w.pass(30 * time.Minute)
	w.Watch(nil)
	if f := w.agent("a", metrics.Window{Length: time.Hour}); f.Tasks["done"] != 60 {
		t.Errorf("half an hour later: %v", f.Tasks)
	}
	w.pass(40 * time.Minute)
	w.Watch(nil)
	if list, err := w.Agents(t.Context(), metrics.Window{}); err != nil || len(list) != 0 {
		t.Errorf("after an hour it is still there: %v, %v", list, err)
	}
}

func TestSeriesHaveGapsWhereNothingIsKnown(t *testing.T) {
	w := begin(t)
	a := w.runs("a", "a-1", "1", time.Hour)
	feed := func(from, n int) {
		for i := range n {
			p := did(float64(15*(from+i)), 0)
			p.Memory = new(float64(1e6 * (from + i + 1)))
			w.Take(a, p)
			w.pass(15 * time.Second)
		}
	}
	feed(0, 20)
	w.stops(a)
	w.pass(10 * time.Minute)
	a = w.runs("a", "a-1", "2", 0)
	feed(0, 20)
	s, err := w.Series(t.Context(), metrics.MeasureTasks, metrics.Window{Length: 30 * time.Minute}, 30)
	if err != nil || len(s.Values) != 30 || s.Step != 60 {
		t.Fatalf("%d values of %v s, %v", len(s.Values), s.Step, err)
	}
	text := ""
	for _, v := range s.Values {
		switch {
		case v == nil:
			text += "."
		case math.Abs(*v-60) < 1e-3:
			text += "6"
		default:
			text += "?"
		}
	}
	if want := ".........666666.........666666"; text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	last := s.Start.Add(time.Duration(s.Step*float64(len(s.Values))) * time.Second)
	if d := last.Sub(w.now()); d < -30*time.Second || d > 30*time.Second {
		t.Errorf("the series ends %v from now", d)
	}
	for _, m := range metrics.Measures {
		if _, err := w.Series(t.Context(), m, metrics.Window{Length: time.Hour}, 60, "a"); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
}

func TestWindowsThatAreNotKeptAreRefused(t *testing.T) {
	w := begin(t)
	for _, win := range []metrics.Window{{Length: time.Second}, {Length: 2 * time.Hour}, {Length: -1}, {Length: time.Minute, Before: -1}, {Length: 31 * time.Minute, Before: 30 * time.Minute}} {
		if _, err := w.Agents(t.Context(), win); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", win, err)
		}
	}
	if _, err := w.Series(t.Context(), "weather", metrics.Window{}, 10); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown measure: %v", err)
	}
}

func TestBacklogsAreKnownOnlyWhileTheQueuesAnswer(t *testing.T) {
	w := begin(t)
	w.runs("a", "a-1", "1", time.Hour)
	w.SetBacklogs(map[string]queue.Stats{"a": {Pending: 3, InFlight: 1}, "stopped": {Pending: 5, Dead: 2}})
	if b := w.fleet().Backlog; b == nil || b.Waiting != 8 || b.InFlight != 1 || b.Dead != 2 || !b.At.Equal(w.now()) {
		t.Errorf("fleet: %+v", b)
	}
	if b := w.fleet("a").Backlog; b == nil || b.Waiting != 3 {
		t.Errorf("fleet of one: %+v", b)
	}
	if b := w.agent("stopped", metrics.Window{}).Backlog; b == nil || b.Waiting != 5 {
		t.Errorf("an agent that does not run: %+v", b)
	}
	if b := w.agent("other", metrics.Window{}).Backlog; b != nil {
		t.Errorf("an agent without a queue: %+v", b)
	}
	w.pass(2 * time.Minute)
	if b := w.fleet().Backlog; b != nil {
		t.Errorf("two minutes old and shown: %+v", b)
	}
}

// Whatever agents report, an hour of 1,000 of them has to fit.
func TestMemoryIsBounded(t *testing.T) {
	w := begin(t)
	hostile := func(n, of int) metrics.Page {
		p := metrics.Page{Tasks: map[string]float64{"failed": float64(n)}, Tokens: map[string]float64{}}
		for i := range of {
			p.Tasks[fmt.Sprintf("status %d of %d", i, n)] = float64(n)
			p.Tokens[fmt.Sprintf("kind %d of %d", i, n)] = float64(n)
		}
		p.Cost, p.CPU, p.Memory = new(float64(n)), new(float64(n)), new(1e6)
		p.Duration = &metrics.Histogram{}
		for i := range 24 {
			p.Duration.Bounds = append(p.Duration.Bounds, float64(i))
			p.Duration.Counts = append(p.Duration.Counts, float64(n*(i+1)))
		}
		p.Duration.Total = float64(n * 25)
		return p
	}
	const agents = 100
	var targets []metrics.Target
	for i := range agents {
		targets = append(targets, w.runs(fmt.Sprint("agent-", i), fmt.Sprint("instance-", i), "1", 0))
	}
	before := heap()
	for n := range 240 {
		of := 2
		if n%40 == 0 {
			of = 100
		}
		for _, target := range targets {
			w.Take(target, hostile(n, of))
		}
		w.pass(15 * time.Second)
	}
	each := (heap() - before) / agents
	t.Logf("%d bytes an agent", each)
	if each > 64<<10 {
		t.Errorf("%d bytes an agent", each)
	}
	runtime.KeepAlive(w)
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func BenchmarkFleetOf1000(b *testing.B) {
	c := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w := &metrics.Windows{Now: c.now}
	var targets []metrics.Target
	for i := range 1000 {
		targets = append(targets, metrics.Target{AgentID: fmt.Sprint(i), InstanceID: fmt.Sprint(i), Run: "1"})
	}
	w.Watch(targets)
	for n := range 240 {
		for _, t := range targets {
			p := did(float64(n), float64(n))
			p.Cost, p.CPU, p.Memory = new(float64(n)), new(float64(n)), new(1e6)
			p.Duration = &metrics.Histogram{Bounds: []float64{.001, .01, .1, 1, 10}, Counts: []float64{1, 2, 3, 4, float64(n + 4)}, Total: float64(n + 4)}
			w.Take(t, p)
		}
		c.pass(15 * time.Second)
	}
	b.Run("figures", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.Fleet(b.Context(), metrics.Window{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("series of an hour", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.Series(b.Context(), metrics.MeasureTasks, metrics.Window{Length: time.Hour}, 60); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// FuzzDuration: a duration is at least as long as each of its parts.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"15s", "1h30m", "2w", "9999w99999d999999h", "9999w", "", "1", "0s", "1h1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := metrics.ParseDuration(text)
		if err != nil {
			return
		}
		longer, err := metrics.ParseDuration(text + "1ms")
		if d <= 0 || err == nil && longer != d+time.Millisecond {
			t.Errorf("%q is %d, with a millisecond more %d", text, d, longer)
		}
	})
}

func TestDurationsThatCannotBeCountedAreRefused(t *testing.T) {
	for _, text := range []string{"9999w99999d", "9999w99999d999999h99999999m", "99999d999999h"} {
		if d, err := metrics.ParseDuration(text); err == nil && d < 99999*24*time.Hour {
			t.Errorf("%s is taken for %s", text, d)
		}
	}
}
