package logs

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// lineMost is how much of a line is awaited: of one that never ends, so much at a
// time becomes an entry.
const lineMost = 16 << 20

var errFull = errors.New("enough for now")

// read gives the next lines, and whether there are more.
func (c *Collector) read(ctx context.Context, v *visit) (lines []Line, more bool, err error) {
	size := 0
	long := map[string]int{} // bytes of a line that goes on, by instance and stream
	err = c.Source.Read(ctx, v.agent, v.cursor, func(l Line) error {
		key := l.Instance + "\x00" + l.Stream
		if long[key] > MaxText { // what comes of it is left out anyhow
			text := l.Text
			if l.Text = ""; strings.HasSuffix(text, continues) {
				l.Text = continues
			}
			l.cut = len(text) - len(l.Text)
		}
		if strings.HasSuffix(l.Text, continues) {
			long[key] += len(l.Text) + l.cut
			l.split = long[key] >= lineMost
		}
		if l.split || !strings.HasSuffix(l.Text, continues) {
			delete(long, key)
		}
		lines = append(lines, l)
		if size += len(l.Text); size >= bytesAtOnce || len(lines) >= linesAtOnce {
			return errFull
		}
		return nil
	})
	if errors.Is(err, errFull) {
		return lines, true, nil
	}
	return lines, false, err
}

// unknown leaves out what the store already has: after a start, until the
// agent's output was read to its end once.
func (c *Collector) unknown(ctx context.Context, v *visit, entries []Entry) ([]Entry, error) {
	if !v.fresh || len(entries) == 0 {
		return entries, nil
	}
	from, to := entries[0].At, entries[0].At
	for _, e := range entries {
		if e.At.Before(from) {
			from = e.At
		}
		if e.At.After(to) {
			to = e.At
		}
	}
	times, err := c.Sink.Times(ctx, v.agent, from, to)
	if err != nil {
		return nil, err
	}
	has := map[moment]int{}
	for instance, list := range times {
		for _, t := range list {
			has[moment{instance, t.UnixNano()}]++
		}
	}
	for m, n := range v.added { // just now, and not in an earlier life
		has[m] -= n
	}
	v.added = map[moment]int{}
	out := entries[:0]
	for _, e := range entries {
		m := moment{e.Instance, e.At.UnixNano()}
		if has[m] > 0 {
			has[m]--
			continue
		}
		v.added[m]++
		out = append(out, e)
	}
	return out, nil
}

// moment is when an instance wrote something. Mostly it did so once.
type moment struct {
	instance string
	at       int64
}

// visit is an agent with the place up to which its output was read.
type visit struct {
	agent  string
	cursor string
	fresh  bool           // its output was not read to the end yet
	added  map[moment]int // by the last read, while it is fresh
	due    time.Time
	pause  time.Duration
	place  int // in the agenda; -1 while it is being read
	gone   bool
	behind atomic.Bool
}

// quiet makes the pauses longer while nothing comes.
func (v *visit) quiet() time.Duration {
	v.pause = min(v.pause*3/2, idleMost)
	return v.pause - rand.N(v.pause/8+1) // what began together shall not stay together
}

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
