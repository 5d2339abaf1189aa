// Package heap paces the garbage collector of the program.
//
// A heap of a few megabytes that may grow by a part of itself only is collected
// for every few pages that are made; one of hundreds that may double is most of the
// machine. So a small heap gets a fixed room, and a large one a share.
package heap

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const live = "/gc/heap/live:bytes"

// Pacer holds the garbage collector to what Percent says.
type Pacer struct {
	share int
	room  uint64

	mu      sync.Mutex
	percent int
	stopped bool
}

// mark is collected by each collection, which tells the pacer of it.
type mark struct{ _ *Pacer }

// Pace makes the garbage collector let the heap grow by share percent, or by room
// bytes if that is more, until Stop.
func Pace(share int, room uint64) *Pacer {
	p := &Pacer{share: share, room: room}
	p.adjust()
	return p
}

// Stop gives the garbage collector back the share alone.
func (p *Pacer) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	debug.SetGCPercent(p.share)
}

func (p *Pacer) adjust() {
	s := []metrics.Sample{{Name: live}}
	metrics.Read(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	// Each change stops the program for a moment, so small ones are not made.
	if want := Percent(s[0].Value.Uint64(), p.share, p.room); want < p.percent*9/10 || want > p.percent*11/10 {
		p.percent = want
		debug.SetGCPercent(want)
	}
	runtime.AddCleanup(&mark{p}, func(p *Pacer) { p.adjust() }, p)
}

// smallest is the heap that is assumed at least, in bytes: the runtime collects none
// below 4 MB times its percentage.
const smallest = 4 << 20

// Percent is by how many percent a heap with so many live bytes may grow.
func Percent(live uint64, share int, room uint64) int {
	return max(share, int(room*100/max(live, smallest)))
}
