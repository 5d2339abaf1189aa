package auth

import (
	"context"
	"strings"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// UserOf gives the user behind the principal in ctx; NotFound for who came by a
// one-time link for a role, and for tokens that belong to nobody.
func (s *Service) UserOf(ctx context.Context) (*User, error) {
	id, ok := strings.CutPrefix(From(ctx).User, userKey)
	if !ok {
		return nil, fault.New(fault.NotFound, "user.none", "You have no account here").
			Because("you signed in by a one-time link or with a token that belongs to nobody").
			Do("Make an account under Settings, Users.")
	}
	return s.Users.User(ctx, id)
}

// OwnSessions lists the sessions of whoever asks, the last used first. Whoever
// came by a one-time link for a role sees only their own.
func (s *Service) OwnSessions(ctx context.Context) ([]OwnSession, error) {
	p := From(ctx)
	list, err := s.ownSessions(ctx, p)
	if err != nil {
		return nil, err
	}
	out, now := []OwnSession{}, s.now()
	for _, d := range list {
		if now.Before(d.ExpiresAt) && now.Before(d.end()) {
			out = append(out, OwnSession{Session: d, Current: d.ID == p.Session})
		}
	}
	return out, nil
}

// OwnSession is a session as its owner sees it.
type OwnSession struct {
	Session
	Current bool `json:"current"` // it is the one that asks
}

func (s *Service) ownSessions(ctx context.Context, p Principal) ([]Session, error) {
	if id, ok := strings.CutPrefix(p.User, userKey); ok {
		return s.Sessions.SessionsOf(ctx, id)
	}
	if p.Session == "" {
		return nil, nil
	}
	d, err := s.Sessions.Session(ctx, p.Session)
	if err != nil {
		return nil, err
	}
	return []Session{*d}, nil
}

// EndOwnSession signs out one of the sessions of whoever asks; NotFound for
// anything else.
func (s *Service) EndOwnSession(ctx context.Context, id string) error {
	list, err := s.ownSessions(ctx, From(ctx))
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.ID == id {
			return s.endSession(ctx, &d, "auth.sign_out", "")
		}
	}
	return fault.New(fault.NotFound, "session.not_found", "There is no such session of yours").
		Because("it ended already, or is somebody else's")
}

// EndSession signs out. A session that is over already is no error.
func (s *Service) EndSession(ctx context.Context, id string) error {
	d, err := s.Sessions.Session(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.endSession(ctx, d, "auth.sign_out", "")
}

// EndOwnSessions signs whoever asks out everywhere, here too. Who came by a
// one-time link has one session.
func (s *Service) EndOwnSessions(ctx context.Context) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		list, err := s.ownSessions(ctx, From(ctx))
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := s.endSession(ctx, &d, "auth.sign_out", "everywhere"); err != nil {
				return err
			}
		}
		return nil
	})
}

// endSession ends a session with its record.
func (s *Service) endSession(ctx context.Context, d *Session, action, why string) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Sessions.DeleteSession(ctx, d.ID); err != nil {
			return err
		}
		if err := s.Audit.Record(ctx, action, "session/"+d.ID, audit.Done, why, nil, nil); err != nil {
			return err
		}
		return s.Events.Append(ctx, event.New(event.SessionChanged, "", audit.ActorFrom(ctx).ID, s.now(),
			Change{ID: d.ID, Role: d.Role, Change: "signed_out", Reason: why, Timestamp: s.now()}, event.RoomAudit))
	})
}

// Expire removes links, sessions and what else is over from the store.
func (s *Service) Expire(ctx context.Context) error { return s.Links.Expire(ctx, s.now()) }
