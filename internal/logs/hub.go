package logs

import (
	"sync"
)

// Bounds of the live tail: what is remembered for those who come back, and what
// may wait for one who reads slowly.
const (
	ringEntries   = 2_000
	ringBytes     = 4 << 20
	waitingMost   = 2_000
	listenersMost = 256
)

// hub gives new entries to those who listen, as soon as they were read.
type hub struct {
	mu        sync.Mutex
	listeners map[*Listener]struct{}
	ring      []Entry // the newest
	bytes     int
	ended     bool
}

// Listener hears of new entries.
type Listener struct {
	hub   *hub
	match func(*Entry) bool

	mu      sync.Mutex
	waiting []Entry
	missed  int
	wake    chan struct{}
	ended   chan struct{}
}

// publish hands entries out. It does not wait for anybody.
func (h *hub) publish(list []Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remember(list)
	for l := range h.listeners {
		l.offer(list)
	}
}

func (h *hub) remember(list []Entry) {
	for i := range list {
		h.bytes += len(list[i].Text) + len(list[i].Raw) + 200
	}
	h.ring = append(h.ring, list...)
	drop := max(0, len(h.ring)-ringEntries)
	for i := 0; i < len(h.ring) && (i < drop || h.bytes > ringBytes); i++ {
		h.bytes -= len(h.ring[i].Text) + len(h.ring[i].Raw) + 200
		drop = max(drop, i+1)
	}
	if drop > 0 {
		h.ring = append(make([]Entry, 0, len(h.ring)-drop+16), h.ring[drop:]...)
	}
}

// listen adds a listener that first hears what is remembered of after, or false if
// there are too many.
func (h *hub) listen(match func(*Entry) bool, after place) (*Listener, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) >= listenersMost || h.ended {
		return nil, false
	}
	l := &Listener{hub: h, match: match, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if !after.at.IsZero() {
		for i, e := range h.ring {
			if e.At.After(after.at) {
				l.offer(h.ring[i : i+1])
			}
		}
	}
	if h.listeners == nil {
		h.listeners = map[*Listener]struct{}{}
	}
	h.listeners[l] = struct{}{}
	return l, true
}

// offer keeps what the listener asked for until it is taken; the oldest is
// dropped where too much waits.
func (l *Listener) offer(list []Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range list {
		if l.match(&list[i]) {
			l.waiting = append(l.waiting, list[i])
		}
	}
	if over := len(l.waiting) - waitingMost; over > 0 {
		l.missed += over
		l.waiting = append(l.waiting[:0], l.waiting[over:]...)
	}
	if len(l.waiting) > 0 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Ready gives a value when there is something to take.
func (l *Listener) Ready() <-chan struct{} { return l.wake }

// Ended is closed when nothing more will come.
func (l *Listener) Ended() <-chan struct{} { return l.ended }

// end lets all listeners go, and takes no more.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for l := range h.listeners {
		close(l.ended)
	}
	h.listeners = nil
}

// Take gives what came since the last call, and how many entries were left out
// because they came faster than they were taken.
func (l *Listener) Take() (list []Entry, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, missed = l.waiting, l.missed
	l.waiting, l.missed = nil, 0
	return list, missed
}

// Close ends the listening.
func (l *Listener) Close() {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	delete(l.hub.listeners, l)
}
