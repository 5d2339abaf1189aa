package health

import (
	"reflect"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

// Subject is an agent that is meant to run, as the checker needs to know it.
type Subject struct {
	AgentID string
	Name    string   // other agents depend on it by this
	Wanted  int      // instances
	Needs   []string // names of the agents it depends on
	// Suspended says that it is frozen: it is not probed.
	Suspended bool
	// Health and Reason are what is stored of it. They count until the probes
	// have answered, so that a restart of the portal changes nothing.
	Health  agent.Health
	Reason  string
	Targets []Target
	Exec    Execer // nil if the runtime can't
	Meter   Meter  // nil if the runtime can't
}

// Target is one instance of a Subject.
type Target struct {
	InstanceID string
	// Run names one life of the instance's process; another value means that it
	// was restarted, and what was known of it no longer counts.
	Run string
	// Up says that its process runs, or is about to, which Begins says; Note says why not.
	Up, Begins bool
	Note       string
	// Liveness and Readiness have their ports as numbers; nil is not asked.
	Liveness  *agent.Probe
	Readiness *agent.Probe
	// Live and Ready are what was known before, by an earlier life of the portal.
	Live, Ready *bool
	Restarts    int
	// Guarded says that somebody else starts it again when its liveness probe fails:
	// what the probe says is shown, and nothing is done about it here.
	Guarded bool
}

const (
	defaultInterval = 10 * time.Second
	// confirmSlow is how long a probe of an instance that was well may hang
	// before the next one is sent beside it, and confirmFast how long after a
	// failed one: a hang is then certain within the timeout and a little.
	confirmSlow = 150 * time.Millisecond
	confirmFast = 500 * time.Millisecond
	// recoverPace is the longest pause between two probes of an instance that is not well.
	recoverPace = time.Second
	// The pauses between probes of an instance that has not answered yet.
	startPaceMin  = 50 * time.Millisecond
	startPaceMax  = 250 * time.Millisecond
	startPaceExec = 500 * time.Millisecond
	startEager    = time.Minute // after that, once an interval
)

// check is one question about one instance, and what is known of the answer.
type check struct {
	subject *subject
	target  *target
	kind    Kind
	probe   agent.Probe

	due   time.Time
	place int // in the heap; -1 if it is not there

	answer  *bool // nil until the threshold has decided
	reason  string
	latency time.Duration
	fails   int // in a row
	goods   int // in a row

	inflight  int
	gone      bool // was replaced or removed
	began     time.Time
	pace      time.Duration // next pause while it has not answered yet
	lastGood  time.Time     // begin of the last probe that succeeded
	lastCount time.Time     // when a failure before the first answer last counted
	unsure    int           // answers in a row that said nothing
}

func newCheck(s *subject, t *target, kind Kind, p agent.Probe, seed *bool, now time.Time) *check {
	c := &check{subject: s, target: t, kind: kind, probe: p, place: -1, began: now, pace: startPaceMin}
	if seed != nil {
		known := *seed
		c.answer = &known
		if !known {
			c.reason = string(kind) + " probe failed before"
		}
	}
	return c
}

func (c *check) interval() time.Duration { return c.probe.Interval.Or(defaultInterval) }

func (c *check) threshold() int {
	if c.probe.FailureThreshold < 1 {
		return 3
	}
	return c.probe.FailureThreshold
}

func (c *check) successes() int { return max(1, c.probe.SuccessThreshold) }

// patience is how long a probe may hang before another is sent beside it.
func (c *check) patience() time.Duration {
	return min(max(confirmSlow, 2*c.latency), max(c.interval(), confirmSlow))
}

// well tells whether the answer is a yes.
func (c *check) well() bool { return c.answer != nil && *c.answer }

// rest is the pause until the next probe, once the last one has been judged.
func (c *check) rest(now time.Time) time.Duration {
	every := c.interval()
	switch {
	case c.answer == nil && now.Sub(c.began) < startEager:
		pace := c.pace
		c.pace = min(c.pace*3/2, startPaceMax)
		if c.probe.Exec != nil {
			pace = startPaceExec
		}
		return min(pace, every)
	case c.answer == nil:
		return every
	case !*c.answer:
		return min(every, recoverPace)
	case c.unsure > 0:
		return min(every, startPaceMin) // ask again what was not answered
	case c.fails > 0:
		return min(every, confirmFast)
	}
	return every
}

// judge takes one answer in and tells whether the verdict changed, and whether
// a liveness probe has failed often enough for a restart.
func (c *check) judge(a Answer, started, now time.Time) (flipped, hung bool) {
	c.latency = a.Latency
	if a.OK {
		c.fails, c.unsure, c.goods = 0, 0, c.goods+1
		if started.After(c.lastGood) {
			c.lastGood = started
		}
		if c.well() || c.answer != nil && c.goods < c.successes() {
			return false, false
		}
		c.answer, c.reason = new(true), ""
		return true, false
	}
	if a.Unsure && c.unsure < 20 {
		c.unsure++
		return false, false
	}
	if started.Before(c.lastGood) {
		return false, false // a later probe has succeeded meanwhile
	}
	c.unsure, c.goods, c.reason = 0, 0, a.Reason
	if c.answer == nil {
		// It may still be starting: a failure counts once an interval.
		if now.Sub(c.lastCount) < c.interval() && !c.lastCount.IsZero() || now.Sub(c.began) < c.interval() {
			return false, false
		}
		c.lastCount = now
	}
	c.fails++
	if c.fails < c.threshold() {
		return false, false
	}
	hung = c.kind == Liveness && c.fails%c.threshold() == 0
	if c.answer != nil && !*c.answer {
		return false, hung
	}
	c.answer = new(false)
	return true, hung
}

// subject and target are what the checker keeps of a Subject.
type subject struct {
	Subject
	targets map[string]*target
	// own and ownReason are the health without the dependencies.
	own       agent.Health
	ownReason string
	removed   bool
	// acted are the times of recent restarts, oldest first.
	acted   []time.Time
	givenUp bool
	// What is still to be stored.
	results []Result
	dirty   bool
	busy    bool
}

type target struct {
	Target
	checks    []*check
	restarted bool      // has not answered since it was restarted
	coolUntil time.Time // no further restart before
}

func (t *target) check(k Kind) *check {
	for _, c := range t.checks {
		if c.kind == k {
			return c
		}
	}
	return nil
}

func answerOf(c *check) *bool {
	if c == nil || c.answer == nil {
		return nil
	}
	return new(*c.answer)
}

func sameProbe(a, b *agent.Probe) bool {
	return a == b || a != nil && b != nil && reflect.DeepEqual(a, b)
}
