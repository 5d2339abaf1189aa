// Package upkeep is what every runtime has to keep in order about its instances:
// who works on which of them, which agents changed, and how often one was started
// again.
package upkeep

import (
	"context"
	"regexp"
	"sync"

	"github.com/waooaw/platform-portal/internal/fault"
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,190}$`)

// CheckIDs refuses whatever could not be a part of a path or of a label: Invalid.
func CheckIDs(ids ...string) error {
	for _, id := range ids {
		if !idPattern.MatchString(id) {
			return fault.New(fault.Invalid, "id.invalid", "%.200q is not an id", id).
				Because("ids have letters, digits, dots, dashes and underscores, and begin with a letter or a digit")
		}
	}
	return nil
}

// Locks gives each instance a lock that can be waited for with a context. The zero
// value is ready.
type Locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	token chan struct{}
	users int
}

// Acquire gives the function that releases the lock, or the error of ctx.
func (l *Locks) Acquire(ctx context.Context, name string) (release func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[name]
	if k == nil {
		k = &lock{token: make(chan struct{}, 1)}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, name)
		}
	}
	select {
	case k.token <- struct{}{}:
		return func() { <-k.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// Busy tells whether somebody holds or awaits the lock.
func (l *Locks) Busy(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[name] != nil
}

// Changes passes on which agents changed, each at most once until it is taken.
// Make it by NewChanges.
type Changes struct {
	out chan string

	mu      sync.Mutex
	pending map[string]bool
	order   []string
	wake    chan struct{}
}

// NewChanges gives one that nobody has told anything.
func NewChanges() *Changes {
	return &Changes{out: make(chan string), pending: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Out is where the ids of agents come out while Send runs.
func (c *Changes) Out() <-chan string { return c.out }

// Add notes that the agent changed; it never waits.
func (c *Changes) Add(agentID string) {
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

// Send passes changes on until ctx ends.
func (c *Changes) Send(ctx context.Context) {
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
