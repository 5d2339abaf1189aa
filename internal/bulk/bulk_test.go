package bulk_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// a ← b ← c, and d alone.
func (w *world) chain(state agent.State) {
	w.agent("A", state)
	w.agent("B", state, "A")
	w.agent("C", state, "B")
	w.agent("D", state)
}

var everyone = []string{"a", "b", "c", "d"}

func TestDependenciesGoFirst(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	b := w.finished(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"c", "D", "B", "a", "A"}, Reason: "morning"})
	if b.State != operation.Succeeded || b.Succeeded != 4 || b.Completed != 4 || b.Total != 4 || b.EndedAt == nil || b.Actor != "token:ops" {
		t.Errorf("bulk %+v", b)
	}
	w.wantOrder("-a start", "+b start", "-b start", "+c start")
	for id, wave := range map[string]int{"a": 0, "b": 1, "c": 2, "d": 0} {
		if it := item(t, b, id); it.Wave != wave || len(it.Operations) != 1 || it.StartedAt == nil || it.EndedAt == nil {
			t.Errorf("item %+v, want wave %d", it, wave)
		}
		if w.state(id) != agent.Running {
			t.Errorf("%s is %s", id, w.state(id))
		}
	}
	child, err := w.ops.Get(t.Context(), item(t, b, "a").Operations[0])
	if err != nil || child.ParentID != b.ID || child.Actor != "token:ops" {
		t.Errorf("child %+v, %v", child, err)
	}
}

func TestStoppingGoesBackwards(t *testing.T) {
	for _, action := range []agent.Action{agent.Stop, agent.Suspend, agent.Revoke} {
		w := newWorld(t)
		w.chain(agent.Running)
		b := w.finished(bulk.Request{Actions: actions(action), AgentIDs: everyone})
		if b.State != operation.Succeeded || item(t, b, "a").Wave != 2 || item(t, b, "c").Wave != 0 {
			t.Errorf("%s: %+v", action, b)
		}
		w.wantOrder(fmt.Sprintf("-c %s", action), fmt.Sprintf("+b %s", action), fmt.Sprintf("-b %s", action), fmt.Sprintf("+a %s", action))
	}
}

// c needs a through b, which is not among them.
func TestOrderThroughOthers(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	w.finished(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"c", "a"}})
	w.wantOrder("-a start", "+c start")
}

// An agent need not wait for others of an earlier wave that it does not need.
func TestNoBarrier(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	slow := w.hold("d start")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: everyone}).ID
	deadline := time.After(patience)
	for seen := map[string]bool{}; !seen["c start"]; {
		select {
		case key := <-w.begun:
			seen[key] = true
		case <-deadline:
			t.Fatalf("c waits for d: %q", w.seen())
		}
	}
	close(slow)
	w.wait(id, id)
}

func TestParallelism(t *testing.T) {
	for limit, want := range map[int]int{0: 5, 1: 1, 3: 3} {
		w := newWorld(t)
		release := make(chan struct{})
		for i := range 12 {
			name := fmt.Sprintf("n%02d", i)
			w.agent(name, agent.Stopped)
			w.mu.Lock()
			w.holds[name+" start"] = release
			w.mu.Unlock()
		}
		id := w.start(bulk.Request{Actions: actions(agent.Start), Selector: "fleet=test", MaxParallel: limit}).ID
		for range want {
			<-w.begun
		}
		close(release)
		b := w.wait(id, id)
		if w.most != want || b.Succeeded != 12 {
			t.Errorf("with %d: %d ran at once, want %d; %d succeeded", limit, w.most, want, b.Succeeded)
		}
	}
}

func TestChainOfActions(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Draft)
	w.agent("B", agent.Deployed, "A")
	w.agent("C", agent.Running)
	b := w.finished(bulk.Request{Actions: actions(agent.Provision, agent.Deploy, agent.Start), Filter: &agent.Query{Search: ""}})
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemSucceeded, "b": bulk.ItemSucceeded, "c": bulk.ItemSkipped})
	w.wantOrder("+a provision", "-a provision", "+a deploy", "-a deploy", "+a start", "-a start", "+b start")
	if it := item(t, b, "b"); it.Note != "" || len(it.Operations) != 1 || it.Action != agent.Start {
		t.Errorf("item %+v", it)
	}
	if it := item(t, b, "c"); it.Note != "already RUNNING" || len(it.Operations) != 0 {
		t.Errorf("item %+v", it)
	}
	if b.State != operation.Succeeded || b.Skipped != 1 || b.Completed != 3 {
		t.Errorf("bulk %+v", b)
	}
}

func TestContinue(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	w.fail("a start", errBroken)
	b := w.finished(bulk.Request{Actions: actions(agent.Start), AgentIDs: everyone, OnFailure: bulk.Continue})
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemFailed, "b": bulk.ItemSkipped, "c": bulk.ItemSkipped, "d": bulk.ItemSucceeded})
	if it := item(t, b, "a"); it.Problem == nil || it.Problem.Code != "test.broken" {
		t.Errorf("problem %+v", it.Problem)
	}
	if it := item(t, b, "b"); !strings.Contains(it.Note, "a did not succeed") || it.Problem == nil {
		t.Errorf("b does not say why: %+v", it)
	}
	if b.State != operation.Failed || b.Failed != 1 || b.Skipped != 2 || b.Succeeded != 1 || b.Completed != 4 {
		t.Errorf("bulk %+v", b)
	}
	op, err := w.ops.Get(t.Context(), b.ID)
	if err != nil || op.Problem == nil || op.Problem.What != "1 of 4 agents failed" {
		t.Errorf("operation %+v, %v", op, err)
	}
}

// What the fleet refuses is the agent's result; what passes is tried again.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Draft)
	w.agent("B", agent.Stopped)
	w.agent("C", agent.Stopped)
	w.refuses["c start"] = fault.New(fault.Unavailable, "test.away", "It is away")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b", "c"}}).ID
	b := w.wait(id, id)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemFailed, "b": bulk.ItemSucceeded, "c": bulk.ItemFailed})
	if p := item(t, b, "a").Problem; p.Code != "agent.transition_refused" {
		t.Errorf("problem %+v", p)
	}
	if it := item(t, b, "c"); it.Problem.Code != "test.away" || len(it.Operations) != 0 {
		t.Errorf("item %+v", it)
	}
}

func TestAgentIsDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	w.agent("B", agent.Stopped, "A")
	hold := w.hold("a start")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b"}}).ID
	w.begins("a start")
	if err := w.store.Agents().Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	close(hold)
	b := w.wait(id, id)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemSucceeded, "b": bulk.ItemFailed})
}

func TestStopOnFailure(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	w.fail("a start", errBroken)
	b := w.finished(bulk.Request{Actions: actions(agent.Start), AgentIDs: everyone, OnFailure: bulk.Stop, MaxParallel: 1})
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemFailed, "b": bulk.ItemCancelled, "c": bulk.ItemCancelled, "d": bulk.ItemCancelled})
	if got := w.seen(); !slices.Equal(got, []string{"+a start", "-a start"}) {
		t.Errorf("after the failure: %q", got)
	}
	if it := item(t, b, "d"); !strings.Contains(it.Note, "another agent failed") {
		t.Errorf("note %q", it.Note)
	}
}

func TestRollbackOnFailure(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Deployed)
	w.agent("B", agent.Stopped, "A")
	w.agent("C", agent.Provisioned, "B")
	w.agent("D", agent.Stopped, "C")
	w.fail("d start", errBroken)
	b := w.finished(bulk.Request{Actions: actions(agent.Deploy, agent.Start), AgentIDs: everyone, OnFailure: bulk.Rollback})
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemRolledBack, "b": bulk.ItemRolledBack, "c": bulk.ItemRolledBack, "d": bulk.ItemFailed})
	w.wantOrder("-d start", "+c stop", "-c stop", "+b stop", "-b stop", "+a stop", "-a stop")
	if it := item(t, b, "c"); it.Note != "deploy can't be taken back; rolled back" || w.state("c") != agent.Stopped {
		t.Errorf("item %+v in %s", it, w.state("c"))
	}
	if b.State != operation.Failed || b.Succeeded != 0 {
		t.Errorf("bulk %+v", b)
	}
}

func TestRollbackThatFails(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	w.agent("B", agent.Stopped, "A")
	w.fail("b start", errBroken)
	w.fail("a stop", errBroken)
	b := w.finished(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b"}, OnFailure: bulk.Rollback})
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemSucceeded, "b": bulk.ItemFailed})
	if it := item(t, b, "a"); it.Problem == nil || !strings.Contains(it.Note, "could not be rolled back") {
		t.Errorf("item %+v", it)
	}
	// Once it can be, the rest is rolled back by hand.
	w.fail("a stop", nil)
	b = w.rolledBack(b.ID)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemRolledBack})
}

// rolledBack rolls a bulk back and waits for the end of that.
func (w *world) rolledBack(id string) *bulk.Bulk {
	w.t.Helper()
	if _, err := w.svc.RollBack(w.t.Context(), id); err != nil {
		w.t.Fatalf("roll back: %v", err)
	}
	list, _, err := w.ops.Find(w.t.Context(), operation.Query{Kinds: []string{bulk.KindRollback}})
	if err != nil || len(list) == 0 {
		w.t.Fatalf("no operation: %v", err)
	}
	return w.wait(id, list[0].ID)
}

func TestRollBackOfFinished(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	hold := w.hold("d start")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: everyone}).ID
	if _, err := w.svc.RollBack(t.Context(), id); !fault.Is(err, fault.Conflict) {
		t.Errorf("rolling back what runs gave %v", err)
	}
	close(hold)
	b := w.wait(id, id)
	op, err := w.ops.Get(t.Context(), id)
	if err != nil || op.Undo == nil || op.Undo.Action != "rollback" {
		t.Errorf("undo is not offered: %+v, %v", op, err)
	}
	b = w.rolledBack(b.ID)
	for _, id := range everyone {
		if it := item(t, b, id); it.State != bulk.ItemRolledBack || w.state(id) != agent.Stopped {
			t.Errorf("item %+v in %s", it, w.state(id))
		}
	}
	w.wantOrder("-c stop", "+b stop", "-b stop", "+a stop")
	if b.State != operation.Succeeded || b.Succeeded != 0 || b.Completed != 4 {
		t.Errorf("bulk %+v", b)
	}
	if _, err := w.svc.RollBack(t.Context(), id); !fault.Is(err, fault.Conflict) {
		t.Errorf("rolling back twice gave %v", err)
	}
	list, _, err := w.store.Audit().Find(t.Context(), audit.Query{Action: "bulk.rollback"})
	if err != nil || len(list) != 3 || list[0].Outcome != audit.Refused || list[1].Outcome != audit.Done {
		t.Errorf("record %+v, %v", list, err)
	}
}

func TestUndoOfBulk(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Running)
	b := w.finished(bulk.Request{Actions: actions(agent.Suspend), AgentIDs: everyone})
	by, err := w.ops.Undo(t.Context(), b.ID)
	if err != nil {
		t.Fatal(err)
	}
	b = w.wait(b.ID, by.ID)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemRolledBack, "d": bulk.ItemRolledBack})
	if w.state("c") != agent.Running {
		t.Errorf("c is %s", w.state("c"))
	}
}

func TestNothingToRollBack(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Draft)
	b := w.finished(bulk.Request{Actions: actions(agent.Provision), AgentIDs: []string{"a"}})
	if _, err := w.svc.RollBack(t.Context(), b.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("gave %v", err)
	}
}

func TestProgress(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	w.fail("d start", errBroken)
	b := w.finished(bulk.Request{Actions: actions(agent.Start), AgentIDs: everyone})
	list, err := w.store.Events().Find(t.Context(), event.Query{Rooms: []string{event.RoomBulk(b.ID)}})
	if err != nil {
		t.Fatal(err)
	}
	var last event.Bulk
	completed := 0
	for _, e := range list {
		if e.Type != event.BulkProgress || !slices.Contains(e.Rooms, event.RoomOperations) {
			t.Errorf("event %+v", e)
		}
		last = event.Bulk{}
		if err := json.Unmarshal(e.Data, &last); err != nil {
			t.Fatal(err)
		}
		if last.Completed < completed {
			t.Errorf("progress goes back: %+v", last)
		}
		completed = last.Completed
	}
	if want := (event.Bulk{OperationID: b.ID, Completed: 4, Total: 4, Failed: 1, Status: "FAILED", Actions: []string{"start"}, Timestamp: last.Timestamp}); !reflect.DeepEqual(last, want) {
		t.Errorf("last event %+v, want %+v", last, want)
	}
	if len(list) != 2+2*len(everyone) { // begin and end of the bulk and of each agent
		t.Errorf("%d events", len(list))
	}
	page, _, err := w.svc.List(t.Context(), "", 10)
	if err != nil || len(page) != 1 || page[0].State != operation.Failed {
		t.Errorf("list %+v, %v", page, err)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	one, start := []string{"a"}, actions(agent.Start)
	for name, c := range map[string]struct {
		req   bulk.Request
		kind  fault.Kind
		paths []string
		text  string
	}{
		"everything":     {bulk.Request{MaxParallel: -1, OnFailure: "pray"}, fault.Invalid, []string{"actions", "agent_ids", "max_parallel", "on_failure"}, ""},
		"actions":        {bulk.Request{Actions: actions("dance", agent.Start, agent.Start), AgentIDs: one}, fault.Invalid, []string{"actions[0]", "actions[2]"}, ""},
		"two selections": {bulk.Request{Actions: start, AgentIDs: one, Selector: "a=b"}, fault.Invalid, []string{"agent_ids"}, ""},
		"selector":       {bulk.Request{Actions: start, Selector: "a in ("}, fault.Invalid, []string{"selector"}, ""},
		"too parallel":   {bulk.Request{Actions: start, AgentIDs: one, MaxParallel: 51}, fault.Invalid, []string{"max_parallel"}, ""},
		"none match":     {bulk.Request{Actions: start, Selector: "no=body"}, fault.Invalid, nil, ""},
		"unknown":        {bulk.Request{Actions: start, AgentIDs: []string{"x", "a", "y"}}, fault.NotFound, nil, "x, y"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.svc.Start(t.Context(), c.req)
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("gave %v", err)
			}
			var paths []string
			for _, f := range fault.As(err).Fields {
				paths = append(paths, f.Path)
			}
			if !slices.Equal(paths, c.paths) {
				t.Errorf("fields %q, want %q", paths, c.paths)
			}
		})
	}
	if list, _, err := w.svc.List(t.Context(), "", 10); err != nil || len(list) != 0 {
		t.Errorf("something was started: %+v, %v", list, err)
	}
	for name, fn := range map[string]func() error{
		"get":       func() error { _, err := w.svc.Get(t.Context(), "nobody"); return err },
		"cancel":    func() error { _, err := w.svc.Cancel(t.Context(), "nobody"); return err },
		"roll back": func() error { _, err := w.svc.RollBack(t.Context(), "nobody"); return err },
	} {
		if err := fn(); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func TestCycle(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped, "B")
	w.agent("B", agent.Stopped, "A")
	_, err := w.svc.Start(t.Context(), bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b"}})
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "→") {
		t.Errorf("gave %v", err)
	}
}
