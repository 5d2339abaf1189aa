package kubernetes_test

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// served describes an instance that answers probes, which are asked every second.
func served(id string) fleet.Launch {
	l := launch(id, "serve")
	l.Port, l.Env = 9001, map[string]string{"PORT": "9001"}
	second := agent.Duration(time.Second)
	l.Health.Readiness = &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/ready", Port: "9001"}, Interval: second, FailureThreshold: 1}
	l.Health.Liveness = &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/health", Port: "9001"}, Interval: second, FailureThreshold: 2}
	return l
}

// ask sends a request to an instance.
func ask(t *testing.T, in fleet.Instance, path string) {
	t.Helper()
	resp, err := http.Get("http://" + net.JoinHostPort(in.Host, strconv.Itoa(in.Port)) + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestTheKubeletAsks(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, _ := in(t, "asked")
	l := served("talker")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	behind := func() string {
		return c.Kubectl(t, "get", "endpointslices", "-n", "asked", "-l", "kubernetes.io/service-name=talker", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
	}
	fleettest.Eventually(t, "that it is behind its service", func() bool { return behind() == "true" })

	before := observed(t, rt, l)
	if !before.Guarded {
		t.Error("nobody is told that the kubelet starts it again")
	}
	ask(t, before, "/hang")
	fleettest.Eventually(t, "that it was started again, once", func() bool {
		now := observed(t, rt, l)
		return now.State == fleet.InstanceRunning && now.Restarts == 1 && !now.StartedAt.Equal(before.StartedAt)
	})
	fleettest.Eventually(t, "that it is behind its service again", func() bool { return behind() == "true" })

	ask(t, observed(t, rt, l), "/busy")
	fleettest.Eventually(t, "that its service leads elsewhere", func() bool { return behind() == "false" })
	if now := observed(t, rt, l); now.State != fleet.InstanceRunning || now.Restarts != 1 {
		t.Errorf("one that is busy is %+v", now)
	}
}

// What a kubelet can't ask in time, or would not start again, is the portal's.
func TestProbesThatStayThePortals(t *testing.T) {
	rt, cfg := in(t, "portals")
	c := kubernetestest.Start(t)
	fast, brief, checked := served("fast"), served("brief"), served("checked")
	fast.Health.Liveness.Interval = agent.Duration(200 * time.Millisecond)
	brief.Restart.Policy = "never"
	checked.Health.Liveness = &agent.Probe{Exec: &agent.ExecProbe{Command: []string{kubernetestest.ProgramPath, "env", "PORT", "end"}}}
	checked.Health.Readiness = &agent.Probe{TCP: &agent.TCPProbe{Port: "9001"}, InitialDelay: agent.Duration(1500 * time.Millisecond)}
	for _, l := range []fleet.Launch{fast, brief, checked} {
		if err := rt.Launch(bounded(t), l); err != nil {
			t.Fatal(err)
		}
		if got := observed(t, rt, l).Guarded; got != (l.AgentID == "checked") {
			t.Errorf("%s is the kubelet's: %t", l.AgentID, got)
		}
	}
	got := c.Kubectl(t, "get", "pods", "-n", cfg.Namespace, "-l", "platform-portal.io/agent=checked", "-o", "jsonpath={.items[0].spec.containers[0].readinessProbe} {.items[0].spec.containers[0].livenessProbe}")
	for _, want := range []string{`"tcpSocket":{"port":9001}`, `"initialDelaySeconds":2`, `"exec":{"command":["` + kubernetestest.ProgramPath, `"periodSeconds":10`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	fleettest.Eventually(t, "that it is ready", func() bool {
		return c.Kubectl(t, "get", "pods", "-n", cfg.Namespace, "-l", "platform-portal.io/agent=checked", "-o", "jsonpath={.items[0].status.containerStatuses[0].ready}") == "true"
	})
}
