package bus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/queue"
)

func TestBacklogsSayOfAllQueuesWhatStatsSaysOfOne(t *testing.T) {
	b := start(t, bus.Config{})
	ctx := t.Context()
	want := map[string]int{}
	for i := range 40 { // more than one stream has
		id := fmt.Sprintf("agent-%d", i)
		if err := b.Provision(ctx, id); err != nil {
			t.Fatal(err)
		}
		for n := range i % 4 {
			if err := b.Publish(ctx, id, fmt.Sprint(n), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		want[id] = i % 4
	}
	deadline := time.Now().Add(time.Minute)
	for {
		all, err := b.Backlogs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != len(want) {
			t.Fatalf("%d queues, want %d", len(all), len(want))
		}
		wrong := ""
		for id, n := range want {
			one, err := b.Stats(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			one.Oldest = time.Time{}
			if all[id] != one || one.Pending != n {
				wrong = fmt.Sprintf("%s: %+v in the list, %+v alone, want %d pending", id, all[id], one, n)
			}
		}
		if wrong == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(wrong)
		}
	}
	if err := b.Remove(ctx, "agent-3"); err != nil {
		t.Fatal(err)
	}
	all, err := b.Backlogs(ctx)
	if _, there := all["agent-3"]; err != nil || there || len(all) != len(want)-1 {
		t.Fatalf("after a queue was removed: %d queues, %v", len(all), err)
	}
}

func TestBacklogsOfAStoppedBusAreUnavailable(t *testing.T) {
	b, err := bus.New(bus.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Backlogs(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("got %v", err)
	}
}

func BenchmarkBacklogsOf500(b *testing.B) {
	broker, err := bus.New(bus.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	if err := broker.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = broker.Stop(b.Context()) })
	for i := range 500 {
		if err := broker.Provision(b.Context(), fmt.Sprintf("agent-%d", i)); err != nil {
			b.Fatal(err)
		}
	}
	var all map[string]queue.Stats
	for b.Loop() {
		if all, err = broker.Backlogs(b.Context()); err != nil || len(all) != 500 {
			b.Fatal(len(all), err)
		}
	}
}
