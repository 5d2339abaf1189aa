package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// SignIns are the ways to sign in. What is nil is not offered.
type SignIns struct {
	Accounts Accounts
	Provider Provider
	Passkeys Passkeys
	// PublicURL is the address that the provider sends browsers back to.
	PublicURL string
}

// Accounts opens and ends sessions. See auth.Service.
type Accounts interface {
	SignInExternal(ctx context.Context, id auth.Identity) (session string, err error)
	SignInPassword(ctx context.Context, email, password string) (session string, err error)
	RedeemLink(ctx context.Context, code string) (session string, err error)
	EndSession(ctx context.Context, id string) error
	NewCode(ctx context.Context, r auth.CodeRequest) (code string, err error)
	ListUsers(ctx context.Context, cursor string, limit int) (list []auth.Account, next string, err error)
	UserOf(ctx context.Context) (*auth.User, error)
	AddPasskey(ctx context.Context, k auth.Passkey) error
}

// Provider signs people in elsewhere. See oidc.Provider.
type Provider interface {
	Name() string  // in addresses
	Label() string // for people
	// Check tells whether people can be sent there now.
	Check(ctx context.Context) error
	Begin(ctx context.Context, browser, next string) (address string, err error)
	Finish(ctx context.Context, browser string, answer url.Values) (who auth.Identity, next string, err error)
}

// signInRoutes are public but for those that act for somebody.
var signInRoutes = []Route{
	{Method: "GET", Path: loginPath, Public: true, ID: "login-page", Title: "Sign in", handle: (*Server).loginPage},
	{Method: "POST", Path: loginPath, Public: true, ID: "login", handle: (*Server).loginForm},
	{Method: "POST", Path: "/auth/sign-out", Role: auth.Viewer, ID: "sign-out", handle: (*Server).signOut},
	{Method: "GET", Path: "/auth/provider/{name}", Public: true, ID: "to-provider", handle: (*Server).toProvider},
	{Method: "GET", Path: "/auth/callback", Public: true, ID: "callback", handle: (*Server).callback},
	{Method: "GET", Path: "/auth/link/{code}", Public: true, ID: "show-link", Hidden: true, handle: (*Server).linkPage},
	{Method: "POST", Path: "/auth/link/{code}", Public: true, ID: "redeem-link", Hidden: true, handle: (*Server).redeemLink},
	{Method: "POST", Path: "/auth/passkey/options", Public: true, ID: "passkey-options", handle: (*Server).passkeyOptions},
	{Method: "POST", Path: "/auth/passkey/finish", Public: true, ID: "passkey-sign-in", handle: (*Server).passkeySignIn},
	{Method: "POST", Path: "/auth/passkeys/options", Role: auth.Viewer, ID: "new-passkey-options", handle: (*Server).newPasskeyOptions},
	{Method: "POST", Path: "/auth/passkeys", Role: auth.Viewer, ID: "new-passkey", handle: (*Server).newPasskey},
	{Method: "GET", Path: cliPath, Role: auth.Viewer, ID: "cli-page", Title: "Sign in a command line", handle: (*Server).cliPage},
	{Method: "POST", Path: cliPath, Role: auth.Viewer, ID: "cli-answer", handle: (*Server).cliForm},
}

// signInView is what the sign-in page shows.
type signInView struct {
	Next     string
	Provider string // its label; "" for none
	Href     string // leads to the provider; "" while it can't be reached
	Passkeys bool
	Password bool
	Fresh    bool   // nobody has an account yet
	Email    string // that was sent
	Problem  *fault.Error
}

// loginPage shows the ways to sign in.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	return s.showLogin(w, r, afterSignIn(r.URL.Query().Get("next")), "", nil)
}

// showLogin shows the ways to sign in, and what went wrong with one.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, next, email string, problem *fault.Error) error {
	in := s.cfg.SignIns
	users, _, err := in.Accounts.ListUsers(r.Context(), "", 1)
	if err != nil {
		return err
	}
	v := signInView{Next: next, Email: email, Problem: problem, Password: len(users) > 0, Fresh: len(users) == 0 && in.Provider == nil}
	v.Passkeys = v.Password && in.Passkeys != nil && in.Passkeys.Works(r.Host)
	if in.Provider != nil {
		v.Provider = in.Provider.Label()
		if in.Provider.Check(r.Context()) == nil {
			v.Href = s.providerPath(next)
		}
	}
	return s.showStatus(w, r, statusOf(problem), Shell{Title: "Sign in", Bare: true}, loginBody(v))
}

// statuses are those of the problems that sign-in pages show themselves.
var statuses = map[fault.Kind]int{
	fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden, fault.RateLimited: http.StatusTooManyRequests,
	fault.Unavailable: http.StatusServiceUnavailable, fault.Invalid: http.StatusBadRequest,
}

func statusOf(f *fault.Error) int {
	if f == nil {
		return http.StatusOK
	}
	return statuses[f.Kind]
}

// again shows the ways to sign in after one did not work. What is not for the
// person to know is shown like any other failure.
func (s *Server) again(w http.ResponseWriter, r *http.Request, next, email string, err error) error {
	f := fault.As(err)
	if f == nil || statuses[f.Kind] == 0 {
		return err
	}
	if limited := fault.As(s.cfg.Door.WrongCredentials(r.Context(), err)); limited != nil {
		f = limited
	}
	return s.showLogin(w, r, next, email, f)
}

// enter gives the browser its session and leads it to where it wanted to go.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, session, next string) {
	s.cfg.Door.SetSession(w, r, session)
	http.Redirect(w, r, afterSignIn(next), http.StatusSeeOther)
}

// loginForm signs in with e-mail and password.
func (s *Server) loginForm(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	email, next := r.PostForm.Get("email"), afterSignIn(r.PostForm.Get("next"))
	session, err := s.cfg.SignIns.Accounts.SignInPassword(r.Context(), email, r.PostForm.Get("password"))
	if err != nil {
		return s.again(w, r, next, email, err)
	}
	s.enter(w, r, session, next)
	return nil
}

func badForm(err error) error {
	return fault.New(fault.Invalid, "request.form", "The form did not arrive as it was sent").Do("Load the page again and send it once more.").Wrap(err)
}

// signOut ends the session of this browser.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	if id := auth.From(r.Context()).Session; id != "" {
		if err := s.cfg.SignIns.Accounts.EndSession(r.Context(), id); err != nil {
			return err
		}
	}
	s.cfg.Door.SetSession(w, r, "")
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
	return nil
}

const loginPath = "/auth/login"

// linkPage shows a form and uses up nothing, because browsers and chat programs
// look at links before anybody clicks; sending the form signs in.
func (s *Server) linkPage(w http.ResponseWriter, r *http.Request) error {
	return s.show(w, r, Shell{Title: "Sign in", Bare: true}, linkBody())
}

func (s *Server) redeemLink(w http.ResponseWriter, r *http.Request) error {
	session, err := s.cfg.SignIns.Accounts.RedeemLink(r.Context(), r.PathValue("code"))
	if err != nil {
		return s.again(w, r, "/", "", err)
	}
	s.enter(w, r, session, "/")
	return nil
}

// maxNext is how long an address to come back to may be, in bytes.
const maxNext = 2048

// afterSignIn gives next if it is a path within the portal, to which a browser can
// be led without leaving; else the start.
func afterSignIn(next string) string {
	const start = "/"
	u, err := url.Parse(next)
	switch {
	case err != nil, len(next) > maxNext, u.Scheme != "", u.Host != "", u.User != nil, u.Opaque != "",
		!strings.HasPrefix(next, "/"), strings.HasPrefix(next, "//"), strings.HasPrefix(u.Path, "//"),
		strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }),
		strings.ContainsFunc(u.Path, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }):
		return start
	case strings.HasPrefix(u.Path, "/auth/") && u.Path != cliPath:
		return start // it would lead in a circle
	}
	return next
}

// loginAgain is the sign-in page's own address.
func loginAgain(next string) string { return loginPath + "?next=" + url.QueryEscape(next) }

// sentence makes a whole sentence of a reason. An address at its beginning stays
// as it is.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	switch {
	case s == "":
		return ""
	case strings.Contains(first, "@"):
		return s + "."
	}
	return capital(s) + "."
}

// browserCookie holds the secret by which a browser is known while it is at the
// provider: only the one that began a sign-in can end it.
const browserCookie = "portal_browser"

// browserLife is for how many seconds a browser may be at the provider.
const browserLife = 600

// providerPath leads to the provider, and from there to next.
func (s *Server) providerPath(next string) string {
	return "/auth/provider/" + url.PathEscape(s.cfg.SignIns.Provider.Name()) + "?next=" + url.QueryEscape(next)
}

// cookieName is the name of a cookie; by TLS one that browsers accept only from
// this very host.
func (s *Server) cookieName(r *http.Request, name string) string {
	if s.cfg.Door.SecureOf(r.Context()) {
		return "__Host-" + name
	}
	return name
}

// shortCookie keeps something in the browser that no script reads, for the given
// seconds; a negative number removes it. It comes along when another site leads
// back here only if lax.
func (s *Server) shortCookie(w http.ResponseWriter, r *http.Request, name, value string, seconds int, lax bool) {
	c := &http.Cookie{Name: s.cookieName(r, name), Value: value, Path: "/", HttpOnly: true, Secure: s.cfg.Door.SecureOf(r.Context()),
		SameSite: http.SameSiteStrictMode, MaxAge: seconds}
	if lax {
		c.SameSite = http.SameSiteLaxMode
	}
	http.SetCookie(w, c)
}

// toProvider sends the browser to the provider.
func (s *Server) toProvider(w http.ResponseWriter, r *http.Request) error {
	p, next := s.cfg.SignIns.Provider, afterSignIn(r.URL.Query().Get("next"))
	if p == nil || r.PathValue("name") != p.Name() {
		return notHere()
	}
	// The provider sends browsers back to one address alone, and what this one is
	// known by is kept for the address at which it is.
	if public, err := url.Parse(s.cfg.SignIns.PublicURL); err == nil && public.Host != "" && !strings.EqualFold(public.Host, r.Host) {
		http.Redirect(w, r, strings.TrimSuffix(s.cfg.SignIns.PublicURL, "/")+s.providerPath(next), http.StatusSeeOther)
		return nil
	}
	browser := newNonce()
	if c, err := r.Cookie(s.cookieName(r, browserCookie)); err == nil && len(c.Value) >= 20 && len(c.Value) <= 64 {
		browser = c.Value // another window of the same browser is on its way, too
	}
	address, err := p.Begin(r.Context(), browser, next)
	if err != nil {
		return s.again(w, r, next, "", err)
	}
	s.shortCookie(w, r, browserCookie, browser, browserLife, true)
	http.Redirect(w, r, address, http.StatusSeeOther)
	return nil
}

// callback takes the browser back from the provider.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) error {
	p := s.cfg.SignIns.Provider
	if p == nil {
		return notHere()
	}
	browser := ""
	if c, err := r.Cookie(s.cookieName(r, browserCookie)); err == nil {
		browser = c.Value
	}
	who, next, err := p.Finish(r.Context(), browser, r.URL.Query())
	if err != nil {
		return s.again(w, r, afterSignIn(next), "", err)
	}
	session, err := s.cfg.SignIns.Accounts.SignInExternal(r.Context(), who)
	if fault.Is(err, fault.Forbidden) {
		f := fault.As(err)
		return s.showStatus(w, r, http.StatusForbidden, Shell{Title: f.What, Bare: true}, noAccessBody(f, p.Label(), s.providerPath(afterSignIn(next))))
	}
	if err != nil {
		return s.again(w, r, afterSignIn(next), "", err)
	}
	s.enter(w, r, session, next)
	return nil
}
