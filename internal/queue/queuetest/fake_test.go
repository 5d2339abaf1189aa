package queuetest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/queue/queuetest"
)

var _ queue.Broker = (*queuetest.Fake)(nil)

func TestFakeConforms(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Subject {
		f := queuetest.NewFake()
		f.Capacity, f.MaxPayload = 20, 1000
		return queuetest.Subject{
			Broker: f, Capacity: 20, MaxPayload: 1000,
			Take: func(_ *testing.T, id string) ([]byte, func(), bool) {
				d, ok := f.Take(id)
				return d.Payload, func() { f.Ack(d) }, ok
			},
		}
	})
}

func TestFakeSettlesDeliveries(t *testing.T) {
	f := queuetest.NewFake()
	now := time.Unix(1000, 0)
	f.Now = func() time.Time { return now }
	if err := f.Provision(t.Context(), "a"); err != nil || !f.Provisioned("a") || f.Provisioned("b") {
		t.Fatal("provisioned wrongly", err)
	}
	if err := f.Publish(t.Context(), "a", "1", nil); err != nil {
		t.Fatal(err)
	}
	d, _ := f.Take("a")
	f.Nak(d)
	d, ok := f.Take("a")
	if !ok {
		t.Fatal("a command given back does not come again")
	}
	f.Kill(d)
	f.Kill(d)
	if s, _ := f.Stats(t.Context(), "a"); s.Dead != 1 || s.InFlight != 0 {
		t.Fatalf("%+v", s)
	}
	now = now.Add(3 * time.Minute)
	if err := f.Publish(t.Context(), "a", "1", nil); err != nil {
		t.Fatal(err)
	}
	if s, _ := f.Stats(t.Context(), "a"); s.Pending != 1 {
		t.Fatalf("an id is still held back after the window: %+v", s)
	}
	down := errors.New("down")
	f.SetFail(down)
	if err := f.Provision(t.Context(), "a"); !errors.Is(err, down) {
		t.Fatal(err)
	}
}
