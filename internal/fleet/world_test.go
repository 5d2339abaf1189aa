package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
	"github.com/waooaw/platform-portal/internal/queue/queuetest"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// world is a portal in small: everything real but the runtime, the broker and
// the engine, which are the fakes that pass the conformance suites.
type world struct {
	t       *testing.T
	store   *store.Store
	runtime *fleettest.Fake
	broker  *queuetest.Fake
	memory  *operationtest.Memory
	prober  *prober
	secrets string
	env     map[string]string
	from    int           // of the ports
	other   fleet.Runtime // beside runtime; may be nil
	quotas  []fleet.Quota
	*portal
}

// portal is what a crash ends.
type portal struct {
	agents *agent.Service
	fleet  *fleet.Service
	ops    *operation.Service
	engine *operationtest.Engine
	keys   *auth.Keyring
	audit  *audit.Recorder
}

var ids, worlds atomic.Int64

func newID() string { return fmt.Sprintf("id-%08d", ids.Add(1)) }

// prober answers what the test says, "" being yes; without a test's answer it asks.
type prober struct {
	answer atomic.Pointer[func(instanceID string) string]
	real   health.Prober
}

func (p *prober) Probe(ctx context.Context, agentID, instanceID string, q agent.Probe, exec health.Execer) health.Answer {
	if fn := p.answer.Load(); fn != nil {
		reason := (*fn)(instanceID)
		return health.Answer{OK: reason == "", Reason: reason}
	}
	return p.real.Probe(ctx, agentID, instanceID, q, exec)
}

func (p *prober) says(fn func(instanceID string) string) { p.answer.Store(&fn) }

// newWorld makes a world for a test that runs beside others.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return newLoneWorld(t)
}

// newLoneWorld makes a world for a test that runs alone.
func newLoneWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, store: storetest.New(t), runtime: fleettest.NewFake(), broker: queuetest.NewFake(),
		memory: &operationtest.Memory{}, prober: &prober{}, secrets: t.TempDir(),
		env: map[string]string{}, from: 20000 + int(worlds.Add(1)%250)*40,
	}
	w.boot(w.runtime)
	t.Cleanup(func() { w.stopEngine() })
	return w
}

// boot makes a portal over what is there, as after a crash.
func (w *world) boot(rt fleet.Runtime) {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(testLog{w.t}, nil))
	p := &portal{audit: &audit.Recorder{Store: w.store.Audit(), Now: time.Now}}
	p.keys = &auth.Keyring{Key: bytes.Repeat([]byte("k"), 32), Store: w.store.Credentials(), Tx: w.store, Audit: p.audit, Now: time.Now}
	p.agents = &agent.Service{Store: w.store.Agents(), History: w.store.History(), Tx: w.store, Audit: p.audit,
		Events: w.store.Events(), Now: time.Now, NewID: newID, Runtimes: slices.Collect(maps.Keys(w.runtimes(rt)))}
	p.ops = &operation.Service{Store: w.store.Operations(), Tx: w.store, Events: w.store.Events(), Audit: p.audit,
		Now: time.Now, NewID: newID, Log: log, Poll: 50 * time.Millisecond}
	p.fleet = &fleet.Service{
		Agents: w.store.Agents(), History: w.store.History(), AgentSvc: p.agents, Specs: p.agents, Ops: p.ops,
		Runtimes: w.runtimes(rt), Quotas: w.quotas, Observed: w.store.Instances(), Broker: w.broker,
		Keys: p.keys, Secrets: fleet.SecretDir{Dir: w.secrets, Getenv: func(name string) (string, bool) { v, ok := w.env[name]; return v, ok }}, Prober: w.prober, Tx: w.store, Audit: p.audit,
		Events: w.store.Events(), Now: time.Now, NewID: newID, Log: log,
		PortalURL: "http://127.0.0.1:8080", PortFrom: w.from, PortTo: w.from + 39, Holder: func(int) (int, string) { return 4711, "squatter" },
		SelfCommand: []string{"/opt/portal"}, Templates: []string{"blank", "memory"}, StartTimeout: time.Minute,
	}
	p.fleet.Register()
	p.engine = operationtest.Open(p.ops, w.memory)
	p.ops.Engine = p.engine
	if err := p.engine.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.portal = p
}

func (w *world) runtimes(rt fleet.Runtime) map[string]fleet.Runtime {
	out := map[string]fleet.Runtime{rt.Name(): rt}
	if w.other != nil {
		out[w.other.Name()] = w.other
	}
	return out
}

func (w *world) stopEngine() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.engine.Stop(ctx); err != nil {
		w.t.Errorf("stop the engine: %v", err)
	}
}

// crash ends the portal and starts another one over the same machine.
func (w *world) crash() {
	w.stopEngine()
	w.boot(w.runtime.Reopen())
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// spec is an agent that runs until it is stopped.
func spec(name string) agent.Spec {
	return agent.Spec{Name: name, Command: "/bin/program", Args: []string{"wait"}, StopTimeout: agent.Duration(50 * time.Millisecond)}
}

func (w *world) create(sp agent.Spec) string {
	w.t.Helper()
	a, _, err := w.agents.Create(w.t.Context(), sp)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.ID
}

func (w *world) get(id string) *agent.Agent {
	w.t.Helper()
	a, err := w.store.Agents().Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// act does an action and waits for its end.
func (w *world) act(id string, action agent.Action) *operation.Operation {
	w.t.Helper()
	op, err := w.fleet.Act(w.t.Context(), id, action, fleet.ActOptions{})
	if err != nil {
		w.t.Fatalf("%s %s: %v", action, id, err)
	}
	return w.wait(op.ID)
}

func (w *world) wait(opID string) *operation.Operation {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	op, err := w.ops.Wait(ctx, opID)
	if err != nil {
		w.t.Fatalf("wait for %s: %v", opID, err)
	}
	return op
}

// must does actions that have to succeed.
func (w *world) must(id string, actions ...agent.Action) *operation.Operation {
	w.t.Helper()
	var op *operation.Operation
	for _, action := range actions {
		if op = w.act(id, action); op.State != operation.Succeeded {
			w.t.Fatalf("%s %s: %s: %+v", action, id, op.State, op.Problem)
		}
	}
	return op
}

// running creates an agent and brings it to RUNNING.
func (w *world) running(sp agent.Spec) string {
	w.t.Helper()
	id := w.create(sp)
	w.must(id, agent.Provision, agent.Deploy, agent.Start)
	return id
}

func (w *world) expect(id string, state agent.State) *agent.Agent {
	w.t.Helper()
	a := w.get(id)
	if a.State != state {
		w.t.Fatalf("%s is %s (failure %+v), want %s", id, a.State, a.Failure, state)
	}
	if a.ActiveOperation != "" {
		w.t.Fatalf("%s still has the active operation %s", id, a.ActiveOperation)
	}
	return a
}

// eventually polls until cond holds.
func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	eventually(w.t, what, cond)
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// on gives what the runtime shows of the agent.
func (w *world) on(id string) []fleet.Instance {
	w.t.Helper()
	list, err := w.runtime.Observe(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) ports(id string) []int {
	w.t.Helper()
	all, err := w.store.Instances().Ports(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var list []int
	for p, owner := range all {
		if owner == id {
			list = append(list, p)
		}
	}
	return list
}

func (w *world) hasKey(id string) bool {
	w.t.Helper()
	_, err := w.keys.Secret(w.t.Context(), id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *world) history(id string) []agent.Transition {
	w.t.Helper()
	list, _, err := w.store.History().Transitions(w.t.Context(), id, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// audited gives the entries of an action on a target, newest first.
func (w *world) audited(action, target string) []audit.Entry {
	w.t.Helper()
	list, _, err := w.store.Audit().Find(w.t.Context(), audit.Query{Action: action, Target: target})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// refused says that a call to an engine fails for good.
func refusal(text string) error {
	return fault.New(fault.Conflict, "test.refused", "%s", text).Because("the test says so")
}

var errAway = errors.New("the engine is away")
