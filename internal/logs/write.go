package logs

import (
	"context"
	"time"
)

// write puts batches into the store, in their order, and saves the cursors once
// they are on disk. It ends when there are no more batches.
func (c *Collector) write(ctx context.Context, done map[string]string) {
	tick := time.NewTicker(c.Save)
	defer tick.Stop()
	dirty, ended := false, false
	for {
		select {
		case b, ok := <-c.batches:
			if !ok {
				if dirty {
					c.last(done)
				}
				return
			}
			// What can't be added at the end is read again at the next start, with
			// all that comes after it.
			if ended = ended || !c.add(ctx, b.entries); !ended {
				done[b.agent], dirty = b.cursor, true
			}
		case <-tick.C:
			if dirty && c.save(ctx, done) {
				dirty = false
			}
		}
	}
}

// add tries until the store has taken the entries; false if that was not
// possible before the end.
func (c *Collector) add(ctx context.Context, entries []Entry) bool {
	if len(entries) == 0 {
		return true
	}
	pause := retryFirst
	for {
		err := c.Sink.Add(ctx, entries)
		if err == nil {
			c.mu.Lock()
			c.taken += int64(len(entries))
			c.takenAt, c.problem = c.Now(), nil
			c.mu.Unlock()
			return true
		}
		c.failed("can't take in what agents write; it stays in their files", err)
		if !rest(ctx, &pause) {
			return false
		}
	}
}

// save makes what was added durable, and remembers how far that is.
func (c *Collector) save(ctx context.Context, done map[string]string) bool {
	ctx, cancel := context.WithTimeout(ctx, syncMost)
	defer cancel()
	c.forget(done)
	at := c.Now()
	err := c.Sink.Sync(ctx)
	if err == nil {
		err = c.Cursors.Save(ctx, done)
	}
	if err != nil {
		if ctx.Err() == nil {
			c.failed("can't remember how far the agents' output was read; the next start reads more of it again", err)
		}
		return false
	}
	c.well()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.savedAt = at
	return true
}

// last saves at the end, within the time that a stop has.
func (c *Collector) last(done map[string]string) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	c.save(ctx, done)
}

// forget drops the cursors of agents that are gone.
func (c *Collector) forget(done map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.visits) == 0 {
		return // the agents are not known yet
	}
	for id := range done {
		if c.visits[id] == nil {
			delete(done, id)
		}
	}
}

// Progress completes the status of the store with how far the collector is.
func (c *Collector) Progress(s Status) Status {
	c.init()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.TakenIn, s.TakenAt, s.SavedAt, s.Refusals = c.taken, c.takenAt, c.savedAt, c.refusals
	for _, v := range c.visits {
		if v.behind.Load() {
			s.Behind++
		}
	}
	if s.Problem == "" && c.problem != nil {
		s.Problem = shown(c.problem)
	}
	return s
}
