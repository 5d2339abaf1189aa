package alert

import (
	"context"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// change is what is to become of one alert.
type change struct {
	alert *Alert // as it will be; not yet seen by anybody else
	note  string
	drop  bool // it came to nothing
	quiet bool // only its value or time changed
}

// Notice is the payload of the events about alerts.
type Notice struct {
	AlertID   string            `json:"alert_id"`
	RuleID    string            `json:"rule_id"`
	Name      string            `json:"name"`
	Severity  string            `json:"severity,omitempty"`
	State     Status            `json:"state"`
	OldState  Status            `json:"old_state,omitempty"`
	AgentID   string            `json:"agent_id,omitempty"`
	Summary   string            `json:"summary"`
	Labels    map[string]string `json:"labels"`
	Timestamp time.Time         `json:"timestamp"`
}

// commit stores the changes with their history, their events and what has to be
// told about them, together with what more does, and then takes them over. mu is
// held.
func (s *Service) commit(ctx context.Context, list []change, more func(ctx context.Context) error) error {
	if len(list) == 0 && more == nil {
		return nil
	}
	now := s.Now()
	loud := false
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		var events []event.Event
		for _, c := range list {
			e, err := s.keepChange(ctx, c, now)
			if err != nil {
				return err
			}
			if e != nil {
				events, loud = append(events, *e), true
			}
		}
		if len(events) > 0 {
			if err := s.Events.Append(ctx, events...); err != nil {
				return err
			}
		}
		if more == nil {
			return nil
		}
		return more(ctx)
	})
	if err != nil {
		return err
	}
	for _, c := range list {
		delete(s.restored, c.alert.Key)
		if c.drop || c.alert.Status == Resolved {
			delete(s.active, c.alert.Key)
		} else {
			s.active[c.alert.Key] = c.alert
		}
	}
	if loud {
		poke(s.dispatch)
		if s.Changed != nil {
			s.Changed()
		}
	}
	return nil
}

// keepChange stores one change and gives the event that announces it; nil if
// nobody needs to know.
func (s *Service) keepChange(ctx context.Context, c change, now time.Time) (*event.Event, error) {
	a := c.alert
	var was Status
	if old := s.active[a.Key]; old != nil && old.ID == a.ID {
		was = old.Status
	}
	if c.drop {
		a.Status = Inactive
		return s.announce(a, was, now, "system"), s.Alerts.DropAlert(ctx, a.ID)
	}
	if a.FiredAt != nil && a.ResolvedAt == nil {
		a.SilenceID = s.silenceOf(a.Labels, now)
	}
	a.Status, a.stored = a.standing(), now
	if a.Status != was {
		a.ChangedAt = now
	} else if c.quiet {
		return nil, s.Alerts.SaveAlert(ctx, *a)
	}
	if err := s.Alerts.SaveAlert(ctx, *a); err != nil {
		return nil, err
	}
	actor := audit.ActorFrom(ctx).ID
	if err := s.Alerts.AddChange(ctx, Change{AlertID: a.ID, At: now, Status: a.Status, Actor: actor, Note: c.note}); err != nil {
		return nil, err
	}
	if a.Status != Pending {
		if err := s.schedule(ctx, a, now); err != nil {
			return nil, err
		}
	}
	return s.announce(a, was, now, actor), nil
}

// announce makes the event about a change.
func (s *Service) announce(a *Alert, was Status, now time.Time, actor string) *event.Event {
	kind := event.AlertChanged
	switch {
	case a.Status.Active() && !was.Active():
		kind = event.AlertFired
	case a.Status == Resolved:
		kind = event.AlertResolved
	}
	rooms := []string{event.RoomAlerts}
	if a.AgentID != "" {
		rooms = append(rooms, event.RoomAgent(a.AgentID))
	}
	e := event.New(kind, a.AgentID, actor, now, Notice{
		AlertID: a.ID, RuleID: a.RuleID, Name: a.Name, Severity: a.Severity, State: a.Status, OldState: was, AgentID: a.AgentID,
		Summary: a.Summary(), Labels: a.Labels, Timestamp: now,
	}, rooms...)
	return &e
}

// poke wakes a loop that waits on the channel.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// find gives the active alert with the id, or the fault why it can't be acted on;
// mu is held.
func (s *Service) find(ctx context.Context, id string) (*Alert, error) {
	for _, a := range s.active {
		if a.ID == id {
			return a, nil
		}
	}
	a, err := s.Alerts.Alert(ctx, id)
	if err != nil {
		return nil, err
	}
	return nil, fault.New(fault.Conflict, "alert.resolved", "The alert %s is resolved", a.Name).
		Because("its condition does not hold any more").Do("There is nothing to look after.")
}

// Acknowledge notes that whoever asks looks after the alert; it is not told again
// until it is resolved. An empty reason is Invalid.
func (s *Service) Acknowledge(ctx context.Context, id, reason string) (*Alert, error) {
	if reason == "" || len(reason) > maxReason {
		return nil, fault.New(fault.Invalid, "alert.reason", "The alert was not acknowledged").
			At(fault.Field{Path: "reason", Message: "must say what is being done, in at most 1000 characters"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if old.FiredAt == nil {
		return nil, fault.New(fault.Conflict, "alert.pending", "The alert %s is pending", old.Name).
			Because("its condition has not held for long enough").Do("Wait until it fires, or silence it.")
	}
	a := old.copy()
	a.Ack = &Acknowledgement{By: audit.ActorFrom(ctx).ID, Reason: reason, At: s.Now()}
	err = s.commit(ctx, []change{{alert: a, note: reason}}, func(ctx context.Context) error {
		return s.Audit.Record(ctx, "alert.acknowledge", "alert/"+id, audit.Done, reason, map[string]any{"state": old.Status, "name": a.Name}, map[string]any{"state": a.Status})
	})
	if err != nil {
		return nil, err
	}
	return a.copy(), nil
}

// Get gives one alert with its history.
func (s *Service) Get(ctx context.Context, id string) (*Alert, []Change, error) {
	a, err := s.Alerts.Alert(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	list, err := s.Alerts.Changes(ctx, id)
	return s.fresh(a), list, err
}

// Find lists alerts, the most urgent first.
func (s *Service) Find(ctx context.Context, q Query) ([]Alert, string, error) {
	for _, one := range q.Statuses {
		if !slices.Contains(Statuses, one) {
			return nil, "", fault.New(fault.Invalid, "alert.state", "There is no such state of alerts").
				At(fault.Field{Path: "state", Message: "must be firing, acknowledged, silenced, pending or resolved"})
		}
	}
	list, next, err := s.Alerts.Alerts(ctx, q)
	for i := range list {
		list[i] = *s.fresh(&list[i])
	}
	return list, next, err
}

// Counts says how many alerts there are, of the agents if any are named.
func (s *Service) Counts(ctx context.Context, agentIDs ...string) ([]Tally, error) {
	return s.Alerts.CountAlerts(ctx, agentIDs...)
}

// fresh gives the alert with the value that was found last, which is not stored
// each time.
func (s *Service) fresh(a *Alert) *Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.active[a.Key]; now != nil && now.ID == a.ID {
		return now.copy()
	}
	return a
}
