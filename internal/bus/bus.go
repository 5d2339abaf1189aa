// Package bus is the message queue of the agents on NATS JetStream: embedded in
// the portal by default, or an external NATS by URL.
//
// The streams are shared by all agents, and each agent has one durable pull
// consumer. The server checks that a consumer's filter collides with no other
// of its stream, so a start with 10,000 consumers in one stream takes 20
// seconds; the embedded server therefore spreads commands over 16 streams (4
// seconds). Agents don't see that: each one works in an account of its own
// that holds nothing but imports of its own subjects. Accounts are also what
// keeps agents apart, for a NATS server checks the subject that a client
// publishes to but not the reply subject that it names, and would carry an
// answer into any stream of the same account.
package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/queue"
)

// Config of the bus. Only Dir (or URL) and Verify are needed.
type Config struct {
	// Dir is the folder of the embedded server's files; it is made with mode 0700.
	Dir string
	// Listen is the address for agents. With port 0, which is the default
	// ("127.0.0.1:0"), a free port is chosen once and remembered in Dir/port.
	Listen string
	// URL of an external NATS, with the portal's own credentials in it. There
	// the portal does not manage who may connect; see Report.
	URL string
	// Verify checks an agent's credentials; nil lets no agent in.
	Verify func(ctx context.Context, agentID, secret string) error
	// OnDeadLetter is told of each dead letter at least once, one at a time; an
	// error makes it come again.
	OnDeadLetter func(ctx context.Context, d queue.DeadLetter) error
	// Log gets the server's warnings and errors.
	Log *slog.Logger

	QueueLimit int           // commands a queue holds; default 10,000
	MaxPayload int           // bytes a command may have; default 1 MiB, at most 8 MiB
	MaxBytes   int64         // disk for all streams; default 4 GiB
	AckWait    time.Duration // until a command that is not acknowledged is delivered again; default 30 s
	MaxDeliver int           // deliveries before a command is dead; default 5
	Sweep      time.Duration // how often to look for commands whose end was missed; default 1 min
}

func (c Config) withDefaults() Config {
	def(&c.Listen, "127.0.0.1:0")
	def(&c.QueueLimit, 10_000)
	def(&c.MaxPayload, 1<<20)
	def(&c.MaxBytes, 4<<30)
	def(&c.AckWait, 30*time.Second)
	def(&c.MaxDeliver, 5)
	def(&c.Sweep, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Bus is a lifecycle.Service and a queue.Broker.
type Bus struct {
	cfg  Config
	loop lifecycle.Loop

	mu  sync.RWMutex
	srv *server.Server
	nc  *nats.Conn
	js  jetstream.JetStream
	url string

	known knownQueues
}

var (
	_ lifecycle.Service = (*Bus)(nil)
	_ queue.Broker      = (*Bus)(nil)
)

// New checks the configuration; Start does the rest. Invalid.
func New(cfg Config) (*Bus, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" && cfg.URL == "" {
		return nil, fault.New(fault.Invalid, "bus.no_place", "the message bus has neither a folder nor the URL of a server").
			Do("Set the data directory, or the URL of a NATS server")
	}
	if cfg.MaxPayload > 8<<20 {
		return nil, fault.New(fault.Invalid, "bus.payload_limit", "the limit of a command's size is over 8 MiB").
			Do("Keep large data in a store and send its address")
	}
	return &Bus{cfg: cfg}, nil
}

// Name is "bus".
func (b *Bus) Name() string { return "bus" }

// URL is what agents connect to, without credentials; empty before Start.
func (b *Bus) URL() string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.url
}

// Start runs or reaches the server and makes the streams. Conflict if the port
// that agents know is taken, Unavailable if the server does not come up.
func (b *Bus) Start(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nc != nil {
		return errors.New("bus: already started")
	}
	if err := b.open(ctx); err != nil {
		b.close()
		return err
	}
	layout := b.layout()
	if err := layout.create(ctx, b.js, b.cfg); err != nil {
		b.close()
		return b.unusable(ctx, err)
	}
	undertaker := newUndertaker(b.cfg, b.js, layout)
	if err := b.loop.Go(undertaker.run); err != nil {
		b.close()
		return err
	}
	return nil
}

func (b *Bus) open(ctx context.Context) error {
	if b.cfg.URL != "" {
		return b.dialExternal()
	}
	srv, portal, err := startEmbedded(ctx, b.cfg)
	b.srv = srv
	if err != nil {
		return err
	}
	b.url = srv.ClientURL()
	return b.dial(b.url, nats.InProcessServer(srv), nats.UserInfo(portalUser, portal))
}

func (b *Bus) dial(url string, opts ...nats.Option) error {
	opts = append(opts,
		nats.Name("portal"), nats.MaxReconnects(-1), nats.ReconnectWait(500*time.Millisecond),
		nats.Timeout(5*time.Second), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.cfg.Log.Warn("message bus", "error", err)
		}))
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return unavailable(err).Because("the NATS server cannot be reached")
	}
	b.nc = nc
	b.js, err = jetstream.New(nc)
	return err
}

// Stop ends the work on dead letters, the connection and the embedded server.
func (b *Bus) Stop(ctx context.Context) error {
	err := b.loop.Halt(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.close()
	return err
}

func (b *Bus) close() {
	if b.nc != nil {
		b.nc.Close()
	}
	if b.srv != nil {
		b.srv.Shutdown()
		b.srv.WaitForShutdown()
	}
	b.srv, b.nc, b.js = nil, nil, nil
	b.known.clear()
}

// connected gives the connection, or Unavailable before Start and after Stop.
func (b *Bus) connected() (jetstream.JetStream, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.js == nil {
		return nil, fault.New(fault.Unavailable, "bus.stopped", "the message bus is not running")
	}
	return b.js, nil
}

// unusable explains why the streams can't be made or opened. Behind the
// embedded server there is nothing but its folder that could be the cause.
func (b *Bus) unusable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return unavailable(err)
	}
	if b.cfg.URL != "" {
		return b.refusedOutside(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Unavailable, "bus.folder_slow", "the disk of the message bus's folder %s is too slow", b.cfg.Dir).
			Because("%v", err).Do("See what keeps the disk busy, then start again").Wrap(err)
	}
	return fault.New(fault.Unavailable, "bus.folder_damaged", "the message bus cannot work with its folder %s", b.cfg.Dir).
		Because("%v", err).
		Do("Free space if the disk is full. If the folder is damaged, put it back from a backup, or move it away and start again: tasks that wait in it are lost then, agents and their history are not").Wrap(err)
}

// unavailable wraps what the client library says.
func unavailable(err error) *fault.Error {
	return fault.New(fault.Unavailable, "bus.unavailable", "the message bus did not answer").
		Do("Try again; if it stays so, look at the portal's log").Wrap(err)
}
