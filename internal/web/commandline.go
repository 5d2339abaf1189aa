package web

import (
	"net/http"
	"net/url"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

const cliPath = "/auth/cli"

// cliRequest is what a command line asks for, see portal login.
type cliRequest struct {
	auth.CodeRequest
	State string // comes back to the command line as it is
	Host  string // where the command line waits
}

// maxState is how long a command line's state may be, in bytes.
const maxState = 128

func cliRequestOf(q url.Values) (cliRequest, error) {
	c := cliRequest{CodeRequest: auth.CodeRequest{Challenge: q.Get("code_challenge"), Redirect: q.Get("redirect_uri")}, State: q.Get("state")}
	if method := q.Get("code_challenge_method"); method != "S256" || c.State == "" || len(c.State) > maxState {
		c.Challenge = "" // which Check refuses, in the same words
	}
	if err := c.Check(); err != nil {
		return c, err
	}
	u, err := url.Parse(c.Redirect)
	if err != nil {
		return c, badForm(err)
	}
	c.Host = u.Host
	return c, nil
}

// back is the address at which the command line waits, with the answer.
func (c cliRequest) back(name, value string) (string, error) {
	u, err := url.Parse(c.Redirect)
	if err != nil {
		return "", badForm(err)
	}
	q := u.Query()
	q.Set(name, value)
	q.Set("state", c.State)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// cliPage asks whether a command line may act for whoever is signed in.
func (s *Server) cliPage(w http.ResponseWriter, r *http.Request) error {
	c, err := cliRequestOf(r.URL.Query())
	if err != nil {
		return err
	}
	return s.show(w, r, Shell{Title: "Sign in a command line?", Bare: true}, cliBody(c, auth.From(r.Context())))
}

// cliForm takes the answer and leads the browser back to the command line.
func (s *Server) cliForm(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	c, err := cliRequestOf(r.PostForm)
	if err != nil {
		return err
	}
	name, value, allowed := "error", "access_denied", r.PostForm.Get("answer") == "allow"
	if allowed {
		name = "code"
		if value, err = s.cfg.SignIns.Accounts.NewCode(r.Context(), c.CodeRequest); err != nil {
			return err
		}
	}
	back, err := c.back(name, value)
	if err != nil {
		return fault.New(fault.Internal, "page", "The page can't be shown").Wrap(err)
	}
	// Not a redirect: the policy lets forms lead to the portal alone, also in the
	// end. And not a link in the page, which would hold the code.
	w.Header().Set("Refresh", "0; url="+back)
	title := "The command line is not signed in"
	if allowed {
		title = "The command line is signed in"
	}
	return s.show(w, r, Shell{Title: title, Bare: true}, cliDoneBody(allowed))
}
