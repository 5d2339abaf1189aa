package live

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The checks of access go in parts with pauses in between, so that those of
// thousands of connections do not hold up what they wait for.
const (
	checkParts = 20
	// checkRest is how many times as long as it took the sweeper rests after it
	// checked all at once, but not longer than checkPause.
	checkRest  = 4
	checkPause = 500 * time.Millisecond
	// checkTimeout is how long one check may take.
	checkTimeout = 2 * time.Second
)

// RecheckNow asks for every connection at once whether its access still holds,
// and cuts those whose access has ended or was lowered. It returns before that
// is done. Events whose type begins with "auth:" do the same.
func (h *Hub) RecheckNow() { rouse(h.checks) }

// sweep checks the access of all connections every Config.Recheck, and when
// RecheckNow asks for it.
func (h *Hub) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		clients := h.connected()
		parts := time.Duration(checkParts)
		if len(clients) == 0 {
			parts = 1
		}
		size := (len(clients) + checkParts - 1) / checkParts
		asked := false
		for range parts {
			if asked = h.pause(ctx, h.cfg.Recheck/parts); asked || ctx.Err() != nil {
				break
			}
			n := min(size, len(clients))
			check(ctx, clients[:n])
			clients = clients[n:]
		}
		if asked {
			begun := time.Now()
			check(ctx, h.connected())
			sleep(ctx, min(checkRest*time.Since(begun), checkPause))
		}
	}
}

// pause waits for d, and tells whether it was ended by RecheckNow.
func (h *Hub) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-h.checks:
		return true
	case <-t.C:
		return false
	}
}

func (h *Hub) connected() []*client {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*client, 0, len(h.clients))
	for c := range h.clients {
		out = append(out, c)
	}
	return out
}

// check cuts the clients whose access has ended. A store that does not answer
// is no reason to cut, and to ask it on behalf of the others would be no use.
func check(ctx context.Context, clients []*client) {
	for _, c := range clients {
		if ctx.Err() != nil {
			return
		}
		now, err := c.again()
		switch {
		case fault.Is(err, fault.Unauthenticated) || err == nil && !now.Role.Includes(c.who.Role):
			c.cut(cutSignedOut)
		case fault.Is(err, fault.Unavailable):
			return
		}
	}
}
