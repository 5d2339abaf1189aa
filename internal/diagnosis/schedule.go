package diagnosis

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
)

// Name is "diagnostics".
func (s *Service) Name() string { return "diagnostics" }

// Start begins the schedule.
func (s *Service) Start(context.Context) error {
	s.init()
	return s.loop.Go(s.schedule)
}

// Stop ends the schedule.
func (s *Service) Stop(ctx context.Context) error { return s.loop.Halt(ctx) }

// schedule looks at everything again and again. The first time is one interval
// after the start, so that a portal that starts has its time for its agents.
func (s *Service) schedule(ctx context.Context) {
	if s.Every <= 0 {
		return
	}
	for {
		timer := time.NewTimer(s.jitter(s.Every))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			s.round(auth.With(ctx, auth.System))
		}
	}
}

func (s *Service) jitter(d time.Duration) time.Duration {
	if s.Jitter != nil {
		return s.Jitter(d)
	}
	tenth := d / 10
	if tenth <= 0 {
		return d
	}
	return d - tenth + rand.N(2*tenth)
}

// round looks at the portal and at the next agents, one after the other, so that
// a schedule never takes more than one run's work at a time.
func (s *Service) round(ctx context.Context) {
	if _, err := s.run(ctx, "", Scheduled); err != nil && ctx.Err() == nil {
		s.log().WarnContext(ctx, "the scheduled diagnosis of the portal failed", "err", err)
	}
	page, err := s.Agents.Find(ctx, agent.Query{States: []agent.State{agent.Running, agent.Errored}, Sort: "id", Cursor: s.cursor, Limit: perRound})
	if err != nil {
		s.cursor = ""
		if ctx.Err() == nil {
			s.log().WarnContext(ctx, "the scheduled diagnosis can't list agents", "err", err)
		}
		return
	}
	s.cursor = page.Next
	for _, a := range page.Agents {
		if ctx.Err() != nil {
			return
		}
		if _, err := s.run(ctx, a.ID, Scheduled); err != nil && ctx.Err() == nil {
			s.log().WarnContext(ctx, "the scheduled diagnosis of an agent failed", "agent", a.ID, "err", err)
		}
	}
}
