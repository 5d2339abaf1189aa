package logs

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// Collector reads the output of all agents and puts it into the store. A fixed
// number of workers reads, whoever is due, and one goroutine writes; what was
// read and is not written yet is bounded, so that a slow store slows the reading
// and nothing piles up.
//
// The cursors are saved after the store has put on disk what they cover. After a
// crash the lines in between are read again, and those that the store already has
// are left out.
type Collector struct {
	Source  Source
	Sink    Sink
	Cursors Cursors
	Now     func() time.Time
	Log     *slog.Logger  // nil means slog.Default()
	Every   time.Duration // between two reads of an agent that writes; 0 means 250 ms
	Save    time.Duration // between two savings of the cursors; 0 means 10 seconds
	Workers int           // 0 means 2

	hub hub

	mu       sync.Mutex
	agenda   agenda
	visits   map[string]*visit
	taken    int64
	takenAt  time.Time
	savedAt  time.Time
	refusals int64
	problem  error

	once    sync.Once
	stir    chan struct{} // what is due may have changed
	known   chan struct{} // the list of agents may have changed
	batches chan batch
	loop    lifecycle.Loop
}

// batch is what one visit brought.
type batch struct {
	agent   string
	entries []Entry
	cursor  string
}

const (
	linesAtOnce = 2_000
	bytesAtOnce = 1 << 20
	queued      = 16              // batches between reading and writing
	idleMost    = 2 * time.Second // the longest pause before a quiet agent is looked at again
	heldPause   = 120 * time.Millisecond
	lookEvery   = time.Minute // at which agents there are
	retryFirst  = 250 * time.Millisecond
	retryMost   = 10 * time.Second
	syncMost    = 15 * time.Second
)

// Name is "logs".
func (c *Collector) Name() string { return "logs" }

func (c *Collector) init() {
	c.once.Do(func() {
		c.visits = map[string]*visit{}
		c.stir, c.known, c.batches = make(chan struct{}, 1), make(chan struct{}, 1), make(chan batch, queued)
		if c.Every <= 0 {
			c.Every = 250 * time.Millisecond
		}
		if c.Save <= 0 {
			c.Save = 10 * time.Second
		}
		if c.Workers <= 0 {
			c.Workers = 2
		}
		if c.Log == nil {
			c.Log = slog.Default()
		}
	})
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Poke says that an agent may have written something, or is new.
func (c *Collector) Poke(agentID string) {
	c.init()
	c.mu.Lock()
	v := c.visits[agentID]
	if v != nil && v.place >= 0 { // else it is being read just now
		v.pause = c.Every
		if now := c.Now(); v.due.After(now) {
			v.due = now
			heap.Fix(&c.agenda, v.place)
		}
	}
	c.mu.Unlock()
	if v == nil {
		nudge(c.known)
	}
	nudge(c.stir)
}

// Start begins to read.
func (c *Collector) Start(context.Context) error {
	c.init()
	return c.loop.Go(c.run)
}

// Stop ends the reading, and writes what was read.
func (c *Collector) Stop(ctx context.Context) error { return c.loop.Halt(ctx) }

func (c *Collector) run(ctx context.Context) {
	cursors, ok := c.load(ctx)
	if !ok {
		return
	}
	jobs := make(chan *visit)
	var readers, writer sync.WaitGroup
	for range c.Workers {
		readers.Go(func() { c.work(ctx, jobs) })
	}
	readers.Go(func() { c.watch(ctx, maps.Clone(cursors)) })
	writer.Go(func() { c.write(ctx, cursors) })
	c.schedule(ctx, jobs)
	readers.Wait()
	close(c.batches)
	writer.Wait()
}

// load reads the cursors. Without them everything is read, and what the store
// has is left out.
func (c *Collector) load(ctx context.Context) (map[string]string, bool) {
	pause := retryFirst
	for {
		cursors, err := c.Cursors.Load(ctx)
		if err == nil {
			if cursors == nil {
				cursors = map[string]string{}
			}
			return cursors, true
		}
		c.failed("can't tell how far the agents' output was read", err)
		if !rest(ctx, &pause) {
			return nil, false
		}
	}
}

// rest waits, longer each time; false if ctx ends.
func rest(ctx context.Context, pause *time.Duration) bool {
	timer := time.NewTimer(*pause)
	defer timer.Stop()
	*pause = min(2**pause, retryMost)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// failed says once what goes wrong.
func (c *Collector) failed(what string, err error) {
	c.mu.Lock()
	fresh := c.problem == nil || c.problem.Error() != err.Error()
	c.problem = err
	c.refusals++
	c.mu.Unlock()
	if fresh && !errors.Is(err, context.Canceled) {
		c.Log.Warn(what, "err", err)
	}
}

func (c *Collector) well() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = nil
}

// watch looks which agents there are, now and then and when stirred.
func (c *Collector) watch(ctx context.Context, cursors map[string]string) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		ids, err := c.Source.Agents(ctx)
		if err == nil {
			c.set(ids, cursors)
			nudge(c.stir)
		} else if ctx.Err() == nil {
			c.Log.Warn("can't tell whose output is to be read", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.known:
		}
	}
}

// set takes the agents that there are. Cursors are those of the start.
func (c *Collector) set(ids []string, cursors map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := make(map[string]bool, len(ids))
	for _, id := range ids {
		there[id] = true
		if c.visits[id] == nil {
			v := &visit{agent: id, cursor: cursors[id], fresh: true, due: c.Now(), pause: c.Every}
			c.visits[id] = v
			heap.Push(&c.agenda, v)
		}
	}
	for id, v := range c.visits {
		if !there[id] {
			c.agenda.drop(v)
			delete(c.visits, id)
			delete(cursors, id)
		}
	}
}

// schedule hands due visits to the workers.
func (c *Collector) schedule(ctx context.Context, jobs chan<- *visit) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		v, wait := c.next()
		if v != nil {
			select {
			case jobs <- v:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.stir:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Collector) next() (*visit, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.agenda) == 0 {
		return nil, time.Hour
	}
	if wait := c.agenda[0].due.Sub(c.Now()); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&c.agenda).(*visit), 0
}

func (c *Collector) work(ctx context.Context, jobs <-chan *visit) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-jobs:
			pause := c.visit(ctx, v)
			c.mu.Lock()
			if !v.gone {
				v.due = c.Now().Add(pause)
				heap.Push(&c.agenda, v)
			}
			c.mu.Unlock()
			nudge(c.stir)
		}
	}
}

// visit reads on in the output of an agent and says when to come again.
func (c *Collector) visit(ctx context.Context, v *visit) time.Duration {
	now := c.Now()
	lines, more, err := c.read(ctx, v)
	if err != nil {
		if fault.Is(err, fault.Invalid) && v.cursor != "" {
			v.cursor, v.fresh = "", true // not ours any more: from the beginning
			return 0
		}
		if ctx.Err() == nil {
			c.Log.Debug("can't read an agent's output", "agent", v.agent, "err", err)
		}
		return v.quiet()
	}
	entries, used := gather(v.agent, lines, more, now)
	if used > 0 {
		if entries, err = c.unknown(ctx, v, entries); err != nil {
			c.failed("can't tell what the store has", err)
			return v.quiet()
		}
		v.cursor = lines[used-1].Cursor
		c.hub.publish(entries)
		select {
		case c.batches <- batch{v.agent, entries, v.cursor}:
		case <-ctx.Done():
			return 0
		}
	}
	v.behind.Store(more)
	switch {
	case more:
		return 0
	case used < len(lines):
		return heldPause
	}
	v.fresh, v.added = false, nil
	if used > 0 {
		v.pause = c.Every
		return v.pause
	}
	return v.quiet()
}
