package health

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
)

// The conditions of one instance.
type condition int

const (
	isReady    condition = iota
	isStarting           // may become ready; has not said no
	isPending            // up, and not asked yet by this life of the portal
	isBad
)

// condition sums up one instance.
func (t *target) condition() (condition, string) {
	if !t.Up {
		return isBad, cmpOr(t.Note, "not running")
	}
	state, reason := isReady, ""
	for _, c := range t.checks {
		switch {
		case c.answer == nil && t.restarted:
			state = max(state, isStarting)
			reason = cmpOr(reason, c.reason)
		case c.answer == nil:
			state = max(state, isPending)
			reason = cmpOr(reason, c.reason)
		case !*c.answer:
			return isBad, c.reason
		}
	}
	if t.Begins && state == isReady && len(t.checks) == 0 { // what has no probes is ready once it runs
		return isStarting, t.Note
	}
	return state, reason
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// ownHealth sums up the agent's instances.
func ownHealth(s *subject) (agent.Health, string) {
	if s.Suspended {
		return agent.HealthUnknown, "suspended"
	}
	ready, starting, pending := 0, 0, 0
	var reasons []string
	ids := make([]string, 0, len(s.targets))
	for id := range s.targets {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		state, reason := s.targets[id].condition()
		switch state {
		case isReady:
			ready++
		case isStarting:
			starting++
		case isPending:
			pending++
		}
		if reason != "" && len(reasons) < 3 {
			reasons = append(reasons, id+": "+reason)
		}
	}
	why := strings.Join(reasons, "; ")
	if pending > 0 && (s.own == agent.HealthHealthy || s.own == agent.HealthDegraded || s.own == agent.HealthUnhealthy) {
		return s.own, s.ownReason // until the instances have been asked
	}
	switch {
	case ready >= s.Wanted && ready == len(s.targets):
		return agent.HealthHealthy, ""
	case ready > 0:
		return agent.HealthDegraded, joined(fmt.Sprintf("%d of %d instances are ready", ready, s.Wanted), why)
	case starting+pending > 0:
		return agent.HealthStarting, why
	case len(s.targets) == 0:
		return agent.HealthUnhealthy, "no instance is there"
	}
	return agent.HealthUnhealthy, joined("no instance is ready", why)
}

func joined(a, b string) string {
	if b == "" {
		return a
	}
	return a + ": " + b
}

// withDependencies lowers the health of an agent that is well by itself if one
// of the agents that it needs is not. It looks at their own health alone, so
// that the reason names the culprit and not the whole chain below it.
func (c *Checker) withDependencies(s *subject, own agent.Health, reason string) (agent.Health, string) {
	if !c.complete || own != agent.HealthHealthy && own != agent.HealthDegraded {
		return own, reason
	}
	var bad []string
	for _, name := range s.Needs {
		d := c.named[strings.ToLower(name)]
		switch {
		case d == nil:
			bad = append(bad, name+" is not running")
		case d.Suspended:
			bad = append(bad, name+" is suspended")
		case d.own != agent.HealthHealthy:
			bad = append(bad, name+" is "+string(d.own))
		}
	}
	if len(bad) == 0 {
		return own, reason
	}
	if len(bad) > 5 {
		bad = append(bad[:5], fmt.Sprintf("%d more", len(bad)-5))
	}
	needs := "it depends on: " + strings.Join(bad, ", ")
	if reason != "" {
		return agent.HealthDegraded, reason + "; " + needs
	}
	return agent.HealthDegraded, needs
}
