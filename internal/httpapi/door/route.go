package door

import (
	"net/http"

	"github.com/waooaw/platform-portal/internal/auth"
)

// Base is where the API begins.
const Base = "/api/platform"

// Route is one row of the table of routes.
type Route struct {
	Method string
	Path   string // pattern of net/http
	// Role is the least role that may use it. Without one the route is refused to
	// everybody, unless it is Public.
	Role   auth.Role
	Public bool   // needs no sign-in
	ID     string // operation id
	Waits  bool   // takes ?wait= and answers when the operation is done
	Stream bool   // may answer without end
	Large  bool   // takes bodies of up to 10 MiB instead of 1 MiB
	Hidden bool   // its path holds a secret and is kept out of logs
	Page   bool   // is for browsers
	Form   bool   // takes a form in place of JSON, too
	Secret bool   // its answer holds a secret: no Idempotency-Key keeps it
	Reads  bool   // changes nothing, though its method is POST
	// Outward says that it talks to somebody else meanwhile. It must not hold a
	// transaction, so no Idempotency-Key keeps its answer.
	Outward bool
}

// Mutation tells whether the route changes something.
func (r Route) Mutation() bool { return r.Method != http.MethodGet && !r.Reads }

// Pattern is what the route is registered under.
func (r Route) Pattern() string { return r.Method + " " + r.Path }

// MaxBody is how many bytes a request may bring.
func (r Route) MaxBody() int64 {
	if r.Large {
		return 10 << 20
	}
	return 1 << 20
}
