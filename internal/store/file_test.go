package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/database"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// filled makes a database file with agents in it and closes it.
func filled(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "portal.db")
	s := storetest.Open(t, store.Config{Path: path})
	fill(t, s, 300)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func fill(t testing.TB, s *store.Store, n int) {
	t.Helper()
	if err := storetest.Seed(t.Context(), s, 0, n); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedFile opens files that are not, or no longer, a database: each is
// refused with its name, and stays as it is.
func TestDamagedFile(t *testing.T) {
	for name, damage := range map[string]func(data []byte) []byte{
		"not a database":     func([]byte) []byte { return []byte("name: my agent\nruntime: process\n") },
		"first bytes lost":   func(data []byte) []byte { return data[100:] },
		"end lost":           func(data []byte) []byte { return data[:len(data)/2] },
		"a few bytes only":   func(data []byte) []byte { return data[:7] },
		"half a page":        func(data []byte) []byte { return data[:2000] },
		"schema overwritten": func(data []byte) []byte { clear(data[100:4096]); return data },
		"middle overwritten": func(data []byte) []byte {
			for i := len(data) / 3; i < len(data)*2/3; i++ {
				data[i] = byte(i * 31)
			}
			return data
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data = damage(data)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(t.Context(), store.Config{Path: path})
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			f := fault.As(err)
			if f == nil || f.Code != "store.corrupt" || !strings.Contains(f.What, path) || f.Why == "" || f.Remedy == "" {
				t.Errorf("got %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

// TestDamageFoundLater damages a file while it is open.
func TestDamageFoundLater(t *testing.T) {
	path := filled(t)
	s := storetest.Open(t, store.Config{Path: path})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	noise := bytes.Repeat([]byte{0xa5}, int(info.Size())-8192)
	if _, err := file.WriteAt(noise, 8192); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Agents().Find(t.Context(), agent.Query{Search: "customer", Limit: 1000})
	if f := fault.As(err); f == nil || f.Code != "store.corrupt" {
		t.Fatalf("got %v", err)
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := storetest.Open(t, store.Config{Path: filepath.Join(dir, "portal.db")})
	fill(t, s, 1)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPathWithOddCharacters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "50% of what? #1 'ü'")
	cfg := store.Config{Path: filepath.Join(dir, "por?tal#%20.db")}
	s := storetest.Open(t, cfg)
	fill(t, s, 1)
	if _, err := os.Stat(cfg.Path); err != nil {
		t.Error(err)
	}
	again := storetest.Open(t, cfg)
	if page, err := again.Agents().Find(t.Context(), agent.Query{}); err != nil || page.Total != 1 {
		t.Errorf("%d agents, %v", page.Total, err)
	}
}

func TestDirectoryThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "portal.db"), t.TempDir()} {
		_, err := store.Open(t.Context(), store.Config{Path: path})
		if f := fault.As(err); f == nil || f.Kind != fault.Unavailable || f.Why == "" || f.Remedy == "" {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// TestFullDisk lets the database grow no more: the change is refused with a
// reason, what was there before stays, and with space all goes on.
func TestFullDisk(t *testing.T) {
	ctx, s := t.Context(), storetest.New(t)
	fill(t, s, 50)
	var pages int
	if err := store.Raw(s).NewRaw("PRAGMA page_count").Scan(ctx, &pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		t.Helper()
		var now int
		if err := store.Raw(s).NewRaw("PRAGMA max_page_count = ?", n).Scan(ctx, &now); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages)
	err := storetest.Seed(ctx, s, 50, 200)
	f := fault.As(err)
	if f == nil || f.Code != "store.disk_full" || f.Kind != fault.Unavailable || f.Why == "" || f.Remedy == "" || strings.Contains(f.Error(), "INSERT") {
		t.Fatalf("got %v", err)
	}
	// A start on a full disk says so too, instead of a number of SQLite's.
	_, err = store.Raw(s).NewRaw("CREATE TABLE more AS SELECT * FROM agents").Exec(ctx)
	if f := fault.As(database.Unusable("portal.db", err)); f == nil || f.Code != "store.disk_full" || !strings.Contains(f.Why, "disk is full") {
		t.Errorf("opening gave %v", f)
	}
	if page, err := s.Agents().Find(ctx, agent.Query{}); err != nil || page.Total != 50 {
		t.Fatalf("%d agents, %v", page.Total, err)
	}
	limit(1 << 30)
	if err := storetest.Seed(ctx, s, 50, 200); err != nil {
		t.Fatal(err)
	}
}

// set changes how the connection that writes behaves.
func set(t *testing.T, s *store.Store, cfg store.Config, sqlite, postgres string) {
	t.Helper()
	statement := sqlite
	if cfg.URL != "" {
		statement = postgres
	}
	if _, err := store.Raw(s).ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// TestBusy holds the database against the store from outside.
func TestBusy(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		holder, s := storetest.Open(t, cfg), storetest.Open(t, cfg)
		set(t, s, cfg, "PRAGMA busy_timeout = 20", "SET lock_timeout = 20")
		err := holder.Do(t.Context(), func(context.Context) error {
			return s.Audit().Append(t.Context(), audit.Entry{Action: "a"})
		})
		if f := fault.As(err); f == nil || f.Code != "store.busy" || f.Kind != fault.Unavailable {
			t.Fatalf("got %v", err)
		}
		if err := s.Audit().Append(t.Context(), audit.Entry{Action: "a"}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestNoPermissionToWrite has a database that may only be read.
func TestNoPermissionToWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		s := storetest.Open(t, cfg)
		set(t, s, cfg, "PRAGMA query_only = 1", "SET default_transaction_read_only = on")
		err := s.Audit().Append(t.Context(), audit.Entry{Action: "a"})
		if f := fault.As(err); f == nil || f.Code != "store.read_only" || f.Remedy == "" {
			t.Fatalf("got %v", err)
		}
	})
}

// TestWhatPostgreSQLSays holds each trouble that a server can tell of to the
// answer that a user gets.
func TestWhatPostgreSQLSays(t *testing.T) {
	s := storetest.New(t)
	for state, code := range map[string]string{
		"23505": "store.taken", "23503": "store.orphan", "40P01": "store.busy", "57014": "store.busy", "53300": "store.busy",
		"53100": "store.disk_full", "08006": "store.unreachable", "57P01": "store.unreachable", "42501": "store.read_only",
		"XX001": "store.corrupt", "42P01": "store.failed",
	} {
		cause := &pgconn.PgError{Code: state, Message: "INSERT INTO secrets"}
		f := fault.As(s.Explain(t.Context(), fmt.Errorf("run: %w", cause)))
		if f == nil || f.Code != code || strings.Contains(f.Error(), "INSERT") || !errors.Is(f, cause) {
			t.Errorf("%s: got %v, want %s", state, f, code)
		}
	}
}

// TestReadersDoNotWait reads while a transaction is open.
func TestReadersDoNotWait(t *testing.T) {
	s := storetest.New(t)
	fill(t, s, 5)
	err := s.Do(t.Context(), func(ctx context.Context) error {
		if err := s.Agents().Delete(ctx, "id-agent-00001"); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		page, err := s.Agents().Find(short, agent.Query{})
		if err == nil && page.Total != 5 {
			err = errors.New("saw what was not committed")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheReadPoolCannotWrite holds reads to reading.
func TestTheReadPoolCannotWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		s := storetest.Open(t, cfg)
		if _, err := store.RawRead(s).ExecContext(t.Context(), "UPDATE event_head SET seq = 9"); err == nil {
			t.Fatal("wrote")
		}
	})
}

// TestUnforeseenErrorsTellNothing breaks the schema: the fault must not show SQL.
func TestUnforeseenErrorsTellNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg store.Config) {
		s := storetest.Open(t, cfg)
		if _, err := store.Raw(s).ExecContext(t.Context(), "DROP TABLE agent_labels"); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			storetest.Seed(t.Context(), s, 0, 1),
			func() error {
				_, err := s.Agents().Find(t.Context(), agent.Query{Selector: agent.Selector{{Key: "x", Op: "exists"}}})
				return err
			}(),
		} {
			f := fault.As(err)
			if f == nil || f.Kind != fault.Internal || strings.Contains(f.Error(), "agent_labels") || f.Err == nil {
				t.Fatalf("got %v", err)
			}
		}
	})
}
