// Package kubernetes runs instances on a Kubernetes cluster: each as a workload of
// one pod, which the cluster itself starts again and places anew, also while no
// portal runs. Only objects with this portal's labels are ever touched.
//
// What is decided here is when it is enough: ends are counted as the restart policy
// of a specification says, and an instance that is done with is scaled to nothing.
package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/happenings"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/metering"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/surroundings"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// DataDir is where an instance finds the directory that outlives it.
const DataDir = "/var/lib/agent"

// InCluster stands for the cluster that the portal's own pod runs on.
const InCluster = "in-cluster"

// manager is the name under which this program writes objects.
const manager = "platform-portal"

// Config says which cluster, and how instances run there. Zero values of what
// follows Dir are the defaults.
type Config struct {
	Name       string // what specifications call it; "" means kubernetes
	Kubeconfig string // file, or InCluster
	Context    string // of the file; "" means the current one
	Namespace  string // "" means that of the context, or of the portal's own pod
	Owner      string // tells this portal's objects from others'
	Dir        string // holds output and restart counts, a directory per agent

	Image        string   // has the portal's program as its entry point, for built-in agents
	Self         string   // program of the portal on this machine
	PortalHost   string   // name or address by which pods reach the portal's machine
	PullSecret   string   // name of the secret with the credentials of registries
	StorageClass string   // of volumes; "" means the cluster's default
	Ingress      []string // networks that may reach agents, beside their namespace and the portal's
	Egress       []string // networks that agents may reach; all where empty
	Timeout      time.Duration
	Log          *slog.Logger
	// Key is what the environments of instances are compared by, without their values
	// being kept anywhere else; nil means one that is forgotten with the process.
	Key []byte

	SegmentSize int64 // bytes of a log segment; default 8 MiB
	Segments    int   // segments kept for an instance; default 4
}

// Runtime runs instances as workloads. Make it by New.
type Runtime struct {
	cfg       Config
	namespace string
	host      string // the API server's, for people
	rest      *rest.Config
	api       api
	bell      mirror.Bell
	pods      *mirror.Mirror[*corev1.Pod]
	secrets   *mirror.Mirror[*sealed]
	settings  *mirror.Mirror[*sealed] // ConfigMaps
	kinds     []*kind
	warnings  *mirror.Mirror[*happenings.Happening]
	book      happenings.Book
	meter     metering.Meter
	around    *surroundings.Keeper
	changes   *upkeep.Changes
	locks     upkeep.Locks

	ctx   context.Context
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu      sync.Mutex
	units   map[string]*unit // by instance
	classes storageAnswer

	carrying sync.Map // names of the pods that are beside a volume now

	report reported // whoever has the lock of the report may use it
}

var (
	_ fleet.Runtime   = (*Runtime)(nil)
	_ fleet.Restarter = (*Runtime)(nil)
	_ fleet.Suspender = (*Runtime)(nil)
	_ fleet.Forgetful = (*Runtime)(nil)
	_ fleet.Execer    = (*Runtime)(nil)
	_ fleet.Notifier  = (*Runtime)(nil)
	_ fleet.LogReader = (*Runtime)(nil)
	_ fleet.DataDirer = (*Runtime)(nil)
	_ fleet.Distant   = (*Runtime)(nil)
	_ fleet.Delayed   = (*Runtime)(nil)
)

// silence keeps the client from writing to the portal's output: errors are told by
// those who get them.
var silence = sync.OnceFunc(func() { klog.SetSlogLogger(slog.New(slog.DiscardHandler)) })

// New makes the runtime. The cluster need not answer yet; what already runs there
// is found as soon as it does.
func New(cfg Config) (*Runtime, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = agent.Kubernetes
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
	if len(cfg.Key) == 0 {
		cfg.Key = []byte(rand.Text())
	}
	if err := upkeep.CheckIDs(cfg.Owner); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	access, namespace, err := credentials(cfg)
	if err != nil {
		return nil, err
	}
	silence()
	client, err := newAPI(access)
	if err != nil {
		return nil, unusable(cfg, err)
	}
	r := &Runtime{
		cfg: cfg, namespace: namespace, host: access.Host, rest: access, api: client,
		changes: upkeep.NewChanges(), units: map[string]*unit{},
	}
	r.around = &surroundings.Keeper{
		Client: client, Namespace: namespace, Manager: manager, Note: noteAgent, Labels: r.labels, Owned: r.owned,
		Ingress: cfg.Ingress, Egress: cfg.Egress,
	}
	if cfg.Kubeconfig == InCluster {
		r.around.Portal = podNamespace()
	}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.tasks.Go(func() { r.changes.Send(r.ctx) })
	r.pods = mirror.New(&r.bell, keyed[*corev1.Pod])
	r.pods.Changed = func(pod *corev1.Pod, _ bool) { r.changed(pod) }
	r.kinds = r.workloads()
	for _, k := range r.kinds {
		follow(r, k.mirror, k.source)
	}
	r.compare()
	follow(r, r.pods, source[*corev1.Pod, *corev1.PodList](r.api.pods(namespace), slim))
	r.meter.Client = client
	r.hear()
	r.tasks.Go(r.sweepCarriers)
	return r, nil
}

// Close lets go of the instances, which go on.
func (r *Runtime) Close() error {
	r.end()
	r.tasks.Wait()
	return nil
}

// Name implements fleet.Runtime.
func (r *Runtime) Name() string { return r.cfg.Name }

// Where says to which namespace of which cluster it leads.
func (r *Runtime) Where() string {
	return "the namespace " + r.namespace + " of the cluster " + strings.TrimSuffix(r.host, "/")
}

// cluster is what people are told of the cluster.
func (r *Runtime) cluster() string { return upkeep.Called("The Kubernetes cluster", r.cfg.Name) }

// setting gives the name of a setting of this runtime.
func (r *Runtime) setting(name string) string { return upkeep.Setting(r.cfg.Name, name) }

// Changes implements fleet.Notifier.
func (r *Runtime) Changes() <-chan string { return r.changes.Out() }

// Forgets implements fleet.Forgetful.
func (r *Runtime) Forgets() bool { return true }

// Delay implements fleet.Delayed: a kubelet looks once a second for what has ended.
func (r *Runtime) Delay() time.Duration { return 1500 * time.Millisecond }

// Distant implements fleet.Distant.
func (r *Runtime) Distant() bool { return true }

// DataDir implements fleet.DataDirer.
func (r *Runtime) DataDir(string) string { return DataDir }

func (r *Runtime) agentDir(agentID string) string { return filepath.Join(r.cfg.Dir, agentID) }

func (r *Runtime) logsDir(agentID string) string { return filepath.Join(r.agentDir(agentID), "logs") }

// bounded gives a context for one question to the cluster.
func (r *Runtime) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.cfg.Timeout)
}

// The labels by which this portal's objects are known, and the annotations that
// tell what they are for.
const (
	labelManager  = "app.kubernetes.io/managed-by"
	labelOwner    = "platform-portal.io/owner"
	labelAgent    = "platform-portal.io/agent"    // as labelled gives it
	labelInstance = "platform-portal.io/instance" // as labelled gives it
	labelLaunch   = "platform-portal.io/launch"

	notePrefix   = "platform-portal.io/"
	noteAgent    = "platform-portal.io/agent"
	noteInstance = "platform-portal.io/instance"
	noteLaunch   = "platform-portal.io/launch" // the same for all pods after one launch
	noteRevision = "platform-portal.io/revision"
	noteIndex    = "platform-portal.io/index"
	notePort     = "platform-portal.io/port"
	noteRestart  = "platform-portal.io/restart"  // the policy, as JSON
	noteMemory   = "platform-portal.io/memory"   // the limit, for people
	noteReplicas = "platform-portal.io/replicas" // of a suspended workload, when it is resumed
	noteWanted   = "platform-portal.io/wanted"   // of the workload, as JSON
	noteEnd      = "platform-portal.io/end"      // of one that is done with: a fleet.Instance
)

// mine selects this portal's objects, of one agent if it is named.
func (r *Runtime) mine(agentID string) string {
	s := labelOwner + "=" + r.cfg.Owner
	if agentID != "" {
		s += "," + labelAgent + "=" + labelled(agentID)
	}
	return s
}

func (r *Runtime) labels(agentID string) map[string]string {
	return map[string]string{labelManager: manager, labelOwner: r.cfg.Owner, labelAgent: labelled(agentID)}
}

var plain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// labelled makes a value of a label, and a part of a name, of an id: the id
// itself where that is possible.
func labelled(id string) string {
	if len(id) <= 30 && plain.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	short := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(id), "-"), "-")
	return strings.TrimSuffix(short[:min(len(short), 21)], "-") + "-" + hex.EncodeToString(sum[:4])
}

// name gives the name of an object of this portal, which is at most 63 bytes long
// for an owner of 12.
func (r *Runtime) name(id, what string) string {
	return "portal-" + labelled(r.cfg.Owner) + "-" + labelled(id) + "-" + what
}

func itoa(n int) string { return strconv.Itoa(n) }

func unusable(cfg Config, err error) error {
	what := upkeep.Called("The kubeconfig "+cfg.Kubeconfig, cfg.Name) + " can't be used"
	if cfg.Kubeconfig == InCluster {
		what = "The cluster of the portal's own pod can't be used"
	}
	return fault.New(fault.Invalid, "kubernetes.config", "%s", what).Because("%v", err).
		Do("Correct %s and %s; for in-cluster the portal has to run in the cluster with a service account.", upkeep.Setting(cfg.Name, "kubeconfig"), upkeep.Setting(cfg.Name, "context")).Wrap(err)
}
