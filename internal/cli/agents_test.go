package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const memory = `{"id":"wow-memory","name":"WowMemory","state":"RUNNING","health":"healthy","version":"1.0.0","revision":2,"deployed_revision":2,
"resource_version":7,"tier":4,"domain":"intelligence","runtime":"process","template":"memory","replicas":2,"labels":{"team":"core","env":"prod"},
"dependencies":["WowEvent"],"allowed_actions":["stop","suspend","restart","revoke"],"warnings":["WowEvent is not in the fleet"],
"instances":[{"id":"wow-memory-r2-0","state":"running","pid":42,"port":20001,"restarts":1,"live":true,"ready":true,"started_at":"2026-03-01T11:00:00Z"},
{"id":"wow-memory-r2-1","state":"backoff","restarts":2,"reason":"exited with 1"}],
"created_at":"2026-02-01T00:00:00Z","updated_at":"2026-03-01T11:59:30Z","extra":{"note":"kept"}}`

// hostile has what an attacker would write into a name to fool a terminal.
const hostile = `{"id":"evil","name":"Evil","state":"ERRORED","health":"unknown","health_reason":"\u001b[2J\u202egnp.exe","version":"1\u009b31m","runtime":"process",
"failure":{"code":"crash_loop","reason":"Restarts used up","remedy":"Look at the logs","last_logs":["\u001b]0;owned\u0007"]},
"instances":[],"allowed_actions":["start"],"created_at":"2026-02-01T00:00:00Z","updated_at":"2026-02-01T00:00:00Z"}`

func TestAgentsAreListedInEveryForm(t *testing.T) {
	f := newFake(t)
	f.handle("GET /agents", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			fmt.Fprintf(w, `{"items":[%s],"next_cursor":"p2","total":2}`, memory)
			return
		}
		fmt.Fprintf(w, `{"items":[%s],"total":2}`, hostile)
	})
	for _, form := range []string{"table", "json", "yaml", "name"} {
		r := at(t, f).run("agents", "ls", "-o", form)
		r.want(t, 0)
		golden(t, "agents-ls."+form, r.out)
	}
	colour := at(t, f)
	colour.tty = true
	colour.run("agents", "ls").want(t, 0, "\x1b[32mRUNNING\x1b[0m", `1\u009b31m`)
	colour.env["NO_COLOR"] = "1"
	if out := colour.run("agents", "ls").out; strings.Contains(out, "\x1b") {
		t.Errorf("colour in spite of NO_COLOR: %q", out)
	}
}

func TestFiltersReachTheServer(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents", 200, `{"items":[]}`)
	at(t, f).run("agents", "ls", "--state", "RUNNING,ERRORED", "--tier", "4", "-l", "env=prod", "-q", "wow", "--sort", "-tier", "--limit", "5").want(t, 0, "No agents.")
	q := f.requests("GET", "/agents")[0].query
	for _, want := range []string{"state=RUNNING&state=ERRORED", "tier=4", "selector=env%3Dprod", "q=wow", "sort=-tier", "limit=5"} {
		if !strings.Contains(q, want) {
			t.Errorf("no %q in %q", want, q)
		}
	}
	h := f.requests("GET", "/agents")[0].header
	if h.Get("Authorization") != "Bearer ptl_secret" || h.Get("User-Agent") != "portal/1.2.3" {
		t.Errorf("headers: %v", h)
	}
}

func TestAnAgentIsShownInFull(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents/wow-memory", 200, memory)
	f.on("GET /agents/evil", 200, hostile)
	r := at(t, f).run("agents", "get", "wow-memory", "evil")
	r.want(t, 0)
	golden(t, "agents-get.table", r.out)
	at(t, f).run("agents", "get", "wow-memory", "-o", "json").want(t, 0, `"note": "kept"`)
}

// What an operator reads after an edit: that the old revision is still the one that
// runs, and what brings in the new one.
func TestARevisionThatIsNotDeployedIsNotShownAsRunning(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents/edited", 200, `{"id":"edited","name":"edited","state":"RUNNING","revision":4,"deployed_revision":3,"runtime":"docker","image":"shop:2"}`)
	f.on("GET /agents/draft", 200, `{"id":"draft","name":"draft","state":"DRAFT","revision":1,"runtime":"docker","image":"shop:2"}`)
	at(t, f).run("agents", "get", "edited").want(t, 0, "4, but 3 is deployed: portal bulk stop,deploy,start edited deploys 4\n")
	at(t, f).run("agents", "get", "draft").want(t, 0, "1, none is deployed\n")
}

func TestWhatAnInstanceUses(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents/a/resources", 200, `{"agent_id":"a","runtime":"kubernetes","stocks":[],"uses":[{"instance":"a-r1-0","memory":1048576,"cpu_seconds":1.5},{"instance":"a-r1-1","memory":1048576,"cpu_seconds":2,"pids":7}]}`)
	r := at(t, f).run("agents", "resources", "a")
	r.want(t, 0, "1.5 s of CPU\n", "2.0 s of CPU, 7 processes and threads\n")
	if strings.Contains(r.out, "0 processes") {
		t.Errorf("what nobody counted is shown as none: %s", r.out)
	}
}

// Of what nobody can look at nobody says that it is as it was.
func TestDriftIsNotGuessed(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents/a/instances", 200, `{"items":[{"id":"a-r1-0","state":"running"}]}`)
	f.on("GET /agents/a/resources", 200, `{"agent_id":"a","runtime":"kubernetes","stocks":[],"uses":[],"notes":["What it holds on docker is not known: it is away."],"unasked":["docker"]}`)
	at(t, f).run("agents", "drift", "a").want(t, 0, "Nothing was changed")
	f.on("GET /agents/a/resources", 200, `{"agent_id":"a","runtime":"kubernetes","stocks":[],"uses":[],"notes":["What it holds on kubernetes is not known: the API server does not answer."],"unasked":["kubernetes"]}`)
	at(t, f).run("agents", "drift", "a").want(t, 6, "is not known", "the API server does not answer")
}

func TestWhatCantBeAdoptedIsSaid(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents/a/drift/adopt", 200, `{"id":"a","revision":2,"warnings":["env.KEY is not adopted: it is in secrets of the specification"]}`)
	at(t, f).run("agents", "drift", "a", "--adopt").want(t, 0, "its revision 2 now", "Warning: env.KEY is not adopted: it is in secrets")
}

func TestAnAdoptionCanBePlanned(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents/a/drift/adopt", 200, `{"takes":["image"],"leaves":[{"path":"env.KEY","message":"it is in secrets of the specification"}]}`)
	at(t, f).run("agents", "drift", "a", "--adopt", "--plan").want(t, 0, "image", "yes", "env.KEY", "no", "it is in secrets of the specification")
	for _, other := range []string{"--plan", "--adopt"} {
		at(t, f).run("agents", "drift", "a", "--repair", other).want(t, 2, "repair")
	}
}

func TestWhatIsLeftOverIsNotGuessed(t *testing.T) {
	f := newFake(t)
	f.on("GET /api/platform/orphans", 200, `{"items":[],"notes":["What is left over on docker is not known: it is away."]}`)
	at(t, f).run("orphans", "ls").want(t, 0, "Nothing is left over where that is known.", "docker is not known")
}

func TestDetailsOfAnAgent(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents/a/history", 200, `{"items":[{"id":"1","agent_id":"a","state":"RUNNING","previous_state":"DEPLOYED","metadata":{"operation":"op1","reason":"go"},"triggered_by":"token:1","created_at":"2026-03-01T10:00:00Z"}]}`)
	f.on("GET /agents/a/versions", 200, `{"items":[{"agent_id":"a","number":3,"spec":{"name":"A","version":"1.1.0"},"created_by":"token:1","reason":"why","created_at":"2026-03-01T10:00:00Z"}]}`)
	f.on("GET /agents/a/instances", 200, `{"items":[{"id":"a-r3-0","state":"running","pid":7,"port":20000,"live":true,"ready":false,"restarts":2,"started_at":"2026-03-01T11:00:00Z"}]}`)
	f.on("GET /agents/a/health", 200, `{"items":[{"agent_id":"a","instance_id":"a-r3-0","kind":"readiness","ok":false,"reason":"GET /ready: 503","latency_ns":2000000,"at":"2026-03-01T10:00:00Z"}]}`)
	var all strings.Builder
	for _, what := range []string{"history", "versions", "instances", "health"} {
		r := at(t, f).run("agents", what, "a")
		r.want(t, 0)
		all.WriteString("$ " + what + "\n" + r.out)
	}
	golden(t, "agents-details.table", all.String())
	at(t, f).run("agents", "history", "nobody").want(t, 3, "There is nothing at this address")
}

func TestAnAgentIsMadeFromFlagsOrAFile(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents", 201, memory)
	at(t, f).run("agents", "create", "--name", "Hello", "--command", "python3", "--arg", "-m", "--arg", "$(PORT)",
		"--env", "A=b=c", "--label", "team=x", "--replicas", "2", "--cpu", "0.5", "--memory", "64Mi").want(t, 0, "wow-memory created", "Warning: WowEvent is not in the fleet")
	r := f.requests("POST", "/agents")[0]
	golden(t, "create-body.json", r.body+"\n")
	if r.header.Get("Idempotency-Key") == "" {
		t.Error("no Idempotency-Key")
	}
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, []byte("name: FromFile\ntier: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at(t, f).run("agents", "create", "-f", file, "-o", "name").want(t, 0, "wow-memory\n")
	if b := f.requests("POST", "/agents")[1].json(t); b["name"] != "FromFile" || b["tier"] != 2.0 {
		t.Errorf("body: %v", b)
	}
	at(t, f).run("agents", "create", "--name", "there", "--runtime", "kubernetes/eu", "--image", "shop:2").want(t, 0)
	if b := f.requests("POST", "/agents")[2].json(t); b["runtime"] != "kubernetes/eu" || b["image"] != "shop:2" {
		t.Errorf("body: %v", b)
	}
	at(t, f).run("agents", "create").want(t, 2, "--name")
	at(t, f).run("agents", "create", "--name", "x", "-f", file).want(t, 2, "not both")
	at(t, f).run("agents", "create", "--name", "x", "--env", "NOVALUE").want(t, 2, "NAME=VALUE")
	c := at(t, f)
	c.in = "name: one\n---\nname: two\n"
	c.run("agents", "create", "-f", "-").want(t, 2, "holds 2 agents")
}

func TestRemovingAsks(t *testing.T) {
	f := newFake(t)
	f.handle("DELETE /agents/a", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	at(t, f).run("agents", "rm", "a").want(t, 2, "--yes")
	c := at(t, f)
	c.tty, c.in = true, "n\n"
	c.run("agents", "rm", "a").want(t, 1, "Delete a? [y/N]", "Nothing was done")
	c.in = "y\n"
	c.run("agents", "rm", "a").want(t, 0, "a deleted")
	at(t, f).run("agents", "rm", "-y", "a").want(t, 0)
	if n := len(f.requests("DELETE", "/agents/a")); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// editing gives a portal with one agent, and a console whose editor makes the
// changes in turn and notes what it was shown.
func editing(t *testing.T, edits ...func(text string) string) (*fakePortal, *console, *[]string) {
	t.Setenv("TMPDIR", t.TempDir()) // texts that were not taken over are kept
	f := newFake(t)
	f.on("GET /agents/wow-memory", 200, memory)
	c := at(t, f)
	var seen []string
	c.edit = func(path string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		change := edits[min(len(seen), len(edits)-1)]
		seen = append(seen, string(data))
		return os.WriteFile(path, []byte(change(string(data))), 0o600)
	}
	return f, c, &seen
}

// tier changes the tier in the text of a spec.
func tier(to string) func(string) string {
	return func(s string) string {
		s = strings.Replace(s, "tier: 4", "tier: "+to, 1)
		return strings.Replace(s, "tier: 9", "tier: "+to, 1)
	}
}

func TestEditing(t *testing.T) {
	stale := `{"title":"Precondition Failed","status":412,"code":"agent.stale","what":"Somebody else changed the agent first","remedy":"Look at it again"}`
	invalid := `{"title":"Bad Request","status":400,"code":"agent.invalid","what":"The spec is not valid","errors":[{"path":"tier","message":"must be 1 to 6"}]}`
	t.Run("what changed is sent, with the version that was seen", func(t *testing.T) {
		f, c, seen := editing(t, func(s string) string {
			return strings.Replace(tier("5")(s), "  env: prod\n", "", 1) + "description: new\n"
		})
		f.on("PATCH /agents/wow-memory", 200, strings.Replace(memory, `"revision":2`, `"revision":3`, 1))
		c.run("agents", "edit", "wow-memory", "--reason", "because").want(t, 0, "wow-memory changed: revision 3")
		r := f.requests("PATCH", "/agents/wow-memory")[0]
		golden(t, "edit-patch.json", r.body+"\n")
		if r.header.Get("If-Match") != `"7"` || r.query != "reason=because" {
			t.Errorf("If-Match %q, query %q", r.header.Get("If-Match"), r.query)
		}
		golden(t, "edit-text.yaml", (*seen)[0])
	})
	t.Run("no change", func(t *testing.T) {
		f, c, _ := editing(t, func(s string) string { return s })
		c.run("agents", "edit", "wow-memory").want(t, 0, "nothing changed")
		if len(f.requests("PATCH", "")) != 0 {
			t.Error("something was sent")
		}
	})
	t.Run("mistakes are shown in the editor", func(t *testing.T) {
		f, c, seen := editing(t, tier("9"), tier("6"))
		n := 0
		f.handle("PATCH /agents/wow-memory", func(w http.ResponseWriter, _ *http.Request) {
			if n++; n == 1 {
				problem(w, 400, invalid)
				return
			}
			fmt.Fprint(w, memory)
		})
		c.run("agents", "edit", "wow-memory").want(t, 0)
		if len(*seen) != 2 || !strings.Contains((*seen)[1], "#   tier: must be 1 to 6\n") || !strings.Contains((*seen)[1], "tier: 9") {
			t.Errorf("the second text: %v", *seen)
		}
	})
	t.Run("broken YAML is shown in the editor, and can be given up", func(t *testing.T) {
		f, c, seen := editing(t, func(string) string { return "name: [\n" }, func(s string) string { return s })
		c.run("agents", "edit", "wow-memory").want(t, 0, "nothing changed")
		if len(*seen) != 2 || len(f.requests("PATCH", "")) != 0 {
			t.Errorf("texts: %v", *seen)
		}
	})
	t.Run("nothing is overwritten", func(t *testing.T) {
		f, c, _ := editing(t, tier("5"))
		f.handle("PATCH /agents/wow-memory", func(w http.ResponseWriter, _ *http.Request) { problem(w, 412, stale) })
		r := c.run("agents", "edit", "wow-memory")
		r.want(t, 5, "Somebody else changed the agent first", "Your text is in ")
		_, path, _ := strings.Cut(strings.Split(r.err, "\n")[0], "Your text is in ")
		if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), "tier: 5") {
			t.Errorf("kept text: %q, %v", data, err)
		}
	})
	t.Run("the editor fails", func(t *testing.T) {
		_, c, _ := editing(t, nil)
		c.edit = func(string) error { return fmt.Errorf("exit status 1") }
		c.run("agents", "edit", "wow-memory").want(t, 1, "The editor failed", "exit status 1")
	})
}

func TestWaitingForAState(t *testing.T) {
	starting := strings.Replace(memory, `"state":"RUNNING"`, `"state":"DEPLOYED","active_operation":"op1"`, 1)
	f := newFake(t)
	f.on("GET /agents/wow-memory", 200, starting, starting, memory)
	f.on("GET /agents/evil", 200, hostile)
	at(t, f).run("agents", "wait", "wow-memory", "--for", "state=running", "--for", "health=healthy").want(t, 0, "wow-memory is RUNNING and healthy")
	at(t, f).run("agents", "wait", "evil", "--for", "state=RUNNING").want(t, 1, "evil is ERRORED", "Restarts used up", "Look at the logs")
	at(t, f).run("agents", "wait", "wow-memory", "--for", "ready", "--timeout", "60ms").want(t, 6, "still RUNNING and healthy at the time limit")
	at(t, f).run("agents", "wait", "wow-memory").want(t, 2, "--for")
	at(t, f).run("agents", "wait", "wow-memory", "--for", "mood=good").want(t, 2, "not a condition")
	revoked := newFake(t)
	revoked.on("GET /agents/a", 200, `{"id":"a","state":"REVOKED","health":"unknown"}`)
	at(t, revoked).run("agents", "wait", "a", "--for", "health=healthy").want(t, 1, "will not run again")
	at(t, revoked).run("agents", "wait", "a", "--for", "state=REVOKED").want(t, 0)
}

func TestTasks(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents/a/tasks", 202, `{"id":"t1","agent_id":"a","queue":"agent.a.commands"}`)
	at(t, f).run("agents", "task", "a", "--data", `{"type":"store"}`).want(t, 0, "task t1 is in the queue of a")
	c := at(t, f)
	c.in = `[1,2]`
	c.run("agents", "task", "a", "-d", "-", "-o", "name").want(t, 0, "t1\n")
	if got := f.requests("POST", "/tasks"); got[0].body != `{"payload":{"type":"store"}}` || got[1].body != `{"payload":[1,2]}` {
		t.Errorf("bodies: %q %q", got[0].body, got[1].body)
	}
	at(t, f).run("agents", "task", "a", "--data", "{").want(t, 2, "not JSON")
	at(t, f).run("agents", "task", "a", "--data", "@/does/not/exist").want(t, 2, "can't be read")
}

func TestIdsAreCompleted(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents", 200, fmt.Sprintf(`{"items":[%s,%s]}`, memory, hostile))
	at(t, f).run("__complete", "agents", "stop", "wow").want(t, 0, "wow-memory\n:4")
	c := at(t, nil)
	c.env["PORTAL_URL"] = "http://127.0.0.1:1"
	c.run("__complete", "agents", "stop", "").want(t, 0, ":4")
	at(t, nil).run("__complete", "agents", "ls", "--state", "RUN").want(t, 0, "RUNNING")
	at(t, nil).run("completion", "bash").want(t, 0, "__start_portal")
}

func TestCtrlCLeavesTheWorkGoing(t *testing.T) {
	f := newFake(t)
	running := `{"operation":{"id":"op1","kind":"agent.start","agent_id":"a","state":"RUNNING","total":3,"completed":1}}`
	f.on("POST /agents/a/start", 202, running)
	ctx, cancel := context.WithCancel(t.Context())
	f.handle("GET /operations/op1", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"id":"op1","kind":"agent.start","agent_id":"a","state":"RUNNING","total":3,"completed":1,"steps":[{"name":"launch","state":"running","detail":"1 of 2"}]}`)
		cancel()
	})
	r := at(t, f).runIn(ctx, "agents", "start", "a")
	r.want(t, 130, "portal operations get op1", "portal operations cancel op1")
	if len(f.requests("POST", "/cancel")) != 0 {
		t.Error("the operation was cancelled")
	}
}
