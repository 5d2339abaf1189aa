package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/operation"
)

// gerunds are the actions while they go on.
var gerunds = map[agent.Action]string{
	agent.Provision: "Provisioning", agent.Deploy: "Deploying", agent.Start: "Starting", agent.Stop: "Stopping",
	agent.Suspend: "Suspending", agent.Resume: "Resuming", agent.Restart: "Restarting", agent.Revoke: "Revoking", "move": "Moving",
}

// Doing says in one word what an action does while it goes on: "Starting".
func Doing(a agent.Action) string {
	if s, ok := gerunds[a]; ok {
		return s
	}
	return Words(string(a))
}

func doing(op *operation.Operation) string {
	_, action, _ := strings.Cut(op.Kind, ".")
	switch {
	case op.State == operation.Paused:
		return "Paused"
	case op.State == operation.Cancelling:
		return "Cancelling"
	case action == "":
		return "Working"
	}
	return Doing(agent.Action(action))
}

// Actor is who did something, for people: the e-mail of a user, the name of a
// token.
func Actor(id string) string {
	kind, name, _ := strings.Cut(id, ":")
	if i := strings.LastIndex(name, "/"); i > 0 {
		name = name[:i]
	}
	switch kind {
	case "system":
		return "the portal"
	case "user", "agent":
		return Plain(name, 100)
	case "token":
		return "the token " + Plain(name, 100)
	case "session":
		return "somebody signed in by a one-time link"
	}
	return Plain(id, 100)
}

// Kind is an operation's kind for people: "agent.start" is "Start".
func Kind(kind string) string {
	if _, action, ok := strings.Cut(kind, "."); ok {
		return Words(action)
	}
	return Words(kind)
}

// OperationState is the cell of an operation's state.
func OperationState(s operation.State) Cell {
	return Cell{Text: Words(string(s)), Status: strings.ToLower(string(s))}
}

func progress(completed, total int) Cell {
	c := Cell{Text: strconv.Itoa(completed) + "/" + strconv.Itoa(total)}
	if total > 0 {
		c.Share = new(float64(completed) / float64(total))
	}
	return c
}

func progressText(op *operation.Operation) string {
	return fmt.Sprintf("%d of %d steps done", op.Completed, op.Total)
}

// problem is the cell of what went wrong; empty for nil.
func problem(p *operation.Problem) Cell {
	if p == nil {
		return Cell{}
	}
	text := p.What
	if p.Why != "" {
		text += ": " + p.Why
	}
	return Cell{Text: text, Status: "error", Hint: p.Remedy}
}

// Operation is what the row of an operation is made of.
type Operation struct{ *operation.Operation }

// Row is the operation's cells: state, request, progress, step, problem, started,
// ended, took, and for each step step-N and step-N-detail, N from 0.
func (o Operation) Row() Row {
	r := Row{
		"state":    OperationState(o.State),
		"request":  o.request(),
		"progress": progress(o.Completed, o.Total),
		"step":     o.step(),
		"problem":  problem(o.Problem),
		"started":  {},
		"ended":    {},
		"took":     {},
	}
	r["progress"] = Cell{Text: r["progress"].Text, Share: r["progress"].Share, Hint: progressText(o.Operation)}
	if o.StartedAt != nil {
		r["started"] = When(*o.StartedAt)
	}
	if o.EndedAt != nil {
		r["ended"] = When(*o.EndedAt)
		if o.StartedAt != nil {
			r["took"] = Cell{Text: Duration(o.EndedAt.Sub(*o.StartedAt))}
		}
	}
	for i, s := range o.Steps {
		name := "step-" + strconv.Itoa(i)
		r[name], r[name+"-detail"] = Step(s), stepDetail(s)
	}
	return r.plain()
}

func (o Operation) request() Cell {
	if o.Request == "" || o.State.Final() {
		return Cell{}
	}
	return Cell{Text: Words(o.Request) + " asked for", Status: o.Request, Hint: "It takes effect between two steps"}
}

// step is the one in progress.
func (o Operation) step() Cell {
	for _, s := range o.Steps {
		if s.State == operation.StepRunning {
			return Cell{Text: Words(s.Name), Status: string(s.State), Hint: s.Detail}
		}
	}
	return Cell{}
}

// Step is the cell of a step's state.
func Step(s operation.Step) Cell {
	c := Cell{Text: Words(string(s.State)), Status: string(s.State)}
	if s.Attempts > 1 {
		c.Hint = fmt.Sprintf("Attempt %d", s.Attempts)
	}
	return c
}

func stepDetail(s operation.Step) Cell {
	if s.Problem != nil {
		return problem(s.Problem)
	}
	return Cell{Text: s.Detail}
}

// Left says how long work still takes that has gone on for a while, by how long
// earlier work of its kind took; "" if there was too little of that to say.
func Left(took []time.Duration, already time.Duration) string {
	if len(took) < 3 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(took))
	usual := sorted[len(sorted)/2]
	if rest := usual - already; rest > 0 {
		return "about " + Duration(rest) + " left"
	}
	return "longer than the usual " + Duration(usual)
}
