package webhook

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// lookAgain is when a subscription is looked at though nothing said that it
// should be: after trouble with the store.
const lookAgain = 10 * time.Second

// Deliverer sends what is due to all subscriptions, as a service.
type Deliverer struct {
	Service *Service

	loop lifecycle.Loop
}

// Name is used in logs and errors.
func (d *Deliverer) Name() string { return "webhooks" }

// Start begins to send what is due.
func (d *Deliverer) Start(context.Context) error { return d.loop.Go(d.run) }

// Stop ends requests that run; their events are sent again at the next start.
func (d *Deliverer) Stop(ctx context.Context) error { return d.loop.Halt(ctx) }

// turn is what came of one look at a subscription.
type turn struct {
	id   string
	next *time.Time
	gone bool
}

// run looks at every subscription when there are new events, when one was
// changed, and when a try is due.
func (d *Deliverer) run(ctx context.Context) {
	ctx = audit.WithActor(ctx, audit.Actor{ID: "system", Role: "admin"})
	wake, stop := d.Service.Log.Watch()
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	turns := make(chan turn)
	r := round{deliverer: d, busy: map[string]bool{}, again: map[string]bool{}, due: map[string]time.Time{}}
	changed := d.Service.changes()
	r.list(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, id := range r.ready() {
			running.Go(func() { d.look(ctx, id, turns) })
		}
		timer.Reset(r.rest())
		select {
		case <-ctx.Done():
			return
		case <-wake:
			r.news()
		case <-changed:
			changed = d.Service.changes()
			r.list(ctx)
		case <-timer.C:
			if r.unlisted {
				r.list(ctx)
			}
		case t := <-turns:
			r.done(t)
		}
	}
}

// round is what the deliverer knows of the subscriptions.
type round struct {
	deliverer *Deliverer
	ids       []string             // those that are enabled
	unlisted  bool                 // the store could not say which they are
	busy      map[string]bool      // one is looked at
	again     map[string]bool      // and has to be once more
	due       map[string]time.Time // when one has to be looked at
}

// list asks the store for the subscriptions. All of them are due then.
func (r *round) list(ctx context.Context) {
	all, err := r.deliverer.Service.Store.Webhooks(ctx)
	if r.unlisted = err != nil; r.unlisted {
		r.deliverer.trouble(ctx, "", err)
		return
	}
	r.ids = r.ids[:0]
	clear(r.due)
	for _, s := range all {
		if s.Enabled {
			r.ids = append(r.ids, s.ID)
			r.due[s.ID] = time.Time{}
		}
	}
}

// news makes those due that do not wait for a try.
func (r *round) news() {
	for _, id := range r.ids {
		if _, waits := r.due[id]; !waits {
			r.due[id] = time.Time{}
		}
	}
}

// ready takes those that are due.
func (r *round) ready() (ids []string) {
	now := r.deliverer.Service.now()
	for id, at := range r.due {
		if at.After(now) {
			continue
		}
		delete(r.due, id)
		if r.busy[id] {
			r.again[id] = true
			continue
		}
		r.busy[id] = true
		ids = append(ids, id)
	}
	return ids
}

// rest is how long nothing is due.
func (r *round) rest() time.Duration {
	wait := time.Hour
	if r.unlisted {
		wait = lookAgain
	}
	for _, at := range r.due {
		wait = min(wait, at.Sub(r.deliverer.Service.now()))
	}
	return max(wait, 0)
}

func (r *round) done(t turn) {
	delete(r.busy, t.id)
	switch {
	case t.gone:
	case r.again[t.id]:
		r.due[t.id] = time.Time{}
	case t.next != nil:
		r.due[t.id] = *t.next
	}
	delete(r.again, t.id)
}

// look sends what is due to one subscription.
func (d *Deliverer) look(ctx context.Context, id string, turns chan<- turn) {
	next, err := d.Service.advance(ctx, id)
	t := turn{id: id, next: next, gone: fault.Is(err, fault.NotFound)}
	if err != nil && !t.gone {
		d.trouble(ctx, id, err)
		at := d.Service.now().Add(lookAgain)
		t.next = &at
	}
	select {
	case turns <- t:
	case <-ctx.Done():
	}
}

func (d *Deliverer) trouble(ctx context.Context, id string, err error) {
	if ctx.Err() == nil {
		d.Service.Logger.WarnContext(ctx, "webhooks can't go on for now", slog.String("webhook", id), slog.Any("err", err))
	}
}
