package recovery

import (
	"slices"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

const (
	samplesKept = 30 // of an agent
	deadKept    = 10
)

// watch is what was measured lately. It is not stored: after a start it fills
// anew within seconds.
type watch struct {
	mu     sync.Mutex
	agents map[string]*watched
	files  map[string]*file // by incident
}

// file is what is kept of an incident that is not over.
type file struct {
	calmAt   time.Time // since when nothing is wrong; zero while something is
	lastLook time.Time
}

type watched struct {
	samples  []cause.Sample
	backlog  []cause.Queue
	dead     []queue.DeadLetter
	good     int // revision
	goodAt   time.Time
	lastLook time.Time
}

func (w *watch) of(id string) *watched {
	if w.agents == nil {
		w.agents = map[string]*watched{}
	}
	a := w.agents[id]
	if a == nil {
		a = &watched{}
		w.agents[id] = a
	}
	return a
}

// fill puts what was measured into the facts.
func (w *watch) fill(f *cause.Facts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.of(f.AgentID)
	f.Samples, f.Backlog = slices.Clone(a.samples), slices.Clone(a.backlog)
	for _, d := range slices.Backward(a.dead) {
		f.Dead = append(f.Dead, d)
	}
}

func (w *watch) sampled(id string, list ...cause.Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.of(id)
	a.samples = append(a.samples, list...)
	a.samples = a.samples[max(0, len(a.samples)-samplesKept):]
}

func (w *watch) queued(id string, q cause.Queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.of(id)
	a.backlog = append(a.backlog, q)
	a.backlog = a.backlog[max(0, len(a.backlog)-samplesKept):]
}

func (w *watch) died(d queue.DeadLetter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.of(d.AgentID)
	if slices.ContainsFunc(a.dead, func(o queue.DeadLetter) bool { return o.Sequence == d.Sequence }) {
		return
	}
	a.dead = append(a.dead, d)
	a.dead = a.dead[max(0, len(a.dead)-deadKept):]
}

// calm notes whether nothing is wrong any more with what an incident is about,
// and gives since when.
func (w *watch) calm(id string, is bool, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.file(id)
	switch {
	case !is:
		f.calmAt = time.Time{}
		return 0
	case f.calmAt.IsZero():
		f.calmAt = now
	}
	return now.Sub(f.calmAt)
}

// again tells whether it is time to look for a better explanation.
func (w *watch) again(id string, every time.Duration, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.file(id)
	if now.Sub(f.lastLook) < every && !now.Before(f.lastLook) {
		return false
	}
	f.lastLook = now
	return true
}

// file gives what is kept of an incident; those that were not looked at for long
// are forgotten.
func (w *watch) file(id string) *file {
	if w.files == nil {
		w.files = map[string]*file{}
	}
	if len(w.files) > 10_000 {
		clear(w.files)
	}
	f := w.files[id]
	if f == nil {
		f = &file{}
		w.files[id] = f
	}
	return f
}

// proved notes that a revision runs well, and tells whether that is news.
func (w *watch) proved(id string, revision int, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.of(id)
	if a.good == revision {
		return false
	}
	a.good, a.goodAt = revision, now
	return true
}

// goodFor is how long ago the revision was found to run well; very long if that
// was in an earlier life of the portal.
func (w *watch) goodFor(id string, revision int, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.of(id)
	if a.good != revision {
		return 24 * time.Hour
	}
	return now.Sub(a.goodAt)
}

func (w *watch) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of(id).good = 0
}

// due tells whether it is time to look at an agent again.
func (w *watch) due(id string, every time.Duration, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.of(id)
	if now.Sub(a.lastLook) < every && !now.Before(a.lastLook) {
		return false
	}
	a.lastLook = now
	return true
}

// keep forgets agents that are not watched any more.
func (w *watch) keep(ids map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.agents {
		if !ids[id] {
			delete(w.agents, id)
		}
	}
}
