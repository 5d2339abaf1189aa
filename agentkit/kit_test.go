package agentkit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

// running is an agent that runs in the test's process.
type running struct {
	t    *testing.T
	url  string
	env  map[string]string
	log  *logBuffer
	stop context.CancelFunc
	done chan error
}

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

func anyPort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), l.Close()
}

func freePort(t testing.TB) string {
	t.Helper()
	port, err := anyPort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// launch starts an agent and does not wait for its readiness.
func launch(t *testing.T, agent agentkit.Agent, env map[string]string) *running {
	t.Helper()
	r := &running{t: t, env: map[string]string{"PORT": freePort(t), "AGENT_ID": "a"}, log: &logBuffer{}, done: make(chan error, 1)}
	maps.Copy(r.env, env)
	r.url = "http://127.0.0.1:" + r.env["PORT"]
	agent.Getenv = func(name string) string { return r.env[name] }
	agent.Output = r.log
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- agentkit.Run(ctx, agent) }()
	t.Cleanup(func() {
		r.leave()
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func start(t *testing.T, agent agentkit.Agent, env map[string]string) *running {
	t.Helper()
	r := launch(t, agent, env)
	poll(t, "readiness", func() bool { return r.status("/ready") == 200 })
	return r
}

// leave stops the agent and gives what Run returned.
func (r *running) leave() error {
	r.stop()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(time.Minute):
		r.t.Error("the agent does not end")
		return nil
	}
}

func (r *running) call(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(data)
}

func (r *running) status(path string) int {
	code, _ := r.call("GET", path, "")
	return code
}

// want calls and checks the status and that the answer holds all texts.
func (r *running) want(method, path, body string, code int, texts ...string) {
	r.t.Helper()
	got, answer := r.call(method, path, body)
	if got != code {
		r.t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, got, code, answer)
	}
	for _, text := range texts {
		if !strings.Contains(answer, text) {
			r.t.Fatalf("%s %s %s: no %s in %s", method, path, body, text, answer)
		}
	}
}

// poll waits until ok, at most ten seconds.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: " + what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func tasks() map[string]agentkit.Handler {
	return map[string]agentkit.Handler{
		"double": func(_ context.Context, t agentkit.Task) (any, error) {
			var in struct{ N int }
			if err := t.Decode(&in); err != nil {
				return nil, err
			}
			return in.N * 2, nil
		},
		"broken":  func(context.Context, agentkit.Task) (any, error) { return nil, errors.New("no luck") },
		"refused": func(context.Context, agentkit.Task) (any, error) { return nil, agentkit.Permanent(errors.New("never")) },
		"panic":   func(context.Context, agentkit.Task) (any, error) { panic("at the disco") },
		"channel": func(context.Context, agentkit.Task) (any, error) { return make(chan int), nil },
		"forever": func(ctx context.Context, _ agentkit.Task) (any, error) { <-ctx.Done(); return nil, ctx.Err() },
		"costly": func(ctx context.Context, t agentkit.Task) (any, error) {
			agentkit.Logger(ctx).Info("spending")
			agentkit.Tokens("input", 7)
			agentkit.Tokens("input", -1)
			agentkit.Tokens("Not A Kind", 7)
			agentkit.Cost(0.25)
			agentkit.Cost(-1)
			return t.Attempt, nil
		},
	}
}

func TestTasksOverHTTP(t *testing.T) {
	r := start(t, agentkit.Agent{Tasks: tasks(), MaxBody: 1000, TaskTimeout: 100 * time.Millisecond}, nil)
	for body, want := range map[string]struct {
		code int
		text string
	}{
		`{"id":"x","type":"double","payload":{"n":21}}`: {200, `{"id":"x","status":"done","result":42}`},
		`{"type":"double","payload":{"n":21}}`:          {200, `"result":42`},
		`{"type":"double","payload":{"m":21}}`:          {422, "unknown field"},
		`{"type":"double"}`:                             {422, "no payload"},
		`{"type":"broken"}`:                             {500, `"error":"no luck"`},
		`{"type":"refused"}`:                            {422, `"error":"never","permanent":true`},
		`{"type":"panic"}`:                              {500, "at the disco"},
		`{"type":"channel"}`:                            {422, "chan int"},
		`{"type":"forever"}`:                            {500, "deadline"},
		`{"type":"unheard"}`:                            {422, "broken, channel, costly"},
		`{}`:                                            {400, "type"},
		`{"type":"double","colour":1}`:                  {400, "colour"},
		`{"type":"double"} {}`:                          {400, "more after"},
		`nonsense`:                                      {400, "JSON"},
		``:                                              {400, "JSON"},
		`{"type":"` + strings.Repeat("x", 1000) + `"}`:              {413, "1000 bytes"},
		`{"id":"` + strings.Repeat("x", 300) + `","type":"double"}`: {400, "id"},
	} {
		r.want("POST", "/v1/tasks", body, want.code, want.text)
	}
	if r.status("/v1/tasks") != 405 || r.status("/elsewhere") != 404 {
		t.Fatal("wrong methods and paths are served")
	}
	if log := r.log.String(); !strings.Contains(log, "kit_test.go") || !strings.Contains(log, `"task_type":"panic"`) {
		t.Fatal("the log does not say where it panicked")
	}
}

func TestTaskIDIsDoneOnce(t *testing.T) {
	var mu sync.Mutex
	runs := map[string]int{}
	begun, release := make(chan struct{}, 10), make(chan struct{})
	count := func(fail bool) agentkit.Handler {
		return func(_ context.Context, t agentkit.Task) (any, error) {
			begun <- struct{}{}
			<-release
			mu.Lock()
			defer mu.Unlock()
			runs[t.ID]++
			if fail {
				return nil, errors.New("no")
			}
			return runs[t.ID], nil
		}
	}
	r := start(t, agentkit.Agent{Tasks: map[string]agentkit.Handler{"good": count(false), "bad": count(true)}}, nil)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { r.want("POST", "/v1/tasks", `{"id":"1","type":"good"}`, 200, `"result":1`) })
	}
	<-begun
	close(release)
	wg.Wait()
	r.want("POST", "/v1/tasks", `{"id":"1","type":"good"}`, 200, `"result":1`)
	r.want("POST", "/v1/tasks", `{"id":"2","type":"bad"}`, 500)
	r.want("POST", "/v1/tasks", `{"id":"2","type":"bad"}`, 500)
	if mu.Lock(); runs["1"] != 1 || runs["2"] != 2 {
		t.Fatalf("ran %v; what failed has to run again, what is done not", runs)
	}
	mu.Unlock()
}

func TestBusyAgentRefusesInTheEnd(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := start(t, agentkit.Agent{Concurrency: 1, Tasks: map[string]agentkit.Handler{
		"hold": func(ctx context.Context, _ agentkit.Task) (any, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		},
	}}, nil)
	go r.call("POST", "/v1/tasks", `{"id":"1","type":"hold"}`)
	poll(t, "the task", func() bool {
		_, body := r.call("GET", "/health", "")
		return strings.Contains(body, `"tasks_running":1`)
	})
	for _, id := range []string{"1", "2"} { // the same one, and one more
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		req, err := http.NewRequestWithContext(ctx, "POST", r.url+"/v1/tasks", strings.NewReader(`{"id":"`+id+`","type":"hold"}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("the second task ran beside the first", err)
		}
		cancel()
	}
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	var refuse error
	began, go_ := make(chan struct{}), make(chan struct{})
	stopped := false
	r := launch(t, agentkit.Agent{
		Tasks: tasks(),
		Start: func(context.Context) error { close(began); <-go_; return nil },
		Stop:  func(context.Context) error { stopped = true; return nil },
		Ready: func(context.Context) error { return refuse },
		Mount: func(mux *http.ServeMux) {
			mux.HandleFunc("GET /mine", func(w http.ResponseWriter, _ *http.Request) { agentkit.Respond(w, 200, "own") })
			mux.HandleFunc("GET /bad", func(w http.ResponseWriter, _ *http.Request) { agentkit.Respond(w, 200, make(chan int)) })
		},
	}, map[string]string{"AGENT_NAME": "Ann", "AGENT_VERSION": "1.2.3", "AGENT_INSTANCE": "a-1"})
	<-began
	poll(t, "health", func() bool { return r.status("/health") == 200 })
	r.want("GET", "/ready", "", 503, "starting")
	r.want("POST", "/v1/tasks", `{"type":"costly"}`, 503, "not ready")
	r.want("GET", "/mine", "", 503, "not ready")
	close(go_)
	poll(t, "readiness", func() bool { return r.status("/ready") == 200 })
	r.want("GET", "/health", "", 200, `"status":"ok"`, `"agent_id":"a"`, `"name":"Ann"`, `"version":"1.2.3"`, `"instance":"a-1"`, `"queue":"off"`)
	r.want("GET", "/mine", "", 200, `"own"`)
	r.want("GET", "/bad", "", 500, "cannot be written")
	r.want("GET", "/unknown", "", 404)
	r.want("POST", "/v1/tasks", `{"type":"costly"}`, 200, `"result":1`)
	r.want("GET", "/metrics", "", 200, `agent_tasks_total{status="done"}`, `agent_tasks_total{status="failed"}`,
		"agent_task_duration_seconds_bucket", `agent_tokens_total{kind="input"} 7`, "agent_cost_usd_total 0.25", "process_resident_memory_bytes")
	if _, body := r.call("GET", "/metrics", ""); strings.Contains(body, "Not A Kind") {
		t.Fatal("anything can become a label")
	}
	if !strings.Contains(r.log.String(), "spending") {
		t.Fatal("what a handler logs is lost")
	}
	refuse = errors.New("the model is away")
	r.want("GET", "/ready", "", 503, "the model is away")
	if err := r.leave(); err != nil || !stopped {
		t.Fatal("left badly:", err, stopped)
	}
	for line := range strings.Lines(r.log.String()) {
		var entry struct{ Time, Level, Msg, Agent_ID, Instance string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg == "" || entry.Agent_ID != "a" || entry.Instance != "a-1" {
			t.Fatalf("this is no line of the log: %s", line)
		}
	}
}

func TestPagesOfOtherOriginsCannotGiveTasks(t *testing.T) {
	r := start(t, agentkit.Agent{Tasks: tasks()}, nil)
	req, err := http.NewRequest("POST", r.url+"/v1/tasks", strings.NewReader(`{"type":"costly"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Fatal("a page in a browser gave a task:", res.Status)
	}
}

func TestEnvironmentThatIsWrong(t *testing.T) {
	for _, c := range []struct {
		env   map[string]string
		texts []string
	}{
		{map[string]string{}, []string{"PORT is not set", "PORT=8080"}},
		{map[string]string{"PORT": "http"}, []string{`PORT is "http"`}},
		{map[string]string{"PORT": "70000", "LOG_LEVEL": "loud"}, []string{"70000", `LOG_LEVEL is "loud"`}},
		{map[string]string{"PORT": "1", "AGENT_HOST": "everywhere"}, []string{`AGENT_HOST is "everywhere"`}},
		{map[string]string{"PORT": "1", "QUEUE_URL": "nats://127.0.0.1:1", "AGENT_ID": "a.b"}, []string{`AGENT_ID is "a.b"`}},
		{map[string]string{"PORT": freePort(t), "QUEUE_URL": "nats://127.0.0.1:x", "AGENT_ID": "a"}, []string{"QUEUE_URL"}},
	} {
		err := agentkit.Run(t.Context(), agentkit.Agent{Getenv: func(k string) string { return c.env[k] }, Output: io.Discard})
		if err == nil {
			t.Fatalf("%v was accepted", c.env)
		}
		for _, text := range c.texts {
			if !strings.Contains(err.Error(), text) {
				t.Fatalf("%v: no %q in %v", c.env, text, err)
			}
		}
	}
	env, err := agentkit.ReadEnv(func(k string) string {
		return map[string]string{"PORT": "8080", "LOG_LEVEL": "WARNING", "AGENT_DID": "did:x"}[k]
	})
	if err != nil || env.Port != 8080 || env.LogLevel.String() != "WARN" || env.DID != "did:x" {
		t.Fatal(env, err)
	}
}

func TestAgentThatCannotStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	getenv := func(port string) func(string) string {
		return func(k string) string { return map[string]string{"PORT": port}[k] }
	}
	err = agentkit.Run(t.Context(), agentkit.Agent{Getenv: getenv(port), Output: io.Discard})
	if err == nil || !strings.Contains(err.Error(), port) {
		t.Fatal("a port that is taken:", err)
	}
	no := errors.New("no model")
	err = agentkit.Run(t.Context(), agentkit.Agent{
		Getenv: getenv(freePort(t)), Output: io.Discard,
		Start: func(context.Context) error { return no },
		Stop:  func(context.Context) error { t.Error("what was not started is stopped"); return nil },
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	if agentkit.Permanent(nil) != nil || agentkit.IsPermanent(no) || !agentkit.IsPermanent(fmt.Errorf("x: %w", agentkit.Permanent(no))) || !errors.Is(agentkit.Permanent(no), no) {
		t.Fatal("permanent errors are not told from others")
	}
	if agentkit.Logger(context.Background()) == nil {
		t.Fatal("no log outside of an agent")
	}
}

func FuzzTaskBody(f *testing.F) {
	for _, seed := range []string{`{"type":"double","payload":{"n":1}}`, `{"type":"broken"}`, `[]`, `{"type":1}`, `{"id":"\u0000","type":"panic"}`, `{"payload":[[[[`} {
		f.Add([]byte(seed))
	}
	port := freePort(f)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- agentkit.Run(ctx, agentkit.Agent{Tasks: map[string]agentkit.Handler{"double": tasks()["double"], "broken": tasks()["broken"]},
			Output: io.Discard, Getenv: func(k string) string { return map[string]string{"PORT": port}[k] }})
	}()
	f.Cleanup(func() { cancel(); <-done })
	url := "http://127.0.0.1:" + port + "/v1/tasks"
	for {
		if res, err := http.Get("http://127.0.0.1:" + port + "/ready"); err == nil {
			res.Body.Close()
			if res.StatusCode == 200 {
				break
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		res, err := http.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			t.Fatalf("%d, and no JSON: %v", res.StatusCode, err)
		}
		switch {
		case res.StatusCode == 200 && answer["status"] == "done":
		case (res.StatusCode == 422 || res.StatusCode == 500) && answer["status"] == "failed":
		case res.StatusCode == 400 && answer["error"] != "":
		default:
			t.Fatalf("%d %v", res.StatusCode, answer)
		}
	})
}
