package portal

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/diagnosis/checks"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/scrape"
	"github.com/waooaw/platform-portal/internal/store"
)

// diagnose makes what looks whether everything is in order.
func (a *app) diagnose() {
	s := a.store
	a.diagnosis = &diagnosis.Service{
		Checks: slices.Concat(machineChecks(a.cfg), storeChecks(s), a.engineChecks(), a.agentChecks()),
		Agents: s.Agents(), Revisions: s.History(), Observed: s.Instances(), Store: s.Diagnoses(), Tx: s, Audit: a.audit, Events: s.Events(),
		Now: now, NewID: newID, Log: a.log, Every: a.cfg.Diagnose,
	}
}

// machineChecks are about this machine and what the configuration names. They
// need neither a store nor a running portal.
func machineChecks(cfg Config) []diagnosis.Check {
	network := checks.Network{Servers: serversOf(cfg), Now: time.Now}
	return slices.Concat(
		[]diagnosis.Check{checks.DataDir(cfg.Data)}, checks.Disk(cfg.Data), checks.Limits(), network.Checks(),
		[]diagnosis.Check{checks.Secrets(referencesOf(cfg), fleet.SecretDir{Dir: cfg.SecretsDir}.Secret)},
	)
}

// storeChecks are about the open database.
func storeChecks(s *store.Store) []diagnosis.Check {
	clock := checks.Clock{Now: time.Now, Started: time.Now()}
	clock.Server = func(ctx context.Context) (time.Time, bool, error) { return s.ServerTime(ctx) }
	return []diagnosis.Check{checks.Store(s.Diagnoses()), checks.Audit(s.Audit()), clock}
}

// engineChecks are about what only a running portal has.
func (a *app) engineChecks() []diagnosis.Check {
	return append([]diagnosis.Check{checks.Queue(a.bus), checks.Component("services", a.running)}, a.runtimes.checks()...)
}

// agentChecks are about one agent.
func (a *app) agentChecks() []diagnosis.Check {
	of := checks.Agents{
		Agents: a.store.Agents(), Keys: a.keys, Queues: a.bus, SignIn: a.bus.SignIn, Resolve: fleet.SecretDir{Dir: a.cfg.SecretsDir}.Secret,
	}
	if a.cfg.BusURL != "" {
		of.SignIn = nil // who may connect there is decided there
	}
	ports := checks.Ports{
		Listener: func(port int) (checks.Listener, bool) {
			l, ok := procfs.ListenerOf(port)
			return checks.Listener{PID: l.PID, Name: l.Command}, ok
		},
		Family: func(pid int) (list []int) {
			for _, p := range procfs.Descendants(pid) {
				list = append(list, p.PID)
			}
			return list
		},
	}
	contract := checks.Contract{Metrics: func(ctx context.Context, agentID string, in fleet.Instance) error {
		_, err := scrape.Client{}.Page(ctx, metrics.Target{AgentID: agentID, InstanceID: in.ID, Host: in.Host, Port: in.Port})
		return err
	}}
	return slices.Concat(of.Checks(), []diagnosis.Check{ports.Check()}, contract.Checks())
}

// serversOf gives the servers that the settings name by their URL, whatever
// they are for.
func serversOf(cfg Config) []checks.Server {
	var list []checks.Server
	for _, v := range cfg.values {
		if v.Value == "" || v.Key == "oidc.issuer" && cfg.OIDC.ClientID == "" {
			continue
		}
		u, err := url.Parse(v.Value)
		if err != nil || u.Scheme == "" || v.Key == "public-url" && u.Scheme != "https" {
			continue
		}
		name := strings.TrimPrefix(v.Key, placesKey+".")
		if i := strings.LastIndexByte(name, '.'); i > 0 {
			name = name[:i]
		}
		if s, ok := checks.ServerOf(name, v.Key, v.Value); ok {
			list = append(list, s)
		}
	}
	return list
}

// referencesOf gives the references to secrets in the settings.
func referencesOf(cfg Config) map[string]string {
	out := map[string]string{}
	for _, v := range cfg.values {
		if v.Secret && (strings.HasPrefix(v.Value, "file:") || strings.HasPrefix(v.Value, "env:PORTAL_SECRET_")) {
			out[v.Key] = v.Value
		}
	}
	return out
}

// listenCheck tells who answers on the address: nobody yet, a portal, or
// something else.
type listenCheck struct{ cfg Config }

// Name implements diagnosis.Check.
func (listenCheck) Name() string { return "listen_address" }

// Scope implements diagnosis.Check.
func (listenCheck) Scope() diagnosis.Scope { return diagnosis.Portal }

// Run implements diagnosis.Check.
func (c listenCheck) Run(context.Context, diagnosis.Subject) diagnosis.Outcome {
	l, err := net.Listen("tcp", c.cfg.Listen)
	switch {
	case err == nil:
		_ = l.Close()
		return diagnosis.Outcome{Status: diagnosis.OK, Evidence: []string{c.cfg.Listen + " is free"}, Meaning: "A portal can be started."}
	case locked(c.cfg.Data):
		return diagnosis.Outcome{Status: diagnosis.OK, Evidence: []string{c.cfg.Listen + " is in use, and a portal works on the data directory"}, Meaning: "A portal runs."}
	}
	return diagnosis.Outcome{Status: diagnosis.Failed, Evidence: []string{c.cfg.Listen + ": " + reasonOf(err)}, Meaning: "No portal can be started on this address.",
		Remedy: "Choose another address with --listen, or stop what uses " + c.cfg.Listen + "."}
}

// Examine makes the checks of the portal that need no running one, on this
// machine and the data directory. It changes nothing but what opening the store
// changes, and works beside a running portal.
func Examine(ctx context.Context, cfg Config) []diagnosis.Finding {
	list := append(machineChecks(cfg), listenCheck{cfg}, checks.Runtime("process", reportOf(func(dir string) (hosting, error) {
		return process.New(process.Config{Dir: filepath.Join(dir, "agents"), RunDir: filepath.Join(dir, "run"), Shim: []string{os.Args[0], "shim"}})
	})),
		checks.Unavailable("queue_round_trip", "Messages can only be sent by a portal that runs: `portal diagnostics run`."))
	for _, e := range cfg.openers() {
		list = append(list, checks.Runtime(e.name, reportOf(func(dir string) (hosting, error) {
			return e.open(site{owner: "doctor", dir: dir, log: slog.New(slog.DiscardHandler)})
		})))
	}
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

// reportOf says what a runtime can enforce here that is made for that alone, in an
// empty directory.
func reportOf(open func(dir string) (hosting, error)) func(context.Context) []fleet.Check {
	return func(ctx context.Context) []fleet.Check {
		refused := func(err error) []fleet.Check {
			why, remedy := reasonOf(err), "Make the directory for temporary files writable."
			if f := fault.As(err); f != nil {
				why, remedy = f.What, f.Remedy
			}
			return []fleet.Check{{Name: "runtime", Down: true, Why: why, Remedy: remedy}}
		}
		dir, err := os.MkdirTemp("", "portal-doctor")
		if err != nil {
			return refused(err)
		}
		defer os.RemoveAll(dir)
		rt, err := open(dir)
		if err != nil {
			return refused(err)
		}
		defer rt.Close()
		return rt.Report(ctx)
	}
}
