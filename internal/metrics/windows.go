package metrics

import (
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/queue"
)

// Fresh is how old a figure may be and still count as the present.
const Fresh = 45 * time.Second

// newborn is how soon after the start of a process its first page must come so
// that all it counted is taken as added since then. Of an older one only what
// is added from now on can be placed in time.
const newborn = time.Minute

// Windows keeps the figures of the last hour in memory. Now must be set before
// its first use, and should carry the monotonic clock.
type Windows struct {
	Now func() time.Time

	mu       sync.RWMutex
	epoch    time.Time
	agents   map[string]*subject
	backlogs map[string]queue.Stats
	queuesAt time.Time
}

// subject is an agent with what is known of its running instances.
type subject struct {
	*record
	instances map[string]*instance
}

// instance is what is known of one run of an instance.
type instance struct {
	Target
	asked  bool
	page   Page
	at     time.Time // of the page; zero without one
	none   bool      // it answers, and has no figures
	reason string    // why the last page did not come; "" if it did
}

var _ Reader = (*Windows)(nil)

// start begins the slots with the first call. The hour before it is left room
// for, so that the start of a process may lie in it.
func (w *Windows) start() time.Time {
	now := w.Now()
	if w.epoch.IsZero() {
		w.epoch, w.agents = now.Add(-Kept), map[string]*subject{}
	}
	return now
}

// Watch says what runs now. What no longer runs keeps its figures for an hour.
func (w *Windows) Watch(targets []Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.start()
	running := map[string]map[string]*instance{}
	for _, t := range targets {
		if running[t.AgentID] == nil {
			running[t.AgentID] = map[string]*instance{}
		}
		running[t.AgentID][t.InstanceID] = w.instance(t)
	}
	for id, list := range running {
		if w.agents[id] == nil {
			w.agents[id] = &subject{record: newRecord()}
		}
		w.agents[id].instances = list
	}
	for id, s := range w.agents {
		if running[id] != nil {
			continue
		}
		s.instances = nil
		if slotOf(now.Sub(w.epoch))-s.newest >= slots {
			delete(w.agents, id)
		}
	}
}

// instance gives what is known of the run of a target.
func (w *Windows) instance(t Target) *instance {
	if s := w.agents[t.AgentID]; s != nil {
		if in := s.instances[t.InstanceID]; in != nil && in.Run == t.Run {
			in.Target = t
			return in
		}
	}
	return &instance{Target: t}
}

// known gives the run of a target that is watched, nil if it is not any more.
func (w *Windows) known(t Target) (*subject, *instance) {
	s := w.agents[t.AgentID]
	if s == nil {
		return nil, nil
	}
	in := s.instances[t.InstanceID]
	if in == nil || in.Run != t.Run {
		return nil, nil
	}
	return s, in
}

// Take keeps what an instance reported now.
func (w *Windows) Take(t Target, p Page) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.start()
	s, in := w.known(t)
	if in == nil {
		return
	}
	p = p.bounded()
	to := now.Sub(w.epoch)
	switch age := now.Sub(t.StartedAt); {
	case !in.at.IsZero():
		s.take(p.since(in.page), in.at.Sub(w.epoch), to)
	case !t.StartedAt.IsZero() && age >= 0 && age <= newborn:
		s.take(p.since(Page{}), to-age, to)
	}
	in.asked, in.none, in.reason = true, false, ""
	in.page, in.at, s.at = p, now, now
	var rss float64
	for _, other := range s.instances {
		if other.page.Memory != nil && now.Sub(other.at) <= Fresh {
			rss += *other.page.Memory
		}
	}
	s.note(p, to, rss)
}

// Miss keeps why an instance did not report; none says that it answers and has
// no figures.
func (w *Windows) Miss(t Target, reason string, none bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start()
	if _, in := w.known(t); in != nil {
		in.asked, in.reason, in.none = true, reason, none && in.at.IsZero()
	}
}

// SetBacklogs keeps what waits in the queues now.
func (w *Windows) SetBacklogs(all map[string]queue.Stats) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queuesAt = w.start()
	w.backlogs = all
}
