package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/diagnosis/checks"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/live"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/logs/logstest"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/metrics/metricstest"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
	"github.com/waooaw/platform-portal/internal/queue/queuetest"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/tsdb"
	"github.com/waooaw/platform-portal/internal/webhook"
	"github.com/waooaw/platform-portal/internal/webhook/post"
)

// clock is a clock that tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) Forward(d time.Duration) { c.offset.Add(int64(d)) }

// logBuffer is a log that tests read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is a portal without its processes: real services and a real store, and
// a runtime, an engine and queues in memory.
type world struct {
	t       testing.TB
	ctx     context.Context // of the test
	clock   *clock
	store   *store.Store
	auth    *auth.Service
	fleet   *fleet.Service
	runtime *fleettest.Fake
	queues  *queuetest.Fake
	windows *metrics.Windows
	series  *metricstest.Fake
	entries logstest.Memory
	output  logstest.Output
	service *logs.Service
	taking  *logs.Collector
	hub     *live.Hub
	hooks   *webhook.Service
	alerts  *alert.Service
	log     *logBuffer
	cfg     httpapi.Config
	server  *httptest.Server
	secrets map[auth.Role]string
}

func newWorld(t testing.TB, change ...func(*httpapi.Config)) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), clock: &clock{}, store: storetest.New(t), runtime: fleettest.NewFake(), queues: queuetest.NewFake(),
		log: &logBuffer{}, secrets: map[auth.Role]string{}}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.windows = &metrics.Windows{Now: w.clock.Now}
	w.series = &metricstest.Fake{}
	newID := func() string { return uuid.Must(uuid.NewV7()).String() }
	st := w.store
	rec := &audit.Recorder{Store: st.Audit(), Now: w.clock.Now}
	w.auth = &auth.Service{Tokens: st.Tokens(), Links: st.Links(), Users: st.Users(), Sessions: st.Sessions(), Passkeys: st.Passkeys(),
		Flows: st.Flows(), Attempts: st.Attempts(), Key: bytes.Repeat([]byte{7}, 32), Passwords: auth.Argon2{Memory: 64, Time: 1, Threads: 1}, Tx: st, Audit: rec, Events: st.Events(), Now: w.clock.Now, NewID: newID}
	agents := &agent.Service{Store: st.Agents(), History: st.History(), Tx: st, Audit: rec, Events: st.Events(), Now: w.clock.Now, NewID: newID}
	ops := &operation.Service{Store: st.Operations(), Tx: st, Events: st.Events(), Audit: rec, Now: w.clock.Now, NewID: newID, Log: log}
	ops.Engine = operationtest.NewEngine(t, ops)
	w.fleet = &fleet.Service{Agents: st.Agents(), History: st.History(), AgentSvc: agents, Specs: agents, Ops: ops,
		Runtimes: map[string]fleet.Runtime{"process": w.runtime}, Observed: st.Instances(), Broker: w.queues,
		Keys: &auth.Keyring{Key: bytes.Repeat([]byte{7}, 32), Store: st.Credentials(), Tx: st, Audit: rec, Now: w.clock.Now},
		Tx:   st, Audit: rec, Events: st.Events(), Now: w.clock.Now, NewID: newID, Log: log}
	w.fleet.Register()
	bulks := &bulk.Service{Store: st.Bulks(), Agents: st.Agents(), Operations: ops, Tx: st, Events: st.Events(), Audit: rec, Now: w.clock.Now, NewID: newID,
		Actor: bulk.ActFunc(func(ctx context.Context, id string, a agent.Action, o bulk.ActOptions) (*operation.Operation, error) {
			return w.fleet.Act(ctx, id, a, fleet.ActOptions{Reason: o.Reason, ParentID: o.ParentID, OperationID: o.OperationID})
		})}
	bulks.Register()
	reconciler := &fleet.Reconciler{Service: w.fleet, Interval: 20 * time.Millisecond}
	if err := reconciler.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reconciler.Stop(context.Background()) })
	loopback := egress.Policy{AllowLoopback: true}
	w.hooks = &webhook.Service{Store: st.Webhooks(), Attempts: st.Webhooks(), Log: st.Events(), Tx: st, Audit: rec, Key: bytes.Repeat([]byte{7}, 32),
		Sender: post.New(loopback, "1.2.3", time.Now), Secrets: fleet.SecretDir{Dir: t.TempDir()}, Source: "https://portal.example",
		Now: w.clock.Now, NewID: newID, Logger: log, Random: func() float64 { return 0.5 }, CheckURL: func(field, text string) error {
			_, err := loopback.CheckURL(field, text)
			return err
		}}
	w.hub = live.New(live.Config{Log: st.Events(), Logger: log})
	if err := w.hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.hub.Stop(context.Background()) })
	w.taking = &logs.Collector{Source: &w.output, Sink: &w.entries, Cursors: &w.entries, Now: time.Now, Log: log, Every: 5 * time.Millisecond}
	w.service = logs.NewService(&w.entries, w.taking, time.Now)
	diagnostics := &diagnosis.Service{Checks: []diagnosis.Check{checks.Store(st.Diagnoses()), checks.Unavailable("other", "Not here.")}, Agents: st.Agents(), Revisions: st.History(), Observed: st.Instances(),
		Store: st.Diagnoses(), Tx: st, Audit: rec, Events: st.Events(), Now: w.clock.Now, NewID: newID, Log: log}
	w.alerts = newAlerts(w, rec, newID, log)
	w.cfg = httpapi.Config{Agents: agents, AgentStore: st.Agents(), History: st.History(), Fleet: w.fleet, Steward: w.fleet, Compose: composed, Workloads: deployed,
		Operations: ops, Bulks: bulks, Probes: st.Health(), Queues: w.queues, Recorder: rec, Auth: w.auth, Idempotency: st.Idempotency(),
		Tx: st, Live: w.hub,
		Observe: observe.Config{Agents: st.Agents(), Runtimes: []observe.Reporter{w.runtime}, Queues: w.queues, Metrics: w.windows, Series: w.series, Catalog: w.series,
			About: &metrics.Scraper{}, Narrow: tsdb.Narrow, Now: w.clock.Now,
			Logs:   w.service,
			Events: st.Events(), Audit: st.Audit(), Recorder: rec, Errors: w.recovery(agents, ops, rec), Alerts: w.alerts, Components: []observe.Component{{Name: "store", Check: st.Ping, Needed: true}}},
		Registry: prometheus.NewRegistry(), Log: log, Now: w.clock.Now, NewID: newID, Listen: "127.0.0.1:0",
		Recheck: 20 * time.Millisecond, Version: httpapi.Version{Version: "1.2.3"}}
	w.cfg.Observe.Diagnostics = diagnostics
	w.cfg.Observe.SupportBundle = diagnosis.Bundle{Now: w.clock.Now, Secrets: func(context.Context) ([]string, error) { return nil, nil },
		Sections: []diagnosis.Section{{Name: "a.txt", Content: func(context.Context) ([]byte, error) { return []byte("a"), nil }}}}
	w.cfg.Observe.Webhooks, w.cfg.Observe.WebhookReader = w.hooks, st.Webhooks()
	w.cfg.Pages = []door.Page{{Route: door.Route{Method: "POST", Path: "/auth/link/{code}", Public: true, ID: "redeem-link", Hidden: true}, Handler: w.redeemLink}}
	for _, fn := range change {
		fn(&w.cfg)
	}
	w.server = httptest.NewUnstartedServer(nil)
	w.server.Config = httpapi.Server(httpapi.New(w.cfg), log)
	w.server.Start()
	t.Cleanup(w.server.Close)
	ctx := auth.With(t.Context(), auth.System)
	for _, role := range []auth.Role{auth.Viewer, auth.Operator, auth.Admin} {
		secret, _, err := w.auth.CreateToken(ctx, string(role), role, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.secrets[role] = secret
	}
	return w
}

// recovery keeps errors in the world's store.
func (w *world) recovery(agents *agent.Service, ops *operation.Service, rec *audit.Recorder) *recovery.Service {
	st := w.store
	s := &recovery.Service{Store: st.Incidents(), Memory: st.Incidents(), Decided: st.Incidents(), Agents: st.Agents(), History: st.History(),
		Editor: agents, Fleet: w.fleet, Ops: ops, Queues: w.queues, Probes: st.Health(), Tx: st, Audit: rec, Events: st.Events(),
		Now: w.clock.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }}
	s.Register()
	return s
}

// reply is an answer that was read to its end.
type reply struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body.
func (r reply) JSON(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.Body), &m); err != nil {
		t.Fatalf("not a JSON object: %v\n%s", err, r.Body)
	}
	return m
}

// code is the code of a problem, after checking that it is a whole one.
func (r reply) code(t testing.TB) string {
	t.Helper()
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("status %d has content type %q: %s", r.Status, ct, r.Body)
	}
	p := r.JSON(t)
	for _, key := range []string{"type", "title", "status", "detail", "code", "request_id"} {
		if p[key] == nil || p[key] == "" {
			t.Errorf("the problem has no %s: %s", key, r.Body)
		}
	}
	if p["status"] != float64(r.Status) {
		t.Errorf("the problem says status %v in an answer %d", p["status"], r.Status)
	}
	return p["code"].(string)
}

// want fails the test unless the answer has the status.
func (r reply) want(t testing.TB, status int) reply {
	t.Helper()
	if r.Status != status {
		t.Fatalf("status %d, want %d: %s", r.Status, status, r.Body)
	}
	return r
}

// do sends a request. Headers come in pairs; one with an empty value is left out.
func (w *world) do(method, path string, body any, header ...string) reply {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(w.ctx, method, w.server.URL+path, r)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.secrets[auth.Admin])
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	return w.send(req)
}

func (w *world) send(req *http.Request) reply {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return reply{Status: resp.StatusCode, Header: resp.Header, Body: string(b)}
}

// as gives the headers of a role.
func (w *world) as(role auth.Role) []string {
	if role == auth.Nobody {
		return []string{"Authorization", ""}
	}
	return []string{"Authorization", "Bearer " + w.secrets[role]}
}

const api = "/api/platform"

// create makes an agent that sleeps.
func (w *world) create(name string, more ...any) reply {
	w.t.Helper()
	spec := map[string]any{"name": name, "command": "/bin/sleep", "args": []string{"3600"}}
	for i := 0; i+1 < len(more); i += 2 {
		spec[more[i].(string)] = more[i+1]
	}
	return w.do("POST", api+"/agents", spec).want(w.t, http.StatusCreated)
}

// act does an action and waits for its end, which must be a success.
func (w *world) act(id, action string) reply {
	w.t.Helper()
	r := w.do("POST", api+"/agents/"+id+"/"+action+"?wait=30s", nil).want(w.t, http.StatusOK)
	if op := r.JSON(w.t)["operation"].(map[string]any); op["state"] != "SUCCEEDED" {
		w.t.Fatalf("%s ended %v: %s", action, op["state"], r.Body)
	}
	return r
}

// running makes an agent that runs.
func (w *world) running(name string, more ...any) {
	w.t.Helper()
	w.create(name, more...)
	for _, action := range []string{"provision", "deploy", "start"} {
		w.act(name, action)
	}
	w.poll("its instances are seen", func() bool {
		return len(w.do("GET", api+"/agents/"+name, nil).JSON(w.t)["instances"].([]any)) > 0
	})
}

// poll asks until it is true.
func (w *world) poll(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatal("it did not come: " + what)
		}
	}
}

// refusals gives the refused attempts on record, newest first.
func (w *world) refusals() []audit.Entry {
	w.t.Helper()
	list, _, err := w.store.Audit().Find(w.ctx, audit.Query{Outcome: audit.Refused, Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func errorPaths(t testing.TB, r reply) []string {
	t.Helper()
	var out []string
	list, _ := r.JSON(t)["errors"].([]any)
	for _, e := range list {
		out = append(out, fmt.Sprint(e.(map[string]any)["path"]))
	}
	return out
}

type (
	agentState  = agent.State
	agentHealth = agent.Health
)

// composed reads a file whose only service is named after its text.
func composed(_ context.Context, file []byte, runtime string, _, _ map[string]string) (*httpapi.Adopted, error) {
	if len(file) == 0 {
		return nil, fault.New(fault.Invalid, "compose.empty", "The file is empty")
	}
	return &httpapi.Adopted{Docs: []map[string]any{{"name": string(file), "runtime": runtime, "command": "/bin/true"}},
		Notes: []httpapi.AdoptNote{{Path: "services." + string(file), Text: "is a test", Lost: true}}}, nil
}

// deployed reads a namespace whose only workload is named after it.
func deployed(ctx context.Context, runtime, namespace string) (*httpapi.Adopted, error) {
	if runtime != agent.Kubernetes {
		return nil, fault.New(fault.Conflict, "workload.no_cluster", "There is no Kubernetes cluster %s to read from", runtime)
	}
	return composed(ctx, []byte(namespace), "process", nil, nil)
}
