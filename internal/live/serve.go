package live

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// burst is how many events are written to a client before anything else that
// concerns it is looked at.
const burst = 64

// wire is how frames reach one client. Only one goroutine uses it.
type wire interface {
	// send writes the frames.
	send(ctx context.Context, frames []*frame) error
	// beat shows that the connection lives; seq is where the stream is, -1 if
	// that is not to be said.
	beat(ctx context.Context, seq int64) error
}

// request is what a client asked for when it connected.
type request struct {
	client *client
	rooms  []string
	since  int64 // -1: from now on
	start  int64 // from here on the hub tells it everything
}

// accept reads and checks the request and takes the client in. Faults: Invalid,
// Unauthenticated, Forbidden, RateLimited, Unavailable.
func (h *Hub) accept(r *http.Request) (*request, error) {
	who := auth.From(r.Context())
	if !who.Role.Valid() {
		return nil, fault.New(fault.Unauthenticated, "auth.required", "Live updates need a sign-in").
			Do("Send an API token in the Authorization header, or sign in.")
	}
	if who.From == "" {
		who.From, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	ctx := context.WithoutCancel(r.Context()) // a WebSocket outlives its request
	again := func() (auth.Principal, error) {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		return auth.Recheck(ctx)
	}
	req := &request{client: h.newClient(who, again), since: -1}
	query := r.URL.Query()
	req.rooms = splitRooms(query["rooms"])
	if err := authorise(who.Role, req.rooms); err != nil {
		return nil, err
	}
	place := r.Header.Get("Last-Event-ID")
	if place == "" {
		place = query.Get("since")
	}
	if place != "" {
		n, err := strconv.ParseInt(place, 10, 64)
		if err != nil || n < 0 {
			return nil, fault.New(fault.Invalid, "live.since", "The place to go on from is not valid").
				Do("Give the id of the last message you got.").At(fault.Field{Path: "since", Message: "must be the id of a message"})
		}
		req.since = n
	}
	err := h.admission(r.Context())
	if err != nil {
		return nil, err
	}
	req.start, err = h.join(req.client, req.rooms)
	return req, err
}

// run serves the client until it goes, is cut, or ctx ends.
func (h *Hub) run(ctx context.Context, req *request, w wire) error {
	c := req.client
	sent, err := h.open(ctx, req, w)
	if err != nil {
		return err
	}
	beat := time.NewTicker(h.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			return farewell(ctx, c, w)
		case <-beat.C:
			err = h.rest(ctx, c, w)
		case <-c.wake:
			if c.why() != cutNone {
				return farewell(ctx, c, w)
			}
			err = w.send(ctx, unsent(c.take(burst), &sent))
		}
		if err != nil {
			return err
		}
	}
}

// farewell tells a client when to come back, if it is to.
func farewell(ctx context.Context, c *client, w wire) error {
	if c.why() != cutStopping {
		return nil
	}
	return w.send(ctx, []*frame{retryNotice(c.comeBack)})
}

// patience is how long a connection may wait to be taken in.
const patience = 2 * time.Second

// admission lets connections in one after the other when many come at once.
func (h *Hub) admission(ctx context.Context) error {
	turn := h.admit.Reserve()
	wait := turn.Delay()
	if wait > patience {
		turn.Cancel()
		return busy()
	}
	if wait > 0 && !sleep(ctx, wait) {
		return ctx.Err()
	}
	return nil
}

// taking tells whether a connection would be taken in now. Faults: Unavailable,
// RateLimited.
func (h *Hub) taking() error {
	h.mu.Lock()
	running := h.running
	h.mu.Unlock()
	switch {
	case !running:
		return stopped()
	case h.admit.Tokens() < 1-patience.Seconds()*float64(h.admit.Limit()):
		return busy()
	}
	return nil
}

func stopped() error {
	return fault.New(fault.Unavailable, "live.stopped", "Live updates are not running").Do("Try again in a moment.")
}

func busy() error {
	return fault.New(fault.RateLimited, "live.busy", "Too many connections come at once").Do("Try again in a few seconds.")
}

// open brings the client to the place where it hears of everything, and gives
// that place.
func (h *Hub) open(ctx context.Context, req *request, w wire) (int64, error) {
	if req.since < 0 {
		return req.start, w.beat(ctx, req.start)
	}
	reset, err := h.missed(ctx, req.rooms, req.since, req.start, func(f []*frame) error { return w.send(ctx, f) })
	if err != nil {
		return 0, err
	}
	if reset != "" {
		return req.start, w.send(ctx, []*frame{notice(req.start, eventReset, map[string]string{"reason": reset})})
	}
	return max(req.start, req.since), nil
}

// rest sends the heart-beat. It names a place in the stream only if nothing
// before it still waits for the client.
func (h *Hub) rest(ctx context.Context, c *client, w wire) error {
	seq := h.position()
	c.mu.Lock()
	if len(c.queue) > 0 {
		seq = -1
	}
	c.mu.Unlock()
	return w.beat(ctx, seq)
}

// unsent leaves out the frames that the client has got already.
func unsent(frames []*frame, sent *int64) []*frame {
	out := frames[:0]
	for _, f := range frames {
		if f.seq > *sent || f.rooms == nil {
			out = append(out, f)
			*sent = max(*sent, f.seq)
		}
	}
	return out
}
