package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
)

const (
	relaunchFirst = time.Second
	relaunchMax   = 30 * time.Second
	// recoverAfter is how long the instances of an ERRORED agent must have run
	// before it counts as RUNNING again.
	recoverAfter = 2 * time.Second
)

// relaunch launches instances that are gone: at once the first time, later with
// growing pauses, and in the end not any more.
func (r *Reconciler) relaunch(ctx context.Context, v *view, missing []int) (changed bool, again time.Duration, err error) {
	s := r.Service
	wait, left := r.mayTry(v.id, s.Now())
	if !left {
		f := failureOf("instances_lost", fmt.Sprintf("Instance %d was gone again and again, and launching it did not help", missing[0]),
			"See the portal's log and `portal doctor`, then restart the agent.", nil)
		return true, 0, r.giveUp(ctx, v.id, f)
	}
	if wait > 0 {
		return false, wait, nil
	}
	o, err := s.outfit(ctx, v.a, v.spec, v.a.DeployedRevision)
	if err == nil {
		err = each(ctx, missing, func(ctx context.Context, i int) error {
			s.log().Warn("launching an instance that was gone", "agent", v.id, "index", i)
			return s.launchOne(ctx, v.rt, o, v.instances(), i)
		})
	}
	if f := fault.As(err); f != nil && f.Kind != fault.Unavailable && f.Kind != fault.Internal {
		// Trying again would give the same answer.
		return true, 0, r.giveUp(ctx, v.id, failureOf(f.Code, plainReason(f), f.Remedy, nil))
	}
	return true, relaunchFirst, err
}

// mayTry tells how long to wait before the next try, and whether there is one left.
func (r *Reconciler) mayTry(id string, now time.Time) (wait time.Duration, left bool) {
	limit, window := r.RelaunchLimit, r.RelaunchWindow
	if limit <= 0 {
		limit = 5
	}
	if window <= 0 {
		window = 10 * time.Minute
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tries[id]
	if t == nil {
		t = &tries{}
		r.tries[id] = t
	}
	// A try in the future was made before the clock was set back.
	for len(t.times) > 0 && (now.Sub(t.times[0]) > window || now.Before(t.times[0])) {
		t.times = t.times[1:]
	}
	if wait := t.next.Sub(now); wait > 0 && len(t.times) > 0 && wait <= relaunchMax {
		return wait, true
	}
	if len(t.times) >= limit {
		delete(r.tries, id)
		return 0, false
	}
	t.times = append(t.times, now)
	t.next = now.Add(min(relaunchFirst<<(len(t.times)-1), relaunchMax))
	return 0, true
}

// recovered moves an ERRORED agent back to RUNNING whose instances all run and
// are ready.
func (r *Reconciler) recovered(ctx context.Context, v *view) (changed bool, again time.Duration, err error) {
	if len(v.seen) != max(1, v.spec.Replicas) {
		return false, 0, nil
	}
	s := r.Service
	for _, p := range v.seen {
		if p.State != InstanceRunning {
			return false, 0, nil
		}
		if age := s.Now().Sub(p.StartedAt); age >= 0 && age < recoverAfter {
			return false, recoverAfter - age, nil
		}
		ok, err := r.ready(ctx, v, p.Instance)
		if err != nil {
			return false, 0, err
		}
		if !ok {
			return false, 10 * time.Second, nil
		}
	}
	err = s.settled(ctx, v.id, func(ctx context.Context, a *agent.Agent) error {
		if a.State != agent.Errored {
			return nil
		}
		if err := s.health(ctx, a, agent.HealthHealthy, ""); err != nil {
			return err
		}
		return s.AgentSvc.Transition(ctx, a, agent.Running, "recovered: all instances run and are ready", nil)
	})
	return true, 0, err
}

// ready asks the instance itself.
func (r *Reconciler) ready(ctx context.Context, v *view, in Instance) (bool, error) {
	probes, err := probesFor(v.a, v.spec, in.Host, in.Port)
	if err != nil {
		return false, err
	}
	exec, _ := v.rt.(health.Execer)
	for _, p := range []*agent.Probe{probes.Liveness, probes.Readiness} {
		if p != nil && !r.Service.Prober.Probe(ctx, v.id, in.ID, *p, exec).OK {
			return false, nil
		}
	}
	return true, nil
}

// settled changes an agent that no operation works on, as it is stored now.
func (s *Service) settled(ctx context.Context, id string, fn func(ctx context.Context, a *agent.Agent) error) error {
	var err error
	for range 4 {
		err = s.Tx.Do(ctx, func(ctx context.Context) error {
			a, err := s.Agents.Get(ctx, id)
			if err != nil || a.ActiveOperation != "" {
				return err
			}
			return fn(ctx, a)
		})
		if !fault.Is(err, fault.Stale) {
			break
		}
	}
	return err
}

// giveUp moves a RUNNING or SUSPENDED agent to ERRORED.
func (r *Reconciler) giveUp(ctx context.Context, id string, f *agent.Failure) error {
	s := r.Service
	return s.settled(ctx, id, func(ctx context.Context, a *agent.Agent) error {
		if a.State != agent.Running && a.State != agent.Suspended {
			return nil
		}
		return s.errored(ctx, a, f, map[string]any{"code": f.Code})
	})
}

// during looks at an agent that an operation works on. While it is brought to
// rest its probes say nothing about its health.
func (r *Reconciler) during(ctx context.Context, v *view) error {
	op, err := r.Service.Ops.Get(ctx, v.a.ActiveOperation)
	switch {
	case fault.Is(err, fault.NotFound):
		return r.release(ctx, v.a, nil)
	case err != nil:
		return err
	case op.State.Final():
		return r.release(ctx, v.a, op.Problem)
	}
	switch op.Kind {
	case kindOf(agent.Stop), kindOf(agent.Suspend), kindOf(agent.Revoke), kindOf(Move):
		r.unprobe(v.id)
	default:
		r.probe(v)
	}
	return nil
}

// release frees an agent from an operation that has ended without saying so, as
// after the database was restored from a copy.
func (r *Reconciler) release(ctx context.Context, a *agent.Agent, p *operation.Problem) error {
	s := r.Service
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		now, err := s.Agents.Get(ctx, a.ID)
		if err != nil || now.ActiveOperation != a.ActiveOperation {
			return err
		}
		now.ActiveOperation = ""
		s.log().Warn("releasing an agent from an operation that is over", "agent", a.ID, "operation", a.ActiveOperation)
		f := failureOf("operation_lost", "The operation that worked on the agent ended without a result",
			"Restart, stop or revoke the agent.", nil)
		if p != nil {
			f.Reason += ": " + p.What
		}
		if now.State == agent.Revoked {
			return s.Agents.Save(ctx, now)
		}
		return s.errored(ctx, now, f, map[string]any{"operation": a.ActiveOperation})
	})
}

// probe tells the Monitor what there is to watch.
func (r *Reconciler) probe(v *view) {
	m := r.Service.Monitor
	if m == nil {
		return
	}
	if v.a == nil || v.rt == nil || v.a.State != agent.Running && v.a.State != agent.Suspended {
		r.unprobe(v.id)
		return
	}
	sub := health.Subject{
		AgentID: v.id, Name: v.spec.Name, Wanted: max(1, v.spec.Replicas), Needs: v.spec.Dependencies,
		Suspended: v.a.State == agent.Suspended, Health: v.a.Health, Reason: v.a.HealthReason,
	}
	sub.Exec, _ = v.rt.(health.Execer)
	if mt, ok := v.rt.(Meter); ok {
		sub.Meter = meter{mt}
	}
	for _, p := range v.seen {
		if !v.wants(p) {
			continue
		}
		t := health.Target{
			InstanceID: p.ID, Run: runOf(p.Instance), Begins: p.State == InstanceStarting,
			Up:   p.State == InstanceRunning || p.State == InstanceStarting && p.Remedy == "", // else the runtime says what keeps it from running
			Note: said(p.Instance), Live: p.Live, Ready: p.Ready, Restarts: p.Restarts, Guarded: p.Guarded,
		}
		if probes, err := probesFor(v.a, v.spec, p.Host, p.Port); err == nil {
			t.Liveness, t.Readiness = probes.Liveness, probes.Readiness
		}
		sub.Targets = append(sub.Targets, t)
	}
	r.mu.Lock()
	r.probed[v.id] = true
	r.mu.Unlock()
	m.Set(sub)
}

// unprobe tells the Monitor that there is nothing to watch any more.
func (r *Reconciler) unprobe(id string) {
	r.mu.Lock()
	was := r.probed[id]
	delete(r.probed, id)
	r.mu.Unlock()
	if was && r.Service.Monitor != nil {
		r.Service.Monitor.Remove(id)
	}
}

// Restart implements health.Remedy: it kills an instance that hangs and starts
// it again in its place. Conflict if an operation works on the agent.
func (r *Reconciler) Restart(ctx context.Context, agentID, instanceID, reason string) error {
	s := r.Service
	defer s.locks.lock(agentID)()
	v, err := r.view(ctx, agentID)
	if err != nil {
		return err
	}
	in := find(v.instances(), instanceID)
	if v.a == nil || v.rt == nil || in == nil || v.a.ActiveOperation != "" || v.a.State != agent.Running || in.State == InstanceSuspended {
		return fault.New(fault.Conflict, "fleet.not_restartable", "Instance %s is not restarted", instanceID).
			Because("it is being worked on, or is not meant to run")
	}
	defer r.Poke(agentID)
	if rr, ok := v.rt.(Restarter); ok {
		return unreachable(v.rt, rr.Restart(ctx, agentID, instanceID, reason))
	}
	if err := v.rt.Stop(ctx, agentID, instanceID, 0); err != nil {
		return unreachable(v.rt, err)
	}
	o, err := s.outfit(ctx, v.a, v.spec, v.a.DeployedRevision)
	if err != nil {
		return err
	}
	return s.launchOne(ctx, v.rt, o, nil, in.Index)
}

// GiveUp implements health.Remedy: the agent becomes ERRORED and is ended.
func (r *Reconciler) GiveUp(ctx context.Context, agentID, instanceID, reason string) error {
	defer r.Service.locks.lock(agentID)()
	v, err := r.view(ctx, agentID)
	if err != nil {
		return err
	}
	if v.a == nil || v.a.ActiveOperation != "" || v.a.State != agent.Running {
		return fault.New(fault.Conflict, "fleet.not_restartable", "The agent %s is being worked on, or is not meant to run", agentID)
	}
	defer r.Poke(agentID)
	at := find(v.instances(), instanceID)
	f := failureOf("liveness", "Instance "+instanceID+" hangs again and again: "+reason,
		"Look at its logs (portal agents logs "+agentID+"), correct the cause and start it again.", at)
	if err := r.giveUp(ctx, agentID, f); err != nil {
		return err
	}
	_, err = r.end(ctx, v, func(p placed) bool { return alive(p.State) })
	return err
}

var _ health.Remedy = (*Reconciler)(nil)
