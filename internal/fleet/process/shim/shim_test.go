package shim_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
)

// FuzzParseRecord holds that no content of a state file does harm, and that
// what is accepted can be acted upon.
func FuzzParseRecord(f *testing.F) {
	good, err := json.Marshal(shim.Record{
		Instance: fleet.Instance{ID: "a-r1-0", AgentID: "a", State: fleet.InstanceRunning, LastLogs: []string{"x"}},
		Shim:     procfs.Of(os.Getpid()), Boot: procfs.BootID(),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"Instance":{"id":"x","state":"running"},"Shim":{"pid":-1}}`))
	f.Add([]byte(`{"Instance":{"id":"x","state":"running","exit_code":1e99}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := shim.ParseRecord(b)
		if err != nil {
			return
		}
		if rec.Instance.ID == "" || rec.Instance.State == "" || rec.Shim.PID <= 0 {
			t.Fatalf("accepted %+v", rec)
		}
		rec.Living()
	})
}

func TestARecordOfAnotherBootIsDead(t *testing.T) {
	rec := shim.Record{Shim: procfs.Of(os.Getpid()), Boot: procfs.BootID()}
	if !rec.Living() {
		t.Error("this process lives")
	}
	rec.Boot = "another"
	if rec.Living() {
		t.Error("it ran before the machine did")
	}
}

func TestACallToNobodySaysSo(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "none")} {
		if _, err := shim.Call(context.Background(), d, shim.Request{Op: shim.OpStatus}); !errors.Is(err, shim.ErrNoShim) {
			t.Errorf("got %v", err)
		}
	}
	shim.Poke(filepath.Join(dir, "none"), "agent") // is of no consequence
}

func TestDiskUseCountsEachFileOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	one := shim.DiskUse(dir)
	if err := errors.Join(os.Link(file, filepath.Join(dir, "b")), os.Symlink("/usr", filepath.Join(dir, "c"))); err != nil {
		t.Fatal(err)
	}
	if two := shim.DiskUse(dir, filepath.Join(dir, "none")); one < 1<<20 || two > one+8192 {
		t.Errorf("%d bytes, then %d", one, two)
	}
}
