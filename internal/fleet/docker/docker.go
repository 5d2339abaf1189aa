// Package docker runs instances as containers of a Docker engine. A container
// outlives the portal; the next portal finds it by its labels. Only objects with
// this portal's labels are ever touched.
//
// The engine starts containers again where its pauses are those that were asked
// for, so that they come back while no portal runs. How often that may happen is
// decided here: the engine knows no windows, and what a restart policy says is the
// same on every runtime.
package docker

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// DataDir is where an instance finds the directory that outlives it.
const DataDir = "/var/lib/agent"

// PortalHost is the name by which instances reach the machine of the portal.
const PortalHost = "host.docker.internal"

// Policy is what the administrator lets images do.
type Policy struct {
	Root       bool // run as root where the image says so
	Writable   bool // write to the image's file system
	PinnedOnly bool // only images that are named by their digest
}

// Config says which engine, and how instances run there. Zero values of what
// follows Dir are the defaults.
type Config struct {
	Name  string // what specifications call it; "" means docker
	Host  string // unix:///var/run/docker.sock, tcp://HOST:PORT or ssh://USER@HOST
	Owner string // tells this portal's objects from others'
	Dir   string // holds output and restart counts, a directory per agent

	TLS string // directory of ca.pem, cert.pem and key.pem
	SSH string // directory of id and known_hosts; those of the portal's user where empty
	// Address is that of the engine's machine, at which instances listen; that of Host
	// where it is not given.
	Address     netip.Addr
	PortalHost  string // by which instances reach the portal where it is not on the engine's machine
	BuildRoot   string // directory whose directories may be built into images; "" for none
	Self        string // program of the portal, which built-in agents are part of
	Credentials Credentials
	Policy      Policy
	Timeout     time.Duration // for one answer of the engine; default 30s
	Log         *slog.Logger

	SegmentSize int64 // bytes of a log segment; default 8 MiB
	Segments    int   // segments kept for an instance; default 4
}

// Runtime runs instances as containers. Make it by New.
type Runtime struct {
	cfg     Config
	dialing []client.Opt
	first   *client.Client                // speaks the newest version, and is used where no other can be made
	shared  atomic.Pointer[client.Client] // speaks the version that the engine told, once it did
	ssh     *ssh                          // nil where the engine is spoken to in another way
	changes *upkeep.Changes
	locks   upkeep.Locks
	builtIn builtIn
	checked sync.Map    // what prepare found in order
	helpers sync.Map    // names of the containers that look into images now
	untidy  atomic.Bool // others of them may be on the engine still
	sizes   volumeSizes

	ctx   context.Context
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu    sync.Mutex
	units map[string]*unit // by instance
}

var (
	_ fleet.Runtime   = (*Runtime)(nil)
	_ fleet.Suspender = (*Runtime)(nil)
	_ fleet.Restarter = (*Runtime)(nil)
	_ fleet.Execer    = (*Runtime)(nil)
	_ fleet.Distant   = (*Runtime)(nil)
	_ fleet.Notifier  = (*Runtime)(nil)
	_ fleet.LogReader = (*Runtime)(nil)
	_ fleet.Meter     = (*Runtime)(nil)
	_ fleet.DataDirer = (*Runtime)(nil)

	_ fleet.Withdrawer = (*Runtime)(nil)
)

// New makes the runtime. The engine need not answer yet; what already runs there
// is found as soon as it does.
func New(cfg Config) (*Runtime, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = agent.Docker
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.SegmentSize <= 0 {
		cfg.SegmentSize = 8 << 20
	}
	if cfg.Segments <= 0 {
		cfg.Segments = 4
	}
	if err := upkeep.CheckIDs(cfg.Owner); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	options, way, err := connection(&cfg)
	if err != nil {
		return nil, err
	}
	first, err := client.New(append(slices.Clip(options), client.WithAPIVersion(client.MaxAPIVersion))...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "docker.host", "The Docker engine %s can't be used", cfg.Host).
			Because("%v", err).Do("Correct %s, for example unix:///var/run/docker.sock.", upkeep.Setting(cfg.Name, "host")).Wrap(err)
	}
	r := &Runtime{cfg: cfg, dialing: options, first: first, ssh: way, changes: upkeep.NewChanges(), units: map[string]*unit{}}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.tasks.Go(func() { r.changes.Send(r.ctx) })
	r.tasks.Go(r.listen)
	return r, nil
}

// Close lets go of the instances, which go on.
func (r *Runtime) Close() error {
	r.end()
	r.mu.Lock()
	for _, u := range r.units {
		u.rest()
	}
	r.mu.Unlock()
	r.tasks.Wait()
	err := r.first.Close()
	if c := r.shared.Load(); c != nil {
		err = errors.Join(err, c.Close())
	}
	return err
}

// api gives what the engine is asked by. A client that does not know yet which
// version the engine speaks may not be shared: whoever asks waits, for longer than
// its own time, until the one before has heard it, and it is written down while
// others read it. Until the engine told, each question has a client of its own,
// whose connection ends by itself within half a minute.
func (r *Runtime) api() *client.Client {
	if c := r.shared.Load(); c != nil {
		return c
	}
	c, err := client.New(r.dialing...)
	if err != nil {
		return r.first // the files of its credentials are gone
	}
	return c
}

// meet asks the engine which version it speaks; after a restart that may be another.
func (r *Runtime) meet(ctx context.Context) error {
	c, err := client.New(r.dialing...)
	if err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	if _, err := c.Ping(bounded, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = c.Close()
		return err
	}
	if before := r.shared.Swap(c); before != nil {
		_ = before.Close()
	}
	return nil
}

// Name implements fleet.Runtime.
func (r *Runtime) Name() string { return r.cfg.Name }

// Where says to which engine it leads.
func (r *Runtime) Where() string { return "the engine " + strings.TrimSuffix(r.cfg.Host, "/") }

// engine is what people are told of the engine.
func (r *Runtime) engine() string { return upkeep.Called("The Docker engine", r.cfg.Name) }

// setting gives the name of a setting of this runtime.
func (r *Runtime) setting(name string) string { return upkeep.Setting(r.cfg.Name, name) }

// Changes implements fleet.Notifier.
func (r *Runtime) Changes() <-chan string { return r.changes.Out() }

// DataDir implements fleet.DataDirer.
func (r *Runtime) DataDir(string) string { return DataDir }

func (r *Runtime) agentDir(agentID string) string { return filepath.Join(r.cfg.Dir, agentID) }

func (r *Runtime) logsDir(agentID string) string { return filepath.Join(r.agentDir(agentID), "logs") }

// bounded gives a context for one question to the engine.
func (r *Runtime) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.cfg.Timeout)
}

// The labels by which this portal's objects are known.
const (
	labelOwner    = "io.platform-portal.owner"
	labelRole     = "io.platform-portal.role" // instance or helper
	labelAgent    = "io.platform-portal.agent"
	labelInstance = "io.platform-portal.instance"
	labelRevision = "io.platform-portal.revision"
	labelIndex    = "io.platform-portal.index"
	labelPort     = "io.platform-portal.port"
	labelRestart  = "io.platform-portal.restart" // the policy, as JSON
	labelMemory   = "io.platform-portal.memory"  // the limit, for people
)

const (
	roleInstance = "instance"
	roleHelper   = "helper"
)

// mine selects this portal's objects, of one agent if it is named.
func (r *Runtime) mine(agentID string) client.Filters {
	f := make(client.Filters).Add("label", labelOwner+"="+r.cfg.Owner)
	if agentID != "" {
		f.Add("label", labelAgent+"="+agentID)
	}
	return f
}

// name gives the name of an object of this portal.
func (r *Runtime) name(parts ...string) string {
	return "portal-" + r.cfg.Owner + "-" + strings.Join(parts, ".")
}
