package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/a-h/templ"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/assets"
	"github.com/waooaw/platform-portal/internal/web/components"
)

// policy is the Content-Security-Policy of pages: nothing but our own files,
// scripts only with the nonce, and no text that turns into script.
const policy = "default-src 'none'; script-src 'nonce-%s'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types htmx"

// Shell is what surrounds the content of a page.
type Shell struct {
	Title  string  // in the window's title and the heading
	Active string  // path of the entry of the navigation that is marked, e.g. "/agents"
	Crumbs []Crumb // the way from the start to this page, without the page itself
	Bare   bool    // without navigation, for pages before the sign-in
	// Actions stand beside the heading: buttons.
	Actions templ.Component
	// Whole tells that the page shows all agents whatever the context is.
	Whole bool

	brand  Brand
	user   auth.Principal
	theme  string
	nav    string // "narrow" or "" for the wide sidebar
	choice choice
	firing int                    // alerts that nobody has taken on
	flash  *components.ToastProps // what came of the form that led here
}

// Crumb is one step of the way to a page.
type Crumb struct{ Name, Href string }

// show writes a whole page.
func (s *Server) show(w http.ResponseWriter, r *http.Request, shell Shell, body templ.Component) error {
	return s.showStatus(w, r, http.StatusOK, shell, body)
}

func (s *Server) showStatus(w http.ResponseWriter, r *http.Request, status int, shell Shell, body templ.Component) error {
	shell.brand, shell.user = s.cfg.Brand, auth.From(r.Context())
	shell.theme, shell.nav = cmp.Or(chosen(r, "theme", "dark", "light", "system"), "dark"), chosen(r, "nav", "narrow")
	if !shell.Bare {
		shell.flash = s.did(r)
		shell.firing = s.firingNow(r.Context())
		if shell.choice = s.choiceOf(r); shell.choice.Gone != "" {
			s.setCookie(w, r, contextCookie, "")
		}
	}
	return s.write(w, r, status, func(ctx context.Context) templ.Component { return layout(shell, body) })
}

// fragment writes a part of a page, which takes the place of what is there.
func (s *Server) fragment(w http.ResponseWriter, r *http.Request, part templ.Component) error {
	return s.write(w, r, http.StatusOK, func(context.Context) templ.Component { return part })
}

// wantsPart tells whether the script asks for a part of the page alone.
func wantsPart(r *http.Request) bool { return r.Header.Get("HX-Request-Type") == "partial" }

// scripted tells whether the script sent the request; without it a form is
// answered with a redirect.
func scripted(r *http.Request) bool { return r.Header.Get("HX-Request") == "true" }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// write renders completely before anything is sent, so that a failure is a
// proper answer and not half a page.
func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, make func(context.Context) templ.Component) error {
	nonce := newNonce()
	ctx := templ.WithNonce(r.Context(), nonce)
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	if err := make(ctx).Render(ctx, b); err != nil {
		return fault.New(fault.Internal, "page", "The page can't be shown").Wrap(err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", fmt.Sprintf(policy, nonce))
	// Some browsers send "Origin: null" with a form if they may not tell at all
	// where they come from, and that looks like another site.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding, HX-Request, HX-Request-Type")
	send(w, r, status, b.Bytes())
	return nil
}

// packer encodes from many goroutines at once. Browsers are only bound to read
// windows of up to 8 MB (RFC 9659).
var packer = func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // wrong options, which tests would have seen
	}
	return e
}()

// small is what is not worth packing, in bytes.
const small = 1400

// send writes the body, packed if that is worth it and the client can read it.
// What goes out once and holds a secret must not come here: packed together with
// text that others choose, its length gives it away.
func send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	switch {
	case len(body) < small:
	case assets.Accepts(r, "zstd"):
		// A tenth of the time that brotli needs for the same size.
		h.Set("Content-Encoding", "zstd")
		w.WriteHeader(status)
		b := buffers.Get().(*bytes.Buffer)
		defer buffers.Put(b)
		b.Reset()
		b.Grow(len(body) / 4)
		b.Write(packer.EncodeAll(body, b.AvailableBuffer()))
		_, _ = w.Write(b.Bytes()) // a client that went away needs no answer
		return
	case assets.Accepts(r, "br"):
		h.Set("Content-Encoding", "br")
		w.WriteHeader(status)
		out := brotli.NewWriterLevel(w, 1)
		_, _ = out.Write(body)
		_ = out.Close()
		return
	case assets.Accepts(r, "gzip"):
		h.Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		out := gzip.NewWriter(w)
		_, _ = out.Write(body)
		_ = out.Close()
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// chosen gives what a person chose of the portal's looks: the value of a cookie
// if it is one of those, and else "". Scripts write it too, so that the server
// can send the page as it should look at once.
func chosen(r *http.Request, name string, values ...string) string {
	c, err := r.Cookie("portal_" + name)
	if err != nil || !slices.Contains(values, c.Value) {
		return ""
	}
	return c.Value
}

// Problem is what went wrong, as a person sees it.
type Problem struct {
	Status    int
	What      string
	Why       string
	Remedy    string
	Fields    []fault.Field
	RequestID string // finds the request in the log
	ErrorID   string // finds an internal error in the log

	signIn string // leads to the sign-in and back; "" for who is signed in
	on     Crumb  // where to go on
}

func notHere() *fault.Error {
	return fault.New(fault.NotFound, "page.none", "There is nothing at this address").
		Do("Go back, or start at the dashboard.")
}

// ErrorPage shows a problem. Whoever is not signed in is led to the sign-in and
// comes back afterwards.
func (s *Server) ErrorPage(w http.ResponseWriter, r *http.Request, p Problem) {
	if p.Status == http.StatusUnauthorized && r.Method == http.MethodGet && (!strings.HasPrefix(r.URL.Path, "/auth/") || r.URL.Path == cliPath) {
		toSignIn(w, r)
		return
	}
	p.on = wayOn(r, p.Status)
	if p.Status == http.StatusUnauthorized {
		p.signIn = loginAgain(sentFrom(r))
	}
	var err error
	if wantsPart(r) {
		err = s.write(w, r, p.Status, s.problemPart(p))
	} else {
		err = s.showStatus(w, r, p.Status, Shell{Title: p.What, Bare: p.Status == http.StatusUnauthorized}, problemBody(p))
	}
	if err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "a problem can't be shown", "error", err)
		http.Error(w, p.What, p.Status)
	}
}

// wayOn gives where to go on after a problem: from a filter that can't be read to
// the page without it, from a bulk without agents to where these are chosen.
func wayOn(r *http.Request, status int) Crumb {
	switch {
	case r.Method != http.MethodGet || status != http.StatusBadRequest || r.URL.RawQuery == "":
		return Crumb{Name: "Go to the start", Href: "/"}
	case strings.HasPrefix(r.URL.Path, "/bulk/"):
		return Crumb{Name: "Go to the agents", Href: "/agents"}
	}
	return Crumb{Name: "Open the page without a filter", Href: localPath(r.URL.EscapedPath(), "/")}
}

// toSignIn sends the browser to the sign-in. A script's request is told to load
// the whole page.
func toSignIn(w http.ResponseWriter, r *http.Request) {
	next := r.URL.RequestURI()
	if scripted(r) {
		if at, err := url.Parse(r.Header.Get("HX-Current-URL")); err == nil && wantsPart(r) {
			next = at.RequestURI()
		}
	}
	to := "/auth/login?next=" + url.QueryEscape(next)
	if scripted(r) {
		w.Header().Set("HX-Redirect", to)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
