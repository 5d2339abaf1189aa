package docker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/client"
)

// changes passes on which agents changed, each at most once until it is taken.
type changes struct {
	out chan string

	mu      sync.Mutex
	pending map[string]bool
	order   []string
	wake    chan struct{}
}

func newChanges() *changes {
	return &changes{out: make(chan string), pending: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// add notes that the agent changed; it never waits.
func (c *changes) add(agentID string) {
	c.mu.Lock()
	if !c.pending[agentID] {
		c.pending[agentID] = true
		c.order = append(c.order, agentID)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *changes) send(ctx context.Context) {
	for {
		c.mu.Lock()
		var id string
		if len(c.order) > 0 {
			id, c.order = c.order[0], c.order[1:]
			delete(c.pending, id)
		}
		c.mu.Unlock()
		if id == "" {
			select {
			case <-c.wake:
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case c.out <- id:
		case <-ctx.Done():
			return
		}
	}
}

// listen hears of changes from the engine, and looks at everything whenever it
// begins to hear.
func (r *Runtime) listen() {
	for wait := time.Duration(0); ; wait = min(max(2*wait, 100*time.Millisecond), 5*time.Second) {
		select {
		case <-time.After(wait):
		case <-r.ctx.Done():
			return
		}
		if r.hear() {
			wait = 0
		}
	}
}

// hear returns when the engine says no more; true if it said anything.
func (r *Runtime) hear() (heard bool) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	events := r.api.Events(ctx, client.EventsListOptions{Filters: r.mine("").Add("type", "container")})
	select {
	case err := <-events.Err:
		r.cfg.Log.Debug("the Docker engine tells no changes", "error", err)
		return false
	default:
	}
	if _, err := r.Observe(ctx, ""); err == nil {
		heard = true
		r.sweepHelpers(ctx)
		r.pokeAll()
	}
	for {
		select {
		case m := <-events.Messages:
			heard = true
			if id := m.Actor.Attributes[labelAgent]; id != "" && m.Actor.Attributes[labelRole] == roleInstance {
				r.changes.add(id)
			}
		case err := <-events.Err:
			if ctx.Err() == nil {
				r.cfg.Log.Warn("the Docker engine tells no more changes; trying again", "error", err)
				r.pokeAll()
			}
			return heard
		}
	}
}

// pokeAll lets somebody look at every agent that has something here.
func (r *Runtime) pokeAll() {
	agents := map[string]bool{}
	r.mu.Lock()
	for _, u := range r.units {
		agents[u.agentID] = true
	}
	r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		r.changes.add(id)
	}
}
