package fleet

import (
	"context"
	"errors"
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
	// Workers is how many agents are worked on at once; 0 means 8.
	Workers int
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
	probed map[string]bool // agents that the Monitor was told of
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
	r.mu.Unlock()
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
	for range workers {
		wg.Go(func() { r.work(ctx) })
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

func (r *Reconciler) work(ctx context.Context) {
	for {
		id, ok := r.todo.take()
		if !ok {
			return
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
	seen := map[string][]Instance{}
	away := map[string]bool{}
	var errs []error
	for name, rt := range r.Service.Runtimes {
		list, err := rt.Observe(ctx, "")
		if err != nil {
			away[name] = true
			errs = append(errs, unreachable(rt, err))
			continue
		}
		for _, in := range list {
			seen[in.AgentID] = append(seen[in.AgentID], in)
		}
	}
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
	return ids
}

// todo is the list of agents to be looked at, each at most once, and never by
// two workers at the same time.
type todo struct {
	mu     sync.Mutex
	wake   *sync.Cond
	list   []string
	queued map[string]bool
	busy   map[string]bool
	again  map[string]bool
	timers map[string]*time.Timer
	closed bool
}

func (t *todo) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready()
	t.closed = false
}

func (t *todo) ready() {
	if t.wake == nil {
		t.wake = sync.NewCond(&t.mu)
		t.queued, t.busy, t.again = map[string]bool{}, map[string]bool{}, map[string]bool{}
		t.timers, t.closed = map[string]*time.Timer{}, true
	}
}

func (t *todo) add(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready()
	switch {
	case t.closed || t.queued[id]:
	case t.busy[id]:
		t.again[id] = true
	default:
		t.queued[id] = true
		t.list = append(t.list, id)
		t.wake.Broadcast()
	}
}

// take waits for an agent to look at; false once the list is closed.
func (t *todo) take() (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.list) == 0 && !t.closed {
		t.wake.Wait()
	}
	if t.closed {
		return "", false
	}
	id := t.list[0]
	t.list = t.list[1:]
	delete(t.queued, id)
	t.busy[id] = true
	return id, true
}

func (t *todo) done(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, id)
	if t.again[id] && !t.closed {
		t.queued[id] = true
		t.list = append(t.list, id)
	}
	delete(t.again, id)
	t.wake.Broadcast()
}

// later puts the agent on the list after d; only the newest such wish counts.
func (t *todo) later(id string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if old := t.timers[id]; old != nil {
		old.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		t.mu.Lock()
		if t.timers[id] == timer {
			delete(t.timers, id)
		}
		t.mu.Unlock()
		t.add(id)
	})
	t.timers[id] = timer
}

// idle waits until nothing is to be done, or ctx ends.
func (t *todo) idle(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.wake.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.list)+len(t.busy) > 0 && ctx.Err() == nil {
		t.wake.Wait()
	}
}

func (t *todo) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.list = true, nil
	clear(t.queued)
	for id, timer := range t.timers {
		timer.Stop()
		delete(t.timers, id)
	}
	t.wake.Broadcast()
}
