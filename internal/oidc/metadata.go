package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	oidclib "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	// fresh is how long the provider's configuration is used before it is asked
	// for again; that also shows whether the provider is there.
	fresh = time.Minute
	// pause is how long a provider that failed is left alone.
	pause = 5 * time.Second
	// patience bounds how long somebody waits for the provider's configuration.
	patience = 4 * time.Second
)

// metadata is what the provider says of itself.
type metadata struct {
	provider *oidclib.Provider
	endpoint oauth2.Endpoint
	got      time.Time

	SaysIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	Methods    []string `json:"token_endpoint_auth_methods_supported"`
	Keys       string   `json:"jwks_uri"`
}

// Check tells whether people can be sent to the provider now.
func (p *Provider) Check(ctx context.Context) error {
	_, err := p.metadata(ctx)
	return err
}

// metadata gives the provider's configuration, asking for it where what is known
// is old. Unavailable if the provider does not answer as it must.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	if p.known != nil && now.Sub(p.known.got) < fresh && !now.Before(p.known.got) {
		return p.known, nil
	}
	if p.failed != nil && now.Sub(p.tried) < pause && !now.Before(p.tried) {
		return nil, p.failed
	}
	meta, err := p.discover(ctx)
	if err != nil {
		p.known, p.failed, p.tried = nil, p.unreachable(err), p.cfg.Now()
		return nil, p.failed
	}
	p.known, p.failed = meta, nil
	return meta, nil
}

func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	// One person who goes away must not make it look as if the provider failed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	provider, err := oidclib.NewProvider(oidclib.ClientContext(ctx, p.client), p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discover the provider: %w", err)
	}
	meta := &metadata{provider: provider, endpoint: provider.Endpoint(), got: p.cfg.Now()}
	if err := provider.Claims(meta); err != nil {
		return nil, fmt.Errorf("read the provider's configuration: %w", err)
	}
	for _, address := range []string{meta.endpoint.AuthURL, meta.endpoint.TokenURL, meta.Keys} {
		if err := p.checkAddress(address); err != nil {
			return nil, err
		}
	}
	// Without a list the standard says basic. The library would otherwise try
	// one and then the other, and use a code up on the way.
	meta.endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if p.cfg.Secret == "" || len(meta.Methods) > 0 && !slices.Contains(meta.Methods, "client_secret_basic") {
		meta.endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return meta, nil
}

func (p *Provider) checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("an address of the provider: %w", err)
	}
	issuer, err := url.Parse(p.cfg.Issuer)
	if err != nil {
		return fmt.Errorf("the issuer: %w", err)
	}
	if u.Host == "" || !allowed(issuer, u) {
		return fmt.Errorf("%w: %s", errScheme, u.Redacted())
	}
	return nil
}

func (p *Provider) unreachable(err error) *fault.Error {
	return fault.New(fault.Unavailable, "oidc.unreachable", "%s can't be reached", p.cfg.Label).
		Because("the identity provider does not answer as it should").
		Do("Try again in a moment, or sign in another way.").Wrap(err)
}

// exchangeFault says why no token was given for the code.
func (p *Provider) exchangeFault(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response.StatusCode >= http.StatusInternalServerError {
		return p.unreachable(err)
	}
	if refused.ErrorCode == "invalid_client" || refused.ErrorCode == "unauthorized_client" {
		return fault.New(fault.Unavailable, "oidc.client", "%s does not know this portal", p.cfg.Label).
			Because("it refused the portal's client id or secret").
			Do("An administrator has to correct oidc.client-id and oidc.client-secret.").Wrap(err)
	}
	return strange("%s did not accept its code any more", p.cfg.Label).Wrap(err)
}

// tokenFault says what is wrong with an id_token.
func (p *Provider) tokenFault(err error) error {
	var expired *oidclib.TokenExpiredError
	if errors.As(err, &expired) {
		return strange("the id_token has expired; maybe a clock is wrong").Wrap(err)
	}
	var network *url.Error
	if errors.As(err, &network) {
		return p.unreachable(err)
	}
	return strange("the id_token is not one that %s made for this portal", p.cfg.Label).Wrap(err)
}

// strange is an answer that can't be trusted.
func strange(why string, args ...any) *fault.Error {
	return fault.New(fault.Unauthenticated, "oidc.answer", "The sign-in did not work").Because(why, args...).Do("Start again.")
}
