package alert

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// record writes the audit entry of something that was done.
func (s *Service) record(ctx context.Context, action, target, reason string, before, after any) error {
	return s.Audit.Record(ctx, action, target, audit.Done, reason, before, after)
}

// settled announces that rules, silences or receivers are not as they were.
func (s *Service) settled(ctx context.Context, what, id string) error {
	return s.Events.Append(ctx, event.New(event.AlertChanged, "", audit.ActorFrom(ctx).ID, s.Now(), map[string]any{"changed": what, "id": id, "timestamp": s.Now()}, event.RoomAlerts))
}

// Silence begins a silence, or changes the one with its id. Invalid names
// everything that is wrong.
func (s *Service) Silence(ctx context.Context, one Silence) (*Silence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	if one.StartsAt.IsZero() {
		one.StartsAt = now
	}
	if _, err := one.check(now); err != nil {
		return nil, err
	}
	action, before := "alert.silence", any(nil)
	one.By, one.CreatedAt, one.UpdatedAt = audit.ActorFrom(ctx).ID, now, now
	if one.ID == "" {
		one.ID = s.NewID()
	} else {
		old, err := s.Silences.Silence(ctx, one.ID)
		if err != nil {
			return nil, err
		}
		if old.State(now) == "expired" {
			return nil, fault.New(fault.Conflict, "alert.silence_expired", "The silence has ended").Do("Make a new one.")
		}
		action, before, one.CreatedAt = "alert.silence_change", old, old.CreatedAt
	}
	return &one, s.keepSilence(ctx, one, action, before)
}

// EndSilence ends a silence now.
func (s *Service) EndSilence(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.Silences.Silence(ctx, id)
	if err != nil {
		return err
	}
	now := s.Now()
	if old.State(now) == "expired" {
		return nil
	}
	one := *old
	one.EndsAt, one.EndedBy, one.UpdatedAt = now, audit.ActorFrom(ctx).ID, now
	if one.StartsAt.After(now) {
		one.StartsAt = now
	}
	return s.keepSilence(ctx, one, "alert.silence_end", old)
}

// keepSilence stores a silence, and applies it in the same transaction. mu is held.
func (s *Service) keepSilence(ctx context.Context, one Silence, action string, before any) error {
	saved := s.silences
	rules, _ := compile(one.Matchers, "matchers") // was checked
	s.silences = []muted{{one, rules}}
	for _, m := range saved {
		if m.ID != one.ID {
			s.silences = append(s.silences, m)
		}
	}
	now := s.Now()
	var list []change
	for _, a := range s.active {
		if id := s.silenceOf(a.Labels, now); a.FiredAt != nil && id != a.SilenceID {
			c := a.copy()
			c.SilenceID = id
			note := one.Reason
			if id == "" {
				note = "The silence was ended"
			}
			list = append(list, change{alert: c, note: note})
		}
	}
	err := s.commit(ctx, list, func(ctx context.Context) error {
		return errors.Join(s.Silences.SaveSilence(ctx, one), s.record(ctx, action, "silence/"+one.ID, one.Reason, before, one), s.settled(ctx, "silence", one.ID))
	})
	if err != nil {
		s.silences = saved
	}
	return err
}

// ListSilences lists silences; only those that have not ended if current is set.
func (s *Service) ListSilences(ctx context.Context, current bool, cursor string, limit int) ([]Silence, string, error) {
	ending := time.Time{}
	if current {
		ending = s.Now()
	}
	return s.Silences.Silences(ctx, ending, cursor, limit)
}

// GetSilence gives one.
func (s *Service) GetSilence(ctx context.Context, id string) (*Silence, error) {
	return s.Silences.Silence(ctx, id)
}

// SaveReceiver stores a receiver, a new one if it has no id. Invalid names
// everything that is wrong, Conflict is for a name that is taken.
func (s *Service) SaveReceiver(ctx context.Context, r Receiver) (*Receiver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.complete()
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := s.Sender.Check(r); err != nil {
		return nil, err
	}
	action, before := "alert.receiver_create", any(nil)
	if r.ID == "" {
		r.ID = s.NewID()
	} else {
		old, err := s.Receivers.Receiver(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		action, before = "alert.receiver_change", old
	}
	r.By, r.UpdatedAt = audit.ActorFrom(ctx).ID, s.Now()
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		return errors.Join(s.Receivers.SaveReceiver(ctx, r), s.record(ctx, action, "receiver/"+r.ID, "", before, r), s.settled(ctx, "receiver", r.ID))
	})
	if err != nil {
		return nil, err
	}
	if err := s.readReceivers(ctx); err != nil {
		return nil, err
	}
	return &r, s.acquaint(ctx, r.ID)
}

// acquaint tells a receiver that is new about what fires already. mu is held.
func (s *Service) acquaint(ctx context.Context, id string) error {
	all := s.recipients
	defer func() { s.recipients = all }()
	s.recipients = nil
	for _, r := range all {
		if r.ID == id {
			s.recipients = append(s.recipients, r)
		}
	}
	now := s.Now()
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		for _, a := range s.active {
			if a.Status == Firing {
				if err := s.schedule(ctx, a, now); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// DeleteReceiver removes a receiver with what waits for it.
func (s *Service) DeleteReceiver(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.Receivers.Receiver(ctx, id)
	if err != nil {
		return err
	}
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		return errors.Join(s.Receivers.DeleteReceiver(ctx, id), s.record(ctx, "alert.receiver_delete", "receiver/"+id, "", old, nil), s.settled(ctx, "receiver", id))
	})
	if err != nil {
		return err
	}
	return s.readReceivers(ctx)
}

// GetReceiver gives one, ListReceivers all.
func (s *Service) GetReceiver(ctx context.Context, id string) (*Receiver, error) {
	return s.Receivers.Receiver(ctx, id)
}

// ListReceivers gives all receivers by name.
func (s *Service) ListReceivers(ctx context.Context) ([]Receiver, error) {
	return s.Receivers.Receivers(ctx)
}

// ListDeliveries gives what was told and what came of it, newest first.
func (s *Service) ListDeliveries(ctx context.Context, receiverID, cursor string, limit int) ([]Delivery, string, error) {
	return s.Queue.Deliveries(ctx, receiverID, cursor, limit)
}

var uploadName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,79}\.ya?ml$`)

// Validate reads a rule file without keeping it, and gives its groups.
func (s *Service) Validate(name string, content []byte) ([]Group, error) {
	return s.parse(Text{Name: name, Content: content})
}

// Upload keeps a rule file, in the place of the one that was uploaded under its
// name. A file with any mistake is refused whole.
func (s *Service) Upload(ctx context.Context, name, content string) ([]Group, error) {
	if !uploadName.MatchString(name) || name == shippedName {
		return nil, fault.New(fault.Invalid, "alert.file_name", "The rule file was not kept").
			At(fault.Field{Path: "name", Message: "must be a name of a-z, 0-9, dot, _ and - that ends in .yml, as in my-rules.yml"})
	}
	groups, err := s.Validate(name, []byte(content))
	if err != nil {
		return nil, err
	}
	_, files := s.List()
	total, count := countRules(groups), 0
	for _, f := range files {
		if f.Name == name && f.Source == Uploaded {
			continue
		}
		if f.Name == name {
			return nil, fault.New(fault.Conflict, "alert.file_taken", "There is a rule file %s already", name).Because("it comes from %s", f.Source).Do("Choose another name.")
		}
		total, count = total+f.Rules, count+1
	}
	if total > MaxRules || count >= MaxFiles {
		return nil, fault.New(fault.TooLarge, "alert.too_many_rules", "There is no room for more rules").Because("%d rules in %d files are the most", MaxRules, MaxFiles)
	}
	u := Upload{Name: name, Content: content, By: audit.ActorFrom(ctx).ID, UpdatedAt: s.Now()}
	return groups, s.alter(ctx, "alert.rules_upload", "rules/"+name, "", nil, map[string]any{"groups": len(groups), "rules": countRules(groups)},
		func(ctx context.Context) error { return s.Rules.SaveUpload(ctx, u) })
}

// DeleteUpload removes a rule file that was uploaded.
func (s *Service) DeleteUpload(ctx context.Context, name string) error {
	return s.alter(ctx, "alert.rules_delete", "rules/"+cut(name, 100), "", nil, nil, func(ctx context.Context) error { return s.Rules.DeleteUpload(ctx, name) })
}

// alter changes rules, with the audit entry and the event, and takes them up.
func (s *Service) alter(ctx context.Context, action, target, reason string, before, after any, do func(ctx context.Context) error) error {
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := do(ctx); err != nil {
			return err
		}
		return errors.Join(s.record(ctx, action, target, reason, before, after), s.settled(ctx, "rules", target))
	})
	if err != nil {
		return err
	}
	return s.Reload(ctx)
}

// Tune is what is to be changed of a rule; nil stays as it is.
type Tune struct {
	Threshold *float64
	For       *time.Duration
	Disabled  *bool
	Reset     bool // back to what the file says
	Reason    string
}

// Tune changes a rule without changing its file. Invalid names what is wrong,
// also a warning that would come after the critical alert of the same name.
func (s *Service) Tune(ctx context.Context, id string, t Tune) (*RuleView, error) {
	v, err := s.RuleByID(id)
	if err != nil {
		return nil, err
	}
	if err := s.checkTune(v, t); err != nil {
		return nil, err
	}
	o := Override{RuleID: id}
	if v.Changed != nil && !t.Reset {
		o = *v.Changed
	}
	if t.Threshold != nil {
		o.Threshold = t.Threshold
	}
	if t.For != nil {
		hold := t.For.Seconds()
		o.Hold = &hold
	}
	if t.Disabled != nil {
		o.Disabled = *t.Disabled
	}
	o.By, o.Reason, o.At = audit.ActorFrom(ctx).ID, t.Reason, s.Now()
	err = s.alter(ctx, "alert.rule_change", "rule/"+id, t.Reason, v.Changed, o, func(ctx context.Context) error {
		if o.Threshold == nil && o.Hold == nil && !o.Disabled {
			if v.Changed == nil {
				return nil
			}
			return s.Rules.DeleteOverride(ctx, id)
		}
		return s.Rules.SaveOverride(ctx, o)
	})
	if err != nil {
		return nil, err
	}
	v, err = s.RuleByID(id)
	return &v, err
}

func (s *Service) checkTune(v RuleView, t Tune) error {
	var wrong []fault.Field
	if len(t.Reason) > maxReason {
		wrong = append(wrong, fault.Field{Path: "reason", Message: "must be at most 1000 characters"})
	}
	if t.Threshold != nil {
		switch {
		case v.Threshold == nil:
			wrong = append(wrong, fault.Field{Path: "threshold", Message: "this rule compares with no number"})
		case *t.Threshold != *t.Threshold || *t.Threshold > 1e300 || *t.Threshold < -1e300:
			wrong = append(wrong, fault.Field{Path: "threshold", Message: "must be a number"})
		default:
			if message := s.order(v, *t.Threshold); message != "" {
				wrong = append(wrong, fault.Field{Path: "threshold", Message: message})
			}
		}
	}
	if t.For != nil && (v.Source == "event" || v.Recording) {
		wrong = append(wrong, fault.Field{Path: "for_seconds", Message: "this rule does not wait"})
	} else if t.For != nil && (*t.For < 0 || *t.For > 7*24*time.Hour) {
		wrong = append(wrong, fault.Field{Path: "for_seconds", Message: "must be 0 to 604800"})
	}
	if len(wrong) > 0 {
		return fault.New(fault.Invalid, "alert.rule_invalid", "The rule %s was not changed", v.Name).At(wrong...)
	}
	return nil
}

// order says why warning and critical of one name would be the wrong way round.
func (s *Service) order(v RuleView, value float64) string {
	list, _ := s.List()
	for _, other := range list {
		if other.ID == v.ID || other.Name != v.Name || other.File != v.File || other.Threshold == nil || other.Operator != v.Operator || other.Disabled {
			continue
		}
		warning, critical := value, *other.Threshold
		switch {
		case v.Severity == Critical && other.Severity == Warning:
			warning, critical = critical, warning
		case v.Severity != Warning || other.Severity != Critical:
			continue
		}
		if strings.HasPrefix(v.Operator, ">") && warning > critical || strings.HasPrefix(v.Operator, "<") && warning < critical {
			return fmt.Sprintf("warning (%v) would come after critical (%v)", warning, critical)
		}
	}
	return ""
}
