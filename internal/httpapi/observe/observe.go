// Package observe is the part of the API that tells what the fleet and the
// portal do: events, figures, health, queues, and the audit log.
package observe

import (
	"context"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/queue"
)

// Agents reads agents. See agent.Store.
type Agents interface {
	Find(ctx context.Context, q agent.Query) (agent.Page, error)
	Counts(ctx context.Context) (map[agent.State]int, map[agent.Health]int, error)
}

// Reporter is a runtime that says what it can enforce. See fleet.Runtime.
type Reporter interface {
	Name() string
	Report(ctx context.Context) []fleet.Check
}

// Queues are the queues of agents. See queue.Broker.
type Queues interface {
	Stats(ctx context.Context, agentID string) (queue.Stats, error)
}

// Events reads the stream of events. See event.Log.
type Events interface {
	Find(ctx context.Context, q event.Query) ([]event.Event, error)
}

// About tells what metrics are. See metrics.Scraper.
type About interface {
	Metadata(name string) map[string]metrics.Metadata
}

// Component is a part of the portal whose health is shown.
type Component struct {
	Name  string
	Check func(ctx context.Context) error
	// Needed says that the portal is not ready without it.
	Needed bool
}

// Config is what this area stands on. Without any of it the routes can still be
// registered and described.
type Config struct {
	Agents     Agents
	Runtimes   []Reporter
	Queues     Queues
	Metrics    metrics.Reader
	Series     metrics.Querier
	Catalog    metrics.Catalog
	About      About
	Narrow     func(expr string, agents []string) (string, error) // makes an expression be about these agents only
	Now        func() time.Time                                   // nil means time.Now
	Version    string                                             // of the portal
	Logs       Logs
	Events     Events
	Audit      audit.Store
	Recorder   *audit.Recorder
	Components []Component
	Errors     Errors

	Diagnostics   Diagnostics
	SupportBundle SupportBundle
	// Webhooks and WebhookReader tell other systems what happens.
	Webhooks      Webhooks
	WebhookReader WebhookReader
	Alerts        Alerts
}

const base = door.Base

// Routes are the rows of this area in the table of routes.
var Routes = slices.Concat(ownRoutes, alertRoutes, ruleRoutes)

var ownRoutes = []door.Route{
	{Method: "GET", Path: "/readyz", Public: true, ID: "readyz"},
	{Method: "GET", Path: base + "/agents/{id}/metrics", Role: auth.Viewer, ID: "agent-metrics"},
	{Method: "GET", Path: base + "/events", Role: auth.Viewer, ID: "list-events"},
	{Method: "GET", Path: base + "/events/export", Role: auth.Viewer, ID: "export-events", Stream: true},
	{Method: "GET", Path: base + "/webhooks", Role: auth.Admin, ID: "list-webhooks"},
	{Method: "POST", Path: base + "/webhooks", Role: auth.Admin, ID: "create-webhook"},
	{Method: "GET", Path: base + "/webhooks/{id}", Role: auth.Admin, ID: "get-webhook"},
	{Method: "PATCH", Path: base + "/webhooks/{id}", Role: auth.Admin, ID: "patch-webhook"},
	{Method: "DELETE", Path: base + "/webhooks/{id}", Role: auth.Admin, ID: "delete-webhook"},
	{Method: "POST", Path: base + "/webhooks/{id}/secret", Role: auth.Admin, ID: "secret-webhook"},
	{Method: "POST", Path: base + "/webhooks/{id}/resume", Role: auth.Admin, ID: "resume-webhook"},
	{Method: "POST", Path: base + "/webhooks/{id}/test", Role: auth.Admin, ID: "test-webhook", Outward: true},
	{Method: "GET", Path: base + "/webhooks/{id}/deliveries", Role: auth.Admin, ID: "list-deliveries"},
	{Method: "POST", Path: base + "/webhooks/{id}/deliveries/{delivery}", Role: auth.Admin, ID: "redeliver", Outward: true},
	{Method: "GET", Path: base + "/metrics", Role: auth.Viewer, ID: "platform-metrics"},
	{Method: "GET", Path: base + "/metrics/query", Role: auth.Viewer, ID: "query-metrics"},
	{Method: "GET", Path: base + "/metrics/query_range", Role: auth.Viewer, ID: "query-metrics-range"},
	{Method: "GET", Path: prometheus + "/query", Role: auth.Viewer, ID: "prometheus-query"},
	{Method: "POST", Path: prometheus + "/query", Role: auth.Viewer, ID: "prometheus-query-form", Reads: true},
	{Method: "GET", Path: prometheus + "/query_range", Role: auth.Viewer, ID: "prometheus-query-range"},
	{Method: "POST", Path: prometheus + "/query_range", Role: auth.Viewer, ID: "prometheus-query-range-form", Reads: true},
	{Method: "GET", Path: prometheus + "/series", Role: auth.Viewer, ID: "prometheus-series"},
	{Method: "POST", Path: prometheus + "/series", Role: auth.Viewer, ID: "prometheus-series-form", Reads: true},
	{Method: "GET", Path: prometheus + "/labels", Role: auth.Viewer, ID: "prometheus-labels"},
	{Method: "POST", Path: prometheus + "/labels", Role: auth.Viewer, ID: "prometheus-labels-form", Reads: true},
	{Method: "GET", Path: prometheus + "/label/{name}/values", Role: auth.Viewer, ID: "prometheus-label-values"},
	{Method: "GET", Path: prometheus + "/metadata", Role: auth.Viewer, ID: "prometheus-metadata"},
	{Method: "GET", Path: prometheus + "/status/buildinfo", Role: auth.Viewer, ID: "prometheus-buildinfo"},
	{Method: "GET", Path: base + "/logs", Role: auth.Viewer, ID: "list-logs"},
	{Method: "GET", Path: base + "/logs/histogram", Role: auth.Viewer, ID: "logs-histogram"},
	{Method: "GET", Path: base + "/logs/context", Role: auth.Viewer, ID: "logs-context"},
	{Method: "GET", Path: base + "/logs/fields", Role: auth.Viewer, ID: "logs-fields"},
	{Method: "GET", Path: base + "/logs/status", Role: auth.Viewer, ID: "logs-status"},
	{Method: "GET", Path: base + "/logs/download", Role: auth.Viewer, ID: "logs-download", Stream: true},
	{Method: "GET", Path: base + "/logs/tail", Role: auth.Viewer, ID: "logs-tail", Stream: true},
	{Method: "GET", Path: base + "/health", Role: auth.Viewer, ID: "platform-health"},
	{Method: "GET", Path: base + "/queues", Role: auth.Viewer, ID: "list-queues"},
	{Method: "GET", Path: base + "/queues/{agent}", Role: auth.Viewer, ID: "get-queue"},
	{Method: "GET", Path: base + "/errors", Role: auth.Viewer, ID: "list-errors"},
	{Method: "GET", Path: base + "/errors/patterns", Role: auth.Viewer, ID: "error-patterns"},
	{Method: "GET", Path: base + "/errors/{id}", Role: auth.Viewer, ID: "get-error"},
	{Method: "POST", Path: base + "/errors/{id}/fixes/{fix}/preview", Role: auth.Operator, ID: "preview-fix"},
	{Method: "POST", Path: base + "/errors/{id}/fixes/{fix}", Role: auth.Operator, ID: "apply-fix", Waits: true},
	{Method: "POST", Path: base + "/errors/{id}/dismiss", Role: auth.Operator, ID: "dismiss-error"},
	{Method: "GET", Path: base + "/agents/{id}/errors", Role: auth.Viewer, ID: "agent-errors"},
	{Method: "GET", Path: base + "/recovery/policies", Role: auth.Viewer, ID: "get-recovery-policies"},
	{Method: "PUT", Path: base + "/recovery/policies", Role: auth.Admin, ID: "set-recovery-policies"},
	{Method: "GET", Path: base + "/diagnostics", Role: auth.Viewer, ID: "list-diagnostics"},
	{Method: "POST", Path: base + "/diagnostics", Role: auth.Operator, ID: "run-diagnostics"},
	{Method: "GET", Path: base + "/diagnostics/bundle", Role: auth.Admin, ID: "support-bundle"},
	{Method: "GET", Path: base + "/diagnostics/{id}", Role: auth.Viewer, ID: "get-diagnostic"},
	{Method: "GET", Path: base + "/audit", Role: auth.Viewer, ID: "list-audit"},
	{Method: "GET", Path: base + "/audit/export", Role: auth.Viewer, ID: "export-audit", Stream: true},
	{Method: "GET", Path: base + "/audit/verify", Role: auth.Viewer, ID: "verify-audit", Stream: true},
}

// area is what the handlers share.
type area struct {
	door *door.Door
	cfg  Config
}

// Register registers every route of this area.
func Register(d *door.Door, cfg Config) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &area{door: d, cfg: cfg}
	a.registerHealth()
	a.registerMetrics()
	a.registerQueries()
	a.registerPrometheus()
	a.registerLogs()
	a.registerEvents()
	a.registerWebhooks()
	a.registerQueues()
	a.registerErrors()
	a.registerAudit()
	a.registerDiagnostics()
	a.registerAlerts()
}
