package httpapi

import (
	"slices"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
)

// base is where the API begins.
const base = door.Base

// Routes is every route there is, and who may use it. Registering a route that
// is not here ends the program.
var Routes = slices.Concat(fleetRoutes, observe.Routes, accountRoutes)

// fleetRoutes are about the portal itself, the agents, and what is done with them.
var fleetRoutes = []door.Route{
	{Method: "GET", Path: "/healthz", Public: true, ID: "healthz"},
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
	{Method: "POST", Path: base + "/agents/import/compose", Role: auth.Operator, ID: "import-compose", Large: true},
	// It reads with the portal's rights on the cluster, which are not everybody's.
	{Method: "POST", Path: base + "/agents/import/kubernetes", Role: auth.Admin, ID: "import-kubernetes"},
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
	{Method: "GET", Path: base + "/agents/{id}/logs", Role: auth.Viewer, ID: "agent-logs", Stream: true},
	{Method: "GET", Path: base + "/agents/{id}/resources", Role: auth.Viewer, ID: "agent-resources"},
	{Method: "POST", Path: base + "/agents/{id}/drift/adopt", Role: auth.Operator, ID: "adopt-drift"},
	{Method: "GET", Path: base + "/agents/{id}/drift/adopt", Role: auth.Operator, ID: "plan-adoption"},
	{Method: "POST", Path: base + "/agents/{id}/move", Role: auth.Operator, ID: "move-agent", Waits: true},
	{Method: "POST", Path: base + "/agents/{id}/move/plan", Role: auth.Operator, ID: "plan-move"},
	{Method: "GET", Path: base + "/quotas", Role: auth.Viewer, ID: "list-quotas"},
	{Method: "GET", Path: base + "/orphans", Role: auth.Operator, ID: "list-orphans"},
	{Method: "DELETE", Path: base + "/orphans/{where}/{agent}", Role: auth.Admin, ID: "remove-orphan"},
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
}

// accountRoutes are about people, their tokens, and what they see live.
var accountRoutes = []door.Route{
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
