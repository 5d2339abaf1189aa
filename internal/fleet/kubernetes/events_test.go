package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// What the cluster alone knows is told with cause and remedy.
func TestWarningsOfTheClusterAreTold(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "warned")
	told := func(l fleet.Launch, what string, state fleet.InstanceState, reasons ...string) {
		t.Helper()
		fleettest.Eventually(t, what, func() bool {
			now := observed(t, rt, l)
			for _, reason := range reasons {
				if !strings.Contains(now.Reason, reason) {
					return false
				}
			}
			return now.State == state && now.Remedy != ""
		})
	}

	// One that hangs says so, not that it was ended by a signal.
	hangs := served("hangs")
	hangs.Restart.MaxRestarts = 1
	if err := rt.Launch(bounded(t), hangs); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		fleettest.Eventually(t, "that it runs", func() bool {
			now := observed(t, rt, hangs)
			return now.State == fleet.InstanceRunning && now.Host != ""
		})
		before := observed(t, rt, hangs)
		fleettest.Eventually(t, "that it listens", func() bool {
			return c.Kubectl(t, "get", "pods", "-n", cfg.Namespace, "-l", "platform-portal.io/agent=hangs", "-o", "jsonpath={.items[0].status.containerStatuses[0].ready}") == "true"
		})
		ask(t, before, "/hang")
		fleettest.Eventually(t, "that it was ended", func() bool {
			return !observed(t, rt, hangs).StartedAt.Equal(before.StartedAt) || observed(t, rt, hangs).State != fleet.InstanceRunning
		})
	}
	told(hangs, "that it hangs", fleet.InstanceFailed, "liveness probe failed")

	// One whose pod goes away, and whose next one finds no room in the quota.
	l := launch("cramped", "wait")
	l.Resources = agent.Resources{CPU: 0.1, Memory: 32 << 20}
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	apply(t, c, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: small, namespace: warned}, spec: {hard: {limits.memory: 16Mi}}}`)
	c.Kubectl(t, "delete", "pod", "-n", cfg.Namespace, "--grace-period=1", "-l", "platform-portal.io/agent=cramped")
	told(l, "that the quota is used up", fleet.InstanceBackoff, "exceeded quota")
	c.Kubectl(t, "delete", "resourcequota", "small", "-n", cfg.Namespace)
}

func TestWhatKeepsAPodFromRunningIsTold(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "mounts")
	l := launch("mounted", "wait")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	// Somebody gives it a volume that no node can mount.
	kind := "deployment"
	if c.Kubectl(t, "get", "statefulsets", "-n", cfg.Namespace, "-o", "name") != "" {
		kind = "statefulset"
	}
	name := c.Kubectl(t, "get", kind, "-n", cfg.Namespace, "-o", "jsonpath={.items[0].metadata.name}")
	c.Kubectl(t, "patch", kind, name, "-n", cfg.Namespace, "--type=strategic", "-p",
		`{"spec":{"template":{"spec":{"volumes":[{"name":"tmp","emptyDir":null,"secret":{"secretName":"nowhere"}}]}}}}`)
	c.Kubectl(t, "delete", "pod", "-n", cfg.Namespace, "--grace-period=1", "--wait=false", "-l", "platform-portal.io/agent=mounted")
	fleettest.Eventually(t, "that a volume can't be mounted", func() bool {
		now := observed(t, rt, l)
		return strings.Contains(now.Reason, "FailedMount") && strings.Contains(now.Reason, "nowhere") && now.Remedy != ""
	})
	err := rt.Restart(bounded(t), l.AgentID, l.InstanceID, "test")
	if f := fault.As(err); f == nil || !strings.Contains(f.Why, "nowhere") || f.Remedy == "" {
		t.Errorf("a restart with such a volume: %v", err)
	}
}
