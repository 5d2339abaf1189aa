package health

import "github.com/waooaw/platform-portal/internal/agent"

// Present is what a probe says now.
type Present struct {
	Result
	How string // the probe asks by http, tcp or exec
}

// Probes gives what every probe says now, with how long the last one took;
// those that have not answered yet are left out.
func (c *Checker) Probes() []Present {
	c.init()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Present
	for _, s := range c.subjects {
		for _, t := range s.targets {
			for _, ch := range t.checks {
				if ch.answer == nil {
					continue
				}
				out = append(out, Present{How: how(ch.probe), Result: Result{
					AgentID: s.AgentID, InstanceID: t.InstanceID, Kind: ch.kind, OK: *ch.answer, Reason: ch.reason, Latency: ch.latency,
				}})
			}
		}
	}
	return out
}

func how(p agent.Probe) string {
	switch {
	case p.HTTP != nil:
		return "http"
	case p.TCP != nil:
		return "tcp"
	}
	return "exec"
}
