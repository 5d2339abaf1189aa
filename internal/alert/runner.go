package alert

import (
	"context"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// atOnce is how many groups are evaluated at the same time.
const atOnce = 4

// runners evaluate each group at its interval, so that one that is slow holds up
// no other.
type runners struct {
	mu     sync.Mutex
	svc    *Service
	loops  []*lifecycle.Loop
	places chan struct{}
}

func (r *runners) start(s *Service) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.svc = s
	if r.places == nil {
		r.places = make(chan struct{}, atOnce)
	}
	return r.run()
}

// restart takes up changed rules. Evaluations that run are seen through.
func (r *runners) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.svc == nil {
		return
	}
	_ = r.halt(context.Background()) // without a deadline it ends when all have ended
	_ = r.run()                      // fresh loops always start
}

func (r *runners) stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.svc = nil
	return r.halt(ctx)
}

func (r *runners) run() error {
	s := r.svc
	s.rules.mu.RLock()
	groups := s.rules.groups
	s.rules.mu.RUnlock()
	for _, g := range groups {
		if len(g.Rules) == 0 {
			continue
		}
		loop := &lifecycle.Loop{}
		if err := loop.Go(func(ctx context.Context) { r.each(ctx, s, g) }); err != nil {
			return err
		}
		r.loops = append(r.loops, loop)
	}
	return nil
}

func (r *runners) halt(ctx context.Context) error {
	var first error
	for _, l := range r.loops {
		if err := l.Halt(ctx); err != nil && first == nil {
			first = err
		}
	}
	r.loops = nil
	return first
}

// each evaluates one group until ctx ends.
func (r *runners) each(ctx context.Context, s *Service, g *Group) {
	for {
		due := g.due(s.Now())
		timer := time.NewTimer(due.Sub(s.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return
		case r.places <- struct{}{}:
		}
		s.Evaluate(ctx, g, s.Now())
		<-r.places
	}
}
