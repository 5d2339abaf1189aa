// Package door is what every request to the portal passes: the table's row that
// says who may, the guard that holds everybody to it, one place where errors
// become answers, and what all areas of the API have in common, such as lists.
package door

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Auth finds out who asks. See auth.Service.
type Auth interface {
	Authenticate(ctx context.Context, secret string) (auth.Principal, error)
	SessionPrincipal(ctx context.Context, session string) (auth.Principal, error)
	CheckSession(ctx context.Context, id string) (auth.Principal, error)
	RotateSession(ctx context.Context, session string, role auth.Role) (string, error)
	Device(ctx context.Context, session string) (string, error)
}

// Agents finds the agents that requests name. See agent.Store.
type Agents interface {
	Get(ctx context.Context, id string) (*agent.Agent, error)
	Find(ctx context.Context, q agent.Query) (agent.Page, error)
}

// Operations are what ?wait= waits for. See operation.Service.
type Operations interface {
	Get(ctx context.Context, id string) (*operation.Operation, error)
	Wait(ctx context.Context, id string) (*operation.Operation, error)
}

// Config is what the door stands on. Without any of it the routes can still be
// registered and described.
type Config struct {
	// Table is every route of the API, and who may use it. Registering a route that
	// is not there ends the program.
	Table       []Route
	Version     string // of the portal
	Agents      Agents
	Operations  Operations
	Recorder    *audit.Recorder
	Auth        Auth
	Idempotency auth.IdempotencyStore
	Tx          txn.Runner
	// Pages are the routes of the web portal.
	Pages []Page
	// ErrorPage shows a problem in a browser; without one it gets JSON.
	ErrorPage func(w http.ResponseWriter, r *http.Request, p *Problem)
	Registry  *prometheus.Registry
	Log       *slog.Logger
	Now       func() time.Time
	NewID     func() string

	Listen   string        // see httpapi.Config
	Hosts    []string      // see httpapi.Config
	Key      []byte        // see httpapi.Config
	Secure   bool          // see httpapi.Config
	Failures int           // see httpapi.Config
	Recheck  time.Duration // see httpapi.Config
	// Settled gives, by the collection that a Location points into, what is answered
	// there once its operation has been waited for; elsewhere it is the operation.
	Settled map[string]func(ctx context.Context, id string) (any, error)
}

// Door lets requests in, or does not. Areas of the API register with it.
type Door struct {
	cfg         Config
	log         *slog.Logger
	now         func() time.Time
	newID       func() string
	hosts       map[string]bool
	loopback    bool
	crossOrigin *http.CrossOriginProtection
	failures    *perAddress // wrong credentials
	refusals    *perAddress // audit entries about strangers
	strangers   *perAddress // changes that need no sign-in
	mux         *http.ServeMux
	api         huma.API
	routes      map[string]*Route // by pattern
	metrics     *httpMetrics
}

// New makes a door that lets through to nothing yet but the pages.
func New(cfg Config) *Door {
	d := &Door{cfg: cfg, log: cfg.Log, now: cfg.Now, newID: cfg.NewID, hosts: map[string]bool{},
		crossOrigin: http.NewCrossOriginProtection(), mux: http.NewServeMux(), routes: map[string]*Route{}}
	d.failures = &perAddress{every: 5, burst: cfg.Failures}
	d.strangers = &perAddress{every: 20, burst: 200}
	d.refusals = &perAddress{every: rate.Every(time.Second), burst: 100}
	for _, name := range cfg.Hosts {
		d.hosts[strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	d.loopback = err == nil && isLoopback(strings.ToLower(host))
	d.metrics = newHTTPMetrics(cfg.Registry)
	d.api = humago.New(router{d}, describeAPI(cfg.Version))
	d.registerPages()
	return d
}

// describeAPI is the head of the OpenAPI document.
func describeAPI(version string) huma.Config {
	cfg := huma.DefaultConfig("Platform Portal", version)
	if cfg.Info.Version == "" {
		cfg.Info.Version = "0"
	}
	cfg.Info.Description = "Control plane for a fleet of agents. Errors are application/problem+json (RFC 9457). " +
		"Lists take limit and cursor. Mutations take Idempotency-Key. Long work answers 202 with an operation."
	cfg.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", "", nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "API token"},
		"session": {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "Session of a browser"},
	}
	cfg.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[agent.PortRef](), reflect.TypeFor[portRef]())
	return cfg
}

// OpenAPI is the document of what has been registered.
func (d *Door) OpenAPI() *huma.OpenAPI { return d.api.OpenAPI() }

// Described lists the documented operations in the table's order, which is the
// one people understand.
func (d *Door) Described() []*huma.Operation {
	var out []*huma.Operation
	for _, route := range d.cfg.Table {
		if op := operationOf(d.api.OpenAPI(), route); op != nil {
			out = append(out, op)
		}
	}
	return out
}

// Registered gives the patterns of all routes that lead somewhere.
func (d *Door) Registered() []string {
	out := make([]string, 0, len(d.routes))
	for pattern := range d.routes {
		out = append(out, pattern)
	}
	slices.Sort(out)
	return out
}
