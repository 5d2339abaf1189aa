package web_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
)

func (h *home) happened(e event.Event) {
	h.Helper()
	if err := h.store.Events().Append(h.Context(), e); err != nil {
		h.Fatal(err)
	}
}

func TestEventsPage(t *testing.T) {
	h := newHome(t)
	if _, _, err := h.agents.Create(h.as(auth.Operator), agent.Spec{Name: "one", Runtime: "process", Command: "/bin/sleep"}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	h.happened(event.New(event.AgentStateChanged, "one", "user:ann@example.com/1", now,
		event.StateChanged{AgentID: "one", OldState: "RUNNING", NewState: "ERRORED", Reason: "<script>alert(1)</script>\x1b[31m"}, event.RoomAgents))
	h.happened(event.New(event.OperationChanged, "gone", "system", now, event.Operation{OperationID: "op-1", Kind: "agent.start", State: "FAILED", Error: "It broke"}, event.RoomOperations))
	h.happened(event.New(event.SignIn, "", "user:ann@example.com/1", now, map[string]any{"name": "Ann"}, event.RoomAudit))

	page := h.page(auth.Admin, "/events")
	h.contains(page, "one was created", "one went from running to errored", "The start of gone failed", "because: It broke", "Ann signed in", "ann@example.com", "the token operator")
	h.marks(page, `data-live="agents operations queues alerts errors diagnostics audit"`, `href="/operations/op-1"`, `href="/agents/one"`, `href="/audit?q=op-1"`, `/api/platform/events/export?format=csv`)
	h.lacks(page, "<script>alert", "\x1b", `href="/agents/gone"`)
	operator := h.page(auth.Operator, "/events")
	h.lacks(operator, "Ann signed in", "queues alerts errors diagnostics audit", `value="access"`)

	for path, wanted := range map[string]string{
		"/events?group=access": "Ann signed in", "/events?type=agent:created": "one was created", "/events?q=it+BROKE": "The start of gone",
		"/events?actor=user:*&group=agents": "went from running", "/events?agent=one&q=created": "one was created",
		"/events?since=" + now.UTC().Format(time.DateOnly) + "&until=" + now.UTC().Format(time.DateOnly) + "&group=access": "Ann signed in",
	} {
		page := h.page(auth.Admin, path)
		h.contains(page, wanted)
		if n := strings.Count(page, `<tr id="e-`); n != 1 {
			t.Errorf("%s shows %d events, want 1", path, n)
		}
	}
	h.marks(h.page(auth.Admin, "/events?agent=one"), `data-live="agent:one"`)
	h.contains(h.page(auth.Admin, "/events?q=nothing"), "No event matches")
	paused := h.page(auth.Admin, "/events?paused=1&group=agents")
	h.contains(paused, "The list is paused", "Go on")
	h.lacks(paused, `data-live="agents`)
	h.lacks(h.page(auth.Admin, "/events?until=2020-01-01"), `data-live="agents`)
	if part := h.page(auth.Admin, "/events", "HX-Request", "true", "HX-Request-Type", "partial"); strings.Contains(part, "<html") || !strings.Contains(part, `id="event-stream"`) {
		t.Error("a part is a whole page")
	}
}

func TestEventsPageByPage(t *testing.T) {
	h := newHome(t)
	for i := range 60 {
		h.happened(event.New(event.QueueUpdate, fmt.Sprint("a", i), "system", time.Now(), map[string]any{}, event.RoomQueues))
	}
	page := h.page(auth.Viewer, "/events?group=queues")
	if n := strings.Count(page, `<tr id="e-`); n != 50 || !strings.Contains(page, html.EscapeString("cursor=11&group=queues")) {
		t.Fatalf("%d events on the first page", n)
	}
	if n := strings.Count(h.page(auth.Viewer, "/events?cursor=11&group=queues"), `<tr id="e-`); n != 10 {
		t.Errorf("%d events on the second", n)
	}
}

func TestWebhooksPage(t *testing.T) {
	taken := true
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !taken {
			http.Error(w, "<b>broken</b>", http.StatusBadGateway)
		}
	}))
	defer receiver.Close()
	h := newHouse(t)
	h.in(auth.Operator).open("/settings/webhooks").sees(403)
	b := h.in(auth.Admin)
	b.open("/settings/webhooks").sees(200, "New webhook", "CloudEvents")
	b.send("/settings/webhooks", "name", "", "url", "http://169.254.169.254/", "types", "Agent:x").
		sees(400, "Must be given", "metadata", "Must be a type of event")
	b.send("/settings/webhooks", "name", "ops", "url", receiver.URL+"/secret-path", "types", "agent:*, alert:fired", "confidential", "true").
		sees(200, "The webhook ops was made", "Delivering")
	if secret := b.value("secret"); !strings.HasPrefix(secret, "whsec_") {
		t.Fatalf("secret %q", secret)
	}
	b.open("/settings/webhooks").sees(200, "ops", "agent:*, alert:fired").seesNot("whsec_", "secret-path")
	sub, err := h.store.Webhooks().Webhook(t.Context(), "ops")
	if err != nil || !sub.Confidential {
		t.Fatalf("%+v, %v", sub, err)
	}
	path := "/settings/webhooks/" + sub.ID
	b.send(path+"/test").sees(200, "It was sent and taken", "Taken")
	taken = false
	b.send(path+"/test").sees(200, "It was sent and not taken", "answered with status 502", "<b>broken</b>")
	list, _, err := h.store.Webhooks().Attempts(t.Context(), sub.ID, "", 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	b.send(path+"/deliveries/"+list[1].ID).sees(200, "It was sent and not taken")
	b.send(path+"/secret").sees(200, "The secret was changed")
	b.send(path, "name", "ops", "url", receiver.URL, "types", "", "enabled", "false").sees(200, "The webhook was changed", "Disabled")
	b.send(path, "name", "a/b", "url", receiver.URL).sees(400, "Holds a slash")
	b.send(path+"/resume", "skip", "all").sees(200, "Deliveries go on")
	b.send(path+"/resume", "skip", "what").sees(400)
	b.send(path+"/delete").sees(200, "The webhook was deleted")
	b.open(path).sees(404)
}
