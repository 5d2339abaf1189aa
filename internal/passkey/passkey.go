// Package passkey lets people sign in with passkeys (WebAuthn): it makes what a
// browser asks an authenticator for, and checks what it answers.
package passkey

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// FlowLife is how long a person may take to touch an authenticator.
const FlowLife = 5 * time.Minute

// The kinds keep an answer of one sort from being taken for the other.
const (
	registering = "passkey-new"
	signingIn   = "passkey"
)

// Accounts knows who has which passkeys, and keeps what is remembered between
// two requests; auth.Service is one.
type Accounts interface {
	// User gives a user; NotFound for an unknown one.
	User(ctx context.Context, id string) (*auth.User, error)
	PasskeysOf(ctx context.Context, userID string) ([]auth.Passkey, error)
	PutFlow(ctx context.Context, kind string, data []byte, life time.Duration) (secret string, err error)
	TakeFlow(ctx context.Context, kind, secret string) ([]byte, error)
}

// Config is what an Authority stands on.
type Config struct {
	// Origins are the addresses at which browsers reach the portal, e.g.
	// https://portal.example.com. A passkey belongs to the host it was made at.
	Origins  []string
	Name     string // of the portal, for people
	Accounts Accounts
}

// Authority checks passkeys. Use it from any goroutine.
type Authority struct {
	cfg     Config
	parties map[string]*webauthn.WebAuthn // by host, with the port if it is not the usual one
}

// New makes an Authority. Origins at which browsers allow no passkeys (an IP
// address, or http beyond this machine) are left out. Faults: Invalid for what is
// no origin.
func New(cfg Config) (*Authority, error) {
	a := &Authority{cfg: cfg, parties: map[string]*webauthn.WebAuthn{}}
	for _, origin := range cfg.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fault.New(fault.Invalid, "passkey.origin", "%q is not the address of a portal", origin)
		}
		if !possible(u) {
			continue
		}
		party, err := webauthn.New(&webauthn.Config{
			RPID: u.Hostname(), RPDisplayName: cfg.Name, RPOrigins: []string{u.Scheme + "://" + hostOf(u)}, AttestationPreference: protocol.PreferNoAttestation,
			AuthenticatorSelection: protocol.AuthenticatorSelection{
				ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
				UserVerification: protocol.VerificationRequired,
			},
		})
		if err != nil {
			return nil, fmt.Errorf("passkeys at %s: %w", origin, err)
		}
		a.parties[hostOf(u)] = party
	}
	return a, nil
}

// hostOf gives the address's host, with the port if it is not the usual one, as
// browsers send it.
func hostOf(u *url.URL) string {
	host, port := strings.ToLower(u.Host), u.Port()
	if port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return host
}

// possible tells whether browsers allow passkeys at the address.
func possible(u *url.URL) bool {
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return false
	}
	return u.Scheme == "https" || u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost")
}

// Works tells whether passkeys can be used at the host at which the browser is,
// with its port as in the Host header.
func (a *Authority) Works(host string) bool { return a.parties[strings.ToLower(host)] != nil }

func (a *Authority) party(host string) (*webauthn.WebAuthn, error) {
	if p := a.parties[strings.ToLower(host)]; p != nil {
		return p, nil
	}
	return nil, fault.New(fault.Conflict, "passkey.address", "Passkeys can't be used at this address").
		Because("browsers allow them only at a name, by https or at localhost, that the portal knows").
		Do("Open the portal at its name; an administrator sets it as public-url.")
}

// BeginRegistration gives what the browser passes to navigator.credentials.create
// so that the user gets a new passkey, and the secret to come back with.
func (a *Authority) BeginRegistration(ctx context.Context, host string, user auth.User) (options json.RawMessage, flow string, err error) {
	party, err := a.party(host)
	if err != nil {
		return nil, "", err
	}
	p, err := a.person(ctx, user)
	if err != nil {
		return nil, "", err
	}
	creation, session, err := party.BeginRegistration(p, webauthn.WithExclusions(webauthn.Credentials(p.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return nil, "", fmt.Errorf("ask for a new passkey: %w", err)
	}
	return a.keep(ctx, registering, creation.Response, host, session)
}

// FinishRegistration checks the browser's answer and gives the new passkey of
// the user, which is not stored yet. Unauthenticated if it is not an answer to
// what was asked.
func (a *Authority) FinishRegistration(ctx context.Context, flow string, user auth.User, answer []byte) (auth.Passkey, error) {
	party, session, err := a.take(ctx, registering, flow)
	if err != nil {
		return auth.Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return auth.Passkey{}, wrong(err)
	}
	p, err := a.person(ctx, user)
	if err != nil {
		return auth.Passkey{}, err
	}
	c, err := party.CreateCredential(p, *session, parsed)
	if err != nil {
		return auth.Passkey{}, wrong(err)
	}
	out := auth.Passkey{
		ID: encode(c.ID), UserID: user.ID, PublicKey: c.PublicKey, SignCount: c.Authenticator.SignCount,
		AAGUID: hex.EncodeToString(c.Authenticator.AAGUID), Attestation: c.AttestationFormat,
		BackupEligible: c.Flags.BackupEligible, BackedUp: c.Flags.BackupState,
	}
	for _, t := range c.Transport {
		out.Transports = append(out.Transports, string(t))
	}
	return out, nil
}

// BeginSignIn gives what the browser passes to navigator.credentials.get, and
// the secret to come back with. The authenticator says who it is.
func (a *Authority) BeginSignIn(ctx context.Context, host string) (options json.RawMessage, flow string, err error) {
	party, err := a.party(host)
	if err != nil {
		return nil, "", err
	}
	assertion, session, err := party.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, "", fmt.Errorf("ask for a passkey: %w", err)
	}
	return a.keep(ctx, signingIn, assertion.Response, host, session)
}

// Proof is what an authenticator has proved.
type Proof struct {
	UserID       string
	CredentialID string // Passkey.ID
	// SignCount and BackedUp are what it said of itself; whether the count may be
	// so is for auth.Service.SignInPasskey to say.
	SignCount uint32
	BackedUp  bool
}

// FinishSignIn checks the browser's answer. Unauthenticated if it is not an
// answer to what was asked, by a passkey that is known here.
func (a *Authority) FinishSignIn(ctx context.Context, flow string, answer []byte) (Proof, error) {
	party, session, err := a.take(ctx, signingIn, flow)
	if err != nil {
		return Proof{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return Proof{}, wrong(err)
	}
	var broken error // what is not the authenticator's fault
	user, c, err := party.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
		u, err := a.cfg.Accounts.User(ctx, auth.UserOfHandle(handle))
		if err == nil {
			var p *person
			if p, err = a.person(ctx, *u); err == nil {
				return p, nil
			}
		}
		if !fault.Is(err, fault.NotFound) {
			broken = err
		}
		return nil, err
	}, *session, parsed)
	if broken != nil {
		return Proof{}, fmt.Errorf("look up the passkey: %w", broken)
	}
	if err != nil {
		return Proof{}, wrong(err)
	}
	return Proof{UserID: auth.UserOfHandle(user.WebAuthnID()), CredentialID: encode(c.ID),
		SignCount: parsed.Response.AuthenticatorData.Counter, BackedUp: c.Flags.BackupState}, nil
}

// asked is what is remembered until the answer comes.
type asked struct {
	Host    string               `json:"host"`
	Session webauthn.SessionData `json:"session"`
}

func (a *Authority) keep(ctx context.Context, kind string, options any, host string, session *webauthn.SessionData) (json.RawMessage, string, error) {
	out, err := json.Marshal(options)
	if err != nil {
		return nil, "", fmt.Errorf("write the options: %w", err)
	}
	data, err := json.Marshal(asked{Host: host, Session: *session})
	if err != nil {
		return nil, "", fmt.Errorf("write the challenge: %w", err)
	}
	flow, err := a.cfg.Accounts.PutFlow(ctx, kind, data, FlowLife)
	if err != nil {
		return nil, "", fmt.Errorf("keep the challenge: %w", err)
	}
	return out, flow, nil
}

func (a *Authority) take(ctx context.Context, kind, flow string) (*webauthn.WebAuthn, *webauthn.SessionData, error) {
	data, err := a.cfg.Accounts.TakeFlow(ctx, kind, flow)
	if err != nil {
		return nil, nil, err
	}
	var was asked
	if err := json.Unmarshal(data, &was); err != nil {
		return nil, nil, fmt.Errorf("read the challenge: %w", err)
	}
	party, err := a.party(was.Host)
	return party, &was.Session, err
}

// wrong is for an answer that does not prove what it should. The library's
// reasons are for the log.
func wrong(err error) *fault.Error {
	return fault.New(fault.Unauthenticated, "passkey.wrong", "The passkey was not accepted").
		Because("it is not known here, or its answer does not fit what was asked").Do("Try again, or sign in another way.").Wrap(err)
}

func encode(id []byte) string { return base64.RawURLEncoding.EncodeToString(id) }
