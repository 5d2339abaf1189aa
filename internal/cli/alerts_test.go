package cli_test

import (
	"strings"
	"testing"
)

func TestAlerts(t *testing.T) {
	const path = "/api/platform/alerts"
	f := newFake(t)
	f.on("GET "+path, 200, `{"items":[{"id":"a1","name":"AgentMemory","severity":"critical","state":"firing","agent_id":"one","active_at":"2026-03-01T11:00:00Z","annotations":{"summary":"one uses \u001b[2J97%"},"labels":{}}],"counts":[]}`)
	f.on("POST "+path+"/a1/acknowledge", 200, `{"id":"a1"}`)
	f.on("POST "+path+"/silences", 201, `{"id":"s1","ends_at":"2026-03-01T14:00:00Z"}`)
	f.on("GET "+path+"/rules", 200, `{"items":[{"id":"r1","name":"AgentMemory","severity":"warning","threshold":0.85,"operator":">","active":1,"file":"platform-portal.yml","status":{}}],"files":[]}`)
	f.on("GET "+path+"/receivers", 200, `{"items":[{"id":"w1","name":"ops","kind":"webhook","url":"https://example.com"}]}`)
	f.on("POST "+path+"/receivers/w1/test", 200, `{"id":"d1","state":"failed","error":"The receiver was not reached"}`)

	r := at(t, f).run("alerts", "ls", "--agent", "one")
	r.want(t, 0, "a1", "AgentMemory", "97%")
	if strings.Contains(r.out, "\x1b") || !strings.Contains(f.requests("GET", "/alerts")[0].query, "agent=one") {
		t.Errorf("shown %q", r.out)
	}
	at(t, f).run("alerts", "ack", "a1").want(t, 2, "reason")
	at(t, f).run("alerts", "ack", "a1", "--reason", "mine").want(t, 0, "You have taken on a1")
	if body := f.requests("POST", "/acknowledge")[0].body; body != `{"reason":"mine"}` {
		t.Errorf("sent %s", body)
	}
	at(t, f).run("alerts", "silence", "agent", "--reason", "x").want(t, 2, "is not label=")
	at(t, f).run("alerts", "silence", `agent="one"`, "alertname!=Down", "--for", "2h", "--reason", "upgrade").want(t, 0, "s1")
	if body := f.requests("POST", "/silences")[0].body; !strings.Contains(body, `"seconds":7200`) || !strings.Contains(body, `{"label":"alertname","value":"Down","not":true}`) {
		t.Errorf("sent %s", body)
	}
	at(t, f).run("alerts", "rules").want(t, 0, "> 0.85", "platform-portal.yml")
	at(t, f).run("alerts", "receivers", "ls").want(t, 0, "ops")
	at(t, f).run("alerts", "receivers", "test", "w1").want(t, 0, "The test is failed. The receiver was not reached")
}
