// Package auth says who is asking and what they may do.
package auth

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
)

// Role is what a principal may do; each role includes the ones below it.
type Role string

// The roles, Admin ⊃ Operator ⊃ Viewer. Nobody is below Viewer but has access.
const (
	Nobody   Role = ""
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
)

var rank = map[Role]int{Viewer: 1, Operator: 2, Admin: 3}

// Includes tells whether r may do what needs role need.
func (r Role) Includes(need Role) bool { return rank[r] >= rank[need] }

// Valid tells whether r is one of the three roles.
func (r Role) Valid() bool { return rank[r] > 0 }

// Principal is who is asking.
type Principal struct {
	ID   string // "token:NAME/…", "user:EMAIL/…", "session:…", "agent:…" or "system"
	Name string // for people
	Role Role
	From string // address, for the audit log
	// User is the stable key of the person, for what is remembered of them:
	// "user:ID", "link" for sessions made by a one-time link, or "token:ID".
	User string
	// Session is the id of the session that authenticated the request; "" for tokens.
	Session string
	// Request is the id of the HTTP request, for the audit log.
	Request string
}

// System is the portal itself.
var System = Principal{ID: "system", Name: "system", Role: Admin}

type principalKey struct{}

// With puts the principal into the context, also for the audit log.
func With(ctx context.Context, p Principal) context.Context {
	ctx = audit.WithActor(ctx, audit.Actor{ID: p.ID, Role: string(p.Role), From: p.From, Request: p.Request})
	return context.WithValue(ctx, principalKey{}, p)
}

// From gives the principal; one without a role if there is none.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// Token is an API token. The secret itself is never stored.
type Token struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role Role   `json:"role"`
	Hash string `json:"-"` // SHA-256 of the secret, hex
	// UserID is the user whose token it is. It never allows more than the user's
	// role. "" for one that belongs to nobody, e.g. of a machine.
	UserID     string     `json:"user_id,omitempty"`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
}

// principal names the token in records: by its name, because people read them,
// and by the end of its id, because a name can be given again once its token is
// revoked.
func (t Token) principal() string {
	return "token:" + t.Name + "/" + t.ID[max(0, len(t.ID)-8):]
}

// TokenStore keeps tokens. NotFound for an unknown one, Conflict for a taken name
// among the tokens that are not revoked.
type TokenStore interface {
	CreateToken(ctx context.Context, t Token) error
	TokenByHash(ctx context.Context, hash string) (*Token, error)
	Token(ctx context.Context, id string) (*Token, error)
	// Tokens lists newest first; only those of the user if userID is not "".
	Tokens(ctx context.Context, userID, cursor string, limit int) (list []Token, next string, err error)
	RevokeToken(ctx context.Context, id string, at time.Time) error
	TouchToken(ctx context.Context, id string, at time.Time) error
}

// Credential is what an agent uses to reach the portal and its queues. The
// secret itself is never stored in clear outside the agent's own directory.
type Credential struct {
	AgentID   string
	Hash      string // SHA-256 of the secret, hex
	CreatedAt time.Time
}

// CredentialStore keeps one credential an agent.
type CredentialStore interface {
	PutCredential(ctx context.Context, c Credential) error
	CredentialOf(ctx context.Context, agentID string) (*Credential, error) // NotFound
	DeleteCredential(ctx context.Context, agentID string) error            // no error if there is none
}

// Link is what a one-time sign-in link gives: a role, or the access of a user.
type Link struct {
	Role   Role
	UserID string
}

// LinkStore keeps one-time sign-in links.
type LinkStore interface {
	// PutLink stores the hash of a one-time code with what it gives.
	PutLink(ctx context.Context, hash string, l Link, expires time.Time) error
	// TakeLink removes the link and says what it gives; NotFound if there is none,
	// it was used, or it has expired at now.
	TakeLink(ctx context.Context, hash string, now time.Time) (Link, error)
	// Expire removes links, sessions, flows and attempts that ended before now.
	Expire(ctx context.Context, now time.Time) error
}

// SessionStore keeps sessions. NotFound for an unknown one.
type SessionStore interface {
	CreateSession(ctx context.Context, d Session) error
	Session(ctx context.Context, id string) (*Session, error)
	// SessionByHash finds by Hash or by Previous.
	SessionByHash(ctx context.Context, hash string) (*Session, error)
	// SessionsOf lists those of the user, of one-time links for "", the last used first.
	SessionsOf(ctx context.Context, userID string) ([]Session, error)
	// UpdateSession replaces everything but the id, the user and the time of creation.
	UpdateSession(ctx context.Context, d Session) error
	// TouchSession notes that it was used, and when it ends now.
	TouchSession(ctx context.Context, id string, seen, expires time.Time) error
	// DeleteSession ends one; no error if there is none.
	DeleteSession(ctx context.Context, id string) error
	// DeleteSessionsOf ends those of the user but one, and says how many.
	DeleteSessionsOf(ctx context.Context, userID, except string) (int, error)
}

// AttemptStore counts failed sign-ins.
type AttemptStore interface {
	// Attempts gives how many there were and when the last one was; 0 if none.
	Attempts(ctx context.Context, key string) (n int, last time.Time, err error)
	// PutAttempts stores that; it is forgotten at expires.
	PutAttempts(ctx context.Context, key string, n int, last, expires time.Time) error
	// DropAttempts forgets them.
	DropAttempts(ctx context.Context, keys ...string) error
}
