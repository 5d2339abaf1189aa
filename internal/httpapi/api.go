// Package httpapi is the portal's HTTP API: one table of routes with the role
// that each needs, handlers that call the services of the domain, and one place
// where errors become answers.
package httpapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/txn"
)

// AgentService changes agents. See agent.Service.
type AgentService interface {
	Create(ctx context.Context, spec agent.Spec) (*agent.Agent, []string, error)
	Patch(ctx context.Context, id string, ifMatch int64, mergePatch map[string]any, reason string) (*agent.Agent, []string, error)
	Delete(ctx context.Context, id string, ifMatch int64) error
	Import(ctx context.Context, docs []map[string]any, opt agent.ImportOptions) (agent.ImportResult, error)
}

// AgentReader reads agents. See agent.Store.
type AgentReader interface {
	Get(ctx context.Context, id string) (*agent.Agent, error)
	Find(ctx context.Context, q agent.Query) (agent.Page, error)
	Counts(ctx context.Context) (map[agent.State]int, map[agent.Health]int, error)
}

// AgentHistory reads what was. See agent.History.
type AgentHistory interface {
	Revisions(ctx context.Context, agentID string, before, limit int) ([]agent.Revision, error)
	Transitions(ctx context.Context, agentID, cursor string, limit int) ([]agent.Transition, string, error)
}

// Fleet acts on agents. See fleet.Service.
type Fleet interface {
	Act(ctx context.Context, agentID string, action agent.Action, opt fleet.ActOptions) (*operation.Operation, error)
	Impact(ctx context.Context, agentID string, action agent.Action) (fleet.Impact, error)
	Instances(ctx context.Context, agentIDs ...string) (map[string][]fleet.Instance, error)
	Logs(ctx context.Context, q fleet.LogQuery, fn func(fleet.LogLine) error) error
}

// Reporter is a runtime that says what it can enforce. See fleet.Runtime.
type Reporter interface {
	Name() string
	Report(ctx context.Context) []fleet.Check
}

// Operations shows and steers operations. See operation.Service.
type Operations interface {
	Get(ctx context.Context, id string) (*operation.Operation, error)
	Find(ctx context.Context, q operation.Query) ([]*operation.Operation, string, error)
	Attempts(ctx context.Context, id string) ([]operation.Attempt, error)
	Wait(ctx context.Context, id string) (*operation.Operation, error)
	Pause(ctx context.Context, id string) (*operation.Operation, error)
	Resume(ctx context.Context, id string) (*operation.Operation, error)
	Cancel(ctx context.Context, id string) (*operation.Operation, error)
	Undo(ctx context.Context, id string) (*operation.Operation, error)
}

// Bulks runs actions on many agents. See bulk.Service.
type Bulks interface {
	Start(ctx context.Context, r bulk.Request) (*bulk.Bulk, error)
	Get(ctx context.Context, id string) (*bulk.Bulk, error)
	List(ctx context.Context, cursor string, limit int) ([]*bulk.Bulk, string, error)
	Cancel(ctx context.Context, id string) (*bulk.Bulk, error)
	RollBack(ctx context.Context, id string) (*bulk.Bulk, error)
}

// ProbeHistory reads what probes found. See health.Store.
type ProbeHistory interface {
	Results(ctx context.Context, agentID, cursor string, limit int) ([]health.Result, string, error)
}

// Queues are the queues of agents. See queue.Broker.
type Queues interface {
	Publish(ctx context.Context, agentID, id string, payload []byte) error
	Stats(ctx context.Context, agentID string) (queue.Stats, error)
}

// Events reads the stream of events. See event.Log.
type Events interface {
	Find(ctx context.Context, q event.Query) ([]event.Event, error)
}

// Auth is who may come in and what they may do. See auth.Service.
type Auth interface {
	Doors
	Grants
	TokenService
	OwnSessions
	Users
}

// Doors find out who asks.
type Doors interface {
	Authenticate(ctx context.Context, secret string) (auth.Principal, error)
	SessionPrincipal(ctx context.Context, session string) (auth.Principal, error)
	CheckSession(ctx context.Context, id string) (auth.Principal, error)
	RotateSession(ctx context.Context, session string, role auth.Role) (string, error)
	Device(ctx context.Context, session string) (string, error)
	RedeemLink(ctx context.Context, code string) (string, error)
}

// Grants are what command lines sign in with.
type Grants interface {
	RedeemCode(ctx context.Context, code, verifier, redirect string) (*auth.Grant, error)
	Refresh(ctx context.Context, token string) (*auth.Grant, error)
}

// TokenService gives and takes API tokens.
type TokenService interface {
	CreateToken(ctx context.Context, name string, role auth.Role, ttl time.Duration) (string, auth.Token, error)
	CreateOwnToken(ctx context.Context, name string, role auth.Role, ttl time.Duration) (string, auth.Token, error)
	ListTokens(ctx context.Context, cursor string, limit int) ([]auth.Token, string, error)
	RevokeToken(ctx context.Context, id string) error
}

// OwnSessions are the sessions of whoever asks.
type OwnSessions interface {
	OwnSessions(ctx context.Context) ([]auth.OwnSession, error)
	EndOwnSession(ctx context.Context, id string) error
	EndOwnSessions(ctx context.Context) error
	EndSession(ctx context.Context, id string) error
}

// Users are the people who may sign in.
type Users interface {
	ListUsers(ctx context.Context, cursor string, limit int) ([]auth.Account, string, error)
	AccountOf(u auth.User) auth.Account
	CreateUser(ctx context.Context, n auth.NewUser) (*auth.User, error)
	ChangeUser(ctx context.Context, id string, c auth.UserChange) (*auth.User, error)
	DeleteUser(ctx context.Context, id string) error
	NewUserLink(ctx context.Context, userID string, ttl time.Duration) (string, error)
	RoleRules() []auth.Rule
}

// KeySet shows the public keys of access tokens.
type KeySet interface {
	// JWKS is the set as JSON (RFC 7517).
	JWKS() ([]byte, error)
}

// Live serves live updates. A method that returns an error has written nothing.
type Live interface {
	WebSocket(w http.ResponseWriter, r *http.Request) error
	SSE(w http.ResponseWriter, r *http.Request) error
}

// Component is a part of the portal whose health is shown.
type Component struct {
	Name  string
	Check func(ctx context.Context) error
	// Needed says that the portal is not ready without it.
	Needed bool
}

// Version says what was built.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"`
}

// Config is all that the API stands on.
type Config struct {
	Agents      AgentService
	AgentStore  AgentReader
	History     AgentHistory
	Fleet       Fleet
	Runtimes    []Reporter
	Operations  Operations
	Bulks       Bulks
	Probes      ProbeHistory
	Queues      Queues
	Metrics     metrics.Reader
	Events      Events
	Audit       audit.Store
	Recorder    *audit.Recorder
	Auth        Auth
	Keys        KeySet // nil: there are no access tokens
	Idempotency auth.IdempotencyStore
	Tx          txn.Runner
	Live        Live
	// Pages are the routes of the web portal.
	Pages []Page
	// ErrorPage shows a problem in a browser; without one it gets JSON.
	ErrorPage  func(w http.ResponseWriter, r *http.Request, p *Problem)
	Components []Component
	Registry   *prometheus.Registry // the portal's own metrics; nil makes one
	Log        *slog.Logger         // nil means slog.Default()
	Now        func() time.Time     // nil means time.Now
	NewID      func() string
	Version    Version

	// Listen is the address the server listens on, e.g. "127.0.0.1:8080". On a
	// loopback address only loopback names are accepted as Host.
	Listen string
	// Hosts are further names under which the portal is reached.
	Hosts []string
	// Key keeps what is stored of requests' bodies from being guessed at; the same
	// for all portals with one store.
	Key []byte
	// Secure says that browsers reach the portal by TLS, even if a proxy ends it.
	Secure bool
	// Failures is how many wrong credentials an address may send at once; a new
	// one every fifth of a second is allowed after that. Default 300.
	Failures int
	// Recheck is how often the access behind an endless answer is asked for
	// again. Default 5s.
	Recheck time.Duration
}

// server is the handler of everything.
type server struct {
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
	followers   chan struct{}
	mux         *http.ServeMux
	api         huma.API
	routes      map[string]*Route // by pattern
	metrics     *httpMetrics
	document    document
}

// New makes the handler of the API.
func New(cfg Config) http.Handler { return newServer(cfg) }

func newServer(cfg Config) *server {
	s := &server{cfg: cfg, log: cfg.Log, now: cfg.Now, newID: cfg.NewID, hosts: map[string]bool{},
		crossOrigin: http.NewCrossOriginProtection(), mux: http.NewServeMux(), routes: map[string]*Route{}, followers: make(chan struct{}, maxFollowers)}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.cfg.Registry == nil {
		s.cfg.Registry = prometheus.NewRegistry()
	}
	if s.cfg.Recheck == 0 {
		s.cfg.Recheck = 5 * time.Second
	}
	if cfg.Failures == 0 {
		cfg.Failures = 300
	}
	s.failures = &perAddress{every: 5, burst: cfg.Failures}
	s.strangers = &perAddress{every: 20, burst: 200}
	s.refusals = &perAddress{every: rate.Every(time.Second), burst: 100}
	for _, name := range cfg.Hosts {
		s.hosts[strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	s.loopback = err == nil && isLoopback(strings.ToLower(host))
	s.metrics = newHTTPMetrics(s.cfg.Registry)
	s.register()
	return s
}

// Server gives an http.Server for the handler that does not let slow or
// oversized requests hold it up. Answers may be without end, so the time for
// writing is bounded by the handler, route by route.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// OpenAPI gives the OpenAPI 3.1 document of the API. No service is needed.
func OpenAPI() ([]byte, error) { return newServer(Config{}).api.OpenAPI().MarshalJSON() }

// OpenAPI30 gives the same as OpenAPI 3.0, for generators that read no later one.
func OpenAPI30() ([]byte, error) { return newServer(Config{}).api.OpenAPI().Downgrade() }
