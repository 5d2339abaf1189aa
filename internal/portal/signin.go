package portal

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/oidc"
	"github.com/waooaw/platform-portal/internal/passkey"
	"github.com/waooaw/platform-portal/internal/web"
)

// CallbackPath is where a provider sends browsers back.
const CallbackPath = "/auth/callback"

// ways makes what people sign in with besides passwords and one-time links.
func (a *app) ways(ctx context.Context) (err error) {
	if a.provider, err = provider(ctx, a.cfg, a.auth); err != nil {
		return err
	}
	a.passkeys, err = passkey.New(passkey.Config{Origins: origins(a.cfg), Name: "WAOOAW", Accounts: a.auth})
	return err
}

// provider makes the way to sign in at an identity provider; nil where none is
// configured. It is not asked anything yet: the portal starts without it, too.
func provider(ctx context.Context, cfg Config, flows oidc.Flows) (*oidc.Provider, error) {
	o := cfg.OIDC
	if o.ClientID == "" {
		return nil, nil
	}
	if strings.HasPrefix(o.Secret, "file:") {
		secret, err := fleet.SecretDir{Dir: cfg.SecretsDir}.Secret(ctx, o.Secret)
		if err != nil {
			f := fault.As(err)
			return nil, fault.New(fault.Invalid, "config.invalid", "The configuration can't be used").
				At(fault.Field{Path: "oidc.client-secret", Message: f.Error()}).Do("`portal config check` explains every setting.")
		}
		o.Secret = secret
	}
	return oidc.New(oidc.Config{
		Issuer: o.Issuer, ClientID: o.ClientID, Secret: o.Secret, Label: o.Name, Scopes: o.Scopes, Claims: claimsOf(cfg),
		Redirect: cfg.PublicURL + CallbackPath, Flows: flows, Now: steady,
	})
}

// claimsOf gives the names of the claims that rules look at.
func claimsOf(cfg Config) []string {
	var out []string
	for _, r := range slices.Concat(cfg.Admins, cfg.Operators, cfg.Viewers) {
		if r.Claim != "" && !slices.Contains(out, r.Claim) {
			out = append(out, r.Claim)
		}
	}
	return out
}

// origins gives the addresses at which browsers reach the portal.
func origins(cfg Config) []string {
	out := []string{cfg.PublicURL}
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return out
	}
	for _, h := range cfg.Hosts {
		if _, _, err := net.SplitHostPort(h); err != nil && public.Port() != "" {
			h = net.JoinHostPort(strings.Trim(h, "[]"), public.Port())
		}
		out = append(out, public.Scheme+"://"+h)
	}
	// On the portal's own machine it is reached without TLS.
	if host, port, err := net.SplitHostPort(cfg.Listen); err == nil && loopback(host) {
		out = append(out, "http://localhost:"+port)
	}
	return out
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// signIns makes the ways to sign in that the pages offer.
func (a *app) signIns() web.SignIns {
	s := web.SignIns{Accounts: a.auth, Passkeys: passkeys{a.passkeys, a.auth}, PublicURL: a.cfg.PublicURL}
	if a.provider != nil { // an interface that holds nothing is not nothing
		s.Provider = a.provider
	}
	return s
}

// passkeys let whoever proves to have one come in.
type passkeys struct {
	*passkey.Authority
	auth *auth.Service
}

// SignIn implements web.Passkeys.
func (p passkeys) SignIn(ctx context.Context, flow string, answer []byte) (session string, err error) {
	proof, err := p.FinishSignIn(ctx, flow, answer)
	if err != nil {
		return "", err
	}
	return p.auth.SignInPasskey(ctx, proof.UserID, proof.CredentialID, proof.SignCount, proof.BackedUp)
}
