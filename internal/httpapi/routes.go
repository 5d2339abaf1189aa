package httpapi

import (
	"net/http"

	"github.com/waooaw/platform-portal/internal/auth"
)

// base is where the API begins.
const base = "/api/platform"

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
}

// Mutation tells whether the route changes something.
func (r Route) Mutation() bool { return r.Method != http.MethodGet }

// Pattern is what the route is registered under.
func (r Route) Pattern() string { return r.Method + " " + r.Path }

// MaxBody is how many bytes a request may bring.
func (r Route) MaxBody() int64 {
	if r.Large {
		return 10 << 20
	}
	return 1 << 20
}

// Routes is every route there is, and who may use it. Registering a route that
// is not here ends the program.
var Routes = []Route{
	{Method: "GET", Path: "/healthz", Public: true, ID: "healthz"},
	{Method: "GET", Path: "/readyz", Public: true, ID: "readyz"},
	{Method: "GET", Path: "/version", Public: true, ID: "version"},
	{Method: "GET", Path: "/openapi.json", Public: true, ID: "openapi"},
	{Method: "GET", Path: "/docs", Public: true, ID: "docs", Page: true},
	{Method: "GET", Path: "/docs/style.css", Public: true, ID: "docs-style", Page: true},
	{Method: "GET", Path: "/metrics", Role: auth.Viewer, ID: "own-metrics"},

	{Method: "GET", Path: "/auth/me", Role: auth.Viewer, ID: "me"},
	{Method: "POST", Path: "/auth/logout", Role: auth.Viewer, ID: "logout"},
	{Method: "POST", Path: "/auth/logout/all", Role: auth.Viewer, ID: "logout-all"},
	{Method: "GET", Path: "/auth/sessions", Role: auth.Viewer, ID: "list-sessions"},
	{Method: "DELETE", Path: "/auth/sessions/{id}", Role: auth.Viewer, ID: "end-session"},
	{Method: "POST", Path: "/auth/token", Public: true, ID: "token", Form: true},
	{Method: "GET", Path: "/.well-known/jwks.json", Public: true, ID: "jwks"},

	{Method: "GET", Path: base + "/agents", Role: auth.Viewer, ID: "list-agents"},
	{Method: "POST", Path: base + "/agents", Role: auth.Operator, ID: "create-agent"},
	{Method: "POST", Path: base + "/agents/import", Role: auth.Operator, ID: "import-agents", Large: true},
	{Method: "GET", Path: base + "/agents/{id}", Role: auth.Viewer, ID: "get-agent"},
	{Method: "PATCH", Path: base + "/agents/{id}", Role: auth.Operator, ID: "patch-agent"},
	{Method: "DELETE", Path: base + "/agents/{id}", Role: auth.Operator, ID: "delete-agent"},
	{Method: "POST", Path: base + "/agents/{id}/provision", Role: auth.Operator, ID: "provision-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/deploy", Role: auth.Operator, ID: "deploy-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/start", Role: auth.Operator, ID: "start-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/stop", Role: auth.Operator, ID: "stop-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/suspend", Role: auth.Operator, ID: "suspend-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/resume", Role: auth.Operator, ID: "resume-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/restart", Role: auth.Operator, ID: "restart-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/revoke", Role: auth.Operator, ID: "revoke-agent", Waits: true},
	{Method: "GET", Path: base + "/agents/{id}/impact", Role: auth.Viewer, ID: "agent-impact"},
	{Method: "GET", Path: base + "/agents/{id}/history", Role: auth.Viewer, ID: "agent-history"},
	{Method: "GET", Path: base + "/agents/{id}/instances", Role: auth.Viewer, ID: "agent-instances"},
	{Method: "GET", Path: base + "/agents/{id}/versions", Role: auth.Viewer, ID: "agent-versions"},
	{Method: "GET", Path: base + "/agents/{id}/health", Role: auth.Viewer, ID: "agent-health"},
	{Method: "GET", Path: base + "/agents/{id}/metrics", Role: auth.Viewer, ID: "agent-metrics"},
	{Method: "GET", Path: base + "/agents/{id}/logs", Role: auth.Viewer, ID: "agent-logs", Stream: true},
	{Method: "POST", Path: base + "/agents/{id}/tasks", Role: auth.Operator, ID: "send-task"},

	{Method: "GET", Path: base + "/operations", Role: auth.Viewer, ID: "list-operations"},
	{Method: "GET", Path: base + "/operations/{id}", Role: auth.Viewer, ID: "get-operation"},
	{Method: "GET", Path: base + "/operations/{id}/attempts", Role: auth.Viewer, ID: "operation-attempts"},
	{Method: "POST", Path: base + "/operations/{id}/pause", Role: auth.Operator, ID: "pause-operation"},
	{Method: "POST", Path: base + "/operations/{id}/resume", Role: auth.Operator, ID: "resume-operation"},
	{Method: "POST", Path: base + "/operations/{id}/cancel", Role: auth.Operator, ID: "cancel-operation", Waits: true},
	{Method: "POST", Path: base + "/operations/{id}/undo", Role: auth.Operator, ID: "undo-operation", Waits: true},

	{Method: "GET", Path: base + "/bulk", Role: auth.Viewer, ID: "list-bulk"},
	{Method: "POST", Path: base + "/bulk", Role: auth.Operator, ID: "start-bulk", Waits: true},
	{Method: "GET", Path: base + "/bulk/{id}", Role: auth.Viewer, ID: "get-bulk"},
	{Method: "GET", Path: base + "/bulk/{id}/report", Role: auth.Viewer, ID: "bulk-report"},
	{Method: "POST", Path: base + "/bulk/{id}/cancel", Role: auth.Operator, ID: "cancel-bulk", Waits: true},
	{Method: "POST", Path: base + "/bulk/{id}/rollback", Role: auth.Operator, ID: "rollback-bulk", Waits: true},

	{Method: "GET", Path: base + "/events", Role: auth.Viewer, ID: "list-events"},
	{Method: "GET", Path: base + "/metrics", Role: auth.Viewer, ID: "platform-metrics"},
	{Method: "GET", Path: base + "/health", Role: auth.Viewer, ID: "platform-health"},
	{Method: "GET", Path: base + "/queues", Role: auth.Viewer, ID: "list-queues"},
	{Method: "GET", Path: base + "/queues/{agent}", Role: auth.Viewer, ID: "get-queue"},
	{Method: "GET", Path: base + "/audit", Role: auth.Viewer, ID: "list-audit"},
	{Method: "GET", Path: base + "/audit/export", Role: auth.Viewer, ID: "export-audit", Stream: true},
	{Method: "GET", Path: base + "/audit/verify", Role: auth.Viewer, ID: "verify-audit", Stream: true},

	// Everybody has tokens of their own; the service refuses what is beyond that.
	{Method: "GET", Path: base + "/tokens", Role: auth.Viewer, ID: "list-tokens"},
	{Method: "POST", Path: base + "/tokens", Role: auth.Viewer, ID: "create-token"},
	{Method: "DELETE", Path: base + "/tokens/{id}", Role: auth.Viewer, ID: "revoke-token"},
	{Method: "GET", Path: base + "/users", Role: auth.Admin, ID: "list-users"},
	{Method: "POST", Path: base + "/users", Role: auth.Admin, ID: "create-user"},
	{Method: "PATCH", Path: base + "/users/{id}", Role: auth.Admin, ID: "patch-user"},
	{Method: "DELETE", Path: base + "/users/{id}", Role: auth.Admin, ID: "delete-user"},
	{Method: "POST", Path: base + "/users/{id}/link", Role: auth.Admin, ID: "link-user"},
	{Method: "GET", Path: base + "/role-rules", Role: auth.Admin, ID: "role-rules"},

	{Method: "GET", Path: base + "/live", Role: auth.Viewer, ID: "live", Stream: true},
	{Method: "GET", Path: base + "/live/sse", Role: auth.Viewer, ID: "live-sse", Stream: true},
}
