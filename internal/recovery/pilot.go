package recovery

import (
	"context"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

const (
	// settleFor is how long a cause must have been known before something is done
	// about it, so that a better one can be found.
	settleFor = 1500 * time.Millisecond
	// remedyFor is how long the supervisor and the health checks get to restart
	// what crashed or hangs before recovery steps in.
	remedyFor = 8 * time.Second
)

// pilot begins the next suggestion for an open incident where the policy says so.
func (s *Service) pilot(ctx context.Context, a *agent.Agent, in *Incident, p Policies, well bool) error {
	if p.Of(a.ID) != Automatic || in.NeedsHuman || well || a.ActiveOperation != "" {
		return nil
	}
	now := s.now()
	if wait, err := s.mustWait(ctx, a, in, p, now); err != nil || wait {
		return err
	}
	next, err := s.next(ctx, in)
	if err != nil {
		return err
	}
	if next == nil {
		return s.needsHuman(ctx, in, "Everything that can be tried by itself was tried, or needs something filled in.")
	}
	_, err = s.begin(ctx, in.ID, next.Fix, next.Parameters, string(Automatic))
	if f := fault.As(err); f != nil && (f.Kind == fault.Conflict || f.Kind == fault.Stale || f.Kind == fault.Unavailable) {
		return nil // somebody is at it, or it cannot be done at this moment
	}
	if f := fault.As(err); f != nil && f.Kind != fault.Internal {
		return s.needsHuman(ctx, in, f.What+". "+f.Remedy)
	}
	return err
}

// mustWait tells whether it is too early to do something, or too much was done.
func (s *Service) mustWait(ctx context.Context, a *agent.Agent, in *Incident, p Policies, now time.Time) (bool, error) {
	age := now.Sub(in.FirstSeen)
	if age < settleFor {
		return true, nil
	}
	if a.State == agent.Running && len(in.Tried) == 0 && age < remedyFor && patient(in.Cause) {
		return true, nil // the supervisor or the health checks are at it
	}
	if in.Cause == cause.MissingDependency && a.State == agent.Running && a.Health == agent.HealthDegraded {
		return true, nil // it serves; whoever stopped what it needs may have had a reason
	}
	used, last, err := s.used(ctx, a.ID, now)
	if err != nil {
		return true, err
	}
	if used >= p.Limits.MaxPerHour {
		return true, s.needsHuman(ctx, in, fmt.Sprintf("%d fixes in an hour are what the policy allows.", p.Limits.MaxPerHour))
	}
	return !last.IsZero() && now.Sub(last) < p.Limits.coolDown(), nil
}

// patient tells whether others than recovery work on the cause as well.
func patient(c cause.Code) bool {
	switch c {
	case cause.Hang, cause.Unknown, cause.Flaky, cause.CrashLoop, cause.NetworkRefused, cause.EngineAway, cause.ImageUnavailable, cause.NoRoom, cause.RuntimeRefuses, cause.Displaced, cause.SlowDependency:
		return true
	}
	return false
}

// used counts what was done by itself to an agent in the last hour, and gives
// when the last of it ended.
func (s *Service) used(ctx context.Context, agentID string, now time.Time) (n int, last time.Time, err error) {
	list, err := s.lately(ctx, Query{AgentIDs: []string{agentID}})
	if err != nil {
		return 0, last, err
	}
	for _, in := range list {
		for _, t := range in.Tried {
			if t.Policy == "" || now.Sub(t.StartedAt) > time.Hour {
				continue
			}
			n++
			last = later(last, t.StartedAt)
			if t.EndedAt != nil {
				last = later(last, *t.EndedAt)
			}
		}
	}
	return n, last, nil
}

// wasOpen is how long ago an incident was seen last at most of which something may
// have been tried within the last hour though it is not open any more.
const wasOpen = 24 * time.Hour

// lately gives all that fit of which something may have been tried in the last
// hour: those that are open, and those that were seen within a day.
func (s *Service) lately(ctx context.Context, q Query) ([]*Incident, error) {
	seen, out := map[string]bool{}, []*Incident(nil)
	open, ended := q, q
	open.States, ended.Since = []State{Open, Recovering}, s.now().Add(-wasOpen)
	for _, q := range []Query{open, ended} {
		for q.Limit = 500; ; {
			list, next, err := s.Store.Incidents(ctx, q)
			if err != nil {
				return nil, err
			}
			for _, in := range list {
				if !seen[in.ID] {
					seen[in.ID] = true
					out = append(out, in)
				}
			}
			if q.Cursor = next; next == "" {
				break
			}
		}
	}
	return out, nil
}

// failedFor is how long what did not help is not tried again for the like.
const failedFor = time.Hour

// next gives the most promising suggestion that can be carried out without a
// person and has not just failed for the like; nil if there is none.
func (s *Service) next(ctx context.Context, in *Incident) (*cause.Suggestion, error) {
	odds, err := s.odds(ctx)
	if err != nil {
		return nil, err
	}
	alike, err := s.lately(ctx, Query{Fingerprint: in.Fingerprint})
	if err != nil {
		return nil, err
	}
	tried := map[cause.Fix]bool{}
	for _, other := range append(alike, in) {
		for _, t := range other.Tried {
			if (t.Helped != nil && !*t.Helped || other.ID == in.ID) && s.now().Sub(t.StartedAt) < failedFor {
				tried[t.Fix] = true
			}
		}
	}
	odds.order(in)
	for _, sg := range in.Suggestions {
		if sg.OneClick && sg.Fix.ByItself() && !tried[sg.Fix] {
			return &sg, nil
		}
	}
	return nil, nil
}

// needsHuman says that nothing more is done by itself.
func (s *Service) needsHuman(ctx context.Context, in *Incident, why string) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		in.NeedsHuman, in.Note = true, why
		if err := s.save(ctx, in); err != nil {
			return err
		}
		return s.Audit.Record(ctx, "error.needs_human", "error/"+in.ID, audit.Failed, why, nil, map[string]any{"agent": in.AgentID, "cause": in.Cause})
	})
}
