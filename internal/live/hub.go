// Package live sends events to clients as they happen, over WebSocket and as
// server-sent events.
//
// The hub reads the stored stream of events, encodes each event once, and
// gives the bytes to every client in one of its rooms. A client that comes
// back says where it was and gets what it missed.
//
// Rooms whose name begins with "view:" give states instead of events: the cells
// of a row as they are now, and from then on those that change. They are looked
// up once for all who look at them, at most every 25 ms, the newest wins, and
// they are no part of the history. "view:pulse:ROOM" is such a row too: the
// number of the newest event of each type in ROOM, for who only needs to know
// that something happened.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// Config says how the hub works. Every zero value has a working default.
type Config struct {
	Log     event.Log
	Viewer  Viewer // says how things are shown; without it the view rooms are empty
	Logger  *slog.Logger
	Origins []string // further hosts whose pages may open a WebSocket, e.g. "portal.example.com"

	Heartbeat    time.Duration // default 15s
	Recheck      time.Duration // how often access is asked for again; default 5s
	Coalesce     time.Duration // the least time between two looks at what changed; default 25ms
	Admit        int           // connections taken in a second, so that a crowd that comes back does not stampede; default 1000
	WriteTimeout time.Duration // a client that takes nothing for so long is cut; default 10s
	Recent       int           // events kept in memory for clients that come back; default 2048
	Queue        int           // events that may wait for one client before it is cut; default 4096
	PerPrincipal int           // connections; default 256
	PerAddress   int           // connections; default 512
	Total        int           // connections; default 4096
}

// poll is how often the log is read without being woken: events may be
// appended by another process.
const poll = time.Second

// batch is how many events are read at once.
const batch = 256

// Hub is a lifecycle.Service.
type Hub struct {
	cfg   Config
	admit *rate.Limiter

	follower, shower, sweeper lifecycle.Loop

	load   atomic.Int64  // bytes that wait for clients
	stir   chan struct{} // some row is stale
	checks chan struct{} // access is to be asked for now

	mu      sync.Mutex
	running bool
	cursor  int64 // everything up to here was given out
	floor   int64 // recent holds everything after this up to cursor
	recent  []*frame
	rooms   map[string]map[*client]struct{}
	clients map[*client]struct{}
	views   map[string]*row   // what somebody looks at, by key
	stale   map[*row]struct{} // those that may have changed, or that some client has not got
	counts  map[string]int    // connections by "p:"+principal and "a:"+address
}

// New makes a hub.
func New(cfg Config) *Hub {
	cfg.Heartbeat = or(cfg.Heartbeat, 15*time.Second)
	cfg.Recheck = or(cfg.Recheck, 5*time.Second)
	cfg.Coalesce = or(cfg.Coalesce, 25*time.Millisecond)
	cfg.Admit = or(cfg.Admit, 1000)
	cfg.WriteTimeout = or(cfg.WriteTimeout, 10*time.Second)
	cfg.Recent = or(cfg.Recent, 2048)
	cfg.Queue = or(cfg.Queue, 4096)
	cfg.PerPrincipal = or(cfg.PerPrincipal, 256)
	cfg.PerAddress = or(cfg.PerAddress, 512)
	cfg.Total = or(cfg.Total, 4096)
	cfg.Logger = or(cfg.Logger, slog.Default())
	return &Hub{
		cfg:     cfg,
		rooms:   map[string]map[*client]struct{}{},
		admit:   rate.NewLimiter(rate.Limit(cfg.Admit), max(1, cfg.Admit/5)),
		stir:    make(chan struct{}, 1),
		checks:  make(chan struct{}, 1),
		clients: map[*client]struct{}{},
		views:   map[string]*row{},
		stale:   map[*row]struct{}{},
		counts:  map[string]int{},
	}
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Name is "live".
func (h *Hub) Name() string { return "live" }

// Start finds the end of the stream and follows it from there.
func (h *Hub) Start(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running {
		return fmt.Errorf("live: already started")
	}
	_, newest, err := h.cfg.Log.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the events: %w", err)
	}
	h.cursor, h.floor, h.recent = newest, newest, nil
	if err := h.remember(ctx); err != nil {
		return err
	}
	if err := errors.Join(h.follower.Go(h.follow), h.shower.Go(h.show), h.sweeper.Go(h.sweep)); err != nil {
		return err
	}
	h.running = true
	return nil
}

// remember reads the newest events, so that clients that come back after a
// restart do not each ask the store for them; Hub.mu is held.
func (h *Hub) remember(ctx context.Context) error {
	list, err := h.cfg.Log.Find(ctx, event.Query{Before: h.cursor + 1, Newest: true, Limit: min(h.cfg.Recent, 1000)})
	if err != nil {
		return fmt.Errorf("read the newest events: %w", err)
	}
	for _, e := range slices.Backward(list) {
		f, err := encode(e)
		if err != nil {
			continue // logged when it was given out
		}
		h.recent = append(h.recent, f)
		h.floor = min(h.floor, e.Seq-1)
	}
	return nil
}

// Stop ends every connection, and waits until each is told when to come back,
// and for the readers of the stream.
func (h *Hub) Stop(ctx context.Context) error {
	h.mu.Lock()
	h.running = false
	for c := range h.clients {
		c.comeBack = rand.N(max(minSpread, time.Duration(len(h.clients))*spreadEach))
		c.cut(cutStopping)
	}
	h.mu.Unlock()
	err := errors.Join(h.follower.Halt(ctx), h.shower.Halt(ctx), h.sweeper.Halt(ctx))
	for h.Connections() > 0 && sleep(ctx, time.Millisecond) {
	}
	return err
}

// Clients come back after a stop within a time that grows with their number.
const (
	minSpread  = 100 * time.Millisecond
	spreadEach = time.Millisecond
)

// Connections is how many clients are connected.
func (h *Hub) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

func (h *Hub) follow(ctx context.Context) {
	wake, stop := h.cfg.Log.Watch()
	defer stop()
	timer := time.NewTicker(poll)
	defer timer.Stop()
	failing := false
	for {
		err := h.pump(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			h.cfg.Logger.Error("live: events can't be read; trying again", "error", err)
		} else if err == nil && failing {
			h.cfg.Logger.Info("live: events can be read again")
		}
		failing = err != nil
		if failing {
			sleep(ctx, poll) // a store that fails must not be asked as fast as it fails
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
	}
}

// pump gives out what is new.
func (h *Hub) pump(ctx context.Context) error {
	for {
		h.mu.Lock()
		from := h.cursor
		h.mu.Unlock()
		list, err := h.cfg.Log.Find(ctx, event.Query{After: from, Limit: batch})
		if err != nil {
			return err
		}
		frames := make([]*frame, 0, len(list))
		for _, e := range list {
			f, err := encode(e)
			if err != nil {
				h.cfg.Logger.Error("live: an event can't be sent", "seq", e.Seq, "type", e.Type, "error", err)
				f = &frame{seq: e.Seq}
			}
			frames = append(frames, f)
		}
		h.give(frames)
		if len(list) < batch {
			return nil
		}
	}
}

// give hands the frames to the clients in their rooms.
func (h *Hub) give(frames []*frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range frames {
		h.cursor = f.seq
		h.soilBy(f)
		if strings.HasPrefix(f.kind, "auth:") {
			h.RecheckNow()
		}
		for _, room := range f.rooms {
			for c := range h.rooms[room] {
				if c.last != f.seq { // it may be in several of the event's rooms
					c.last = f.seq
					c.offer(f, h.cfg.Queue)
				}
			}
		}
	}
	h.recent = append(h.recent, frames...)
	// Cut only once in a while: moving the rest costs something.
	if over := len(h.recent) - h.cfg.Recent; over > h.cfg.Recent/4 {
		h.floor = h.recent[over-1].seq
		h.recent = append([]*frame(nil), h.recent[over:]...)
	}
}
