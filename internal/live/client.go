package live

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// The reasons for which the hub ends a connection.
type cutReason int

const (
	cutNone      cutReason = iota
	cutSlow                // too many events wait for it
	cutStopping            // the portal stops
	cutSignedOut           // its token or session has ended, or its role was lowered
	cutAbuse               // it sent too much or rubbish
	cutGone                // it has left by itself
)

// client is one connection.
type client struct {
	who  auth.Principal
	wake chan struct{} // holds one value when there is something to do
	done chan struct{} // closed by cut

	again func() (auth.Principal, error) // asks who it is now

	last  int64    // seq of the frame it was offered last; guarded by Hub.mu
	rooms []string // sorted; guarded by Hub.mu
	parts []part   // rows on their way into a message; guarded by Hub.mu
	sum   uint64   // of parts; guarded by Hub.mu

	comeBack time.Duration // when it is to come back; set before it is cut

	load   *atomic.Int64 // bytes that wait for all clients
	mu     sync.Mutex
	queue  []*frame
	reason cutReason
}

func (h *Hub) newClient(who auth.Principal, again func() (auth.Principal, error)) *client {
	return &client{who: who, again: again, wake: make(chan struct{}, 1), done: make(chan struct{}), load: &h.load}
}

// offer queues a frame, or cuts the client if it has fallen too far behind.
func (c *client) offer(f *frame, limit int) {
	c.mu.Lock()
	full := len(c.queue) >= limit
	if !full && c.reason == cutNone {
		c.queue = append(c.queue, f)
		c.load.Add(int64(len(f.json)))
	}
	c.mu.Unlock()
	if full {
		c.cut(cutSlow)
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take gives what waits, at most n; if more is left the client is woken again.
func (c *client) take(n int) []*frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.queue
	if len(out) <= n {
		c.queue = nil
		c.load.Add(-size(out))
		return out
	}
	out, c.queue = out[:n:n], out[n:]
	c.load.Add(-size(out))
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return out
}

func size(frames []*frame) int64 {
	n := 0
	for _, f := range frames {
		n += len(f.json)
	}
	return int64(n)
}

// cut ends the connection; the first reason counts.
func (c *client) cut(why cutReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == cutNone {
		c.load.Add(-size(c.queue))
		c.reason, c.queue = why, nil
		close(c.done)
	}
}

func (c *client) why() cutReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// join takes the client in and gives the place in the stream from which it
// hears everything. RateLimited if there are too many connections.
func (h *Hub) join(c *client, rooms []string) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.running {
		return 0, stopped()
	}
	principal, address := "p:"+c.who.ID, "a:"+c.who.From
	if h.counts[principal] >= h.cfg.PerPrincipal || h.counts[address] >= h.cfg.PerAddress || len(h.clients) >= h.cfg.Total {
		return 0, fault.New(fault.RateLimited, "live.too_many_connections", "There are too many live connections").
			Because("you, your address or all clients together have reached the limit").
			Do("Close some; one connection can listen to %d rooms.", maxRooms)
	}
	h.counts[principal]++
	h.counts[address]++
	h.clients[c] = struct{}{}
	h.enter(c, rooms)
	return h.cursor, nil
}

func (h *Hub) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.clients[c]; !ok {
		return
	}
	delete(h.clients, c)
	h.exit(c, slices.Clone(c.rooms))
	c.cut(cutGone) // nothing is to wait for it any more
	for _, key := range []string{"p:" + c.who.ID, "a:" + c.who.From} {
		if h.counts[key]--; h.counts[key] <= 0 {
			delete(h.counts, key)
		}
	}
}

// enter and exit change the rooms of a client; Hub.mu is held.
func (h *Hub) enter(c *client, rooms []string) {
	for _, room := range rooms {
		if key, ok := strings.CutPrefix(room, prefixView); ok {
			c.add(h.look(c, key))
			continue
		}
		c.add(room)
		if h.rooms[room] == nil {
			h.rooms[room] = map[*client]struct{}{}
		}
		h.rooms[room][c] = struct{}{}
	}
}

func (c *client) add(room string) {
	if i, ok := slices.BinarySearch(c.rooms, room); !ok {
		c.rooms = slices.Insert(c.rooms, i, room)
	}
}

func (h *Hub) exit(c *client, rooms []string) {
	for _, room := range rooms {
		if i, ok := slices.BinarySearch(c.rooms, room); ok {
			c.rooms = slices.Delete(c.rooms, i, i+1)
		}
		if key, ok := strings.CutPrefix(room, prefixView); ok {
			h.unlook(c, key)
			continue
		}
		if delete(h.rooms[room], c); len(h.rooms[room]) == 0 {
			delete(h.rooms, room)
		}
	}
}

// change subscribes and unsubscribes. The answer, queued for the client, names
// its rooms now and the place in the stream from which that is so.
func (h *Hub) change(c *client, add, remove []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(c.rooms), func(r string) bool { return slices.Contains(add, r) || slices.Contains(remove, r) })
	if err := tooMany(slices.Concat(all, add)); err != nil {
		return err
	}
	h.enter(c, add)
	h.exit(c, remove)
	c.offer(notice(h.cursor, eventSubscribed, map[string][]string{"rooms": c.rooms}), h.cfg.Queue)
	return nil
}

// position is where the stream is.
func (h *Hub) position() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor
}

// missed calls send with the frames after since up to upTo that are for the
// rooms. If they are not all kept any more, or since is no place in this
// stream, it gives the reason to start anew instead.
func (h *Hub) missed(ctx context.Context, rooms []string, since, upTo int64, send func([]*frame) error) (reset string, err error) {
	if since > upTo {
		_, newest, err := h.cfg.Log.Bounds(ctx)
		if err == nil && since > newest {
			return resetUnknownPlace, nil
		}
		return "", err
	}
	rooms = slices.DeleteFunc(slices.Clone(rooms), func(r string) bool { return strings.HasPrefix(r, prefixView) })
	if len(rooms) == 0 {
		return "", nil
	}
	if frames, ok := h.remembered(rooms, since, upTo); ok {
		return "", send(frames)
	}
	for since < upTo {
		list, err := h.cfg.Log.Find(ctx, event.Query{After: since, Before: upTo + 1, Rooms: rooms, Limit: batch})
		if err != nil {
			return "", err
		}
		// Asked after reading, so that a clean-up in between is noticed.
		oldest, _, err := h.cfg.Log.Bounds(ctx)
		if err != nil {
			return "", err
		}
		if oldest == 0 || oldest > since+1 {
			return resetTooOld, nil
		}
		frames := make([]*frame, 0, len(list))
		for _, e := range list {
			if f, err := encode(e); err == nil {
				frames = append(frames, f)
			}
			since = e.Seq
		}
		if err := send(frames); err != nil {
			return "", err
		}
		if len(list) < batch {
			return "", nil
		}
	}
	return "", nil
}

// remembered gives the frames from memory, if memory reaches back to since.
func (h *Hub) remembered(rooms []string, since, upTo int64) ([]*frame, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since < h.floor {
		return nil, false
	}
	var out []*frame
	for _, f := range h.recent {
		if f.seq > since && f.seq <= upTo && slices.ContainsFunc(f.rooms, func(r string) bool { return slices.Contains(rooms, r) }) {
			out = append(out, f)
		}
	}
	return out, true
}
