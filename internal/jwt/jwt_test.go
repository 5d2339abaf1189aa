package jwt_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	joseJWT "github.com/go-jose/go-jose/v4/jwt"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/jwt"
)

const issuer = "https://portal.example.com"

var start = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func newTokens(now *time.Time) *jwt.Tokens {
	n := 0
	return &jwt.Tokens{Key: bytes.Repeat([]byte{3}, 32), Issuer: issuer, Now: func() time.Time { return *now },
		NewID: func() string { n++; return fmt.Sprint(n) }}
}

func access(now time.Time) auth.Access {
	return auth.Access{Session: "s1", Subject: "user:u1", IssuedAt: now, Expires: now.Add(10 * time.Minute)}
}

func sign(t *testing.T, tokens *jwt.Tokens, a auth.Access) string {
	t.Helper()
	token, err := tokens.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if f := fault.As(err); f == nil || f.Kind != fault.Unauthenticated || f.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func TestATokenSaysWhatItWasGiven(t *testing.T) {
	now := start
	tokens := newTokens(&now)
	want := access(now)
	token := sign(t, tokens, want)
	for _, at := range []time.Duration{-20 * time.Second, 0, 9 * time.Minute} {
		now = start.Add(at)
		got, err := tokens.Verify(token)
		if err != nil || got.Session != want.Session || got.Subject != want.Subject || !got.IssuedAt.Equal(want.IssuedAt) || !got.Expires.Equal(want.Expires) {
			t.Errorf("at %s: %+v %v", at, got, err)
		}
	}
	// Another portal with the same master key takes it, one with another key does not.
	if _, err := newTokens(&now).Verify(token); err != nil {
		t.Error(err)
	}
	stranger := newTokens(&now)
	stranger.Key = bytes.Repeat([]byte{4}, 32)
	_, err := stranger.Verify(token)
	wantCode(t, "another key", err, "auth.access_wrong")
}

func TestATokenEnds(t *testing.T) {
	now := start
	tokens := newTokens(&now)
	token := sign(t, tokens, access(now))
	now = start.Add(10*time.Minute + 31*time.Second)
	_, err := tokens.Verify(token)
	wantCode(t, "late", err, "auth.access_expired")
	now = start.Add(-31 * time.Second)
	_, err = tokens.Verify(token)
	wantCode(t, "early", err, "auth.access_wrong")
}

// keySet reads the public keys.
func keySet(t *testing.T, tokens *jwt.Tokens) jose.JSONWebKeySet {
	t.Helper()
	raw, err := tokens.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), `"d"`) {
		t.Fatal("a private key is published")
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestKeysChangeWithoutAnybodyNoticing(t *testing.T) {
	now := start
	tokens := newTokens(&now)
	early := keySet(t, tokens)
	seen := map[string]bool{}
	for range 5 {
		token := sign(t, tokens, access(now))
		parsed, err := joseJWT.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		id := parsed.Headers[0].KeyID
		seen[id] = true
		// Whoever looked at the keys a month ago can check it.
		if len(early.Key(id)) != 1 {
			t.Errorf("%s: key %s was not published beforehand", now, id)
		} else if err := parsed.Claims(early.Key(id)[0].Key, &joseJWT.Claims{}); err != nil {
			t.Errorf("%s: %v", now, err)
		}
		early = keySet(t, tokens)
		if _, err := tokens.Verify(token); err != nil {
			t.Errorf("%s: %v", now, err)
		}
		now = now.Add(jwt.KeyLife)
	}
	if len(seen) != 5 {
		t.Errorf("%d keys in five months", len(seen))
	}
	// A token made in the last moment of a key outlives it.
	now = time.Unix(now.Unix()/int64(jwt.KeyLife/time.Second)*int64(jwt.KeyLife/time.Second)-1, 0)
	token := sign(t, tokens, access(now))
	now = now.Add(5 * time.Minute)
	if _, err := tokens.Verify(token); err != nil {
		t.Error(err)
	}
}

// forge signs claims and headers of the test's choice with a real key of the portal.
func forge(t *testing.T, tokens *jwt.Tokens, private any, alg jose.SignatureAlgorithm, header map[jose.HeaderKey]any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: private}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	token, err := joseJWT.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestForgedTokens(t *testing.T) {
	now := start
	tokens := newTokens(&now)
	good := sign(t, tokens, access(now))
	part := strings.Split(good, ".")
	public := keySet(t, tokens).Keys[0]
	id := public.KeyID
	_, own, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	body, _ := base64.RawURLEncoding.DecodeString(part[1])
	claims := map[string]any{}
	if err := json.Unmarshal(body, &claims); err != nil {
		t.Fatal(err)
	}
	header := map[jose.HeaderKey]any{"kid": id, "typ": "at+jwt"}
	hs := func() string { // the public key as the secret of an HMAC
		head := b64(fmt.Appendf(nil, `{"alg":"HS256","kid":%q,"typ":"at+jwt"}`, id))
		mac := hmac.New(sha256.New, public.Key.(ed25519.PublicKey))
		mac.Write([]byte(head + "." + part[1]))
		return head + "." + part[1] + "." + b64(mac.Sum(nil))
	}
	admin := maps.Clone(claims)
	admin["sub"] = "user:boss"
	changed, _ := json.Marshal(admin)
	other := jose.JSONWebKey{Key: own, KeyID: "mine"}
	for what, token := range map[string]string{
		"empty": "", "points": "..", "rubbish": "a.b.c", "no signature": part[0] + "." + part[1] + ".",
		"alg none":           b64([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + part[1] + ".",
		"other claims":       part[0] + "." + b64(changed) + "." + part[2],
		"HMAC by public key": hs(),
		"other key":          forge(t, tokens, own, jose.EdDSA, header, claims),
		"key in the header":  forge(t, tokens, other, jose.EdDSA, map[jose.HeaderKey]any{"typ": "at+jwt", "jwk": other.Public()}, claims),
		"unknown key id":     forge(t, tokens, own, jose.EdDSA, map[jose.HeaderKey]any{"typ": "at+jwt", "kid": "x"}, claims),
		"RSA":                forge(t, tokens, rsaKey, jose.RS256, header, claims),
		"too long":           good + strings.Repeat("A", 5000),
		"two of them":        good + "." + good,
	} {
		_, err := tokens.Verify(token)
		wantCode(t, what, err, "auth.access_wrong")
	}
}

func TestTokensForSomethingElse(t *testing.T) {
	now := start
	tokens := newTokens(&now)
	for what, change := range map[string]func(*jwt.Tokens, *auth.Access){
		"another issuer": func(k *jwt.Tokens, _ *auth.Access) { k.Issuer = "https://evil.example" },
		"no session":     func(_ *jwt.Tokens, a *auth.Access) { a.Session = "" },
		"no subject":     func(_ *jwt.Tokens, a *auth.Access) { a.Subject = "" },
	} {
		maker, a := newTokens(&now), access(now)
		change(maker, &a)
		_, err := tokens.Verify(sign(t, maker, a))
		wantCode(t, what, err, "auth.access_wrong")
	}
	none := newTokens(&now)
	none.Key = nil
	if _, err := none.Sign(access(now)); err == nil {
		t.Error("signed without a key")
	}
	if _, err := none.JWKS(); err == nil {
		t.Error("keys without a key")
	}
}

// TestClaimsThatAreMissing signs with the portal's own key, which only the test
// can derive, tokens that Sign never makes.
func TestClaimsThatAreMissing(t *testing.T) {
	now := start
	tokens := newTokens(&now)
	private := jwt.SigningKeyForTest(tokens)
	public := keySet(t, tokens).Keys[0]
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil || base64.RawURLEncoding.EncodeToString(sum) != public.KeyID {
		t.Errorf("kid %q is no thumbprint: %v", public.KeyID, err)
	}
	whole := map[string]any{"iss": issuer, "aud": jwt.Audience, "sub": "user:u", "sid": "s", "jti": "1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	header := map[jose.HeaderKey]any{"kid": public.KeyID, "typ": "at+jwt"}
	if _, err := tokens.Verify(forge(t, tokens, private, jose.EdDSA, header, whole)); err != nil {
		t.Fatalf("whole: %v", err)
	}
	for _, name := range []string{"iss", "aud", "sub", "sid", "iat", "nbf", "exp"} {
		less := maps.Clone(whole)
		delete(less, name)
		_, err := tokens.Verify(forge(t, tokens, private, jose.EdDSA, header, less))
		wantCode(t, "without "+name, err, "auth.access_wrong")
	}
	for what, change := range map[string][2]any{"audience": {"aud", "other"}, "issuer": {"iss", "other"}, "not yet": {"nbf", now.Add(time.Hour).Unix()}} {
		wrong := maps.Clone(whole)
		wrong[change[0].(string)] = change[1]
		_, err := tokens.Verify(forge(t, tokens, private, jose.EdDSA, header, wrong))
		wantCode(t, what, err, "auth.access_wrong")
	}
	_, err = tokens.Verify(forge(t, tokens, private, jose.EdDSA, map[jose.HeaderKey]any{"kid": public.KeyID, "typ": "JWT"}, whole))
	wantCode(t, "an ID token", err, "auth.access_wrong")
}
