package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

// specCache keeps the newest asked revision of each agent. An agent that was
// deleted and made anew differs in the time of its creation.
type specCache struct {
	mu    sync.Mutex
	specs map[string]cachedSpec
}

type cachedSpec struct {
	revision int
	created  time.Time
	spec     agent.Spec
}

func (c *specCache) get(id string, revision int, created time.Time) (agent.Spec, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, ok := c.specs[id]
	return x.spec, ok && x.revision == revision && x.created.Equal(created)
}

func (c *specCache) put(id string, revision int, created time.Time, spec agent.Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.specs == nil {
		c.specs = map[string]cachedSpec{}
	}
	c.specs[id] = cachedSpec{revision, created, spec}
}

func (c *specCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.specs, id)
}

// keyedMutex is one lock an agent. The zero value is ready.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]*waiting
}

type waiting struct {
	mu sync.Mutex
	n  int
}

// lock waits for the key and gives the function that frees it.
func (k *keyedMutex) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*waiting{}
	}
	w := k.held[key]
	if w == nil {
		w = &waiting{}
		k.held[key] = w
	}
	w.n++
	k.mu.Unlock()
	w.mu.Lock()
	return func() {
		w.mu.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if w.n--; w.n == 0 {
			delete(k.held, key)
		}
	}
}

// todo is the list of agents to be looked at, each at most once, and never by two
// workers at the same time. It has a lane for each runtime, with workers of its own,
// so that one that is slow keeps nobody waiting who is elsewhere.
type todo struct {
	// lane says on which one an agent is; nil means that there is only "".
	lane func(id string) string

	mu     sync.Mutex
	lanes  map[string]*lane
	rest   *sync.Cond // for those who wait until nothing is to be done
	queued map[string]bool
	busy   map[string]bool
	again  map[string]bool
	timers map[string]*time.Timer
	closed bool
}

type lane struct {
	list []string
	wake *sync.Cond
}

func (t *todo) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready()
	t.closed = false
}

func (t *todo) ready() {
	if t.lanes == nil {
		t.lanes, t.rest = map[string]*lane{}, sync.NewCond(&t.mu)
		t.queued, t.busy, t.again = map[string]bool{}, map[string]bool{}, map[string]bool{}
		t.timers, t.closed = map[string]*time.Timer{}, true
	}
}

// of gives the lane of the name. t.mu is held.
func (t *todo) of(name string) *lane {
	l := t.lanes[name]
	if l == nil {
		l = &lane{wake: sync.NewCond(&t.mu)}
		t.lanes[name] = l
	}
	return l
}

func (t *todo) laneOf(id string) string {
	if t.lane == nil {
		return ""
	}
	return t.lane(id)
}

// queue puts the agent at the end of a lane. t.mu is held.
func (t *todo) queue(id, name string) {
	t.queued[id] = true
	l := t.of(name)
	l.list = append(l.list, id)
	l.wake.Signal()
}

func (t *todo) add(id string) {
	name := t.laneOf(id)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready()
	switch {
	case t.closed || t.queued[id]:
	case t.busy[id]:
		t.again[id] = true
	default:
		t.queue(id, name)
	}
}

// take waits for an agent of the lane to look at; false once the list is closed.
func (t *todo) take(name string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.of(name)
	for len(l.list) == 0 && !t.closed {
		l.wake.Wait()
	}
	if t.closed {
		return "", false
	}
	id := l.list[0]
	l.list = l.list[1:]
	delete(t.queued, id)
	t.busy[id] = true
	return id, true
}

func (t *todo) done(id string) {
	name := t.laneOf(id)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, id)
	if t.again[id] && !t.closed {
		t.queue(id, name)
	}
	delete(t.again, id)
	t.rest.Broadcast()
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
		t.rest.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queued)+len(t.busy) > 0 && ctx.Err() == nil {
		t.rest.Wait()
	}
}

func (t *todo) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	clear(t.queued)
	for id, timer := range t.timers {
		timer.Stop()
		delete(t.timers, id)
	}
	for _, l := range t.lanes {
		l.list = nil
		l.wake.Broadcast()
	}
	t.rest.Broadcast()
}
