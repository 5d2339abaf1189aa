package alert

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// maxTold is how many alerts one message names.
const maxTold = 100

// schedule notes for every receiver that wants to hear of the alert when its
// group is to be looked at. It takes part in the transaction in ctx; mu is held.
func (s *Service) schedule(ctx context.Context, a *Alert, now time.Time) error {
	for i := range s.recipients {
		r := &s.recipients[i]
		if !r.wants(a.Labels) {
			continue
		}
		labels, key := r.group(a.Labels)
		due := now.Add(time.Duration(r.Wait) * time.Second)
		d, err := s.Queue.Dispatch(ctx, r.ID, key)
		switch {
		case fault.Is(err, fault.NotFound):
			if a.Status != Firing && (a.Status != Acknowledged || r.Kind != Alertmanager) {
				continue // nothing was told, and nothing needs to be
			}
			d = &Dispatch{ReceiverID: r.ID, GroupKey: key, Labels: labels, DueAt: due}
		case err != nil:
			return err
		default:
			if d.LastSentAt != nil {
				due = d.LastSentAt.Add(time.Duration(r.Every) * time.Second)
				if due.Before(now) {
					due = now
				}
			}
			if !due.Before(d.DueAt) {
				continue
			}
			d.DueAt = due
		}
		if err := s.Queue.SaveDispatch(ctx, *d); err != nil {
			return err
		}
	}
	return nil
}

// tell makes messages of the groups whose time has come.
func (s *Service) tell(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s.logged(ctx, "tell receivers", s.Dispatch(ctx))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.dispatch:
		}
	}
}

// Dispatch makes messages of the groups whose time has come, and puts them into
// the queue.
func (s *Service) Dispatch(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	due, err := s.Queue.DueDispatches(ctx, now, 100)
	if err != nil {
		return err
	}
	for _, d := range due {
		if err := s.flush(ctx, d, now); err != nil {
			return err
		}
	}
	if len(due) > 0 {
		poke(s.post)
	}
	return nil
}

// flush looks at one group: what fires is told, and what has ended since. mu is
// held.
func (s *Service) flush(ctx context.Context, d Dispatch, now time.Time) error {
	i := slices.IndexFunc(s.recipients, func(r recipient) bool { return r.ID == d.ReceiverID })
	if i < 0 || s.recipients[i].Disabled {
		return s.Queue.DeleteDispatch(ctx, d.ReceiverID, d.GroupKey)
	}
	r := &s.recipients[i]
	firing := s.audible(r, d.GroupKey)
	ended, err := s.ended(ctx, d, firing)
	if err != nil {
		return err
	}
	if r.LeaveEnds {
		ended = nil
	}
	if len(firing)+len(ended) == 0 {
		return s.Queue.DeleteDispatch(ctx, d.ReceiverID, d.GroupKey)
	}
	told := make([]string, len(firing))
	for i, a := range firing {
		told[i] = a.ID
	}
	m := Message{Receiver: r.Name, GroupKey: d.GroupKey, GroupLabels: d.Labels, PortalURL: s.PublicURL, At: now, Alerts: append(firing, ended...)}
	send := Delivery{
		ID: s.NewID(), ReceiverID: r.ID, GroupKey: d.GroupKey, State: Queued, Firing: len(firing), Resolved: len(ended),
		CreatedAt: now, NextAt: now,
	}
	if m.Cut = max(0, len(m.Alerts)-maxTold); m.Cut > 0 {
		m.Alerts = m.Alerts[:maxTold]
	}
	send.Summary, send.Message = cut(m.Alerts[0].Summary(), 200), m
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Queue.SaveDelivery(ctx, send); err != nil {
			return err
		}
		if len(firing) == 0 {
			return s.Queue.DeleteDispatch(ctx, d.ReceiverID, d.GroupKey)
		}
		d.LastSentAt, d.Told, d.DueAt = &now, told, now.Add(time.Duration(r.Repeat)*time.Second)
		return s.Queue.SaveDispatch(ctx, d)
	})
}

// audible gives the alerts of a group that fire and that nobody has taken on or
// silenced. A warning is left out while the same is critical. mu is held.
func (s *Service) audible(r *recipient, groupKey string) []Alert {
	critical := map[string]bool{}
	for _, a := range s.active {
		if a.Severity == Critical && a.Status.Active() {
			critical[a.Name+"\x00"+a.AgentID] = true
		}
	}
	var out []Alert
	for _, a := range s.active {
		if !a.Status.Active() || a.Status == Silenced || a.Status == Acknowledged && r.Kind != Alertmanager || !r.wants(a.Labels) {
			continue
		}
		if a.Severity == Warning && critical[a.Name+"\x00"+a.AgentID] {
			continue
		}
		if _, key := r.group(a.Labels); key == groupKey {
			out = append(out, *a.copy())
		}
	}
	slices.SortFunc(out, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(a.Place(), b.Place()), strings.Compare(a.Name, b.Name), strings.Compare(a.AgentID, b.AgentID), strings.Compare(a.ID, b.ID))
	})
	return out
}

// ended gives the alerts that were told about as firing and are resolved now.
func (s *Service) ended(ctx context.Context, d Dispatch, firing []Alert) ([]Alert, error) {
	var out []Alert
	for _, id := range d.Told {
		if slices.ContainsFunc(firing, func(a Alert) bool { return a.ID == id }) {
			continue
		}
		a, err := s.Alerts.Alert(ctx, id)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if a.Status == Resolved {
			out = append(out, *a)
		}
	}
	return out, nil
}
