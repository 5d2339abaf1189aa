package operation_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

const patience = time.Minute

// world is a store that outlives the services and engines on it, as a data
// directory outlives the portal.
type world struct {
	t      *testing.T
	store  *store.Store
	mem    *operationtest.Memory
	clock  atomic.Int64 // nanoseconds that Now is ahead
	ids    atomic.Int64
	logged logBook

	svc    *operation.Service
	engine *operationtest.Engine

	mu      sync.Mutex
	effects []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, store: storetest.New(t), mem: &operationtest.Memory{}}
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.clock.Load())) }

// boot starts a portal with the definitions; an earlier one must be shut down.
func (w *world) boot(defs ...operation.Definition) {
	w.t.Helper()
	w.svc = &operation.Service{
		Store: w.store.Operations(), Tx: w.store, Events: w.store.Events(),
		Audit: &audit.Recorder{Store: w.store.Audit(), Now: w.now},
		Now:   w.now,
		NewID: func() string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", w.ids.Add(1)) },
		Log:   slog.New(slog.NewTextHandler(&w.logged, nil)),
		Poll:  50 * time.Millisecond,
	}
	for _, d := range defs {
		w.svc.Register(d)
	}
	engine := operationtest.Open(w.svc, w.mem)
	w.engine, w.svc.Engine = engine, engine
	if err := engine.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { stop(w.t, engine) })
}

func stop(t *testing.T, e *operationtest.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		t.Errorf("stop the engine: %v", err)
	}
}

func (w *world) shutdown() { w.t.Helper(); stop(w.t, w.engine) }

// create stores an operation of the kind and hands it over.
func (w *world) create(kind string) *operation.Operation {
	w.t.Helper()
	op := &operation.Operation{Kind: kind, AgentID: "agent-1", Actor: "token:x", Reason: "because"}
	err := w.store.Do(w.t.Context(), func(ctx context.Context) error { return w.svc.Create(ctx, op) })
	if err != nil {
		w.t.Fatalf("create: %v", err)
	}
	return op
}

func (w *world) wait(id string) *operation.Operation {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	op, err := w.svc.Wait(ctx, id)
	if err != nil {
		w.t.Fatalf("wait: %v", err)
	}
	return op
}

func (w *world) get(id string) *operation.Operation {
	w.t.Helper()
	op, err := w.svc.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return op
}

// until waits for the operation to be as ok wants it.
func (w *world) until(id, what string, ok func(op *operation.Operation) bool) *operation.Operation {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		op := w.get(id)
		if ok(op) {
			return op
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the operation never was %s; it is %s", what, op.State)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (w *world) attempts(id string) []operation.Attempt {
	w.t.Helper()
	list, err := w.svc.Attempts(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// note records an effect that the world outside has seen.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.effects = append(w.effects, fmt.Sprintf(format, args...))
}

func (w *world) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.effects)
}

func (w *world) wantSeen(want ...string) {
	w.t.Helper()
	if got := w.seen(); !slices.Equal(got, want) {
		w.t.Errorf("effects\n got %q\nwant %q", got, want)
	}
}

func (w *world) audited(action string) []audit.Entry {
	w.t.Helper()
	list, _, err := w.store.Audit().Find(w.t.Context(), audit.Query{Action: action})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// step is a step that notes what it does, and then does more.
func (w *world) step(name string, more func(ctx context.Context, run operation.Run) error) operation.StepDef {
	return operation.StepDef{
		Name: name,
		Do: func(ctx context.Context, run operation.Run) error {
			w.note("do %s", name)
			if more != nil {
				return more(ctx, run)
			}
			return nil
		},
		Undo: func(context.Context, operation.Run) error { w.note("undo %s", name); return nil },
	}
}

// definition is the kind "work" with the steps; its Finish notes the outcome.
func (w *world) definition(steps ...operation.StepDef) operation.Definition {
	return operation.Definition{
		Kind:  "work",
		Steps: func(*operation.Operation) []operation.StepDef { return steps },
		Finish: func(_ context.Context, op *operation.Operation) error {
			w.note("finish %s", op.State)
			return nil
		},
	}
}

func states(op *operation.Operation) []operation.StepState {
	list := make([]operation.StepState, len(op.Steps))
	for i, st := range op.Steps {
		list[i] = st.State
	}
	return list
}

func wantState(t *testing.T, op *operation.Operation, want operation.State) {
	t.Helper()
	if op.State != want {
		t.Fatalf("the operation is %s, want %s; problem %+v", op.State, want, op.Problem)
	}
}

func await[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("waited too long")
		panic("unreachable")
	}
}

// logBook keeps what was logged.
type logBook struct {
	mu   sync.Mutex
	text []byte
}

var _ io.Writer = (*logBook)(nil)

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
