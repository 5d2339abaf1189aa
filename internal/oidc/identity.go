package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	oidclib "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/waooaw/platform-portal/internal/auth"
)

// claims are what a provider says of a person, as it wrote them.
type claims map[string]any

// identity says who signed in: from the id_token and, where that lacks
// something that matters, from UserInfo.
func (p *Provider) identity(ctx context.Context, meta *metadata, token *oauth2.Token, id *oidclib.IDToken) (auth.Identity, error) {
	said := claims{}
	if err := id.Claims(&said); err != nil {
		return auth.Identity{}, p.tokenFault(err)
	}
	if p.lacks(said) && meta.provider.UserInfoEndpoint() != "" {
		more, err := p.userInfo(ctx, meta, token, id.Subject)
		if err != nil {
			return auth.Identity{}, err
		}
		said = said.with(more)
	}
	return auth.Identity{
		Provider: p.name, Subject: id.Subject, Email: said.text("email"), EmailVerified: said.yes("email_verified"),
		Name: said.text("name"), Claims: said.lists(),
	}, nil
}

// lacks tells whether UserInfo may know something that matters.
func (p *Provider) lacks(said claims) bool {
	missing := func(name string) bool { _, ok := said[name]; return !ok }
	return said.text("email") == "" || !said.yes("email_verified") || slices.ContainsFunc(p.cfg.Claims, missing)
}

// userInfo asks the provider more about the person of the token.
func (p *Provider) userInfo(ctx context.Context, meta *metadata, token *oauth2.Token, subject string) (claims, error) {
	if err := p.checkAddress(meta.provider.UserInfoEndpoint()); err != nil {
		return nil, p.unreachable(err)
	}
	info, err := meta.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, p.unreachable(fmt.Errorf("ask for UserInfo: %w", err))
	}
	if info.Subject != subject { // it would be somebody else's e-mail
		return nil, strange("%s spoke of somebody else", p.cfg.Label)
	}
	said := claims{}
	if err := info.Claims(&said); err != nil {
		return nil, p.unreachable(fmt.Errorf("read UserInfo: %w", err))
	}
	return said, nil
}

// about are the claims that are about a token and not about a person.
var about = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "azp", "nonce", "at_hash", "c_hash", "jti"}

// with adds what the other says of the person. An e-mail address and whether it
// is verified come from one place.
func (c claims) with(other claims) claims {
	out := maps.Clone(c)
	for name, value := range other {
		if _, known := out[name]; !known && !slices.Contains(about, name) && name != "email_verified" {
			out[name] = value
		}
	}
	if email := other.text("email"); email != "" && (c.text("email") == "" || strings.EqualFold(email, c.text("email"))) {
		out["email"], out["email_verified"] = email, other["email_verified"]
	}
	return out
}

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return strings.TrimSpace(s)
}

// yes tells whether the claim is true. Some providers write it as a text.
func (c claims) yes(name string) bool { return c[name] == true || c[name] == "true" }

// lists gives the claims about the person in the form that rules compare.
func (c claims) lists() map[string][]string {
	out := map[string][]string{}
	for name, value := range c {
		if slices.Contains(about, name) {
			continue
		}
		if list := texts(value); len(list) > 0 {
			out[name] = list
		}
	}
	return out
}

func texts(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case bool, float64, json.Number:
		return []string{fmt.Sprint(v)}
	case []any:
		var out []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
