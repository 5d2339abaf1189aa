package webhook

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// secretOverlap is how long the secret before still signs after a change.
const secretOverlap = 24 * time.Hour

// Service keeps subscriptions and sends what is due to them.
type Service struct {
	Store    Store
	Attempts Attempts
	Log      event.Log
	Tx       txn.Runner
	Audit    *audit.Recorder
	Sender   Sender
	Secrets  Secrets
	// Key is the master key, from which secrets are derived.
	Key []byte
	// Source is the URL of the portal, the source of its events.
	Source string
	// CheckURL says what is wrong with an address; the fault names the field.
	CheckURL func(field, text string) error
	Now      func() time.Time
	NewID    func() string
	Logger   *slog.Logger
	// Random gives a number from 0 to 1 for the jitter of retries.
	Random func() float64

	mu      sync.Mutex
	changed chan struct{}    // closed when subscriptions changed, for the deliverer
	passed  map[string]int64 // number of the last event that a subscription did not want
	sending chan struct{}    // holds one value for each request that runs
}

// Note is the payload of event.WebhookChanged. The address is not in it: those
// of some receivers are secrets.
type Note struct {
	WebhookID string    `json:"webhook_id"`
	Name      string    `json:"name"`
	Change    string    `json:"change"` // created, updated, secret_changed, deleted, given_up, resumed, recovered
	Reason    string    `json:"reason,omitempty"`
	Timestamp time.Time `json:"timestamp"`
}

// Create makes a subscription that hears of what happens from now on. The
// secret is given this once; "" if the definition names one. Faults: Invalid
// with every wrong field; Conflict for a taken name or too many.
func (s *Service) Create(ctx context.Context, d Definition) (*Subscription, string, error) {
	now := s.now()
	sub := Subscription{ID: s.NewID(), KeyNumber: 1, CreatedBy: audit.ActorFrom(ctx).ID, CreatedAt: now, UpdatedAt: now, Version: 1}
	if err := s.define(ctx, &sub, d); err != nil {
		return nil, "", err
	}
	secret, err := s.secretOf(sub)
	if err != nil {
		return nil, "", err
	}
	err = s.change(ctx, func(ctx context.Context) error {
		all, err := s.Store.Webhooks(ctx)
		if err != nil {
			return err
		}
		if len(all) >= MaxWebhooks {
			return fault.New(fault.Conflict, "webhook.too_many", "There is no room for another webhook").
				Because("there are %d, and %d are allowed", len(all), MaxWebhooks).Do("Remove one that is not used any more.")
		}
		if _, sub.Progress.Cursor, err = s.Log.Bounds(ctx); err != nil {
			return err
		}
		if err := s.Store.CreateWebhook(ctx, sub); err != nil {
			return err
		}
		return s.note(ctx, "webhook.create", sub, "created", "", nil, recorded(sub))
	})
	if err != nil {
		return nil, "", err
	}
	return &sub, secret, nil
}

func (s *Service) secretOf(sub Subscription) (string, error) {
	if sub.SecretRef != "" {
		return "", nil
	}
	keys, err := s.keys(context.Background(), sub, s.now())
	if err != nil {
		return "", err
	}
	return shown(keys[0]), nil
}

// Update changes the definition of the subscription if it is at the version; 0
// stands for any. Faults as of Create; Stale if it is at another one.
func (s *Service) Update(ctx context.Context, ref string, d Definition, version int) (*Subscription, error) {
	return s.edit(ctx, ref, version, "webhook.update", "updated", func(ctx context.Context, sub *Subscription) error {
		return s.define(ctx, sub, d)
	})
}

// NewSecret changes the derived secret and gives the new one. The one before
// signs as well for a day, so that the receiver can be changed meanwhile.
func (s *Service) NewSecret(ctx context.Context, ref string) (*Subscription, string, error) {
	sub, err := s.edit(ctx, ref, 0, "webhook.new_secret", "secret_changed", func(_ context.Context, sub *Subscription) error {
		if sub.SecretRef != "" {
			return fault.New(fault.Conflict, "webhook.secret_referenced", "The secret is not the portal's to change").
				Because("it is the one that %s names", sub.SecretRef).Do("Change it where it is kept.")
		}
		until := s.now().Add(secretOverlap)
		sub.KeyNumber++
		sub.KeyUntil = &until
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	secret, err := s.secretOf(*sub)
	return sub, secret, err
}

func (s *Service) edit(ctx context.Context, ref string, version int, action, change string, apply func(context.Context, *Subscription) error) (*Subscription, error) {
	var sub Subscription
	err := s.change(ctx, func(ctx context.Context) error {
		before, err := s.Store.Webhook(ctx, ref)
		if err != nil {
			return err
		}
		if version > 0 && before.Version != version {
			return fault.New(fault.Stale, "webhook.stale", "The webhook was changed by somebody else meanwhile").
				Do("Load it again, then repeat your change.")
		}
		sub = *before
		if err := apply(ctx, &sub); err != nil {
			return err
		}
		sub.Version, sub.UpdatedAt = before.Version+1, s.now()
		if err := s.Store.UpdateWebhook(ctx, sub); err != nil {
			return err
		}
		if err := s.keepPassed(ctx, before); err != nil {
			return err
		}
		return s.note(ctx, action, sub, change, "", recorded(*before), recorded(sub))
	})
	if err != nil {
		return nil, err
	}
	return &sub, nil
}

// Delete removes the subscription with its record of attempts.
func (s *Service) Delete(ctx context.Context, ref string) error {
	return s.change(ctx, func(ctx context.Context) error {
		sub, err := s.Store.Webhook(ctx, ref)
		if err != nil {
			return err
		}
		if err := s.Store.DeleteWebhook(ctx, sub.ID); err != nil {
			return err
		}
		return s.note(ctx, "webhook.delete", *sub, "deleted", "", recorded(*sub), nil)
	})
}

// Skip says what is left out when deliveries go on.
type Skip string

// What can be left out.
const (
	SkipNothing Skip = "nothing" // everything that happened meanwhile is sent
	SkipOne     Skip = "one"     // the event that was not taken is left out
	SkipAll     Skip = "all"     // only what happens from now on is sent
)

// Resume lets deliveries go on at once, also those that wait for their next
// try or were given up.
func (s *Service) Resume(ctx context.Context, ref string, skip Skip) (*Subscription, error) {
	var sub *Subscription
	err := s.change(ctx, func(ctx context.Context) (err error) {
		if sub, err = s.Store.Webhook(ctx, ref); err != nil {
			return err
		}
		p := sub.Progress
		switch skip {
		case SkipOne:
			if p.Pending > p.Cursor {
				p.Cursor, p.Missed = p.Pending, p.Missed+1
			}
		case SkipAll:
			_, newest, err := s.Log.Bounds(ctx)
			if err != nil {
				return err
			}
			p.Missed += max(0, newest-p.Cursor)
			p.Cursor = max(newest, p.Cursor)
		}
		p.Pending, p.Tries, p.NextAt, p.GaveUpAt, p.Reason, p.FailingSince = 0, 0, nil, nil, "", nil
		sub.Progress = p
		if err := s.Store.SaveProgress(ctx, sub.ID, p); err != nil {
			return err
		}
		return s.note(ctx, "webhook.resume", *sub, "resumed", "skip "+string(skip), nil, map[string]any{"skip": skip, "cursor": p.Cursor})
	})
	if err != nil {
		return nil, err
	}
	return sub, nil
}

// keepPassed stores which events a subscription did not want, before what it
// wants changes: what is past is not judged anew.
func (s *Service) keepPassed(ctx context.Context, sub *Subscription) error {
	if passed := s.passedBy(sub.ID); passed > sub.Progress.Cursor && sub.Progress.Pending == 0 {
		sub.Progress.Cursor = passed
		return s.Store.SaveProgress(ctx, sub.ID, sub.Progress)
	}
	return nil
}

// change runs fn in a transaction and tells the deliverer afterwards.
func (s *Service) change(ctx context.Context, fn func(ctx context.Context) error) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		txn.AfterCommit(ctx, s.poke)
		return fn(ctx)
	})
}

// poke tells the deliverer that subscriptions changed.
func (s *Service) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = nil
}

// changes gives a channel that is closed at the next change.
func (s *Service) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// note writes the audit entry and the event of a change. Like what the audit
// room hears, it is for administrators.
func (s *Service) note(ctx context.Context, action string, sub Subscription, change, reason string, before, after any) error {
	if err := s.Audit.Record(ctx, action, "webhook/"+sub.Name, audit.Done, reason, before, after); err != nil {
		return err
	}
	return s.announce(ctx, sub, change, reason)
}

func (s *Service) announce(ctx context.Context, sub Subscription, change, reason string) error {
	now := s.now()
	n := Note{WebhookID: sub.ID, Name: sub.Name, Change: change, Reason: reason, Timestamp: now}
	return s.Log.Append(ctx, event.New(event.WebhookChanged, "", audit.ActorFrom(ctx).ID, now, n, event.RoomAudit))
}

// record is what the audit log keeps of a definition.
type record struct {
	Name         string   `json:"name"`
	Host         string   `json:"host"`
	Types        []string `json:"types,omitempty"`
	Agents       []string `json:"agents,omitempty"`
	Confidential bool     `json:"confidential"`
	SecretRef    string   `json:"secret_ref,omitempty"`
	KeyNumber    int      `json:"key_number"`
	Enabled      bool     `json:"enabled"`
}

func recorded(s Subscription) record {
	return record{
		Name: s.Name, Host: s.Host(), Types: slices.Clone(s.Types), Agents: slices.Clone(s.Agents), Confidential: s.Confidential,
		SecretRef: s.SecretRef, KeyNumber: s.KeyNumber, Enabled: s.Enabled,
	}
}

// Host is what of the address may be shown to everybody.
func (s Subscription) Host() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
