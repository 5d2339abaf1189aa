package fleet

import (
	"context"
	"fmt"
	"strconv"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// port gives the instance its port, one that it can listen on. held tells that
// the instance itself runs and may be the one that listens.
func (s *Service) port(ctx context.Context, a *agent.Agent, index int, held bool) (int, error) {
	from, to := s.ports()
	p, err := s.Observed.ReservePort(ctx, a.ID, index, from, to, free)
	if err != nil || held || free(p) {
		return p, err
	}
	// Something foreign sits on the port that was reserved earlier.
	if err := s.Observed.ReleasePort(ctx, a.ID, index); err != nil {
		return 0, err
	}
	return s.Observed.ReservePort(ctx, a.ID, index, from, to, free)
}

// distant tells whether the runtime's instances have addresses of their own.
func distant(rt Runtime) bool {
	d, ok := rt.(Distant)
	return ok && d.Distant()
}

// fixedPorts checks that nobody has the ports that the spec itself names.
func (s *Service) fixedPorts(spec agent.Spec) error {
	for _, p := range spec.Ports {
		if free(p.Port) {
			continue
		}
		f := fault.New(fault.Conflict, "fleet.port_in_use", "Port %d is in use", p.Port).With("port", p.Port)
		if pid, name := s.holder(p.Port); pid != 0 {
			f.What = fmt.Sprintf("Port %d is in use by process %s (pid %d)", p.Port, name, pid)
			f.With("process", name).With("pid", pid)
		}
		return f.Because("%s needs it as %q", spec.Name, p.Name).
			Do("Stop what uses it, or give the agent another port (%s).", s.suggest(p.Port))
	}
	return nil
}

// holder gives the process that listens on a port; pid 0 if it can't be seen.
func (s *Service) holder(port int) (pid int, name string) {
	if s.Holder == nil {
		return 0, ""
	}
	return s.Holder(port)
}

// suggest names a port near the taken one that is free now.
func (s *Service) suggest(taken int) string {
	for p := taken + 1; p < min(taken+100, 65536); p++ {
		if free(p) {
			return strconv.Itoa(p) + " is free"
		}
	}
	return "one that is free"
}

// InstanceID names the instance of an agent's revision with the given index.
// It is the same each time, so that launching twice finds the first.
func InstanceID(agentID string, revision, index int) string {
	return agentID + "-r" + strconv.Itoa(revision) + "-" + strconv.Itoa(index)
}
