package heap_test

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/heap"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 800}, {4 << 20, 800}, {32 << 20, 100}, {64 << 20, 50}, {80 << 20, 40}, {1 << 30, 40},
	} {
		if got := heap.Percent(c.live, 40, 32<<20); got != c.want {
			t.Errorf("%d live bytes may grow by %d %%, want %d", c.live, got, c.want)
		}
	}
}

var kept [][]byte

// As what is in use grows, the share that may be wasted shrinks, and grows again.
func TestTheRoomFollowsTheHeap(t *testing.T) {
	p := heap.Pace(40, 32<<20)
	defer p.Stop()
	percent := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	eventually := func(what string, ok func(uint64) bool) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for !ok(percent()) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d %%", what, percent())
			}
			runtime.GC()
		}
	}
	eventually("a small heap", func(n uint64) bool { return n > 200 })
	for range 200 {
		kept = append(kept, make([]byte, 1<<20))
	}
	eventually("a large heap", func(n uint64) bool { return n == 40 })
	kept = nil
	eventually("a heap that is small again", func(n uint64) bool { return n > 200 })
	p.Stop()
	if n := percent(); n != 40 {
		t.Errorf("after the end the heap may grow by %d %%", n)
	}
}
