package door

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// Page is a route of the web portal. The package that shows it does not know
// this one; both meet where the portal is put together.
type Page struct {
	Route
	// Handler shows the page. An error that it returns is shown by
	// Config.ErrorPage; it has written nothing then.
	Handler func(w http.ResponseWriter, r *http.Request) error
}

// registerPages registers the pages, each behind its guard like everything else.
func (d *Door) registerPages() {
	for i := range d.cfg.Pages {
		page := &d.cfg.Pages[i]
		page.Page = true
		d.routes[page.Pattern()] = &page.Route
		d.mux.Handle(page.Pattern(), d.guard(&page.Route, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := page.Handler(w, r); err != nil {
				d.Fail(w, r, err)
			}
		})))
	}
}

// formType is the content type of forms.
const formType = "application/x-www-form-urlencoded"

// formKey is the field of a page's form that says which sending of it this is,
// as the header Idempotency-Key does for programs.
const formKey = "idempotency_key"

// keyOfForm takes the key out of a page's form, so that a form that is sent
// twice acts once.
func keyOfForm(r *http.Request, kind string, body []byte) {
	if kind != formType || r.Header.Get("Idempotency-Key") != "" {
		return
	}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get(formKey) != "" {
		r.Header.Set("Idempotency-Key", form.Get(formKey))
	}
}

// forBrowser tells whether a problem is to be shown as a page.
func (d *Door) forBrowser(r *http.Request, ex *exchange) bool {
	if d.cfg.ErrorPage == nil {
		return false
	}
	if r.Header.Get("Accept") == "application/json" {
		return false // a script of a page reads what went wrong
	}
	if ex.route != nil {
		return ex.route.Page
	}
	return !strings.HasPrefix(r.URL.Path, "/api/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// SetSession gives the browser that sent the request the secret of its session,
// and what shows later that somebody has signed in with it; an empty one takes
// the session away.
func SetSession(w http.ResponseWriter, r *http.Request, secret string) {
	ex := exchangeOf(r.Context())
	// A rotation before this request's handler may have set one already.
	w.Header().Del("Set-Cookie")
	http.SetCookie(w, ex.door.Cookie(ex.secure, secret))
	if secret == "" {
		return
	}
	device, err := ex.door.cfg.Auth.Device(r.Context(), secret)
	if err != nil || device == "" {
		return // it is a convenience; whoever signed in is in
	}
	http.SetCookie(w, &http.Cookie{Name: cookieNamed(deviceCookie, ex.secure), Value: device, Path: "/", HttpOnly: true, Secure: ex.secure,
		SameSite: http.SameSiteStrictMode, MaxAge: int(deviceLife.Seconds())})
}

// SessionOf gives the secret of the session that authenticated the request; ""
// if none did.
func SessionOf(ctx context.Context) string { return exchangeOf(ctx).session }

// SecureOf tells whether the browser reaches the portal by TLS.
func SecureOf(ctx context.Context) bool { return exchangeOf(ctx).secure }

// RequestIDOf gives the id that finds the request in the log.
func RequestIDOf(ctx context.Context) string { return exchangeOf(ctx).id }

// WrongCredentials is for an error of a sign-in: an address that fails too often
// gets to wait. Other errors come back as they are.
func WrongCredentials(ctx context.Context, err error) error {
	ex := exchangeOf(ctx)
	return ex.door.wrongCredentials(ex, err)
}

// Keep says what is stored for an Idempotency-Key in place of the answer's body,
// because that holds a secret.
func Keep(ctx context.Context, body any) { exchangeOf(ctx).keep = body }

// Refused notes an error that a page shows in its own way, so that it goes on
// record like any other refusal.
func Refused(ctx context.Context, err error) {
	if ex := exchangeOf(ctx); ex.door != nil {
		_ = ex.door.ProblemOf(ctx, err)
	}
}
