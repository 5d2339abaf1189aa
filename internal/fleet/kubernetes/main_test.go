package kubernetes_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

func TestMain(m *testing.M) {
	fleettest.Abreast(6) // they wait for the kubelet's pauses
	os.Exit(kubernetestest.Main(m))
}

func program(l *fleet.Launch, behaviour ...string) {
	l.Image, l.Command, l.Args = kubernetestest.Image, kubernetestest.ProgramPath, behaviour
}

var owners atomic.Int64

// config is that of a portal of its own on the cluster.
func config(t testing.TB) kubernetes.Config {
	c := kubernetestest.Start(t)
	cfg := kubernetes.Config{Kubeconfig: c.Kubeconfig, Image: kubernetestest.Image, Owner: "test" + strconv.FormatInt(owners.Add(1), 10), Dir: t.TempDir(), Key: []byte("key")}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return cfg
}

// open gives a runtime that is emptied at the end of the test.
func open(t testing.TB, cfg kubernetes.Config) *kubernetes.Runtime {
	t.Helper()
	rt, err := kubernetes.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		empty(t, cfg)
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return rt
}

// empty removes all that the portal has on the cluster.
func empty(t testing.TB, cfg kubernetes.Config) {
	t.Helper()
	cfg.Log = nil
	rt, err := kubernetes.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	agents, err := rt.Agents(ctx)
	if err != nil {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for _, id := range agents {
		wg.Go(func() {
			if err := rt.Remove(ctx, id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// left names objects of the agent's instances.
func left(c *kubernetestest.Cluster, t testing.TB, owner, agentID string) []string {
	selector := "platform-portal.io/owner=" + owner
	if agentID != "" {
		selector += ",platform-portal.io/agent=" + agentID
	}
	return strings.Fields(c.Kubectl(t, "get", "pods,secrets,configmaps,deployments,statefulsets,replicasets,jobs", "-l", selector, "-o", "name"))
}

func TestConformance(t *testing.T) {
	var configs fleettest.Configs[kubernetes.Config]
	fleettest.Run(t, fleettest.Harness{
		New: func(t *testing.T) fleet.Runtime {
			cfg := config(t)
			rt := open(t, cfg)
			configs.Put(rt, cfg)
			return rt
		},
		Reopen: func(t *testing.T, old fleet.Runtime) fleet.Runtime {
			if err := old.(*kubernetes.Runtime).Close(); err != nil {
				t.Error(err)
			}
			cfg := configs.Of(old)
			rt := open(t, cfg)
			configs.Put(rt, cfg)
			return rt
		},
		Program: program,
		// The cluster gives commands no environment of their own.
		Command: func(behaviour ...string) []string {
			return append(append([]string{kubernetestest.ProgramPath}, behaviour...), "end")
		},
		Left: func(t *testing.T, rt fleet.Runtime, agentID string) []string {
			return left(kubernetestest.Start(t), t, configs.Of(rt).Owner, agentID)
		},
		Run: func(t *testing.T, rt fleet.Runtime, in fleet.Instance) string {
			return kubernetestest.Start(t).Kubectl(t, "get", "pods", "--sort-by=.metadata.creationTimestamp", "-o", "jsonpath={.items[-1:].status.containerStatuses[0].containerID}",
				"-l", "platform-portal.io/owner="+configs.Of(rt).Owner+",platform-portal.io/instance="+in.ID)
		},
		Change: func(t *testing.T, rt fleet.Runtime, l fleet.Launch, env map[string]*string) {
			data := map[string]any{}
			for name, value := range env {
				if data[name] = nil; value != nil {
					data[name] = []byte(*value) // which becomes base64
				}
			}
			body, err := json.Marshal(map[string]any{"data": data})
			if err != nil {
				t.Fatal(err)
			}
			kubernetestest.Start(t).Kubectl(t, "patch", "secret", "portal-"+configs.Of(rt).Owner+"-"+l.InstanceID+"-env", "--type=merge", "-p", string(body))
		},
		FoundAtLaunch: true, KeepsGrace: true, CountsNoProcesses: true, EngineBackoff: true, Forgets: true, Patience: 4 * time.Minute,
	})
}
