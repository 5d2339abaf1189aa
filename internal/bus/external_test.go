package bus_test

import (
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

// outside is a NATS server that somebody else runs.
func outside(t *testing.T) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Username: "me", Password: "pw",
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

func TestExternalConforms(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Subject {
		address := outside(t)
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
