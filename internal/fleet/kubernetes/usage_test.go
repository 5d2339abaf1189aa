package kubernetes_test

import (
	"fmt"
	"math"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

func TestUsageComesFromTheKubelets(t *testing.T) {
	kubernetestest.Start(t)
	rt, _ := in(t, "measured")
	l := launch("hungry", "hog", "30000000")
	l.Resources = agent.Resources{CPU: 0.5, Memory: 64 << 20}
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	var u fleet.Usage
	fleettest.Eventually(t, "what it uses", func() bool {
		var err error
		u, err = rt.Usage(bounded(t), l.AgentID, l.InstanceID)
		if err != nil && !fault.Is(err, fault.Unavailable) {
			t.Error(err)
		}
		return u.Memory > 30000000
	})
	if u.CPUSeconds <= 0 || u.MemoryLimit != 64<<20 || u.Memory > 64<<20 {
		t.Errorf("it uses %+v", u)
	}
	if c := check(t, rt, "measuring"); !c.OK || c.How != "the kubelets" {
		t.Errorf("reported %+v", c)
	}
	if err := rt.Stop(bounded(t), l.AgentID, l.InstanceID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Usage(bounded(t), l.AgentID, l.InstanceID); !fault.Is(err, fault.NotFound) {
		t.Errorf("usage of what is gone: %v", err)
	}
}

func check(t *testing.T, rt *kubernetes.Runtime, name string) fleet.Check {
	t.Helper()
	for _, c := range rt.Report(bounded(t)) {
		if c.Name == name {
			return c
		}
	}
	t.Errorf("no check %s", name)
	return fleet.Check{}
}

func TestUsageThatIsRefusedIsTold(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, _ := modest(t, c, "unmeasured")
	l := launch("unknown", "wait")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	f := fault.As(func() error { _, err := rt.Usage(bounded(t), l.AgentID, l.InstanceID); return err }())
	if f == nil || f.Code != "kubernetes.unmeasured" || !strings.Contains(f.Why, "nodes") || f.Remedy == "" {
		t.Errorf("usage without rights: %v", f)
	}
	if m := check(t, rt, "measuring"); m.OK || m.Why == "" || m.Remedy == "" {
		t.Errorf("reported %+v", m)
	}
	if e := check(t, rt, "cluster_events"); !e.OK {
		t.Errorf("reported %+v", e)
	}
}

// A metrics server is not part of the cluster here: its answers are written down.
func TestUsageComesFromTheClustersMetrics(t *testing.T) {
	rt, _, b := through(t, "metrics")
	l := launch("rated", "wait")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/apis/metrics.k8s.io/v1beta1/namespaces/metrics/pods/portal-") {
			return false
		}
		at = at.Add(15 * time.Second)
		fmt.Fprintf(w, `{"timestamp":%q,"window":"15s","containers":[{"name":"agent","usage":{"cpu":"200m","memory":"12Mi"}}]}`, at.Format(time.RFC3339))
		return true
	})
	for i, want := range []float64{0, 3, 6} {
		u, err := rt.Usage(bounded(t), l.AgentID, l.InstanceID)
		if err != nil || math.Abs(u.CPUSeconds-want) > 0.001 || u.Memory != 12<<20 {
			t.Errorf("usage %d is %+v, %v", i, u, err)
		}
	}
	b.set(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/apis/metrics.k8s.io/") {
			status(w, http.StatusNotFound, "NotFound", "podmetrics "+path.Base(r.URL.Path)+" not found")
			return true
		}
		return false
	})
	if _, err := rt.Usage(bounded(t), l.AgentID, l.InstanceID); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "not known yet") {
		t.Errorf("usage of a pod that has not been measured: %v", err)
	}
}
