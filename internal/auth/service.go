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
	SessionIdle      = 24 * time.Hour      // a session ends when it was not used for so long
	SessionLife      = 30 * 24 * time.Hour // and after this in any case
	touchEvery       = time.Minute         // use is noted at most so often
	maxTokenName     = 100                 // characters
)

// Service gives and takes access.
type Service struct {
	Tokens TokenStore
	Links  LinkStore
	Tx     txn.Runner
	Audit  *audit.Recorder
	Events event.Log
	Now    func() time.Time
	NewID  func() string

	mu      sync.Mutex
	touched map[string]time.Time // when use was last noted, by token id or hash of session
}

// Change is the payload of the events about access.
type Change struct {
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Role      Role      `json:"role"`
	Change    string    `json:"change"` // created, revoked, signed_in or signed_out
	Timestamp time.Time `json:"timestamp"`
}

// CreateToken makes an API token for the role. A ttl of 0 means
// DefaultTokenLife. The secret is given this once and never again. Faults:
// Invalid for name, role or ttl; Conflict for a name that is taken.
func (s *Service) CreateToken(ctx context.Context, name string, role Role, ttl time.Duration) (string, Token, error) {
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
	t := Token{ID: s.NewID(), Name: name, Role: role, Hash: hashOf(secret), CreatedBy: From(ctx).ID, CreatedAt: now, ExpiresAt: &ends}
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

// RevokeToken ends a token for good. Ending one twice is no error. NotFound.
func (s *Service) RevokeToken(ctx context.Context, id string) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		t, err := s.Tokens.Token(ctx, id)
		if err != nil || t.RevokedAt != nil {
			return err
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

// Authenticate gives the principal of an API token; Unauthenticated if the
// token is unknown, expired or revoked. The caller fills in From and Request.
func (s *Service) Authenticate(ctx context.Context, secret string) (Principal, error) {
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
	p := Principal{ID: t.principal(), Name: t.Name, Role: t.Role}
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
	if s.due(t.ID, now) {
		// The time of last use is a convenience; failing to note it must not
		// turn a good token away.
		_ = s.Tokens.TouchToken(ctx, t.ID, now)
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
