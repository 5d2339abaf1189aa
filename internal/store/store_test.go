package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/store/storetest/postgres"
)

func TestMain(m *testing.M) {
	if mode, path, found := strings.Cut(os.Getenv(interrupted), "="); found {
		if err := writeUntilKilled(path, mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(postgres.Main(m))
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t testing.TB) *store.Store { return storetest.New(t) })
}

func TestPostgreSQL(t *testing.T) {
	storetest.Run(t, func(t testing.TB) *store.Store { return storetest.Open(t, store.Config{URL: postgres.New(t)}) })
}

// onBoth runs a test with the configuration of a fresh database of each kind.
func onBoth(t *testing.T, test func(t *testing.T, cfg store.Config)) {
	t.Run("SQLite", func(t *testing.T) {
		test(t, store.Config{Path: filepath.Join(t.TempDir(), "data", "portal.db")})
	})
	t.Run("PostgreSQL", func(t *testing.T) { test(t, store.Config{URL: postgres.New(t)}) })
}

// old has, for each version of the schema, what a portal of that version stored
// in the tables that it brought.
var old = map[int64]string{
	1: `INSERT INTO agents (id, id_key, name, name_key, tier, domain, runtime, template, customer_id, revision, deployed_revision,
		state, health, health_reason, lock_version, active_operation, failure, created_at, updated_at, words)
		VALUES ('one', 'one', 'One', 'one', 4, 'scale', 'process', '', '', 1, 0, 'DRAFT', 'unknown', '', 3, '', '', 1700000000000001, 1700000000000002, 'one');
	 INSERT INTO agent_specs VALUES ('one', '{"id":"one","name":"One","tier":4,"labels":{"a":"b"}}');
	 INSERT INTO agent_labels VALUES ('one', 'a', 'b');
	 INSERT INTO agent_revisions VALUES ('one', 1, '{"name":"One"}', 'system', '', 1700000000000001);
	 INSERT INTO agent_states VALUES ('01900000-0000-7000-8000-000000000001', 'one', 'DRAFT', '', '{"a":1}', 'system', 1700000000000001)`,
	2: `INSERT INTO operations VALUES ('op', 'agent.start', 'one', '', 'RUNNING', '', '', '', '', 0, 1, 'system', '', '', '', 1700000000000001, NULL, NULL);
	 INSERT INTO operation_steps VALUES ('op', 0, 'check', 'pending', 0, '', '', NULL, NULL)`,
	3: `UPDATE event_head SET seq = 1;
	 INSERT INTO events VALUES (1, 'agent:created', 'one', '["agents"]', 'system', 1700000000000001, '{}');
	 INSERT INTO event_rooms VALUES ('agents', 1)`,
	4: `INSERT INTO tokens (id, name, role, hash, created_by, created_at) VALUES ('t', 'ci', 'viewer', 'h', 'system', 1700000000000001)`,
	5: `INSERT INTO ports VALUES (20000, 'one', 0)`,
	6: `INSERT INTO users VALUES ('u', 'a@example.com', 'A', 'google', 's', '', '', '', 1700000000000001, NULL, NULL)`,
	7: `INSERT INTO preferences VALUES ('user:1', 'agents/views/a', '{}', 1700000000000001)`,
	8: `INSERT INTO alerts VALUES ('a', 'r', 'Down', 'critical', 'firing', 'one', 0, 1700000000000001, NULL, '{"id":"a"}');
	 INSERT INTO alert_receivers VALUES ('w', 'ops', '{"id":"w"}');
	 INSERT INTO alert_dispatches VALUES ('w', 'g', 1700000000000001, '{}')`,
	9:  `INSERT INTO webhooks VALUES ('w', 'ops', '{"name":"Ops","url":"https://a.example/"}', '{"cursor":1}', 1)`,
	10: `INSERT INTO diagnoses VALUES ('01900000-0000-7000-8000-000000000001', 'agent/one', 'one', 'demand', 'system', 'ok', 'One', '[]', 1700000000000001, 1700000000000002)`,
	11: `INSERT INTO incidents VALUES ('i', 'one', 'open', 'permanent', 'crash_loop', 'f', 1, 1700000000000001, 1700000000000002, NULL, 1, 3, '{"id":"i"}');
	 INSERT INTO recovery_state VALUES ('cursor', '3')`,
}

// TestMigrate opens databases of every earlier version, with data in them.
func TestMigrate(t *testing.T) {
	for version := range old {
		t.Run(fmt.Sprint("from ", version), func(t *testing.T) {
			onBoth(t, func(t *testing.T, cfg store.Config) { migrateFrom(t, cfg, version) })
		})
	}
}

func migrateFrom(t *testing.T, cfg store.Config, version int64) {
	ctx := t.Context()
	latest, err := store.At(ctx, cfg, version, func(db *bun.DB) error {
		for _, earlier := range slices.Sorted(maps.Keys(old)) {
			if earlier > version {
				break
			}
			if _, err := db.ExecContext(ctx, old[earlier]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if old[latest] == "" {
		t.Fatalf("the latest version is %d: add what a portal of version %d stores to old", latest, latest)
	}
	s := storetest.Open(t, cfg)
	a, err := s.Agents().Get(ctx, "ONE")
	if err != nil || a.LockVersion != 3 || a.Spec.Labels["a"] != "b" || a.UpdatedAt.UnixMicro() != 1700000000000002 {
		t.Errorf("agent %+v, %v", a, err)
	}
	if version >= 2 {
		op, err := s.Operations().Get(ctx, "op")
		if err != nil || len(op.Steps) != 1 {
			t.Errorf("operation %+v, %v", op, err)
		}
	}
	// The store works on, whatever it was before.
	if err := s.Events().Append(ctx, event.Event{Type: event.AgentUpdated, Rooms: []string{"agents"}}); err != nil {
		t.Error(err)
	}
	list, err := s.Events().Find(ctx, event.Query{Rooms: []string{"agents"}})
	want := 1
	if version >= 3 {
		want = 2
	}
	if err != nil || len(list) != want || list[want-1].Seq != int64(want) {
		t.Errorf("events %+v, %v", list, err)
	}
}

// TestFailedMigration meets a schema that a migration does not fit: the
// database stays at the version before, with what is in it.
func TestFailedMigration(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		ctx := t.Context()
		_, err := store.At(ctx, cfg, 1, func(db *bun.DB) error {
			_, err := db.ExecContext(ctx, old[1]+"; CREATE TABLE bulks (mine TEXT)")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.Open(ctx, cfg)
		if f := fault.As(err); f == nil || f.Code != "store.migration_failed" || strings.Contains(f.Error(), "TABLE") {
			t.Fatalf("got %v", err)
		}
		_, err = store.At(ctx, cfg, 1, func(db *bun.DB) error {
			var agents int
			if err := db.NewRaw("SELECT count(*) FROM agents").Scan(ctx, &agents); err != nil || agents != 1 {
				t.Errorf("%d agents, %v", agents, err)
			}
			if _, err := db.ExecContext(ctx, "SELECT * FROM operations"); err == nil {
				t.Error("half of the migration is left")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestMigrateDown takes the schema back, so that the way down is known to work.
func TestMigrateDown(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		s := storetest.Open(t, cfg)
		if err := store.Down(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		again := storetest.Open(t, cfg)
		if err := again.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOpenTogether opens one new database from several places at once, as a
// server and a command line beside it do.
func TestOpenTogether(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		opened := make(chan error)
		for range 4 {
			go func() {
				s, err := store.Open(t.Context(), cfg)
				if err == nil {
					err = s.Close()
				}
				opened <- err
			}()
		}
		for range 4 {
			if err := <-opened; err != nil {
				t.Error(err, errors.Unwrap(err))
			}
		}
	})
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		s := storetest.Open(t, cfg)
		_, err := store.Raw(s).ExecContext(t.Context(), "INSERT INTO schema_versions (version_id, is_applied) VALUES (999, true)")
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.Open(t.Context(), cfg)
		if f := fault.As(err); f == nil || f.Code != "store.newer" || f.Remedy == "" {
			t.Fatalf("got %v", err)
		}
	})
}

// TestOtherProcess has two stores on one database: what one commits wakes the
// watchers of the other, and both write.
func TestOtherProcess(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		ctx, here, there := t.Context(), storetest.Open(t, cfg), storetest.Open(t, cfg)
		wake, stop := here.Events().Watch()
		defer stop()
		for n := 1; n <= 3; n++ {
			if err := there.Events().Append(ctx, event.Event{Type: event.AgentUpdated}); err != nil {
				t.Fatal(err)
			}
			waitFor(t, wake, func() bool {
				_, newest, err := here.Events().Bounds(ctx)
				return err == nil && newest == int64(n)
			})
		}
		done := make(chan error)
		for _, s := range []*store.Store{here, there} {
			go func() {
				var err error
				for range 20 {
					err = errors.Join(err, s.Events().Append(ctx, event.Event{Type: event.AgentUpdated}))
				}
				done <- err
			}()
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatal(err)
		}
		if _, newest, err := here.Events().Bounds(ctx); err != nil || newest != 43 {
			t.Fatalf("newest %d, %v", newest, err)
		}
	})
}

// waitFor takes wakes until what they announce is there.
func waitFor(t *testing.T, wake <-chan struct{}, there func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case <-wake:
			if there() {
				return
			}
		case <-late:
			t.Fatal("not woken")
		}
	}
}

// TestBrokenConnection breaks every connection to the server: the store says
// so, or connects anew, and goes on, watchers too.
func TestBrokenConnection(t *testing.T) {
	cfg := store.Config{URL: postgres.New(t)}
	ctx, s, other := t.Context(), storetest.Open(t, cfg), storetest.Open(t, cfg)
	wake, stop := s.Events().Watch()
	defer stop()
	err := s.Do(ctx, func(ctx context.Context) error {
		if err := s.Events().Append(ctx, event.Event{Type: event.AgentUpdated}); err != nil {
			return err
		}
		postgres.Disconnect(t, cfg.URL)
		return s.Events().Append(ctx, event.Event{Type: event.AgentUpdated})
	})
	if !fault.Is(err, fault.Unavailable) || strings.Contains(strings.ToLower(err.Error()), "insert") {
		t.Fatalf("got %v", err)
	}
	lost := 0
	for ; s.Ping(ctx) != nil; lost++ {
		if lost > 20 {
			t.Fatal("does not connect anew")
		}
	}
	for other.Events().Append(ctx, event.Event{Type: event.AgentUpdated}) != nil {
		if lost++; lost > 20 {
			t.Fatal("does not connect anew")
		}
	}
	waitFor(t, wake, func() bool {
		_, newest, err := s.Events().Bounds(ctx)
		return err == nil && newest == 1 // what was in the broken transaction is gone
	})
}

// TestCommitUnknown breaks the connection under a commit.
func TestCommitUnknown(t *testing.T) {
	cfg := store.Config{URL: postgres.New(t)}
	s := storetest.Open(t, cfg)
	err := s.Do(t.Context(), func(ctx context.Context) error {
		defer postgres.Disconnect(t, cfg.URL)
		return s.Events().Append(ctx, event.Event{Type: event.AgentUpdated})
	})
	if f := fault.As(err); f == nil || f.Code != "store.commit_unknown" {
		t.Fatalf("got %v", err)
	}
}

func TestLock(t *testing.T) {
	cfg := store.Config{URL: postgres.New(t)}
	ctx, one, two := t.Context(), storetest.Open(t, cfg), storetest.Open(t, cfg)
	write := func(s *store.Store) error { return s.Events().Append(ctx, event.Event{Type: event.AgentUpdated}) }
	for range 2 { // it may be taken again by the one that has it
		if err := one.Lock(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.Lock(ctx); !fault.Is(err, fault.Conflict) {
		t.Fatalf("got %v", err)
	}
	if err := write(two); err != nil { // as the command line does beside a running portal
		t.Fatal(err)
	}
	postgres.Disconnect(t, cfg.URL)
	eventually(t, func() error { return two.Lock(ctx) })
	// The first one has lost the database without having been told; it may no
	// longer write.
	eventually(t, func() error {
		if err := write(one); !fault.Is(err, fault.Conflict) {
			return fmt.Errorf("want a conflict, got %w", err)
		}
		return nil
	})
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return write(one) }) // it has it again

	sqlite := storetest.New(t)
	if err := errors.Join(sqlite.Lock(ctx), sqlite.Lock(ctx)); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	late := time.After(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

func TestUnreachableDatabaseIsTold(t *testing.T) {
	for _, url := range []string{"postgres://portal:hush@127.0.0.1:1/portal?sslmode=disable", "postgres://portal:hush@[::1", "mysql:hush@x"} {
		_, err := store.Open(t.Context(), store.Config{URL: url})
		f := fault.As(err)
		if f == nil || f.Remedy == "" {
			t.Fatalf("got %v", err)
		}
		for e := error(f); e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "hush") {
				t.Errorf("the password is told: %v", e)
			}
		}
	}
	if _, err := store.Open(t.Context(), store.Config{}); !fault.Is(err, fault.Invalid) {
		t.Fatalf("got %v", err)
	}
}

// TestWriteOutsideOfItsTransaction gives a write inside of a Do the wrong
// context: it waits, but not longer than its context.
func TestWriteOutsideOfItsTransaction(t *testing.T) {
	s := storetest.New(t)
	err := s.Do(t.Context(), func(context.Context) error {
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return s.Agents().SaveHealth(short, "x", agent.HealthHealthy, "", time.Now())
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}
