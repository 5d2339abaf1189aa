package auth

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Passkey is a WebAuthn credential of a local user. It holds no secret: the
// private key never leaves the authenticator.
type Passkey struct {
	ID        string `json:"id"` // credential id, base64url without padding
	UserID    string `json:"-"`
	Name      string `json:"name"` // for people
	PublicKey []byte `json:"-"`    // COSE
	// SignCount is the authenticator's counter at the last use; 0 if it has none.
	SignCount      uint32     `json:"-"`
	Transports     []string   `json:"transports,omitempty"` // e.g. "internal", "usb"
	AAGUID         string     `json:"aaguid,omitempty"`     // model of the authenticator, hex
	Attestation    string     `json:"-"`                    // format of the attestation, e.g. "none"
	BackupEligible bool       `json:"backup_eligible"`      // may be copied to other devices of the person
	BackedUp       bool       `json:"backed_up"`            // is copied
	CreatedAt      time.Time  `json:"created_at"`
	LastUsedAt     *time.Time `json:"last_used_at,omitempty"`
}

// PasskeyStore keeps passkeys. NotFound for an unknown one.
type PasskeyStore interface {
	// CreatePasskey stores a new one; Conflict if its id is taken.
	CreatePasskey(ctx context.Context, p Passkey) error
	Passkey(ctx context.Context, id string) (*Passkey, error)
	// PasskeysOf lists oldest first.
	PasskeysOf(ctx context.Context, userID string) ([]Passkey, error)
	// UsePasskey notes a use with what the authenticator said at it.
	UsePasskey(ctx context.Context, id string, signCount uint32, backedUp bool, at time.Time) error
	DeletePasskey(ctx context.Context, id string) error
}

// maxPasskeys is how many passkeys a user may have.
const maxPasskeys = 20

// AddPasskey stores a passkey of the local user who asks, after its ceremony was
// checked. Conflict if it is there already, or there are too many.
func (s *Service) AddPasskey(ctx context.Context, k Passkey) error {
	u, err := s.UserOf(ctx)
	if err != nil {
		return err
	}
	if !u.Local() {
		return fault.New(fault.Conflict, "user.not_local", "You can't have a passkey here").Because("you sign in at %s", u.Provider)
	}
	k.UserID, k.CreatedAt, k.LastUsedAt, k.Name = u.ID, s.now(), nil, plainName(k.Name)
	if k.Name == "" {
		k.Name = "Passkey of " + k.CreatedAt.Format(time.DateOnly)
	}
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		have, err := s.Passkeys.PasskeysOf(ctx, u.ID)
		if err != nil {
			return err
		}
		if len(have) >= maxPasskeys {
			return fault.New(fault.Conflict, "passkey.too_many", "You have %d passkeys already", len(have)).Do("Remove one that you do not use.")
		}
		if err := s.Passkeys.CreatePasskey(ctx, k); err != nil {
			return err
		}
		return s.notePasskey(ctx, *u, "passkey.add", nil, &k)
	})
}

// RemovePasskey removes a passkey of the user who asks; NotFound.
func (s *Service) RemovePasskey(ctx context.Context, id string) error {
	u, err := s.UserOf(ctx)
	if err != nil {
		return err
	}
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		k, err := s.Passkeys.Passkey(ctx, id)
		if err != nil {
			return err
		}
		if k.UserID != u.ID {
			return fault.New(fault.NotFound, "passkey.not_found", "There is no such passkey of yours")
		}
		if err := s.Passkeys.DeletePasskey(ctx, id); err != nil {
			return err
		}
		return s.notePasskey(ctx, *u, "passkey.remove", k, nil)
	})
}

func (s *Service) notePasskey(ctx context.Context, u User, action string, before, after *Passkey) error {
	var b, a any
	if before != nil {
		b = before
	}
	if after != nil {
		a = after
	}
	role, _ := s.RoleOf(u)
	return s.note(ctx, event.UserChanged, action, "user/"+u.ID, b, a,
		Change{ID: u.ID, Name: u.label(), Role: role, Change: "changed", Timestamp: s.now()})
}

// PasskeysOf lists the passkeys of a user, oldest first.
func (s *Service) PasskeysOf(ctx context.Context, userID string) ([]Passkey, error) {
	return s.Passkeys.PasskeysOf(ctx, userID)
}

// Passkey gives a passkey; NotFound.
func (s *Service) Passkey(ctx context.Context, id string) (*Passkey, error) {
	return s.Passkeys.Passkey(ctx, id)
}
