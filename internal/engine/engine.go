// Package engine runs operations durably on DBOS, whose tables are kept in a
// SQLite file of their own or in a schema of the portal's PostgreSQL.
//
// DBOS sees an operation as a workflow with the operation's id, and each
// completed step as a checkpoint. What pages show is never read from it: the
// tables of package operation are the truth, and the engine can be lost
// without losing an operation.
package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // the dialect for SQLiteSystemDB
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/operation"
)

const (
	appName = "platform-portal"
	// version is pinned: DBOS goes on only with workflows of its own version,
	// which by default is a hash of the binary, and an upgraded portal must go on
	// with what the old one began.
	version      = "1"
	workflowName = "operation"
	// stopTime is how long Stop waits for running steps if its context has no deadline.
	stopTime = 30 * time.Second
)

// Config says where the engine keeps its memory.
type Config struct {
	Path     string             // SQLite file; made if it is not there
	URL      string             // PostgreSQL; wins over Path
	Executor operation.Executor // what does the work
	Log      *slog.Logger       // nil means slog.Default()
	// Replica names this portal among those that share a PostgreSQL. It must be
	// the same after a restart: a replica goes on with its own operations. ""
	// means "local".
	Replica string
	// Keep is how long a finished operation stays in the engine's tables; 0 means 24 hours.
	Keep time.Duration
}

// Engine is an operation.Engine and a lifecycle.Service.
type Engine struct {
	cfg   Config
	log   *slog.Logger
	sweep lifecycle.Loop

	mu     sync.RWMutex // held for reading while an operation is handed over
	dbos   dbos.Context // nil while stopped
	ending *atomic.Bool // of dbos: it is being shut down
	active sync.Map     // id of each operation that is being executed
	again  sync.Mutex   // held while a finished workflow is replaced
}

// New gives an engine that is not started.
func New(cfg Config) *Engine {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Replica == "" {
		cfg.Replica = "local"
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 24 * time.Hour
	}
	return &Engine{cfg: cfg, log: cfg.Log.With("service", "engine")}
}

// Name is "engine".
func (e *Engine) Name() string { return "engine" }

// Start opens the engine's tables and goes on with what was interrupted. The
// Executor must be ready.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dbos != nil {
		return errors.New("already started")
	}
	ending := &atomic.Bool{}
	cfg := dbos.Config{
		AppName: appName, ApplicationVersion: version, ExecutorID: e.cfg.Replica,
		Logger: slog.New(quiet{e.log.Handler(), ending}),
	}
	if deadline, ok := ctx.Deadline(); ok {
		cfg.SystemDBStartupTimeout = max(time.Until(deadline), time.Millisecond)
	}
	closeDB, err := e.open(&cfg)
	if err != nil {
		return err
	}
	d, err := launch(cfg, e.execute)
	if err != nil {
		closeDB()
		if e.cfg.URL == "" {
			err = fmt.Errorf("%s: %w", e.cfg.Path, err)
		}
		return err
	}
	e.dbos, e.ending = d, ending
	return e.sweep.Go(e.retain)
}

// open sets the database in cfg.
func (e *Engine) open(cfg *dbos.Config) (closeDB func(), err error) {
	if e.cfg.URL != "" {
		pool, err := pgxpool.ParseConfig(e.cfg.URL)
		if err != nil {
			return nil, errors.New("the address of the PostgreSQL server is not valid")
		}
		pool.MaxConns = max(4, min(pool.MaxConns, 16))
		pool.MinConns = 0
		pool.MaxConnIdleTime = 5 * time.Minute
		cfg.SystemDBPool, err = pgxpool.NewWithConfig(context.Background(), pool)
		if err != nil {
			return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
		}
		return cfg.SystemDBPool.Close, nil
	}
	if err := e.setAside(); err != nil {
		return nil, err
	}
	// A handle of our own: the one that DBOS would open runs with
	// synchronous=NORMAL, which may lose the last hand-overs when the power fails.
	db, err := sql.Open("sqlite", source(e.cfg.Path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", e.cfg.Path, err)
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	cfg.SQLiteSystemDB = db
	return func() { _ = db.Close() }, nil
}

// source is how the driver is told of the file.
func source(path string) string {
	q := url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

func launch(cfg dbos.Config, fn dbos.Workflow[string, string]) (dbos.Context, error) {
	d, err := dbos.NewContext(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("open the engine's tables: %w", err)
	}
	if v := d.GetApplicationVersion(); v != version {
		_ = dbos.Shutdown(d, time.Second)
		return nil, fmt.Errorf("the environment sets DBOS__APPVERSION to %q; unset it, or interrupted operations are not found again", v)
	}
	// Without a bound of its own: package operation counts interruptions.
	dbos.RegisterWorkflow(d, fn, dbos.WithWorkflowName(workflowName), dbos.WithMaxRecoveryAttempts(0))
	if err := dbos.Launch(d); err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	return d, nil
}

// Stop ends the contexts of running steps and waits for them. What was running
// stays unfinished, to be gone on with at the next Start.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	d, ending := e.dbos, e.ending
	e.dbos = nil
	e.mu.Unlock()
	if d == nil {
		return nil
	}
	ending.Store(true)
	limit := stopTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(time.Until(deadline), time.Millisecond)
	}
	return errors.Join(e.sweep.Halt(ctx), dbos.Shutdown(d, limit))
}

// Submit hands an operation over. An operation that the engine has finished
// before is executed again, because its owner says that it is not final.
func (e *Engine) Submit(ctx context.Context, id string) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.dbos == nil {
		return fault.New(fault.Unavailable, "engine.stopped", "Operations can't be run now").
			Because("the portal is starting or stopping").Do("Try again in a moment.")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, running := e.active.Load(id); running {
		return nil
	}
	err := e.run(id)
	if !errors.Is(err, dbos.ErrWorkflowIDInUse) {
		return err
	}
	e.again.Lock()
	defer e.again.Unlock()
	done, err := e.finished(id)
	if err != nil || !done {
		return err
	}
	if err := dbos.DeleteWorkflows(e.dbos, []string{id}); err != nil {
		return fmt.Errorf("replace a finished workflow: %w", err)
	}
	return e.run(id)
}

func (e *Engine) run(id string) error {
	_, err := dbos.RunWorkflow(e.dbos, e.execute, id, dbos.WithWorkflowID(id),
		dbos.WithWorkflowIDReusePolicy(dbos.WorkflowIDReusePolicyReject))
	if err != nil && !errors.Is(err, dbos.ErrWorkflowIDInUse) {
		return fmt.Errorf("hand over an operation: %w", err)
	}
	return err
}

// finished tells whether DBOS will do nothing more for the workflow.
func (e *Engine) finished(id string) (bool, error) {
	list, err := dbos.ListWorkflows(e.dbos, dbos.WithFilterWorkflowIDs(id),
		dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return false, fmt.Errorf("look up a workflow: %w", err)
	}
	return len(list) == 0 || ended(list[0].Status), nil
}

func ended(s dbos.WorkflowStatusType) bool {
	switch s {
	case dbos.WorkflowStatusPending, dbos.WorkflowStatusEnqueued, dbos.WorkflowStatusDelayed:
		return false
	}
	return true
}

// execute is the one workflow. DBOS takes its return as the end of the
// workflow, unless the engine is being stopped. How the operation ended is in
// its own tables, so a failed operation is a workflow that ended well.
func (e *Engine) execute(ctx dbos.Context, id string) (string, error) {
	if _, twice := e.active.LoadOrStore(id, true); twice {
		return "", fmt.Errorf("operation %s is being executed already", id)
	}
	defer e.active.Delete(id)
	err := e.cfg.Executor.Execute(ctx, id, func(name string, fn func(context.Context) error) error {
		return e.step(ctx, id, name, fn)
	})
	if err != nil && ctx.Err() == nil {
		e.log.Error("an operation could not be run; it is tried again at the next start", "operation", id, "error", err)
	}
	return "", err
}

// step runs fn as a checkpointed step. The checkpoint only saves work: where it
// can't be read or written although the operation is still ours, the
// operation goes on without.
func (e *Engine) step(ctx dbos.Context, id, name string, fn func(context.Context) error) error {
	called := false
	var result error
	_, err := dbos.RunAsStep(ctx, func(ctx context.Context) (bool, error) {
		called = true
		result = fn(ctx)
		return true, result
	}, dbos.WithStepName(name))
	switch {
	case called && result != nil:
		return result
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.Is(err, dbos.ErrConflictingWorkflowID):
		return err
	}
	e.log.Warn("a step goes on without the engine's memory of it", "operation", id, "step", name, "error", err)
	if called {
		return nil
	}
	return fn(ctx)
}
