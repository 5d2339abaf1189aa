package live

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Viewer says how things are shown now. Events say that something changed; what
// a page shows of it is asked of the Viewer, once for all who look at it.
type Viewer interface {
	// Rows gives the cells of each row as JSON. Keys are "agent:ID"
	// (what lists show), "detail:ID" (all of an agent), "fleet", "operation:ID" and
	// "bulk:ID"; what does not exist is absent.
	Rows(ctx context.Context, keys []string) (map[string]map[string]json.RawMessage, error)
}

// Prefixes of rooms that give states instead of events.
const (
	prefixView  = "view:"  // then the key of a row
	prefixPulse = "pulse:" // as a key: then the name of a room of events
	keyFleet    = "fleet"

	prefixAgent  = "agent:"
	prefixDetail = "detail:"
)

// slowPace is the least time between two looks at the whole fleet, or at a bulk
// operation, where to look is to look at everything in it; and between two pulses:
// who only needs to know that something happened gathers for as long.
const slowPace = 250 * time.Millisecond

func slow(key string) bool {
	return key == keyFleet || strings.HasPrefix(key, "bulk:") || strings.HasPrefix(key, prefixPulse)
}

// maxLoad is how many bytes may wait for all clients together before first looks
// are put off: when thousands of pages come at once, what they are to be shown
// would fill the memory.
const maxLoad = 16 << 20

// Touch says that what is shown under the keys may have changed without an event.
func (h *Hub) Touch(keys ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		h.soil(key)
	}
}

// soil marks a row to be looked up again; Hub.mu is held.
func (h *Hub) soil(key string) {
	if r := h.views[key]; r != nil {
		r.dirty = true
		h.stale[r] = struct{}{}
		rouse(h.stir)
	}
}

// rouse wakes who waits for the channel, which holds one value.
func rouse(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// soilBy marks what an event may have changed; Hub.mu is held.
func (h *Hub) soilBy(f *frame) {
	if len(h.views) == 0 {
		return
	}
	for _, room := range f.rooms {
		if strings.Contains(room, ":") {
			h.soil(room) // agent:ID, operation:ID and bulk:ID are also names of rows
			if id, ok := strings.CutPrefix(room, prefixAgent); ok {
				h.soil(prefixDetail + id)
			}
		} else {
			h.soil(keyFleet)
		}
		if r := h.views[prefixPulse+room]; r != nil {
			r.pulse[f.kind] = strconv.AppendInt(nil, f.seq, 10)
			h.soil(r.key)
		}
	}
}

// look lets the client see the row, and gives the name of its room, which all
// clients share; Hub.mu is held.
func (h *Hub) look(c *client, key string) string {
	r := h.views[key]
	if r == nil {
		room := prefixView + key
		r = &row{room: room, key: room[len(prefixView):], clients: map[*client]bool{}, dirty: true}
		if room, ok := strings.CutPrefix(key, prefixPulse); ok {
			r.pulse = h.pulseOf(room)
		}
		h.views[r.key] = r
	}
	if _, ok := r.clients[c]; !ok {
		r.clients[c], r.fresh = false, true
		h.stale[r] = struct{}{}
		rouse(h.stir)
	}
	return r.room
}

// pulseOf gives the newest event of each type that memory holds of the room, and
// under "since" how far back it reaches.
func (h *Hub) pulseOf(room string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{"since": strconv.AppendInt(nil, h.floor, 10)}
	for _, f := range h.recent {
		if slices.Contains(f.rooms, room) {
			out[f.kind] = strconv.AppendInt(nil, f.seq, 10)
		}
	}
	return out
}

// unlook is the end of look; Hub.mu is held.
func (h *Hub) unlook(c *client, key string) {
	if r := h.views[key]; r != nil {
		if delete(r.clients, c); len(r.clients) == 0 {
			delete(h.views, key)
			delete(h.stale, r)
		}
	}
}

// show gives out changed rows: the first change at once, further ones at most
// every Config.Coalesce.
func (h *Hub) show(ctx context.Context) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.stir:
		}
		begun := time.Now()
		again, err := h.render(ctx, begun)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			h.cfg.Logger.Error("live: rows can't be read; trying again", "error", err)
		} else if err == nil && failing {
			h.cfg.Logger.Info("live: rows can be read again")
		}
		failing = err != nil
		pause := h.cfg.Coalesce - time.Since(begun)
		if failing {
			pause = poll
		}
		if !sleep(ctx, pause) {
			return
		}
		if again {
			rouse(h.stir)
		}
	}
}

// sleep waits for d and tells whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// render looks up what may have changed and gives it out. It tells whether
// something is left that was not yet due.
func (h *Hub) render(ctx context.Context, now time.Time) (again bool, err error) {
	h.mu.Lock()
	var ask []string
	var rows []*row
	whole, found := map[*row]bool{}, map[*row]map[string]json.RawMessage{}
	for r := range h.stale {
		lookUp := r.dirty && !now.Before(r.due)
		if !lookUp && !r.fresh {
			continue
		}
		rows = append(rows, r)
		if whole[r], r.fresh = r.fresh, false; lookUp {
			r.dirty = false
			if r.pulse != nil {
				found[r] = maps.Clone(r.pulse)
			} else {
				ask = append(ask, r.key)
			}
			if slow(r.key) {
				r.due = now.Add(slowPace)
			}
		}
		if !r.dirty {
			delete(h.stale, r)
		}
	}
	again = len(h.stale) > 0
	h.mu.Unlock()
	answer, err := h.ask(ctx, ask)
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, r := range rows {
			r.dirty, r.fresh, r.due = true, r.fresh || whole[r], time.Time{}
			if h.views[r.key] == r {
				h.stale[r] = struct{}{}
			}
		}
		return true, err
	}
	// In one order for all, so that clients of the same rows can share messages.
	slices.SortFunc(rows, func(a, b *row) int { return strings.Compare(a.key, b.key) })
	asked := map[string]bool{}
	for _, key := range ask {
		asked[key] = true
	}
	parcels := make([]parcel, 0, len(rows))
	for _, r := range rows {
		cells := r.cells
		if next, ok := found[r]; ok {
			cells = next
		} else if asked[r.key] {
			cells = answer[r.key]
		}
		parcels = append(parcels, r.pack(cells, whole[r]))
	}
	return h.deliver(parcels) || again, nil
}

func (h *Hub) ask(ctx context.Context, keys []string) (map[string]map[string]json.RawMessage, error) {
	if len(keys) == 0 || h.cfg.Viewer == nil {
		return nil, nil
	}
	return h.cfg.Viewer.Rows(ctx, keys)
}

// deliver gives each client what is in its rooms. Clients for which that is the
// same share the messages. It tells whether some have to wait for their first look,
// because too much is on its way already.
func (h *Hub) deliver(parcels []parcel) (again bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var touched []*client
	left := maxLoad - h.load.Load()
	give := func(c *client, which part) {
		if len(c.parts) == 0 {
			touched = append(touched, c)
		}
		c.parts = append(c.parts, which)
		c.sum = (c.sum ^ uint64(which)) * 1099511628211 // FNV
	}
	for i, p := range parcels {
		for c, has := range p.row.clients {
			switch {
			case !has && p.whole != nil && left < 0:
				p.row.fresh, again = true, true
				h.stale[p.row] = struct{}{}
			case !has && p.whole != nil:
				left -= int64(len(p.whole))
				p.row.clients[c] = true
				give(c, part(2*i))
			case has && p.change != nil:
				give(c, part(2*i+1))
			}
		}
	}
	made := map[uint64]*views{}
	for _, c := range touched {
		v := made[c.sum]
		if v == nil || !slices.Equal(v.parts, c.parts) {
			v = &views{parts: slices.Clone(c.parts), frames: viewFrames(parcels, c.parts)}
			made[c.sum] = v
		}
		for _, f := range v.frames {
			c.offer(f, h.cfg.Queue)
		}
		c.parts, c.sum = c.parts[:0], 0
	}
	return again
}

// Place is the number of the newest event that was given out. A page that is made
// now and resumes from here misses nothing.
func (h *Hub) Place() int64 { return h.position() }
