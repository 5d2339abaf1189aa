package bulk_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
)

// The portal ends in the middle of each agent in turn. Afterwards every agent
// has been acted on once, by one operation.
func TestRestartInTheMiddle(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for _, at := range everyone {
			t.Run(at, func(t *testing.T) {
				w := newWorld(t)
				w.chain(agent.Stopped)
				hold := w.hold(at + " start")
				id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: everyone, MaxParallel: 1}).ID
				for key := ""; key != at+" start"; {
					key = <-w.begun
				}
				if lost {
					stop(t, w.engine)
					w.mem = &operationtest.Memory{}
				}
				w.restart()
				if got := w.get(id); got.State != operation.Running {
					t.Errorf("after the restart it is %s", got.State)
				}
				close(hold)
				if err := w.ops.Recover(t.Context()); err != nil {
					t.Fatal(err)
				}
				b := w.wait(id, id)
				if b.State != operation.Succeeded || b.Succeeded != 4 {
					t.Errorf("bulk %+v", b)
				}
				children, _, err := w.ops.Find(t.Context(), operation.Query{ParentID: id})
				if err != nil || len(children) != 4 {
					t.Errorf("%d child operations, %v", len(children), err)
				}
				for _, id := range everyone {
					times := strings.Count(strings.Join(w.seen(), "\n"), "+"+id+" start")
					if want := map[bool]int{false: 1, true: 2}[id == at]; times != want {
						t.Errorf("%s was begun %d times, want %d", id, times, want)
					}
				}
			})
		}
	}
}

// An action that was not needed before the restart is not made up for after it.
func TestRestartAmongSeveralActions(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	hold := w.hold("a start")
	id := w.start(bulk.Request{Actions: actions(agent.Stop, agent.Start), AgentIDs: []string{"a"}}).ID
	w.begins("a start")
	w.restart()
	close(hold)
	b := w.wait(id, id)
	if w.state("a") != agent.Running || item(t, b, "a").State != bulk.ItemSucceeded {
		t.Errorf("a is %s, %+v", w.state("a"), item(t, b, "a"))
	}
	for _, e := range w.seen() {
		if strings.HasSuffix(e, "stop") {
			t.Errorf("it was stopped: %q", w.seen())
		}
	}
}

// The portal ends while it rolls back.
func TestRestartInRollback(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	w.agent("B", agent.Stopped, "A")
	w.agent("C", agent.Stopped, "B")
	w.fail("c start", errBroken)
	hold := w.hold("b stop")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b", "c"}, OnFailure: bulk.Rollback}).ID
	for _, key := range []string{"a start", "b start", "c start", "b stop"} {
		w.begins(key)
	}
	w.restart()
	close(hold)
	b := w.wait(id, id)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemRolledBack, "b": bulk.ItemRolledBack, "c": bulk.ItemFailed})
	if n := strings.Count(strings.Join(w.seen(), "\n"), "+a start"); n != 1 {
		t.Errorf("a was started %d times", n)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	w.hold("b start") // for ever
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: everyone, MaxParallel: 1}).ID
	for key := ""; key != "b start"; {
		key = <-w.begun
	}
	b, err := w.svc.Cancel(t.Context(), id)
	if err != nil || b.State.Final() && b.State != operation.Cancelled {
		t.Fatalf("cancel gave %+v, %v", b, err)
	}
	b = w.wait(id, id)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemSucceeded, "b": bulk.ItemCancelled, "c": bulk.ItemCancelled})
	if b.State != operation.Cancelled || b.Completed != 4 {
		t.Errorf("bulk %+v", b)
	}
	child, err := w.ops.Get(t.Context(), item(t, b, "b").Operations[0])
	if err != nil || child.State != operation.Cancelled {
		t.Errorf("the running action is %+v, %v", child, err)
	}
	if _, err := w.svc.Cancel(t.Context(), id); !fault.Is(err, fault.Conflict) {
		t.Errorf("cancelling what has ended gave %v", err)
	}
	// What had succeeded can still be taken back.
	if b = w.rolledBack(id); item(t, b, "a").State != bulk.ItemRolledBack {
		t.Errorf("a is %+v", item(t, b, "a"))
	}
}

// An action that is cancelled on its own fails its agent.
func TestActionIsCancelledAlone(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	w.agent("B", agent.Stopped, "A")
	w.hold("a start")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b"}}).ID
	w.begins("a start")
	if _, err := w.ops.Cancel(t.Context(), item(t, w.get(id), "a").Operations[0]); err != nil {
		t.Fatal(err)
	}
	b := w.wait(id, id)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemFailed, "b": bulk.ItemSkipped})
	if b.State != operation.Failed {
		t.Errorf("bulk %+v", b)
	}
}

// A cancel that the portal took but did not carry out before it was stopped
// reaches the running actions after the start.
func TestCancelWhileStopped(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	w.agent("B", agent.Stopped, "A")
	w.agent("C", agent.Stopped)
	w.hold("a start") // for ever
	once := w.hold("c start")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b", "c"}}).ID
	<-w.begun
	<-w.begun
	stop(t, w.engine)
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.boot(inMemory)
	b := w.wait(id, id)
	close(once)
	wantItems(t, b, map[string]bulk.ItemState{"a": bulk.ItemCancelled, "b": bulk.ItemCancelled, "c": bulk.ItemCancelled})
	if b.State != operation.Cancelled || b.Completed != 3 {
		t.Errorf("bulk %+v", b)
	}
	for _, id := range []string{"a", "c"} {
		child, err := w.ops.Get(t.Context(), item(t, b, id).Operations[0])
		if err != nil || child.State != operation.Cancelled {
			t.Errorf("the action on %s is %+v, %v", id, child, err)
		}
	}
}

// The portal can be stopped while a cancelled bulk waits for an action that
// does not listen.
func TestStopDuringCancel(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	hold := w.hold("a start")
	w.deaf = true
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a"}}).ID
	w.begins("a start")
	if _, err := w.svc.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	child := item(t, w.get(id), "a").Operations[0]
	for deadline := time.Now().Add(patience); ; <-time.After(5 * time.Millisecond) {
		op, err := w.ops.Get(t.Context(), child)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the cancel does not reach the action: %v", err)
		}
		if op.State == operation.Cancelling {
			break
		}
	}
	time.AfterFunc(50*time.Millisecond, func() { close(hold) })
	w.restart()
	b := w.wait(id, id)
	if b.State != operation.Cancelled || item(t, b, "a").State != bulk.ItemCancelled {
		t.Errorf("bulk %+v", b)
	}
}

// While a bulk is paused no further agent is begun.
func TestPause(t *testing.T) {
	w := newWorld(t)
	w.chain(agent.Stopped)
	hold := w.hold("a start")
	id := w.start(bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a", "b"}}).ID
	w.begins("a start")
	if _, err := w.ops.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(hold)
	deadline := time.Now().Add(patience)
	for b := w.get(id); b.State != operation.Paused || b.Succeeded != 1; b = w.get(id) {
		if time.Now().After(deadline) {
			t.Fatalf("it is never paused: %+v", b)
		}
		<-time.After(5 * time.Millisecond)
	}
	if _, err := w.ops.Resume(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if b := w.wait(id, id); b.Succeeded != 2 {
		t.Errorf("bulk %+v", b)
	}
}

// Nobody needs to wait for a bulk: it goes on without the one who began it.
func TestClientGoesAway(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Stopped)
	ctx, cancel := context.WithCancel(t.Context())
	b, err := w.svc.Start(ctx, bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"a"}})
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	if b = w.wait(b.ID, b.ID); b.State != operation.Succeeded || b.Actor != "system" {
		t.Errorf("bulk %+v", b)
	}
}
