package httpapi

import (
	"bytes"
	"context"
	"html/template"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

// pagePolicy is for pages: nothing but our own style sheet, and forms to us.
const pagePolicy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// page writes an HTML page.
func (s *server) page(w http.ResponseWriter, status int, t *template.Template, view any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, view); err != nil {
		return fault.New(fault.Internal, "page", "The page can't be shown").Wrap(err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	// Some browsers send "Origin: null" with a form if they may not tell at all
	// where they come from, and that looks like another site.
	w.Header().Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}

// registerSelf registers who is asking, signing out, and what a command line
// signs in with.
func (s *server) registerSelf() {
	door.Handle(s.Door, "me", "Who is asking", s.me)
	door.Handle(s.Door, "logout", "Sign out", s.logout, door.Status(http.StatusNoContent))
	door.Handle(s.Door, "logout-all", "Sign out everywhere", s.logoutAll, door.Status(http.StatusNoContent))
	door.Handle(s.Door, "token", "Trade a code or a refresh token for an access token", s.token, func(op *huma.Operation) {
		op.Description = "For command lines that a browser signed in (RFC 6749, with PKCE S256). A refresh token works once; " +
			"using it a second time ends the session."
	})
	s.DescribeRaw("jwks", "The keys that access tokens are signed with", "application/json")
	s.Raw("jwks", s.jwks)
}

func (s *server) jwks(w http.ResponseWriter, _ *http.Request) error {
	if s.cfg.Keys == nil {
		return fault.New(fault.NotFound, "auth.no_access_tokens", "This portal gives no access tokens")
	}
	body, err := s.cfg.Keys.JWKS()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(body)
	return nil
}

// tokenInput is read as JSON or as a form: the guard has made JSON of both.
type tokenInput struct {
	Body struct {
		GrantType    string `json:"grant_type" enum:"authorization_code,refresh_token"`
		Code         string `json:"code,omitempty" maxLength:"200"`
		CodeVerifier string `json:"code_verifier,omitempty" maxLength:"128" doc:"What code_challenge is the SHA-256 of"`
		RedirectURI  string `json:"redirect_uri,omitempty" maxLength:"500" doc:"The same as when the code was asked for"`
		RefreshToken string `json:"refresh_token,omitempty" maxLength:"200"`
	}
}

// Grant is what a command line works with.
type Grant struct {
	AccessToken  string `json:"access_token" doc:"Send it as Authorization: Bearer TOKEN"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in" doc:"Seconds"`
	RefreshToken string `json:"refresh_token" doc:"Gets the next grant, once"`
}

type grantAnswer struct{ Body Grant }

func (s *server) token(ctx context.Context, in *tokenInput) (*grantAnswer, error) {
	var g *auth.Grant
	var err error
	if b := in.Body; b.GrantType == "refresh_token" {
		g, err = s.cfg.Auth.Refresh(ctx, b.RefreshToken)
	} else {
		g, err = s.cfg.Auth.RedeemCode(ctx, b.Code, b.CodeVerifier, b.RedirectURI)
	}
	if err != nil {
		return nil, door.WrongCredentials(ctx, err)
	}
	return &grantAnswer{Body: Grant{AccessToken: g.Access, TokenType: "Bearer", RefreshToken: g.Refresh,
		ExpiresIn: int(g.Expires.Sub(s.cfg.Now()).Seconds())}}, nil
}

// Me is who is asking.
type Me struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Role    auth.Role `json:"role" enum:"viewer,operator,admin"`
	User    string    `json:"user" doc:"Stable key of the person"`
	Session string    `json:"session,omitempty" doc:"Id of the session"`
}

type meAnswer struct{ Body Me }

func (s *server) me(ctx context.Context, _ *struct{}) (*meAnswer, error) {
	p := auth.From(ctx)
	return &meAnswer{Body: Me{ID: p.ID, Name: p.Name, Role: p.Role, User: p.User, Session: p.Session}}, nil
}

type logoutAnswer struct {
	Cookie http.Cookie `header:"Set-Cookie"`
}

func (s *server) logout(ctx context.Context, _ *struct{}) (*logoutAnswer, error) {
	return s.leave(ctx, func(ctx context.Context, session string) error { return s.cfg.Auth.EndSession(ctx, session) })
}

func (s *server) logoutAll(ctx context.Context, _ *struct{}) (*logoutAnswer, error) {
	return s.leave(ctx, func(ctx context.Context, _ string) error { return s.cfg.Auth.EndOwnSessions(ctx) })
}

func (s *server) leave(ctx context.Context, end func(ctx context.Context, session string) error) (*logoutAnswer, error) {
	session := auth.From(ctx).Session
	if session == "" {
		return nil, fault.New(fault.Conflict, "auth.no_session", "There is no session to end").
			Because("the request was made with an API token").Do("Revoke the token if it is not to be used any more.")
	}
	if err := end(ctx, session); err != nil {
		return nil, err
	}
	return &logoutAnswer{Cookie: *s.Cookie(door.SecureOf(ctx), "")}, nil
}
