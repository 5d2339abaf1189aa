package bulk_test

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

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

const patience = time.Minute

// world is a fleet of agents whose actions only change their state, and the
// portal that acts on them. The store outlives the portal.
type world struct {
	t     testing.TB
	store *store.Store
	mem   *operationtest.Memory
	ids   atomic.Int64

	ops    *operation.Service
	svc    *bulk.Service
	engine operationtest.Host

	// fails and holds are by "agent action": the action fails, or tells on begun
	// and waits for a value from the channel.
	mu      sync.Mutex
	fails   map[string]error
	holds   map[string]chan struct{}
	refuses map[string]error // Act itself
	begun   chan string
	deaf    bool     // held actions do not listen to their context
	log     []string // "+x start", "-x start": begin and end of actions
	now     int      // actions that run
	most    int      // that ever ran at once
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := emptyWorld(t)
	w.boot(inMemory)
	return w
}

func inMemory(exec operation.Executor, mem *operationtest.Memory) operationtest.Host {
	return operationtest.Open(exec, mem)
}

func emptyWorld(t testing.TB) *world {
	t.Helper()
	return &world{
		t: t, store: storetest.New(t), mem: &operationtest.Memory{}, fails: map[string]error{},
		holds: map[string]chan struct{}{}, refuses: map[string]error{}, begun: make(chan string, 1000),
	}
}

// boot starts a portal on an engine that open gives.
func (w *world) boot(open func(operation.Executor, *operationtest.Memory) operationtest.Host) {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	recorder := &audit.Recorder{Store: w.store.Audit(), Now: time.Now}
	newID := func() string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", w.ids.Add(1)) }
	w.ops = &operation.Service{
		Store: w.store.Operations(), Tx: w.store, Events: w.store.Events(), Audit: recorder,
		Now: time.Now, NewID: newID, Log: log, Poll: 50 * time.Millisecond,
	}
	w.svc = &bulk.Service{
		Store: w.store.Bulks(), Agents: w.store.Agents(), Operations: w.ops, Actor: bulk.ActFunc(w.act),
		Tx: w.store, Events: w.store.Events(), Audit: recorder, Now: time.Now, NewID: newID,
	}
	w.svc.Register()
	w.ops.Register(operation.Definition{Kind: "act", Steps: w.steps, Finish: w.finish})
	engine := open(w.ops, w.mem)
	w.engine, w.ops.Engine = engine, engine
	if err := engine.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { stop(w.t, engine) })
}

func stop(t testing.TB, e operationtest.Host) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		t.Errorf("stop the engine: %v", err)
	}
}

func (w *world) restart() { w.t.Helper(); stop(w.t, w.engine); w.boot(inMemory) }

// act is what the fleet does: refuse, or create the operation.
func (w *world) act(ctx context.Context, id string, action agent.Action, o bulk.ActOptions) (*operation.Operation, error) {
	w.mu.Lock()
	refusal := w.refuses[id+" "+string(action)]
	w.mu.Unlock()
	if refusal != nil {
		return nil, refusal
	}
	a, err := w.store.Agents().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := agent.Next(a.State, action); err != nil {
		return nil, err
	}
	op := &operation.Operation{
		ID: o.OperationID, Kind: "act", AgentID: id, ParentID: o.ParentID, Reason: string(action), Actor: auth.From(ctx).ID,
	}
	return op, w.ops.Create(ctx, op)
}

func (w *world) steps(op *operation.Operation) []operation.StepDef {
	key := op.AgentID + " " + op.Reason
	return []operation.StepDef{{Name: "act", Do: func(ctx context.Context, _ operation.Run) error {
		w.mu.Lock()
		w.log = append(w.log, "+"+key)
		w.now++
		w.most = max(w.most, w.now)
		hold, err := w.holds[key], w.fails[key]
		w.mu.Unlock()
		w.begun <- key
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.now--
			w.log = append(w.log, "-"+key)
		}()
		if hold != nil && w.deaf {
			<-hold
		} else if hold != nil {
			select {
			case <-hold:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return err
	}}}
}

func (w *world) finish(ctx context.Context, op *operation.Operation) error {
	if op.State != operation.Succeeded {
		return nil
	}
	a, err := w.store.Agents().Get(ctx, op.AgentID)
	if err != nil {
		return err
	}
	rule, _ := agent.RuleOf(agent.Action(op.Reason))
	a.State = rule.To
	return w.store.Agents().Save(ctx, a)
}

// agent adds an agent in a state that needs others. Its id is its name with
// small letters.
func (w *world) agent(name string, state agent.State, needs ...string) {
	w.t.Helper()
	a := &agent.Agent{
		ID: agent.Slug(name), Revision: 1, State: state, Health: agent.HealthUnknown, CreatedAt: time.Now(), UpdatedAt: time.Now(),
		Spec: agent.Spec{ID: agent.Slug(name), Name: name, Runtime: "process", Command: "x", Dependencies: needs, Labels: map[string]string{"fleet": "test"}},
	}
	err := w.store.Agents().Create(w.t.Context(), a, agent.Revision{AgentID: a.ID, Number: 1, Spec: a.Spec, CreatedBy: "test", CreatedAt: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) fail(key string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails[key] = err
}

func (w *world) hold(key string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds[key] = make(chan struct{})
	return w.holds[key]
}

func (w *world) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

// place is where an entry of the log is; the test fails if it is not there once.
func (w *world) place(entry string) int {
	w.t.Helper()
	log := w.seen()
	i := slices.Index(log, entry)
	if i < 0 || slices.Contains(log[i+1:], entry) {
		w.t.Fatalf("%q is not once in %q", entry, log)
	}
	return i
}

func (w *world) wantOrder(entries ...string) {
	w.t.Helper()
	for i := range len(entries) - 1 {
		if w.place(entries[i]) > w.place(entries[i+1]) {
			w.t.Errorf("%q came after %q: %q", entries[i], entries[i+1], w.seen())
		}
	}
}

func (w *world) begins(key string) {
	w.t.Helper()
	select {
	case got := <-w.begun:
		if got != key {
			w.t.Fatalf("%q began, want %q", got, key)
		}
	case <-time.After(patience):
		w.t.Fatalf("%q did not begin", key)
	}
}

func (w *world) start(req bulk.Request) *bulk.Bulk {
	w.t.Helper()
	ctx := auth.With(w.t.Context(), auth.Principal{ID: "token:ops", Role: auth.Operator})
	b, err := w.svc.Start(ctx, req)
	if err != nil {
		w.t.Fatalf("start: %v", err)
	}
	return b
}

// wait gives the bulk once the operation (of the bulk, or of its rollback) is final.
func (w *world) wait(bulkID, opID string) *bulk.Bulk {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if _, err := w.ops.Wait(ctx, opID); err != nil {
		w.t.Fatalf("wait: %v; %q", err, w.seen())
	}
	return w.get(bulkID)
}

func (w *world) get(id string) *bulk.Bulk {
	w.t.Helper()
	b, err := w.svc.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) finished(req bulk.Request) *bulk.Bulk {
	w.t.Helper()
	id := w.start(req).ID
	return w.wait(id, id)
}

func (w *world) state(id string) agent.State {
	w.t.Helper()
	a, err := w.store.Agents().Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.State
}

func item(t *testing.T, b *bulk.Bulk, id string) bulk.Item {
	t.Helper()
	i := slices.IndexFunc(b.Items, func(it bulk.Item) bool { return it.AgentID == id })
	if i < 0 {
		t.Fatalf("no item of %s", id)
	}
	return b.Items[i]
}

func wantItems(t *testing.T, b *bulk.Bulk, want map[string]bulk.ItemState) {
	t.Helper()
	for id, state := range want {
		if it := item(t, b, id); it.State != state {
			t.Errorf("%s is %s, want %s (note %q, problem %+v)", id, it.State, state, it.Note, it.Problem)
		}
	}
}

var errBroken = fault.New(fault.Conflict, "test.broken", "It broke")

func actions(list ...agent.Action) []agent.Action { return list }
