package cli_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/cli"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
)

func TestManifestsAreSentAsTheyAre(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents/import", 200, `{"items":[{"id":"a","name":"A","change":"created","diff":[]},{"id":"b","name":"B","change":"updated","warnings":["old field"],
"diff":[{"path":"tier","old":2,"new":3},{"path":"labels.x","new":"y"},{"path":"env.A","old":"\u001b[2J"}]},{"id":"c","name":"C","change":"unchanged"}],"warnings":["The dependency Z is not in the fleet."]}`)
	dir := t.TempDir()
	for name, text := range map[string]string{"1.yaml": "name: A\n---\nname: B\ntier: 3\n", "2.json": `{"name":"C"}`, "notes.txt": "no agent", ".hidden.yaml": "x: 1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := at(t, f).run("apply", "-f", dir, "--dry-run")
	r.want(t, 2, "Warning: b: old field", "Warning: The dependency Z is not in the fleet.")
	golden(t, "apply.table", r.out)
	got := f.requests("POST", "/import")[0]
	if got.body != "---\n{\"name\":\"A\"}\n---\n{\"name\":\"B\",\"tier\":3}\n---\n{\"name\":\"C\"}\n" || got.query != "mode=apply&dry_run=true&unknown=refuse" {
		t.Errorf("sent %s %s", got.query, got.body)
	}
	at(t, f).run("apply", "-f", dir).want(t, 0, "Those that run stay as they were; to bring them up to date: portal bulk stop,deploy,start b\n")
	at(t, f).run("import", dir, "--dry-run").want(t, 0)
	at(t, f).run("import", filepath.Join(dir, "1.yaml"), "-o", "name").want(t, 0, "a\nb\nc\n")
	if q := f.requests("POST", "/import")[3].query; q != "mode=create&unknown=keep" {
		t.Errorf("query: %s", q)
	}
	f.on("POST /agents/import", 200, `{"items":[{"id":"c","name":"C","change":"unchanged"}]}`)
	at(t, f).run("apply", "--dry-run", "-f", dir).want(t, 0, "1 unchanged (nothing was changed: dry run)")
}

func TestMistakesInManifestsNameTheFile(t *testing.T) {
	f := newFake(t)
	f.handle("POST /agents/import", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 400, `{"status":400,"code":"agent.invalid","what":"2 fields are not valid","errors":[{"path":"documents[0](A).tier","message":"must be 1 to 6"},{"path":"documents[1].name","message":"is missing"},{"path":"documents[77].x","message":"?"}]}`)
	})
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(file, []byte("name: A\ntier: 99\n---\ntier: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at(t, f).run("apply", "-f", file).want(t, 2, file+" (A).tier: must be 1 to 6", file+":4 .name: is missing")
	if err := os.WriteFile(file, []byte("a: 1\na: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at(t, f).run("apply", "-f", file).want(t, 2, file+": ")
	at(t, f).run("apply").want(t, 2, "-f")
	at(t, f).run("apply", "-f", file, "--unknown", "eat").want(t, 2, "neither keep nor refuse")
	at(t, f).run("apply", "-f", "/does/not/exist").want(t, 2, "can't be read")
	at(t, f).run("import", t.TempDir()).want(t, 2, "There is no agent in")
	c := at(t, f)
	c.in = strings.Repeat("#", 10<<20+1)
	c.run("apply", "-f", "-").want(t, 2, "too large")
}

// A directory may come from anybody, and must not make a file of this machine
// part of what is sent.
func TestManifestsDoNotLeadOutOfTheirDirectory(t *testing.T) {
	f := newFake(t)
	f.on("POST /agents/import", 200, `{"items":[{"id":"a","name":"a","change":"created"}]}`)
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "private.yaml")
	for _, file := range []string{outside, filepath.Join(dir, "real.yaml")} {
		if err := os.WriteFile(file, []byte("name: a\ncommand: /bin/true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "linked.yaml")
	for name, c := range map[string]struct {
		target string
		exit   int
		says   string
	}{
		"within":  {"real.yaml", 0, "created"},
		"out":     {outside, 2, "outside of the directory"},
		"endless": {"/dev/zero", 2, "outside of the directory"},
		"nowhere": {"nowhere", 2, "linked.yaml is not read"},
		"dir":     {".", 2, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.Symlink(c.target, link); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(link)
			at(t, f).run("import", dir).want(t, c.exit, c.says)
		})
	}
	at(t, f).run("import", outside).want(t, 0, "created")
}

func TestAuditLog(t *testing.T) {
	f := newFake(t)
	f.on("GET /audit", 200, `{"items":[{"seq":2,"at":"2026-03-01T11:00:00Z","actor":"token:1","role":"operator","from":"127.0.0.1","action":"agent.start","target":"agent/a","outcome":"refused","reason":"role too low"}]}`)
	r := at(t, f).run("audit", "ls", "--action", "agent.*", "--agent", "a", "--outcome", "refused", "--since", "2026-01-01")
	r.want(t, 0)
	golden(t, "audit.table", r.out)
	q := f.requests("GET", "/audit")[0].query
	for _, want := range []string{"action=agent.%2A", "agent=a", "outcome=refused", "since=2026-01-01T00%3A00%3A00Z"} {
		if !strings.Contains(q, want) {
			t.Errorf("no %q in %q", want, q)
		}
	}
	f.on("GET /audit/export", 200, "{\"seq\":1}\n")
	at(t, f).run("audit", "export").want(t, 0, "{\"seq\":1}\n")
	file := filepath.Join(t.TempDir(), "audit.csv")
	at(t, f).run("audit", "export", "--format", "csv", "--file", file).want(t, 0)
	if data, err := os.ReadFile(file); err != nil || string(data) != "{\"seq\":1}\n" {
		t.Errorf("file: %q %v", data, err)
	}
	at(t, f).run("audit", "export", "--file", "/does/not/exist/x").want(t, 2, "can't be written")
	f.handle("GET /audit/export", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	broken := filepath.Join(t.TempDir(), "audit.jsonl")
	at(t, f).run("audit", "export", "--file", broken).want(t, 6, "is not whole")
	if _, err := os.Stat(broken); err == nil {
		t.Error("a part is there under the name of the whole")
	}
	f.handle("GET /audit/export", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 403, `{"status":403,"what":"Not for you"}`)
	})
	at(t, f).run("audit", "export").want(t, 4, "Not for you")
}

func TestVerifyingTheAuditLog(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	f := newFake(t)
	f.on("GET /audit/verify", 200, `{"ok":true,"entries":5,"seq":5,"hash":"`+hash+`"}`)
	at(t, f).run("audit", "verify").want(t, 0, "intact: 5 entries", "5:"+hash)
	at(t, f).run("audit", "verify", "--anchor", "3:"+hash).want(t, 0)
	if q := f.requests("GET", "/verify")[1].query; q != "seq=3&hash="+hash {
		t.Errorf("query: %s", q)
	}
	at(t, f).run("audit", "verify", "--anchor", "x").want(t, 2, "NUMBER:HASH")
	c := at(t, f)
	c.run("audit", "verify", "--data", "/data").want(t, 2, "built without")
	c.deps.AuditVerify = func(_ context.Context, o cli.ServeOptions, anchors ...audit.Anchor) (audit.Report, error) {
		if o.Flags["data"] != "/data" || len(o.Flags) != 1 || len(anchors) != 0 {
			t.Errorf("options: %v %v", o, anchors)
		}
		return audit.Report{Entries: 3, FirstBad: 4, Problem: "was changed"}, nil
	}
	c.run("audit", "verify", "--data", "/data").want(t, 1, "BROKEN at entry 4: was changed")
	c.run("audit", "verify", "--data", "/data", "-o", "json").want(t, 1, `"first_bad": 4`)
}

func TestTokens(t *testing.T) {
	c := at(t, nil)
	c.deps.TokenCreate = func(_ context.Context, o cli.TokenOptions) (string, error) {
		if o.Name == "taken" {
			return "", fault.New(fault.Conflict, "token.taken", "There is a token of that name")
		}
		return strings.Join([]string{o.Name, o.Role, o.TTL.String(), o.Flags["data"]}, "/"), nil
	}
	if r := c.run("token", "create", "--name", "n", "--role", "viewer", "--ttl", "1h", "--data", "d"); r.out != "n/viewer/1h0m0s/d\n" || r.err != "" || r.code != 0 {
		t.Errorf("%+v", r)
	}
	c.run("token", "create", "--name", "taken", "--role", "viewer").want(t, 5, "There is a token of that name")
	c.run("token", "create", "--name", "n", "--role", "king").want(t, 2, "viewer, operator or admin")
	c.run("token", "create", "--role", "viewer").want(t, 2, "--name")
	c.run("token", "create", "--name", "n", "--role", "viewer", "--ttl", "-1h").want(t, 2, "negative")
	at(t, nil).run("token", "create", "--name", "n", "--role", "viewer").want(t, 2, "built without")

	f := newFake(t)
	f.on("POST /tokens", 201, `{"token":{"id":"t1"},"secret":"ptl_new"}`)
	f.on("GET /tokens", 200, `{"items":[{"id":"t1","name":"ci","role":"operator","created_by":"cli","created_at":"2026-01-01T00:00:00Z","expires_at":"2026-04-01T00:00:00Z"},
{"id":"t2","name":"old","role":"viewer","created_by":"cli","created_at":"2025-01-01T00:00:00Z","expires_at":"2025-04-01T00:00:00Z","last_used_at":"2025-03-01T00:00:00Z"},
{"id":"t3","name":"gone","role":"admin","created_by":"cli","created_at":"2026-01-01T00:00:00Z","revoked_at":"2026-01-02T00:00:00Z"}]}`)
	f.handle("DELETE /tokens/t1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	if r := at(t, f).run("token", "create", "--remote", "--name", "n", "--role", "viewer", "--ttl", "2h"); r.out != "ptl_new\n" || r.code != 0 {
		t.Errorf("%+v", r)
	}
	if b := f.requests("POST", "/tokens")[0].body; b != `{"name":"n","role":"viewer","ttl":"2h0m0s"}` {
		t.Errorf("body: %s", b)
	}
	r := at(t, f).run("token", "ls")
	r.want(t, 0)
	golden(t, "tokens.table", r.out)
	at(t, f).run("token", "revoke", "t1").want(t, 0, "t1 revoked")
	at(t, f).run("token", "revoke", "t9").want(t, 3)
}

func TestLocalCommands(t *testing.T) {
	c := at(t, nil)
	for _, args := range [][]string{{"serve"}, {"config", "check"}, {"doctor"}, {"agent", "run", "blank"}, {"shim"}} {
		c.run(args...).want(t, 2, "built without")
	}
	c.deps.ServeFlags = []cli.Flag{{Name: "listen", Usage: "own text"}, {Name: "secure", Bool: true}}
	c.deps.Serve = func(_ context.Context, o cli.ServeOptions) error {
		if fmt.Sprint(o.Flags) != "map[data:d listen: secure:true]" {
			return fmt.Errorf("flags: %v", o.Flags)
		}
		return nil
	}
	c.run("serve", "--data", "d", "--listen", "", "--secure").want(t, 0)
	c.run("serve", "--nope").want(t, 2, "unknown flag: --nope")
	c.run("serve", "--help").want(t, 0, "own text")
	c.deps.ConfigCheck = func(context.Context, cli.ServeOptions) ([]cli.Setting, error) {
		return []cli.Setting{{Name: "listen", Value: "127.0.0.1:8080", Source: "default"}}, nil
	}
	c.run("config", "check").want(t, 0, "listen   127.0.0.1:8080  default")
	checks := []diagnosis.Finding{{Check: "disk_space", Outcome: diagnosis.Outcome{Status: diagnosis.OK, Evidence: []string{"9 GiB are free", "on /"}}}}
	c.deps.Doctor = func(context.Context, cli.ServeOptions) ([]diagnosis.Finding, error) { return checks, nil }
	c.run("doctor", "--strict").want(t, 0, "ok       disk_space  \n         9 GiB are free\n         on /\n")
	checks = append(checks, diagnosis.Finding{Check: "dns", Outcome: diagnosis.Outcome{Status: diagnosis.Failed, Evidence: []string{"no"}, Meaning: "Gone.", Remedy: "See to it"}})
	c.run("doctor").want(t, 0, "failed   dns         Gone.\n         no\n         Do: See to it")
	c.run("doctor", "--strict").want(t, 1, "failed   dns")
	c.run("doctor", "-o", "xml").want(t, 2, "is not a format")
	c.deps.Templates = []string{"blank", "memory"}
	c.deps.AgentRun = func(_ context.Context, name string) error { return errors.New("ran " + name) }
	c.run("agent", "run", "blank").want(t, 1, "Error: ran blank")
	c.run("agent", "run", "nope").want(t, 3, "Use one of: blank, memory")
	c.deps.Shim = func() int { return 7 }
	c.run("shim", "--any", "flag").want(t, 7)
	c.deps.Shim = func() int { return 0 }
	c.run("shim").want(t, 0)
	c.run("version").want(t, 0, "portal 1.2.3 (abcdef123456, 2026-03-01T00:00:00Z) go1.")
	c.run("version", "-o", "json").want(t, 0, `"commit": "abcdef123456"`)
	c.run().want(t, 0, "Exit codes:")
	c.run("agents").want(t, 2, "portal agents --help")
	c.run("nonsense").want(t, 2, "unknown command")
}

func TestExitCodesTellWhatToDoNext(t *testing.T) {
	f := newFake(t)
	for status, code := range map[int]int{400: 2, 401: 4, 403: 4, 404: 3, 409: 5, 412: 5, 413: 2, 422: 2, 429: 6, 500: 1, 503: 6} {
		f.handle("GET /agents", func(w http.ResponseWriter, _ *http.Request) {
			problem(w, status, fmt.Sprintf(`{"status":%d,"what":"It is %d","why":"so","remedy":"Do that","errors":[{"path":"p","message":"m"}]}`, status, status))
		})
		remedy := "Do that"
		if status == 401 {
			remedy = `Run "portal login", or set PORTAL_TOKEN`
		}
		at(t, f).run("agents", "ls").want(t, code, fmt.Sprintf("Error: It is %d\n  Why: so\n  p: m\n  Do: %s", status, remedy))
	}
	f.handle("GET /agents", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 401, `{"status":401,"title":"Unauthorized","detail":"No token."}`)
	})
	at(t, f).run("agents", "ls").want(t, 4, "Unauthorized", "No token.", "portal token create")
	f.handle("GET /agents", func(w http.ResponseWriter, _ *http.Request) { problem(w, 502, "<html>bad gateway</html>") })
	at(t, f).run("agents", "ls").want(t, 6, "502 Bad Gateway", "a proxy may have answered")
	f.on("GET /agents", 200, "<html>hello</html>")
	at(t, f).run("agents", "ls").want(t, 6, "is not that of a portal")
}

func TestConnectionSettings(t *testing.T) {
	f := newFake(t)
	f.on("GET /agents", 200, `{"items":[]}`)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	last := func() string { all := f.requests("GET", ""); return all[len(all)-1].header.Get("Authorization") }
	at(t, f).run("agents", "ls", "--token-file", file).want(t, 0)
	if last() != "Bearer from-file" {
		t.Errorf("token %q", last())
	}
	c := at(t, nil)
	c.env = map[string]string{"PORTAL_TOKEN_FILE": file}
	c.run("agents", "ls", "--server", f.URL+"/").want(t, 0)
	if last() != "Bearer from-file" {
		t.Errorf("token %q", last())
	}
	c.run("agents", "ls", "--server", "127.0.0.1:8080").want(t, 2, "is not the address of a portal")
	c.run("agents", "ls", "--server", "http://user:pw@x").want(t, 2, "is not the address of a portal")
	c.run("agents", "ls", "--token-file", "/does/not/exist").want(t, 2, "could not be read")
	c.env = map[string]string{"PORTAL_TOKEN": "two words"}
	c.run("agents", "ls").want(t, 2, "The token is not valid")
	c.env = map[string]string{"PORTAL_TOKEN": "x"}
	c.run("agents", "ls", "--server", "http://192.0.2.1:1", "-o", "bad").want(t, 2, "is not a format")
	c.run("agents", "ls", "--server", "http://127.0.0.1:1").want(t, 6, "does not answer", "portal serve")
}

func TestMetricsAreQueried(t *testing.T) {
	f := newFake(t)
	f.on("GET /metrics/query", 200, `{"query":"up","type":"vector","series":[{"labels":{"__name__":"up","agent":"a\u001b[2J"},"points":[{"at":"2026-01-01T00:00:00Z","value":1}]},
{"labels":{},"points":[{"at":"2026-01-01T00:00:00Z","value":"NaN"}]}],"warnings":["only a part"]}`)
	r := at(t, f).run("metrics", "query", "up", "--agent", "a,b")
	r.want(t, 0, `up{agent="a`, "1", "NaN", "Warning: only a part")
	if strings.Contains(r.out, "\x1b[2J") {
		t.Errorf("%q", r.out)
	}
	if q := f.requests("GET", "/metrics/query")[0].query; q != "agent=a&agent=b&query=up" {
		t.Errorf("query: %s", q)
	}
	f.on("GET /metrics/query_range", 200, `{"query":"up","type":"matrix","series":[]}`)
	at(t, f).run("metrics", "query", "up", "--range", "1h", "--step", "1m").want(t, 0, "No series has a value.")
	if q := f.requests("GET", "/metrics/query_range")[0].query; !strings.Contains(q, "step=1m") || !strings.Contains(q, "start=") {
		t.Errorf("query: %s", q)
	}
	f.on("GET /metrics/query", 200, `{"query":"\"x\"","type":"string","series":[],"text":"x"}`)
	at(t, f).run("metrics", "query", `"x"`).want(t, 0, "x\n")
	at(t, f).run("metrics", "query", "up", "--range", "soon").want(t, 2, "--range")
	f = newFake(t)
	f.handle("GET /metrics/query", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 400, `{"status":400,"code":"metrics.expression","what":"The expression can't be evaluated","errors":[{"path":"query","message":"unexpected end"}]}`)
	})
	at(t, f).run("metrics", "query", "sum(").want(t, 2, "unexpected end")
}

func TestWebhookCommands(t *testing.T) {
	f := newFake(t)
	f.on("POST /api/platform/webhooks", 201, `{"id":"w1","name":"ops","secret":"whsec_new"}`)
	f.on("GET /api/platform/webhooks", 200, `{"items":[{"id":"w1","name":"ops","url":"https://a.example/","state":"retrying","types":["agent:*"],"progress":{"cursor":4,"delivered":3,"reason":"it did not answer in time"}}]}`)
	f.on("GET /api/platform/webhooks/ops/deliveries", 200, `{"items":[{"id":"d1","event_type":"agent:created","try":2,"at":"2026-01-01T00:00:00Z","ok":false,"reason":"the receiver answered with status 500","status":500}]}`)
	f.on("POST /api/platform/webhooks/ops/test", 200, `{"id":"d2","ok":true,"status":204}`)
	f.on("POST /api/platform/webhooks/bad/test", 200, `{"id":"d3","ok":false,"reason":"it can't be reached"}`)
	f.handle("DELETE /api/platform/webhooks/ops", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	if r := at(t, f).run("webhooks", "create", "ops", "https://a.example/", "--type", "agent:*", "--agent", "one", "--confidential"); r.out != "whsec_new\n" || r.code != 0 {
		t.Errorf("%+v", r)
	}
	if b := f.requests("POST", "/api/platform/webhooks")[0].body; b != `{"agents":["one"],"confidential":true,"name":"ops","types":["agent:*"],"url":"https://a.example/"}` {
		t.Errorf("body: %s", b)
	}
	for _, c := range []struct{ args, says string }{
		{"webhooks ls", "ops   retrying  agent:*  3"}, {"webhooks deliveries ops", "the receiver answered with status 500"},
	} {
		if r := at(t, f).run(strings.Fields(c.args)...); r.code != 0 || !strings.Contains(r.out, c.says) {
			t.Errorf("%s: %+v", c.args, r)
		}
	}
	at(t, f).run("webhooks", "test", "ops").want(t, 0, "took it with status 204")
	at(t, f).run("webhooks", "test", "bad").want(t, 5, "it can't be reached")
	at(t, f).run("webhooks", "rm", "ops").want(t, 0, "ops removed")
	at(t, f).run("webhooks", "rm", "none").want(t, 3)
}
