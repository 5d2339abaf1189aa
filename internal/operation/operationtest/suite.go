package operationtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/operation"
)

// Host is an engine with its life.
type Host interface {
	operation.Engine
	lifecycle.Service
}

// Do is what an engine gives to its Executor.
type Do = func(name string, fn func(ctx context.Context) error) error

// Executor is a function as an operation.Executor.
type Executor func(ctx context.Context, opID string, do Do) error

// Execute calls f.
func (f Executor) Execute(ctx context.Context, opID string, do func(string, func(context.Context) error) error) error {
	return f(ctx, opID, do)
}

// patience bounds each wait of the suite.
const patience = time.Minute

// TestEngine is what every engine must pass. fresh gives, for one test, a
// function that opens engines one after the other on the same memory, each
// stopped before the next is opened.
func TestEngine(t *testing.T, fresh func(t *testing.T) (open func(operation.Executor) Host)) {
	tests := map[string]func(*testing.T, func(operation.Executor) Host){
		"an operation is never run twice at once":              testOnce,
		"a hundred operations at once":                         testHundred,
		"a stopped operation goes on after what was completed": testResume,
		"an unsubmitted hand-over is taken after a restart":    testSubmitAfterRestart,
		"a finished operation can be run again":                testAgain,
		"errors of steps and executors":                        testErrors,
		"life":                                                 testLife,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func start(t *testing.T, h Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Start(ctx); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { stop(t, h) })
}

func stop(t *testing.T, h Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func submit(t *testing.T, h Host, id string) {
	t.Helper()
	if err := h.Submit(t.Context(), id); err != nil {
		t.Fatalf("submit %s: %v", id, err)
	}
}

func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited too long for %s", what)
		panic("unreachable")
	}
}

// calls collects names from several goroutines.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, name)
}

func (c *calls) get() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

func testOnce(t *testing.T, open func(operation.Executor) Host) {
	var seen calls
	begun, release, ended := make(chan struct{}, 20), make(chan struct{}), make(chan struct{}, 20)
	h := open(Executor(func(ctx context.Context, id string, do Do) error {
		defer func() { ended <- struct{}{} }()
		return do("only", func(context.Context) error {
			seen.add(id)
			begun <- struct{}{}
			<-release
			return nil
		})
	}))
	start(t, h)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { submit(t, h, "op") })
	}
	wg.Wait()
	await(t, begun, "the run")
	submit(t, h, "op")
	close(release)
	await(t, ended, "the end of the run")
	stop(t, h)
	if got := seen.get(); len(got) != 1 {
		t.Errorf("ran %d times, want once", len(got))
	}
}

func testHundred(t *testing.T, open func(operation.Executor) Host) {
	const n = 100
	ended := make(chan string, n)
	h := open(Executor(func(ctx context.Context, id string, do Do) error {
		for i := range 3 {
			if err := do(fmt.Sprint("step", i), func(context.Context) error { return nil }); err != nil {
				return err
			}
		}
		ended <- id
		return nil
	}))
	start(t, h)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { submit(t, h, fmt.Sprintf("op%02d", i)) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for range n {
		seen[await(t, ended, "an operation")] = true
	}
	if len(seen) != n {
		t.Errorf("%d different operations ended, want %d", len(seen), n)
	}
}

func testResume(t *testing.T, open func(operation.Executor) Host) {
	var seen calls
	begun, ended := make(chan struct{}), make(chan error, 1)
	steps := func(last func(ctx context.Context) error) Executor {
		return func(ctx context.Context, id string, do Do) error {
			for _, name := range []string{"a", "b"} {
				if err := do(name, func(context.Context) error { seen.add(name); return nil }); err != nil {
					return err
				}
			}
			return do("c", last)
		}
	}
	first := open(steps(func(ctx context.Context) error {
		seen.add("c cut off")
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}))
	start(t, first)
	submit(t, first, "op")
	await(t, begun, "the last step")
	stop(t, first)

	submitted := make(chan struct{})
	second := open(Executor(func(ctx context.Context, id string, do Do) error {
		err := steps(func(context.Context) error {
			<-submitted // a submit of what has ended would begin it anew
			seen.add("c")
			return nil
		})(ctx, id, do)
		ended <- err
		return err
	}))
	start(t, second)
	submit(t, second, "op") // does no harm
	close(submitted)
	if err := await(t, ended, "the resumed operation"); err != nil {
		t.Errorf("the resumed operation: %v", err)
	}
	if got, want := seen.get(), []string{"a", "b", "c cut off", "c"}; !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
}

func testSubmitAfterRestart(t *testing.T, open func(operation.Executor) Host) {
	first := open(Executor(func(context.Context, string, Do) error { return nil }))
	start(t, first)
	stop(t, first)
	ended := make(chan string, 1)
	second := open(Executor(func(_ context.Context, id string, _ Do) error { ended <- id; return nil }))
	start(t, second)
	submit(t, second, "late")
	if id := await(t, ended, "the operation"); id != "late" {
		t.Errorf("ran %q", id)
	}
}

func testAgain(t *testing.T, open func(operation.Executor) Host) {
	var seen calls
	ended := make(chan struct{}, 2)
	h := open(Executor(func(ctx context.Context, id string, do Do) error {
		defer func() { ended <- struct{}{} }()
		return do("step", func(context.Context) error { seen.add("step"); return nil })
	}))
	start(t, h)
	submit(t, h, "op")
	await(t, ended, "the first run")
	// The engine may take a moment to note the end of the run; until then a
	// hand-over may count as one of what still runs.
	deadline := time.Now().Add(patience)
	for len(seen.get()) < 2 && time.Now().Before(deadline) {
		submit(t, h, "op")
		select {
		case <-ended:
		case <-time.After(20 * time.Millisecond):
		}
	}
	if got := seen.get(); len(got) != 2 {
		t.Errorf("the step ran %d times, want 2", len(got))
	}
}

func testErrors(t *testing.T, open func(operation.Executor) Host) {
	cause := errors.New("cause")
	got := make(chan error, 4)
	h := open(Executor(func(ctx context.Context, id string, do Do) error {
		err := do("failing", func(context.Context) error { return fmt.Errorf("wrapped: %w", cause) })
		got <- err
		return err
	}))
	start(t, h)
	submit(t, h, "one")
	if err := await(t, got, "the error of the step"); !errors.Is(err, cause) {
		t.Errorf("do gave %v, want the error of its function", err)
	}
	submit(t, h, "two")
	await(t, got, "another operation after one that could not be run")
}

func testLife(t *testing.T, open func(operation.Executor) Host) {
	h := open(Executor(func(context.Context, string, Do) error { return nil }))
	stop(t, h) // without a start
	if err := h.Submit(t.Context(), "early"); err == nil {
		t.Error("a submit before the start gave no error")
	}
	start(t, h)
	if err := h.Start(t.Context()); err == nil {
		t.Error("a second start gave no error")
	}
	stop(t, h)
	stop(t, h)
	if err := h.Submit(t.Context(), "late"); err == nil {
		t.Error("a submit after the stop gave no error")
	}
}
