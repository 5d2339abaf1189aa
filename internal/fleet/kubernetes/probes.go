package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
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

// LiveProbes implements fleet.Witness.
func (r *Runtime) LiveProbes(ctx context.Context, agentID, instanceID string, had agent.Probes) (agent.Probes, map[string]string, error) {
	u, w, err := r.find(ctx, agentID, instanceID)
	if err != nil {
		return had, nil, err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	w, err = r.kind(w.kind).get(bounded, w.Name) // what was told may be older
	if kerrors.IsNotFound(err) {
		return had, nil, missing(instanceID)
	} else if err != nil {
		return had, nil, r.answered(ctx, "look at "+instanceID, err)
	}
	for _, c := range w.template.Spec.Containers {
		if c.Name == container {
			now, unsaid := told(&c, had, u.restart)
			return now, unsaid, nil
		}
	}
	why := "the container " + container + " is gone"
	return had, map[string]string{fleet.FieldReadiness: why, fleet.FieldLiveness: why, fleet.FieldStartup: why}, nil
}

// told gives the probes of a container as a specification has them, and the fields that
// none can have. What it says makes the same container again.
func told(c *corev1.Container, had agent.Probes, policy agent.RestartPolicy) (now agent.Probes, unsaid map[string]string) {
	was := corev1.Container{}
	probe(&was, fleet.Launch{Health: had, Restart: policy})
	now, unsaid = had, map[string]string{}
	made := func() (out corev1.Container) {
		probe(&out, fleet.Launch{Health: now, Restart: policy})
		return out
	}
	if asks(c.ReadinessProbe) != asks(was.ReadinessProbe) {
		p, why := said(c.ReadinessProbe, had.Readiness)
		if now.Readiness = p; why == "" && asks(made().ReadinessProbe) != asks(c.ReadinessProbe) {
			why = "no specification makes it: " + asks(c.ReadinessProbe)
		}
		if why != "" {
			now.Readiness, unsaid[fleet.FieldReadiness] = had.Readiness, why
		}
	}
	if asks(c.LivenessProbe) != asks(was.LivenessProbe) {
		p, why := saidLiveness(c.LivenessProbe, had.Liveness)
		if now.Liveness = p; why == "" && asks(made().LivenessProbe) != asks(c.LivenessProbe) {
			why = "the restart policy is " + cmp.Or(policy.Policy, agent.DefaultRestartPolicy) + ", with which the portal asks, and not the kubelet"
		}
		if why != "" {
			now.Liveness, unsaid[fleet.FieldLiveness] = had.Liveness, why
		}
	}
	if start := c.StartupProbe; asks(start) != asks(was.StartupProbe) && asks(start) != asks(made().StartupProbe) {
		keep := now.Liveness
		if start != nil && now.Liveness != nil && made().LivenessProbe != nil {
			p, l := *now.Liveness, made().LivenessProbe
			p.InitialDelay = whole(max(0, start.FailureThreshold-l.PeriodSeconds*l.FailureThreshold))
			now.Liveness = &p
		}
		if asks(made().StartupProbe) != asks(start) {
			now.Liveness, unsaid[fleet.FieldStartup] = keep, "it follows from the liveness probe, and only for how long it asks can be chosen, by initial_delay"
		}
	}
	return now, unsaid
}

func whole(seconds int32) agent.Duration { return agent.Duration(time.Duration(seconds) * time.Second) }

// said is a probe as a specification has it, or why none can. What the kubelet counts as
// it did stays as it was written.
func said(live *corev1.Probe, had *agent.Probe) (p *agent.Probe, why string) {
	if live == nil {
		return nil, ""
	}
	p = &agent.Probe{}
	if had != nil {
		*p = *had
		p.HTTP, p.TCP, p.Exec = nil, nil, nil
	}
	was := asked(p)
	if was.InitialDelaySeconds != live.InitialDelaySeconds {
		p.InitialDelay = whole(live.InitialDelaySeconds)
	}
	if was.PeriodSeconds != live.PeriodSeconds {
		p.Interval = whole(live.PeriodSeconds)
	}
	if was.TimeoutSeconds != live.TimeoutSeconds {
		p.Timeout = whole(live.TimeoutSeconds)
	}
	if was.FailureThreshold != live.FailureThreshold {
		p.FailureThreshold = int(max(1, live.FailureThreshold))
	}
	if n := int(max(1, live.SuccessThreshold)); n != max(1, p.SuccessThreshold) {
		p.SuccessThreshold = n
	}
	switch {
	case live.HTTPGet != nil:
		h := live.HTTPGet
		p.HTTP = &agent.HTTPProbe{Path: cmp.Or(h.Path, "/"), Port: agent.PortRef(strconv.Itoa(h.Port.IntValue()))}
		why = foreign(h.Host, h.Port)
		if h.Scheme == corev1.URISchemeHTTPS {
			why = "it asks over TLS"
		} else if n := len(h.HTTPHeaders); n > 0 {
			why = fmt.Sprintf("it sends %d headers", n)
		}
	case live.TCPSocket != nil:
		p.TCP = &agent.TCPProbe{Port: agent.PortRef(strconv.Itoa(live.TCPSocket.Port.IntValue()))}
		why = foreign(live.TCPSocket.Host, live.TCPSocket.Port)
	case live.Exec != nil:
		p.Exec = &agent.ExecProbe{Command: live.Exec.Command}
	case live.GRPC != nil:
		why = "it asks by gRPC"
	default:
		why = "it asks nothing"
	}
	return p, why
}

// saidLiveness is said for the liveness probe, of which the kubelet does not count all.
func saidLiveness(live *corev1.Probe, had *agent.Probe) (p *agent.Probe, why string) {
	if p, why = said(live, had); p == nil || why != "" {
		return p, why
	}
	if live.InitialDelaySeconds > 0 {
		return p, "it waits before it asks, which the portal has a startup probe for, as long as initial_delay says"
	}
	p.Interval, p.Timeout, p.InitialDelay = whole(live.PeriodSeconds), whole(live.TimeoutSeconds), 0
	if had != nil {
		p.InitialDelay, p.SuccessThreshold = had.InitialDelay, had.SuccessThreshold
	}
	return p, ""
}

// foreign says why a specification can't ask there; "" if it can.
func foreign(host string, port intstr.IntOrString) string {
	switch {
	case host != "":
		return "it asks another host than the instance"
	case port.Type == intstr.String:
		return "it gives the port by a name"
	}
	return ""
}
