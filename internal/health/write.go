package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// touch has the agent's health summed up again and stored if it changed.
func (c *Checker) touch(s *subject) {
	if s.dirty || s.removed {
		return
	}
	s.dirty = true
	if !s.busy {
		c.enqueue(s)
	}
}

func (c *Checker) enqueue(s *subject) {
	c.changed = append(c.changed, s)
	c.rouse()
}

func (c *Checker) rouse() {
	select {
	case c.stir <- struct{}{}:
	default:
	}
}

// flipped takes note of a changed answer.
func (c *Checker) flipped(ch *check, now time.Time) {
	if ch.well() && ch.target.restarted {
		ch.target.restarted = false
		for _, other := range ch.target.checks {
			ch.target.restarted = ch.target.restarted || other.answer == nil
		}
	}
	s := ch.subject
	s.results = append(s.results, Result{
		AgentID: s.AgentID, InstanceID: ch.target.InstanceID, Kind: ch.kind,
		OK: *ch.answer, Reason: ch.reason, Latency: ch.latency, At: now.UTC(),
	})
	c.touch(s)
	if c.Changed != nil {
		c.Changed(s.AgentID)
	}
}

// write stores changes, one agent at a time, until ctx ends.
func (c *Checker) write(ctx context.Context) {
	for {
		w := c.pick()
		if w == nil {
			select {
			case <-ctx.Done():
				return
			case <-c.stir:
			}
			continue
		}
		err := c.store(ctx, w)
		c.tellOutage(err)
		if err != nil {
			t := time.NewTimer(time.Second)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
		if ctx.Err() != nil {
			return
		}
		c.stored(w, err)
	}
}

// tellOutage logs the begin and the end of a time in which the store refuses.
func (c *Checker) tellOutage(err error) {
	switch {
	case err == nil && c.outage.CompareAndSwap(true, false):
		c.log().Info("the store takes the health of agents again")
	case err != nil && !errors.Is(err, context.Canceled) && c.outage.CompareAndSwap(false, true):
		c.log().Error("can't store the health of agents; trying again", "error", err)
	}
}

// writing is what is to be stored about one agent.
type writing struct {
	s       *subject
	agentID string
	results []Result
	health  agent.Health
	reason  string
	changed bool
	metrics map[string]any
	targets []string
	meter   Meter
}

// pick takes the next agent of which something is to be stored.
func (c *Checker) pick() *writing {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.changed) > 0 {
		s := c.changed[0]
		c.changed = c.changed[1:]
		s.dirty = false
		if s.removed {
			continue
		}
		own, reason := ownHealth(s)
		if own != s.own {
			c.touchDependants(s)
		}
		s.own, s.ownReason = own, reason
		w := &writing{s: s, agentID: s.AgentID, results: s.results, meter: s.Meter}
		w.health, w.reason = c.withDependencies(s, own, reason)
		w.changed = w.health != s.Health || w.reason != s.Reason
		if !w.changed && len(w.results) == 0 {
			continue
		}
		s.busy, s.results = true, nil
		w.metrics = metricsOf(s)
		for id, t := range s.targets {
			if t.Up {
				w.targets = append(w.targets, id)
			}
		}
		if len(c.changed) > 0 {
			c.rouse()
		}
		return w
	}
	return nil
}

// metricsOf gives what is known without asking anybody.
func metricsOf(s *subject) map[string]any {
	ready, restarts := 0, 0
	var slowest time.Duration
	for _, t := range s.targets {
		if state, _ := t.condition(); state == isReady {
			ready++
		}
		restarts += t.Restarts
		for _, ch := range t.checks {
			slowest = max(slowest, ch.latency)
		}
	}
	return map[string]any{
		"instances_ready": ready, "instances_wanted": s.Wanted, "restarts": restarts,
		"latency_ms": float64(slowest.Microseconds()) / 1000,
	}
}

// store writes results and health, and announces the health, in one transaction.
func (c *Checker) store(ctx context.Context, w *writing) error {
	if w.changed && w.meter != nil {
		for _, id := range w.targets {
			use, err := w.meter.Measure(ctx, w.agentID, id)
			if err != nil {
				continue // measuring is a courtesy; the health counts
			}
			for k, v := range use {
				sum, _ := w.metrics[k].(float64)
				w.metrics[k] = sum + v
			}
		}
	}
	now := c.now().UTC()
	err := c.Tx.Do(ctx, func(ctx context.Context) error {
		for _, r := range w.results {
			if err := c.Store.AddResult(ctx, r); err != nil {
				return err
			}
		}
		if !w.changed {
			return nil
		}
		a, err := c.Agents.Get(ctx, w.agentID)
		if err != nil || a.State != agent.Running && a.State != agent.Suspended {
			return err // it was stopped meanwhile: what was probed no longer counts
		}
		if err := c.Agents.SaveHealth(ctx, w.agentID, w.health, w.reason, now); err != nil {
			return err
		}
		return c.Events.Append(ctx, event.New(event.AgentHealthUpdate, w.agentID, "system", now,
			event.HealthUpdate{AgentID: w.agentID, Health: string(w.health), Reason: w.reason,
				Metrics: w.metrics, Timestamp: now},
			event.RoomAgents, event.RoomAgent(w.agentID)))
	})
	if fault.Is(err, fault.NotFound) {
		return nil // the agent was deleted meanwhile
	}
	return err
}

// stored takes note of what was stored, or puts it back.
func (c *Checker) stored(w *writing, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.s.busy = false
	if err != nil {
		w.s.results = append(w.results, w.s.results...)
		w.s.dirty = true
	} else if w.changed {
		w.s.Subject.Health, w.s.Subject.Reason = w.health, w.reason
	}
	if w.s.dirty {
		c.enqueue(w.s)
	}
}

// hung has an instance restarted whose liveness probe has failed often enough,
// or gives up if that was done too often.
func (c *Checker) hung(ch *check, now time.Time) {
	s, t := ch.subject, ch.target
	if c.Remedy == nil || t.Guarded || s.givenUp || now.Before(t.coolUntil) {
		return
	}
	limit, window := c.RestartLimit, c.RestartWindow
	if limit <= 0 {
		limit = 5
	}
	if window <= 0 {
		window = 10 * time.Minute
	}
	for len(s.acted) > 0 && now.Sub(s.acted[0]) > window {
		s.acted = s.acted[1:]
	}
	t.coolUntil = now.Add(c.coolDown())
	reason := "liveness probe failed: " + ch.reason
	giveUp := len(s.acted) >= limit
	if giveUp {
		s.givenUp = true
		reason = fmt.Sprintf("%s; %d restarts in %s did not help", reason, limit, window)
	} else {
		s.acted = append(s.acted, now)
	}
	agentID, instanceID := s.AgentID, t.InstanceID
	c.restarts.Go(func() {
		c.slots <- struct{}{}
		defer func() { <-c.slots }()
		c.remedy(s, ch, agentID, instanceID, reason, giveUp)
	})
}

func (c *Checker) coolDown() time.Duration {
	if c.CoolDown <= 0 {
		return 5 * time.Second
	}
	return c.CoolDown
}

// remedy restarts or gives up, and says so in the audit log.
func (c *Checker) remedy(s *subject, ch *check, agentID, instanceID, reason string, giveUp bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	action, do := "agent.remedy_restart", c.Remedy.Restart
	if giveUp {
		action, do = "agent.remedy_give_up", c.Remedy.GiveUp
	}
	err := do(ctx, agentID, instanceID, reason)
	outcome := audit.Done
	switch {
	case fault.Is(err, fault.Conflict):
		// Somebody is working on the agent; nothing was done.
		c.mu.Lock()
		s.givenUp = false
		if n := len(s.acted); n > 0 && !giveUp {
			s.acted = s.acted[:n-1]
		}
		c.mu.Unlock()
		return
	case err != nil:
		outcome = audit.Failed
		c.mu.Lock()
		s.givenUp = false
		c.mu.Unlock()
		c.log().Error("could not restart a hung instance", "agent", agentID, "instance", instanceID, "error", err)
	default:
		c.mu.Lock()
		c.afresh(ch.target)
		c.mu.Unlock()
	}
	if err := c.Audit.Record(ctx, action, "agent/"+agentID, outcome, reason, nil,
		map[string]any{"instance": instanceID}); err != nil {
		c.log().Error("can't record a restart in the audit log", "agent", agentID, "error", err)
	}
}

// afresh forgets what was known of an instance that was restarted.
func (c *Checker) afresh(t *target) {
	now := c.now()
	t.restarted = true
	for i, ch := range t.checks {
		if ch.gone {
			continue
		}
		c.drop(ch)
		t.checks[i] = newCheck(ch.subject, t, ch.kind, ch.probe, nil, now)
		c.begin(t.checks[i], now)
	}
	if len(t.checks) > 0 {
		c.touch(t.checks[0].subject)
	}
}

func sameProbes(a, b Target) bool {
	return sameProbe(a.Liveness, b.Liveness) && sameProbe(a.Readiness, b.Readiness)
}

// keepResults is how long the history of probes is kept.
const keepResults = 7 * 24 * time.Hour

// prune removes old results once an hour.
func (c *Checker) prune(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if _, err := c.Store.PruneResults(ctx, c.now().Add(-keepResults)); err != nil && ctx.Err() == nil {
			c.log().Warn("can't remove old probe results", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
