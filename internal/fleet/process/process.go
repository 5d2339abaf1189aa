// Package process runs instances as processes of this machine. Each has a
// supervisor of its own, the shim, which outlives the portal: a new portal
// finds all instances by the state files in the agents' directories.
//
// The directory of an agent holds work (where its programs run), data (which
// outlives instances), volumes, logs (one directory an instance) and instances
// (one directory each while there is one).
package process

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/cgroup"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// Config says where and how instances run. Zero values of what follows Log are
// the defaults.
type Config struct {
	Dir    string   // holds a directory per agent
	RunDir string   // for sockets on which shims tell of changes
	Shim   []string // program and arguments that end in ShimMain
	Log    *slog.Logger

	NoCgroups     bool          // leave control groups alone even where they work
	CgroupVersion int           // use only control groups of version 1 or 2; 0: what there is
	SegmentSize   int64         // bytes of a log segment; default 8 MiB
	Segments      int           // segments kept for an instance; default 4
	QuotaEvery    time.Duration // how often disk limits are checked; default 10s
	OpenFiles     uint64        // limit of open files; default 65536, or the hard limit if lower
}

// Runtime runs instances as processes. Make it by New.
type Runtime struct {
	cfg     Config
	host    *cgroup.Host
	noFile  uint64
	changes *changes
	locks   upkeep.Locks
	slots   chan struct{} // bounds how many shims start at the same time
	swept   sweep
	disk    diskCache
}

var (
	_ fleet.Runtime   = (*Runtime)(nil)
	_ fleet.Suspender = (*Runtime)(nil)
	_ fleet.Restarter = (*Runtime)(nil)
	_ fleet.Execer    = (*Runtime)(nil)
	_ fleet.Notifier  = (*Runtime)(nil)
	_ fleet.LogReader = (*Runtime)(nil)
	_ fleet.Meter     = (*Runtime)(nil)
)

// ShimMain is what the hidden command "portal shim" runs; it gives the exit code.
func ShimMain() int { return shim.Main() }

// New opens the directories, which it makes if need be, and finds out what this
// machine can enforce. Instances that already run are left alone.
func New(cfg Config) (*Runtime, error) {
	if len(cfg.Shim) == 0 {
		return nil, errors.New("process runtime: no shim program is configured")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.SegmentSize <= 0 {
		cfg.SegmentSize = 8 << 20
	}
	if cfg.Segments <= 0 {
		cfg.Segments = 4
	}
	for _, dir := range []*string{&cfg.Dir, &cfg.RunDir} {
		if err := os.MkdirAll(*dir, 0o700); err != nil {
			return nil, err
		}
		// The one true path: environment marks and control groups are named by it.
		abs, err := filepath.Abs(*dir)
		if err == nil {
			*dir, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return nil, err
		}
	}
	cfg.Shim = slices.Clone(cfg.Shim)
	if strings.Contains(cfg.Shim[0], "/") { // shims start in other directories
		abs, err := filepath.Abs(cfg.Shim[0])
		if err != nil {
			return nil, err
		}
		cfg.Shim[0] = abs
	}
	ch, err := listen(cfg.RunDir, cfg.Log)
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		cfg: cfg, changes: ch, noFile: openFiles(cfg.OpenFiles), slots: make(chan struct{}, max(4, 2*runtime.NumCPU())),
		host: &cgroup.Host{Why: map[string]string{}},
	}
	if !cfg.NoCgroups {
		r.host = cgroup.Detect(cfg.Dir, cfg.CgroupVersion)
	}
	r.sweepGroups()
	return r, nil
}

// Close stops listening for changes. Instances go on.
func (r *Runtime) Close() error {
	r.host.Close()
	return r.changes.close()
}

// Name implements fleet.Runtime.
func (r *Runtime) Name() string { return "process" }

// Changes implements fleet.Notifier.
func (r *Runtime) Changes() <-chan string { return r.changes.Out() }

// DataDir is the directory that an agent may keep things in; it outlives its
// instances and is removed by Remove.
func (r *Runtime) DataDir(agentID string) string { return filepath.Join(r.agentDir(agentID), "data") }

// WorkDir is the working directory of an agent's programs.
func (r *Runtime) WorkDir(agentID string) string { return filepath.Join(r.agentDir(agentID), "work") }

func (r *Runtime) agentDir(agentID string) string { return filepath.Join(r.cfg.Dir, agentID) }

func (r *Runtime) logsDir(agentID string) string { return filepath.Join(r.agentDir(agentID), "logs") }

func (r *Runtime) instancesDir(agentID string) string {
	return filepath.Join(r.agentDir(agentID), "instances")
}

func (r *Runtime) instanceDir(agentID, instanceID string) string {
	return filepath.Join(r.instancesDir(agentID), instanceID)
}

// openFiles gives the limit of open files for instances: what is wanted, as far
// as the portal may grant it.
func openFiles(wanted uint64) uint64 {
	if wanted == 0 {
		wanted = 65536
	}
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err == nil {
		wanted = min(wanted, have.Max)
	}
	return wanted
}
