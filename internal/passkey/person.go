package passkey

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/waooaw/platform-portal/internal/auth"
)

// person is a user in the form that the library reads.
type person struct {
	user        auth.User
	credentials []webauthn.Credential
}

func (a *Authority) person(ctx context.Context, u auth.User) (*person, error) {
	list, err := a.cfg.Accounts.PasskeysOf(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	p := &person{user: u}
	for _, k := range list {
		c, err := credential(k)
		if err != nil {
			return nil, err
		}
		p.credentials = append(p.credentials, c)
	}
	return p, nil
}

func credential(k auth.Passkey) (webauthn.Credential, error) {
	id, err := base64.RawURLEncoding.DecodeString(k.ID)
	if err != nil {
		return webauthn.Credential{}, fmt.Errorf("stored passkey %s: %w", k.ID, err)
	}
	aaguid, err := hex.DecodeString(k.AAGUID)
	if err != nil {
		return webauthn.Credential{}, fmt.Errorf("stored passkey %s: %w", k.ID, err)
	}
	c := webauthn.Credential{
		ID: id, PublicKey: k.PublicKey, AttestationFormat: k.Attestation,
		// A passkey was made with the person verified, and is taken only so.
		Flags:         webauthn.CredentialFlags{UserPresent: true, UserVerified: true, BackupEligible: k.BackupEligible, BackupState: k.BackedUp},
		Authenticator: webauthn.Authenticator{AAGUID: aaguid, SignCount: k.SignCount},
	}
	for _, t := range k.Transports {
		c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
	}
	return c, nil
}

// WebAuthnID implements webauthn.User.
func (p *person) WebAuthnID() []byte { return p.user.Handle() }

// WebAuthnName implements webauthn.User.
func (p *person) WebAuthnName() string { return p.user.Email }

// WebAuthnDisplayName implements webauthn.User.
func (p *person) WebAuthnDisplayName() string {
	if p.user.Name != "" {
		return p.user.Name
	}
	return p.user.Email
}

// WebAuthnCredentials implements webauthn.User.
func (p *person) WebAuthnCredentials() []webauthn.Credential { return p.credentials }
