package drivetest

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// Write makes files below a directory, by their names.
func Write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Content is the digests of files by their names.
type Content map[string]string

// Digest reads all files below a directory.
func Digest(t *testing.T, dir string) Content {
	t.Helper()
	out := Content{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		rel, err := filepath.Rel(dir, name)
		out[rel] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Lacks names what is not there as it was before.
func (c Content) Lacks(before Content) (names []string) {
	for name, sum := range before {
		if c[name] != sum {
			names = append(names, name)
		}
	}
	return names
}

// KilledWhileCopying begins a move with data, kills the portal when the copy has begun
// and moment returns, and waits until the next one has ended the move.
func (p *Pilot) KilledWhileCopying(agent, to string, moment func()) {
	p.Helper()
	var answer struct {
		Operation struct{ ID string }
	}
	if err := p.Call(p.Ctx, http.MethodPost, "/agents/"+agent+"/move", map[string]any{"runtime": to, "copy_data": true}, &answer); err != nil {
		p.Fatal(err)
	}
	err := drive.Poll(p.Ctx, 5*time.Millisecond, func() (bool, error) {
		var op struct {
			Steps []struct{ Name, State string }
		}
		err := p.Call(p.Ctx, http.MethodGet, "/operations/"+answer.Operation.ID, nil, &op)
		for _, s := range op.Steps {
			if s.Name == "copy" && strings.EqualFold(s.State, "RUNNING") {
				return true, err
			}
		}
		return false, err
	})
	if err != nil {
		p.Fatalf("the copy has not begun: %v", err)
	}
	moment()
	if err := p.Kill9(); err != nil {
		p.Fatal(err)
	}
	if err := p.Start(p.Ctx); err != nil {
		p.Fatal(err)
	}
	err = drive.Poll(p.Ctx, 50*time.Millisecond, func() (bool, error) {
		a, err := p.Agent(p.Ctx, agent)
		return a.ActiveOperation == "", err
	})
	if err != nil {
		p.Fatal(err)
	}
	p.Until(agent, "RUNNING", "healthy")
}
