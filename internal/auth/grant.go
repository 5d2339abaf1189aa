package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	// AccessLife is how long an access token is good.
	AccessLife = 10 * time.Minute
	// codeLife is how long a code for a command line can be traded.
	codeLife = 2 * time.Minute
	codeKind = "code"
)

// Access is what an access token says.
type Access struct {
	Session  string // id
	Subject  string // Principal.User
	IssuedAt time.Time
	Expires  time.Time
}

// AccessTokens makes and reads access tokens.
type AccessTokens interface {
	// Sign gives the token that says a.
	Sign(a Access) (string, error)
	// Verify gives what a token says; Unauthenticated if it was not made by Sign
	// for this portal or is over.
	Verify(token string) (Access, error)
}

// CodeRequest is what a command line asks a browser for.
type CodeRequest struct {
	Challenge string // PKCE, method S256 (RFC 7636)
	Redirect  string // where the command line waits: http://127.0.0.1:PORT/… or http://[::1]:PORT/…
}

// Check tells what is wrong with the request; Invalid.
func (r CodeRequest) Check() error {
	var fields []fault.Field
	if b, err := base64.RawURLEncoding.Strict().DecodeString(r.Challenge); err != nil || len(b) != sha256.Size {
		fields = append(fields, fault.Field{Path: "code_challenge", Message: "must be a SHA-256 in base64url"})
	}
	u, err := url.Parse(r.Redirect)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || u.Opaque != "" || !loopbackPort(u.Host) ||
		strings.ContainsFunc(r.Redirect, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) {
		fields = append(fields, fault.Field{Path: "redirect_uri", Message: "must be http://127.0.0.1:PORT or http://[::1]:PORT"})
	}
	if len(fields) > 0 {
		return fault.New(fault.Invalid, "auth.code_request", "The command line can't be signed in").
			Because("it did not ask as it should").Do("Run `portal login` again.").At(fields...)
	}
	return nil
}

// loopbackPort tells whether host is an address of this machine itself, written
// as a number, with a port. Names could lead elsewhere.
func loopbackPort(host string) bool {
	a, err := netip.ParseAddrPort(host)
	return err == nil && a.Port() != 0 && (a.Addr() == netip.MustParseAddr("127.0.0.1") || a.Addr() == netip.IPv6Loopback())
}

// pending is what is kept of a code.
type pending struct {
	CodeRequest
	Session string `json:"session"` // of the browser that agreed
}

// NewCode gives the code by which a command line can sign in as whoever asks.
// Only a browser's session may give one: a token must not make more of itself.
func (s *Service) NewCode(ctx context.Context, r CodeRequest) (string, error) {
	if err := r.Check(); err != nil {
		return "", err
	}
	d, err := s.Sessions.Session(ctx, From(ctx).Session)
	if fault.Is(err, fault.NotFound) || err == nil && d.Kind != Browser {
		return "", fault.New(fault.Forbidden, "auth.needs_browser", "Only a browser can sign in a command line")
	}
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(pending{CodeRequest: r, Session: d.ID})
	if err != nil {
		return "", fmt.Errorf("write the code: %w", err)
	}
	return s.PutFlow(ctx, codeKind, data, codeLife)
}

// Grant is what a command line works with.
type Grant struct {
	Access  string
	Expires time.Time // of Access
	// Refresh gets the next grant, once. Using one a second time ends the session.
	Refresh string
}

// RedeemCode trades a code for a session of the command line. Unauthenticated
// if anything about it is not as it was asked for; the code is used up then too.
func (s *Service) RedeemCode(ctx context.Context, code, verifier, redirect string) (*Grant, error) {
	data, err := s.TakeFlow(ctx, codeKind, code)
	if err != nil {
		return nil, err
	}
	var p pending
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read the code: %w", err)
	}
	sum := sha256.Sum256([]byte(verifier))
	if !same(base64.RawURLEncoding.EncodeToString(sum[:]), p.Challenge) || redirect != p.Redirect {
		return nil, s.refuse(ctx, "session/"+p.Session, wrongCode())
	}
	var refresh string
	var d Session
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		browser, err := s.Sessions.Session(ctx, p.Session)
		if fault.Is(err, fault.NotFound) {
			return wrongCode() // signed out meanwhile
		}
		if err != nil {
			return err
		}
		if _, err := s.whoseSession(ctx, browser); err != nil {
			return err
		}
		var u *User
		if browser.UserID != "" {
			if u, err = s.Users.User(ctx, browser.UserID); err != nil {
				return err
			}
		}
		lasting, changing := newSecret(refreshPrefix), newSecret("")
		refresh = lasting + changing
		d = Session{Kind: CommandLine, Method: browser.Method, Role: browser.Role, Hash: hashOf(lasting), Previous: hashOf(changing)}
		return s.storeSession(ctx, u, &d)
	})
	if err != nil {
		return nil, err
	}
	return s.grant(&d, refresh)
}

func wrongCode() *fault.Error {
	return fault.New(fault.Unauthenticated, "auth.code_wrong", "The command line can't be signed in").
		Because("the code is not the one that was given to it").Do("Run `portal login` again.")
}

func (s *Service) grant(d *Session, refresh string) (*Grant, error) {
	if s.Access == nil {
		return nil, fault.New(fault.Unavailable, "auth.no_access_tokens", "This portal gives no access tokens")
	}
	now, subject := s.now(), LinkUser
	if d.UserID != "" {
		subject = userKey + d.UserID
	}
	a := Access{Session: d.ID, Subject: subject, IssuedAt: now, Expires: now.Add(AccessLife)}
	token, err := s.Access.Sign(a)
	if err != nil {
		return nil, fmt.Errorf("sign the access token: %w", err)
	}
	return &Grant{Access: token, Expires: a.Expires, Refresh: refresh}, nil
}

// Refresh trades a refresh token for the next grant. Unauthenticated if it is
// unknown, over, or was used before; in the last case its session ends, because
// somebody else may have it.
func (s *Service) Refresh(ctx context.Context, token string) (*Grant, error) {
	const size = len(refreshPrefix) + secretLength
	if len(token) != size+secretLength || !wellFormed(refreshPrefix, token[:size]) || !wellFormed("", token[size:]) {
		return nil, sessionOver()
	}
	lasting, changing := hashOf(token[:size]), hashOf(token[size:])
	var refresh string
	var reused bool
	var d *Session
	err := s.Tx.Do(ctx, func(ctx context.Context) (err error) {
		reused = false
		d, err = s.Sessions.SessionByHash(ctx, lasting)
		if fault.Is(err, fault.NotFound) || err == nil && (d.Kind != CommandLine || !same(d.Hash, lasting)) {
			return sessionOver()
		}
		if err != nil {
			return err
		}
		if !same(d.Previous, changing) {
			reused = true
			return s.endSession(ctx, d, "auth.session_reused", "a refresh token was used a second time")
		}
		p, err := s.whoseSession(ctx, d)
		if err != nil {
			return err
		}
		fresh, now := newSecret(""), s.now()
		refresh = token[:size] + fresh
		d.Previous, d.RotatedAt, d.SeenAt, d.Role = hashOf(fresh), now, now, p.Role
		d.ExpiresAt = d.end()
		return s.Sessions.UpdateSession(ctx, *d)
	})
	if err == nil && reused {
		err = sessionOver()
	}
	if err != nil {
		return nil, err
	}
	return s.grant(d, refresh)
}

// accessPrincipal gives who an access token is of, as they are now.
func (s *Service) accessPrincipal(ctx context.Context, token string) (Principal, error) {
	a, err := s.Access.Verify(token)
	if err != nil {
		return Principal{}, err
	}
	d, err := s.Sessions.Session(ctx, a.Session)
	if fault.Is(err, fault.NotFound) || err == nil && d.Kind != CommandLine {
		return Principal{}, sessionOver()
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up the session: %w", err)
	}
	p, err := s.whoseSession(ctx, d)
	if err != nil {
		return p, err
	}
	if p.User != a.Subject {
		return Principal{}, sessionOver()
	}
	s.used(ctx, d)
	return p, nil
}
