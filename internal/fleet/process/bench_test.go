package process_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
)

// manyStates fakes the state files of n running instances, whose shim is the test.
func manyStates(t testing.TB, cfg process.Config, n int) {
	t.Helper()
	for i := range n {
		id := "agent" + itoa(i)
		rec := shim.Record{
			Instance: fleet.Instance{
				ID: id + "-r1-0", AgentID: id, Revision: 1, State: fleet.InstanceRunning, PID: os.Getpid(), Port: 20000 + i,
				StartedAt: time.Now(),
			},
			Process: procfs.Of(os.Getpid()), Shim: procfs.Of(os.Getpid()), Boot: procfs.BootID(),
		}
		dir := filepath.Join(cfg.Dir, id, "instances", rec.Instance.ID)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, shim.StateFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkObserve1000(b *testing.B) {
	dir := dataDir(b)
	cfg := config(dir)
	rt, err := process.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer rt.Close()
	manyStates(b, cfg, 1000)
	b.ReportAllocs()
	for b.Loop() {
		list, err := rt.Observe(context.Background(), "")
		if err != nil || len(list) != 1000 || list[0].State != fleet.InstanceRunning {
			b.Fatal(len(list), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/instance")
}

func BenchmarkLaunchToRunning(b *testing.B) {
	cfg := config(dataDir(b))
	rt := open(b, cfg)
	l := fleet.Launch{InstanceID: "bench-r1-0", AgentID: "bench", Revision: 1, Command: "/bin/sleep", Args: []string{"1000"}}
	for b.Loop() {
		if err := rt.Launch(context.Background(), l); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := rt.Stop(context.Background(), "bench", l.InstanceID, 0); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
