package fleet

import (
	"context"
	"fmt"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// stepTexts say what the steps of a move do.
var stepTexts = map[string]string{
	"check":   "See whether {to} can take it, and whether its configuration is complete.",
	"prepare": "Put the new revision on {to}: image or command, directories or volumes.",
	"launch":  "Start the new instances on {to}.",
	"ready":   "Wait until they are ready. If they do not get so, everything is taken back.",
	"end":     "End what runs on {from}.",
	"ports":   "Keep the ports of the new instances for them.",
}

// movePlan tells a move to people.
func (s *Service) movePlan(ctx context.Context, m *moving) (*MovePlan, error) {
	p := &MovePlan{
		AgentID: m.agentID, From: runtimeName(m.was), To: runtimeName(m.is), State: m.state,
		Diff: agent.Diff(m.was, m.is), Steps: []string{}, Moves: []string{}, Stays: []string{}, Warnings: []string{},
		Interrupts: interruption(m.was, m.is, m.state),
	}
	names := strings.NewReplacer("{from}", p.From, "{to}", p.To)
	for _, st := range s.planMove(m.in) {
		p.Steps = append(p.Steps, names.Replace(stepTexts[st.Name]))
	}
	p.Moves = append(p.Moves, "Its name, specification, history, queue and credential stay as they are.")
	if m.state == agent.Running || m.state == agent.Errored {
		n := "1 new instance runs"
		if m.in.Replicas > 1 {
			n = fmt.Sprintf("%d new instances run", m.in.Replicas)
		}
		p.Moves = append(p.Moves, n+" on "+p.To+" afterwards, on other ports than now.")
	}
	p.Moves = append(p.Moves, "What it has written so far stays in the log search; `portal agents logs` shows that of "+p.To+" from then on.")
	if m.in.PreviousRevision != 0 {
		s.staying(ctx, m, p)
	}
	if p.State == agent.Running && p.Interrupts == "" {
		p.Warnings = append(p.Warnings, "For a moment old and new instances run side by side; both take work from its queue.")
	}
	for _, d := range p.Diff {
		if d.Path != "runtime" && d.Path != "image" && d.Path != "command" && d.Path != "args" {
			p.Warnings = append(p.Warnings, "The change of "+d.Path+" is deployed along with it.")
		}
	}
	for _, c := range s.Runtimes[p.To].Report(ctx) {
		if !c.OK {
			p.Warnings = append(p.Warnings, fmt.Sprintf("Not enforced on %s: %s (%s).", p.To, c.Name, c.Why))
		}
	}
	return p, nil
}

// staying says what does not go along: the content of directories and volumes.
func (s *Service) staying(ctx context.Context, m *moving, p *MovePlan) {
	ac, ok := s.Runtimes[p.From].(Accountant)
	if !ok {
		p.Stays = append(p.Stays, "What it keeps on "+p.From+" is not copied.")
		return
	}
	list, err := ac.Holdings(ctx, m.agentID)
	if err != nil {
		p.Warnings = append(p.Warnings, "What it keeps on "+p.From+" is not known: "+plainReason(err)+".")
	}
	var names []string
	for _, h := range list {
		if h.Kind == "volume" || h.Kind == "directory" {
			names = append(names, fmt.Sprintf("%s %s (%s)", h.Kind, h.Name, agent.Quantity(h.Bytes).Rough()))
		}
	}
	if len(names) > 0 {
		p.Stays = append(p.Stays, "Content is not copied: "+strings.Join(names, ", ")+". New instances begin with empty ones.",
			"It stays on "+p.From+" until it is removed as left over (`portal orphans`), and is there again if the agent moves back.")
	}
	p.Stays = append(p.Stays, "What its instances have in memory ends with them.")
	if to, ok := s.Runtimes[p.To].(Accountant); ok {
		if list, err := to.Holdings(ctx, m.agentID); err == nil && len(list) > 0 {
			p.Warnings = append(p.Warnings, p.To+" still holds what the agent left there; it is used again.")
		} else if f := fault.As(err); f != nil {
			p.Warnings = append(p.Warnings, f.Error())
		}
	}
}

// interruption says why the old instances have to end first; "" if they need not.
func interruption(was, is agent.Spec, state agent.State) string {
	switch {
	case state == agent.Errored:
		return "it is ERRORED and serves nobody; what is left of it ends first"
	case state != agent.Running:
		return ""
	case len(was.Ports) > 0 && len(is.Ports) > 0:
		return fmt.Sprintf("port %d is fixed by the specification, and only one of both can have it", is.Ports[0].Port)
	}
	return ""
}
