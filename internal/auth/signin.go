package auth

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Identity is what an identity provider says of a person, after everything that
// proves it was checked.
type Identity struct {
	Provider      string // name of the provider in the configuration
	Subject       string // how the provider names the person, for good
	Email         string
	EmailVerified bool
	Name          string
	Claims        map[string][]string // single values as a list of one
}

// SignInExternal signs in whom an identity provider has recognised and gives
// the session's secret. Forbidden, in words for that person, if the e-mail is
// not verified, nothing gives a role, or the account is disabled.
func (s *Service) SignInExternal(ctx context.Context, id Identity) (string, error) {
	id.Email = normalEmail(id.Email)
	if err := id.check(); err != nil {
		return "", s.refuse(ctx, "identity/"+id.Provider, err)
	}
	var secret string
	var refusal error
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		secret, refusal = "", nil
		before, err := s.find(ctx, id)
		if err != nil {
			return err
		}
		u := s.identified(before, id)
		role, _ := s.RoleOf(u)
		switch {
		case u.DisabledAt != nil:
			refusal = disabled(fault.Forbidden)
		case !role.Valid():
			refusal = noRole(u.Email)
		}
		if before == nil && refusal != nil {
			return nil //nolint:nilerr // of strangers nothing is kept
		}
		// What the provider says now is kept also of somebody who may not come in
		// (any more): it takes the role from the sessions that are open.
		if err := s.keepUser(ctx, before, u); err != nil || refusal != nil {
			return err
		}
		secret, err = s.openSession(ctx, &u, Session{Method: id.Provider})
		return err
	})
	if err == nil && refusal != nil {
		err = s.refuse(ctx, "identity/"+id.Provider, refusal)
	}
	return secret, err
}

func (id Identity) check() error {
	switch {
	case id.Provider == "" || id.Provider == LocalProvider || id.Subject == "" || len(id.Subject) > 255:
		return fault.New(fault.Forbidden, "auth.identity", "The sign-in can't be used").
			Because("the provider did not say who you are").Do("Ask an administrator of the portal.")
	case !plainEmail(id.Email):
		return fault.New(fault.Forbidden, "auth.email_missing", "The sign-in can't be used").
			Because("the provider gave no e-mail address").Do("Give your account there an e-mail address.")
	case !id.EmailVerified:
		return fault.New(fault.Forbidden, "auth.email_unverified", "Your e-mail address is not verified").
			Because("the provider does not vouch that %s is yours", id.Email).Do("Verify it there, then sign in again.")
	}
	return nil
}

// find gives the user that the identity is of: by the subject, or by the e-mail
// for somebody who was invited; nil for a stranger. An e-mail alone finds nobody
// else: addresses are given to other people.
func (s *Service) find(ctx context.Context, id Identity) (*User, error) {
	u, err := s.Users.UserBySubject(ctx, id.Provider, id.Subject)
	if fault.Is(err, fault.NotFound) {
		u, err = s.Users.InvitedUser(ctx, id.Provider, id.Email)
	}
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return u, err
}

// identified is the user with what the provider says now.
func (s *Service) identified(before *User, id Identity) User {
	u := User{ID: s.NewID(), Provider: id.Provider, CreatedAt: s.now()}
	if before != nil {
		u = *before
	}
	u.Subject, u.Email, u.Claims = id.Subject, id.Email, s.keepClaims(id.Claims)
	if name := plainName(id.Name); name != "" {
		u.Name = name
	}
	return u
}

// maxUserName is how long the name of a user may be, in characters.
const maxUserName = 100

// plainName makes a name that can be shown on one line.
func plainName(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
	if runes := []rune(s); len(runes) > maxUserName {
		s = string(runes[:maxUserName])
	}
	return s
}

// keepUser stores a user who is new or not the same any more.
func (s *Service) keepUser(ctx context.Context, before *User, u User) error {
	if before == nil {
		if err := s.Users.CreateUser(ctx, u); err != nil {
			return err
		}
		return s.noteUser(ctx, "user.create", nil, &u, "created")
	}
	if before.Subject == u.Subject && before.Email == u.Email && before.Name == u.Name &&
		maps.EqualFunc(before.Claims, u.Claims, slices.Equal) {
		return nil
	}
	if err := s.Users.UpdateUser(ctx, u); err != nil {
		return err
	}
	return s.noteUser(ctx, "user.update", before, &u, "changed")
}

// noteUser writes the record of a change of a user; whose is after, or before
// where the user is gone.
func (s *Service) noteUser(ctx context.Context, action string, before, after *User, change string) error {
	u := after
	var b, a any
	if before != nil {
		u, b = before, before
	}
	role := Nobody
	if after != nil {
		u, a = after, after
		role, _ = s.RoleOf(*after)
	}
	return s.note(ctx, event.UserChanged, action, "user/"+u.ID, b, a,
		Change{ID: u.ID, Name: u.label(), Role: role, Change: change, Timestamp: s.now()})
}

// refuse puts a refused sign-in on record and gives the refusal.
func (s *Service) refuse(ctx context.Context, target string, refusal error) error {
	f := fault.As(refusal)
	if err := s.Audit.Record(ctx, "auth.sign_in", target, audit.Refused, f.Code+": "+f.Error(), nil, nil); err != nil {
		return err
	}
	return refusal
}

// SignInPasskey signs in the user whose passkey has proved itself and gives the
// session's secret. signCount and backedUp are what the authenticator said.
func (s *Service) SignInPasskey(ctx context.Context, userID, credentialID string, signCount uint32, backedUp bool) (string, error) {
	unknown := fault.New(fault.Unauthenticated, "auth.passkey_unknown", "This passkey is not known here").
		Do("Sign in another way, then add the passkey in the settings.")
	var secret string
	var refusal error
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		secret, refusal = "", nil
		k, err := s.Passkeys.Passkey(ctx, credentialID)
		if fault.Is(err, fault.NotFound) || err == nil && k.UserID != userID {
			refusal = unknown
			return nil
		}
		if err != nil {
			return err
		}
		// An authenticator that counts, counts up. One that does not was copied.
		if (signCount != 0 || k.SignCount != 0) && signCount <= k.SignCount {
			refusal = fault.New(fault.Unauthenticated, "auth.passkey_copied", "This passkey can't be trusted any more").
				Because("its counter went back, as if somebody had copied it").Do("Sign in another way and replace the passkey.")
			return nil
		}
		u, err := s.Users.User(ctx, userID)
		if err != nil {
			return err
		}
		if refusal = s.mayEnter(*u); refusal != nil {
			return nil //nolint:nilerr // the refusal is the answer, and there is nothing to store
		}
		if err := s.Passkeys.UsePasskey(ctx, k.ID, signCount, backedUp, s.now()); err != nil {
			return err
		}
		secret, err = s.openSession(ctx, u, Session{Method: "passkey"})
		return err
	})
	if err == nil && refusal != nil {
		err = s.refuse(ctx, "user/"+userID, refusal)
	}
	return secret, err
}

// mayEnter tells whether the user may have a session at all.
func (s *Service) mayEnter(u User) error {
	if u.DisabledAt != nil {
		return disabled(fault.Forbidden)
	}
	if role, _ := s.RoleOf(u); !role.Valid() {
		return noRole(u.Email)
	}
	return nil
}

// NewLink makes the code of a one-time sign-in link for the role. A ttl of 0
// means DefaultLinkLife. The code is given this once.
func (s *Service) NewLink(ctx context.Context, role Role, ttl time.Duration) (string, error) {
	if !role.Valid() {
		return "", wrongLink()
	}
	return s.newLink(ctx, Link{Role: role}, ttl)
}

func wrongLink() *fault.Error {
	return fault.New(fault.Invalid, "auth.link_invalid", "The sign-in link can't be made").
		Because("its role must be viewer, operator or admin and its life at most %s", MaxLinkLife)
}

// NewUserLink makes the code of a one-time link that signs in as the local user,
// to choose a password or add a passkey. Conflict for users of a provider.
func (s *Service) NewUserLink(ctx context.Context, userID string, ttl time.Duration) (string, error) {
	u, err := s.Users.User(ctx, userID)
	if err != nil {
		return "", err
	}
	if !u.Local() {
		return "", fault.New(fault.Conflict, "user.not_local", "%s can't have a sign-in link", u.Email).
			Because("they sign in at %s", u.Provider).Do("Have them sign in there.")
	}
	if err := s.mayEnter(*u); err != nil {
		return "", fault.New(fault.Conflict, "user.disabled", "The account of %s is disabled", u.Email).Do("Enable it first.")
	}
	return s.newLink(ctx, Link{UserID: userID}, ttl)
}

func (s *Service) newLink(ctx context.Context, l Link, ttl time.Duration) (string, error) {
	if ttl == 0 {
		ttl = DefaultLinkLife
	}
	if ttl < 0 || ttl > MaxLinkLife {
		return "", wrongLink()
	}
	code, now := newSecret(linkPrefix), s.now()
	target, about := "link", map[string]any{"role": l.Role, "expires_at": now.Add(ttl)}
	if l.UserID != "" {
		target, about = "user/"+l.UserID, map[string]any{"expires_at": now.Add(ttl)}
	}
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Links.PutLink(ctx, hashOf(code), l, now.Add(ttl)); err != nil {
			return err
		}
		return s.Audit.Record(ctx, "auth.link_create", target, audit.Done, "", nil, about)
	})
	if err != nil {
		return "", err
	}
	return code, nil
}

// RedeemLink trades the code for a session and gives the session's secret.
// Unauthenticated if the code is unknown, used or too old.
func (s *Service) RedeemLink(ctx context.Context, code string) (secret string, err error) {
	if !wellFormed(linkPrefix, code) {
		return "", deadLink()
	}
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		l, err := s.Links.TakeLink(ctx, hashOf(code), s.now())
		if fault.Is(err, fault.NotFound) {
			return deadLink()
		}
		if err != nil {
			return err
		}
		var u *User
		if l.UserID != "" {
			if u, err = s.Users.User(ctx, l.UserID); err != nil || s.mayEnter(*u) != nil {
				return deadLink()
			}
		}
		secret, err = s.openSession(ctx, u, Session{Method: linkMethod, Role: l.Role})
		return err
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// linkMethod is Session.Method of those who came by a one-time link.
const linkMethod = "link"

func deadLink() *fault.Error {
	return fault.New(fault.Unauthenticated, "auth.link_dead", "This sign-in link does not work any more").
		Because("it was used before, has expired, or is not complete").
		Do("Restart the portal to have a new one printed, or use an API token.")
}
