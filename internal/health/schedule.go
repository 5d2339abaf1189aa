package health

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"time"
)

// agenda is the heap of checks by the time when they are due.
type agenda []*check

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push is for package heap.
func (a *agenda) Push(x any) {
	c := x.(*check)
	c.place = len(*a)
	*a = append(*a, c)
}

// Pop is for package heap.
func (a *agenda) Pop() any {
	old := *a
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	c.place = -1
	return c
}

// plan puts the check on the agenda, or moves it there.
func (c *Checker) plan(ch *check, due time.Time) {
	if ch.gone {
		return
	}
	ch.due = due
	if ch.place >= 0 {
		heap.Fix(&c.agenda, ch.place)
	} else {
		heap.Push(&c.agenda, ch)
	}
	if ch.place == 0 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// drop takes the check off the agenda for good; answers on their way are ignored.
func (c *Checker) drop(ch *check) {
	ch.gone = true
	if ch.place >= 0 {
		heap.Remove(&c.agenda, ch.place)
	}
}

// jitter shortens d by up to a fifth, so that what began together does not stay
// together and nothing waits longer than was asked for.
func jitter(d time.Duration) time.Duration {
	return d - rand.N(d/5+1)
}

// schedule hands due checks to the workers. It is one goroutine with one timer
// for any number of checks; while all workers are busy it waits with the rest.
func (c *Checker) schedule(ctx context.Context, jobs chan<- job) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		j, wait := c.next()
		if j.check != nil {
			select {
			case jobs <- j:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

// job is one probe to be sent.
type job struct {
	check      *check
	started    time.Time
	agentID    string
	instanceID string
	exec       Execer
}

// next takes the first due check, or says how long there is none. A check of an
// instance that was well stays on the agenda, so that a second probe goes out
// beside one that hangs.
func (c *Checker) next() (job, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.agenda) == 0 {
		return job{}, time.Hour
	}
	now, ch := c.now(), c.agenda[0]
	if wait := ch.due.Sub(now); wait > 0 {
		return job{}, wait
	}
	ch.inflight++
	if ch.well() && ch.fails+ch.inflight < ch.threshold() {
		c.plan(ch, now.Add(ch.patience()))
	} else {
		heap.Pop(&c.agenda)
	}
	return job{
		check: ch, started: now, agentID: ch.subject.AgentID, instanceID: ch.target.InstanceID, exec: ch.subject.Exec,
	}, 0
}

// work sends probes until jobs is closed.
func (c *Checker) work(ctx context.Context, jobs <-chan job) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-jobs:
			a := c.Probe(ctx, j.agentID, j.instanceID, j.check.probe, j.exec)
			if ctx.Err() == nil {
				c.take(j, a)
			}
		}
	}
}

// take judges one answer and plans the next probe.
func (c *Checker) take(j job, a Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, now := j.check, c.now()
	ch.inflight--
	if ch.gone {
		return
	}
	flipped, hung := ch.judge(a, j.started, now)
	switch {
	case ch.inflight > 0 && ch.fails > 0 && ch.fails+ch.inflight >= ch.threshold():
		// The probes on their way will decide.
		c.plan(ch, now.Add(ch.interval()))
	default:
		c.plan(ch, now.Add(jitter(ch.rest(now))))
	}
	if flipped {
		c.flipped(ch, now)
	}
	if hung {
		c.hung(ch, now)
	}
}
