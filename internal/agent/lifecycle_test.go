package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

func TestTransition(t *testing.T) {
	w := newWorld(t)
	a := w.create(agent.Spec{Name: "A"})
	stale := w.get("a")
	a.Failure = &agent.Failure{Code: "x"}
	if err := w.Transition(w.ctx, a, agent.Provisioned, "asked", map[string]any{"action": agent.Provision, "operation": "op-1"}); err != nil {
		t.Fatal(err)
	}
	got := w.get("a")
	if got.State != agent.Provisioned || got.LockVersion != 2 || got.Failure != nil {
		t.Errorf("stored %+v", got)
	}
	wantFault(t, w.Transition(w.ctx, stale, agent.Deployed, "", nil), fault.Stale, "")
	if stale.State != agent.Draft {
		t.Errorf("a refused move left %s", stale.State)
	}
	a.Failure = &agent.Failure{Code: "crash_loop", Reason: "r"}
	if err := w.Transition(w.ctx, a, agent.Errored, "it crashed", nil); err != nil || w.get("a").Failure == nil {
		t.Errorf("to ERRORED: %v, %v", err, w.get("a").Failure)
	}
	moves, _, err := w.History.Transitions(w.ctx, "a", "", 10)
	if err != nil || len(moves) != 3 {
		t.Fatalf("history %v, %v", moves, err)
	}
	if m := moves[1]; m.PreviousState != agent.Draft || m.State != agent.Provisioned || m.Metadata["operation"] != "op-1" || m.Metadata["reason"] != "asked" {
		t.Errorf("history %+v", m)
	}
	entries, events := w.trail()
	if e := entries[1]; e.Action != "agent.provision" || e.Outcome != audit.Done || string(e.Before) != `{"state":"DRAFT"}` || string(e.After) != `{"state":"PROVISIONED"}` {
		t.Errorf("audit %+v", e)
	}
	if e := entries[2]; e.Action != "agent.transition" || e.Outcome != audit.Failed {
		t.Errorf("audit %+v", e)
	}
	var payload event.StateChanged
	if err := json.Unmarshal(events[1].Data, &payload); err != nil || payload.OldState != "DRAFT" || payload.NewState != "PROVISIONED" || payload.Reason != "asked" {
		t.Errorf("event %s, %v", events[1].Data, err)
	}
	if len(entries) != 3 || len(events) != 3 {
		t.Errorf("%d entries, %d events", len(entries), len(events))
	}
}

func TestRevokedIsFinal(t *testing.T) {
	w := newWorld(t)
	a := w.create(agent.Spec{Name: "A"})
	if err := w.Transition(w.ctx, a, agent.Revoked, "", nil); err != nil {
		t.Fatal(err)
	}
	wantFault(t, w.Transition(w.ctx, a, agent.Draft, "", nil), fault.Conflict, "REVOKED")
	_, _, err := w.Patch(w.ctx, "a", 0, tree(t, "tier: 1"), "")
	wantFault(t, err, fault.Conflict, "REVOKED")
	_, err = w.Import(w.ctx, []map[string]any{{"name": "A", "tier": 1}}, agent.ImportOptions{Mode: agent.ImportApply})
	wantFault(t, err, fault.Conflict, "documents[0](A).name")
	_, warnings, err := w.Create(w.ctx, agent.Spec{Name: "B", Dependencies: []string{"A"}})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "A, which is REVOKED") {
		t.Errorf("warnings %v, %v", warnings, err)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	a := w.create(agent.Spec{Name: "A", Env: map[string]string{"K": "hunter2"}})
	wantFault(t, w.Delete(w.ctx, "nobody", 0), fault.NotFound, "nobody")
	wantFault(t, w.Delete(w.ctx, "a", 9), fault.Stale, "version is 1")
	a.ActiveOperation = "op-1"
	if err := w.Store.Save(w.ctx, a); err != nil {
		t.Fatal(err)
	}
	wantFault(t, w.Delete(w.ctx, "a", 0), fault.Conflict, "op-1")
	if _, _, err := w.Patch(w.ctx, "a", 0, tree(t, "tier: 1"), ""); err != nil {
		t.Errorf("a patch while an operation runs: %v", err)
	}
	a = w.get("a")
	a.ActiveOperation = ""
	if err := w.Transition(w.ctx, a, agent.Running, "", nil); err != nil {
		t.Fatal(err)
	}
	f := wantFault(t, w.Delete(w.ctx, "a", 0), fault.Conflict, "it is RUNNING. Revoke it first")
	if !reflect.DeepEqual(f.Extra["allowed"], agent.Allowed(agent.Running)) {
		t.Errorf("the refusal says %v", f.Extra)
	}
	if err := w.Transition(w.ctx, a, agent.Revoked, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(w.ctx, "A", a.LockVersion); err != nil {
		t.Fatal(err)
	}
	_, err := w.Store.Get(w.ctx, "a")
	wantFault(t, err, fault.NotFound, "")
	entries, events := w.trail()
	if e := entries[len(entries)-1]; e.Action != "agent.delete" || strings.Contains(string(e.Before), "hunter2") {
		t.Errorf("audit %+v", e)
	}
	if e := events[len(events)-1]; e.Type != event.AgentDeleted || e.AgentID != "a" {
		t.Errorf("event %+v", e)
	}
	w.create(agent.Spec{Name: "A"})
}

// broken fails where the change is announced, the last thing that is stored.
type broken struct{ event.Log }

func (broken) Append(context.Context, ...event.Event) error { return fmt.Errorf("disk full") }

func TestNothingIsHalfStored(t *testing.T) {
	w := newWorld(t)
	a := w.create(agent.Spec{Name: "A"})
	events := w.Events
	w.Events = broken{events}
	if _, _, err := w.Create(w.ctx, agent.Spec{Name: "B"}); err == nil {
		t.Error("created without an event")
	}
	if _, _, err := w.Patch(w.ctx, "a", 0, tree(t, "tier: 1"), ""); err == nil {
		t.Error("changed without an event")
	}
	if err := w.Delete(w.ctx, "a", 0); err == nil {
		t.Error("deleted without an event")
	}
	if err := w.Transition(w.ctx, a, agent.Provisioned, "", nil); err == nil {
		t.Error("moved without an event")
	}
	w.Events = events
	got := w.get("a")
	entries, _ := w.trail()
	moves, _, err := w.History.Transitions(w.ctx, "a", "", 10)
	if got.LockVersion != 1 || got.State != agent.Draft || len(entries) != 1 || len(moves) != 1 || err != nil {
		t.Errorf("left %+v, %d entries, %d moves, %v", got, len(entries), len(moves), err)
	}
	_, err = w.Store.Get(w.ctx, "b")
	wantFault(t, err, fault.NotFound, "")
}
