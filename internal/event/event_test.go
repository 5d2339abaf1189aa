package event_test

import (
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
)

func TestEventsInWords(t *testing.T) {
	at := time.Unix(0, 0)
	name := func(id string) string { return map[string]string{"id-1": "memory"}[id] }
	say := func(kind event.Type, agent, actor string, payload any) event.Event {
		return event.New(kind, agent, actor, at, payload)
	}
	for _, c := range []struct {
		e    event.Event
		want string
	}{
		{say(event.AgentCreated, "id-1", "user:ann@example.com/0001", event.AgentChange{Name: "memory"}), "memory was created, by ann@example.com."},
		{say(event.AgentUpdated, "id-1", "token:ci/0001", event.AgentChange{Revision: 3, Reason: "More memory."}), "memory was changed (revision 3), by the token ci: More memory."},
		{say(event.AgentDeleted, "id-1", "session:x", event.AgentChange{}), "memory was deleted, by somebody signed in by a one-time link."},
		{say(event.AgentStateChanged, "id-1", "system", event.StateChanged{OldState: "RUNNING", NewState: "ERRORED", Reason: "port 80 is in use"}), "memory went from running to errored, by the portal: port 80 is in use."},
		{say(event.AgentStateChanged, "id-1", "", event.StateChanged{NewState: "DRAFT"}), "memory is draft."},
		{say(event.AgentHealthUpdate, "id-1", "system", event.HealthUpdate{Health: "unhealthy", Reason: "HTTP 500"}), "memory is unhealthy: HTTP 500."},
		{say(event.AgentHealthUpdate, "id-1", "system", event.HealthUpdate{Health: "unknown"}), "It is not known how memory is."},
		{say(event.InstanceChanged, "id-1", "system", event.Instance{InstanceID: "i", State: "exited", Restarts: 2, Reason: "exit 1"}), "Instance i of memory is exited (restarts: 2): exit 1."},
		{say(event.OperationChanged, "id-1", "user:ann/1", event.Operation{Kind: "agent.start", State: "RUNNING", Completed: 1, Total: 4, Reason: "try"}), "The start of memory is running (1 of 4 steps), by ann: try."},
		{say(event.OperationChanged, "", "system", event.Operation{Kind: "bulk", State: "FAILED", Error: "It broke"}), "The bulk failed, by the portal: It broke."},
		{say(event.StepCompleted, "id-1", "system", event.Step{Kind: "agent.start", Step: "launch", Status: "failed", Attempt: 2, Error: "no file"}), `Step "launch" of the start of memory failed at try 2, by the portal: no file.`},
		{say(event.BulkProgress, "id-1", "user:ann/1", event.Bulk{Actions: []string{"stop", "start"}, Status: "RUNNING", Completed: 3, Total: 9, Failed: 1, ItemStatus: "FAILED"}), "The bulk stop and start is running (3 of 9), 1 failed; memory failed, by ann."},
		{say(event.DeadLetter, "id-1", "system", map[string]any{"reason": "max_deliveries"}), "A command for memory could not be done: max deliveries."},
		{say(event.QueueUpdate, "id-1", "system", nil), "The queue of memory changed."},
		{say(event.SignIn, "", "user:ann/1", map[string]any{"name": "Ann", "reason": "by password"}), "Ann signed in by password."},
		{say(event.SignIn, "", "session:x", map[string]any{"name": "one-time link", "reason": "by link"}), "Somebody signed in by a one-time link."},
		{say(event.TokenChanged, "", "user:ann/1", map[string]any{"name": "ci", "change": "revoked"}), "The token ci was revoked, by ann."},
		{say(event.UserChanged, "", "user:ann/1", map[string]any{"id": "u", "change": "created"}), "The user u was created, by ann."},
		{say(event.SessionChanged, "", "user:ann/1", map[string]any{"change": "signed_out", "reason": "everywhere"}), "A session was signed out, by ann: everywhere."},
		{say(event.WebhookChanged, "", "system", map[string]any{"name": "ops", "change": "given_up", "reason": "after 20 tries"}), "The webhook ops was given up, by the portal: after 20 tries."},
		{say(event.OrphanRemoved, "stray", "user:ann/1", event.Orphan{Runtime: "docker", AgentID: "stray", Why: "there is no such agent", Reason: "tidy"}), "What was left over of stray on docker was removed, by ann: tidy."},
		{say(event.AlertFired, "id-1", "system", map[string]any{"name": "AgentDown", "summary": "It is down"}), "Alert AgentDown fired (memory): It is down."},
		{say("error:recorded", "id-1", "system", map[string]any{"title": "Port 80 in use"}), "Error Port 80 in use: recorded (memory)."},
		{say("something_new", "", "agent:x", map[string]any{"status": 5, "name": "odd"}), "Something new odd happened, by x."},
		{event.Event{Type: event.OperationChanged, Data: []byte(`"text"`)}, "The operation is ."},
	} {
		if got := event.Say(c.e, name).String(); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.e.Type, c.e.Data, got, c.want)
		}
	}
	if got := event.Say(say(event.AgentDeleted, "id-9", "system", nil), nil).What; got != "id-9 was deleted" {
		t.Errorf("without names: %s", got)
	}
}

func TestPatterns(t *testing.T) {
	for pattern, want := range map[string]bool{"*": true, "agent:*": true, "agent:created": true, "agent:": false, "agent:c*": true, "auth:*": false, "": false} {
		if got := event.Matches(pattern, event.AgentCreated); got != want {
			t.Errorf("%q matches: %v", pattern, got)
		}
	}
}

func TestWhatIsConfidential(t *testing.T) {
	for rooms, want := range map[string]bool{"": false, "audit": true, "audit audit": true, "audit agents": false, "agents": false} {
		if got := event.Confidential(event.Event{Rooms: strings.Fields(rooms)}); got != want {
			t.Errorf("%q is confidential: %v", rooms, got)
		}
	}
}

func FuzzSay(f *testing.F) {
	f.Add("agent:state_changed", `{"old_state":"A","new_state":"B"}`, "user:x/1")
	f.Add("step_completed", `[1,{"a":"b"}]`, ":/")
	f.Fuzz(func(t *testing.T, kind, data, actor string) {
		s := event.Say(event.Event{Type: event.Type(kind), AgentID: "a", Actor: actor, Data: []byte(data)}, nil)
		if s.What == "" || !strings.HasSuffix(s.String(), ".") {
			t.Errorf("%q", s.String())
		}
	})
}
