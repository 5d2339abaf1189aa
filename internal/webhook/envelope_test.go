package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/webhook"
)

func TestTheMessageIsACloudEventThatIsSigned(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	sub, secret, err := w.Create(t.Context(), all("ops"))
	if err != nil {
		t.Fatal(err)
	}
	w.happen(t, 7)
	w.run(t, sub.ID)
	r := w.receiver.all()[0]
	checkCloudEvent(t, r.body)
	want(t, "content type", r.header["Content-Type"], "application/cloudevents+json; charset=utf-8")
	e := r.envelope(t)
	want(t, "source", e.Source, "https://portal.example")
	want(t, "subject", e.Subject, "agent/agent-7")
	want(t, "actor", e.Actor, "user:ann")
	want(t, "time", e.Time, "2026-03-04T05:06:07Z")
	want(t, "id", e.ID, r.header["Webhook-Id"])
	if !strings.Contains(string(e.Data), `"reason":"because"`) {
		t.Errorf("data %s", e.Data)
	}
	verify(t, r, secret)
	// A new secret signs together with the one before, for a day.
	_, fresh, err := w.NewSecret(t.Context(), sub.ID)
	if err != nil || fresh == secret {
		t.Fatalf("new secret %q, %v", fresh, err)
	}
	for _, when := range []struct {
		after time.Duration
		both  bool
	}{{0, true}, {25 * time.Hour, false}} {
		w.clock.move(when.after)
		w.happen(t, 8)
		w.run(t, sub.ID)
		r = w.receiver.all()[len(w.receiver.all())-1]
		verify(t, r, fresh)
		want(t, "the secret before signs", signed(r, secret), when.both)
	}
}

// signed tells whether one of the signatures was made with the secret, computed
// as Standard Webhooks says.
func signed(r request, secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, r.header["Webhook-Id"]+"."+r.header["Webhook-Timestamp"]+"."+string(r.body))
	return strings.Contains(" "+r.header["Webhook-Signature"]+" ", " v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))+" ")
}

func verify(t *testing.T, r request, secret string) {
	t.Helper()
	if !strings.HasPrefix(secret, "whsec_") || !signed(r, secret) {
		t.Fatalf("signature %q is not that of the secret", r.header["Webhook-Signature"])
	}
}

// checkCloudEvent holds a message to the JSON schema of CloudEvents 1.0: the
// attributes that are required, their types, and the names of extensions.
func checkCloudEvent(t *testing.T, body []byte) {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "source", "specversion", "type"} {
		if s, ok := m[name].(string); !ok || s == "" {
			t.Errorf("%s is %v, want a text that is not empty", name, m[name])
		}
	}
	if m["specversion"] != "1.0" {
		t.Errorf("specversion is %v", m["specversion"])
	}
	for name, value := range m {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || len(name) > 20 {
			t.Errorf("%q is no name of an attribute", name)
		}
		switch name {
		case "data":
			continue
		case "time":
			if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(value)); err != nil {
				t.Errorf("time: %v", err)
			}
		}
		if s, ok := value.(string); !ok || s == "" {
			t.Errorf("%s is %v, want a text that is not empty", name, value)
		}
	}
	if m["datacontenttype"] != "application/json" {
		t.Errorf("datacontenttype is %v", m["datacontenttype"])
	}
}

func TestEveryKindOfEventMakesACloudEvent(t *testing.T) {
	for _, e := range []event.Event{
		{Seq: 1, Type: event.StepCompleted, At: begin, Data: json.RawMessage(`{"operation_id":"op"}`)},
		{Seq: 2, Type: event.UserChanged, At: begin, Data: json.RawMessage(`{"user_id":"u"}`), Actor: "system"},
		{Seq: 3, Type: event.QueueUpdate, At: begin},
		{Seq: 4, Type: event.WebhookChanged, At: begin.Add(time.Nanosecond), Data: json.RawMessage(`"text"`)},
		{Type: webhook.TestType, At: begin, Data: json.RawMessage(`{"webhook_id":"w"}`)},
	} {
		body, err := json.Marshal(webhook.Envelop("https://portal.example", e))
		if err != nil {
			t.Fatal(err)
		}
		checkCloudEvent(t, body)
	}
}

func FuzzEnvelop(f *testing.F) {
	f.Add("agent:created", "agent", "user:ann", `{"operation_id":"x"}`)
	f.Fuzz(func(t *testing.T, kind, agent, actor, data string) {
		if kind == "" || !json.Valid([]byte(data)) {
			return
		}
		body, err := json.Marshal(webhook.Envelop("https://portal.example", event.Event{Seq: 1, Type: event.Type(kind), AgentID: agent, Actor: actor, At: begin, Data: []byte(data)}))
		if err != nil {
			t.Fatal(err)
		}
		checkCloudEvent(t, body)
	})
}
