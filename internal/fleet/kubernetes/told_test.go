package kubernetes

import (
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// What the probes of a container are told as makes the same container again.
func TestProbesThatSomebodyChangedAreTold(t *testing.T) {
	second := agent.Duration(time.Second)
	had := agent.Probes{
		Readiness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/ready", Port: "9001"}, Interval: agent.Duration(500 * time.Millisecond), Timeout: second, InitialDelay: 2 * second, FailureThreshold: 1},
		Liveness:  &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/health", Port: "9001"}, Interval: 5 * second, InitialDelay: 20 * second, FailureThreshold: 3, SuccessThreshold: 2},
	}
	for name, change := range map[string]func(*corev1.Container){
		"nothing":      func(*corev1.Container) {},
		"another path": func(c *corev1.Container) { c.ReadinessProbe.HTTPGet.Path = "/other" },
		"no path":      func(c *corev1.Container) { c.ReadinessProbe.HTTPGet.Path = "/" },
		"another port": func(c *corev1.Container) { c.LivenessProbe.HTTPGet.Port = intstr.FromInt32(9009) },
		"every number": func(c *corev1.Container) {
			p := c.ReadinessProbe
			p.InitialDelaySeconds, p.PeriodSeconds, p.TimeoutSeconds, p.FailureThreshold, p.SuccessThreshold = 0, 7, 6, 5, 4
		},
		"a connection": func(c *corev1.Container) { c.ReadinessProbe.ProbeHandler = connects(9001) },
		"a command": func(c *corev1.Container) {
			c.LivenessProbe.ProbeHandler = corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/a", "b"}}}
		},
		"a slower liveness":  func(c *corev1.Container) { c.LivenessProbe.PeriodSeconds, c.LivenessProbe.TimeoutSeconds = 30, 9 },
		"no readiness":       func(c *corev1.Container) { c.ReadinessProbe = nil },
		"no liveness":        func(c *corev1.Container) { c.LivenessProbe, c.StartupProbe = nil, nil },
		"more time to start": func(c *corev1.Container) { c.StartupProbe.FailureThreshold = 120 },
		"both, and time":     func(c *corev1.Container) { c.LivenessProbe.PeriodSeconds, c.StartupProbe.FailureThreshold = 8, 24 },
		"no path of three": func(c *corev1.Container) {
			for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
				p.HTTPGet.Path = "/all"
			}
		},
		"another who had none": func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: connects(9002), PeriodSeconds: 10, TimeoutSeconds: 1, FailureThreshold: 3, SuccessThreshold: 1}
		},
	} {
		var live, again corev1.Container
		probe(&live, fleet.Launch{Health: had})
		change(&live)
		now, unsaid := told(&live, had, agent.RestartPolicy{})
		probe(&again, fleet.Launch{Health: now})
		if len(unsaid) > 0 || !reflect.DeepEqual(again.ReadinessProbe, live.ReadinessProbe) || !reflect.DeepEqual(again.LivenessProbe, live.LivenessProbe) {
			t.Errorf("%s is told as %+v and %+v, %v", name, now.Readiness, now.Liveness, unsaid)
		}
		if strings.Contains(name, "time") || name == "no liveness" {
			if asks(again.StartupProbe) != asks(live.StartupProbe) {
				t.Errorf("%s: it has %s to start", name, asks(again.StartupProbe))
			}
		}
		if name == "nothing" && !reflect.DeepEqual(now, had) {
			t.Errorf("nobody changed it, and it is told as %+v and %+v", now.Readiness, now.Liveness)
		}
		if spec := (agent.Spec{Name: "n", Probes: now}); len(spec.Validate()) > 0 {
			t.Errorf("%s is told as what no specification has: %v", name, spec.Validate())
		}
	}
}

func connects(port int32) corev1.ProbeHandler {
	return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}}
}

func TestProbesThatNoSpecificationHasAreNotTold(t *testing.T) {
	had := agent.Probes{
		Readiness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/ready", Port: "9001"}},
		Liveness:  &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/health", Port: "9001"}},
	}
	for why, c := range map[string]struct {
		field  string
		policy string
		change func(*corev1.Container)
	}{
		"gRPC": {fleet.FieldReadiness, "", func(c *corev1.Container) {
			c.ReadinessProbe.ProbeHandler = corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9001}}
		}},
		"another host": {fleet.FieldReadiness, "", func(c *corev1.Container) { c.ReadinessProbe.HTTPGet.Host = "10.0.0.1" }},
		"TLS":          {fleet.FieldLiveness, "", func(c *corev1.Container) { c.LivenessProbe.HTTPGet.Scheme = corev1.URISchemeHTTPS }},
		"1 headers": {fleet.FieldLiveness, "", func(c *corev1.Container) {
			c.LivenessProbe.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "a", Value: "hush"}}
		}},
		"by a name":    {fleet.FieldReadiness, "", func(c *corev1.Container) { c.ReadinessProbe.HTTPGet.Port = intstr.FromString("main") }},
		"waits before": {fleet.FieldLiveness, "", func(c *corev1.Container) { c.LivenessProbe.InitialDelaySeconds = 5 }},
		"restart policy": {fleet.FieldLiveness, "never", func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{ProbeHandler: connects(9001), PeriodSeconds: 10, TimeoutSeconds: 1, FailureThreshold: 3, SuccessThreshold: 1}
		}},
		"initial_delay":  {fleet.FieldStartup, "", func(c *corev1.Container) { c.StartupProbe.HTTPGet.Path = "/started" }},
		"liveness probe": {fleet.FieldStartup, "", func(c *corev1.Container) { c.StartupProbe = nil }},
	} {
		policy := agent.RestartPolicy{Policy: c.policy}
		var live corev1.Container
		probe(&live, fleet.Launch{Health: had, Restart: policy})
		c.change(&live)
		now, unsaid := told(&live, had, policy)
		if len(unsaid) != 1 || !strings.Contains(unsaid[c.field], why) || strings.Contains(unsaid[c.field], "hush") || !reflect.DeepEqual(now, had) {
			t.Errorf("%s is told as %+v, %+v and %v", why, now.Readiness, now.Liveness, unsaid)
		}
	}
}
