package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// Reconciler keeps what runs equal to what is wanted between actions. It is
// level-based: it looks at what is there, on a timer and when it is poked, and
// never relies on having seen how it came about. It leaves agents alone that an
// operation works on, but for writing down what it sees.
type Reconciler struct {
	Service *Service
	// Interval is the time between two looks at everything; 0 means 5 seconds.
	Interval time.Duration
	// Workers is how many agents of each runtime are worked on at once; 0 means 8.
	Workers int
	// Patience is how long a runtime may take to show what is on it before the others
	// are looked after without it; 0 means 3 seconds.
	Patience time.Duration
	// An instance that is gone is launched again at most RelaunchLimit times in
	// RelaunchWindow, then its agent is ERRORED; 0 means 5 in 10 minutes.
	RelaunchLimit  int
	RelaunchWindow time.Duration

	loop lifecycle.Loop
	todo todo

	mu     sync.Mutex
	known  map[string][]Instance // as stored, by agent id
	calm   map[string]int64      // LockVersion at which an agent was found in order, with nothing to wait for
	tries  map[string]*tries
	probed map[string]bool   // agents that the Monitor was told of
	place  map[string]string // runtimes of agents, as last seen
	looks  map[string]*look  // questions to runtimes that are not answered yet
	silent map[string]bool   // runtimes that did not answer in time when last asked
	asking sync.WaitGroup
}

// tries counts how often an agent's instances were launched again.
type tries struct {
	times []time.Time
	next  time.Time // not before
}

// Name is "reconciler".
func (r *Reconciler) Name() string { return "reconciler" }

// Start reads what was last observed and begins to look. What runs is adopted
// in the background at once.
func (r *Reconciler) Start(ctx context.Context) error {
	known, err := r.Service.Observed.Instances(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.known = known
	if r.known == nil {
		r.known = map[string][]Instance{}
	}
	r.calm, r.tries, r.probed = map[string]int64{}, map[string]*tries{}, map[string]bool{}
	r.place, r.looks, r.silent = map[string]string{}, map[string]*look{}, map[string]bool{}
	r.mu.Unlock()
	r.todo.lane = r.placeOf
	r.todo.open()
	return r.loop.Go(r.run)
}

// Stop ends the looking; instances go on.
func (r *Reconciler) Stop(ctx context.Context) error { return r.loop.Halt(ctx) }

// Poke has one agent looked at soon. It never blocks.
func (r *Reconciler) Poke(agentID string) {
	if agentID != "" {
		r.todo.add(agentID)
	}
}

func (r *Reconciler) run(ctx context.Context) {
	var wg sync.WaitGroup
	workers := r.Workers
	if workers <= 0 {
		workers = 8
	}
	lanes := append(slices.Collect(maps.Keys(r.Service.Runtimes)), "") // the last one for agents of which nothing is known yet
	for _, lane := range lanes {
		for range workers {
			wg.Go(func() { r.work(ctx, lane) })
		}
	}
	for _, rt := range r.Service.Runtimes {
		if n, ok := rt.(Notifier); ok {
			wg.Go(func() { r.listen(ctx, n.Changes()) })
		}
	}
	every := r.Interval
	if every <= 0 {
		every = 5 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	complete := false
	for ctx.Err() == nil {
		looked, err := r.sweep(ctx)
		if err != nil && ctx.Err() == nil {
			r.Service.log().Error("could not look at the whole fleet; trying again", "error", err)
		}
		if looked && !complete && r.Service.Monitor != nil {
			complete = true
			wg.Go(func() { r.complete(ctx) })
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	r.todo.close()
	wg.Wait()
	r.asking.Wait()
}

// adoptionTime is how long the Monitor waits at most for the fleet to be adopted.
const adoptionTime = 30 * time.Second

// complete tells the Monitor once all that runs has been adopted.
func (r *Reconciler) complete(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, adoptionTime)
	defer cancel()
	r.todo.idle(limit)
	if ctx.Err() == nil {
		r.Service.Monitor.Complete()
	}
}

func (r *Reconciler) listen(ctx context.Context, changes <-chan string) {
	for {
		select {
		case <-ctx.Done():
			return
		case id, ok := <-changes:
			if !ok {
				return
			}
			r.Poke(id)
		}
	}
}

func (r *Reconciler) work(ctx context.Context, lane string) {
	for {
		id, ok := r.todo.take(lane)
		if !ok {
			return
		}
		if lane == "" && r.assign(ctx, id) {
			r.todo.done(id)
			r.Poke(id)
			continue
		}
		again, err := r.reconcile(ctx, id)
		if err != nil && ctx.Err() == nil {
			r.Service.log().Error("could not bring an agent to its wanted state; trying again", "agent", id, "error", err)
		}
		r.todo.done(id)
		if again > 0 && ctx.Err() == nil {
			r.todo.later(id, again)
		}
	}
}

// watched are the states in which an agent may have instances.
var watched = []agent.State{agent.Running, agent.Suspended, agent.Errored}

// sweep compares everything that the runtimes show with everything that is
// wanted, and puts those agents on the list that differ from when they were
// last found in order. Agents of a runtime that does not answer are left alone:
// what is not seen is not known to be gone. looked tells whether all others were
// compared.
func (r *Reconciler) sweep(ctx context.Context) (looked bool, err error) {
	seen, away, errs := r.look(ctx)
	wanted := map[string]bool{}
	for cursor := ""; ; {
		page, err := r.Service.Agents.Find(ctx, agent.Query{States: watched, Sort: "id", Limit: 1000, Cursor: cursor})
		if err != nil {
			return false, errors.Join(append(errs, err)...)
		}
		for _, a := range page.Agents {
			wanted[a.ID] = true
			if !away[runtimeName(a.Spec)] && !r.inOrder(a, seen[a.ID]) {
				r.Poke(a.ID)
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for _, id := range r.unwanted(seen, wanted) {
		r.Poke(id)
	}
	return true, errors.Join(errs...)
}

// inOrder tells whether nothing has changed since the agent was found in order.
func (r *Reconciler) inOrder(a *agent.Agent, seen []Instance) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[a.ID] == nil || r.place[a.ID] == "" { // else the revision that runs says it
		r.place[a.ID] = r.Service.hosted(a.Spec)
	}
	version, ok := r.calm[a.ID]
	return ok && version == a.LockVersion && same(r.known[a.ID], seen)
}

// unwanted gives the agents that are not meant to run and still have something.
func (r *Reconciler) unwanted(seen map[string][]Instance, wanted map[string]bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	add := func(id string) {
		if !wanted[id] {
			wanted[id] = true
			ids = append(ids, id)
		}
	}
	for id := range seen {
		add(id)
	}
	for id, list := range r.known {
		if len(list) > 0 {
			add(id)
		}
	}
	for id := range r.probed {
		add(id)
	}
	for id := range r.calm {
		if !wanted[id] {
			delete(r.calm, id)
			delete(r.tries, id)
		}
	}
	for id := range r.place {
		if !wanted[id] {
			delete(r.place, id)
		}
	}
	return ids
}
