package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/queue"
)

// exhaust pulls like an agent that acknowledges nothing until each command was
// delivered as often as it may be and the server has given up.
func exhaust(t *testing.T, b *bus.Bus, js jetstream.JetStream, id string, deliveries int) {
	t.Helper()
	got := 0
	poll(t, "the server to give up", func() bool {
		if _, ok := take(t, js, id); ok {
			got++
		}
		s, err := b.Stats(t.Context(), id)
		must(t, err)
		return got >= deliveries && s.InFlight == 0
	})
	if got != deliveries {
		t.Fatalf("%d deliveries, want %d", got, deliveries)
	}
}

func impatient(dir string) bus.Config {
	return bus.Config{Dir: dir, AckWait: 50 * time.Millisecond, MaxDeliver: 2, Sweep: 50 * time.Millisecond}
}

func TestDeliveredTooOftenIsADeadLetter(t *testing.T) {
	heard := make(chan queue.DeadLetter, 10)
	refuse := true
	cfg := impatient("")
	cfg.OnDeadLetter = func(_ context.Context, d queue.DeadLetter) error {
		if refuse {
			refuse = false
			return errors.New("the store is busy")
		}
		heard <- d
		return nil
	}
	b := start(t, cfg)
	ctx := t.Context()
	must(t, b.Provision(ctx, "a"))
	before := time.Now()
	must(t, b.Publish(ctx, "a", "poison", []byte("payload")))
	_, js := connect(t, b, "a")
	exhaust(t, b, js, "a", 2)
	poll(t, "dead letter", func() bool {
		s, err := b.Stats(ctx, "a")
		must(t, err)
		return s.Dead == 1 && s.Pending+s.InFlight == 0
	})
	select {
	case d := <-heard:
		if d.AgentID != "a" || d.ID != "poison" || d.Reason != queue.ReasonMaxDeliveries || d.Deliveries != 2 ||
			d.Original == 0 || d.Sequence == 0 || d.Size != 7 || d.Error == "" ||
			d.Published.Before(before.Add(-time.Second)) || d.At.Before(d.Published) {
			t.Fatalf("%+v", d)
		}
	case <-time.After(time.Minute):
		t.Fatal("the portal did not hear of it after the first time failed")
	}
	stream, err := bus.JetStream(b).Stream(ctx, "DLQ")
	must(t, err)
	msg, err := stream.GetLastMsgForSubject(ctx, queue.DeadLetters("a"))
	must(t, err)
	if string(msg.Data) != "payload" || msg.Header.Get(queue.HeaderTime) == "" {
		t.Fatalf("%q %v", msg.Data, msg.Header)
	}
	if _, ok := take(t, js, "a"); ok {
		t.Fatal("it is delivered once more")
	}
}

// The portal is away when the last delivery ends, and the advisory is lost.
func TestMissedDeadLetterIsFound(t *testing.T) {
	dir := t.TempDir()
	quiet := impatient(dir)
	quiet.Sweep = time.Hour
	b := start(t, quiet)
	ctx := t.Context()
	must(t, b.Provision(ctx, "a"))
	must(t, bus.JetStream(b).DeleteStream(ctx, "ADVISORIES"))
	must(t, b.Publish(ctx, "a", "1", []byte("stuck")))
	must(t, b.Publish(ctx, "a", "2", []byte("held")))
	_, js := connect(t, b, "a")
	exhaust(t, b, js, "a", 4)
	must(t, b.Publish(ctx, "a", "3", []byte("fresh")))
	must(t, b.Stop(ctx))

	again := start(t, impatient(dir))
	poll(t, "dead letters", func() bool {
		s, err := again.Stats(ctx, "a")
		must(t, err)
		return s.Dead == 2
	})
	_, js = connect(t, again, "a")
	if msg, ok := take(t, js, "a"); !ok || string(msg.Data()) != "fresh" {
		t.Fatal("a command that waits was taken for a dead one")
	}
}

// A removal that was cut short leaves messages that no one can read.
func TestOrphansAreSweptAway(t *testing.T) {
	b := start(t, impatient(""))
	ctx := t.Context()
	must(t, b.Provision(ctx, "a"))
	must(t, b.Publish(ctx, "a", "1", []byte("x")))
	name := bus.StreamOf(b, "a")
	must(t, bus.JetStream(b).DeleteConsumer(ctx, name, "a"))
	stream, err := bus.JetStream(b).Stream(ctx, name)
	must(t, err)
	poll(t, "purge", func() bool {
		info, err := stream.Info(ctx)
		must(t, err)
		return info.State.Msgs == 0
	})
}

func TestAcknowledgedIsNoDeadLetter(t *testing.T) {
	b := start(t, impatient(""))
	ctx := t.Context()
	must(t, b.Provision(ctx, "a"))
	_, js := connect(t, b, "a")
	for i := range 200 {
		must(t, b.Publish(ctx, "a", time.Now().String()+string(rune('a'+i%26)), []byte("x")))
		poll(t, "the command", func() bool {
			msg, ok := take(t, js, "a")
			if ok {
				must(t, msg.Ack())
			}
			return ok
		})
	}
	poll(t, "all done", func() bool {
		s, err := b.Stats(ctx, "a")
		must(t, err)
		if s.Dead != 0 {
			t.Fatalf("%+v", s)
		}
		return s.Pending+s.InFlight == 0
	})
}
