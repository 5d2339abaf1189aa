package agentkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/waooaw/platform-portal/agentkit"
	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/queue"
)

// depot is the portal's side: the embedded bus with a queue for the agent "a".
type depot struct {
	*bus.Bus
	t    *testing.T
	dead chan queue.DeadLetter
	n    int
}

func openDepot(t *testing.T, cfg bus.Config) *depot {
	t.Helper()
	d := &depot{t: t, dead: make(chan queue.DeadLetter, 100)}
	if cfg.Dir == "" && cfg.URL == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Verify = func(_ context.Context, id, secret string) error {
		if secret != "secret of "+id {
			return errors.New("refused")
		}
		return nil
	}
	cfg.OnDeadLetter = func(_ context.Context, l queue.DeadLetter) error { d.dead <- l; return nil }
	var err error
	if d.Bus, err = bus.New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := d.Provision(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *depot) env() map[string]string {
	return map[string]string{"QUEUE_URL": d.URL(), "QUEUE_USER": "a", "QUEUE_TOKEN": "secret of a"}
}

func (d *depot) publish(body string) {
	d.t.Helper()
	d.n++
	if err := d.Publish(d.t.Context(), "a", "msg-"+strconv.Itoa(d.n), []byte(body)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *depot) stats() queue.Stats {
	d.t.Helper()
	s, err := d.Stats(d.t.Context(), "a")
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *depot) empty() bool { s := d.stats(); return s.Pending == 0 && s.InFlight == 0 }

func (d *depot) deadLetter() queue.DeadLetter {
	d.t.Helper()
	select {
	case l := <-d.dead:
		return l
	case <-time.After(time.Minute):
		d.t.Fatal("no dead letter came")
		return queue.DeadLetter{}
	}
}

func recorder() (map[string]agentkit.Handler, chan agentkit.Task) {
	seen := make(chan agentkit.Task, 100)
	all := map[string]agentkit.Handler{}
	for name, h := range tasks() {
		all[name] = func(ctx context.Context, t agentkit.Task) (any, error) {
			seen <- t
			return h(ctx, t)
		}
	}
	return all, seen
}

func next(t *testing.T, seen chan agentkit.Task) agentkit.Task {
	t.Helper()
	select {
	case task := <-seen:
		return task
	case <-time.After(time.Minute):
		t.Fatal("no task came")
		return agentkit.Task{}
	}
}

func TestTasksFromTheQueue(t *testing.T) {
	d := openDepot(t, bus.Config{})
	all, seen := recorder()
	r := start(t, agentkit.Agent{Tasks: all}, d.env())
	d.publish(`{"type":"double","payload":{"n":4}}`)
	d.publish(`{"id":"mine","type":"double","payload":{"n":5}}`)
	ids := map[string]bool{next(t, seen).ID: true, next(t, seen).ID: true}
	if !ids["msg-1"] || !ids["mine"] {
		t.Fatal("the ids of the tasks are", ids)
	}
	poll(t, "acknowledgement", d.empty)
	r.want("GET", "/health", "", 200, `"queue":"connected"`)

	d.publish(`{"id":"mine","type":"double","payload":{"n":5}}`)
	poll(t, "acknowledgement", d.empty)
	if len(seen) != 0 {
		t.Fatal("a task that was done was done again")
	}
	if d.stats().Dead != 0 {
		t.Fatal("there are dead letters")
	}
}

// The same against a NATS server that is not the portal's, where what agents
// announce can be read directly.
func TestAnnouncementsOnAnotherServer(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40,
		NoSigs: true, NoLog: true, Username: "a", Password: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	address := strings.Replace(srv.ClientURL(), "nats://", "nats://a:pw@", 1)
	d := openDepot(t, bus.Config{URL: address, MaxDeliver: 2})
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync(queue.Events("a"))
	if err != nil {
		t.Fatal(err)
	}
	start(t, agentkit.Agent{Tasks: tasks(), Retry: []time.Duration{time.Millisecond}},
		map[string]string{"QUEUE_URL": d.URL(), "QUEUE_TOKEN": "pw", "AGENT_INSTANCE": "a-7"})
	d.publish(`{"id":"1","type":"double","payload":{"n":5}}`)
	poll(t, "acknowledgement", d.empty)
	d.publish(`{"id":"2","type":"broken"}`)
	for _, want := range []agentkit.Event{
		{Type: "task.done", TaskID: "1", TaskType: "double", Attempt: 1, Result: json.RawMessage("10")},
		{Type: "task.failed", TaskID: "2", TaskType: "broken", Attempt: 1, Error: "no luck"},
		{Type: "task.dead", TaskID: "2", TaskType: "broken", Attempt: 2, Error: "no luck"},
	} {
		msg, err := sub.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var got agentkit.Event
		if err := json.Unmarshal(msg.Data, &got); err != nil || got.At.IsZero() {
			t.Fatal(string(msg.Data), err)
		}
		got.At, want.AgentID, want.Instance = time.Time{}, "a", "a-7"
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("announced %+v, want %+v", got, want)
		}
	}
	if l := d.deadLetter(); l.ID != "2" || l.Deliveries != 2 {
		t.Fatalf("%+v", l)
	}
}

func TestFailuresAreTriedAgainAndThenDead(t *testing.T) {
	d := openDepot(t, bus.Config{MaxDeliver: 3})
	all, seen := recorder()
	start(t, agentkit.Agent{Tasks: all, Retry: []time.Duration{time.Millisecond, 5 * time.Millisecond}}, d.env())
	before := time.Now().Add(-time.Second)
	d.publish(`{"type":"broken","payload":{"x":1}}`)
	for i := 1; i <= 3; i++ {
		if task := next(t, seen); task.Attempt != i {
			t.Fatalf("attempt %d is called %d", i, task.Attempt)
		}
	}
	l := d.deadLetter()
	if l.AgentID != "a" || l.ID != "msg-1" || l.Reason != queue.ReasonMaxDeliveries || l.Error != "no luck" ||
		l.Deliveries != 3 || l.Original == 0 || l.Published.Before(before) || l.Size == 0 {
		t.Fatalf("%+v", l)
	}
	poll(t, "the queue to be empty", d.empty)
	if s := d.stats(); s.Dead != 1 || len(seen) != 0 {
		t.Fatalf("%+v, %d more attempts", s, len(seen))
	}
}

func TestPermanentFailuresAreDeadAtOnce(t *testing.T) {
	d := openDepot(t, bus.Config{})
	start(t, agentkit.Agent{Tasks: tasks()}, d.env())
	for body, text := range map[string]string{
		`{"type":"refused"}`:                     "never",
		`{"type":"unheard"}`:                     "no task of type",
		`not JSON`:                               "JSON",
		`{"type":"double","payload":{"m":"\n"}}`: "unknown field",
	} {
		d.publish(body)
		l := d.deadLetter()
		if l.Reason != queue.ReasonPermanent || !strings.Contains(l.Error, text) || l.Deliveries != 1 || l.Size != len(body) {
			t.Fatalf("%s: %+v", body, l)
		}
	}
	poll(t, "the queue to be empty", d.empty)
}

func TestErrorsOfAnyTextFitIntoADeadLetter(t *testing.T) {
	d := openDepot(t, bus.Config{})
	start(t, agentkit.Agent{Tasks: map[string]agentkit.Handler{"t": func(context.Context, agentkit.Task) (any, error) {
		return nil, agentkit.Permanent(errors.New("line\r\nPortal-Reason: forged\x00" + strings.Repeat("ü", 5000)))
	}}}, d.env())
	d.publish(`{"type":"t"}`)
	l := d.deadLetter()
	if l.Reason != queue.ReasonPermanent || len(l.Error) > 1024 || !strings.HasPrefix(l.Error, "line") || strings.ContainsAny(l.Error, "\r\n\x00") {
		t.Fatalf("%+v", l)
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	d := openDepot(t, bus.Config{})
	var now, most atomic.Int32
	start(t, agentkit.Agent{Concurrency: 2, Tasks: map[string]agentkit.Handler{
		"t": func(context.Context, agentkit.Task) (any, error) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-time.After(5 * time.Millisecond)
			now.Add(-1)
			return nil, nil
		}}}, d.env())
	for range 20 {
		d.publish(`{"type":"t"}`)
	}
	poll(t, "the queue to be empty", d.empty)
	if most.Load() != 2 {
		t.Fatalf("%d tasks ran at a time, want 2", most.Load())
	}
}

func TestLongTasksAreNotDeliveredTwice(t *testing.T) {
	d := openDepot(t, bus.Config{AckWait: 200 * time.Millisecond, MaxDeliver: 2})
	var runs atomic.Int32
	start(t, agentkit.Agent{Tasks: map[string]agentkit.Handler{"t": func(context.Context, agentkit.Task) (any, error) {
		runs.Add(1)
		<-time.After(time.Second) // five times what the queue waits for an acknowledgement
		return nil, nil
	}}}, d.env())
	d.publish(`{"type":"t"}`)
	poll(t, "the task", func() bool { return runs.Load() > 0 })
	poll(t, "the queue to be empty", d.empty)
	if s := d.stats(); runs.Load() != 1 || s.Dead != 0 {
		t.Fatalf("%d runs, %+v", runs.Load(), s)
	}
}

func TestAgentWorksWithoutItsQueueAndFindsItLater(t *testing.T) {
	port := freePort(t)
	dir := t.TempDir()
	all, seen := recorder()
	env := map[string]string{"QUEUE_URL": "nats://127.0.0.1:" + port, "QUEUE_TOKEN": "secret of a"}
	r := start(t, agentkit.Agent{Tasks: all}, env)
	r.want("POST", "/v1/tasks", `{"type":"double","payload":{"n":1}}`, 200)
	r.want("GET", "/health", "", 200, `"queue":"disconnected"`)
	next(t, seen)

	for range 2 { // it comes, goes away, and comes again
		d := openDepot(t, bus.Config{Dir: dir, Listen: "127.0.0.1:" + port})
		d.publish(`{"id":"` + time.Now().String() + `","type":"double","payload":{"n":1}}`)
		next(t, seen)
		poll(t, "acknowledgement", d.empty)
		if err := d.Remove(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := d.Provision(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		d.publish(`{"id":"` + time.Now().String() + `","type":"double","payload":{"n":1}}`)
		next(t, seen)
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		poll(t, "notice", func() bool { _, body := r.call("GET", "/health", ""); return strings.Contains(body, "disconnected") })
	}
}

func TestAgentThatTheQueueRefusesWorksOverHTTP(t *testing.T) {
	d := openDepot(t, bus.Config{})
	env := d.env()
	env["QUEUE_TOKEN"] = "wrong"
	r := start(t, agentkit.Agent{Tasks: tasks()}, env)
	r.want("GET", "/health", "", 200, `"queue":"disconnected"`)
	r.want("POST", "/v1/tasks", `{"type":"double","payload":{"n":1}}`, 200)
	if !strings.Contains(r.log.String(), "queue cannot be reached") || strings.Contains(r.log.String(), "wrong") {
		t.Fatal("the log does not say it, or says too much")
	}
}

func TestLeavingFinishesWhatRuns(t *testing.T) {
	d := openDepot(t, bus.Config{})
	begun, release := make(chan struct{}, 10), make(chan struct{})
	r := start(t, agentkit.Agent{Tasks: map[string]agentkit.Handler{"t": func(context.Context, agentkit.Task) (any, error) {
		begun <- struct{}{}
		<-release
		return "finished", nil
	}}}, d.env())
	d.publish(`{"type":"t"}`)
	<-begun
	var wg sync.WaitGroup
	wg.Go(func() { r.want("POST", "/v1/tasks", `{"type":"t"}`, 200, "finished") })
	<-begun
	r.stop()
	poll(t, "the end of readiness", func() bool { return r.status("/ready") == 503 })
	poll(t, "the end of taking tasks", func() bool {
		code, _ := r.call("POST", "/v1/tasks", `{"type":"t"}`)
		return code == 503
	})
	d.publish(`{"type":"t"}`)
	close(release)
	wg.Wait()
	if err := r.leave(); err != nil {
		t.Fatal(err)
	}
	if s := d.stats(); s.Pending+s.InFlight != 1 || s.Dead != 0 {
		t.Fatalf("what ran is acknowledged and what came later waits: %+v", s)
	}
}

func TestTasksThatOutlastTheGraceGoBack(t *testing.T) {
	d := openDepot(t, bus.Config{})
	all, seen := recorder()
	r := start(t, agentkit.Agent{Tasks: all, Grace: 50 * time.Millisecond}, d.env())
	d.publish(`{"type":"forever"}`)
	next(t, seen)
	if err := r.leave(); err != nil {
		t.Fatal(err)
	}
	other := tasks()
	other["forever"] = func(_ context.Context, t agentkit.Task) (any, error) { seen <- t; return nil, nil }
	start(t, agentkit.Agent{Tasks: other}, d.env())
	if task := next(t, seen); task.Attempt != 2 {
		t.Fatalf("%+v", task)
	}
	poll(t, "the queue to be empty", d.empty)
}

func TestTwoInstancesShareOneQueue(t *testing.T) {
	d := openDepot(t, bus.Config{})
	all, seen := recorder()
	start(t, agentkit.Agent{Tasks: all}, d.env())
	start(t, agentkit.Agent{Tasks: all}, d.env())
	for range 20 {
		d.publish(`{"type":"costly"}`)
	}
	ids := map[string]int{}
	for range 20 {
		ids[next(t, seen).ID]++
	}
	poll(t, "the queue to be empty", d.empty)
	if len(ids) != 20 || len(seen) != 0 {
		t.Fatalf("%d different tasks, %d more", len(ids), len(seen))
	}
}
