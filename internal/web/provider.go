package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

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
