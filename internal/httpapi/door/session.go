package door

import (
	"net/http"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
)

// sessionCookie holds the secret of a session.
const sessionCookie = "portal_session"

// deviceCookie holds what shows that somebody has signed in with this browser.
const deviceCookie = "portal_device"

// deviceLife is how long a browser is known without anybody signing in.
const deviceLife = 180 * 24 * time.Hour

// cookieNamed is the cookie's name; by TLS one that browsers accept only from
// this very host.
func cookieNamed(name string, secure bool) string {
	if secure {
		return "__Host-" + name
	}
	return name
}

// cookieName is that of the cookie with the secret of a session.
func cookieName(secure bool) string { return cookieNamed(sessionCookie, secure) }

// Cookie makes the cookie with the secret of a session, or one that removes it.
// It comes along when a provider's page leads back here; what other sites' pages
// make the browser send is refused by sameSite.
func (d *Door) Cookie(secure bool, secret string) *http.Cookie {
	c := &http.Cookie{Name: cookieName(secure), Value: secret, Path: "/", HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteLaxMode, MaxAge: int(auth.SessionLife.Seconds())}
	if secret == "" {
		c.MaxAge = -1
	}
	return c
}
