package auth

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// The lives of what gives access.
const (
	DefaultTokenLife = 90 * 24 * time.Hour
	MaxTokenLife     = 366 * 24 * time.Hour
	DefaultLinkLife  = 15 * time.Minute
	MaxLinkLife      = 24 * time.Hour
	touchEvery       = time.Minute // use is noted at most so often
	maxTokenName     = 100         // characters
)

// Service gives and takes access.
type Service struct {
	Tokens    TokenStore
	Links     LinkStore
	Users     UserStore
	Sessions  SessionStore
	Passkeys  PasskeyStore
	Flows     FlowStore
	Attempts  AttemptStore
	Access    AccessTokens // nil: there are none
	Rules     []Rule       // what gives roles to users of identity providers
	Key       []byte       // the master key; without it no browser is known again
	Passwords Argon2       // DefaultArgon2 if zero
	Tx        txn.Runner
	Audit     *audit.Recorder
	Events    event.Log
	Now       func() time.Time
	NewID     func() string

	mu      sync.Mutex
	lanes   chan struct{}
	touched map[string]time.Time // when use was last noted, by id of token or session
}

// Change is the payload of the events about access.
type Change struct {
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Role      Role      `json:"role"`
	Change    string    `json:"change"` // e.g. created, changed, revoked, signed_in, signed_out
	Reason    string    `json:"reason,omitempty"`
	Timestamp time.Time `json:"timestamp"`
}

// CreateToken makes an API token for the role that belongs to nobody, e.g. for a
// machine. A ttl of 0 means DefaultTokenLife. The secret is given this once and
// never again. Faults: Invalid for name, role or ttl; Conflict for a name that is
// taken; Forbidden for anybody but administrators.
func (s *Service) CreateToken(ctx context.Context, name string, role Role, ttl time.Duration) (string, Token, error) {
	if !From(ctx).Role.Includes(Admin) {
		return "", Token{}, fault.New(fault.Forbidden, "auth.role", "You may not make a token that belongs to nobody").
			Because("it would outlive your own access").Do("Make a token of your own, or ask an administrator.")
	}
	return s.createToken(ctx, "", name, role, ttl)
}

// CreateOwnToken is CreateToken for a token of the user who asks. It never
// allows more than the user's role, also when that changes later.
func (s *Service) CreateOwnToken(ctx context.Context, name string, role Role, ttl time.Duration) (string, Token, error) {
	p := From(ctx)
	u, err := s.UserOf(ctx)
	if err != nil {
		return "", Token{}, err
	}
	if p.Session == "" {
		return "", Token{}, fault.New(fault.Forbidden, "auth.needs_session", "A token can't make more tokens").
			Because("they would go on after it has ended").Do("Sign in to make one.")
	}
	if role.Valid() && !p.Role.Includes(role) {
		return "", Token{}, fault.New(fault.Forbidden, "auth.role_above", "You can't make a token for the role %s", role).
			Because("your own is %s", p.Role).At(fault.Field{Path: "role", Message: "must not be above your own"})
	}
	return s.createToken(ctx, u.ID, name, role, ttl)
}

func (s *Service) createToken(ctx context.Context, userID, name string, role Role, ttl time.Duration) (string, Token, error) {
	if ttl == 0 {
		ttl = DefaultTokenLife
	}
	name = strings.TrimSpace(name)
	if fields := checkToken(name, role, ttl); len(fields) > 0 {
		return "", Token{}, fault.New(fault.Invalid, "auth.token_invalid", "The token can't be made").
			Do("Correct the fields listed.").At(fields...)
	}
	secret, now := newSecret(tokenPrefix), s.now()
	ends := now.Add(ttl)
	t := Token{ID: s.NewID(), Name: name, Role: role, Hash: hashOf(secret), UserID: userID, CreatedBy: From(ctx).ID, CreatedAt: now, ExpiresAt: &ends}
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.Tokens.CreateToken(ctx, t); err != nil {
			return err
		}
		return s.note(ctx, event.TokenChanged, "token.create", "token/"+t.ID, nil, t,
			Change{ID: t.ID, Name: name, Role: role, Change: "created", Timestamp: now})
	})
	if err != nil {
		return "", Token{}, err
	}
	return secret, t, nil
}

func checkToken(name string, role Role, ttl time.Duration) []fault.Field {
	var out []fault.Field
	switch {
	case name == "":
		out = append(out, fault.Field{Path: "name", Message: "is missing; say what the token is for"})
	case len([]rune(name)) > maxTokenName:
		out = append(out, fault.Field{Path: "name", Message: fmt.Sprintf("is longer than %d characters", maxTokenName)})
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		out = append(out, fault.Field{Path: "name", Message: "holds a character that can't be printed"})
	}
	if !role.Valid() {
		out = append(out, fault.Field{Path: "role", Message: "must be viewer, operator or admin"})
	}
	if ttl < 0 || ttl > MaxTokenLife {
		out = append(out, fault.Field{Path: "ttl", Message: "must be positive and at most 8784h (366 days)"})
	}
	return out
}

// ListTokens lists the tokens of whoever asks, and all of them for
// administrators, newest first.
func (s *Service) ListTokens(ctx context.Context, cursor string, limit int) ([]Token, string, error) {
	p := From(ctx)
	id, own := strings.CutPrefix(p.User, userKey)
	switch {
	case p.Role.Includes(Admin):
		id = ""
	case !own:
		return nil, "", nil
	}
	return s.Tokens.Tokens(ctx, id, cursor, limit)
}

// RevokeToken ends a token for good. Ending one twice is no error. NotFound,
// also for a token of somebody else, unless an administrator asks.
func (s *Service) RevokeToken(ctx context.Context, id string) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		t, err := s.Tokens.Token(ctx, id)
		if err != nil {
			return err
		}
		if p := From(ctx); !p.Role.Includes(Admin) && (t.UserID == "" || p.User != userKey+t.UserID) {
			return fault.New(fault.NotFound, "token.not_found", "There is no such token")
		}
		if t.RevokedAt != nil {
			return nil
		}
		now := s.now()
		if err := s.Tokens.RevokeToken(ctx, id, now); err != nil {
			return err
		}
		after := *t
		after.RevokedAt = &now
		return s.note(ctx, event.TokenChanged, "token.revoke", "token/"+id, t, after,
			Change{ID: id, Name: t.Name, Role: t.Role, Change: "revoked", Timestamp: now})
	})
}

// Authenticate gives the principal of an API token or an access token;
// Unauthenticated if it is unknown, expired or revoked, or its user may not be
// here any more. The caller fills in From and Request.
func (s *Service) Authenticate(ctx context.Context, secret string) (Principal, error) {
	if strings.Count(secret, ".") == 2 && s.Access != nil {
		return s.accessPrincipal(ctx, secret)
	}
	if !wellFormed(tokenPrefix, secret) {
		return Principal{}, unknownToken()
	}
	hash := hashOf(secret)
	t, err := s.Tokens.TokenByHash(ctx, hash)
	if fault.Is(err, fault.NotFound) {
		return Principal{}, unknownToken()
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up the token: %w", err)
	}
	now := s.now()
	p := Principal{ID: t.principal(), Name: t.Name, Role: t.Role, User: "token:" + t.ID}
	switch {
	case !same(t.Hash, hash):
		return Principal{}, unknownToken()
	case t.RevokedAt != nil:
		return p, refused("auth.token_revoked", "The token was revoked")
	case t.ExpiresAt != nil && !now.Before(*t.ExpiresAt):
		return p, refused("auth.token_expired", "The token has expired")
	case !t.Role.Valid():
		return p, refused("auth.no_role", "The token gives no access")
	}
	if t.UserID != "" {
		if p, err = s.ofUser(ctx, t, p); err != nil {
			return p, err
		}
	}
	if s.due(t.ID, now) {
		// The time of last use is a convenience; failing to note it must not
		// turn a good token away.
		_ = s.Tokens.TouchToken(ctx, t.ID, now)
	}
	return p, nil
}

// ofUser makes the principal of a user's token: at most what the user may now.
func (s *Service) ofUser(ctx context.Context, t *Token, p Principal) (Principal, error) {
	u, err := s.Users.User(ctx, t.UserID)
	if fault.Is(err, fault.NotFound) {
		return Principal{}, unknownToken()
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up the user: %w", err)
	}
	role, _ := s.RoleOf(*u)
	if p.User = u.Key(); p.Role.Includes(role) {
		p.Role = role
	}
	if !role.Valid() {
		return p, refused("auth.no_role", "The token gives no access any more").Because("its user has none")
	}
	return p, nil
}

func unknownToken() *fault.Error {
	return refused("auth.token_unknown", "The token is not known here")
}

func refused(code, what string) *fault.Error {
	return fault.New(fault.Unauthenticated, code, what).
		Do("Make a new one with: portal token create --role ROLE --name NAME")
}

// due tells whether use is to be noted now, and remembers that it is.
func (s *Service) due(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.touched[id]; ok && now.Sub(last) < touchEvery && !now.Before(last) {
		return false
	}
	if s.touched == nil || len(s.touched) > 10_000 {
		s.touched = map[string]time.Time{}
	}
	s.touched[id] = now
	return true
}

// note writes the audit entry and the event of one change.
func (s *Service) note(ctx context.Context, t event.Type, action, target string, before, after any, c Change) error {
	if err := s.Audit.Record(ctx, action, target, audit.Done, "", before, after); err != nil {
		return err
	}
	return s.Events.Append(ctx, event.New(t, "", audit.ActorFrom(ctx).ID, c.Timestamp, c, event.RoomAudit))
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
