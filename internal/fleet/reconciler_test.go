package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
)

// reconcile starts a reconciler and a health checker over the present portal.
func (w *world) reconcile(change ...func(r *fleet.Reconciler, c *health.Checker)) (*fleet.Reconciler, *health.Checker) {
	w.t.Helper()
	r := &fleet.Reconciler{Service: w.fleet, Interval: 50 * time.Millisecond}
	c := &health.Checker{Agents: w.store.Agents(), Store: w.store.Health(), Tx: w.store, Events: w.store.Events(),
		Audit: w.audit, Remedy: r, Changed: r.Poke, Now: time.Now, Workers: 8}
	w.fleet.Monitor, w.fleet.Changed = c, r.Poke
	for _, fn := range change {
		fn(r, c)
	}
	for _, s := range []lifecycle.Service{c, r} {
		if err := s.Start(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := s.Stop(ctx); err != nil {
				w.t.Errorf("stop %s: %v", s.Name(), err)
			}
		})
	}
	return r, c
}

func (w *world) stored(id string) []fleet.Instance {
	w.t.Helper()
	all, err := w.fleet.Instances(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return all[id]
}

func (w *world) events(types ...event.Type) []event.Event {
	w.t.Helper()
	list, err := w.store.Events().Find(w.t.Context(), event.Query{Types: types, Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) comes(id string, s agent.State) *agent.Agent {
	w.t.Helper()
	w.eventually(id+" is "+string(s), func() bool { a := w.get(id); return a.State == s && a.ActiveOperation == "" })
	return w.get(id)
}

func TestOrphansAreEnded(t *testing.T) {
	w := newWorld(t)
	stopped := w.create(spec("Stopped"))
	w.must(stopped, agent.Provision, agent.Deploy)
	running := w.running(spec("Running"))
	for _, l := range []fleet.Launch{
		{AgentID: "nobody", InstanceID: "nobody-r1-0", Revision: 1, Command: "/bin/x"},
		{AgentID: stopped, InstanceID: fleet.InstanceID(stopped, 1, 0), Revision: 1, Command: "/bin/x"},
		{AgentID: running, InstanceID: fleet.InstanceID(running, 1, 5), Revision: 1, Index: 5, Command: "/bin/x"},
		{AgentID: running, InstanceID: fleet.InstanceID(running, 9, 0), Revision: 9, Command: "/bin/x"},
	} {
		if err := w.runtime.Launch(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	w.reconcile()
	w.eventually("only the wanted instance is left", func() bool {
		list := w.on("")
		return len(list) == 1 && list[0].ID == fleet.InstanceID(running, 1, 0)
	})
	w.expect(running, agent.Running)
}

func TestOperationsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	id := w.create(spec("Worker"))
	w.must(id, agent.Provision, agent.Deploy)
	r, _ := w.reconcile()
	prepared := func() (n int) {
		for _, call := range w.runtime.Calls() {
			if strings.HasPrefix(call, "Prepare") {
				n++
			}
		}
		return n
	}
	before := prepared()
	release := w.runtime.Block("Prepare")
	op, err := w.fleet.Act(t.Context(), id, agent.Start, fleet.ActOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// What is there before is ended by the operation itself.
	w.eventually("the operation is at work", func() bool { return prepared() > before })
	if err := w.runtime.Launch(t.Context(), fleet.Launch{AgentID: id, InstanceID: fleet.InstanceID(id, 1, 7), Revision: 1, Index: 7, Command: "/bin/x"}); err != nil {
		t.Fatal(err)
	}
	r.Poke(id)
	w.eventually("the instance is seen", func() bool { return len(w.stored(id)) == 1 })
	if slices.Contains(w.runtime.Calls(), "Stop "+fleet.InstanceID(id, 1, 7)) && w.get(id).ActiveOperation != "" {
		t.Log("ended by the operation itself")
	}
	release()
	w.wait(op.ID)
	w.eventually("the wanted instance alone runs", func() bool { list := w.on(id); return len(list) == 1 && list[0].Index == 0 })
}

func TestSuspendedStaysSuspended(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	w.must(id, agent.Suspend)
	w.reconcile()
	in := fleet.InstanceID(id, 1, 0)
	if err := w.runtime.Resume(t.Context(), id, in); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is frozen again", func() bool { return w.on(id)[0].State == fleet.InstanceSuspended })
	w.expect(id, agent.Suspended)
	w.runtime.Lose(id, in)
	if f := w.comes(id, agent.Errored).Failure; f.Code != "suspend_lost" {
		t.Fatalf("failure %+v", f)
	}
	w.must(id, agent.Start)
}

func TestAdoptionChangesNothing(t *testing.T) {
	w := newWorld(t)
	r, c := w.reconcile()
	const n = 20
	var all []string
	for i := range n {
		all = append(all, w.running(spec(fmt.Sprintf("Worker%02d", i))))
	}
	w.eventually("all are stored as running", func() bool {
		for _, id := range all {
			list := w.stored(id)
			if len(list) != 1 || list[0].PID == 0 || w.get(id).Health != agent.HealthHealthy {
				return false
			}
		}
		return true
	})
	for _, s := range []lifecycle.Service{r, c} {
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, before, err := w.store.Events().Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	calls := len(w.runtime.Calls())
	w.crash()
	rt := &counted{Runtime: w.fleet.Runtimes["process"]}
	w.fleet.Runtimes["process"] = rt
	w.reconcile()
	w.eventually("all were looked at twice", func() bool { return rt.sweeps() >= 5 })
	if _, after, err := w.store.Events().Bounds(t.Context()); err != nil || after != before {
		t.Fatalf("adoption made %d events (%v)", after-before, err)
	}
	for _, call := range w.runtime.Calls()[calls:] {
		if !strings.HasPrefix(call, "Observe") {
			t.Fatalf("adoption called %s", call)
		}
	}
	if single := rt.single(); single > 2*n {
		t.Fatalf("%d agents were looked at %d times one by one", n, single)
	}
}

// counted counts looks.
type counted struct {
	fleet.Runtime
	mu       sync.Mutex
	all, one int
}

func (c *counted) Observe(ctx context.Context, agentID string) ([]fleet.Instance, error) {
	c.mu.Lock()
	if agentID == "" {
		c.all++
	} else {
		c.one++
	}
	c.mu.Unlock()
	return c.Runtime.Observe(ctx, agentID)
}

func (c *counted) sweeps() int { c.mu.Lock(); defer c.mu.Unlock(); return c.all }
func (c *counted) single() int { c.mu.Lock(); defer c.mu.Unlock(); return c.one }

func TestCrashedInstancesAreAdoptedAsTheyAre(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Replicas = 2
	id := w.running(sp)
	w.runtime.Lose(id, fleet.InstanceID(id, 1, 1))
	pid := w.on(id)[0].PID
	w.crash()
	w.reconcile()
	w.eventually("the lost one is back", func() bool {
		list := w.on(id)
		return len(list) == 2 && list[1].State == fleet.InstanceRunning
	})
	if now := w.on(id)[0].PID; now != pid {
		t.Fatalf("the other one was restarted: pid %d became %d", pid, now)
	}
}

func TestReconcilerKeepsTheServiceContract(t *testing.T) {
	w := newLoneWorld(t)
	lifecycletest.Run(t, func(t *testing.T) lifecycle.Service {
		return &fleet.Reconciler{Service: w.fleet}
	})
}

func TestOrdinaryLifeIsNeverUnhealthy(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	sp := spec("Worker")
	sp.Probes.Readiness = &agent.Probe{Exec: &agent.ExecProbe{Command: []string{"check"}}, Interval: agent.Duration(100 * time.Millisecond)}
	id := w.running(sp)
	w.must(id, agent.Suspend, agent.Resume, agent.Stop, agent.Start, agent.Revoke)
	for _, e := range w.events(event.AgentHealthUpdate) {
		if strings.Contains(string(e.Data), `"unhealthy"`) {
			t.Errorf("%s", e.Data)
		}
	}
	w.eventually("nothing is known of a revoked agent", func() bool { return w.get(id).Health == agent.HealthUnknown })
}

// elsewhere is an agent on the second runtime of a world.
func elsewhere(name string) agent.Spec {
	sp := spec(name)
	sp.Runtime, sp.Image = "docker/two", "registry/worker:1"
	return sp
}

// A runtime that does not answer, or does nothing, keeps nobody waiting whose agent is
// on another one.
func TestARuntimeThatHangsHoldsUpNobodyElsewhere(t *testing.T) {
	for _, method := range []string{"Observe", "Launch"} {
		t.Run(method, func(t *testing.T) {
			w, far := newWorld(t), fleettest.NewNamedFake("docker/two")
			w.other = far
			w.crash() // the next portal has it
			var there []string
			for i := range 20 { // more than a runtime has workers
				there = append(there, w.running(elsewhere(fmt.Sprintf("Far%02d", i))))
			}
			id := w.running(spec("Near"))
			release := far.Block(method)
			for _, one := range there {
				far.Lose(one, fleet.InstanceID(one, 1, 0))
			}
			r, _ := w.reconcile(func(r *fleet.Reconciler, _ *health.Checker) { r.Patience = time.Second })
			for _, one := range there { // of which nothing is known yet
				r.Poke(one)
			}
			w.eventually("the runtime is asked", func() bool {
				return slices.ContainsFunc(far.Calls(), func(c string) bool { return strings.HasPrefix(c, method) })
			})
			for range 2 {
				pid := w.on(id)[0].PID
				w.runtime.Lose(id, fleet.InstanceID(id, 1, 0))
				w.eventually("the near agent runs again", func() bool {
					list := w.on(id)
					return len(list) == 1 && list[0].State == fleet.InstanceRunning && list[0].PID != pid
				})
			}
			release()
			w.eventually("all others run again", func() bool {
				list, err := far.Observe(t.Context(), "")
				return err == nil && len(list) == len(there) && !slices.ContainsFunc(list, func(in fleet.Instance) bool { return in.State != fleet.InstanceRunning })
			})
		})
	}
}
