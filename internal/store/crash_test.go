package store_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// interrupted names, for the process that is to be killed, the file to write to.
const interrupted = "STORE_TEST_INTERRUPTED"

// writeUntilKilled writes more than its cache holds in one transaction that it
// never ends, so that half of it is in the file, and says so.
func writeUntilKilled(path, mode string) error {
	info, err := os.Stat(path)
	isNew := err != nil || info.Size() == 0
	db, err := sql.Open("sqlite", "file:"+path+"?_journal_mode="+mode+"&_synchronous=FULL&_pragma=cache_size(1)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	statements := []string{
		"BEGIN IMMEDIATE",
		"CREATE TABLE half_done AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 500) SELECT i, hex(randomblob(1000)) AS filler FROM n",
	}
	if !isNew {
		statements = append(statements, "UPDATE agents SET words = words || hex(randomblob(2000)), health_reason = 'half done'")
	}
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			return err
		}
	}
	if _, err := os.Stdout.WriteString("written\n"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the parent kills this process, or ends itself
	return err
}

// interrupt kills a process in the middle of a transaction on the file.
func interrupt(t *testing.T, path, mode string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), interrupted+"="+mode+"="+path)
	child.Stderr = os.Stderr
	hold, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := child.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = child.Wait() // it was killed
	if line != "written\n" {
		t.Fatalf("the process said %q, %v", line, readErr)
	}
}

// beside gives the size of the file that SQLite keeps beside the database.
func beside(t *testing.T, path, suffix string) int64 {
	t.Helper()
	info, err := os.Stat(path + suffix)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestKilledInATransaction opens a database whose last user was killed while it
// wrote: what was not committed is gone, the rest is there.
func TestKilledInATransaction(t *testing.T) {
	for mode, suffix := range map[string]string{"DELETE": "-journal", "TRUNCATE": "-journal", "WAL": "-wal"} {
		t.Run(mode, func(t *testing.T) {
			path := filled(t)
			interrupt(t, path, mode)
			if beside(t, path, suffix) == 0 {
				t.Fatal("nothing is left to undo")
			}
			s := storetest.Open(t, store.Config{Path: path})
			page, err := s.Agents().Find(t.Context(), agent.Query{Limit: 1000})
			if err != nil || page.Total != 300 {
				t.Fatalf("%d agents, %v", page.Total, err)
			}
			for _, a := range page.Agents {
				if a.HealthReason != "" {
					t.Fatalf("%s keeps what was not committed", a.ID)
				}
			}
			if err := storetest.Seed(t.Context(), s, 300, 1); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestKilledWhileNew opens a database whose maker was killed before anything was in it.
func TestKilledWhileNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portal.db")
	interrupt(t, path, "DELETE")
	if beside(t, path, "") == 0 || beside(t, path, "-journal") == 0 {
		t.Fatal("nothing is left to undo")
	}
	fill(t, storetest.Open(t, store.Config{Path: path}), 3)
}

// TestDamagedAndInterrupted damages a database whose last user was killed: it
// is refused, and what a repair may need stays as it is.
func TestDamagedAndInterrupted(t *testing.T) {
	for mode, suffix := range map[string]string{"DELETE": "-journal", "WAL": "-wal"} {
		t.Run(mode, func(t *testing.T) {
			path := filled(t)
			interrupt(t, path, mode)
			before := map[string][]byte{}
			for _, name := range []string{path, path + suffix} {
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				before[name] = data
			}
			data := before[path]
			for i := 8192; i < len(data); i++ {
				data[i] = byte(i * 31)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(t.Context(), store.Config{Path: path})
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			if f := fault.As(err); f == nil || f.Code != "store.corrupt" {
				t.Errorf("got %v", err)
			}
			for name, data := range before {
				if after, err := os.ReadFile(name); err != nil || !bytes.Equal(after, data) {
					t.Errorf("%s was changed: %v", filepath.Base(name), err)
				}
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.IsDir() {
					t.Errorf("%s was left behind", e.Name())
				}
			}
		})
	}
}
