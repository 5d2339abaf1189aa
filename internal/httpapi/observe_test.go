package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
)

func items(t testing.TB, r reply) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, it := range r.want(t, 200).JSON(t)["items"].([]any) {
		out = append(out, it.(map[string]any))
	}
	return out
}

func TestActionsAndTheirRecord(t *testing.T) {
	w := newWorld(t)
	w.running("One", "replicas", 2)
	a := w.do("GET", api+"/agents/one", nil).JSON(t)
	if a["state"] != "RUNNING" || len(a["instances"].([]any)) != 2 {
		t.Errorf("agent: %v", a)
	}
	inst := items(t, w.do("GET", api+"/agents/One/instances", nil))
	if len(inst) != 2 || inst[0]["pid"] == nil || inst[0]["port"] == nil || inst[0]["state"] != "running" {
		t.Errorf("instances: %v", inst)
	}
	history := items(t, w.do("GET", api+"/agents/one/history?limit=2", nil))
	if len(history) != 2 || history[0]["state"] != "RUNNING" || history[0]["previous_state"] != "DEPLOYED" {
		t.Errorf("history: %v", history)
	}
	r := w.do("POST", api+"/agents/one/resume", nil).want(t, 409)
	if r.code(t) != "agent.transition_refused" || r.JSON(t)["allowed"] == nil {
		t.Errorf("refused: %s", r.Body)
	}
	w.do("POST", api+"/agents/one/stop?wait=30s", `{"reason":"maintenance"}`).want(t, 200)
	w.do("POST", api+"/agents/one/start", `{"why":"x"}`).want(t, 400)
	w.do("POST", api+"/agents/none/start", nil).want(t, 404)
	impact := w.do("GET", api+"/agents/one/impact?action=revoke", nil).want(t, 200).JSON(t)
	if impact["allowed"] != true {
		t.Errorf("impact: %v", impact)
	}
	w.do("GET", api+"/agents/one/impact", nil).want(t, 400)
	w.do("GET", api+"/agents/one/impact?action=explode", nil).want(t, 400)
}

func TestOperations(t *testing.T) {
	w := newWorld(t)
	w.running("One")
	w.create("Two")
	w.act("two", "provision")
	all := items(t, w.do("GET", api+"/operations", nil))
	if len(all) != 4 {
		t.Fatalf("%d operations", len(all))
	}
	mine := w.do("GET", api+"/operations?agent=TWO", nil)
	if list := items(t, mine); len(list) != 1 || list[0]["kind"] != "agent.provision" || fmt.Sprint(mine.JSON(t)["filtered_by_agent"]) != "[two]" {
		t.Errorf("of one agent: %s", mine.Body)
	}
	if n := len(items(t, w.do("GET", api+"/operations?kind=agent.start&state=succeeded", nil))); n != 1 {
		t.Errorf("%d starts", n)
	}
	w.do("GET", api+"/operations?state=DONE", nil).want(t, 400)
	start := items(t, w.do("GET", api+"/operations?kind=agent.start", nil))[0]
	id := start["id"].(string)
	op := w.do("GET", api+"/operations/"+id, nil).want(t, 200).JSON(t)
	if len(op["steps"].([]any)) == 0 || op["undo"] == nil {
		t.Errorf("operation: %v", op)
	}
	if n := len(items(t, w.do("GET", api+"/operations/"+id+"/attempts", nil))); n == 0 {
		t.Error("no attempts")
	}
	w.do("GET", api+"/operations/none/attempts", nil).want(t, 404)
	w.do("GET", api+"/operations/none?wait=10s", nil).want(t, 404)
	w.do("POST", api+"/operations/"+id+"/pause", nil).want(t, 409).code(t)
	w.do("POST", api+"/operations/"+id+"/undo?wait=30s", nil).want(t, 200)
	if s := w.do("GET", api+"/agents/one", nil).JSON(t)["state"]; s != "STOPPED" {
		t.Errorf("after undo: %v", s)
	}
}

func TestPauseResumeCancel(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	w.act("one", "provision")
	release := w.runtime.Block("Prepare")
	id := w.do("POST", api+"/agents/one/deploy", nil).want(t, 202).JSON(t)["operation"].(map[string]any)["id"].(string)
	w.do("POST", api+"/operations/"+id+"/pause", nil).want(t, 202)
	w.do("POST", api+"/operations/"+id+"/resume", nil).want(t, 202)
	r := w.do("POST", api+"/operations/"+id+"/cancel", nil).want(t, 202)
	if r.Header.Get("Location") != api+"/operations/"+id {
		t.Errorf("Location %q", r.Header.Get("Location"))
	}
	release()
	if s := w.do("GET", api+"/operations/"+id+"?wait=30s", nil).JSON(t)["state"]; s != "CANCELLED" && s != "SUCCEEDED" {
		t.Errorf("state %v", s)
	}
}

func TestBulk(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.create(fmt.Sprint("Agent ", i), "labels", map[string]string{"group": fmt.Sprint(i % 2)})
	}
	r := w.do("POST", api+"/bulk?wait=60s", map[string]any{"actions": []string{"provision", "deploy", "start"}, "selector": "group=0", "max_parallel": 2}).want(t, 200)
	b := r.JSON(t)
	if b["state"] != "SUCCEEDED" || b["succeeded"] != 2.0 || b["operation"].(map[string]any)["id"] != b["id"] || len(b["items"].([]any)) != 2 {
		t.Fatalf("bulk: %s", r.Body)
	}
	id := b["id"].(string)
	if r.Header.Get("Location") != api+"/bulk/"+id {
		t.Errorf("Location %q", r.Header.Get("Location"))
	}
	again := w.do("POST", api+"/bulk", map[string]any{"action": "provision", "agent_ids": []string{"agent-1", "agent-3"}}).want(t, 202).JSON(t)
	if s := w.do("GET", api+"/bulk/"+again["id"].(string)+"?wait=30s", nil).want(t, 200).JSON(t)["state"]; s != "SUCCEEDED" {
		t.Errorf("state %v", s)
	}
	if n := len(items(t, w.do("GET", api+"/bulk", nil))); n != 2 {
		t.Errorf("%d in the list", n)
	}
	w.do("POST", api+"/bulk?wait=30s", map[string]any{"action": "stop", "filter": map[string]any{"state": []string{"RUNNING"}}, "on_failure": "stop"}).want(t, 200)
	csv := w.do("GET", api+"/bulk/"+id+"/report?format=csv", nil).want(t, 200)
	if lines := strings.Split(strings.TrimSpace(csv.Body), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "agent_id,state") || !strings.Contains(csv.Header.Get("Content-Type"), "text/csv") {
		t.Errorf("report: %s", csv.Body)
	}
	if w.do("GET", api+"/bulk/"+id+"/report", nil).want(t, 200).JSON(t)["id"] != id {
		t.Error("the report is about something else")
	}
	w.do("POST", api+"/bulk/"+id+"/cancel", nil).want(t, 409)
	w.do("GET", api+"/bulk/none", nil).want(t, 404)
	for _, body := range []string{
		`{"action":"start"}`, `{"agent_ids":["a"]}`, `{"action":"start","actions":["stop"],"agent_ids":["a"]}`, `{"action":"fly","agent_ids":["a"]}`,
		`{"action":"start","agent_ids":["a"],"selector":"x"}`, `{"action":"start","selector":"=="}`, `{"action":"start","filter":{"state":["UP"]}}`,
		`{"action":"start","agent_ids":["a"],"max_parallel":51}`, `{"action":"start","agent_ids":["a"],"on_failure":"shrug"}`, `{"action":"start","filter":{"colour":1}}`} {
		if r := w.do("POST", api+"/bulk", body); r.Status != 400 {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
}

func TestBulkRollback(t *testing.T) {
	w := newWorld(t)
	w.running("One")
	id := w.do("POST", api+"/bulk?wait=30s", map[string]any{"action": "stop", "agent_ids": []string{"one"}}).want(t, 200).JSON(t)["id"].(string)
	w.do("POST", api+"/bulk/"+id+"/rollback?wait=30s", nil)
	w.poll("the agent runs again", func() bool { return w.do("GET", api+"/agents/one", nil).JSON(t)["state"] == "RUNNING" })
}

func TestTasksAndQueues(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	w.do("POST", api+"/agents/one/tasks", `{"payload":{"say":"hi"}}`).want(t, 404) // no queue yet
	w.act("one", "provision")
	for range 2 { // the id makes it happen once
		r := w.do("POST", api+"/agents/One/tasks", `{"id":"t-1","payload":{"type":"say", "payload":"hi"}}`, w.as(auth.Operator)...).want(t, 202).JSON(t)
		if r["id"] != "t-1" || r["queue"] != "agent.one.commands" {
			t.Errorf("answer %v", r)
		}
	}
	if d, ok := w.queues.Take("one"); !ok || string(d.Payload) != `{"type":"say", "payload":"hi"}` || d.ID != "t-1" {
		t.Errorf("message %+v", d)
	}
	if d, ok := w.queues.Take("one"); ok {
		t.Errorf("a second message %+v", d)
	}
	q := w.do("GET", api+"/queues/ONE", nil).want(t, 200).JSON(t)
	if q["agent_id"] != "one" || q["in_flight"] != 1.0 {
		t.Errorf("queue: %v", q)
	}
	if list := items(t, w.do("GET", api+"/queues?agent=one", nil)); len(list) != 1 {
		t.Errorf("queues: %v", list)
	}
	w.do("GET", api+"/queues/none", nil).want(t, 404)
	w.do("POST", api+"/agents/one/tasks", `{}`).want(t, 400)
	w.queues.SetFail(fault.New(fault.Unavailable, "bus.down", "The message bus does not answer"))
	if r := w.do("GET", api+"/queues", nil).want(t, 503); r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	before := w.do("GET", api+"/audit?action=agent.task", nil).Body
	w.do("POST", api+"/agents/one/tasks", `{"payload":1}`, "Idempotency-Key", "k").want(t, 503)
	if after := w.do("GET", api+"/audit?action=agent.task", nil).Body; after != before {
		t.Error("a task that was not sent is on record as sent")
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	w.create("Two")
	w.act("one", "provision")
	all := items(t, w.do("GET", api+"/events", nil))
	if len(all) < 5 || all[0]["seq"].(float64) <= all[1]["seq"].(float64) {
		t.Errorf("events: %v", all)
	}
	r := w.do("GET", api+"/events?agent=TWO", nil)
	if list := items(t, r); len(list) != 1 || list[0]["type"] != "agent:created" || fmt.Sprint(r.JSON(t)["filtered_by_agent"]) != "[two]" {
		t.Errorf("of one agent: %s", r.Body)
	}
	if list := items(t, w.do("GET", api+"/events?type=agent:state_changed&order=asc", nil)); len(list) != 1 {
		t.Errorf("of one type: %v", list)
	}
	// Paging meets every event once, in both directions.
	for _, order := range []string{"asc", "desc"} {
		seen, cursor := 0, ""
		for {
			page := w.do("GET", api+"/events?limit=2&order="+order+"&cursor="+cursor, nil)
			seen += len(items(t, page))
			next, _ := page.JSON(t)["next_cursor"].(string)
			if next == "" {
				break
			}
			cursor = next
		}
		if seen != len(all) {
			t.Errorf("%s: %d events, want %d", order, seen, len(all))
		}
	}
	if n := len(items(t, w.do("GET", api+"/events?since="+fmt.Sprint(int64(all[1]["seq"].(float64)))+"&order=asc", nil))); n != 1 {
		t.Errorf("%d events since the last but one", n)
	}
	// Sign-ins and tokens are for administrators, as in the audit room.
	if !strings.Contains(w.do("GET", api+"/events", nil).Body, "auth:token_changed") || strings.Contains(w.do("GET", api+"/events", nil, w.as(auth.Operator)...).Body, "auth:") {
		t.Error("who sees events about access is wrong")
	}
	w.do("GET", api+"/events?since=x", nil).want(t, 400)
	w.do("GET", api+"/events?cursor=-3", nil).want(t, 400)
}

func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	w.create("Two")
	w.do("PATCH", api+"/agents/one?reason=because", `{"env":{"KEY":"very-secret-value"}}`).want(t, 200)
	r := w.do("GET", api+"/audit?agent=one", nil)
	list := items(t, r)
	if len(list) != 2 || list[0]["action"] != "agent.update" || list[0]["reason"] != "because" || list[0]["from"] != "127.0.0.1" || fmt.Sprint(r.JSON(t)["filtered_by_agent"]) != "[one]" {
		t.Errorf("audit: %s", r.Body)
	}
	if strings.Contains(w.do("GET", api+"/audit", nil).Body, "very-secret-value") {
		t.Error("a value of the environment is on record")
	}
	if n := len(items(t, w.do("GET", api+"/audit?agent=one&agent=two&action=agent.create", nil))); n != 2 {
		t.Errorf("%d agents were made", n)
	}
	if n := len(items(t, w.do("GET", api+"/audit?action=agent.*&outcome=done", nil))); n != 3 {
		t.Errorf("%d entries about agents", n)
	}
	w.do("GET", api+"/audit?outcome=maybe", nil).want(t, 400)
	csv := w.do("GET", api+"/audit/export?format=csv&action=agent.*", nil).want(t, 200)
	if n := len(strings.Split(strings.TrimSpace(csv.Body), "\n")); n != 4 || !strings.Contains(csv.Header.Get("Content-Disposition"), "audit.csv") {
		t.Errorf("csv: %s", csv.Body)
	}
	lines := strings.Split(strings.TrimSpace(w.do("GET", api+"/audit/export", nil).want(t, 200).Body), "\n")
	var first map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil || first["action"] != "audit.export" {
		t.Errorf("json lines: %s", lines[0])
	}
	v := w.do("GET", api+"/audit/verify", nil).want(t, 200).JSON(t)
	if v["ok"] != true || v["entries"].(float64) < float64(len(lines)) {
		t.Errorf("verify: %v", v)
	}
	ok := w.do("GET", api+fmt.Sprintf("/audit/verify?seq=%.0f&hash=%s", v["seq"], v["hash"]), nil).JSON(t)
	bad := w.do("GET", api+fmt.Sprintf("/audit/verify?seq=%.0f&hash=%s", v["seq"], strings.Repeat("a", 64)), nil).JSON(t)
	if ok["ok"] != true || bad["ok"] != false {
		t.Errorf("with what was noted: %v, %v", ok, bad)
	}
}

func TestProbeHistory(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	if err := w.store.Health().AddResult(t.Context(), health.Result{AgentID: "one", InstanceID: "one-r1-0", Kind: health.Liveness, Reason: "GET /health: 503", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if list := items(t, w.do("GET", api+"/agents/one/health", nil)); len(list) != 1 || list[0]["reason"] != "GET /health: 503" {
		t.Errorf("health: %v", list)
	}
}

func TestPlatformHealth(t *testing.T) {
	var down error
	w := newWorld(t, func(c *httpapi.Config) {
		c.Observe.Components = append(c.Observe.Components, observe.Component{Name: "bus", Check: func(context.Context) error { return down }},
			observe.Component{Name: "engine", Needed: true, Check: func(context.Context) error { return nil }})
	})
	w.runtime.SetChecks(fleet.Check{Name: "memory_limit", OK: true, How: "cgroup v1"})
	w.create("One")
	h := w.do("GET", api+"/health?agent=ONE", nil).want(t, 200).JSON(t)
	if h["status"] != "healthy" || h["agents_by_state"].(map[string]any)["DRAFT"] != 1.0 || len(h["runtimes"].([]any)) != 1 || len(h["components"].([]any)) != 3 || len(h["agents"].([]any)) != 1 {
		t.Errorf("health: %v", h)
	}
	if r := w.do("GET", "/readyz", nil, w.as(auth.Nobody)...).want(t, 200); r.Body != "ready\n" {
		t.Errorf("readyz: %q", r.Body)
	}
	down = errors.New("dial tcp 10.1.2.3: refused by password=x")
	r := w.do("GET", api+"/health", nil).want(t, 200)
	if r.JSON(t)["status"] != "degraded" || strings.Contains(r.Body, "password") {
		t.Errorf("health: %s", r.Body)
	}
	w.do("GET", "/readyz", nil).want(t, 200) // the bus is not needed to serve
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	if r := w.do("GET", "/readyz", nil, w.as(auth.Nobody)...).want(t, 503); r.code(t) != "portal.not_ready" || fmt.Sprint(errorPaths(t, r)) != "[store]" {
		t.Errorf("readyz: %s", r.Body)
	}
	w.do("GET", "/healthz", nil, w.as(auth.Nobody)...).want(t, 200)
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	w.running("One")
	instance := items(t, w.do("GET", api+"/agents/one/instances", nil))[0]["id"].(string)
	for i := range 5 {
		w.runtime.Print("one", instance, "stdout", fmt.Sprint("line ", i))
	}
	texts := func(r reply) string {
		var out []string
		for _, l := range items(t, r) {
			out = append(out, fmt.Sprint(l["text"]))
		}
		return strings.Join(out, ",")
	}
	if got := texts(w.do("GET", api+"/agents/One/logs?tail=2", nil)); got != "line 3,line 4" {
		t.Errorf("tail: %s", got)
	}
	page := w.do("GET", api+"/agents/one/logs?since=2000-01-01T00:00:00Z&limit=2", nil)
	next := w.do("GET", api+"/agents/one/logs?limit=1000&cursor="+page.JSON(t)["next_cursor"].(string), nil)
	if got := texts(page) + "," + texts(next); !strings.HasSuffix(got, "line 0,line 1,line 2,line 3,line 4") {
		t.Errorf("pages: %s", got)
	}
	w.do("GET", api+"/agents/none/logs?follow=1", nil).want(t, 404)
	w.do("GET", api+"/agents/one/logs?tail=0", nil).want(t, 400)

	secret, token, err := w.auth.CreateToken(auth.With(t.Context(), auth.System), "follower", auth.Viewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+api+"/agents/one/logs?follow=true&tail=1", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	read := func() string {
		var l fleet.LogLine
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &l) != nil {
			t.Fatalf("no line: %v", lines.Err())
		}
		return l.Text
	}
	if got := read(); got != "line 4" || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("first %q, %v", got, resp.Header)
	}
	w.runtime.Print("one", instance, "stdout", "fresh")
	if got := read(); got != "fresh" {
		t.Errorf("then %q", got)
	}
	if err := w.auth.RevokeToken(auth.With(t.Context(), auth.System), token.ID); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() { // ends by itself
		t.Errorf("after revoking came %s", lines.Text())
	}
}

func TestDocuments(t *testing.T) {
	w := newWorld(t)
	none := w.as(auth.Nobody)
	doc := w.do("GET", "/openapi.json", nil, none...).want(t, 200).JSON(t)
	if doc["openapi"] != "3.1.0" || doc["paths"].(map[string]any)[api+"/agents/{id}/start"] == nil {
		t.Errorf("document: %v", doc["info"])
	}
	page := w.do("GET", "/docs", nil, none...).want(t, 200)
	for _, want := range []string{"/api/platform/agents/{id}/start", "schema-AgentSpec", "Idempotency-Key"} {
		if !strings.Contains(page.Body, want) {
			t.Errorf("the page says nothing of %s", want)
		}
	}
	for _, bad := range []string{"<script", "style=", "https://", "http://", "javascript:"} {
		if strings.Contains(page.Body, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if h := w.do("GET", "/docs/style.css", nil, none...).want(t, 200).Header.Get("Content-Type"); !strings.HasPrefix(h, "text/css") {
		t.Errorf("style sheet: %s", h)
	}
	if v := w.do("GET", "/version", nil, none...).want(t, 200).JSON(t)["version"]; v != "1.2.3" {
		t.Errorf("version %v", v)
	}
}

func TestOwnMetricsAndAccessLog(t *testing.T) {
	w := newWorld(t)
	w.do("GET", api+"/agents/some-agent-name?", nil)
	w.do("BREW", "/coffee/secret-pot", nil)
	w.do("GET", "/metrics", nil, w.as(auth.Nobody)...).want(t, 401)
	m := w.do("GET", "/metrics", nil, w.as(auth.Viewer)...).want(t, 200).Body
	if !strings.Contains(m, `portal_http_requests_total{method="GET",route="/api/platform/agents/{id}",status="404"} 1`) ||
		!strings.Contains(m, `method="other",route="none"`) || strings.Contains(m, "some-agent-name") || strings.Contains(m, "secret-pot") {
		t.Errorf("metrics:\n%s", m)
	}
	w.do("GET", api+"/agents?q=private-search", nil)
	w.poll("the access log", func() bool { return strings.Contains(w.log.String(), "path="+api+"/agents ") })
	for _, secret := range []string{"private-search", w.secrets[auth.Admin], w.secrets[auth.Viewer]} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
}

func TestLiveThroughTheAPI(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/live?rooms=agents", "/live/sse?rooms=audit", "/live/sse?rooms=kitchen", "/live/sse"} {
		r := w.do("GET", api+path, nil, w.as(auth.Viewer)...)
		if r.Status != 400 && r.Status != 403 {
			t.Errorf("%s: %d", path, r.Status)
		}
		r.code(t)
	}
	address := "ws" + strings.TrimPrefix(w.server.URL, "http") + api + "/live?rooms=agents"
	dial := func(header http.Header) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(t.Context(), address, &websocket.DialOptions{HTTPHeader: header})
	}
	cookie := w.signIn(auth.Viewer)
	_, resp, err := dial(http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}, "Origin": {"https://evil.example"}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page may listen: %v", err)
	}
	conn, _, err := dial(http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}, "Origin": {w.server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	w.create("One")
	for {
		_, data, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), `"event":"agent:created"`) && strings.Contains(string(data), `"agent_id":"one"`) {
			break
		}
	}
}
