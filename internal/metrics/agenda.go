package metrics

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// visit is a target with the time when it is to be asked next.
type visit struct {
	Target
	due    time.Time
	place  int // in the agenda; -1 while it is being asked
	gone   bool
	missed int  // times in a row
	ever   bool // has reported in this run

	known   bool     // has had metrics of any kind in this run
	refused *Refusal // why its last page was not taken
	book    *ledger
}

// The pauses after which an instance is asked again.
const (
	firstRetry = 5 * time.Second // of one that has not reported yet
	rarely     = 5 * time.Minute // the longest, for one that never reported
	slowly     = time.Minute     // the longest, for one that did
)

// pause is how long to wait after an answer, or none.
func (v *visit) pause(every time.Duration) time.Duration {
	if v.missed == 0 {
		return every
	}
	d, most := every, slowly
	if !v.ever {
		d, most = firstRetry, rarely
	}
	for range min(v.missed-1, 10) {
		d *= 2
	}
	return min(d, most)
}

// jitter shortens d by up to a fifth, so that what began together does not stay
// together.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

// agenda is the heap of visits by the time when they are due.
type agenda []*visit

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push is for package heap.
func (a *agenda) Push(x any) {
	v := x.(*visit)
	v.place = len(*a)
	*a = append(*a, v)
}

// Pop is for package heap.
func (a *agenda) Pop() any {
	old := *a
	v := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	v.place = -1
	return v
}

// drop takes a visit off the agenda for good.
func (a *agenda) drop(v *visit) {
	v.gone = true
	if v.place >= 0 {
		heap.Remove(a, v.place)
	}
}
