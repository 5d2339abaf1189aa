package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/queue"
)

// Subject is a broker under test with what the suite needs beside it.
type Subject struct {
	Broker     queue.Broker
	Capacity   int // commands that one queue holds; keep it small, the suite fills one
	MaxPayload int // bytes that a command may have
	// Take gives the oldest waiting command of the agent, or ok false where
	// none waits, and what acknowledges it.
	// It may wait a moment for what was just published.
	Take func(t *testing.T, agentID string) (payload []byte, ack func(), ok bool)
}

// Run holds a broker to the contract of queue.Broker.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	tests := map[string]func(*testing.T, Subject){
		"unknown agent has no queue":       testUnknown,
		"an id that is no token is wrong":  testBadID,
		"provision and remove repeat":      testIdempotent,
		"commands arrive in order, once":   testOrder,
		"same id is one command":           testDedupe,
		"ids belong to their agent":        testDedupeScope,
		"remove forgets all":               testRemove,
		"full queue refuses, others don't": testFull,
		"too large is refused":             testTooLarge,
		"stats follow a command":           testStats,
		"an ended context is unavailable":  testContext,
		"many publishers":                  testConcurrent,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Fatalf("got a fault of kind %q, want %q (%v)", got, kind, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until the stats are as wanted: they may be a moment behind.
func eventually(t *testing.T, s Subject, agentID string, ok func(queue.Stats) bool) queue.Stats {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got, err := s.Broker.Stats(t.Context(), agentID)
		must(t, err)
		if ok(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("stats stayed at %+v", got)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func testUnknown(t *testing.T, s Subject) {
	wantKind(t, s.Broker.Publish(t.Context(), "nobody", "1", []byte("x")), fault.NotFound)
	_, err := s.Broker.Stats(t.Context(), "nobody")
	wantKind(t, err, fault.NotFound)
	must(t, s.Broker.Remove(t.Context(), "nobody"))
}

func testBadID(t *testing.T, s Subject) {
	for _, id := range []string{"", "a.b", "*", ">", "a b", "a\r\nb", "a/b"} {
		wantKind(t, s.Broker.Provision(t.Context(), id), fault.Invalid)
		wantKind(t, s.Broker.Publish(t.Context(), id, "1", nil), fault.Invalid)
		wantKind(t, s.Broker.Remove(t.Context(), id), fault.Invalid)
		_, err := s.Broker.Stats(t.Context(), id)
		wantKind(t, err, fault.Invalid)
	}
	must(t, s.Broker.Provision(t.Context(), "a"))
	wantKind(t, s.Broker.Publish(t.Context(), "a", "", nil), fault.Invalid)
}

func testIdempotent(t *testing.T, s Subject) {
	ctx := t.Context()
	must(t, s.Broker.Provision(ctx, "a"))
	must(t, s.Broker.Publish(ctx, "a", "1", []byte("x")))
	must(t, s.Broker.Provision(ctx, "a"))
	eventually(t, s, "a", func(st queue.Stats) bool { return st.Pending == 1 })
	must(t, s.Broker.Remove(ctx, "a"))
	must(t, s.Broker.Remove(ctx, "a"))
	_, err := s.Broker.Stats(ctx, "a")
	wantKind(t, err, fault.NotFound)
}

func testOrder(t *testing.T, s Subject) {
	must(t, s.Broker.Provision(t.Context(), "a"))
	n := min(5, s.Capacity)
	for i := range n {
		must(t, s.Broker.Publish(t.Context(), "a", fmt.Sprint(i), []byte(fmt.Sprint("payload-", i))))
	}
	for i := range n {
		payload, ack, ok := s.Take(t, "a")
		if want := fmt.Sprint("payload-", i); !ok || string(payload) != want {
			t.Fatalf("took %q, %v; want %q", payload, ok, want)
		}
		ack()
	}
	if payload, _, ok := s.Take(t, "a"); ok {
		t.Fatalf("there is one more: %q", payload)
	}
}

func testDedupe(t *testing.T, s Subject) {
	must(t, s.Broker.Provision(t.Context(), "a"))
	for range 3 {
		must(t, s.Broker.Publish(t.Context(), "a", "same", []byte("x")))
	}
	_, ack, ok := s.Take(t, "a")
	if !ok {
		t.Fatal("nothing arrived")
	}
	ack()
	must(t, s.Broker.Publish(t.Context(), "a", "same", []byte("x")))
	eventually(t, s, "a", func(st queue.Stats) bool { return st.Pending == 0 && st.InFlight == 0 })
	if _, _, ok := s.Take(t, "a"); ok {
		t.Fatal("the same id arrived twice")
	}
}

func testDedupeScope(t *testing.T, s Subject) {
	for _, id := range []string{"a", "b"} {
		must(t, s.Broker.Provision(t.Context(), id))
		must(t, s.Broker.Publish(t.Context(), id, "same", []byte("for "+id)))
	}
	for _, id := range []string{"b", "a"} {
		if payload, _, ok := s.Take(t, id); !ok || string(payload) != "for "+id {
			t.Fatalf("%s took %q, %v", id, payload, ok)
		}
	}
}

func testRemove(t *testing.T, s Subject) {
	ctx := t.Context()
	for _, id := range []string{"a", "b"} {
		must(t, s.Broker.Provision(ctx, id))
		must(t, s.Broker.Publish(ctx, id, "1", []byte("old")))
	}
	must(t, s.Broker.Remove(ctx, "a"))
	wantKind(t, s.Broker.Publish(ctx, "a", "2", []byte("x")), fault.NotFound)
	eventually(t, s, "b", func(st queue.Stats) bool { return st.Pending == 1 })
	must(t, s.Broker.Provision(ctx, "a"))
	if got, err := s.Broker.Stats(ctx, "a"); err != nil || got.Pending != 0 || !got.Oldest.IsZero() {
		t.Fatalf("the new queue is not empty: %+v, %v", got, err)
	}
	must(t, s.Broker.Publish(ctx, "a", "1", []byte("new")))
	if payload, _, ok := s.Take(t, "a"); !ok || string(payload) != "new" {
		t.Fatalf("an id from before the removal was taken for a repetition: %q, %v", payload, ok)
	}
}

func testFull(t *testing.T, s Subject) {
	ctx := t.Context()
	must(t, s.Broker.Provision(ctx, "a"))
	must(t, s.Broker.Provision(ctx, "b"))
	for i := range s.Capacity {
		must(t, s.Broker.Publish(ctx, "a", fmt.Sprint(i), []byte("x")))
	}
	wantKind(t, s.Broker.Publish(ctx, "a", "over", []byte("x")), fault.RateLimited)
	must(t, s.Broker.Publish(ctx, "b", "over", []byte("x")))
	_, ack, ok := s.Take(t, "a")
	if !ok {
		t.Fatal("nothing to take from a full queue")
	}
	ack()
	eventually(t, s, "a", func(st queue.Stats) bool { return st.InFlight == 0 })
	must(t, s.Broker.Publish(ctx, "a", "over", []byte("x")))
}

func testTooLarge(t *testing.T, s Subject) {
	must(t, s.Broker.Provision(t.Context(), "a"))
	must(t, s.Broker.Publish(t.Context(), "a", "fits", bytes.Repeat([]byte("x"), s.MaxPayload)))
	wantKind(t, s.Broker.Publish(t.Context(), "a", "over", bytes.Repeat([]byte("x"), s.MaxPayload+1)), fault.TooLarge)
	if payload, _, ok := s.Take(t, "a"); !ok || len(payload) != s.MaxPayload {
		t.Fatalf("took %d bytes, %v", len(payload), ok)
	}
}

func testStats(t *testing.T, s Subject) {
	ctx := t.Context()
	must(t, s.Broker.Provision(ctx, "a"))
	before := time.Now().Add(-time.Second)
	must(t, s.Broker.Publish(ctx, "a", "1", []byte("x")))
	got := eventually(t, s, "a", func(st queue.Stats) bool { return st.Pending == 1 })
	if got.Name != queue.Commands("a") || got.InFlight != 0 || got.Dead != 0 {
		t.Fatalf("after one publish: %+v", got)
	}
	if got.Oldest.Before(before) || got.Oldest.After(time.Now().Add(time.Second)) {
		t.Fatalf("the oldest is from %v", got.Oldest)
	}
	_, ack, ok := s.Take(t, "a")
	if !ok {
		t.Fatal("nothing arrived")
	}
	eventually(t, s, "a", func(st queue.Stats) bool { return st.Pending == 0 && st.InFlight == 1 })
	ack()
	got = eventually(t, s, "a", func(st queue.Stats) bool { return st.InFlight == 0 })
	if got.Pending != 0 || !got.Oldest.IsZero() {
		t.Fatalf("after the acknowledgement: %+v", got)
	}
}

func testContext(t *testing.T, s Subject) {
	must(t, s.Broker.Provision(t.Context(), "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantKind(t, s.Broker.Publish(ctx, "a", "1", []byte("x")), fault.Unavailable)
	wantKind(t, s.Broker.Provision(ctx, "b"), fault.Unavailable)
}

func testConcurrent(t *testing.T, s Subject) {
	agents := []string{"a", "b", "c", "d"}
	each := min(10, s.Capacity)
	errs := make(chan error, len(agents)*(each+1))
	var wg sync.WaitGroup
	for _, id := range agents {
		wg.Go(func() { errs <- s.Broker.Provision(t.Context(), id) })
	}
	wg.Wait()
	for _, id := range agents {
		for i := range each {
			wg.Go(func() { errs <- s.Broker.Publish(t.Context(), id, fmt.Sprint(i), []byte(id+fmt.Sprint(i))) })
		}
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	must(t, errors.Join(all...))
	for _, id := range agents {
		var got, want []string
		for i := range each {
			want = append(want, id+fmt.Sprint(i))
			payload, ack, ok := s.Take(t, id)
			if !ok {
				t.Fatalf("%s: %d of %d commands arrived", id, i, each)
			}
			ack()
			got = append(got, string(payload))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s got %v, want %v", id, got, want)
		}
	}
}
