package upkeep_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

func TestAgain(t *testing.T) {
	for _, c := range []struct {
		policy       string
		failed, want bool
	}{
		{"", true, true}, {"", false, true}, {"always", false, true},
		{"on-failure", true, true}, {"on-failure", false, false}, {"never", true, false}, {"never", false, false},
	} {
		if got := upkeep.Again(agent.RestartPolicy{Policy: c.policy}, c.failed); got != c.want {
			t.Errorf("policy %q, failed %v: started again %v", c.policy, c.failed, got)
		}
	}
}

func TestRestartsAreLimitedWithinTheWindow(t *testing.T) {
	p := agent.RestartPolicy{MaxRestarts: 2, Window: agent.Duration(time.Minute)}
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var r upkeep.Restarts
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true}, {10 * time.Second, true}, {20 * time.Second, false},
		{61 * time.Second, true}, // the first is forgotten
		{62 * time.Second, false},
		{72 * time.Second, true},
	} {
		if got := r.Count(p, begun.Add(c.after)); got != c.want {
			t.Errorf("a restart after %s is allowed: %v", c.after, got)
		}
	}
	if got := r.Loop(p, "exit code 3"); got != "crash loop: 3 starts within 1m, last exit code 3" {
		t.Errorf("it says %q", got)
	}
	if got := (&upkeep.Restarts{}).Loop(agent.RestartPolicy{Window: agent.Duration(90 * time.Second)}, "x"); !strings.Contains(got, "within 1m30s,") {
		t.Errorf("it says %q", got)
	}
}

func TestTheBackOffDoublesAndBeginsAnew(t *testing.T) {
	p := agent.RestartPolicy{Window: agent.Duration(time.Minute), Backoff: agent.Backoff{Initial: agent.Duration(time.Second), Max: agent.Duration(5 * time.Second)}}
	var r upkeep.Restarts
	var got []time.Duration
	for range 4 {
		got = append(got, r.Wait(p))
	}
	if r.Lived(p, time.Minute-1); r.Wait(p) != 5*time.Second {
		t.Error("a short run counts as a long one")
	}
	r.Lived(p, time.Minute)
	got = append(got, r.Wait(p))
	if want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, time.Second}; !slices.Equal(got, want) {
		t.Errorf("it waits %v, want %v", got, want)
	}
	r.Failures = 1 << 30 // an agent that crashed for years
	if got := r.Wait(p); got != 5*time.Second {
		t.Errorf("it waits %s", got)
	}
}

func TestPauses(t *testing.T) {
	second := agent.Duration(time.Second)
	for _, c := range []struct {
		p       agent.RestartPolicy
		longest time.Duration
		plain   bool
	}{
		{agent.RestartPolicy{}, 1600 * time.Millisecond, true},
		{agent.RestartPolicy{MaxRestarts: 9}, 25600 * time.Millisecond, true},
		{agent.RestartPolicy{MaxRestarts: 10}, 30 * time.Second, false},
		{agent.RestartPolicy{MaxRestarts: 1000, Backoff: agent.Backoff{Initial: second, Max: second}}, time.Second, false},
		{agent.RestartPolicy{MaxRestarts: 1, Backoff: agent.Backoff{Initial: second, Max: second}}, time.Second, true},
	} {
		if _, longest, plain := upkeep.Pauses(c.p); longest != c.longest || plain != c.plain {
			t.Errorf("%+v: up to %s, plain %v", c.p, longest, plain)
		}
	}
}

func TestIDs(t *testing.T) {
	if err := upkeep.CheckIDs("a", "A-1.b_c", strings.Repeat("a", 191)); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "..", "-a", "a/b", "a b", "a\x00", "ä", strings.Repeat("a", 192)} {
		if err := upkeep.CheckIDs("good", id); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestOneAtATimeWorksOnAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l upkeep.Locks
		release, err := l.Acquire(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.Acquire(t.Context(), "b")
		if err != nil {
			t.Fatal("another instance has to wait:", err)
		}
		other()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Acquire(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("two have the lock: %v", err)
		}
		order := make(chan int, 2)
		go func() {
			next, err := l.Acquire(t.Context(), "a")
			order <- 2
			if err == nil {
				next()
			}
		}()
		synctest.Wait()
		order <- 1
		release()
		if first, second := <-order, <-order; first != 1 || second != 2 {
			t.Error("who waits does not get it after the release")
		}
		synctest.Wait()
		if l.Busy("a") || l.Busy("b") {
			t.Error("what nobody holds is busy")
		}
	})
}

func TestChangesAreToldOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := upkeep.NewChanges()
		for _, id := range []string{"a", "b", "a", "c", "a"} { // nobody listens yet: nothing waits
			c.Add(id)
		}
		ended := make(chan bool)
		go func() {
			c.Send(ctx)
			close(ended)
		}()
		var got []string
		for range 3 {
			got = append(got, <-c.Out())
		}
		if !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("told %v", got)
		}
		c.Add("a") // after it was taken it is news again
		if id := <-c.Out(); id != "a" {
			t.Errorf("told %q", id)
		}
		c.Add("d")
		synctest.Wait() // it waits for a listener, who never comes
		cancel()
		<-ended
	})
}
