package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	clientID     = "portal"
	clientSecret = "not-a-secret"
	redirect     = "http://127.0.0.1:8080/auth/callback"
)

// keyOf makes one key for all tests: making one takes long.
var keyOf = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// rogue is a provider that does what a real one would not. Its fields are
// changed before it is used.
type rogue struct {
	t   *testing.T
	srv *httptest.Server
	now func() time.Time

	metadata map[string]any              // changes of the configuration
	claims   func(map[string]any)        // changes of the id_token
	sign     func(map[string]any) string // makes the id_token
	answer   func(w http.ResponseWriter) // answers at the token endpoint
	userInfo map[string]any              // answers at UserInfo
	down     bool
	asked    map[string]int // requests by path

	mu     sync.Mutex
	nonce  map[string]string // of each code
	hashes map[string]string // PKCE challenge of each code
}

func newRogue(t *testing.T, now func() time.Time) *rogue {
	p := &rogue{t: t, now: now, asked: map[string]int{}, nonce: map[string]string{}, hashes: map[string]string{}}
	p.sign = func(c map[string]any) string { return p.signed(jose.RS256, keyOf(), c) }
	p.srv = httptest.NewServer(p)
	t.Cleanup(p.srv.Close)
	return p
}

func (p *rogue) issuer() string { return p.srv.URL }

// authorize does what the provider does when the person has agreed: it gives
// the parameters of the redirect back.
func (p *rogue) authorize(address string) url.Values {
	p.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{"client_id": clientID, "response_type": "code", "redirect_uri": redirect, "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			p.t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	code := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nonce[code], p.hashes[code] = q.Get("nonce"), q.Get("code_challenge")
	return url.Values{"state": {q.Get("state")}, "code": {code}}
}

func (p *rogue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[r.URL.Path]++
	w.Header().Set("Content-Type", "application/json")
	if p.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		doc := map[string]any{
			"issuer": p.srv.URL, "authorization_endpoint": p.srv.URL + "/authorize", "token_endpoint": p.srv.URL + "/token",
			"jwks_uri": p.srv.URL + "/keys", "userinfo_endpoint": p.srv.URL + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		}
		maps.Copy(doc, p.metadata)
		p.write(w, doc)
	case "/keys":
		p.write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: keyOf().Public(), KeyID: "one", Algorithm: "RS256", Use: "sig"}}})
	case "/userinfo":
		p.write(w, p.userInfo)
	case "/token":
		p.token(w, r)
	}
}

func (p *rogue) token(w http.ResponseWriter, r *http.Request) {
	if p.answer != nil {
		p.answer(w)
		return
	}
	code := r.PostFormValue("code")
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	id, secret, _ := r.BasicAuth()
	nonce, known := p.nonce[code]
	if !known || p.hashes[code] != base64.RawURLEncoding.EncodeToString(sum[:]) || id != clientID || secret != clientSecret {
		w.WriteHeader(http.StatusBadRequest)
		p.write(w, map[string]string{"error": "invalid_grant"})
		return
	}
	delete(p.nonce, code)
	claims := map[string]any{
		"iss": p.srv.URL, "sub": "ann-1", "aud": clientID, "nonce": nonce,
		"iat": p.now().Unix(), "exp": p.now().Add(time.Hour).Unix(),
		"email": "Ann@Example.com", "email_verified": true, "name": "Ann", "groups": []string{"ops", "dev"}, "hd": "example.com",
	}
	if p.claims != nil {
		p.claims(claims)
	}
	p.write(w, map[string]any{"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "id_token": p.sign(claims)})
}

func (p *rogue) write(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

// signed makes a token signed with the key.
func (p *rogue) signed(alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	p.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	jws, err := s.Sign(body)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return token
}

// unsigned makes a token that says it needs no signature.
func unsigned(claims map[string]any) string {
	body, _ := json.Marshal(claims)
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none","kid":"one"}`)) + "." + enc(body) + "."
}
