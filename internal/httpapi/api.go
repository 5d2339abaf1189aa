// Package httpapi is the portal's HTTP API: one table of routes with the role
// that each needs, and handlers that call the services of the domain. What
// every request passes is in the package door, and further areas of the API are
// packages of their own.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/txn"
)

// AgentService changes agents. See agent.Service.
type AgentService interface {
	Create(ctx context.Context, spec agent.Spec) (*agent.Agent, []string, error)
	Patch(ctx context.Context, id string, ifMatch int64, mergePatch map[string]any, reason string) (*agent.Agent, []string, error)
	Delete(ctx context.Context, id string, ifMatch int64) error
	Import(ctx context.Context, docs []map[string]any, opt agent.ImportOptions) (agent.ImportResult, error)
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

// Steward knows what agents hold where, and moves them. See fleet.Service.
type Steward interface {
	Account(ctx context.Context, agentID string) (*fleet.Account, error)
	Orphans(ctx context.Context) ([]fleet.Orphan, []string, error)
	RemoveOrphan(ctx context.Context, runtime, agentID, reason string) (*fleet.Orphan, error)
	QuotaUses(ctx context.Context) ([]fleet.QuotaUse, error)
	AdoptDrift(ctx context.Context, agentID string, ifMatch int64, reason string) (a *agent.Agent, warnings []string, err error)
	PlanAdoption(ctx context.Context, agentID string) (*fleet.Adoption, error)
	PlanMove(ctx context.Context, agentID string, opt fleet.MoveOptions) (*fleet.MovePlan, error)
	Move(ctx context.Context, agentID string, opt fleet.MoveOptions) (*operation.Operation, error)
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
}

// Auth is who may come in and what they may do. See auth.Service.
type Auth interface {
	door.Auth
	Grants
	TokenService
	OwnSessions
	Users
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

// Version says what was built.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"`
}

// Config is all that the API stands on.
type Config struct {
	Agents      AgentService
	AgentStore  door.Agents
	History     AgentHistory
	Fleet       Fleet
	Steward     Steward
	Compose     AdoptFrom
	Workloads   AdoptNamespace
	Operations  Operations
	Bulks       Bulks
	Probes      ProbeHistory
	Queues      Queues
	Recorder    *audit.Recorder
	Auth        Auth
	Keys        KeySet // nil: there are no access tokens
	Idempotency auth.IdempotencyStore
	Tx          txn.Runner
	Live        Live
	// Observe is what the routes stand on that tell what happens.
	Observe observe.Config
	// Pages are the routes of the web portal.
	Pages []door.Page
	// ErrorPage shows a problem in a browser; without one it gets JSON.
	ErrorPage func(w http.ResponseWriter, r *http.Request, p *door.Problem)
	Registry  *prometheus.Registry // the portal's own metrics; nil makes one
	Log       *slog.Logger         // nil means slog.Default()
	Now       func() time.Time     // nil means time.Now
	NewID     func() string
	Version   Version

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
	*door.Door
	cfg       Config
	followers chan struct{}
	document  document
}

// New makes the handler of the API.
func New(cfg Config) http.Handler { return newServer(cfg) }

func newServer(cfg Config) *server {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Recheck == 0 {
		cfg.Recheck = 5 * time.Second
	}
	if cfg.Failures == 0 {
		cfg.Failures = 300
	}
	s := &server{cfg: cfg, followers: make(chan struct{}, maxFollowers)}
	s.Door = door.New(door.Config{
		Table: Routes, Version: cfg.Version.Version, Agents: cfg.AgentStore, Operations: cfg.Operations, Recorder: cfg.Recorder, Auth: cfg.Auth,
		Idempotency: cfg.Idempotency, Tx: cfg.Tx, Pages: cfg.Pages, ErrorPage: cfg.ErrorPage, Registry: cfg.Registry, Log: cfg.Log, Now: cfg.Now,
		NewID: cfg.NewID, Listen: cfg.Listen, Hosts: cfg.Hosts, Key: cfg.Key, Secure: cfg.Secure, Failures: cfg.Failures, Recheck: cfg.Recheck,
		Settled: map[string]func(context.Context, string) (any, error){
			"bulk": func(ctx context.Context, id string) (any, error) { return s.bulkAnswer(ctx, id) },
		},
	})
	s.register()
	return s
}

// register registers every route.
func (s *server) register() {
	s.registerPortal()
	s.registerAgents()
	s.registerActions()
	s.registerAgentDetails()
	s.registerHoldings()
	s.registerOperations()
	s.registerBulk()
	observe.Register(s.Door, s.cfg.Observe)
	s.registerTokens()
	s.registerAccounts()
	s.registerSelf()
	s.registerLive()
	s.registerDocs()
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
func OpenAPI() ([]byte, error) { return newServer(Config{}).OpenAPI().MarshalJSON() }

// OpenAPI30 gives the same as OpenAPI 3.0, for generators that read no later one.
func OpenAPI30() ([]byte, error) { return newServer(Config{}).OpenAPI().Downgrade() }
