package operation

import (
	"context"
	"sync"
	"time"
)

// bells wake those in this process who wait for a change of one operation.
// The zero value is ready.
type bells struct {
	mu   sync.Mutex
	byID map[string]map[chan struct{}]struct{}
}

// listen gives a channel that receives after each ring (several rings may give
// one receive), until stop is called.
func (b *bells) listen(id string) (rung <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byID == nil {
		b.byID = map[string]map[chan struct{}]struct{}{}
	}
	if b.byID[id] == nil {
		b.byID[id] = map[chan struct{}]struct{}{}
	}
	b.byID[id][ch] = struct{}{}
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.byID[id], ch)
		if len(b.byID[id]) == 0 {
			delete(b.byID, id)
		}
	}
}

func (b *bells) ring(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.byID[id] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// reread is the least time between two reads of a waiter that is woken by the
// event log: the log wakes everybody for every event of the fleet, while the
// end of an operation of this process is told directly.
const reread = 500 * time.Millisecond

// Wait returns the operation once it is final. If ctx ends first it gives the
// operation as it was last seen, and the error of ctx.
func (s *Service) Wait(ctx context.Context, id string) (*Operation, error) {
	rung, stop := s.bells.listen(id)
	defer stop()
	wake, unwatch := s.Events.Watch()
	defer unwatch()
	slow := time.NewTimer(s.poll())
	defer slow.Stop()
	for {
		op, err := s.Store.Get(ctx, id)
		if err != nil || op.State.Final() {
			return op, err
		}
		slow.Reset(s.poll())
		woken, read := wake, time.Now()
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return op, ctx.Err()
			case <-rung:
				again = true
			case <-slow.C:
				again = true
			case <-woken:
				// Once is enough: from here on the timer decides.
				woken = nil
				slow.Reset(max(0, reread-time.Since(read)))
			}
		}
	}
}
