package fleet

import (
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
