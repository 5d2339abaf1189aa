package bus_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/queue/queuetest"
)

// outside is a NATS server that somebody else runs, with room for streams.
func outside(t *testing.T, room int64) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Username: "me", Password: "pw", JetStreamMaxStore: room,
	})
	must(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	u, err := url.Parse(srv.ClientURL())
	must(t, err)
	u.User = url.UserPassword("me", "pw")
	return u.String()
}

const plenty = 1 << 40 // bytes; what is free on this machine's disk is not looked at

// A server without room for what queues may hold says so, and so does the portal.
func TestExternalWithoutRoom(t *testing.T) {
	b, err := bus.New(bus.Config{URL: outside(t, 1<<30)})
	must(t, err)
	err = b.Start(t.Context())
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != "bus.refused" || !strings.Contains(f.Error(), "insufficient storage") || !strings.Contains(f.Error(), "4096 MiB") || strings.Contains(f.Error(), "pw") {
		t.Fatalf("it says %v", err)
	}
	must(t, b.Stop(t.Context()))
}

func TestExternalConforms(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Subject {
		address := outside(t, plenty)
		b := start(t, bus.Config{URL: address, QueueLimit: 20, MaxPayload: 1000})
		if strings.Contains(b.URL(), "pw") || len(b.Report()) == 0 {
			t.Fatal("it gives its credentials away or says nothing:", b.URL(), b.Report())
		}
		return subject(t, b, func(string) jetstream.JetStream {
			nc, err := nats.Connect(address)
			must(t, err)
			t.Cleanup(nc.Close)
			js, err := jetstream.New(nc)
			must(t, err)
			return js
		})
	})
}

func TestExternalOutOfReach(t *testing.T) {
	for address, kind := range map[string]fault.Kind{
		"nats://127.0.0.1:1": fault.Unavailable, "://": fault.Invalid, "nowhere": fault.Invalid,
	} {
		b, err := bus.New(bus.Config{URL: address})
		must(t, err)
		wantKind(t, b.Start(t.Context()), kind)
		must(t, b.Stop(t.Context()))
	}
	if b := start(t, bus.Config{}); b.Report() != nil || b.Disconnect("a b") != 0 {
		t.Fatal("the embedded server has nothing to report")
	}
}
