package kubernetes

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// probe lets the kubelet ask what the launch says, so that services lead to
// instances that are ready, and those that hang are started again although no
// portal runs.
func probe(c *corev1.Container, l fleet.Launch) {
	if p := l.Health.Readiness; p != nil {
		c.ReadinessProbe = asked(p)
		c.ReadinessProbe.SuccessThreshold = int32(max(1, p.SuccessThreshold))
	}
	p := l.Health.Liveness
	if p == nil || !hangsAreTheKubelets(p, l.Restart) {
		return
	}
	kill := seconds(0)
	c.LivenessProbe = asked(p)
	c.LivenessProbe.TerminationGracePeriodSeconds = &kill
	// Until the first answer it is asked every second, so that what comes after does
	// not wait for a whole interval; for as long as the probe itself would wait.
	start := asked(p)
	start.InitialDelaySeconds, start.PeriodSeconds, start.TerminationGracePeriodSeconds = 0, 1, &kill
	start.FailureThreshold = max(1, c.LivenessProbe.InitialDelaySeconds+c.LivenessProbe.PeriodSeconds*c.LivenessProbe.FailureThreshold)
	c.LivenessProbe.InitialDelaySeconds = 0
	c.StartupProbe = start
}

// hangsAreTheKubelets tells whether the kubelet starts an instance again that the
// probe says hangs: where it asks as often as the specification says, in whole
// seconds, and would start whatever ends. Else the portal does. It is never both.
func hangsAreTheKubelets(p *agent.Probe, policy agent.RestartPolicy) bool {
	whole := func(d agent.Duration, def time.Duration) bool {
		v := d.Or(def)
		return v > 0 && v%time.Second == 0
	}
	return upkeep.Again(policy, false) && whole(p.Interval, agent.DefaultProbeInterval) && whole(p.Timeout, agent.DefaultProbeTimeout)
}

// asked is a probe as the kubelet asks it. It counts in whole seconds, rounded up.
func asked(p *agent.Probe) *corev1.Probe {
	out := &corev1.Probe{
		InitialDelaySeconds: up(time.Duration(p.InitialDelay)),
		PeriodSeconds:       max(1, up(p.Interval.Or(agent.DefaultProbeInterval))),
		TimeoutSeconds:      max(1, up(p.Timeout.Or(agent.DefaultProbeTimeout))),
		FailureThreshold:    agent.DefaultFailureThreshold, SuccessThreshold: 1,
	}
	if p.FailureThreshold > 0 {
		out.FailureThreshold = int32(p.FailureThreshold)
	}
	switch {
	case p.HTTP != nil:
		out.HTTPGet = &corev1.HTTPGetAction{Path: p.HTTP.Path, Port: number32(p.HTTP.Port), Scheme: corev1.URISchemeHTTP}
	case p.TCP != nil:
		out.TCPSocket = &corev1.TCPSocketAction{Port: number32(p.TCP.Port)}
	case p.Exec != nil:
		out.Exec = &corev1.ExecAction{Command: p.Exec.Command}
	}
	return out
}

func up(d time.Duration) int32 { return int32(math.Ceil(d.Seconds())) }

// number32 is the port of a probe, which a launch gives as a number.
func number32(p agent.PortRef) intstr.IntOrString {
	n, _ := p.Number()
	return intstr.FromInt32(int32(n))
}

// guarded tells whether the kubelet starts the instance of a pod again when it hangs.
func guarded(pod *corev1.Pod) bool {
	for _, c := range pod.Spec.Containers {
		if c.Name == container {
			return c.LivenessProbe != nil
		}
	}
	return false
}
