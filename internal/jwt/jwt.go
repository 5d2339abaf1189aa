// Package jwt makes and reads access tokens as JSON Web Tokens (RFC 9068), signed
// with EdDSA.
//
// The keys are derived from the master key, one for each month, so that every
// portal with that key knows all of them and none has to be stored. The key
// before stays good and the key to come is published early: nobody notices when
// they change.
package jwt

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	// Audience is who the tokens are for.
	Audience = "platform-portal"
	// KeyLife is how long a key signs.
	KeyLife = 30 * 24 * time.Hour
	// leeway is by how much the clocks of two portals may differ.
	leeway   = 30 * time.Second
	kind     = "at+jwt"
	maxToken = 4096 // bytes; ours have some 500
)

// Tokens is auth.AccessTokens.
type Tokens struct {
	Key    []byte // the master key
	Issuer string // address of the portal
	Now    func() time.Time
	NewID  func() string

	mu   sync.Mutex
	keys map[int64]*key // by number of the month
}

type key struct {
	id      string
	private ed25519.PrivateKey
	public  jose.JSONWebKey
}

// claims is what a token holds.
type claims struct {
	jwt.Claims
	Session string `json:"sid"`
}

// month is the number of the time in which one key signs.
func (t *Tokens) month(at time.Time) int64 { return at.Unix() / int64(KeyLife/time.Second) }

// key gives the key of a month.
func (t *Tokens) key(month int64) (*key, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.keys[month]; k != nil {
		return k, nil
	}
	if len(t.Key) < 32 {
		return nil, errors.New("the master key is missing or shorter than 32 bytes")
	}
	seed, err := hkdf.Key(sha256.New, t.Key, nil, fmt.Sprintf("platform-portal access tokens 1 %d", month), ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive the key: %w", err)
	}
	k := &key{private: ed25519.NewKeyFromSeed(seed)}
	k.public = jose.JSONWebKey{Key: k.private.Public(), Algorithm: string(jose.EdDSA), Use: "sig"}
	sum, err := k.public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("name the key: %w", err)
	}
	k.id = base64.RawURLEncoding.EncodeToString(sum)
	k.public.KeyID = k.id
	if t.keys == nil || len(t.keys) > 8 { // a clock that jumps must not fill the memory
		t.keys = map[int64]*key{}
	}
	t.keys[month] = k
	return k, nil
}

// valid gives the keys whose tokens are taken: that of now and its neighbours,
// for tokens made just before a change and for clocks that differ.
func (t *Tokens) valid() ([]*key, error) {
	now := t.month(t.Now())
	var out []*key
	for _, m := range []int64{now, now - 1, now + 1} {
		k, err := t.key(m)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// Sign gives the token that says a.
func (t *Tokens) Sign(a auth.Access) (string, error) {
	k, err := t.key(t.month(t.Now()))
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}},
		(&jose.SignerOptions{}).WithType(kind))
	if err != nil {
		return "", fmt.Errorf("make the signer: %w", err)
	}
	issued := jwt.NewNumericDate(a.IssuedAt)
	return jwt.Signed(signer).Claims(claims{
		Claims: jwt.Claims{Issuer: t.Issuer, Subject: a.Subject, Audience: jwt.Audience{Audience}, ID: t.NewID(),
			IssuedAt: issued, NotBefore: issued, Expiry: jwt.NewNumericDate(a.Expires)},
		Session: a.Session,
	}).Serialize()
}

// Verify gives what a token says; Unauthenticated if it was not made by Sign for
// this portal or is over.
func (t *Tokens) Verify(token string) (auth.Access, error) {
	c, err := t.read(token)
	if err != nil {
		return auth.Access{}, refused("auth.access_wrong", "The access token is not valid").Wrap(err)
	}
	now := t.Now()
	if c.Expiry != nil && !now.Before(c.Expiry.Time().Add(leeway)) {
		return auth.Access{}, refused("auth.access_expired", "The access token has expired")
	}
	expected := jwt.Expected{Issuer: t.Issuer, AnyAudience: jwt.Audience{Audience}, Time: now}
	if err := c.ValidateWithLeeway(expected, leeway); err != nil {
		return auth.Access{}, refused("auth.access_wrong", "The access token is not valid").Wrap(err)
	}
	if c.Expiry == nil || c.NotBefore == nil || c.IssuedAt == nil || c.Subject == "" || c.Session == "" {
		return auth.Access{}, refused("auth.access_wrong", "The access token is not valid").Because("something is missing in it")
	}
	return auth.Access{Session: c.Session, Subject: c.Subject, IssuedAt: c.IssuedAt.Time(), Expires: c.Expiry.Time()}, nil
}

// read gives the claims of a token that one of our keys has signed.
func (t *Tokens) read(token string) (*claims, error) {
	if len(token) > maxToken {
		return nil, errors.New("it is too long")
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, err
	}
	if len(parsed.Headers) != 1 || parsed.Headers[0].ExtraHeaders[jose.HeaderType] != kind {
		return nil, errors.New("it is a token of another kind")
	}
	keys, err := t.valid()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.id == parsed.Headers[0].KeyID {
			var c claims
			err := parsed.Claims(k.private.Public(), &c)
			return &c, err
		}
	}
	return nil, errors.New("no key of ours has signed it")
}

// JWKS is the set of public keys (RFC 7517): of now, before, and to come.
func (t *Tokens) JWKS() ([]byte, error) {
	keys, err := t.valid()
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.public)
	}
	return json.Marshal(set)
}

func refused(code, what string) *fault.Error {
	return fault.New(fault.Unauthenticated, code, what).Do("Run `portal login` again.")
}
