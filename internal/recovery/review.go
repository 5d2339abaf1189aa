package recovery

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

const (
	// fresh is how long an incident is looked at with every round; after that
	// every stalePace.
	fresh     = 30 * time.Second
	stalePace = 10 * time.Second
	// patientFor is how many times as long as others those must run well that
	// fail now and then.
	patientFor = 4
)

// Review looks again at everything that is open: whether it is over, whether more
// is known of the cause by now, and whether something is to be done by itself.
func (s *Service) Review(ctx context.Context) error {
	policies, err := s.Policies(ctx)
	if err != nil {
		return err
	}
	for cursor := ""; ; {
		list, next, err := s.Store.Incidents(ctx, Query{States: []State{Open, Recovering}, Limit: 500, Cursor: cursor})
		if err != nil {
			return err
		}
		for _, in := range list {
			if err := s.review(ctx, in, policies); err != nil && !fault.Is(err, fault.Stale) {
				return err
			}
		}
		if cursor = next; cursor == "" || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (s *Service) review(ctx context.Context, in *Incident, policies Policies) error {
	a, err := s.Agents.Get(ctx, in.AgentID)
	if fault.Is(err, fault.NotFound) {
		return s.end(ctx, in, Dismissed, "the agent was deleted")
	}
	if err != nil {
		return err
	}
	if in.State == Recovering {
		return s.stranded(ctx, in)
	}
	if a.ActiveOperation == "" {
		switch a.State {
		case agent.Stopped, agent.Revoked, agent.Draft, agent.Suspended:
			if in.LastSeen.Before(a.UpdatedAt) {
				return s.end(ctx, in, Dismissed, "the agent is "+string(a.State)+" now")
			}
		}
	}
	well, err := s.well(ctx, a, in)
	if err != nil {
		return err
	}
	if since := s.watch.calm(in.ID, well, s.now()); well && since >= s.steadyFor(in) {
		return s.end(ctx, in, Recovered, "it runs well again")
	}
	if a.ActiveOperation != "" {
		return nil
	}
	if !well {
		if in, err = s.refine(ctx, a, in); err != nil || in == nil {
			return err
		}
	}
	return s.pilot(ctx, a, in, policies, well)
}

// stranded frees an incident whose fix ended without saying so, as after the
// database was restored from a copy.
func (s *Service) stranded(ctx context.Context, in *Incident) error {
	op, err := s.Ops.Get(ctx, in.OperationID)
	if err == nil && !op.State.Final() || err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err == nil && s.now().Sub(in.LastSeen) < fresh {
		return nil // its end is being stored
	}
	in.State = Open
	return s.Tx.Do(ctx, func(ctx context.Context) error { return s.save(ctx, in) })
}

func (s *Service) steadyFor(in *Incident) time.Duration {
	switch in.Cause {
	case cause.Flaky, cause.CrashLoop, cause.Unknown:
		return patientFor * s.steady()
	}
	return s.steady()
}

// well tells whether nothing is wrong with the agent that the incident is about.
func (s *Service) well(ctx context.Context, a *agent.Agent, in *Incident) (bool, error) {
	if a.State != agent.Running || a.ActiveOperation != "" || a.Health != agent.HealthHealthy {
		return false, nil
	}
	all, err := s.Fleet.Instances(ctx, a.ID)
	if err != nil {
		return false, err
	}
	list := all[a.ID]
	now := s.now()
	for _, i := range list {
		if i.State != fleet.InstanceRunning || now.Sub(i.StartedAt) < s.steady() || i.Live != nil && !*i.Live || i.Ready != nil && !*i.Ready {
			return false, nil
		}
	}
	return len(list) > 0 && !s.lasts(a, in, now), nil
}

// lasts tells whether what was measured still speaks for the cause.
func (s *Service) lasts(a *agent.Agent, in *Incident, now time.Time) bool {
	f := &cause.Facts{Now: now, AgentID: a.ID, State: a.State, Health: a.Health, Spec: a.Spec, DiskFree: -1}
	s.watch.fill(f)
	if in.Cause == cause.PoisonMessage {
		return len(f.Dead) > 0 && now.Sub(f.Dead[0].At) < s.steady() && in.Note == ""
	}
	f.Dead = nil
	for _, found := range cause.Findings(f) {
		if found.Code == in.Cause {
			return true
		}
	}
	return false
}

// refine looks for a better explanation; nil if it is not time to.
func (s *Service) refine(ctx context.Context, a *agent.Agent, in *Incident) (*Incident, error) {
	every := time.Duration(0)
	if s.now().Sub(in.LastSeen) > fresh {
		every = stalePace
	}
	if !s.watch.again(in.ID, every, s.now()) {
		return in, nil
	}
	f, err := s.facts(ctx, a, nil)
	if err != nil {
		return nil, err
	}
	if in.Source == FromStep && in.OperationID == "" && f.Failure == nil {
		return in, nil // what the step said is all there is
	}
	found := cause.Find(f)
	if found == nil || found.Certainty <= in.Certainty {
		return in, nil
	}
	better, err := s.record(ctx, f, a.Spec.Name, found, sighting{Source: in.Source, At: s.now(), again: true})
	if err != nil || better == nil {
		return in, err
	}
	if better.ID == in.ID {
		return better, nil
	}
	return in, nil
}

// end closes an incident that is over without a fix.
func (s *Service) end(ctx context.Context, in *Incident, state State, note string) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		now := s.now()
		in.State, in.Note, in.NeedsHuman = state, note, false
		if state == Recovered {
			in.RecoveredAt = &now
		}
		if err := s.save(ctx, in); err != nil {
			return err
		}
		return s.Audit.Record(ctx, "error."+string(state), "error/"+in.ID, audit.Done, note, nil,
			map[string]any{"agent": in.AgentID, "cause": in.Cause, "state": state})
	})
}
