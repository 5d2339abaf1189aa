// Package oidc signs people in with an OpenID Connect provider: Google, or any
// other that publishes its configuration under its issuer's address.
//
// It is the code flow with PKCE, state and nonce. What has to be remembered
// while the browser is at the provider is kept in the portal under the state,
// works once, ends soon, and is bound to the browser that began.
package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	oidclib "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Google is the issuer of Google's accounts.
const Google = "https://accounts.google.com"

// FlowLife is how long a person may take at the provider.
const FlowLife = 10 * time.Minute

// flowKind keeps these flows apart from others in the store.
const flowKind = "oidc"

// Config says which provider, and who the portal is to it.
type Config struct {
	Issuer   string // as the provider writes it, e.g. https://accounts.google.com
	ClientID string
	Secret   string   // of the client; empty for a public one
	Label    string   // what people call the provider; made from Issuer where empty
	Scopes   []string // besides openid; email and profile where empty
	// Claims are the names of those that decide about roles. One that the
	// id_token lacks is looked for at UserInfo.
	Claims []string
	// Redirect is the portal's address to which the provider sends browsers back.
	Redirect string
	Flows    Flows
	Now      func() time.Time
}

// Flows keeps what is remembered while a browser is at the provider, once and
// for a limited time; auth.Service is one.
type Flows interface {
	PutFlow(ctx context.Context, kind string, data []byte, life time.Duration) (secret string, err error)
	TakeFlow(ctx context.Context, kind, secret string) ([]byte, error)
}

// Provider signs people in at one provider. Use it from any goroutine.
type Provider struct {
	cfg    Config
	name   string
	client *http.Client

	mu     sync.Mutex // held while the provider is asked for its configuration
	known  *metadata
	failed error
	tried  time.Time // when failed was found
}

// New makes a Provider; it asks the provider nothing yet, because one that is
// down must not keep the portal from starting. Faults: Invalid for an address
// that can't be an issuer's.
func New(cfg Config) (*Provider, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !allowed(u, u) {
		return nil, fault.New(fault.Invalid, "oidc.issuer", "The address of the identity provider can't be used").
			Do("Set oidc.issuer to its issuer, for example %s.", Google).
			At(fault.Field{Path: "oidc.issuer", Message: "must be an https address without user, query or fragment"})
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{"email", "profile"}
	}
	if cfg.Label == "" {
		cfg.Label = u.Hostname()
		if cfg.Issuer == Google {
			cfg.Label = "Google"
		}
	}
	return &Provider{cfg: cfg, name: nameOf(u), client: newClient(u)}, nil
}

// Name names the provider in addresses and records, for good: a person's subject
// is unique to one issuer, so that another issuer has another name.
func (p *Provider) Name() string { return p.name }

// maxHost is how much of an issuer's host its name holds, in bytes.
const maxHost = 40

func nameOf(issuer *url.URL) string {
	if issuer.String() == Google {
		return "google"
	}
	sum := sha256.Sum256([]byte(issuer.String()))
	host := strings.ToLower(issuer.Hostname())
	return fmt.Sprintf("%s-%x", host[:min(len(host), maxHost)], sum[:4])
}

// Label is what people call the provider.
func (p *Provider) Label() string { return p.cfg.Label }

// flow is what is remembered while a browser is at the provider.
type flow struct {
	Provider string `json:"provider"` // issuer
	Browser  string `json:"browser"`  // hash of the browser's own secret
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE
	Next     string `json:"next"`
}

// NewBrowser makes the secret by which a browser is known while it is at the
// provider.
func NewBrowser() string { return rand.Text() }

// Begin gives the address at the provider to which to send the browser. next
// comes back from Finish. Unavailable if the provider does not answer.
func (p *Provider) Begin(ctx context.Context, browser, next string) (string, error) {
	meta, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	f := flow{Provider: p.cfg.Issuer, Browser: hashOf(browser), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next}
	data, err := json.Marshal(f)
	if err != nil {
		return "", fmt.Errorf("write the flow: %w", err)
	}
	state, err := p.cfg.Flows.PutFlow(ctx, flowKind, data, FlowLife)
	if err != nil {
		return "", fmt.Errorf("keep the flow: %w", err)
	}
	return p.oauth(meta).AuthCodeURL(state, oauth2.S256ChallengeOption(f.Verifier), oidclib.Nonce(f.Nonce),
		// Somebody who signed out, or came with the wrong account, gets to choose.
		oauth2.SetAuthURLParam("prompt", "select_account")), nil
}

func (p *Provider) oauth(meta *metadata) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.Secret, RedirectURL: p.cfg.Redirect,
		Endpoint: meta.endpoint, Scopes: append([]string{oidclib.ScopeOpenID}, p.cfg.Scopes...),
	}
}

// Finish takes the provider's answer, which the browser brought, and gives who
// signed in and the next of Begin. Faults: Unauthenticated if anything about the
// answer is not as it must be, Unavailable if the provider does not answer.
// Whether the person may come in is not decided here.
func (p *Provider) Finish(ctx context.Context, browser string, answer url.Values) (auth.Identity, string, error) {
	f, err := p.take(ctx, browser, answer)
	if err != nil {
		return auth.Identity{}, "", err
	}
	if code := answer.Get("error"); code != "" {
		return auth.Identity{}, f.Next, declined(code)
	}
	meta, err := p.metadata(ctx)
	if err != nil {
		return auth.Identity{}, f.Next, err
	}
	if err := p.checkIssuer(meta, answer); err != nil {
		return auth.Identity{}, f.Next, err
	}
	ctx = oidclib.ClientContext(ctx, p.client)
	token, err := p.oauth(meta).Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return auth.Identity{}, f.Next, p.exchangeFault(err)
	}
	id, err := p.verify(ctx, meta, token, f.Nonce)
	if err != nil {
		return auth.Identity{}, f.Next, err
	}
	who, err := p.identity(ctx, meta, token, id)
	return who, f.Next, err
}

// take gives the flow that the answer belongs to, once, and to the browser that
// began it alone.
func (p *Provider) take(ctx context.Context, browser string, answer url.Values) (flow, error) {
	// A parameter that comes twice is read differently by different programs.
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(answer[name]) > 1 {
			return flow{}, strange("the parameter %s came more than once", name)
		}
	}
	data, err := p.cfg.Flows.TakeFlow(ctx, flowKind, answer.Get("state"))
	if err != nil {
		return flow{}, err
	}
	var f flow
	if err := json.Unmarshal(data, &f); err != nil {
		return flow{}, fmt.Errorf("read the flow: %w", err)
	}
	if browser == "" || !same(f.Browser, hashOf(browser)) {
		return flow{}, strange("it was begun in another browser, or took too long")
	}
	if f.Provider != p.cfg.Issuer {
		return flow{}, strange("it was begun with another identity provider")
	}
	return f, nil
}

// checkIssuer holds the answer's issuer against ours (RFC 9207), so that one
// provider's answer is not taken to another.
func (p *Provider) checkIssuer(meta *metadata, answer url.Values) error {
	iss := answer.Get("iss")
	if iss != "" && iss != p.cfg.Issuer || iss == "" && meta.SaysIssuer {
		return strange("the answer does not come from %s", p.cfg.Label)
	}
	if answer.Get("code") == "" {
		return strange("the answer holds no code")
	}
	return nil
}

// verify checks everything about the id_token that came with the code.
func (p *Provider) verify(ctx context.Context, meta *metadata, token *oauth2.Token, nonce string) (*oidclib.IDToken, error) {
	raw, _ := token.Extra("id_token").(string)
	id, err := meta.provider.Verifier(&oidclib.Config{ClientID: p.cfg.ClientID, Now: p.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		return nil, p.tokenFault(err)
	}
	var more struct {
		Party string `json:"azp"`
	}
	if err := id.Claims(&more); err != nil {
		return nil, p.tokenFault(err)
	}
	switch {
	case !same(id.Nonce, nonce):
		return nil, strange("the id_token was made for another sign-in")
	case id.Subject == "":
		return nil, strange("the id_token does not say for whom it is")
	case len(id.Audience) > 1 && more.Party == "", more.Party != "" && more.Party != p.cfg.ClientID:
		return nil, strange("the id_token was given to another program")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, strange("the id_token belongs to another access token").Wrap(err)
		}
	}
	return id, nil
}

// hashOf is what the flow keeps of a browser's secret.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

var errorCode = regexp.MustCompile(`^[a-z_]{1,40}$`)

// declined is for a provider that answers with an error.
func declined(code string) error {
	if slices.Contains([]string{"access_denied", "consent_required", "interaction_required", "login_required"}, code) {
		return fault.New(fault.Unauthenticated, "oidc.declined", "The sign-in was not completed").
			Because("it was declined at the identity provider").Do("Start again.")
	}
	if !errorCode.MatchString(code) { // anybody can write it; only what a provider could have written is repeated
		code = strings.Repeat("?", 3)
	}
	return fault.New(fault.Unavailable, "oidc.refused", "The identity provider refused the sign-in").
		Because("it answered %s", code).Do("Try again; if it persists, an administrator has to look at the settings of the provider.")
}
