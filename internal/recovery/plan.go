package recovery

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// plan is what a fix will do, fixed when it begins.
type plan struct {
	Title      string         `json:"title"`
	Parameters map[string]any `json:"parameters,omitempty"`
	// Patch changes the specification, and Back makes it what it was.
	Patch map[string]any `json:"patch,omitempty"`
	Back  map[string]any `json:"back,omitempty"`
	// Restart says that the agent's instances are started anew.
	Restart bool `json:"restart,omitempty"`
	// Peer is the agent that is to be started first, or stopped.
	Peer  string `json:"peer,omitempty"`
	Stops bool   `json:"stops,omitempty"` // it is to be stopped
	// Sequence is the message to put aside.
	Sequence uint64 `json:"sequence,omitempty"`
	// Watch is how long the agent gets to show that it runs well.
	Watch agent.Duration `json:"watch"`
	// Undoing says that it takes back a fix: it need not help.
	Undoing  bool     `json:"undoing,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// The times that agents get to show that they run well.
const (
	watchShort = 20 * time.Second
	watchLong  = 60 * time.Second
)

func (p plan) undoText() string {
	switch {
	case len(p.Patch) > 0:
		return "It can be undone for an hour: the specification is made what it was, and the agent is started with it."
	case p.Stops:
		return "The agent " + p.Peer + " can be deployed and started again, which needs another port for one of the two."
	case p.Sequence != 0:
		return "The message stays among the dead letters and can be tried again from there."
	}
	return "There is nothing to take back."
}

// plan works out how a fix is carried out; Invalid for parameters that are
// missing or wrong.
func (s *Service) plan(ctx context.Context, a *agent.Agent, in *Incident, fix cause.Fix, given map[string]any) (plan, error) {
	p := plan{Title: titleOf(in, fix), Parameters: given, Restart: true, Watch: agent.Duration(watchShort)}
	make, changes := patches[fix]
	if changes {
		err := make(&planning{s: s, ctx: ctx, a: a, in: in, given: given, p: &p})
		if err != nil {
			return p, err
		}
		changed, err := patched(a.Spec, p.Patch)
		if err != nil {
			return p, err
		}
		p.Back = agent.PatchBetween(changed.Tree(), a.Spec.WithDefaults().Tree())
		if len(p.Back) == 0 {
			return p, fault.New(fault.Conflict, "error.no_change", "The fix would change nothing").
				Because("the specification is already so").Do("Restart the agent, or try another fix.")
		}
		return p, nil
	}
	switch fix {
	case cause.StartDependency:
		d, err := s.Agents.Get(ctx, text(given, "agent"))
		if err != nil {
			return p, err
		}
		p.Peer = d.ID
	case cause.StopHolder:
		d, err := s.Agents.Get(ctx, text(given, "agent"))
		if err != nil {
			return p, err
		}
		if d.ID == a.ID {
			return p, wrong("agent", "must be another agent")
		}
		im, err := s.Fleet.Impact(ctx, d.ID, agent.Stop)
		if err != nil {
			return p, err
		}
		p.Peer, p.Stops, p.Warnings = d.ID, true, append([]string{"The agent " + d.ID + " is stopped."}, im.Warnings...)
	case cause.DeadLetterMessage:
		p.Restart = a.State == agent.Errored
		if n, ok := whole(given, "sequence"); ok && n > 0 {
			p.Sequence = uint64(n)
		}
	case cause.Wait:
		p.Restart, p.Watch = false, agent.Duration(watchLong)
	case cause.FreeDisk:
		if s.Machine == nil {
			return p, fault.New(fault.Unavailable, "error.no_machine", "The agent's files are not on this machine")
		}
		files, size, err := s.Machine.Disposable(a.ID)
		if err != nil {
			return p, err
		}
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d files with %s are deleted for good.", len(files), amount(size)))
	}
	return p, nil
}

func titleOf(in *Incident, fix cause.Fix) string {
	for _, sg := range in.Suggestions {
		if sg.Fix == fix {
			return sg.Title
		}
	}
	words := strings.ReplaceAll(string(fix), "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}

func amount(n int64) string {
	if n < 1<<20 {
		return strconv.FormatInt(n>>10, 10) + " KiB"
	}
	return strconv.FormatInt(n>>20, 10) + " MiB"
}
