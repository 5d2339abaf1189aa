package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const stateEvent = `{"id":"%d","event":"agent:state_changed","data":{"agent_id":"a","old_state":"DEPLOYED","new_state":"%s","timestamp":"2026-03-01T11:00:00Z"}}`

func TestEventsAreFollowedOverALostConnection(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var connections atomic.Int32
	f.handle("GET /live/sse", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch connections.Add(1) {
		case 1:
			fmt.Fprint(w, "retry: 2000\n\n: heartbeat\nid: 6\n\n")
			fmt.Fprintf(w, "id: 7\nevent: agent:state_changed\ndata: "+stateEvent+"\n\n", 7, "RUNNING")
		case 2:
			problem(w, 503, `{"status":503,"what":"Not now"}`)
		default:
			if got := r.URL.Query().Get("since"); got != "7" {
				t.Errorf("since %q", got)
			}
			fmt.Fprint(w, "data: {\"event\":\"reset\"}\n\n")
			fmt.Fprint(w, "data: {\"event\":\"instance:changed\",\"data\":{\"agent_id\":\"a\"}}\n\n")
			fmt.Fprintf(w, "id: 8\ndata: "+stateEvent+"\n\n", 8, "STOPPED")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})
	c := at(t, f)
	done := make(chan result, 1)
	c.each = func(text string) {
		if strings.Contains(text, "were missed") {
			cancel()
		}
	}
	go func() { done <- c.runIn(ctx, "events", "-f", "--agent", "a", "--type", "agent:state_changed,reset") }()
	r := <-done
	r.want(t, 130, "2026-03-01 11:00:00  agent:state_changed  a  DEPLOYED → RUNNING", "Connection lost", "Connected again", "were missed")
	if q := f.requests("GET", "/live/sse")[0].query; q != "rooms=agent%3Aa" {
		t.Errorf("query: %s", q)
	}
	if strings.Contains(r.out, "instance:changed") {
		t.Error("a type that was not asked for is shown")
	}
}

func TestFollowingEndsWhereItCanNotWork(t *testing.T) {
	f := newFake(t)
	f.handle("GET /live/sse", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 403, `{"status":403,"what":"You may not follow this room","remedy":"Ask an administrator"}`)
	})
	at(t, f).run("events", "-f").want(t, 4, "You may not follow this room")
	c := at(t, nil)
	c.env["PORTAL_URL"] = "http://127.0.0.1:1"
	c.run("events", "-f").want(t, 6, "does not answer")
}

func TestEventsForScripts(t *testing.T) {
	f := newFake(t)
	for form, want := range map[string]string{
		"json": fmt.Sprintf(stateEvent, 7, "RUNNING") + "\n",
		"name": "7\n",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		f.handle("GET /live/sse", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("since") == "7" {
				cancel()
				return
			}
			fmt.Fprintf(w, "id: 7\ndata: "+stateEvent+"\n\n", 7, "RUNNING")
		})
		if r := at(t, f).runIn(ctx, "events", "-f", "-o", form); r.out != want || r.code != 130 {
			t.Errorf("%s: %d %q, want %q", form, r.code, r.out, want)
		}
		cancel()
	}
}

func TestStoredEventsAreListedOldestFirst(t *testing.T) {
	f := newFake(t)
	f.on("GET /events", 200, `{"items":[
{"seq":9,"type":"operation:changed","agent_id":"a","at":"2026-03-01T11:00:01Z","data":{"operation_id":"op1","state":"SUCCEEDED","completed":2,"total":2,"timestamp":"2026-03-01T11:00:01Z"}},
{"seq":8,"type":"agent:state_changed","agent_id":"a","at":"2026-03-01T11:00:00Z","data":{"agent_id":"a","old_state":"STOPPED","new_state":"RUNNING","reason":"start"}}]}`)
	r := at(t, f).run("events", "--agent", "a", "--limit", "2")
	r.want(t, 0)
	golden(t, "events.table", r.out)
}

func logLine(n int, text string) string {
	quoted, _ := json.Marshal(text)
	return fmt.Sprintf(`{"at":"2026-03-01T11:00:0%dZ","agent_id":"a","instance":"a-r1-0","stream":"stdout","text":%s,"cursor":"c%d"}`, n, quoted, n)
}

func TestLogsAreReadInPagesAndCanNotTouchTheTerminal(t *testing.T) {
	f := newFake(t)
	f.handle("GET /agents/a/logs", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case q.Get("cursor") == "c2":
			fmt.Fprintf(w, `{"items":[%s]}`, logLine(3, "three"))
		case q.Get("since") != "":
			fmt.Fprintf(w, `{"items":[%s,%s],"next_cursor":"c2"}`, logLine(1, "one\twith tab"), logLine(2, "\x1b[31mred\x1b[0m"))
		default:
			fmt.Fprintf(w, `{"items":[%s,{"at":"2026-03-01T11:00:09Z","instance":"a-r1-0","stream":"portal","text":"started","cursor":"c9"}]}`, logLine(1, "tail "+q.Get("tail")))
		}
	})
	r := at(t, f).run("agents", "logs", "a", "--since", "1h")
	if r.want(t, 0); r.out != "one\twith tab\n\\u001b[31mred\\u001b[0m\nthree\n" {
		t.Errorf("%q", r.out)
	}
	at(t, f).run("agents", "logs", "a", "--tail", "7", "-t").want(t, 0, "2026-03-01 11:00:01 a-r1-0 tail 7", "[portal] started")
	at(t, f).run("agents", "logs", "a", "-o", "json").want(t, 0, `{"at":"2026-03-01T11:00:01Z"`)
	at(t, f).run("agents", "logs", "a", "--tail", "0").want(t, 2, "--tail")
	at(t, f).run("agents", "logs", "a", "--since", "yesterday").want(t, 2, "neither a time")
	at(t, f).run("agents", "logs", "b").want(t, 3)
}

func TestLogsAreFollowedOverALostConnection(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.handle("GET /agents/a/logs", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") != "true" {
			t.Errorf("query: %s", r.URL.RawQuery)
		}
		if r.URL.Query().Get("cursor") == "" {
			fmt.Fprintln(w, logLine(1, "one"))
			return
		}
		if r.URL.Query().Get("cursor") != "c1" {
			t.Errorf("query: %s", r.URL.RawQuery)
		}
		fmt.Fprintln(w, logLine(2, "two"))
		_ = http.NewResponseController(w).Flush()
		cancel()
	})
	r := at(t, f).runIn(ctx, "agents", "logs", "-f", "a")
	r.want(t, 130, "one\n", "Connection lost")
	at(t, f).run("agents", "logs", "-f", "b").want(t, 3)
	c := at(t, nil)
	c.env["PORTAL_URL"] = "http://127.0.0.1:1"
	c.run("agents", "logs", "-f", "a").want(t, 6, "does not answer")
}

// Each flag of events narrows what the portal is asked for.
func TestEventsAreNarrowed(t *testing.T) {
	f := newFake(t)
	f.on("GET /events", 200, `{"items":[]}`)
	at(t, f).run("events", "--agent", "a,b", "--type", "agent:*", "--actor", "user:*", "-q", "port 8080", "--until", "2026-03-01T11:00:00Z", "--since", "41").want(t, 0, "No events.")
	q, err := url.ParseQuery(f.requests("GET", "/events")[0].query)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"agent": "a b", "type": "agent:*", "actor": "user:*", "q": "port 8080", "until": "2026-03-01T11:00:00Z", "since": "41"} {
		if got := strings.Join(q[name], " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	at(t, f).run("events", "--until", "2h").want(t, 0)
	q, err = url.ParseQuery(f.requests("GET", "/events")[1].query)
	until, bad := time.Parse(time.RFC3339, q.Get("until"))
	if err != nil || bad != nil || until.After(time.Now()) {
		t.Errorf("an age: %q, %v, %v", q.Get("until"), err, bad)
	}
	for _, flag := range [][]string{{"--actor", "system"}, {"-q", "x"}, {"--until", "2h"}} {
		at(t, f).run(append([]string{"events", "-f"}, flag...)...).want(t, 2, "leave out -f")
	}
	at(t, f).run("events", "--until", "someday").want(t, 2, "someday")
}
