package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Stores are what the service keeps things in.
type Stores struct {
	Alerts    Store
	Rules     RuleStore
	Silences  SilenceStore
	Receivers ReceiverStore
	Queue     QueueStore
}

// Service evaluates rules, keeps alerts and tells receivers. It is a
// lifecycle.Service.
type Service struct {
	Stores
	Tx       txn.Runner
	Events   event.Log
	Audit    *audit.Recorder
	Language Language
	Folder   Folder           // nil for none
	Querier  metrics.Querier  // nil where no metrics are kept
	Appender metrics.Appender // nil where nothing can be recorded
	Sender   Sender
	Now      func() time.Time
	NewID    func() string
	Log      *slog.Logger
	// PublicURL is where the portal is reached.
	PublicURL string
	// Changed hears after alerts have changed; may be nil.
	Changed func()
	// Settle is how long after a start alerts from before are not resolved for
	// want of a value: the metrics may not be there yet. 30 s if 0.
	Settle time.Duration

	mu         sync.Mutex // held while alerts change
	active     map[string]*Alert
	restored   map[string]bool // alerts of before that were not seen since
	startedAt  time.Time
	silences   []muted
	recipients []recipient
	rules      table

	status  sync.Map     // of rules by id: RuleStatus
	written atomic.Int64 // nanoseconds that the last note took to store

	follower, keeper, teller, poster lifecycle.Loop
	groups                           runners
	dispatch, post                   chan struct{}
}

// muted is a silence whose matchers are ready.
type muted struct {
	Silence
	rules []rule
}

// Name is "alerts".
func (s *Service) Name() string { return "alerts" }

// Start takes up the alerts, silences, receivers and rules that are stored, and
// begins to evaluate.
func (s *Service) Start(ctx context.Context) error {
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	return errors.Join(s.follower.Go(s.follow), s.keeper.Go(s.keep), s.teller.Go(s.tell), s.poster.Go(s.deliver), s.groups.start(s))
}

// Prepare takes up what is stored without beginning to evaluate, as Start does
// first.
func (s *Service) Prepare(ctx context.Context) error {
	s.init()
	if err := s.restore(ctx); err != nil {
		return fmt.Errorf("take up alerts: %w", err)
	}
	if err := s.Reload(ctx); err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	return s.CatchUp(ctx)
}

// Stop ends the evaluation. What waits to be told is told after the next start.
func (s *Service) Stop(ctx context.Context) error {
	return errors.Join(s.groups.stop(ctx), s.follower.Halt(ctx), s.keeper.Halt(ctx), s.teller.Halt(ctx), s.poster.Halt(ctx))
}

func (s *Service) init() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dispatch == nil {
		s.dispatch, s.post = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	if s.Settle == 0 {
		s.Settle = 30 * time.Second
	}
	s.active, s.restored, s.startedAt = map[string]*Alert{}, map[string]bool{}, s.Now()
}

// markSeen is the name under which it is kept when rules were evaluated last.
const markSeen = "alerts.evaluated"

// restore takes up what is stored. The time that the portal was away does not
// count for alerts that are pending: nobody looked.
func (s *Service) restore(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, err := s.Rules.Mark(ctx, markSeen)
	if err != nil {
		return err
	}
	away := time.Duration(0)
	if seen > 0 {
		away = max(0, s.startedAt.Sub(time.UnixMicro(seen)))
	}
	q := Query{Statuses: []Status{Pending, Firing, Acknowledged, Silenced}, Limit: 1000}
	for {
		list, next, err := s.Alerts.Alerts(ctx, q)
		if err != nil {
			return err
		}
		for i := range list {
			a := &list[i]
			if a.Status == Pending {
				if a.ActiveAt = a.ActiveAt.Add(away); a.ActiveAt.After(s.startedAt) {
					a.ActiveAt = s.startedAt
				}
			}
			s.active[a.Key], s.restored[a.Key] = a, true
		}
		if q.Cursor = next; next == "" {
			break
		}
	}
	return errors.Join(s.readSilences(ctx), s.readReceivers(ctx))
}

// readSilences takes up the silences that have not ended; mu is held.
func (s *Service) readSilences(ctx context.Context) error {
	s.silences = nil
	now := s.Now()
	for cursor := ""; ; {
		list, next, err := s.Silences.Silences(ctx, now, cursor, 1000)
		if err != nil {
			return err
		}
		for _, one := range list {
			rules, _ := compile(one.Matchers, "") // was checked when it was stored
			s.silences = append(s.silences, muted{one, rules})
		}
		if cursor = next; next == "" {
			return nil
		}
	}
}

// readReceivers takes up the receivers; mu is held.
func (s *Service) readReceivers(ctx context.Context) error {
	list, err := s.Receivers.Receivers(ctx)
	if err != nil {
		return err
	}
	s.recipients = nil
	for _, r := range list {
		rules, _ := compile(r.Matchers, "") // was checked when it was stored
		s.recipients = append(s.recipients, recipient{r, rules})
	}
	return nil
}

// silenceOf gives the id of the silence that is in force for the labels; mu is held.
func (s *Service) silenceOf(labels map[string]string, now time.Time) string {
	for _, one := range s.silences {
		if one.State(now) == "active" && fits(one.rules, labels) {
			return one.ID
		}
	}
	return ""
}

// keep does what only time brings about: silences begin and end, alerts on
// events end when it stays quiet, and it is noted that somebody looks.
func (s *Service) keep(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	files := time.NewTicker(30 * time.Second)
	defer files.Stop()
	noted := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-files.C:
			s.logged(ctx, "read rule files", s.refreshFolder(ctx))
			continue
		case <-tick.C:
		}
		s.logged(ctx, "apply silences", s.Elapse(ctx))
		if now := s.Now(); now.Sub(noted) >= 10*time.Second {
			noted = now
			begun := time.Now()
			s.logged(ctx, "note the evaluation", s.Rules.SetMark(ctx, markSeen, now.UnixMicro()))
			s.written.Store(int64(time.Since(begun)))
		}
	}
}

// StoreLatency is how long the last write took by which it is noted that rules
// are evaluated; 0 before the first.
func (s *Service) StoreLatency() time.Duration { return time.Duration(s.written.Load()) }

func (s *Service) logged(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.Log.Warn("alerts: can't "+what, "err", err)
	}
}

// Elapse applies what the passing of time changes.
func (s *Service) Elapse(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	var list []change
	for _, a := range s.active {
		if a.FiredAt == nil {
			continue
		}
		if quiet := quietOf(a); quiet > 0 && now.Sub(a.LastSeenAt) >= quiet {
			c := a.copy()
			c.ResolvedAt = &now
			list = append(list, change{alert: c, note: "It did not happen again for " + quiet.String()})
			continue
		}
		if id := s.silenceOf(a.Labels, now); id != a.SilenceID {
			c := a.copy()
			c.SilenceID = id
			note := "The silence has ended"
			if id != "" {
				note = "Silenced"
			}
			list = append(list, change{alert: c, note: note})
		}
	}
	return s.commit(ctx, list, nil)
}
