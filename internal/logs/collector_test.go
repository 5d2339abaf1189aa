package logs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/logs/logstest"
)

func collector(source logs.Source, store *logstest.Memory) *logs.Collector {
	return &logs.Collector{Source: source, Sink: store, Cursors: store, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

// start runs a collector until stop is called.
func start(t *testing.T, c *logs.Collector) (stop func()) {
	t.Helper()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// missing and doubled compare what is stored with what was written.
func compare(t *testing.T, store *logstest.Memory, want int) {
	t.Helper()
	seen := map[string]int{}
	for _, e := range store.All() {
		seen[e.AgentID+" "+e.Text]++
	}
	doubled := 0
	for _, n := range seen {
		doubled += n - 1
	}
	if len(seen) != want || doubled > 0 {
		t.Errorf("%d of %d lines are stored, and %d twice", len(seen), want, doubled)
	}
}

func TestNothingIsLostOrDoubledWhenThePortalIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logstest.Output
		var store logstest.Memory
		written := 0
		random := rand.New(rand.NewPCG(1, 2))
		var killed atomic.Bool
		store.Refuse = func() error {
			if killed.Load() {
				return errors.New("killed")
			}
			return nil
		}
		for range 10 { // lives of the portal
			c := collector(&out, &store)
			stop := start(t, c)
			for range random.IntN(20) {
				for range random.IntN(100) {
					id := fmt.Sprint("agent-", random.IntN(5))
					out.Write(id, fmt.Sprintf("%s-r%d-0", id, random.IntN(2)), "stdout", time.Now(), fmt.Sprint("line ", written))
					written++
					time.Sleep(time.Millisecond)
				}
				time.Sleep(time.Duration(random.IntN(900)) * time.Millisecond)
			}
			// Killed: what it does from now on has no effect.
			killed.Store(true)
			stop()
			store.Crash()
			killed.Store(false)
		}
		c := collector(&out, &store)
		stop := start(t, c)
		time.Sleep(time.Minute)
		stop()
		compare(t, &store, written)
	})
}

// A line that never ends is not waited for without end.
func TestALineThatNeverEndsIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logstest.Output
		var store logstest.Memory
		c := collector(&out, &store)
		stop := start(t, c)
		const piece, pieces = 64 << 10, 600 // 37.5 MiB
		for i := range pieces {
			out.Write("a", "a-r1-0", "stdout", time.Now(), strings.Repeat("x", piece)+" [continues]")
			if i == 0 {
				c.Poke("a") // as for every agent that begins to run; else it is found when all are looked for
			}
			time.Sleep(20 * time.Millisecond)
		}
		all := store.All()
		if len(all) != 2 {
			t.Fatalf("%d entries while it is written", len(all))
		}
		out.Write("a", "a-r1-0", "stdout", time.Now(), "end")
		out.Write("a", "a-r1-0", "stdout", time.Now(), "another line")
		time.Sleep(10 * time.Second)
		stop()
		whole := int64(0)
		for _, e := range store.All() {
			if len(e.Text) > logs.MaxText {
				t.Errorf("an entry has %d bytes", len(e.Text))
			}
			whole += int64(len(e.Text)) + e.Cut
		}
		if all = store.All(); len(all) != 4 || whole != pieces*piece+int64(len("end")+len("another line")) {
			t.Errorf("%d entries of %d bytes", len(all), whole)
		}
	})
}

func TestACollectorThatStopsSavesWhatItRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logstest.Output
		var store logstest.Memory
		for i := range 5000 {
			out.Write("a", "a-r1-0", "stdout", time.Now().Add(time.Duration(i)), fmt.Sprint("line ", i))
		}
		stop := start(t, collector(&out, &store))
		time.Sleep(2 * time.Second)
		stop()
		store.Crash() // nothing is in memory alone
		compare(t, &store, 5000)
		if c, _ := store.Load(t.Context()); c["a"] != "5000" {
			t.Errorf("cursors %v", c)
		}
	})
}

func TestAStoreThatRefusesLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logstest.Output
		var store logstest.Memory
		var full atomic.Bool
		full.Store(true)
		store.Refuse = func() error {
			if full.Load() {
				return fault.New(fault.Unavailable, "logs.disk_full", "The disk is nearly full").Because("1 MiB is free")
			}
			return nil
		}
		c := collector(&out, &store)
		stop := start(t, c)
		defer stop()
		for i := range 20_000 {
			out.Write(fmt.Sprint("agent-", i%10), fmt.Sprintf("agent-%d-r1-0", i%10), "stdout", time.Now(), fmt.Sprint("line ", i))
			if i%100 == 0 {
				time.Sleep(50 * time.Millisecond)
			}
		}
		if st := c.Progress(logs.Status{}); st.Problem != "The disk is nearly full: 1 MiB is free" || st.TakenIn != 0 {
			t.Errorf("%+v", st)
		}
		full.Store(false)
		time.Sleep(2 * time.Minute)
		compare(t, &store, 20_000)
		if st := c.Progress(logs.Status{}); st.Problem != "" || st.TakenIn != 20_000 || st.Behind != 0 || st.SavedAt.IsZero() {
			t.Errorf("afterwards %+v", st)
		}
	})
}

func TestHundredsOfAgentsNeedFewGoroutinesAndFewReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logstest.Output
		var store logstest.Memory
		for i := range 500 {
			out.Write(fmt.Sprint("agent-", i), fmt.Sprintf("agent-%d-r1-0", i), "stdout", time.Now(), "up")
		}
		before := runtime.NumGoroutine()
		c := collector(&out, &store)
		stop := start(t, c)
		defer stop()
		time.Sleep(10 * time.Second)
		if n := runtime.NumGoroutine() - before; n > 10 {
			t.Errorf("%d goroutines", n)
		}
		reads := out.Reads()
		time.Sleep(time.Minute)
		if n := (out.Reads() - reads) / 60; n > 300 { // each every two seconds
			t.Errorf("%d reads a second while nobody writes", n)
		}
		out.Write("agent-7", "agent-7-r1-0", "stdout", time.Now(), "again")
		c.Poke("agent-7")
		time.Sleep(500 * time.Millisecond)
		compare(t, &store, 501)
	})
}

func TestOutputThatBeganAnewIsReadFromItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logstest.Output
		var store logstest.Memory
		if err := store.Save(t.Context(), map[string]string{"a": "not ours", "gone": "3"}); err != nil {
			t.Fatal(err)
		}
		out.Write("a", "a-r1-0", "stdout", time.Now(), "first")
		stop := start(t, collector(&out, &store))
		time.Sleep(time.Minute)
		stop()
		compare(t, &store, 1)
		if c, _ := store.Load(t.Context()); len(c) != 1 {
			t.Errorf("cursors of agents that are gone stay: %v", c)
		}
	})
}

func TestTheLiveTailHearsWhatItAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logstest.Output
		var store logstest.Memory
		c := collector(&out, &store)
		s := logs.NewService(&store, c, time.Now)
		out.Write("a", "a-r1-0", "stdout", time.Now(), "INFO up")
		out.Write("b", "b-r1-0", "stdout", time.Now(), "INFO up")
		stop := start(t, c)
		defer stop()
		l, err := s.Tail(logs.Query{Agents: []string{"a"}, Level: logs.Warn}, "")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for i := range 5000 {
			out.Write("a", "a-r1-0", "stdout", time.Now().Add(time.Duration(i)), fmt.Sprint("ERROR number ", i))
		}
		out.Write("b", "b-r1-0", "stdout", time.Now(), "ERROR not asked for")
		time.Sleep(5 * time.Second)
		<-l.Ready()
		list, missed := l.Take()
		if len(list)+missed != 5000 || missed == 0 || list[len(list)-1].Text != "ERROR number 4999" {
			t.Errorf("%d entries and %d missed", len(list), missed)
		}
		place := slices.IndexFunc(list, func(e logs.Entry) bool { return e.Text == "ERROR number 4989" })
		back, err := s.Tail(logs.Query{Agents: []string{"a"}}, list[place].Cursor)
		if err != nil {
			t.Fatal(err)
		}
		if list, _ := back.Take(); len(list) != 10 || list[0].Text != "ERROR number 4990" {
			t.Errorf("who comes back hears %d", len(list))
		}
		s.Drain()
		<-back.Ended()
		if _, err := s.Tail(logs.Query{}, ""); err == nil {
			t.Error("a tail began though the server ends")
		}
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	var store logstest.Memory
	s := logs.NewService(&store, nil, time.Now)
	now := time.Now()
	for name, q := range map[string]logs.Query{
		"query.since": {Since: now, Until: now}, "query.until": {Since: now, Until: now.AddDate(500, 0, 0)}, "query.level": {Level: "loud"},
		"query.agent": {Agents: make([]string, logs.MaxAgents+1)}, "query.filter": {Filter: "x"},
	} {
		_, err := s.Find(t.Context(), q, "")
		f := fault.As(err)
		if f == nil || f.Kind != fault.Invalid || !slices.ContainsFunc(f.Fields, func(f fault.Field) bool { return f.Path == name }) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, cursor := range []string{"x", "-", "1-", "-1", "zzzzzzzzzzzzzzzzzzzz-1", "1--1", "1-9999999"} {
		if _, err := s.Find(t.Context(), logs.Query{}, cursor); fault.KindOf(err) != fault.Invalid {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
