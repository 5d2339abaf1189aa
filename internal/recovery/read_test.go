package recovery_test

import (
	"context"
	"errors"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/recovery"
)

// ground is a fleet in which nothing runs, and without queues.
type ground struct{ runtime *fleettest.Fake }

func (ground) Act(context.Context, string, agent.Action, fleet.ActOptions) (*operation.Operation, error) {
	return nil, fault.New(fault.Conflict, "test.no_act", "Nothing can be done here")
}

func (ground) Impact(context.Context, string, agent.Action) (fleet.Impact, error) {
	return fleet.Impact{}, nil
}

func (ground) Instances(context.Context, ...string) (map[string][]fleet.Instance, error) {
	return map[string][]fleet.Instance{}, nil
}
func (ground) Logs(context.Context, fleet.LogQuery, func(fleet.LogLine) error) error { return nil }
func (g ground) Runtime(string) (fleet.Runtime, error)                               { return g.runtime, nil }
func (ground) Stats(context.Context, string) (queue.Stats, error) {
	return queue.Stats{}, fault.New(fault.NotFound, "queue.none", "It has no queue")
}

// forgetful is a memory that can't store how far the events were read.
type forgetful struct {
	recovery.Memory
	err error
}

func (f *forgetful) SetCursor(ctx context.Context, seq int64) error {
	if f.err != nil {
		return f.err
	}
	return f.Memory.SetCursor(ctx, seq)
}

// reborn is the recovery of the next portal: nothing but the store is left.
func (w *ward) reborn() *recovery.Service {
	s := w.Service
	return &recovery.Service{Store: w.store.Incidents(), Memory: w.store.Incidents(), Decided: s.Decided, Agents: s.Agents, History: s.History, Editor: s.Editor,
		Fleet: s.Fleet, Ops: s.Ops, Queues: s.Queues, Probes: s.Probes, Tx: s.Tx, Audit: s.Audit, Events: s.Events, Now: s.Now, NewID: s.NewID, Log: s.Log}
}

func (w *ward) crashes() {
	w.Helper()
	e := event.New(event.AgentStateChanged, w.a.ID, "system", w.clock, event.StateChanged{OldState: "RUNNING", NewState: "ERRORED"}, event.RoomAgents)
	if err := w.Events.Append(w.as(), e); err != nil {
		w.Fatal(err)
	}
}

func reads(t *testing.T, w *ward, s *recovery.Service) {
	t.Helper()
	for {
		more, err := s.Read(w.as())
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

func (w *ward) recorded() []*recovery.Incident {
	w.Helper()
	list, _, err := w.Store.Incidents(w.as(), recovery.Query{})
	if err != nil {
		w.Fatal(err)
	}
	return list
}

func TestEachCrashIsRecordedOnceAcrossLivesOfThePortal(t *testing.T) {
	w := newWard(t)
	g := ground{fleettest.NewFake()}
	w.Fleet, w.Queues, w.Probes = g, g, w.store.Health()
	w.crashes()
	reads(t, w, w.Service)
	if n := len(w.recorded()); n != 0 {
		t.Fatalf("%d errors of the time before recovery was there", n)
	}

	w.crashes()
	reads(t, w, w.Service)
	list := w.recorded()
	if len(list) != 1 || list[0].Count != 1 || list[0].Source != recovery.FromCrash || list[0].AgentID != w.a.ID || list[0].State != recovery.Open {
		t.Fatalf("after a crash: %+v", list)
	}
	reads(t, w, w.reborn())
	if list = w.recorded(); len(list) != 1 || list[0].Count != 1 {
		t.Errorf("the next portal counts it again: %+v", list)
	}

	// The portal dies after the error was stored, and before it has noted that.
	dying := w.reborn()
	dying.Memory = &forgetful{Memory: w.store.Incidents(), err: errors.New("the power is gone")}
	w.crashes()
	if _, err := dying.Read(w.as()); err == nil {
		t.Fatal("a place that could not be stored was not told of")
	}
	reads(t, w, w.reborn())
	if list = w.recorded(); len(list) != 1 || list[0].Count != 2 {
		t.Errorf("after a portal that died in the middle: %d errors, seen %d times, want one seen twice", len(list), list[0].Count)
	}

	// What happens while no portal is there is found by the next one.
	if _, err := w.Dismiss(w.as(), list[0].ID, "seen"); err != nil {
		t.Fatal(err)
	}
	w.crashes()
	reads(t, w, w.reborn())
	if list = w.recorded(); len(list) != 2 || list[0].State != recovery.Open || list[0].Fingerprint != list[1].Fingerprint {
		t.Errorf("after another crash: %+v", list)
	}
}

// What is not meant to run is not in trouble because it does not.
func TestWhatIsNotMeantToRunIsLeftAlone(t *testing.T) {
	w := newWard(t)
	g := ground{fleettest.NewFake()}
	w.Fleet, w.Queues, w.Probes = g, g, w.store.Health()
	reads(t, w, w.Service)
	happens := func(state agent.State, busy string) int {
		t.Helper()
		a, err := w.Agents.Get(w.as(), w.a.ID)
		if err != nil {
			t.Fatal(err)
		}
		a.State, a.ActiveOperation = state, busy
		if err := w.Agents.Save(w.as(), a); err != nil {
			t.Fatal(err)
		}
		e := event.New(event.AgentHealthUpdate, w.a.ID, "system", w.clock, event.HealthUpdate{AgentID: w.a.ID, Health: "unhealthy"}, event.RoomAgents)
		if err := w.Events.Append(w.as(), e); err != nil {
			t.Fatal(err)
		}
		reads(t, w, w.Service)
		return len(w.recorded())
	}
	for _, state := range []agent.State{agent.Draft, agent.Provisioned, agent.Deployed, agent.Stopped, agent.Suspended, agent.Revoked} {
		if n := happens(state, ""); n != 0 {
			t.Fatalf("%s: %d errors", state, n)
		}
	}
	if n := happens(agent.Deployed, "a-start"); n != 1 {
		t.Errorf("one that is being started fails: %d errors", n)
	}
}
