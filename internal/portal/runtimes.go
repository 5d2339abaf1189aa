package portal

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/adoption"
	"github.com/waooaw/platform-portal/internal/compose"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/diagnosis/checks"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/workload"
)

// Docker says on which engine agents with the runtime docker run. Without a Host
// there is none.
type Docker struct {
	Host   string
	TLS    string // directory with ca.pem, cert.pem and key.pem
	SSH    string // directory with id and known_hosts
	Config string // file with the credentials of registries
	// Address is that of the engine's machine, and PortalHost the one by which that
	// machine reaches the portal, where they are not what Host says.
	Address    netip.Addr
	PortalHost string
	BuildRoot  string // directory whose directories may be built into images
	Policy     docker.Policy
}

// allow reads what images may do.
func (d *Docker) allow(v string) error {
	for word := range strings.SplitSeq(v, ",") {
		switch strings.TrimSpace(word) {
		case "":
		case "root":
			d.Policy.Root = true
		case "writable":
			d.Policy.Writable = true
		default:
			return fmt.Errorf("%q is neither root nor writable", word)
		}
	}
	return nil
}

// runtimes are what instances run on, processes first.
type runtimes []hosting

// openRuntimes makes them; what runs there already is found again.
func (a *app) openRuntimes(key []byte) error {
	var err error
	a.machine, err = process.New(process.Config{
		Dir: filepath.Join(a.cfg.Data, "agents"), RunDir: filepath.Join(a.cfg.Data, "run"), Shim: []string{a.build.Self, "shim"}, Log: a.log,
	})
	if err != nil {
		return unusable(a.cfg.Data, err)
	}
	a.runtimes = runtimes{a.machine}
	places := map[string]string{}
	for _, e := range a.cfg.openers() {
		rt, err := e.open(site{
			owner: ownerOf(key, e.name), key: derived(key, "environments on clusters"), dir: filepath.Join(a.cfg.Data, e.dir), self: a.build.Self,
			log: a.log.With("runtime", e.name),
		})
		if err != nil {
			return errors.Join(err, a.runtimes.close())
		}
		a.runtimes = append(a.runtimes, rt)
		if err := apartFrom(places, rt); err != nil {
			return errors.Join(err, a.runtimes.close())
		}
	}
	return nil
}

// networks reads a list of them.
func networks(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, v string) error {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			p, err := netip.ParsePrefix(part)
			if err != nil || p != p.Masked() {
				return fmt.Errorf("%q is not a network such as 10.0.0.0/8", part)
			}
			*field(c) = append(*field(c), part)
		}
		return nil
	}
}

// engine is how the engine is reached, and what may be done there.
func (d Docker) engine() docker.Config {
	cfg := docker.Config{Host: d.Host, TLS: d.TLS, SSH: d.SSH, Address: d.Address, PortalHost: d.PortalHost, BuildRoot: d.BuildRoot, Policy: d.Policy}
	if d.Config != "" {
		cfg.Credentials = docker.FileCredentials(d.Config)
	}
	return cfg
}

// ownerOf marks what is this portal's on an engine that others use as well. It is
// the same for all portals with one key, of which only one works at a time. Places
// have marks of their own, so that none takes for its own what another one made,
// wherever they lead.
func ownerOf(key []byte, runtime string) string {
	purpose := "owner of containers"
	if strings.Contains(runtime, "/") {
		purpose += " of " + runtime
	}
	return hex.EncodeToString(derived(key, purpose)[:6])
}

// derived makes a key for one purpose of the master key.
func derived(key []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// hosting is what every runtime of ours can do beside running instances.
type hosting interface {
	fleet.Runtime
	fleet.LogReader
	observe.Reporter
	Close() error
}

func (r runtimes) byName() map[string]fleet.Runtime {
	out := map[string]fleet.Runtime{}
	for _, one := range r {
		out[one.Name()] = one
	}
	return out
}

func (r runtimes) readers() (out []fleet.LogReader) {
	for _, one := range r {
		out = append(out, one)
	}
	return out
}

func (r runtimes) reporters() (out []observe.Reporter) {
	for _, one := range r {
		out = append(out, one)
	}
	return out
}

func (r runtimes) checks() (out []diagnosis.Check) {
	for _, one := range r {
		out = append(out, checks.Runtime(one.Name(), one.Report))
	}
	return out
}

func (r runtimes) close() error {
	var failed []error
	for _, one := range r {
		failed = append(failed, one.Close())
	}
	return errors.Join(failed...)
}

// holder gives the process that listens on a port of this machine.
func holder(port int) (pid int, name string) {
	l, _ := procfs.ListenerOf(port)
	return l.PID, l.Command
}

// hosts are the names that requests may carry beside the portal's address;
// containers and pods have ones of their own for its machine.
func (a *app) hosts() []string { return append(slices.Clone(a.cfg.Hosts), a.cfg.portalHosts()...) }

// composed reads compose files for the API.
func composed(ctx context.Context, file []byte, runtime string, env, images map[string]string) (*httpapi.Adopted, error) {
	p, err := compose.Read(ctx, file, compose.Options{Runtime: runtime, Env: env, Images: images})
	if err != nil {
		return nil, err
	}
	return adopted(&p.Plan), nil
}

// workloads reads the workloads of a namespace for the API, from the cluster of a
// runtime.
func (a *app) workloads(ctx context.Context, runtime, namespace string) (*httpapi.Adopted, error) {
	rt, ok := a.runtimes.byName()[runtime].(interface {
		Workloads(ctx context.Context, namespace string) ([]map[string]any, error)
	})
	if !ok {
		return nil, fault.New(fault.Conflict, "workload.no_cluster", "There is no Kubernetes cluster %s to read from", runtime).
			Because("neither kubernetes.kubeconfig nor a place of the configuration names it").Do("Set it to a file that says how the cluster is reached.")
	}
	objects, err := rt.Workloads(ctx, namespace)
	if err != nil {
		return nil, err
	}
	p, err := workload.Read(objects, runtime)
	if err != nil {
		return nil, err
	}
	return adopted(p), nil
}

func adopted(p *adoption.Plan) *httpapi.Adopted {
	out := &httpapi.Adopted{Docs: p.Docs, Notes: []httpapi.AdoptNote{}}
	for _, n := range p.Notes {
		out.Notes = append(out.Notes, httpapi.AdoptNote(n))
	}
	return out
}
