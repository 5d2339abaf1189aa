// Package operationtest has what tests of operations need: a small engine
// without a database, and the suite that every engine must pass.
package operationtest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/operation"
)

// Memory is what an engine remembers: which steps of which operation were
// completed. It stands for the engine's database, so an engine that is made
// with the memory of another one goes on where that one was stopped.
type Memory struct {
	mu   sync.Mutex
	runs map[string]*record
}

type record struct {
	steps []string // names, in the order in which they were completed
	done  bool
}

// Engine is an operation.Engine in memory, and a lifecycle.Service.
type Engine struct {
	exec operation.Executor
	mem  *Memory

	mu     sync.Mutex
	ctx    context.Context // nil while stopped
	cancel context.CancelFunc
	wg     sync.WaitGroup
	active map[string]bool
}

// NewEngine gives an engine that has been started and that the test stops at
// its end.
func NewEngine(t testing.TB, exec operation.Executor) *Engine {
	t.Helper()
	e := Open(exec, &Memory{})
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := e.Stop(ctx); err != nil {
			t.Errorf("stop the engine: %v", err)
		}
	})
	return e
}

// Open gives an engine that is not started, on the memory of an earlier one.
func Open(exec operation.Executor, mem *Memory) *Engine {
	return &Engine{exec: exec, mem: mem, active: map[string]bool{}}
}

// Name is "engine".
func (e *Engine) Name() string { return "engine" }

// Start goes on with everything that the memory holds unfinished.
func (e *Engine) Start(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil {
		return errors.New("already started")
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.mem.mu.Lock()
	defer e.mem.mu.Unlock()
	for id, r := range e.mem.runs {
		if !r.done {
			e.launch(id, r)
		}
	}
	return nil
}

// Stop ends the contexts of what runs and waits for it.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	if e.ctx == nil {
		e.mu.Unlock()
		return nil
	}
	e.cancel()
	e.ctx = nil
	e.mu.Unlock()
	ended := make(chan struct{})
	go func() { e.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Submit starts the operation in a goroutine unless it is running.
func (e *Engine) Submit(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		return errors.New("the engine is stopped")
	}
	if e.active[id] {
		return nil
	}
	e.mem.mu.Lock()
	defer e.mem.mu.Unlock()
	if e.mem.runs == nil {
		e.mem.runs = map[string]*record{}
	}
	r := e.mem.runs[id]
	if r == nil || r.done {
		r = &record{}
		e.mem.runs[id] = r
	}
	e.launch(id, r)
	return nil
}

// launch is called with both locks held.
func (e *Engine) launch(id string, r *record) {
	e.active[id] = true
	ctx := e.ctx
	e.wg.Go(func() {
		err := e.exec.Execute(ctx, id, e.memoised(ctx, r))
		e.mem.mu.Lock()
		r.done = ctx.Err() == nil
		e.mem.mu.Unlock()
		e.mu.Lock()
		delete(e.active, id)
		e.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			slog.Default().Error("an operation could not be run", "operation", id, "error", err)
		}
	})
}

// memoised gives the do of one run. Names that come in another order than in
// the earlier life are refused, as a real engine does.
func (e *Engine) memoised(ctx context.Context, r *record) func(string, func(context.Context) error) error {
	next := 0
	return func(name string, fn func(context.Context) error) error {
		e.mem.mu.Lock()
		i := next
		next++
		var known string
		if i < len(r.steps) {
			known = r.steps[i]
		}
		e.mem.mu.Unlock()
		if known != "" {
			if known != name {
				return errors.New("step " + name + " comes where step " + known + " was before")
			}
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(ctx); err != nil {
			return err
		}
		e.mem.mu.Lock()
		r.steps = append(r.steps, name)
		e.mem.mu.Unlock()
		return nil
	}
}
