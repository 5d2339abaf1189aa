package fleet

import (
	"context"
	"fmt"
	"slices"
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
	"copy":    "Copy the content of its volumes to {to}, and compare it with what is on {from}.",
	"ports":   "Keep the ports of the new instances for them.",
}

// movePlan tells a move to people.
func (s *Service) movePlan(ctx context.Context, m *moving) (*MovePlan, error) {
	p := &MovePlan{
		AgentID: m.agentID, From: runtimeName(m.was), To: runtimeName(m.is), State: m.state,
		Diff: agent.Diff(m.was, m.is), Steps: []string{}, Moves: []string{}, Stays: []string{}, Warnings: []string{},
		Interrupts: interruption(m.was, m.is, m.state, m.in.Copy),
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
	checks := s.Runtimes[p.To].Report(ctx)
	if err := takes(s.Runtimes[p.To], checks); err != nil {
		return nil, err
	}
	for _, c := range checks {
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
	switch {
	case m.in.Copy:
		p.Moves = append(p.Moves, "The content of "+strings.Join(carried(m.was, m.is), ", ")+" goes along. What is there is replaced by it.")
		for _, v := range m.was.Volumes {
			if !hasVolume(m.is, v.Name) {
				p.Stays = append(p.Stays, "The volume "+v.Name+" is not copied, because the new specification has none of that name.")
			}
		}
		for _, h := range list {
			if h.Kind == "directory" && h.Name != "data" {
				p.Stays = append(p.Stays, "The directory "+h.Name+" is not copied, but for the volumes in it.")
			}
		}
		p.Stays = append(p.Stays, "All of it also stays on "+p.From+", as it was, until it is removed as left over (`portal orphans`). "+
			"Undoing the move finds it there, and not what is written afterwards.")
	case len(names) > 0:
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
func interruption(was, is agent.Spec, state agent.State, copies bool) string {
	switch {
	case state == agent.Errored:
		return "it is ERRORED and serves nobody; what is left of it ends first"
	case state != agent.Running:
		return ""
	case copies:
		return "the content of its volumes is copied while nothing writes to it"
	case len(was.Ports) > 0 && len(is.Ports) > 0:
		return fmt.Sprintf("port %d is fixed by the specification, and only one of both can have it", is.Ports[0].Port)
	}
	return ""
}

// takes refuses a runtime that says that nothing runs there.
func takes(rt Runtime, checks []Check) error {
	for _, c := range checks {
		if c.Down {
			return fault.New(fault.Unavailable, "fleet.runtime_failed", "The runtime %s can't take the agent", rt.Name()).Because("%s", c.Why).Do("%s", c.Remedy)
		}
	}
	return nil
}

// mayMove refuses a move that makes no sense now.
func (s *Service) mayMove(ctx context.Context, a *agent.Agent, from string, opt MoveOptions) error {
	refuse := func(why, remedy string, args ...any) error {
		return fault.New(fault.Conflict, "agent.not_movable", "The agent %s can't be moved now", a.ID).Because(why, args...).Do("%s", remedy).
			With("state", a.State)
	}
	_, changesID := opt.Changes["id"]
	_, changesName := opt.Changes["name"]
	switch {
	case opt.IfMatch != 0 && opt.IfMatch != a.LockVersion:
		return fault.New(fault.Stale, "agent.stale", "The agent %s was changed meanwhile", a.ID).
			Because("its version is %d, not %d", a.LockVersion, opt.IfMatch).Do("Read it again, then repeat the action.")
	case a.ActiveOperation != "":
		return s.busy(ctx, a)
	case changesID || changesName:
		return fault.New(fault.Invalid, "agent.move", "A move does not rename").At(fault.Field{Path: "changes", Message: "must not hold id and name"})
	case !agent.RuntimeName(opt.Runtime):
		return fault.New(fault.Invalid, "agent.move", "There is no runtime %q", opt.Runtime).
			At(fault.Field{Path: "runtime", Message: "must be one of those that this portal has: " + strings.Join(s.RuntimeNames(), ", ")})
	case s.Runtimes[opt.Runtime] == nil:
		return s.noRuntime(opt.Runtime)
	case opt.Runtime == from:
		return refuse("it is on "+from+" already", "Name another runtime.")
	case a.State == agent.Suspended:
		return refuse("it is SUSPENDED, and the memory of its instances can't be moved", "Resume or stop it first.")
	case !slices.Contains(movable, a.State):
		return refuse("it is %s, and nothing of it is anywhere", "Change the runtime in its specification.", a.State)
	case a.DeployedRevision != 0 && s.Runtimes[from] == nil:
		return s.noRuntime(from)
	case a.DeployedRevision == 0 && opt.CopyData:
		return refuse("nothing of it was deployed, so that there is no content to copy", "Move it without its data.")
	}
	return nil
}
