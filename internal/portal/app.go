package portal

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/waooaw/platform-portal/agents"
	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/engine"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/jwt"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/live"
	"github.com/waooaw/platform-portal/internal/logdb"
	"github.com/waooaw/platform-portal/internal/logs"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/oidc"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/passkey"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/web"
	"github.com/waooaw/platform-portal/internal/web/view"
	"github.com/waooaw/platform-portal/internal/webhook"
)

// app is the assembled portal.
type app struct {
	cfg   Config
	build Build
	log   *slog.Logger
	// ownLog are the last lines of log; it is not nil.
	ownLog *recent

	store      *store.Store
	bus        *bus.Bus
	runtimes   runtimes
	machine    *process.Runtime
	engine     *engine.Engine
	audit      *audit.Recorder
	auth       *auth.Service
	tokens     *jwt.Tokens
	keys       *auth.Keyring
	provider   *oidc.Provider // nil where none is configured
	passkeys   *passkey.Authority
	agents     *agent.Service
	operations *operation.Service
	fleet      *fleet.Service
	reconciler *fleet.Reconciler
	checker    *health.Checker
	bulk       *bulk.Service
	recovery   *recovery.Service
	diagnosis  *diagnosis.Service
	windows    *metrics.Windows
	scraper    *metrics.Scraper
	figures    *metrics.History
	series     keeper
	seriesNote func(context.Context) string // nil: there is nothing to be known
	recorder   *metrics.Recorder
	registry   *prometheus.Registry
	logStore   *logdb.DB
	collector  *logs.Collector
	logs       *logs.Service
	webhooks   *webhook.Service
	alerts     *alert.Service
	site       *web.Server
	hub        *live.Hub
	handler    http.Handler

	group lifecycle.Group
	ready atomic.Bool
}

// now gives the time as it is stored: UTC, microseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// steady gives the time to plan and measure with. It carries the monotonic
// reading, which UTC and Truncate strip: without it no probe would be sent for
// an hour after the clock is set back by one.
func steady() time.Time {
	t := time.Now()
	return t.Add(-time.Duration(t.Nanosecond() % 1000))
}

// newID gives a UUID that sorts by time.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// openStore opens the database of the configuration.
func openStore(ctx context.Context, cfg Config, log *slog.Logger) (*store.Store, error) {
	if cfg.DatabaseURL == "" {
		if err := emptied(cfg.Data); err != nil {
			return nil, err
		}
	}
	return store.Open(ctx, store.Config{Path: filepath.Join(cfg.Data, "portal.db"), URL: cfg.DatabaseURL, Now: now, Log: log})
}

// assemble opens the store and makes all parts; nothing runs yet.
func assemble(ctx context.Context, cfg Config, build Build, log *slog.Logger, ownLog *recent) (*app, error) {
	a := &app{cfg: cfg, build: build, log: log, ownLog: ownLog}
	key, err := masterKey(cfg.Data, log)
	if err != nil {
		return nil, err
	}
	if a.store, err = openStore(ctx, cfg, log); err != nil {
		return nil, err
	}
	if err := a.store.Lock(ctx); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	if err := a.openRuntimes(key); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	a.access(key)
	if err := a.ways(ctx); err != nil {
		return nil, errors.Join(err, a.runtimes.close(), a.store.Close())
	}
	if err := a.engines(); err != nil {
		return nil, errors.Join(err, a.runtimes.close(), a.store.Close())
	}
	if err := a.collect(); err != nil {
		return nil, errors.Join(err, a.runtimes.close(), a.store.Close())
	}
	a.services()
	a.handler = a.edge()
	return a, nil
}

// access makes what decides who may do what, and keeps the record of it.
func (a *app) access(key []byte) {
	s := a.store
	a.audit = &audit.Recorder{Store: s.Audit(), Now: now}
	a.tokens = &jwt.Tokens{Key: key, Issuer: a.cfg.PublicURL, Now: now, NewID: newID}
	a.auth = &auth.Service{
		Tokens: s.Tokens(), Links: s.Links(), Users: s.Users(), Sessions: s.Sessions(), Passkeys: s.Passkeys(), Flows: s.Flows(), Attempts: s.Attempts(),
		Access: a.tokens, Rules: slices.Concat(a.cfg.Admins, a.cfg.Operators, a.cfg.Viewers), Key: key, Tx: s, Audit: a.audit, Events: s.Events(), Now: now, NewID: newID,
	}
	a.keys = &auth.Keyring{Key: key, Store: s.Credentials(), Tx: s, Audit: a.audit, Now: now}
}

// engines makes what work and messages run on.
func (a *app) engines() (err error) {
	a.bus, err = bus.New(bus.Config{
		Dir: filepath.Join(a.cfg.Data, "nats"), Listen: a.cfg.BusListen, URL: a.cfg.BusURL,
		Verify: a.keys.Verify, OnDeadLetter: a.deadLetter, Log: a.log,
	})
	a.operations = &operation.Service{Store: a.store.Operations(), Tx: a.store, Events: a.store.Events(), Audit: a.audit, Now: now, NewID: newID, Log: a.log}
	a.engine = engine.New(engine.Config{
		Path: filepath.Join(a.cfg.Data, "engine.db"), URL: a.cfg.DatabaseURL, Executor: a.operations, Log: a.log,
	})
	a.operations.Engine = a.engine
	if err == nil {
		a.series, a.seriesNote, err = a.keeper()
	}
	return err
}

// services makes the domain's services and connects them.
func (a *app) services() {
	s, events := a.store, a.store.Events()
	a.agents = &agent.Service{Store: s.Agents(), History: s.History(), Tx: s, Audit: a.audit, Events: events, Now: now, NewID: newID, Runtimes: slices.Sorted(maps.Keys(a.runtimes.byName()))}
	a.checker = &health.Checker{Agents: s.Agents(), Store: s.Health(), Tx: s, Events: events, Audit: a.audit, Now: steady, Log: a.log}
	a.fleet = &fleet.Service{
		Agents: s.Agents(), History: s.History(), AgentSvc: a.agents, Specs: a.agents, Quotas: a.cfg.Quotas, Ops: a.operations,
		Runtimes: a.runtimes.byName(), Observed: s.Instances(), Broker: a.bus, Keys: a.keys,
		Secrets: fleet.SecretDir{Dir: a.cfg.SecretsDir}, Prober: a.checker, Monitor: a.checker, Tx: s, Audit: a.audit, Events: events,
		Now: now, NewID: newID, Log: a.log, PortalURL: a.cfg.PublicURL, PortFrom: a.cfg.PortFrom, PortTo: a.cfg.PortTo,
		UndoWindow: a.cfg.UndoWindow, SelfCommand: []string{a.build.Self}, Templates: agents.Names(),
		Holder: holder,
	}
	a.fleet.Register()
	a.reconciler = &fleet.Reconciler{Service: a.fleet}
	a.measure()
	a.fleet.Changed = func(id string) {
		a.reconciler.Poke(id)
		a.scraper.Poke()
		a.collector.Poke(id)
		a.hub.Touch(rows(id)...)
	}
	a.checker.Changed = a.fleet.Changed
	a.checker.Remedy = a.reconciler
	a.bulk = &bulk.Service{
		Store: s.Bulks(), Agents: s.Agents(), Operations: a.operations, Actor: bulk.ActFunc(a.bulkAct), Tx: s, Events: events,
		Audit: a.audit, Now: now, NewID: newID,
	}
	a.bulk.Register()
	a.recovery = &recovery.Service{
		Store: s.Incidents(), Memory: s.Incidents(), Decided: s.Incidents(), Agents: s.Agents(), History: s.History(), Editor: a.agents, Fleet: a.fleet,
		Ops: a.operations, Machine: a.machine, Queues: a.bus, Letters: a.bus, Keys: a.keys, Probes: s.Health(), Tx: s, Audit: a.audit,
		Events: events, Now: now, NewID: newID, Log: a.log, UndoTime: time.Hour,
	}
	a.recovery.Register()
	a.diagnose()
	a.outward()
	a.watch()
	a.site = a.web()
	a.hub = live.New(live.Config{Log: events, Viewer: a.site, Logger: a.log, Origins: a.cfg.Hosts})
	a.scraper.Changed = func(ids []string) { a.hub.Touch(append(rows(ids...), view.Fleet)...) }
}

// rows are the keys under which live updates show agents.
func rows(ids ...string) []string {
	keys := make([]string, 0, 2*len(ids)+1)
	for _, id := range ids {
		keys = append(keys, view.AgentKey(id), view.DetailKey(id))
	}
	return keys
}

// unusable explains why the files of agents can't be kept in the directory.
func unusable(dir string, err error) error {
	if fault.As(err) != nil {
		return err
	}
	return fault.New(fault.Unavailable, "data.unusable", "The data directory %s can't be used", dir).
		Because("%v", err).Do("Remove or correct what is in the way, or choose another with --data.").Wrap(err)
}

// bulkAct lets a bulk operation act on one agent.
func (a *app) bulkAct(ctx context.Context, id string, action agent.Action, o bulk.ActOptions) (*operation.Operation, error) {
	return a.fleet.Act(ctx, id, action, fleet.ActOptions{OperationID: o.OperationID, ParentID: o.ParentID, Reason: o.Reason})
}

// start runs the services in order; what others need comes first.
func (a *app) start(ctx context.Context) error {
	if err := a.store.BeginPorts(ctx, a.cfg.PortFrom+rand.IntN(a.cfg.PortTo-a.cfg.PortFrom+1)); err != nil {
		return err
	}
	services := []lifecycle.Service{ // one on a line, so that merges of two that are added keep both
		a.bus,
		a.series,
		a.checker,
		a.reconciler,
		a.engine,
		a.hub,
		a.scraper,
		a.recorder,
		a.logStore,
		a.collector,
		a.diagnosis,
		&webhook.Deliverer{Service: a.webhooks},
		&recovery.Recorder{Service: a.recovery},
		a.alerts,
		&retention{store: a.store, cfg: a.cfg, now: now, log: a.log},
	}
	if err := a.group.Start(ctx, services...); err != nil {
		return err
	}
	if err := a.operations.Recover(auth.With(ctx, auth.System)); err != nil {
		return errors.Join(err, a.stop())
	}
	a.ready.Store(true)
	return nil
}

// draining lets live connections end, so that the HTTP server can.
func (a *app) draining() {
	a.ready.Store(false)
	a.logs.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := a.hub.Stop(ctx); err != nil {
		a.log.Warn("live connections did not end in time", "err", err)
	}
}

// stop stops the services in reverse.
func (a *app) stop() error {
	a.ready.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return a.group.Stop(ctx)
}

// close gives back what assemble opened.
func (a *app) close() {
	if err := errors.Join(a.runtimes.close(), a.store.Close()); err != nil {
		a.log.Warn("can't close everything", "err", strings.TrimSpace(err.Error()))
	}
}
