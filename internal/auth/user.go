package auth

import (
	"context"
	"strings"
	"time"
)

// LocalProvider is the provider of users whose password or passkey the portal
// itself keeps.
const LocalProvider = "local"

// User is a person who may sign in.
type User struct {
	ID    string `json:"id"`
	Email string `json:"email"` // in lower case
	Name  string `json:"name"`
	// Provider is where the person signs in: LocalProvider, or the name of an
	// identity provider.
	Provider string `json:"provider"`
	// Subject is how the provider names the person, for good; the e-mail for
	// local users; "" for somebody who was invited and has not signed in yet.
	Subject string `json:"-"`
	// Role is what an administrator gave. Nobody leaves it to the rules, which
	// hold for users of identity providers only.
	Role Role `json:"role,omitempty"`
	// Claims are what the provider said at the last sign-in of the claims that
	// rules name.
	Claims map[string][]string `json:"-"`
	// Password is the hash of a local user's password as a PHC string; "" if
	// there is none.
	Password   string     `json:"-"`
	CreatedAt  time.Time  `json:"created_at"`
	LastSeenAt *time.Time `json:"last_seen_at,omitempty"`
	DisabledAt *time.Time `json:"disabled_at,omitempty"`
}

// Key is the stable name of the person, see Principal.User.
func (u User) Key() string { return userKey + u.ID }

const userKey = "user:"

// principal names the user in records: by the e-mail, because people read them,
// and by the end of the id, because an e-mail can come to belong to somebody else.
func (u User) principal() string {
	return userKey + u.Email + "/" + u.ID[max(0, len(u.ID)-8):]
}

// label is what other people call the user.
func (u User) label() string {
	if u.Name != "" {
		return u.Name
	}
	return u.Email
}

// Local tells whether the portal itself keeps what the user signs in with.
func (u User) Local() bool { return u.Provider == LocalProvider }

// Handle is how authenticators name the user. It says nothing about the person.
func (u User) Handle() []byte { return []byte(u.ID) }

// UserOfHandle gives the id of the user that authenticators name so.
func UserOfHandle(handle []byte) string { return string(handle) }

// UserStore keeps users. NotFound for an unknown one.
type UserStore interface {
	// CreateUser stores a new one; Conflict if the provider has one with the
	// subject already, or an invited one with the e-mail.
	CreateUser(ctx context.Context, u User) error
	User(ctx context.Context, id string) (*User, error)
	UserBySubject(ctx context.Context, provider, subject string) (*User, error)
	// InvitedUser finds one without a subject by the e-mail.
	InvitedUser(ctx context.Context, provider, email string) (*User, error)
	// Users lists newest first.
	Users(ctx context.Context, cursor string, limit int) (list []User, next string, err error)
	// UpdateUser replaces everything but the id and the times of creation and
	// last use; Conflict as with CreateUser.
	UpdateUser(ctx context.Context, u User) error
	// TouchUser notes that the user was here.
	TouchUser(ctx context.Context, id string, at time.Time) error
	// DeleteUser removes the user with all sessions, tokens, links and passkeys.
	DeleteUser(ctx context.Context, id string) error
}

// normalEmail is how e-mail addresses are kept and compared.
func normalEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
