package engine_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/waooaw/platform-portal/internal/engine"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
	"github.com/waooaw/platform-portal/internal/store/storetest/postgres"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		os.Exit(crashChild(dir, os.Getenv(crashURL)))
	}
	os.Exit(postgres.Main(m))
}

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestSQLite(t *testing.T) {
	operationtest.TestEngine(t, func(t *testing.T) func(operation.Executor) operationtest.Host {
		path := filepath.Join(t.TempDir(), "engine.db")
		return func(exec operation.Executor) operationtest.Host {
			return engine.New(engine.Config{Path: path, Executor: exec, Log: silent})
		}
	})
}

func TestPostgreSQL(t *testing.T) {
	operationtest.TestEngine(t, func(t *testing.T) func(operation.Executor) operationtest.Host {
		url := postgres.New(t)
		return func(exec operation.Executor) operationtest.Host {
			return engine.New(engine.Config{URL: url, Executor: exec, Log: silent})
		}
	})
}

func nothing(context.Context, string, operationtest.Do) error { return nil }

func start(t *testing.T, cfg engine.Config) *engine.Engine {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = silent
	}
	if cfg.Executor == nil {
		cfg.Executor = operationtest.Executor(nothing)
	}
	e := engine.New(cfg)
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, e) })
	return e
}

func stop(t *testing.T, e *engine.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestLifecycle(t *testing.T) {
	lifecycletest.Run(t, func(t *testing.T) lifecycle.Service {
		return engine.New(engine.Config{Path: filepath.Join(t.TempDir(), "engine.db"), Executor: operationtest.Executor(nothing), Log: silent})
	})
}

func TestOddPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with space & ?#%.db")
	stop(t, start(t, engine.Config{Path: path}))
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// The engine keeps its doings to itself: nothing on its output, and nothing in
// the log of a portal that does not debug.
func TestQuiet(t *testing.T) {
	var mu sync.Mutex
	var log strings.Builder
	locked := writer(func(b []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return log.Write(b) })
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = write
	ended := make(chan struct{})
	e := start(t, engine.Config{
		Path: filepath.Join(t.TempDir(), "engine.db"), Log: slog.New(slog.NewTextHandler(locked, nil)),
		Executor: operationtest.Executor(func(_ context.Context, _ string, do operationtest.Do) error {
			defer close(ended)
			return do("step", func(context.Context) error { return nil })
		}),
	})
	if err := e.Submit(t.Context(), "op"); err != nil {
		t.Error(err)
	}
	<-ended
	stop(t, e)
	os.Stdout = stdout
	_ = write.Close()
	out, err := io.ReadAll(read)
	if err != nil || len(out) > 0 {
		t.Errorf("printed %q, %v", out, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if log.Len() > 0 {
		t.Errorf("logged %s", log.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestBadDatabases(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]engine.Config{
		"no directory": {Path: filepath.Join(dir, "not", "there", "engine.db")},
		"bad address":  {URL: "postgres://user:hunter2@host:notaport/db"},
		"no server":    {URL: "postgres://user:hunter2@127.0.0.1:1/db"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Log, cfg.Executor = silent, operationtest.Executor(nothing)
			e := engine.New(cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := e.Start(ctx)
			if err == nil {
				t.Fatal("started")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the password: %v", err)
			}
			stop(t, e)
			if err := e.Submit(t.Context(), "op"); !fault.Is(err, fault.Unavailable) {
				t.Errorf("submit gave %v", err)
			}
		})
	}
}

// The file only saves work. A damaged one is kept under another name, and the
// engine runs operations with a new one.
func TestDamagedFileIsSetAside(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return []byte(strings.Repeat("this is no database ", 500)) },
		"cut off":     func(b []byte) []byte { return b[:len(b)/3] },
		"overwritten": func(b []byte) []byte { copy(b[8192:], strings.Repeat("x", len(b)/2)); return b },
		"emptied":     func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "engine.db")
			ran := make(chan string, 1)
			cfg := engine.Config{Path: path, Executor: operationtest.Executor(func(_ context.Context, id string, _ operationtest.Do) error {
				ran <- id
				return nil
			})}
			stop(t, start(t, cfg))
			takeIn(t, path)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := damage(whole)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			e := start(t, cfg)
			defer stop(t, e)
			if err := e.Submit(t.Context(), "op"); err != nil {
				t.Fatal(err)
			}
			if got := <-ran; got != "op" {
				t.Errorf("ran %q", got)
			}
			kept, err := filepath.Glob(path + ".damaged-*")
			if err != nil || len(bad) > 0 && len(kept) != 1 {
				t.Fatalf("kept %q, %v", kept, err)
			}
			if len(bad) > 0 {
				if got, err := os.ReadFile(kept[0]); err != nil || string(got) != string(bad) {
					t.Errorf("the damaged file was changed (%v)", err)
				}
			}
		})
	}
}

// takeIn moves what stands in the write-ahead log into the file. From a whole
// log the file would be mended as soon as it is opened.
func takeIn(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var busy, log, moved int
	if err := db.QueryRowContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil || busy != 0 {
		t.Fatalf("checkpoint: busy %d, %v", busy, err)
	}
}

func TestVersionFromEnvironment(t *testing.T) {
	t.Setenv("DBOS__APPVERSION", "other")
	e := engine.New(engine.Config{Path: filepath.Join(t.TempDir(), "engine.db"), Executor: operationtest.Executor(nothing), Log: silent})
	if err := e.Start(t.Context()); err == nil {
		t.Error("started with a version under which nothing is found again")
		stop(t, e)
	}
}

// Finished workflows do not pile up, and unfinished ones stay.
func TestSweep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "engine.db")
	const n = 30
	ended, begun := make(chan struct{}, n), make(chan struct{})
	e := start(t, engine.Config{Path: path, Keep: time.Nanosecond, Executor: operationtest.Executor(
		func(ctx context.Context, id string, do operationtest.Do) error {
			if id == "long" {
				close(begun)
				<-ctx.Done()
				return ctx.Err()
			}
			defer func() { ended <- struct{}{} }()
			return do("step", func(context.Context) error { return nil })
		})})
	if err := e.Submit(t.Context(), "long"); err != nil {
		t.Fatal(err)
	}
	<-begun
	for i := range n {
		if err := e.Submit(t.Context(), fmt.Sprint("op", i)); err != nil {
			t.Fatal(err)
		}
		<-ended
	}
	removed := 0
	for deadline := time.Now().Add(time.Minute); removed < n && time.Now().Before(deadline); {
		k, err := e.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		removed += k
	}
	if removed != n {
		t.Errorf("removed %d, want %d", removed, n)
	}
	stop(t, e)
	if k, err := e.Sweep(t.Context()); k != 0 || err != nil {
		t.Errorf("a stopped engine removed %d, %v", k, err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var flows, steps int
	if err := db.QueryRow("SELECT (SELECT count(*) FROM workflow_status), (SELECT count(*) FROM operation_outputs)").Scan(&flows, &steps); err != nil {
		t.Fatal(err)
	}
	if flows != 1 || steps != 0 {
		t.Errorf("%d workflows and %d steps are left, want the unfinished one", flows, steps)
	}
}

// Where the engine loses its file while it runs, operations still come to
// their end: its memory only saves work.
func TestGoesOnWithoutMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "engine.db")
	ended := make(chan error, 1)
	e := start(t, engine.Config{Path: path, Executor: operationtest.Executor(
		func(_ context.Context, _ string, do operationtest.Do) error {
			err := do("drop", func(context.Context) error {
				db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
				if err != nil {
					return err
				}
				defer db.Close()
				_, err = db.Exec("DROP TABLE operation_outputs")
				return err
			})
			if err == nil {
				err = do("after", func(context.Context) error { return nil })
			}
			ended <- err
			return err
		})})
	if err := e.Submit(t.Context(), "op"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the operation did not end")
	}
}
