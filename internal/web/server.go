// Package web shows the portal to people: pages, their parts, and the forms that
// they send. It reads and acts through the services of the domain, like the API,
// and stands behind the same door.
package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/web/assets"
)

// Config is all that the pages stand on. What is nil is not offered.
type Config struct {
	Agents     AgentReader
	Editor     AgentEditor
	History    HistoryReader
	Fleet      Fleet
	Steward    Steward
	Mover      Mover
	Operations Operations
	Bulks      Bulks
	Probes     ProbeReader
	Events     EventReader
	Figures    metrics.Reader
	Series     metrics.Querier
	Errors     Errors
	// SeriesNote says what is to be known of where time series are kept; "" for
	// nothing.
	SeriesNote func(ctx context.Context) string
	Logs       LogReader
	// Place is the number of the newest event that live updates gave out, from where
	// a page that is made now goes on.
	Place func() int64
	Audit audit.Store
	// Alerts are what is wrong, and who is told.
	Alerts Alerts
	// Facets counts what filters of agents select.
	Facets agent.Faceter
	// Queues knows what waits in the queues.
	Queues QueueReader
	// Diagnostics looks whether everything is in order.
	Diagnostics Diagnostics
	// Preferences remembers what people like.
	Preferences Preferences

	SignIns  SignIns
	Settings Settings

	// Examples gives the agents that a new fleet can begin with, as documents.
	Examples func() ([]map[string]any, error)
	// Parts says how the portal's own parts are.
	Parts func(ctx context.Context) []Part
	// Brand is how the portal calls itself.
	Brand Brand
	// Door is what the edge that serves the pages knows of a request.
	Door Door

	Log *slog.Logger // nil means slog.Default()
	Now func() time.Time
}

// Brand is the name under which a platform offers the portal, e.g. "WAOOAW" and
// "Ways of Working".
type Brand struct {
	Name  string // default "WAOOAW"
	Claim string // default "Ways of Working"
	// Colors replace values of the theme by their name in the style sheet without
	// dashes, e.g. "accent": "#667eea"; those of the light theme begin with "light-".
	Colors map[string]string
	// Logo is an SVG picture in place of the portal's own; nil for that.
	Logo []byte
}

// Door is how pages give and take sessions, and learn about a request. It is
// made of functions because pages know nothing of the edge that serves them.
type Door struct {
	// SetSession gives the browser the secret of its session; "" takes it away.
	SetSession func(w http.ResponseWriter, r *http.Request, secret string)
	// SessionOf gives the secret of the session that authenticated the request.
	SessionOf func(ctx context.Context) string
	// SecureOf tells whether the browser reaches the portal by TLS.
	SecureOf func(ctx context.Context) bool
	// WrongCredentials slows an address down that fails to sign in too often.
	WrongCredentials func(ctx context.Context, err error) error
	// Refused notes that an attempt is refused by a page of its own, so that it goes
	// on record as one that is refused by an error.
	Refused func(ctx context.Context, err error)
}

// Server makes the pages.
type Server struct {
	cfg Config
}

// New makes the server of the pages.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Brand.Name == "" {
		cfg.Brand = Brand{Name: "WAOOAW", Claim: "Ways of Working"}
	}
	return &Server{cfg: cfg}
}

// Route is one row of the table of pages.
type Route struct {
	Method string
	Path   string // pattern of net/http
	// Role is the least role that may use it; without one it must be Public.
	Role   auth.Role
	Public bool
	ID     string
	// Title is the page's name for people; "" for what is no page of its own:
	// fragments, forms and files.
	Title  string
	Hidden bool // its path holds a secret and is kept out of logs
	Stream bool // answers without end
	Secret bool // its answer holds a secret, which is not kept for a second sending
	// Outward says that it talks to somebody else meanwhile, see door.Route.
	Outward bool
	Large   bool // takes bodies of up to 10 MiB instead of 1 MiB
	handle  func(s *Server, w http.ResponseWriter, r *http.Request) error
}

// Handler gives what serves the route.
func (s *Server) Handler(route Route) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error { return route.handle(s, w, s.placed(r)) }
}

// Routes is every page, fragment, form and file there is, and who may use it.
var Routes = slices.Concat(
	[]Route{{Method: "GET", Path: "/assets/{file}", Public: true, ID: "asset", handle: (*Server).asset}},
	signInRoutes,
	homeRoutes,
	metricsRoutes,
	fleetRoutes,
	agentRoutes,
	errorRoutes,
	logsRoutes,
	settingsRoutes,
	resourceRoutes,
	diagnosticsRoutes,
	alertRoutes,
	eventRoutes,
	webhookRoutes,
	frameRoutes,
)

func (s *Server) asset(w http.ResponseWriter, r *http.Request) error {
	if !assets.Serve(w, r, r.PathValue("file")) {
		return notHere()
	}
	return nil
}

// newNonce makes the value by which the browser knows our own scripts.
func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program rather than give weak bytes
	return base64.RawURLEncoding.EncodeToString(b[:])
}
