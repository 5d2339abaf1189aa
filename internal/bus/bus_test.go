package bus_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/queue/queuetest"
)

// doorman knows one secret for each agent, "secret of <id>", until it is revoked.
type doorman struct {
	mu      sync.Mutex
	revoked map[string]bool
}

func (d *doorman) verify(_ context.Context, id, secret string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.revoked[id] || secret != "secret of "+id {
		return errors.New("refused")
	}
	return nil
}

func (d *doorman) revoke(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revoked = map[string]bool{id: true}
}

func start(t *testing.T, cfg bus.Config) *bus.Bus {
	t.Helper()
	if cfg.Dir == "" && cfg.URL == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Verify == nil {
		cfg.Verify = (&doorman{}).verify
	}
	b, err := bus.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// connect is an agent's connection.
func connect(t *testing.T, b *bus.Bus, id string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	opts = append([]nats.Option{
		nats.UserInfo(id, "secret of "+id), nats.CustomInboxPrefix("_INBOX_" + id),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)
	nc, err := nats.Connect(b.URL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// take gives the next command, or false if none comes within a moment: what
// was published reaches the consumer a little later.
func take(t *testing.T, js jetstream.JetStream, id string) (jetstream.Msg, bool) {
	t.Helper()
	c, err := js.Consumer(t.Context(), "COMMANDS", id)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(1, jetstream.FetchMaxWait(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	msg, ok := <-batch.Messages()
	return msg, ok
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Fatalf("got a fault of kind %q, want %q (%v)", got, kind, err)
	}
}

// poll waits until ok, at most a minute.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: " + what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func subject(t *testing.T, b *bus.Bus, dial func(id string) jetstream.JetStream) queuetest.Subject {
	conns := map[string]jetstream.JetStream{}
	return queuetest.Subject{
		Broker: b, Capacity: 20, MaxPayload: 1000,
		Take: func(t *testing.T, id string) ([]byte, func(), bool) {
			if conns[id] == nil {
				conns[id] = dial(id)
			}
			msg, ok := take(t, conns[id], id)
			if !ok {
				return nil, nil, false
			}
			return msg.Data(), func() { must(t, msg.Ack()) }, true
		},
	}
}

func TestEmbeddedConforms(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Subject {
		b := start(t, bus.Config{QueueLimit: 20, MaxPayload: 1000})
		return subject(t, b, func(id string) jetstream.JetStream {
			_, js := connect(t, b, id)
			return js
		})
	})
}

func TestServiceContract(t *testing.T) {
	if _, err := bus.New(bus.Config{}); fault.KindOf(err) != fault.Invalid {
		t.Fatal("a bus without a place was accepted", err)
	}
	if _, err := bus.New(bus.Config{Dir: "x", MaxPayload: 1 << 30}); fault.KindOf(err) != fault.Invalid {
		t.Fatal("a limit that the server cannot keep was accepted", err)
	}
	dir := filepath.Join(t.TempDir(), "nats")
	b, err := bus.New(bus.Config{Dir: dir})
	must(t, err)
	must(t, b.Stop(t.Context()))
	wantKind(t, b.Publish(t.Context(), "a", "1", nil), fault.Unavailable)
	if b.URL() != "" || b.Disconnect("a") != 0 || b.Name() != "bus" {
		t.Fatal("it pretends to run")
	}
	must(t, b.Start(t.Context()))
	if err := b.Start(t.Context()); err == nil {
		t.Fatal("a second start was accepted")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatal("others can look into the folder", info.Mode(), err)
	}
	must(t, b.Stop(t.Context()))
	must(t, b.Stop(t.Context()))
	wantKind(t, b.Provision(t.Context(), "a"), fault.Unavailable)
}

func TestAddressStaysOverRestarts(t *testing.T) {
	dir := t.TempDir()
	b := start(t, bus.Config{Dir: dir})
	url := b.URL()
	if !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Fatal("agents would connect to", url)
	}
	must(t, b.Provision(t.Context(), "a"))
	must(t, b.Publish(t.Context(), "a", "1", []byte("kept")))
	reconnected := make(chan struct{}, 1)
	nc, _ := connect(t, b, "a", nats.ReconnectWait(20*time.Millisecond), nats.MaxReconnects(-1),
		nats.ReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} }))
	must(t, b.Stop(t.Context()))

	again := start(t, bus.Config{Dir: dir})
	if again.URL() != url {
		t.Fatalf("the address changed from %s to %s", url, again.URL())
	}
	select {
	case <-reconnected:
	case <-time.After(time.Minute):
		t.Fatal("an agent that runs did not come back:", nc.Status())
	}
	if s, err := again.Stats(t.Context(), "a"); err != nil || s.Pending != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	must(t, again.Stop(t.Context()))

	port := url[strings.LastIndex(url, ":")+1:]
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	must(t, err)
	defer l.Close()
	taken, err := bus.New(bus.Config{Dir: dir})
	must(t, err)
	err = taken.Start(t.Context())
	wantKind(t, err, fault.Conflict)
	if !strings.Contains(err.Error(), port) {
		t.Fatalf("the fault does not name the port: %v", err)
	}
	must(t, taken.Stop(t.Context()))
}

func TestListen(t *testing.T) {
	for _, bad := range []string{"nonsense", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:65536"} {
		b, err := bus.New(bus.Config{Dir: t.TempDir(), Listen: bad})
		must(t, err)
		wantKind(t, b.Start(t.Context()), fault.Invalid)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	b := start(t, bus.Config{Listen: "127.0.0.1:" + strconv.Itoa(port)})
	if !strings.HasSuffix(b.URL(), ":"+strconv.Itoa(port)) {
		t.Fatal("listens elsewhere:", b.URL())
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	noDir, err := bus.New(bus.Config{Dir: filepath.Join(file, "nats")})
	must(t, err)
	wantKind(t, noDir.Start(t.Context()), fault.Unavailable)
}
