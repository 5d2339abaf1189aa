package cli_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func operationJSON(state, more string) string {
	return `{"id":"op1","kind":"agent.start","agent_id":"a","state":"` + state + `","total":2,"completed":1,"actor":"token:1","created_at":"2026-03-01T11:00:00Z"` + more + `}`
}

func wrapped(op string) string { return `{"operation":` + op + `}` }

func TestAnActionWaitsForItsEnd(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents/a/start", 202, wrapped(operationJSON("PENDING", "")))
	f.on("GET /operations/op1", 200,
		operationJSON("RUNNING", `,"steps":[{"name":"launch","state":"running","detail":"1 of 2"}]`),
		operationJSON("SUCCEEDED", ""))
	r := at(t, f).run("agents", "start", "a", "--reason", "monday")
	r.want(t, 0, "a: start done", "agent.start a 1/2 launch  1 of 2")
	if f.requests("POST", "/start")[0].body != `{"reason":"monday"}` {
		t.Errorf("body: %s", f.requests("POST", "/start")[0].body)
	}
	f.on("GET /operations/op1", 200, operationJSON("RUNNING", ""), operationJSON("SUCCEEDED", ""))
	tty := at(t, f)
	tty.tty = true
	tty.run("agents", "start", "a").want(t, 0, "\ragent.start a [############............] 1/2 RUNNING")
	js := at(t, f).run("agents", "start", "a", "-o", "json")
	if js.want(t, 0); !strings.HasPrefix(js.out, "{\n") || !strings.Contains(js.out, `"state": "SUCCEEDED"`) {
		t.Errorf("stdout: %s", js.out)
	}
	at(t, f).run("agents", "start", "a", "--no-wait").want(t, 0, "agent.start a is PENDING: operation op1")
	at(t, f).run("agents", "start", "a", "--wait=false", "-o", "name").want(t, 0, "op1\n")
}

func TestAFailedActionSaysWhyAndWhatToDo(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents/a/start", 202, wrapped(operationJSON("PENDING", "")))
	f.on("GET /operations/op1", 200, operationJSON("FAILED", `,"problem":{"code":"step_failed","what":"The command does not exist","why":"no /bin/nope","remedy":"Correct command"}`))
	at(t, f).run("agents", "start", "a").want(t, 1, "ended as FAILED: The command does not exist", "Why: no /bin/nope", "Do: Correct command")
	f.on("GET /operations/op1", 200, operationJSON("CANCELLED", ""))
	at(t, f).run("agents", "start", "a").want(t, 1, "ended as CANCELLED")
	f.handle("POST /agents/a/start", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 409, `{"status":409,"code":"agent.transition_refused","what":"The agent can't start now","why":"it is DRAFT","remedy":"Allowed from DRAFT: provision, revoke."}`)
	})
	at(t, f).run("agents", "start", "a").want(t, 5, "The agent can't start now", "Why: it is DRAFT", "Do: Allowed from DRAFT")
}

const bulkDone = `{"id":"b1","state":"SUCCEEDED","actions":["stop"],"max_parallel":5,"on_failure":"continue","actor":"token:1","total":2,"completed":2,"succeeded":1,"failed":%d,"skipped":1,"created_at":"2026-03-01T11:00:00Z",
"items":[{"agent_id":"a","wave":0,"state":"succeeded","started_at":"2026-03-01T11:00:00Z","ended_at":"2026-03-01T11:00:01.5Z"},{"agent_id":"b","wave":1,"state":"skipped","note":"already STOPPED"}]}`

const bulkRunning = `{"id":"b1","state":"RUNNING","actions":["stop"],"total":2,"completed":1,"failed":1}`

func TestSeveralAgentsBecomeOneBulkOperation(t *testing.T) {
	f := newFake(t)
	f.on("POST /bulk", 202, bulkRunning)
	f.on("GET /bulk/b1", 200, bulkRunning, fmt.Sprintf(bulkDone, 0))
	r := at(t, f).run("agents", "stop", "a", "b", "--max-parallel", "3", "--on-failure", "rollback")
	r.want(t, 0, "bulk stop 1/2 RUNNING, 1 failed")
	golden(t, "bulk.table", r.out)
	if b := f.requests("POST", "/bulk")[0].body; b != `{"actions":["stop"],"agent_ids":["a","b"],"max_parallel":3,"on_failure":"rollback"}` {
		t.Errorf("body: %s", b)
	}
	at(t, f).run("agents", "stop", "-l", "env=prod", "--no-wait").want(t, 0, "bulk b1")
	if b := f.requests("POST", "/bulk")[1].body; b != `{"actions":["stop"],"selector":"env=prod"}` {
		t.Errorf("body: %s", b)
	}
	f.on("GET /bulk/b1", 200, fmt.Sprintf(bulkDone, 1))
	at(t, f).run("agents", "stop", "a", "b").want(t, 1)
	at(t, f).run("agents", "stop").want(t, 2, "name agents or give a selector")
	at(t, f).run("agents", "stop", "a", "-l", "x=y").want(t, 2, "one of the two")
}

func TestBulkSaysWhichAgentsInOneWay(t *testing.T) {
	f := newFake(t)
	f.on("POST /bulk", 202, bulkRunning)
	cases := map[string]struct {
		args []string
		body string
	}{
		"ids":      {[]string{"stop", "a", "b"}, `{"actions":["stop"],"agent_ids":["a","b"]}`},
		"selector": {[]string{"stop,start", "-l", "x=y"}, `{"actions":["stop","start"],"selector":"x=y"}`},
		"all":      {[]string{"stop", "--all"}, `{"actions":["stop"],"filter":{}}`},
		"filter":   {[]string{"restart", "--state", "ERRORED", "--tier", "4", "-l", "x=y", "--reason", "r"}, `{"actions":["restart"],"filter":{"selector":"x=y","state":["ERRORED"],"tier":[4]},"reason":"r"}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			at(t, f).run(append(append([]string{"bulk"}, c.args...), "--no-wait", "-o", "name")...).want(t, 0, "b1\n")
			got := f.requests("POST", "/bulk")
			if last := got[len(got)-1].body; last != c.body {
				t.Errorf("body %s, want %s", last, c.body)
			}
		})
	}
	at(t, f).run("bulk", "stop").want(t, 2, "in one way")
	at(t, f).run("bulk", "stop", "a", "--all").want(t, 2, "in one way")
	at(t, f).run("bulk", "dance", "--all").want(t, 2, `there is no action "dance"`)
	at(t, f).run("bulk", "stop,revoke", "--all").want(t, 2, "--yes")
	at(t, f).run("bulk").want(t, 2)
}

func TestRevokingAsks(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents/a/revoke", 202, wrapped(operationJSON("PENDING", "")))
	f.on("GET /operations/op1", 200, operationJSON("SUCCEEDED", ""))
	at(t, f).run("agents", "revoke", "a").want(t, 2, "--yes")
	c := at(t, f)
	c.tty = true
	c.run("agents", "revoke", "a").want(t, 1, "Revoke a for good")
	c.run("agents", "revoke", "-l", "x=y").want(t, 1, "all agents with x=y")
	if len(f.requests("", "")) != 0 {
		t.Error("something was sent")
	}
	at(t, f).run("agents", "revoke", "a", "-y").want(t, 0, "a: revoke done")
}

func TestBulkOperationsAreShownAndSteered(t *testing.T) {
	f := newFake(t)
	f.on("GET /bulk", 200, `{"items":[`+bulkRunning+`]}`)
	f.on("GET /bulk/b1", 200, fmt.Sprintf(bulkDone, 0))
	f.on("POST /bulk/b1/cancel", 202, bulkRunning)
	f.on("POST /bulk/b1/rollback", 202, bulkRunning)
	at(t, f).run("bulk", "ls").want(t, 0, "b1  stop     RUNNING  1/2   1")
	at(t, f).run("bulk", "get", "b1").want(t, 0, "already STOPPED", "stop SUCCEEDED: 1 of 2 succeeded")
	at(t, f).run("bulk", "cancel", "b1").want(t, 0, "being cancelled")
	at(t, f).run("bulk", "rollback", "b1").want(t, 0, "being rolled back")
	at(t, f).run("bulk", "get", "nope").want(t, 3)
}

func TestOperationsAreShownAndSteered(t *testing.T) {
	f := newFake(t)
	full := operationJSON("FAILED", `,"reason":"monday","ended_at":"2026-03-01T11:00:05Z","undo":{"action":"stop","until":"2026-03-01T13:00:00Z"},
"problem":{"what":"It broke","why":"rust","remedy":"Oil it"},"steps":[{"name":"check","state":"done"},{"name":"launch","state":"failed","problem":{"what":"no file"}}]`)
	f.on("GET /operations", 200, `{"items":[`+full+`]}`)
	f.on("GET /operations/op1", 200, full)
	var all strings.Builder
	for _, args := range [][]string{{"ls", "--state", "FAILED", "--agent", "a", "--since", "1h"}, {"get", "op1"}} {
		r := at(t, f).run(append([]string{"operations"}, args...)...)
		r.want(t, 0)
		all.WriteString(r.out)
	}
	golden(t, "operations.table", all.String())
	if q := f.requests("GET", "/operations")[0].query; !strings.Contains(q, "state=FAILED") || !strings.Contains(q, "agent=a") || !strings.Contains(q, "since=20") {
		t.Errorf("query: %s", q)
	}
	for _, verb := range []string{"pause", "resume", "cancel", "undo"} {
		f.on("POST /operations/op1/"+verb, 202, wrapped(operationJSON("RUNNING", "")))
		at(t, f).run("ops", verb, "op1").want(t, 0, "agent.start a is RUNNING: operation op1")
	}
	at(t, f).run("operations", "wait", "op1").want(t, 1, "It broke")
	f.on("GET /operations/op1", 200, operationJSON("RUNNING", ""))
	at(t, f).run("operations", "wait", "op1", "--timeout", "60ms").want(t, 6)
	f.on("GET /operations/op1", 200, operationJSON("SUCCEEDED", ""))
	at(t, f).run("operations", "wait", "op1").want(t, 0, "op1: SUCCEEDED")
}

// When the portal goes away while a command waits, the command says how the work
// is found again.
func TestWhoWaitsIsToldWhenThePortalIsLost(t *testing.T) {
	f := newFake(t)
	f.on("POST /bulk", 202, bulkRunning)
	asked := 0
	f.handle("GET /bulk/b1", func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 1 {
			fmt.Fprint(w, bulkRunning)
			return
		}
		panic(http.ErrAbortHandler) // the connection ends
	})
	at(t, f).run("agents", "stop", "a", "b").want(t, 6, "The portal goes on with the work", "portal bulk get b1")
}
