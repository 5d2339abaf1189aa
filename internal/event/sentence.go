package event

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Said is an event in words.
type Said struct {
	// What happened, as a sentence without its full stop: "memory went from
	// running to errored".
	What string
	// By is who caused it; "" where that says nothing, e.g. for what was measured.
	By string
	// Why it happened; "" if that is not known.
	Why string
}

// String is the whole sentence.
func (s Said) String() string {
	text := s.What
	if s.By != "" {
		text += ", by " + s.By
	}
	if s.Why != "" {
		return text + ": " + strings.TrimSuffix(s.Why, ".") + "."
	}
	return text + "."
}

// Say puts an event into words. name gives what to call an agent; nil leaves
// its id. The words hold text from outside, as the event does.
func Say(e Event, name func(agentID string) string) Said {
	var d facts
	_ = json.Unmarshal(e.Data, &d) // what another version wrote has less to say
	agent := d.Name
	if e.AgentID != "" {
		agent = e.AgentID
		if name != nil {
			agent = name(e.AgentID)
		}
	}
	s := Said{By: Who(e.Actor), Why: d.Reason}
	switch e.Type {
	case AgentCreated, AgentUpdated, AgentDeleted, AgentStateChanged, AgentHealthUpdate, InstanceChanged:
		s.What = d.ofAgent(e.Type, agent)
		if e.Type == AgentHealthUpdate || e.Type == InstanceChanged {
			s.By = ""
		}
	case OperationChanged, StepCompleted, BulkProgress:
		s.What, s.Why = d.ofWork(e.Type, agent, e.AgentID != "")
	case DeadLetter:
		s.What, s.By, s.Why = "A command for "+agent+" could not be done", "", first(d.Error, words(d.Reason))
	case QueueUpdate:
		s.What, s.By = "The queue of "+agent+" changed", ""
	case SignIn:
		who, how := first(d.Name, s.By), d.Reason
		if strings.HasPrefix(e.Actor, "session:") {
			who, how = "Somebody", "by a one-time link" // nobody knows who
		}
		s.What, s.By, s.Why = strings.TrimSpace(who+" signed in "+how), "", ""
	case TokenChanged:
		s.What = fmt.Sprintf("The token %s was %s", d.Name, first(words(d.Change), "changed"))
	case UserChanged:
		s.What = fmt.Sprintf("The user %s was %s", first(d.Name, d.ID), first(words(d.Change), "changed"))
	case SessionChanged:
		s.What = first(map[string]string{"signed_out": "A session was signed out"}[d.Change], "A session changed: "+words(d.Change))
	case OrphanRemoved:
		s.What = fmt.Sprintf("What was left over of %s on %s was removed", first(agent, e.AgentID), d.Runtime)
	case WebhookChanged:
		s.What = fmt.Sprintf("The webhook %s was %s", d.Name, words(first(d.Change, "changed")))
	default:
		s.What, s.Why = d.other(e.Type, agent)
		if e.Actor == "system" {
			s.By = ""
		}
	}
	return s
}

// facts are what payloads hold of use for a sentence.
type facts struct {
	ID, Name, Reason, Error, Change, Changed string
	Title, Summary, Severity, State, Status  string
	Health, Step, Kind, Cause, Runtime       string
	OldState                                 string `json:"old_state"`
	NewState                                 string `json:"new_state"`
	InstanceID                               string `json:"instance_id"`
	ItemStatus                               string `json:"item_status"`
	Revision, PID, Port, Restarts            int
	Completed, Total, Failed, Attempt        int
	Actions                                  []string
}

func (d facts) ofAgent(t Type, agent string) string {
	switch t {
	case AgentCreated:
		return agent + " was created"
	case AgentDeleted:
		return agent + " was deleted"
	case AgentUpdated:
		return fmt.Sprintf("%s was changed (revision %d)", agent, d.Revision)
	case AgentHealthUpdate:
		if d.Health == "unknown" {
			return "It is not known how " + agent + " is"
		}
		return agent + " is " + words(d.Health)
	case InstanceChanged:
		text := fmt.Sprintf("Instance %s of %s is %s", d.InstanceID, agent, words(d.State))
		if d.Restarts > 0 {
			text += fmt.Sprintf(" (restarts: %d)", d.Restarts)
		}
		return text
	}
	if d.OldState == "" {
		return agent + " is " + words(d.NewState)
	}
	return fmt.Sprintf("%s went from %s to %s", agent, words(d.OldState), words(d.NewState))
}

// ofWork says what an operation, a step or a bulk operation came to, and why.
func (d facts) ofWork(t Type, agent string, known bool) (what, why string) {
	why = first(d.Error, d.Reason)
	of := ""
	if known {
		of = " of " + agent
	}
	_, action, ok := strings.Cut(d.Kind, ".")
	if !ok {
		action = first(d.Kind, "operation")
	}
	switch t {
	case StepCompleted:
		what = fmt.Sprintf("Step %q of the %s%s %s", d.Step, words(action), of, became(d.Status))
		if d.Attempt > 1 {
			what += fmt.Sprintf(" at try %d", d.Attempt)
		}
	case BulkProgress:
		what = fmt.Sprintf("The bulk %s %s (%d of %d)", first(words(strings.Join(d.Actions, " and ")), "operation"), became(d.Status), d.Completed, d.Total)
		if d.Failed > 0 {
			what += fmt.Sprintf(", %d failed", d.Failed)
		}
		if known && d.ItemStatus != "" {
			what += fmt.Sprintf("; %s %s", agent, became(d.ItemStatus))
		}
	default:
		what = fmt.Sprintf("The %s%s %s", words(action), of, became(d.State))
		if d.Total > 0 && d.Completed < d.Total {
			what += fmt.Sprintf(" (%d of %d steps)", d.Completed, d.Total)
		}
	}
	return what, why
}

// became is a state as the end of a sentence: what is over "succeeded", what goes
// on "is running".
func became(state string) string {
	switch s := words(state); s {
	case "succeeded", "failed":
		return s
	case "cancelled", "skipped", "undone", "rolled back":
		return "was " + s
	default:
		return "is " + s
	}
}

// other puts events into words of which nothing but their type is known here.
func (d facts) other(t Type, agent string) (what, why string) {
	noun, verb, ok := strings.Cut(string(t), ":")
	if !ok {
		noun, verb = words(string(t)), "happened"
	}
	text := capital(words(noun))
	if subject := first(d.Title, d.Name, d.Summary); subject != "" {
		text += " " + subject
		if d.Title != "" {
			text += ":"
		}
	}
	if state := first(d.State, d.Status, d.NewState); state != "" && verb == "changed" {
		text += " now " + words(state)
	} else {
		text += " " + words(verb)
	}
	if agent != "" && agent != d.Name {
		text += " (" + agent + ")"
	}
	if why = first(d.Reason, d.Error); why == "" && (d.Title != "" || d.Name != "") {
		why = d.Summary
	}
	return text, why
}

// Who names an actor for people: the e-mail of a user, the name of a token.
func Who(actor string) string {
	kind, name, _ := strings.Cut(actor, ":")
	if i := strings.LastIndex(name, "/"); i > 0 {
		name = name[:i]
	}
	switch kind {
	case "system":
		return "the portal"
	case "user", "agent":
		return name
	case "token":
		return "the token " + name
	case "session":
		return "somebody signed in by a one-time link"
	}
	return actor
}

// words makes a code readable: "in_progress" is "in progress".
func words(code string) string { return strings.ToLower(strings.ReplaceAll(code, "_", " ")) }

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
