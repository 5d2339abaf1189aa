package health

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Keeper stores an agent's health.
type Keeper interface {
	Get(ctx context.Context, id string) (*agent.Agent, error)
	SaveHealth(ctx context.Context, id string, h agent.Health, reason string, at time.Time) error
}

// Announcer appends events.
type Announcer interface {
	Append(ctx context.Context, events ...event.Event) error
}

// Meter measures an instance, e.g. cpu_seconds and memory_bytes.
type Meter interface {
	Measure(ctx context.Context, agentID, instanceID string) (map[string]float64, error)
}

// Remedy is what can be done about an instance that hangs.
type Remedy interface {
	// Restart kills the instance's process and starts it again in its place.
	// Conflict if the agent is being worked on; it is then left alone.
	Restart(ctx context.Context, agentID, instanceID, reason string) error
	// GiveUp says that restarting did not help often enough.
	GiveUp(ctx context.Context, agentID, instanceID, reason string) error
}

// Checker probes the instances of the agents that it was given, sums up their
// health, stores every change and has hung instances restarted. One goroutine
// holds the agenda and a fixed number of workers ask, however many instances
// there are.
type Checker struct {
	Prober
	Agents Keeper
	Store  Store
	Tx     txn.Runner
	Events Announcer
	Audit  *audit.Recorder
	Remedy Remedy // may be set until Start; nil: nothing is restarted
	// Changed is called after an instance's answer changed; it must not block. May be nil.
	Changed func(agentID string)
	Now     func() time.Time
	Log     *slog.Logger // nil means slog.Default()
	// Workers bounds the probes that are asked at once; 0 means 64.
	Workers int
	// At most RestartLimit restarts of one agent in RestartWindow; 0 means 5 in
	// 10 minutes. Then GiveUp.
	RestartLimit  int
	RestartWindow time.Duration
	// CoolDown is the least time between two restarts of one instance; 0 means 5 seconds.
	CoolDown time.Duration

	mu       sync.Mutex
	agenda   agenda
	subjects map[string]*subject // by agent id
	named    map[string]*subject // by id and name, lower case
	needs    map[string]map[*subject]struct{}
	complete bool
	changed  []*subject // dirty ones that nobody is storing
	wake     chan struct{}
	stir     chan struct{}
	once     sync.Once
	loop     lifecycle.Loop
	restarts sync.WaitGroup
	slots    chan struct{}
	outage   atomic.Bool
}

// Name is "health".
func (c *Checker) Name() string { return "health" }

func (c *Checker) init() {
	c.once.Do(func() {
		c.subjects, c.named = map[string]*subject{}, map[string]*subject{}
		c.needs = map[string]map[*subject]struct{}{}
		c.wake, c.stir = make(chan struct{}, 1), make(chan struct{}, 1)
		c.slots = make(chan struct{}, 16)
	})
}

func (c *Checker) now() time.Time { return c.Now() }

func (c *Checker) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}

// Start begins to probe what has been Set.
func (c *Checker) Start(context.Context) error {
	c.init()
	return c.loop.Go(c.run)
}

// Stop ends all probing.
func (c *Checker) Stop(ctx context.Context) error { return c.loop.Halt(ctx) }

// run owns the goroutines: the agenda, the probes and the storing.
func (c *Checker) run(ctx context.Context) {
	jobs := make(chan job)
	var wg sync.WaitGroup
	workers := c.Workers
	if workers <= 0 {
		workers = 64
	}
	for range workers {
		wg.Go(func() { c.work(ctx, jobs) })
	}
	for range 4 {
		wg.Go(func() { c.write(ctx) })
	}
	wg.Go(func() { c.prune(ctx) })
	c.schedule(ctx, jobs)
	wg.Wait()
	c.restarts.Wait()
}

// Complete says that every agent that is meant to run has been Set once: from
// now on one that was not counts as not running for those that depend on it.
func (c *Checker) Complete() {
	c.init()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.complete {
		return
	}
	c.complete = true
	for _, s := range c.subjects {
		if len(s.Needs) > 0 {
			c.touch(s)
		}
	}
}

// Set tells the checker about an agent that is meant to run, and later about
// every change of it. Probes of instances that did not change go on undisturbed.
func (c *Checker) Set(sub Subject) {
	c.init()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	s := c.subjects[sub.AgentID]
	if s == nil {
		s = &subject{targets: map[string]*target{}, own: sub.Health}
		c.subjects[sub.AgentID] = s
	} else {
		// What was stored from here is newer than what the caller has read.
		sub.Health, sub.Reason = s.Subject.Health, s.Subject.Reason
		c.unname(s)
	}
	wasSuspended := s.Suspended
	s.Subject = sub
	c.name(s)
	seen := map[string]bool{}
	for _, t := range sub.Targets {
		seen[t.InstanceID] = true
		c.setTarget(s, t, wasSuspended != sub.Suspended, now)
	}
	for id, t := range s.targets {
		if !seen[id] {
			c.dropTarget(t)
			delete(s.targets, id)
		}
	}
	c.touch(s)
	c.touchDependants(s)
}

// setTarget takes in what is new about one instance.
func (c *Checker) setTarget(s *subject, t Target, afresh bool, now time.Time) {
	old := s.targets[t.InstanceID]
	if old != nil && !afresh && old.Run == t.Run && old.Up == t.Up && sameProbes(old.Target, t) {
		old.Target = t
		return
	}
	if old != nil {
		c.dropTarget(old)
		if old.Run != t.Run {
			t.Live, t.Ready = nil, nil
		}
	}
	n := &target{Target: t, restarted: old != nil && old.Run != t.Run}
	if old != nil {
		n.coolUntil = old.coolUntil
	}
	s.targets[t.InstanceID] = n
	if t.Liveness != nil {
		n.checks = append(n.checks, newCheck(s, n, Liveness, *t.Liveness, t.Live, now))
	}
	if t.Readiness != nil {
		n.checks = append(n.checks, newCheck(s, n, Readiness, *t.Readiness, t.Ready, now))
	}
	if !t.Up || s.Suspended {
		return
	}
	for _, ch := range n.checks {
		c.begin(ch, now)
	}
}

// begin plans the first probe: soon if nothing is known yet, otherwise at a
// random moment of the interval, so that a fleet that is adopted at once is not
// probed at once.
func (c *Checker) begin(ch *check, now time.Time) {
	if ch.answer != nil {
		c.plan(ch, now.Add(rand.N(ch.interval())))
		return
	}
	ch.began = now.Add(time.Duration(ch.probe.InitialDelay))
	c.plan(ch, ch.began.Add(rand.N(startPaceMin)))
}

func (c *Checker) dropTarget(t *target) {
	for _, ch := range t.checks {
		c.drop(ch)
	}
}

// Remove forgets an agent that is not meant to run any more.
func (c *Checker) Remove(agentID string) {
	c.init()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subjects[agentID]
	if s == nil {
		return
	}
	s.removed = true
	for _, t := range s.targets {
		c.dropTarget(t)
	}
	delete(c.subjects, agentID)
	c.unname(s)
	c.touchDependants(s)
}

// Answers gives what the probes of an instance say; nil without an answer.
func (c *Checker) Answers(agentID, instanceID string) (live, ready *bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subjects[agentID]
	if s == nil || s.targets[instanceID] == nil {
		return nil, nil
	}
	t := s.targets[instanceID]
	return answerOf(t.check(Liveness)), answerOf(t.check(Readiness))
}

func keys(s *subject) []string {
	id, name := strings.ToLower(s.AgentID), strings.ToLower(s.Name)
	if id == name {
		return []string{id}
	}
	return []string{id, name}
}

func (c *Checker) name(s *subject) {
	for _, k := range keys(s) {
		if k != "" {
			c.named[k] = s
		}
	}
	for _, n := range s.Needs {
		k := strings.ToLower(n)
		if c.needs[k] == nil {
			c.needs[k] = map[*subject]struct{}{}
		}
		c.needs[k][s] = struct{}{}
	}
}

func (c *Checker) unname(s *subject) {
	for _, k := range keys(s) {
		if c.named[k] == s {
			delete(c.named, k)
		}
	}
	for _, n := range s.Needs {
		k := strings.ToLower(n)
		delete(c.needs[k], s)
		if len(c.needs[k]) == 0 {
			delete(c.needs, k)
		}
	}
}

// touchDependants has those looked at again that depend on s.
func (c *Checker) touchDependants(s *subject) {
	for _, k := range keys(s) {
		for d := range c.needs[k] {
			c.touch(d)
		}
	}
}
