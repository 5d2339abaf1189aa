package recovery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

const (
	// perAgent is how much of a second measuring one agent may cost, so that large
	// fleets are measured less often.
	perAgent = 5 * time.Millisecond
	// abreast is how many are measured at once.
	abreast = 4
	// slowest bounds the pause between two rounds.
	slowest = 15 * time.Second
)

// measure samples what runs, round after round.
func (r *Recorder) measure(ctx context.Context) {
	for {
		began := time.Now()
		n, err := r.Service.Sample(ctx)
		if err != nil && ctx.Err() == nil {
			r.Service.log().Warn("could not measure agents; trying again", "error", err)
		}
		pause := max(r.every(), min(slowest, time.Duration(n)*perAgent*10), 2*time.Since(began))
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// Sample measures every running agent once and takes what that says into the
// record. It gives how many there are.
func (s *Service) Sample(ctx context.Context) (int, error) {
	seen, err := s.Fleet.Instances(ctx)
	if err != nil {
		return 0, err
	}
	known := map[string]bool{}
	n := 0
	for cursor := ""; ; {
		page, err := s.Agents.Find(ctx, agent.Query{States: []agent.State{agent.Running, agent.Errored}, Sort: "id", Limit: 500, Cursor: cursor})
		if err != nil {
			return n, err
		}
		slots := make(chan struct{}, abreast)
		var wg sync.WaitGroup
		for _, a := range page.Agents {
			known[a.ID] = true
			if a.State != agent.Running {
				continue
			}
			n++
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := s.sample(ctx, a, seen[a.ID]); err != nil && ctx.Err() == nil {
					s.log().Warn("could not measure an agent", "agent", a.ID, "error", err)
				}
			})
		}
		wg.Wait()
		if cursor = page.Next; cursor == "" || ctx.Err() != nil {
			break
		}
	}
	s.watch.keep(known)
	return n, ctx.Err()
}

// sample measures one agent, remembers revisions that run well, and looks closer
// where a resource is used up.
func (s *Service) sample(ctx context.Context, a *agent.Agent, instances []fleet.Instance) error {
	now := s.now()
	rt, err := s.Fleet.Runtime(a.Spec.Runtime)
	if err != nil {
		return nil //nolint:nilerr // it runs elsewhere
	}
	if m, ok := rt.(fleet.Meter); ok {
		for _, in := range instances {
			if in.State != fleet.InstanceRunning {
				continue
			}
			u, err := m.Usage(ctx, a.ID, in.ID)
			if err != nil {
				continue // it ends at this moment
			}
			s.watch.sampled(a.ID, cause.Sample{At: now, InstanceID: in.ID, Run: runOf(in), Usage: u})
		}
	}
	if q, err := s.Queues.Stats(ctx, a.ID); err == nil {
		s.watch.queued(a.ID, cause.Queue{At: now, Stats: q})
	} else if !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Unavailable) {
		return err
	}
	if err := s.prove(ctx, a, instances, now); err != nil {
		return err
	}
	return s.suspect(ctx, a)
}

// runOf names one life of an instance's process.
func runOf(in fleet.Instance) string { return fmt.Sprintf("%d/%d", in.PID, in.Restarts) }

// provedAfter is how long a revision must run to count as one that runs well.
const provedAfter = 2 * time.Second

// prove remembers that a revision runs well.
func (s *Service) prove(ctx context.Context, a *agent.Agent, instances []fleet.Instance, now time.Time) error {
	if a.Health != agent.HealthHealthy || a.ActiveOperation != "" || len(instances) == 0 {
		return nil
	}
	for _, in := range instances {
		if in.State != fleet.InstanceRunning || in.Restarts > 0 || now.Sub(in.StartedAt) < provedAfter {
			return nil
		}
	}
	return s.good(ctx, a.ID, a.DeployedRevision, now)
}

// good remembers that a revision of an agent runs well.
func (s *Service) good(ctx context.Context, agentID string, revision int, now time.Time) error {
	if !s.watch.proved(agentID, revision, now) {
		return nil
	}
	err := s.Memory.SetGood(ctx, agentID, revision, true, now)
	if fault.Is(err, fault.NotFound) {
		return nil // it was deleted meanwhile
	}
	return err
}

// suspect looks closer at an agent whose figures are bad.
func (s *Service) suspect(ctx context.Context, a *agent.Agent) error {
	if a.ActiveOperation != "" {
		return nil // what is measured now says little
	}
	f := &cause.Facts{Now: s.now(), AgentID: a.ID, State: a.State, Health: a.Health, HealthReason: a.HealthReason, Spec: a.Spec, DiskFree: -1}
	s.watch.fill(f)
	f.Dead = nil // those were told of by an event
	found := cause.Find(f)
	if found == nil {
		return nil
	}
	source := FromMetric
	switch found.Code {
	case cause.QueueBacklog:
		source = FromQueue
	case cause.CPUStarved, cause.FDLeak, cause.OutOfMemory, cause.DiskFull:
	default:
		return nil
	}
	if !s.watch.due(a.ID, 2*time.Second, s.now()) {
		return nil
	}
	f, err := s.facts(ctx, a, nil)
	if err != nil {
		return err
	}
	for _, found := range cause.Findings(f) {
		switch found.Code {
		case cause.QueueBacklog, cause.CPUStarved, cause.FDLeak, cause.OutOfMemory, cause.DiskFull, cause.PoisonMessage:
			_, err = s.record(ctx, f, a.Spec.Name, &found, sighting{Source: source, At: f.Now})
			return err
		}
	}
	return nil
}
