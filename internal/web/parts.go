package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// mayAct tells whether whoever looks at the page may change something.
func mayAct(ctx context.Context) bool { return auth.From(ctx).Role.Includes(auth.Operator) }

// newKey makes the key under which a form acts once, however often it is sent.
func newKey() string { return rand.Text() }

// agentPath is where an agent's page is.
func agentPath(id string) string { return "/agents/" + url.PathEscape(id) }

// operationPath is where an operation's page is.
func operationPath(id string) string { return "/operations/" + url.PathEscape(id) }

// with gives the address of the request with some values of its query changed;
// "" takes one out. A cursor is dropped: it belongs to the list as it was.
func with(r *http.Request, pairs ...string) string {
	q := r.URL.Query()
	q.Del("cursor")
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		} else {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return r.URL.Path
	}
	return r.URL.Path + "?" + q.Encode()
}

// landed answers a form that acted: by a redirect to where the result is seen.
func landed(w http.ResponseWriter, r *http.Request, to string) error {
	if scripted(r) {
		// A script's request follows a redirect by itself and would not know where it
		// has come to.
		place, err := json.Marshal(map[string]string{"path": to, "target": "#page", "select": "#page", "swap": "outerHTML show:window:top"})
		if err != nil {
			return err
		}
		w.Header().Set("HX-Location", string(place))
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// invalidQuery is the fault for a part of an address that means nothing.
func invalidQuery(field, message string) error {
	return fault.New(fault.Invalid, "page.query", "The address is not valid").
		Do("Correct it, or start from the list.").At(fault.Field{Path: field, Message: message})
}

// capital begins a sentence with a capital letter.
func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
