package bus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/queue"
)

func TestOnlyAgentsWithCredentialsEnter(t *testing.T) {
	door := &doorman{}
	b := start(t, bus.Config{Verify: door.verify})
	must(t, b.Provision(t.Context(), "a"))
	for _, who := range [][2]string{
		{"", ""}, {"a", ""}, {"a", "wrong"}, {"b", "secret of a"}, {"$portal", "guess"}, {"a.b", "secret of a.b"}, {"*", "secret of *"},
	} {
		nc, err := nats.Connect(b.URL(), nats.UserInfo(who[0], who[1]))
		if err == nil {
			nc.Close()
			t.Fatalf("%q entered with %q", who[0], who[1])
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("%q: %v", who[0], err)
		}
	}
	closed := make(chan struct{})
	nc, _ := connect(t, b, "a", nats.MaxReconnects(1), nats.ReconnectWait(time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	other, _ := connect(t, b, "b")
	door.revoke("a")
	if n := b.Disconnect("a"); n != 1 {
		t.Fatalf("%d connections were cut", n)
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("a revoked agent is still connected:", nc.Status())
	}
	if !other.IsConnected() {
		t.Fatal("another agent was cut off")
	}
}

func TestRemoveCutsConnections(t *testing.T) {
	b := start(t, bus.Config{})
	must(t, b.Provision(t.Context(), "a"))
	gone := make(chan struct{}, 1)
	connect(t, b, "a", nats.DisconnectErrHandler(func(*nats.Conn, error) { gone <- struct{}{} }))
	must(t, b.Remove(t.Context(), "a"))
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Fatal("the agent stays connected")
	}
}

func TestAgentUsesItsOwnQueues(t *testing.T) {
	b := start(t, bus.Config{})
	must(t, b.Provision(t.Context(), "a"))
	must(t, b.Publish(t.Context(), "a", "id-1", []byte("work")))
	_, js := connect(t, b, "a")
	msg, ok := take(t, js, "a")
	if !ok || string(msg.Data()) != "work" || msg.Subject() != "agent.a.commands" || msg.Headers().Get(queue.HeaderID) != "id-1" {
		t.Fatalf("took %v, %v", msg, ok)
	}
	must(t, msg.InProgress())
	must(t, msg.DoubleAck(t.Context()))
	for _, subject := range []string{queue.Events("a"), queue.DeadLetters("a")} {
		if _, err := js.Publish(t.Context(), subject, []byte("x")); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
	}
	if s, err := b.Stats(t.Context(), "a"); err != nil || s.Dead != 1 || s.Pending+s.InFlight != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
}

// An agent tries everything that a NATS client can send.
func TestAgentsCannotReachEachOther(t *testing.T) {
	b := start(t, bus.Config{})
	for _, id := range []string{"a", "b"} {
		must(t, b.Provision(t.Context(), id))
		must(t, b.Publish(t.Context(), id, "1", []byte("for "+id)))
	}
	_, bjs := connect(t, b, "b")
	violations := make(chan error, 100)
	nc, js := connect(t, b, "a", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))

	for _, s := range []string{">", "agent.>", "agent.b.commands", "agent.b.events", "dlq.>", "_INBOX.>", "_INBOX_b.>", "$JS.>", "$SYS.>", "COMMANDS_00.>", "_R_.>"} {
		_, err := nc.SubscribeSync(s)
		must(t, err)
		wantViolation(t, nc, violations, s)
	}
	for _, s := range []string{
		"agent.a.commands", "agent.b.commands", "agent.b.events", "dlq.agent.b.commands", "_INBOX_b.x",
		"$JS.API.CONSUMER.MSG.NEXT.COMMANDS.b", "$JS.API.CONSUMER.INFO.COMMANDS.b", "$JS.API.CONSUMER.DELETE.COMMANDS.a",
		"$JS.API.CONSUMER.DURABLE.CREATE.COMMANDS.a", "$JS.API.STREAM.LIST", "$JS.API.STREAM.PURGE.EVENTS",
		"$JS.API.STREAM.MSG.GET.EVENTS", "$JS.API.DIRECT.GET.EVENTS", "$JS.API.INFO", "$SYS.REQ.SERVER.PING", "COMMANDS_00.b",
	} {
		must(t, nc.PublishRequest(s, "_INBOX_a.x", nil))
		wantViolation(t, nc, violations, s)
	}
	for i := range 16 {
		s := "$JS.ACK.COMMANDS_" + string([]byte{'0' + byte(i/10), '0' + byte(i%10)}) + ".b.1.1.1.1.0"
		must(t, nc.Publish(s, []byte("+TERM")))
		wantViolation(t, nc, violations, s)
	}
	// The server does not check where the answer to a request that is allowed goes.
	for _, reply := range []string{"agent.b.commands", "agent.b.events", "dlq.agent.b.commands", "COMMANDS_00.b",
		"$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.DLQ", "_INBOX_b.x"} {
		must(t, nc.PublishRequest(queue.Events("a"), reply, []byte("x")))
		must(t, nc.PublishRequest("$JS.API.CONSUMER.INFO.COMMANDS.a", reply, nil))
		must(t, nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.COMMANDS.a", reply, []byte(`{"batch":1,"no_wait":true}`)))
	}
	if _, err := js.Publish(t.Context(), queue.Events("a"), []byte("last")); err != nil {
		t.Fatal(err)
	}

	msg, ok := take(t, bjs, "b")
	if !ok || string(msg.Data()) != "for b" {
		t.Fatal("b did not get its command")
	}
	must(t, msg.DoubleAck(t.Context()))
	if s, err := b.Stats(t.Context(), "b"); err != nil || s.Pending+s.InFlight+s.Dead != 0 {
		t.Fatalf("b's queues were written to: %+v, %v", s, err)
	}
	if events, err := bus.CountEvents(b, t.Context(), "b"); err != nil || events != 0 {
		t.Fatalf("b has %d events, %v", events, err)
	}
}

func wantViolation(t *testing.T, nc *nats.Conn, violations chan error, subject string) {
	t.Helper()
	must(t, nc.Flush())
	select {
	case err := <-violations:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), subject) {
			t.Fatalf("%s: %v", subject, err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s is allowed", subject)
	}
}
