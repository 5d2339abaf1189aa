package httpapi

import (
	"bytes"
	"context"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// sessionCookie holds the secret of a session.
const sessionCookie = "portal_session"

// cookieName is the cookie's name; by TLS one that browsers accept only from
// this very host.
func cookieName(secure bool) string {
	if secure {
		return "__Host-" + sessionCookie
	}
	return sessionCookie
}

// cookie makes the cookie with the secret of a session, or one that removes it.
func (s *server) cookie(secure bool, secret string) *http.Cookie {
	c := &http.Cookie{Name: cookieName(secure), Value: secret, Path: "/", HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteStrictMode, MaxAge: int(auth.SessionLife.Seconds())}
	if secret == "" {
		c.MaxAge = -1
	}
	return c
}

// pagePolicy is for pages: nothing but our own style sheet, and forms to us.
const pagePolicy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var signInPage = template.Must(template.New("sign-in").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}} · Platform Portal</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body class="narrow">
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{if .Form}}<form method="post"><button type="submit" autofocus>Sign in</button></form>{{end}}
</main>
</body>
</html>
`))

type signInView struct {
	Title, Text string
	Form        bool
}

// registerSignIn registers the pages of one-time links. Opening a link shows a
// form and uses up nothing, because browsers and chat programs look at links
// before anybody clicks; sending the form signs in.
func (s *server) registerSignIn() {
	s.raw("show-link", func(w http.ResponseWriter, _ *http.Request) error {
		return s.page(w, http.StatusOK, signInPage, signInView{Title: "Sign in", Form: true,
			Text: "This link works once. It signs this browser in to the portal."})
	})
	s.raw("redeem-link", func(w http.ResponseWriter, r *http.Request) error {
		ex := exchangeOf(r.Context())
		session, err := s.cfg.Auth.RedeemLink(r.Context(), r.PathValue("code"))
		if err == nil {
			http.SetCookie(w, s.cookie(ex.secure, session))
			http.Redirect(w, r, "/docs", http.StatusSeeOther)
			return nil
		}
		err = s.wrongCredentials(ex, err)
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			return err
		}
		p := s.problemOf(r.Context(), err)
		return s.page(w, p.Status, signInPage, signInView{Title: "This did not work", Text: p.Detail})
	})
}

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

func (s *server) registerTokens() {
	handle(s, "list-tokens", "List API tokens", s.listTokens)
	handle(s, "create-token", "Make an API token; its secret is shown this once", s.createToken, status(http.StatusCreated), func(op *huma.Operation) {
		op.Description += " An answer that is given again for an Idempotency-Key does not hold the secret."
	})
	handle(s, "revoke-token", "End an API token for good", s.revokeToken, status(http.StatusNoContent))
	handle(s, "me", "Who is asking", s.me)
	handle(s, "logout", "Sign out", s.logout, status(http.StatusNoContent))
}

func (s *server) listTokens(ctx context.Context, in *Paging) (*listAnswer[auth.Token], error) {
	items, next, err := s.cfg.Tokens.Tokens(ctx, in.Cursor, in.Limit)
	return &listAnswer[auth.Token]{Body: listOf(items, next)}, err
}

type createTokenInput struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"100" doc:"What it is for"`
		Role string `json:"role" enum:"viewer,operator,admin"`
		TTL  string `json:"ttl,omitempty" doc:"How long it is valid, e.g. 720h; default 2160h (90 days), at most 8784h (366 days)"`
	}
}

// NewToken is an API token with its secret.
type NewToken struct {
	Token  auth.Token `json:"token"`
	Secret string     `json:"secret,omitempty" doc:"Send it as Authorization: Bearer SECRET; it is not shown again"`
}

type createTokenAnswer struct {
	Location string `header:"Location"`
	Body     NewToken
}

func (s *server) createToken(ctx context.Context, in *createTokenInput) (*createTokenAnswer, error) {
	var ttl time.Duration
	if in.Body.TTL != "" {
		var err error
		if ttl, err = time.ParseDuration(in.Body.TTL); err != nil || ttl <= 0 {
			return nil, invalid("ttl", "must be a positive duration such as 720h")
		}
	}
	secret, t, err := s.cfg.Auth.CreateToken(ctx, in.Body.Name, auth.Role(in.Body.Role), ttl)
	if err != nil {
		return nil, err
	}
	exchangeOf(ctx).keep = NewToken{Token: t} // a secret is never stored
	return &createTokenAnswer{Location: base + "/tokens/" + t.ID, Body: NewToken{Token: t, Secret: secret}}, nil
}

func (s *server) revokeToken(ctx context.Context, in *ByID) (*struct{}, error) {
	return nil, s.cfg.Auth.RevokeToken(ctx, in.ID)
}

// Me is who is asking.
type Me struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	Role auth.Role `json:"role" enum:"viewer,operator,admin"`
}

type meAnswer struct{ Body Me }

func (s *server) me(ctx context.Context, _ *struct{}) (*meAnswer, error) {
	p := auth.From(ctx)
	return &meAnswer{Body: Me{ID: p.ID, Name: p.Name, Role: p.Role}}, nil
}

type logoutAnswer struct {
	Cookie http.Cookie `header:"Set-Cookie"`
}

func (s *server) logout(ctx context.Context, _ *struct{}) (*logoutAnswer, error) {
	ex := exchangeOf(ctx)
	if ex.session == "" {
		return nil, fault.New(fault.Conflict, "auth.no_session", "There is no session to end").
			Because("the request was made with an API token").Do("Revoke the token if it is not to be used any more.")
	}
	if err := s.cfg.Auth.EndSession(ctx, ex.session); err != nil {
		return nil, err
	}
	return &logoutAnswer{Cookie: *s.cookie(ex.secure, "")}, nil
}
