package webhook_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/webhook"
)

func TestASecretOfOnesOwn(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	d := all("ops")
	d.SecretRef = "file:hook"
	sub, secret, err := w.Create(t.Context(), d)
	if err != nil || secret != "" {
		t.Fatalf("secret %q, %v", secret, err)
	}
	w.happen(t, 1)
	w.run(t, sub.ID)
	verify(t, w.receiver.all()[0], "whsec_"+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 30))))
	if _, _, err := w.NewSecret(t.Context(), sub.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("it is changed: %v", err)
	}
	// Its file is removed: nothing is sent unsigned.
	w.Secrets = secrets{}
	w.happen(t, 2)
	w.run(t, sub.ID)
	want(t, "requests", len(w.receiver.all()), 1)
	if got := w.get(t, sub.ID); got.State() != webhook.Retrying || !strings.Contains(got.Progress.Reason, "signed") {
		t.Errorf("progress %+v", got.Progress)
	}
}

func TestBadDefinitionsAreRefusedWhole(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	for wrong, d := range map[string]webhook.Definition{
		"name url":          {},
		"name":              {Name: "a/b", URL: "https://a.example/"},
		"url":               {Name: "a", URL: "http://169.254.169.254/latest"},
		"types[0] types[2]": {Name: "a", URL: "https://a.example/", Types: []string{"*x", "agent:*", "Agent:x"}},
		"types":             {Name: "a", URL: "https://a.example/", Types: strings.Split(strings.Repeat("a,", 50)+"a", ",")},
		"agents":            {Name: "a", URL: "https://a.example/", Agents: make([]string, 201)},
		"secret_ref":        {Name: "a", URL: "https://a.example/", SecretRef: "file:short"},
		"name secret_ref":   {Name: strings.Repeat("a", 61), URL: "https://a.example/", SecretRef: "file:broken"},
	} {
		_, _, err := w.Create(t.Context(), d)
		f := fault.As(err)
		if f == nil || f.Kind != fault.Invalid {
			t.Errorf("%s: %v", wrong, err)
			continue
		}
		var paths []string
		for _, field := range f.Fields {
			paths = append(paths, field.Path)
		}
		want(t, "wrong fields", strings.Join(paths, " "), wrong)
	}
	want(t, "events", w.notes(t), "[]")
	for i := range webhook.MaxWebhooks {
		w.create(t, all(fmt.Sprint(i)))
	}
	if _, _, err := w.Create(t.Context(), all("one more")); !fault.Is(err, fault.Conflict) {
		t.Errorf("one too many: %v", err)
	}
}

func TestChangesAreRecorded(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	sub := w.create(t, all("ops"))
	d := sub.Definition()
	d.URL, d.Enabled = "https://other.example/secret-path", false
	if _, err := w.Update(t.Context(), sub.ID, d, 9); !fault.Is(err, fault.Stale) {
		t.Fatalf("another version: %v", err)
	}
	got, err := w.Update(t.Context(), sub.ID, d, 1)
	if err != nil || got.Version != 2 || got.State() != webhook.Disabled {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := w.Delete(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), "ops"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("twice: %v", err)
	}
	entries, _, err := w.store.Audit().Find(t.Context(), audit.Query{Target: "webhook/ops"})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range entries {
		actions = append(actions, e.Action)
		if strings.Contains(string(e.Before)+string(e.After), "secret-path") {
			t.Errorf("the address is in the audit log: %s %s", e.Before, e.After)
		}
	}
	want(t, "actions", actions, "[webhook.delete webhook.update webhook.create]")
	want(t, "notes", w.notes(t), "[created updated deleted]")
}

func TestWhatIsPastIsNotJudgedAnew(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	d := all("ops")
	d.Types = []string{"dlq_message"}
	sub := w.create(t, d)
	w.happen(t, 1, 2)
	w.run(t, sub.ID)
	d.Types = nil
	if _, err := w.Update(t.Context(), sub.ID, d, 0); err != nil {
		t.Fatal(err)
	}
	w.happen(t, 3)
	w.run(t, sub.ID)
	want(t, "told", w.told(t), "[3]")
}

func TestManyEventsThatAreNotWantedMoveThePlaceOn(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	d := all("ops")
	d.Types = []string{"dlq_message"}
	sub := w.create(t, d)
	list := make([]event.Event, 600)
	for i := range list {
		list[i] = event.Event{Type: event.QueueUpdate, At: begin}
	}
	if err := w.store.Events().Append(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
	w.run(t, sub.ID)
	if got := w.get(t, sub.ID).Progress.Cursor; got < 500 {
		t.Errorf("place %d: a start would read everything again", got)
	}
}

func TestEventsThatWereRemovedAreCountedAsMissed(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	sub := w.create(t, all("ops")) // appends event 1
	w.happen(t, 2, 3)
	w.run(t, sub.ID)
	d := sub.Definition()
	d.Enabled = false
	if _, err := w.Update(t.Context(), sub.ID, d, 0); err != nil { // event 4
		t.Fatal(err)
	}
	w.happen(t, 5, 6, 7)
	if _, err := w.store.Events().Prune(t.Context(), begin.Add(time.Hour), 1); err != nil {
		t.Fatal(err)
	}
	d.Enabled = true
	if _, err := w.Update(t.Context(), sub.ID, d, 0); err != nil {
		t.Fatal(err)
	}
	w.run(t, sub.ID)
	want(t, "told", w.told(t), "[2 3 7]")
	if got := w.get(t, sub.ID).Progress.Missed; got != 3 {
		t.Errorf("missed %d, want the note that it was switched off and two events", got)
	}
}

func TestTestAndRedeliver(t *testing.T) {
	w := newWorld(t, storetest.New(t))
	w.receiver.answer = func(n int, _ request) webhook.Answer {
		if n == 1 {
			return webhook.Answer{Status: 500, Body: "no \x00 \xff" + strings.Repeat("x", 2000)}
		}
		return webhook.Answer{Status: 200}
	}
	sub := w.create(t, all("ops"))
	w.happen(t, 1, 2)
	w.run(t, sub.ID)
	list, _, err := w.Attempts.Attempts(t.Context(), sub.ID, "", 10)
	if err != nil || len(list) != 1 || list[0].OK || len(list[0].Answer) > 1100 {
		t.Fatalf("attempts %+v, %v", list, err)
	}
	again, err := w.Redeliver(t.Context(), sub.ID, list[0].ID)
	if err != nil || !again.OK || again.MessageID != list[0].MessageID || again.Kind != webhook.KindAgain {
		t.Fatalf("again %+v, %v", again, err)
	}
	w.run(t, sub.ID)
	want(t, "told", w.told(t), "[1 1 2]") // not once more, for it was taken
	tested, err := w.Test(t.Context(), "ops")
	if err != nil || !tested.OK || tested.EventSeq != 0 {
		t.Fatalf("test %+v, %v", tested, err)
	}
	checkCloudEvent(t, w.receiver.all()[3].body)
	if again, err = w.Redeliver(t.Context(), sub.ID, tested.ID); err != nil || again.Kind != webhook.KindTest {
		t.Fatalf("test again %+v, %v", again, err)
	}
	if _, err := w.Redeliver(t.Context(), sub.ID, "none"); !fault.Is(err, fault.NotFound) {
		t.Errorf("none: %v", err)
	}
	if _, err := w.store.Events().Prune(t.Context(), begin.Add(time.Hour), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Redeliver(t.Context(), sub.ID, list[0].ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("an event that is gone: %v", err)
	}
}
