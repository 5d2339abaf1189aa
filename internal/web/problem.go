package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Problem is what went wrong, as a person sees it.
type Problem struct {
	Status    int
	What      string
	Why       string
	Remedy    string
	Fields    []fault.Field
	RequestID string // finds the request in the log
	ErrorID   string // finds an internal error in the log
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
