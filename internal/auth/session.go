package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// How long sessions and their secrets last.
const (
	SessionIdle = 24 * time.Hour      // a browser's session ends when it was not used for so long
	CLIIdle     = 7 * 24 * time.Hour  // a command line's
	SessionLife = 30 * 24 * time.Hour // and after this in any case
	RotateEvery = time.Hour           // a browser's secret is changed so often
	// RotateGrace is how long the secret before is good once the browser has shown
	// the new one: requests may have been on their way.
	RotateGrace = time.Minute
)

// Kind is what holds a session.
type Kind string

// The kinds of session.
const (
	Browser     Kind = "browser"
	CommandLine Kind = "command line"
)

// Session is somebody's being signed in.
type Session struct {
	ID     string `json:"id"`
	UserID string `json:"-"` // "" if it was made by a one-time link for a role
	Kind   Kind   `json:"kind"`
	Method string `json:"method"` // "link", "password", "passkey" or the name of a provider
	// Role is the link's, or else the user's when it was last looked at: when it
	// changes, so does the secret.
	Role Role `json:"role"`
	// Hash is that of the browser's secret, or of the lasting half of a command
	// line's refresh token; Previous of the secret before, or of the changing half.
	Hash     string `json:"-"`
	Previous string `json:"-"`
	// PreviousUntil is the end of the secret before; nil while the browser has not
	// shown the new one.
	PreviousUntil *time.Time `json:"-"`
	Address       string     `json:"address"`
	UserAgent     string     `json:"user_agent"`
	CreatedAt     time.Time  `json:"created_at"`
	SeenAt        time.Time  `json:"seen_at"`
	RotatedAt     time.Time  `json:"-"`
	ExpiresAt     time.Time  `json:"expires_at"`
}

// end gives when the session is over if it is not used again.
func (d Session) end() time.Time {
	idle := d.SeenAt.Add(SessionIdle)
	if d.Kind == CommandLine {
		idle = d.SeenAt.Add(CLIIdle)
	}
	if last := d.CreatedAt.Add(SessionLife); last.Before(idle) {
		return last
	}
	return idle
}

func sessionOver() *fault.Error {
	return fault.New(fault.Unauthenticated, "auth.session_over", "You are not signed in any more").
		Because("the session ended or was never there").Do("Sign in again.")
}

// openSession makes a session for whoever signed in: u, or the role of a link
// where u is nil. It runs in the transaction of the sign-in.
func (s *Service) openSession(ctx context.Context, u *User, d Session) (string, error) {
	secret := newSecret(sessionPrefix)
	d.Kind, d.Hash = Browser, hashOf(secret)
	return secret, s.storeSession(ctx, u, &d)
}

// storeSession completes a session and stores it, with its record.
func (s *Service) storeSession(ctx context.Context, u *User, d *Session) error {
	now, from := s.now(), ClientFrom(ctx)
	d.ID, d.Address, d.UserAgent = s.NewID(), from.Address, from.UserAgent
	d.CreatedAt, d.SeenAt, d.RotatedAt = now, now, now
	d.ExpiresAt = d.end()
	if u != nil {
		d.UserID = u.ID
		d.Role, _ = s.RoleOf(*u)
		if err := s.Users.TouchUser(ctx, u.ID, now); err != nil {
			return err
		}
	}
	if err := s.Sessions.CreateSession(ctx, *d); err != nil {
		return err
	}
	// From here on it is the new session that acts.
	p := principalOf(d, u, d.Role)
	who := audit.ActorFrom(ctx)
	who.ID, who.Role = p.ID, string(p.Role)
	return s.note(audit.WithActor(ctx, who), event.SignIn, "auth.sign_in", "session/"+d.ID, nil,
		map[string]any{"role": d.Role, "by": d.Method, "kind": d.Kind, "user": p.Name},
		Change{ID: d.ID, Name: p.Name, Role: d.Role, Change: "signed_in", Reason: "by " + d.Method, Timestamp: now})
}

// principalOf gives who the session stands for.
func principalOf(d *Session, u *User, role Role) Principal {
	if u == nil {
		return Principal{ID: "session:" + d.ID, Name: "one-time link", Role: role, User: LinkUser, Session: d.ID}
	}
	return Principal{ID: u.principal(), Name: u.label(), Role: role, User: u.Key(), Session: d.ID}
}

// LinkUser is Principal.User of everybody who came in by a one-time link for a role.
const LinkUser = "link"

// whoseSession gives the principal of a session as it is now; Unauthenticated
// if it is over, or its user may not be here any more.
func (s *Service) whoseSession(ctx context.Context, d *Session) (Principal, error) {
	if now := s.now(); !now.Before(d.ExpiresAt) || !now.Before(d.end()) {
		return Principal{}, sessionOver()
	}
	if d.UserID == "" {
		if !d.Role.Valid() {
			return Principal{}, sessionOver()
		}
		return principalOf(d, nil, d.Role), nil
	}
	u, err := s.Users.User(ctx, d.UserID)
	if fault.Is(err, fault.NotFound) {
		return Principal{}, sessionOver()
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up the user: %w", err)
	}
	role, _ := s.RoleOf(*u)
	p := principalOf(d, u, role)
	switch {
	case u.DisabledAt != nil:
		return p, disabled(fault.Unauthenticated)
	case !role.Valid():
		f := noRole(u.Email)
		f.Kind = fault.Unauthenticated
		return p, f
	}
	return p, nil
}

func disabled(kind fault.Kind) *fault.Error {
	return fault.New(kind, "auth.account_disabled", "Your account is disabled").
		Do("Ask an administrator of the portal.")
}

// sessionBySecret finds a browser's session and tells whether the secret is the
// present one.
func (s *Service) sessionBySecret(ctx context.Context, secret string) (d *Session, present bool, err error) {
	if !wellFormed(sessionPrefix, secret) {
		return nil, false, sessionOver()
	}
	hash := hashOf(secret)
	d, err = s.Sessions.SessionByHash(ctx, hash)
	if fault.Is(err, fault.NotFound) || err == nil && d.Kind != Browser {
		return nil, false, sessionOver()
	}
	if err != nil {
		return nil, false, fmt.Errorf("look up the session: %w", err)
	}
	return d, same(d.Hash, hash), nil
}

// SessionPrincipal gives who the session belongs to, and keeps it alive;
// Unauthenticated if it is unknown or over.
func (s *Service) SessionPrincipal(ctx context.Context, secret string) (Principal, error) {
	d, present, err := s.sessionBySecret(ctx, secret)
	if err != nil {
		return Principal{}, err
	}
	if !present && d.PreviousUntil != nil && !s.now().Before(*d.PreviousUntil) {
		return Principal{}, s.stolen(ctx, d)
	}
	p, err := s.whoseSession(ctx, d)
	if err != nil {
		return p, err
	}
	s.used(ctx, d)
	return p, nil
}

// used notes that the session was used. A failure to do so turns nobody away.
func (s *Service) used(ctx context.Context, d *Session) {
	now := s.now()
	if !s.due(d.ID, now) {
		return
	}
	d.SeenAt = now
	_ = s.Sessions.TouchSession(ctx, d.ID, now, d.end())
	if d.UserID != "" {
		_ = s.Users.TouchUser(ctx, d.UserID, now)
	}
}

// stolen ends a session whose secret before came back long after the new one
// was in use: two browsers hold it, and one of them has no right to.
func (s *Service) stolen(ctx context.Context, d *Session) error {
	err := s.endSession(ctx, d, "auth.session_reused", "a secret was shown that had been replaced")
	if err != nil {
		return err
	}
	return sessionOver()
}

// CheckSession gives who the session with the id belongs to, without keeping it
// alive: an open live connection alone is not use.
func (s *Service) CheckSession(ctx context.Context, id string) (Principal, error) {
	d, err := s.Sessions.Session(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return Principal{}, sessionOver()
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up the session: %w", err)
	}
	return s.whoseSession(ctx, d)
}

// RotateSession gives the browser a new secret if it is time to: its secret is
// old, the user's role is another one, or the new secret never arrived. "" if
// it is not.
func (s *Service) RotateSession(ctx context.Context, secret string, role Role) (fresh string, err error) {
	d, present, err := s.sessionBySecret(ctx, secret)
	if err != nil || !s.rotates(d, present, role) {
		return "", err
	}
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		fresh = ""
		// Once more, for requests that came at the same time.
		d, present, err := s.sessionBySecret(ctx, secret)
		if err != nil || !s.rotates(d, present, role) {
			return err
		}
		now := s.now()
		switch {
		case present && d.Previous != "" && d.PreviousUntil == nil:
			until := now.Add(RotateGrace)
			d.PreviousUntil = &until
			if now.Sub(d.RotatedAt) < RotateEvery && d.Role == role {
				return s.Sessions.UpdateSession(ctx, *d)
			}
			fallthrough
		case present:
			d.Previous = d.Hash
		}
		fresh = newSecret(sessionPrefix)
		d.Hash, d.PreviousUntil, d.RotatedAt, d.Role = hashOf(fresh), nil, now, role
		return s.Sessions.UpdateSession(ctx, *d)
	})
	return fresh, err
}

// rotates tells whether something about the session's secrets is to be done.
func (s *Service) rotates(d *Session, present bool, role Role) bool {
	age := s.now().Sub(d.RotatedAt)
	if !present {
		return d.PreviousUntil == nil && age >= RotateGrace
	}
	return age >= RotateEvery || d.Role != role || d.Previous != "" && d.PreviousUntil == nil
}
