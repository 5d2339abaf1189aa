// Package lifecycle starts and stops the long-running services of the portal
// in order.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Service runs in the background between Start and Stop.
type Service interface {
	// Name is used in logs and errors.
	Name() string
	// Start returns once the service is ready. The context bounds the start
	// alone, not the life of the service. Start after Start is an error.
	Start(ctx context.Context) error
	// Stop ends the service and waits for everything it started, at most until
	// ctx ends. Stop without Start, and a second Stop, return nil.
	Stop(ctx context.Context) error
}

// Group starts services in order and stops them in reverse.
type Group struct {
	mu      sync.Mutex
	running []Service
}

// Start starts the services one after the other. If one fails, those already
// running are stopped again and its error is returned with its name.
func (g *Group) Start(ctx context.Context, services ...Service) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range services {
		if err := s.Start(ctx); err != nil {
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			return errors.Join(fmt.Errorf("start %s: %w", s.Name(), err), g.stop(stopCtx))
		}
		g.running = append(g.running, s)
	}
	return nil
}

// Stop stops what runs, last started first, and joins the errors.
func (g *Group) Stop(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stop(ctx)
}

func (g *Group) stop(ctx context.Context) error {
	var errs []error
	for i := len(g.running) - 1; i >= 0; i-- {
		if err := g.running[i].Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", g.running[i].Name(), err))
		}
	}
	g.running = nil
	return errors.Join(errs...)
}

// Loop is the part of a Service that most share: one goroutine with a context
// that Stop cancels and waits for. The zero value is ready.
type Loop struct {
	mu     sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}
}

// Go starts run in a goroutine. It fails if the loop is already running.
func (l *Loop) Go(run func(ctx context.Context)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		return errors.New("already started")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	l.cancel, l.done = cancel, done
	go func() {
		defer close(done)
		run(ctx)
	}()
	return nil
}

// Halt cancels the goroutine and waits for its end, at most until ctx ends.
func (l *Loop) Halt(ctx context.Context) error {
	l.mu.Lock()
	cancel, done := l.cancel, l.done
	l.cancel, l.done = nil, nil
	l.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
