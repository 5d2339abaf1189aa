package store

import (
	"context"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// watch wakes those who wait for events. It begins to listen for the events of
// other processes when the first one comes.
type watch struct {
	s    *Store
	loop lifecycle.Loop

	mu    sync.Mutex
	known int64 // greatest number of which the watchers were told
	wakes map[chan struct{}]struct{}
	runs  bool
}

func newWatch(s *Store) *watch {
	return &watch{s: s, wakes: map[chan struct{}]struct{}{}}
}

// add gives a channel that receives when events were committed.
func (w *watch) add() (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakes[wake] = struct{}{}
	if !w.runs {
		w.runs = w.loop.Go(func(ctx context.Context) { w.s.backend.listen(ctx, func() { w.look(ctx) }) }) == nil
	}
	return wake, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.wakes, wake)
	}
}

// grown tells the watchers that the stream has grown up to seq.
func (w *watch) grown(seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq <= w.known {
		return
	}
	w.known = seq
	for wake := range w.wakes {
		select {
		case wake <- struct{}{}:
		default: // it has not yet taken the wake before
		}
	}
}

// look finds out whether another process appended events.
func (w *watch) look(ctx context.Context) {
	w.mu.Lock()
	idle := len(w.wakes) == 0
	w.mu.Unlock()
	if idle {
		return
	}
	var seq int64
	err := w.s.read.NewRaw("SELECT seq FROM event_head WHERE id = 1").Scan(ctx, &seq)
	if err != nil {
		if ctx.Err() == nil {
			w.s.log.WarnContext(ctx, "can't look for new events", "error", err)
		}
		return
	}
	w.grown(seq)
}

// close ends the listening and waits for it.
func (w *watch) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.loop.Halt(ctx); err != nil {
		w.s.log.Warn("listening for events did not end in time", "error", err)
	}
}
