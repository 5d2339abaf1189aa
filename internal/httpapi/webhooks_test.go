package httpapi_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/webhook"
)

// inbox is a receiver of webhooks.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	got    []*http.Request
	bodies []string
	answer http.HandlerFunc // nil answers 204
}

func newInbox(t *testing.T) *inbox {
	in := &inbox{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		in.mu.Lock()
		in.got, in.bodies = append(in.got, r), append(in.bodies, string(body))
		answer := in.answer
		in.mu.Unlock()
		if answer == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *inbox) count() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.got)
}

func TestWebhooks(t *testing.T) {
	w, in := newWorld(t), newInbox(t)
	w.create("one")
	made := w.do("POST", api+"/webhooks", map[string]any{"name": "Ops", "url": in.URL + "/secret-path", "types": []string{"agent:*"}, "agents": []string{"ONE"}}).want(t, 201)
	hook := made.JSON(t)
	id := hook["id"].(string)
	if !strings.HasPrefix(hook["secret"].(string), "whsec_") || made.Header.Get("Location") != api+"/webhooks/"+id || hook["state"] != "delivering" {
		t.Fatalf("made %s", made.Body)
	}
	if again := w.do("GET", api+"/webhooks/ops", nil).want(t, 200); strings.Contains(again.Body, "whsec_") || again.JSON(t)["agents"].([]any)[0] != "one" {
		t.Errorf("shown later: %s", again.Body)
	}
	tested := w.do("POST", api+"/webhooks/"+id+"/test", nil).want(t, 200).JSON(t)
	if tested["ok"] != true || tested["status"] != 204.0 || in.count() != 1 {
		t.Errorf("test: %v", tested)
	}
	head := in.got[0].Header
	if head.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" || head.Get("Webhook-Id") == "" || !strings.HasPrefix(head.Get("User-Agent"), "platform-portal/") {
		t.Errorf("request: %v", head)
	}
	patched := w.do("PATCH", api+"/webhooks/ops", map[string]any{"enabled": false, "version": 1}).want(t, 200).JSON(t)
	if patched["state"] != "disabled" || patched["name"] != "Ops" || patched["version"] != 2.0 {
		t.Errorf("patched: %v", patched)
	}
	w.do("PATCH", api+"/webhooks/ops", map[string]any{"enabled": true, "version": 1}).want(t, 412)
	w.do("PATCH", api+"/webhooks/ops", map[string]any{"url": "http://169.254.169.254/"}).want(t, 400)
	w.do("POST", api+"/webhooks", map[string]any{"name": "ops", "url": in.URL}).want(t, 409)
	fresh := w.do("POST", api+"/webhooks/ops/secret", nil).want(t, 200).JSON(t)
	if fresh["secret"] == hook["secret"] {
		t.Error("the secret is the same")
	}
	w.do("POST", api+"/webhooks/ops/resume?skip=all", nil).want(t, 200)
	w.do("POST", api+"/webhooks/ops/resume?skip=some", nil).want(t, 400)
	list := items(t, w.do("GET", api+"/webhooks?agent=one", nil))
	if len(list) != 1 || len(items(t, w.do("GET", api+"/webhooks?agent=two", nil))) != 0 {
		t.Errorf("list: %v", list)
	}
	w.do("DELETE", api+"/webhooks/ops", nil).want(t, 204)
	w.do("GET", api+"/webhooks/"+id, nil).want(t, 404)
	w.do("POST", api+"/webhooks/"+id+"/test", nil).want(t, 404)
	record := w.do("GET", api+"/audit?target=webhook/*&limit=100", nil).Body
	for _, action := range []string{"webhook.create", "webhook.update", "webhook.test", "webhook.new_secret", "webhook.resume", "webhook.delete"} {
		if !strings.Contains(record, action) {
			t.Errorf("the audit log has no %s", action)
		}
	}
	if strings.Contains(record, "secret-path") || strings.Contains(record, "whsec_") {
		t.Errorf("the audit log holds a secret: %s", record)
	}
}

func TestASecretOfAWebhookIsNotKept(t *testing.T) {
	w, in := newWorld(t), newInbox(t)
	body := map[string]any{"name": "ops", "url": in.URL}
	first := w.do("POST", api+"/webhooks", body, "Idempotency-Key", "k").want(t, 201)
	second := w.do("POST", api+"/webhooks", body, "Idempotency-Key", "k").want(t, 201)
	if !strings.Contains(first.Body, "whsec_") || strings.Contains(second.Body, "whsec_") || first.JSON(t)["id"] != second.JSON(t)["id"] {
		t.Errorf("first %s, second %s", first.Body, second.Body)
	}
}

func TestWebhooksAreForAdministrators(t *testing.T) {
	w := newWorld(t)
	for _, role := range []auth.Role{auth.Viewer, auth.Operator} {
		w.do("GET", api+"/webhooks", nil, w.as(role)...).want(t, 403)
		w.do("POST", api+"/webhooks", map[string]any{"name": "x", "url": "https://a.example"}, w.as(role)...).want(t, 403)
	}
	if refused := items(t, w.do("GET", api+"/audit?outcome=refused", nil)); len(refused) != 4 {
		t.Errorf("%d refusals are on record, want 4", len(refused))
	}
}

// A receiver that can't be reached, or leads elsewhere, is explained; while it
// is waited for, others write.
func TestReceiversThatMisbehave(t *testing.T) {
	w, in := newWorld(t), newInbox(t)
	w.do("POST", api+"/webhooks", map[string]any{"name": "ops", "url": in.URL, "enabled": false}).want(t, 201)
	for what, answer := range map[string]http.HandlerFunc{
		"metadata":                 http.RedirectHandler("http://169.254.169.254/latest/", http.StatusTemporaryRedirect).ServeHTTP,
		"turn the POST into":       http.RedirectHandler("/login", http.StatusFound).ServeHTTP,
		"answered with status 500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "\x00<script>", 500) },
		"closed the connection":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		in.mu.Lock()
		in.answer = answer
		in.mu.Unlock()
		got := w.do("POST", api+"/webhooks/ops/test", nil).want(t, 200).JSON(t)
		if got["ok"] == true || !strings.Contains(got["reason"].(string), what) {
			t.Errorf("%s: %v", what, got)
		}
	}
	release, asked := make(chan struct{}), make(chan struct{})
	in.mu.Lock()
	in.answer = func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	}
	in.mu.Unlock()
	done := make(chan reply)
	go func() { done <- w.do("POST", api+"/webhooks/ops/test", nil, "Idempotency-Key", "slow") }()
	<-asked
	w.create("meanwhile") // waits for no receiver
	close(release)
	(<-done).want(t, 200)
	if n := len(items(t, w.do("GET", api+"/webhooks/ops/deliveries?limit=3", nil))); n != 3 {
		t.Errorf("%d deliveries on a page of 3", n)
	}
}

func TestDeliveriesAreSentAgain(t *testing.T) {
	w, in := newWorld(t), newInbox(t)
	in.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
	w.do("POST", api+"/webhooks", map[string]any{"name": "ops", "url": in.URL, "types": []string{"agent:created"}}).want(t, 201)
	d := &webhook.Deliverer{Service: w.hooks}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Stop(context.Background()) }()
	w.create("one")
	state := func() string { return w.do("GET", api+"/webhooks/ops", nil).JSON(t)["state"].(string) }
	w.poll("a retry", func() bool { return state() == "retrying" })
	in.mu.Lock()
	in.answer = nil
	in.mu.Unlock()
	failed := items(t, w.do("GET", api+"/webhooks/ops/deliveries", nil))[0]
	again := w.do("POST", api+"/webhooks/ops/deliveries/"+failed["id"].(string), nil).want(t, 200).JSON(t)
	if again["ok"] != true || again["message_id"] != failed["message_id"] || state() != "delivering" {
		t.Errorf("again: %v, state %s", again, state())
	}
	w.do("POST", api+"/webhooks/ops/deliveries/none", nil).want(t, 404)
	var envelope map[string]any
	if err := json.Unmarshal([]byte(in.bodies[0]), &envelope); err != nil || envelope["type"] != "com.waooaw.portal.agent.created" || in.bodies[0] != in.bodies[1] {
		t.Errorf("bodies %v, %v", in.bodies, err)
	}
}

func TestEventsSayWhoAndWhy(t *testing.T) {
	w := newWorld(t)
	w.create("one")
	w.do("POST", api+"/agents/one/provision?wait=30s", map[string]any{"reason": "a first try"}).want(t, 200)
	list := items(t, w.do("GET", api+"/events?order=asc&limit=1000", nil))
	var all []string
	for _, e := range list {
		all = append(all, e["summary"].(string))
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"one was created, by the token admin.", "The provision of one succeeded, by the token admin: a first try.", "one went from draft to provisioned, by the token admin"} {
		if !strings.Contains(text, want) {
			t.Errorf("no event says %q:\n%s", want, text)
		}
	}
}

func TestEventsByWhoWhenAndText(t *testing.T) {
	w := newWorld(t)
	w.create("one")
	w.create("two")
	at := time.Now().UTC()
	count := func(query string, as ...string) int {
		return len(items(t, w.do("GET", api+"/events?"+query, nil, as...).want(t, 200)))
	}
	if n := count("actor=token:*&type=agent:*"); n != 2 {
		t.Errorf("%d events of tokens about agents", n)
	}
	if n := count("q=" + url.QueryEscape(`"name":"TWO"`)); n != 1 {
		t.Errorf("%d events with the text", n)
	}
	later := url.QueryEscape(at.Add(time.Hour).Format(time.RFC3339))
	if count("since="+later) != 0 || count("until="+later+"&type=agent:*") != 2 || count("until=2000-01-01T00:00:00Z") != 0 {
		t.Error("times are not kept to")
	}
	if all, open := count("type=auth:*"), count("type=auth:*", w.as(auth.Operator)...); all == 0 || open != 0 {
		t.Errorf("administrators see %d events about access, operators %d", all, open)
	}
	for _, bad := range []string{"since=yesterday", "until=5", "order=up", "q=" + strings.Repeat("x", 201)} {
		w.do("GET", api+"/events?"+bad, nil).want(t, 400)
	}
}

func TestEventsAreExported(t *testing.T) {
	w := newWorld(t)
	w.create("one")
	if err := w.store.Events().Append(t.Context(), event.New(event.QueueUpdate, "=cmd()", "system", time.Now(), map[string]any{})); err != nil {
		t.Fatal(err)
	}
	r := w.do("GET", api+"/events/export?format=csv&order=asc", nil).want(t, 200)
	rows, err := csv.NewReader(strings.NewReader(r.Body)).ReadAll()
	if err != nil || len(rows) < 3 || rows[0][0] != "seq" || rows[len(rows)-1][3] != "'=cmd()" || r.Header.Get("Content-Disposition") == "" {
		t.Errorf("csv: %v, %v", rows, err)
	}
	lines := strings.Split(strings.TrimSpace(w.do("GET", api+"/events/export?type=agent:*", nil, w.as(auth.Viewer)...).want(t, 200).Body), "\n")
	var one map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &one); err != nil || len(lines) != 1 || one["summary"] != "one was created, by the token admin." {
		t.Errorf("lines: %v, %v", lines, err)
	}
	if !strings.Contains(w.do("GET", api+"/audit?action=events.export", nil).Body, "events.export") {
		t.Error("the export is not on record")
	}
	many := make([]event.Event, 1200)
	for i := range many {
		many[i] = event.Event{Type: event.QueueUpdate, AgentID: "many"}
	}
	if err := w.store.Events().Append(t.Context(), many...); err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"asc", "desc"} {
		body := w.do("GET", api+"/events/export?agent=many&order="+order, nil).want(t, 200).Body
		if n := strings.Count(body, "\n"); n != 1200 {
			t.Errorf("%s: %d lines, want 1200", order, n)
		}
	}
}
