package docker

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

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
	if err := r.meet(ctx); err != nil {
		r.cfg.Log.Debug("the Docker engine does not answer", "error", err)
		return false
	}
	told := r.api().Events(ctx, client.EventsListOptions{Filters: r.mine("").Add("type", "container")})
	select {
	case err := <-told.Err:
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
		case m := <-told.Messages:
			heard = true
			if id := m.Actor.Attributes[labelAgent]; id != "" && m.Actor.Attributes[labelRole] == roleInstance {
				r.changes.Add(id)
				if u := r.unit(m.Actor.Attributes[labelInstance]); u != nil && m.Action == events.ActionStart {
					u.poke()
				}
			}
		case err := <-told.Err:
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
		r.changes.Add(id)
	}
}
