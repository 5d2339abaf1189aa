package portal

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/store"
)

// lowDisk is the free space, in bytes, below which a portal should not run.
const lowDisk = 1 << 30

// Examine looks at this machine and the data directory, and says what is in
// order, what is not, and what to do. It changes nothing but what opening the
// store changes, and works beside a running portal.
func Examine(ctx context.Context, cfg Config) []fleet.Check {
	checks := []fleet.Check{examineData(cfg), examineDisk(cfg), examineListen(cfg)}
	checks = append(checks, examineStore(ctx, cfg)...)
	return append(checks, examineProcesses(ctx)...)
}

func examineData(cfg Config) fleet.Check {
	c := fleet.Check{Name: "data_directory"}
	info, err := os.Stat(cfg.Data)
	switch {
	case os.IsNotExist(err):
		c.OK, c.How = true, cfg.Data+" is not there yet; the first start makes it"
	case err != nil:
		c.Why, c.Remedy = reasonOf(err), "Correct the permissions of "+cfg.Data+"."
	case !info.IsDir():
		c.Why, c.Remedy = cfg.Data+" is not a directory", "Choose another with --data."
	case info.Mode().Perm()&0o077 != 0:
		c.Why, c.Remedy = fmt.Sprintf("others may read %s (mode %04o)", cfg.Data, info.Mode().Perm()), "chmod 700 "+cfg.Data
	default:
		c.OK, c.How = true, cfg.Data
	}
	return c
}

func examineDisk(cfg Config) fleet.Check {
	c := fleet.Check{Name: "disk_space"}
	dir := cfg.Data
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		c.Why, c.Remedy = reasonOf(err), "Check the file system of "+dir+"."
		return c
	}
	free := fs.Bavail * uint64(fs.Bsize)
	c.How = fmt.Sprintf("%.1f GiB free", float64(free)/(1<<30))
	if c.OK = free >= lowDisk; !c.OK {
		c.Why, c.Remedy = "less than 1 GiB is left", "Free space on the file system of "+dir+"."
	}
	return c
}

// examineListen tells who answers on the address: nobody yet, a portal, or
// something else.
func examineListen(cfg Config) fleet.Check {
	c := fleet.Check{Name: "listen_address"}
	l, err := net.Listen("tcp", cfg.Listen)
	if err == nil {
		_ = l.Close()
		c.OK, c.How = true, cfg.Listen+" is free"
		return c
	}
	if locked(cfg.Data) {
		c.OK, c.How = true, cfg.Listen+" is in use, and a portal works on the data directory"
		return c
	}
	c.Why, c.Remedy = reasonOf(err), "Choose another address with --listen, or stop what uses "+cfg.Listen+"."
	return c
}

func examineStore(ctx context.Context, cfg Config) []fleet.Check {
	if _, err := os.Stat(filepath.Join(cfg.Data, "portal.db")); err != nil && cfg.DatabaseURL == "" {
		return []fleet.Check{{Name: "store", OK: true, How: "there is no database yet; the first start makes it"}}
	}
	c := fleet.Check{Name: "store"}
	chain := fleet.Check{Name: "audit_chain"}
	start := time.Now()
	err := withStore(ctx, cfg, func(ctx context.Context, s *store.Store) error {
		if err := s.Ping(ctx); err != nil {
			return err
		}
		c.OK, c.How = true, "answers in "+time.Since(start).Round(time.Millisecond).String()
		r, err := audit.Verify(ctx, s.Audit())
		if err != nil {
			return err
		}
		chain.OK, chain.How = r.OK, fmt.Sprintf("%d entries", r.Entries)
		if !r.OK {
			chain.Why, chain.Remedy = r.Problem, "Compare with a backup: somebody changed the record."
		}
		return nil
	})
	if err != nil {
		c.OK, c.Why = false, err.Error()
		return []fleet.Check{c}
	}
	return []fleet.Check{c, chain}
}

func examineProcesses(ctx context.Context) []fleet.Check {
	dir, err := os.MkdirTemp("", "portal-doctor")
	if err != nil {
		return []fleet.Check{{Name: "process_runtime", Why: reasonOf(err), Remedy: "Make the directory for temporary files writable."}}
	}
	defer os.RemoveAll(dir)
	rt, err := process.New(process.Config{Dir: filepath.Join(dir, "agents"), RunDir: filepath.Join(dir, "run"), Shim: []string{os.Args[0], "shim"}})
	if err != nil {
		return []fleet.Check{{Name: "process_runtime", Why: err.Error()}}
	}
	defer rt.Close()
	return rt.Report(ctx)
}
