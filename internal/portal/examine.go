package portal

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/diagnosis/checks"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/store"
)

// Examine makes the checks of the portal that need no running one, on this
// machine and the data directory. It changes nothing but what opening the store
// changes, and works beside a running portal.
func Examine(ctx context.Context, cfg Config) []diagnosis.Finding {
	list := append(machineChecks(cfg), listenCheck{cfg}, checks.Runtime("process", processReport),
		checks.Unavailable("queue_round_trip", "Messages can only be sent by a portal that runs: `portal diagnostics run`."))
	look := func(more ...diagnosis.Check) []diagnosis.Finding {
		return diagnosis.Look(ctx, append(list, more...), diagnosis.Portal, diagnosis.Subject{}, now, slog.New(slog.DiscardHandler))
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, "portal.db")); err != nil && cfg.DatabaseURL == "" {
		return look(checks.Unavailable("store_latency", "There is no database yet; the first start makes it."))
	}
	var found []diagnosis.Finding
	err := withStore(ctx, cfg, func(_ context.Context, s *store.Store) error {
		found = look(storeChecks(s)...)
		return nil
	})
	if err != nil {
		found = look(checks.Component("store", func(context.Context) error { return err }))
	}
	return found
}

// processReport says what the process runtime can enforce here.
func processReport(ctx context.Context) []fleet.Check {
	refused := func(err error) []fleet.Check {
		why, remedy := reasonOf(err), "Make the directory for temporary files writable."
		if f := fault.As(err); f != nil {
			why, remedy = f.What, f.Remedy
		}
		return []fleet.Check{{Name: "process_runtime", Why: why, Remedy: remedy}}
	}
	dir, err := os.MkdirTemp("", "portal-doctor")
	if err != nil {
		return refused(err)
	}
	defer os.RemoveAll(dir)
	rt, err := process.New(process.Config{Dir: filepath.Join(dir, "agents"), RunDir: filepath.Join(dir, "run"), Shim: []string{os.Args[0], "shim"}})
	if err != nil {
		return refused(err)
	}
	defer rt.Close()
	return rt.Report(ctx)
}
