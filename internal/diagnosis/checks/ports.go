package checks

import (
	"context"
	"fmt"
	"slices"

	"github.com/waooaw/platform-portal/internal/diagnosis"
)

// Listener is a process that listens on a port.
type Listener struct {
	PID  int
	Name string
}

// Ports looks who listens on the ports of an agent.
type Ports struct {
	// Listener gives who listens on a TCP port of this machine, without a PID where
	// the system does not tell; false for nobody.
	Listener func(port int) (Listener, bool)
	// Family gives the processes that a process made.
	Family func(pid int) []int
}

// Check is the check.
func (p Ports) Check() diagnosis.Check { return ofAgent("ports", p.look) }

func (p Ports) look(_ context.Context, on diagnosis.Subject) diagnosis.Outcome {
	running := on.Running()
	if len(running) == 0 {
		return skip("No instance runs that could listen.")
	}
	var w worse
	var family []int
	if running[0].Host != "" {
		return skip("Its instances have addresses of their own; who listens there is not seen from here.")
	}
	for _, in := range running {
		mine := append(p.Family(in.PID), in.PID)
		family = append(family, mine...)
		if in.Port != 0 {
			w.add(p.port(on, in.Port, "instance "+in.ID, mine))
		}
	}
	for _, fixed := range on.Spec.Ports {
		w.add(p.port(on, fixed.Port, "port "+fixed.Name, family))
	}
	if w.Status == "" {
		return skip("The agent has no port.")
	}
	return w.Outcome
}

func (p Ports) port(on diagnosis.Subject, port int, what string, family []int) diagnosis.Outcome {
	who, seen := p.Listener(port)
	switch {
	case seen && who.PID == 0:
		return fine("Somebody listens on its ports.", fmt.Sprintf("%s: %d is listened on; the system does not tell by whom", what, port))
	case seen && slices.Contains(family, who.PID):
		return fine("The agent listens on its ports.", fmt.Sprintf("%s: %s (pid %d) listens on %d", what, who.Name, who.PID, port))
	case seen:
		return fail("Another process sits on a port of the agent; requests reach the wrong one.", fmt.Sprintf("Stop process %d (%s), or restart the agent so that it gets another port.", who.PID, who.Name),
			fmt.Sprintf("%s: %d is held by %s (pid %d), which is not of this agent", what, port, who.Name, who.PID))
	case expected(on) > 0:
		return fail("Nobody listens where the agent should answer.", "See the agent's logs: it must listen on the port that PORT names, on 127.0.0.1.", fmt.Sprintf("%s: nobody listens on %d", what, port))
	}
	return skip("The agent listens on no port, which level 0 of the contract allows.", fmt.Sprintf("%s: nobody listens on %d", what, port))
}
