package bus_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/fault"
)

// A folder that can't be read back is named, with what to do about it.
func TestDamagedFolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	cfg := bus.Config{Dir: dir}
	b, err := bus.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "port" {
			return err
		}
		return os.WriteFile(path, []byte(strings.Repeat("these are not the bytes ", 100)), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, err = bus.New(cfg); err != nil {
		t.Fatal(err)
	}
	err = b.Start(t.Context())
	if err == nil {
		t.Fatal("started")
	}
	f := fault.As(err)
	if f == nil || !strings.Contains(f.What, dir) || f.Why == "" || !strings.Contains(f.Remedy, "move it away") {
		t.Errorf("gave %v", err)
	}
}
