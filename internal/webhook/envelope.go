package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
)

// ContentType is what a message is: one CloudEvent in structured mode.
const ContentType = "application/cloudevents+json; charset=utf-8"

// typePrefix makes the portal's event types those of CloudEvents.
const typePrefix = "com.waooaw.portal."

// TestType is the type of the event that tests a receiver.
const TestType event.Type = "webhook:test"

// Envelope is a CloudEvent 1.0 in its JSON format. The names of extensions are
// lower-case letters, as the specification demands.
type Envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
	// Actor is who caused it.
	Actor string `json:"actor,omitempty"`
	// AgentID is the agent it happened to.
	AgentID string `json:"agentid,omitempty"`
	// Sequence orders the events of a source, compared as text.
	Sequence string `json:"sequence,omitempty"`
}

// Envelop makes the CloudEvent of an event. Its id is the same each time, and
// another one if the stream was begun anew: the number alone would come again.
func Envelop(source string, e event.Event) Envelope {
	out := Envelope{
		SpecVersion: "1.0", ID: messageID(e), Source: source, Type: CloudType(e.Type), Time: e.At.UTC().Format(time.RFC3339Nano),
		DataContentType: "application/json", Data: e.Data, Actor: e.Actor, AgentID: e.AgentID, Subject: subject(e),
	}
	if e.Seq > 0 {
		out.Sequence = fmt.Sprintf("%020d", e.Seq)
	}
	if len(out.Data) == 0 {
		out.Data = json.RawMessage("{}")
	}
	return out
}

// CloudType is the type of an event as CloudEvents name it:
// "com.waooaw.portal.agent.state_changed" for "agent:state_changed".
func CloudType(t event.Type) string {
	return typePrefix + strings.ReplaceAll(string(t), ":", ".")
}

func messageID(e event.Event) string { return fmt.Sprintf("evt_%d_%x", e.Seq, e.At.UnixMicro()) }

// subject names what it happened to, within the source.
func subject(e event.Event) string {
	if e.AgentID != "" {
		return "agent/" + e.AgentID
	}
	var of struct {
		Operation string `json:"operation_id"`
		User      string `json:"user_id"`
		Webhook   string `json:"webhook_id"`
	}
	if json.Unmarshal(e.Data, &of) != nil {
		return ""
	}
	switch {
	case of.Operation != "":
		return "operation/" + of.Operation
	case of.Webhook != "":
		return "webhook/" + of.Webhook
	case of.User != "":
		return "user/" + of.User
	}
	return ""
}
