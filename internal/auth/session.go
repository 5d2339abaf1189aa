package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// session is what the store keeps of a session.
type session struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
}

func (d session) principal() Principal {
	return Principal{ID: "session:" + d.ID, Name: d.Name, Role: d.Role}
}

// ends is when the session is over if it is not used again.
func (d session) ends() time.Time {
	idle, last := d.Seen.Add(SessionIdle), d.Created.Add(SessionLife)
	if last.Before(idle) {
		return last
	}
	return idle
}

// NewLink makes the code of a one-time sign-in link for the role. A ttl of 0
// means DefaultLinkLife. The code is given this once.
func (s *Service) NewLink(ctx context.Context, role Role, ttl time.Duration) (string, error) {
	if ttl == 0 {
		ttl = DefaultLinkLife
	}
	if !role.Valid() || ttl < 0 || ttl > MaxLinkLife {
		return "", fault.New(fault.Invalid, "auth.link_invalid", "The sign-in link can't be made").
			Because("its role must be viewer, operator or admin and its life at most %s", MaxLinkLife)
	}
	code, now := newSecret(linkPrefix), s.now()
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Links.PutLink(ctx, hashOf(code), role, now.Add(ttl)); err != nil {
			return err
		}
		return s.Audit.Record(ctx, "auth.link_create", "link", audit.Done, "", nil,
			map[string]any{"role": role, "expires_at": now.Add(ttl)})
	})
	if err != nil {
		return "", err
	}
	return code, nil
}

// RedeemLink trades the code for a session and gives the session's secret.
// Unauthenticated if the code is unknown, used or too old.
func (s *Service) RedeemLink(ctx context.Context, code string) (string, error) {
	if !wellFormed(linkPrefix, code) {
		return "", deadLink()
	}
	secret, now := newSecret(sessionPrefix), s.now()
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		role, err := s.Links.TakeLink(ctx, hashOf(code), now)
		if fault.Is(err, fault.NotFound) {
			return deadLink()
		}
		if err != nil {
			return err
		}
		d := session{ID: s.NewID(), Name: "one-time link", Role: role, Created: now, Seen: now}
		if err := s.putSession(ctx, hashOf(secret), d); err != nil {
			return err
		}
		// From here on it is the new session that acts.
		who := audit.ActorFrom(ctx)
		who.ID, who.Role = d.principal().ID, string(role)
		return s.note(audit.WithActor(ctx, who), event.SignIn, "auth.sign_in", "session/"+d.ID, nil,
			map[string]any{"role": role, "by": d.Name},
			Change{ID: d.ID, Name: d.Name, Role: role, Change: "signed_in", Timestamp: now})
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

func deadLink() *fault.Error {
	return fault.New(fault.Unauthenticated, "auth.link_dead", "This sign-in link does not work any more").
		Because("it was used before, has expired, or is not complete").
		Do("Restart the portal to have a new one printed, or use an API token.")
}

// SessionPrincipal gives who the session belongs to, and keeps the session
// alive; Unauthenticated if it is unknown or over.
func (s *Service) SessionPrincipal(ctx context.Context, secret string) (Principal, error) {
	d, hash, err := s.session(ctx, secret)
	if err != nil {
		return Principal{}, err
	}
	if now := s.now(); s.due(hash, now) {
		d.Seen = now
		_ = s.putSession(ctx, hash, d) // as with tokens: a failure to note use turns nobody away
	}
	return d.principal(), nil
}

// CheckSession is SessionPrincipal without keeping the session alive: an open
// live connection alone is not use.
func (s *Service) CheckSession(ctx context.Context, secret string) (Principal, error) {
	d, _, err := s.session(ctx, secret)
	if err != nil {
		return Principal{}, err
	}
	return d.principal(), nil
}

// EndSession signs out. A session that is over already is no error.
func (s *Service) EndSession(ctx context.Context, secret string) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		d, hash, err := s.session(ctx, secret)
		if fault.Is(err, fault.Unauthenticated) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Links.DeleteSession(ctx, hash); err != nil {
			return err
		}
		return s.note(ctx, event.SignIn, "auth.sign_out", "session/"+d.ID, nil, nil,
			Change{ID: d.ID, Name: d.Name, Role: d.Role, Change: "signed_out", Timestamp: s.now()})
	})
}

// Expire removes links and sessions that are over from the store.
func (s *Service) Expire(ctx context.Context) error { return s.Links.Expire(ctx, s.now()) }

func (s *Service) session(ctx context.Context, secret string) (session, string, error) {
	over := fault.New(fault.Unauthenticated, "auth.session_over", "You are not signed in any more").
		Because("the session ended or was never there").Do("Sign in again.")
	if !wellFormed(sessionPrefix, secret) {
		return session{}, "", over
	}
	hash, now := hashOf(secret), s.now()
	data, err := s.Links.Session(ctx, hash, now)
	if fault.Is(err, fault.NotFound) {
		return session{}, "", over
	}
	if err != nil {
		return session{}, "", fmt.Errorf("look up the session: %w", err)
	}
	var d session
	if err := json.Unmarshal(data, &d); err != nil {
		return session{}, "", fmt.Errorf("read the session: %w", err)
	}
	if !now.Before(d.ends()) || !d.Role.Valid() {
		return session{}, "", over
	}
	return d, hash, nil
}

func (s *Service) putSession(ctx context.Context, hash string, d session) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("write the session: %w", err)
	}
	return s.Links.PutSession(ctx, hash, data, d.ends())
}
