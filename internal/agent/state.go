package agent

import (
	"slices"

	"github.com/waooaw/platform-portal/internal/fault"
)

// State is where an agent is in its life.
type State string

// The states.
const (
	Draft       State = "DRAFT"
	Provisioned State = "PROVISIONED"
	Deployed    State = "DEPLOYED"
	Running     State = "RUNNING"
	Stopped     State = "STOPPED"
	Suspended   State = "SUSPENDED"
	Errored     State = "ERRORED"
	Revoked     State = "REVOKED"
)

// States are all states in the order of an agent's life.
var States = []State{Draft, Provisioned, Deployed, Running, Stopped, Suspended, Errored, Revoked}

// Action is what a user can do to an agent.
type Action string

// The actions.
const (
	Provision Action = "provision"
	Deploy    Action = "deploy"
	Start     Action = "start"
	Stop      Action = "stop"
	Suspend   Action = "suspend"
	Resume    Action = "resume"
	Restart   Action = "restart"
	Revoke    Action = "revoke"
)

// Rule is one row of the state machine.
type Rule struct {
	Action Action
	From   []State
	To     State
	// Undo is the action that takes the effect back, or "" where undo makes no sense.
	Undo Action
	// Past are the states in which the action's effect is already there, so that
	// a chain of actions may skip it.
	Past []State
}

// Rules is the whole state machine, one row an action.
var Rules = []Rule{
	{Action: Provision, From: []State{Draft}, To: Provisioned, Past: []State{Provisioned, Deployed, Running, Stopped, Suspended, Errored}},
	{Action: Deploy, From: []State{Provisioned, Stopped, Errored}, To: Deployed, Past: []State{Deployed, Running}},
	{Action: Start, From: []State{Deployed, Stopped, Errored}, To: Running, Undo: Stop, Past: []State{Running}},
	{Action: Stop, From: []State{Running, Suspended, Errored}, To: Stopped, Undo: Start, Past: []State{Stopped, Draft, Provisioned, Deployed}},
	{Action: Suspend, From: []State{Running}, To: Suspended, Undo: Resume, Past: []State{Suspended}},
	{Action: Resume, From: []State{Suspended}, To: Running, Undo: Suspend, Past: []State{Running}},
	{Action: Restart, From: []State{Running, Errored}, To: Running},
	{Action: Revoke, From: []State{Draft, Provisioned, Deployed, Running, Stopped, Suspended, Errored}, To: Revoked, Past: []State{Revoked}},
}

// RuleOf gives the row of an action.
func RuleOf(a Action) (Rule, bool) {
	i := slices.IndexFunc(Rules, func(r Rule) bool { return r.Action == a })
	if i < 0 {
		return Rule{}, false
	}
	return Rules[i], true
}

// Actions are the names of all actions, in the order of the table.
func Actions() []Action {
	out := make([]Action, len(Rules))
	for i, r := range Rules {
		out[i] = r.Action
	}
	return out
}

// Allowed lists the actions that a state allows.
func Allowed(s State) []Action {
	out := []Action{}
	for _, r := range Rules {
		if slices.Contains(r.From, s) {
			out = append(out, r.Action)
		}
	}
	return out
}

// Next gives the state that the action leads to, or a Conflict fault that
// lists the actions that the present state allows.
func Next(from State, a Action) (State, error) {
	r, ok := RuleOf(a)
	if !ok {
		return "", fault.New(fault.Invalid, "agent.unknown_action", "There is no action %q", a).
			Do("Use one of the actions listed.").With("actions", Actions())
	}
	if slices.Contains(r.From, from) {
		return r.To, nil
	}
	allowed := Allowed(from)
	f := fault.New(fault.Conflict, "agent.transition_refused", "The agent can't %s now", a).
		Because("it is %s", from).With("state", from).With("allowed", allowed)
	if len(allowed) == 0 {
		return "", f.Do("%s is final; create a new agent instead.", from)
	}
	return "", f.Do("Allowed from %s: %s.", from, join(allowed))
}

// Satisfied tells whether the effect of the action is already there in state s.
func Satisfied(s State, a Action) bool {
	r, ok := RuleOf(a)
	return ok && slices.Contains(r.Past, s)
}

func join(actions []Action) string {
	s := ""
	for i, a := range actions {
		if i > 0 {
			s += ", "
		}
		s += string(a)
	}
	return s
}
