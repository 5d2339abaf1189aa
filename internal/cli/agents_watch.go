package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
)

// listing is a command that shows one list of things of one agent.
func (a *app) listing(use, short string, head []string, fetch func(ctx context.Context, c *conn, id string, limit int) ([]json.RawMessage, error), row func(json.RawMessage) ([]string, error)) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: use + " ID", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := fetch(cmd.Context(), c, args[0], limit)
			if err != nil {
				return err
			}
			v := view{raw: raw, head: head, empty: "Nothing yet."}
			for _, r := range raw {
				cells, err := row(r)
				if err != nil {
					return err
				}
				v.names = append(v.names, cells[0])
				v.rows = append(v.rows, cells)
			}
			return a.show(v)
		},
	}
	c.Flags().IntVar(&limit, "limit", 100, "at most this many; 0 means all")
	return c
}

func rowOf[T any](cells func(T) []string) func(json.RawMessage) ([]string, error) {
	return func(raw json.RawMessage) ([]string, error) {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, err
		}
		return cells(v), nil
	}
}

func historyCommand(a *app) *cobra.Command {
	return a.listing("history", "Show the states an agent was in", []string{"AT", "FROM", "TO", "BY", "WHY"},
		func(ctx context.Context, c *conn, id string, limit int) ([]json.RawMessage, error) {
			return c.history(ctx, id, limit)
		},
		rowOf(func(t agent.Transition) []string {
			return []string{stamp(t.CreatedAt), string(t.PreviousState), string(t.State), t.TriggeredBy, metaText(t.Metadata)}
		}))
}

// metaText shows the reason of a transition, and the operation behind it.
func metaText(meta map[string]any) string {
	var out []string
	for _, key := range []string{"reason", "action", "operation"} {
		if s, ok := meta[key].(string); ok && s != "" {
			out = append(out, key+" "+s)
		}
	}
	return strings.Join(out, ", ")
}

func versionsCommand(a *app) *cobra.Command {
	return a.listing("versions", "Show the revisions of an agent's spec", []string{"REVISION", "VERSION", "MADE", "BY", "WHY"},
		func(ctx context.Context, c *conn, id string, limit int) ([]json.RawMessage, error) {
			return c.versions(ctx, id, limit)
		},
		rowOf(func(r agent.Revision) []string {
			return []string{strconv.Itoa(r.Number), r.Spec.Version, stamp(r.CreatedAt), r.CreatedBy, r.Reason}
		}))
}

func instancesCommand(a *app) *cobra.Command {
	return a.listing("instances", "Show the running copies of an agent", []string{"ID", "STATE", "PID", "PORT", "LIVE", "READY", "RESTARTS", "UP", "REASON"},
		func(ctx context.Context, c *conn, id string, _ int) ([]json.RawMessage, error) {
			return c.instances(ctx, id)
		},
		rowOf(func(i fleet.Instance) []string {
			up := ""
			if i.EndedAt.IsZero() {
				up = a.since(i.StartedAt)
			}
			return []string{i.ID, string(i.State), number(i.PID), number(i.Port), yesNo(i.Live), yesNo(i.Ready), strconv.Itoa(i.Restarts), up, i.Reason}
		}))
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func yesNo(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "yes"
	}
	return "no"
}

func agentHealthCommand(a *app) *cobra.Command {
	return a.listing("health", "Show what the probes of an agent found, newest first", []string{"AT", "INSTANCE", "PROBE", "OK", "TOOK", "REASON"},
		func(ctx context.Context, c *conn, id string, limit int) ([]json.RawMessage, error) {
			return c.healthResults(ctx, id, limit)
		},
		rowOf(func(r health.Result) []string {
			return []string{stamp(r.At), r.InstanceID, string(r.Kind), yesNo(&r.OK), span(r.Latency), r.Reason}
		}))
}

// condition is one thing to wait for.
type condition struct{ field, want string }

func (c condition) met(s shownAgent) bool {
	switch c.field {
	case "state":
		return strings.EqualFold(s.State, c.want)
	case "health":
		return strings.EqualFold(s.Health, c.want)
	}
	return s.ready() == strconv.Itoa(max(s.Replicas, 1))+"/"+strconv.Itoa(max(s.Replicas, 1))
}

func parseConditions(list []string) ([]condition, error) {
	var out []condition
	for _, text := range list {
		field, want, ok := strings.Cut(text, "=")
		switch {
		case text == "ready":
		case !ok || (field != "state" && field != "health"):
			return nil, usagef("--for %q is not a condition; use state=RUNNING, health=healthy or ready", text)
		}
		out = append(out, condition{field, want})
	}
	if len(out) == 0 {
		return nil, usagef("say what to wait for, e.g. --for state=RUNNING")
	}
	return out, nil
}

func waitCommand(a *app) *cobra.Command {
	var conditions []string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "wait ID…", Short: "Wait until agents are in a state or healthy", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeAgents,
		Long: "Waits until every condition holds for every agent named. Ends with code 1 as soon as an agent that is\n" +
			"waited for to run is ERRORED or REVOKED and nothing works on it any more; with code 6 at the time limit.",
		Example: "  portal agents wait wow-memory --for state=RUNNING --for health=healthy --timeout 30s",
		RunE: func(cmd *cobra.Command, args []string) error {
			want, err := parseConditions(conditions)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			for _, id := range args {
				if err := a.waitAgent(ctx, c, id, want); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&conditions, "for", nil, "state=STATE, health=HEALTH or ready; may be given several times")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "time limit")
	return c
}

func (a *app) waitAgent(ctx context.Context, c *conn, id string, want []condition) error {
	var s shownAgent
	var raw json.RawMessage
	err := poll(ctx, func() (bool, error) {
		var now shownAgent
		answer, err := c.agent(ctx, id, &now)
		if err != nil {
			return false, err
		}
		s, raw = now, answer
		for _, w := range want {
			if !w.met(s) {
				return false, hopeless(s, w)
			}
		}
		return true, nil
	})
	switch {
	case err == nil:
		return a.show(view{raw: raw, names: []string{s.ID}, text: fmt.Sprintf("%s is %s and %s\n", clean(s.ID), clean(s.State), clean(s.Health))})
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Unavailable, "cli.wait_timeout", "%s is still %s and %s at the time limit", id, s.State, s.Health).
			Because("%s", s.HealthReason).Do("Look at: portal agents get %s; portal agents logs %s", id, id)
	}
	return err
}

// hopeless tells why waiting longer would be in vain.
func hopeless(s shownAgent, w condition) error {
	if s.ActiveOperation != "" || (w.field == "state" && !strings.EqualFold(w.want, string(agent.Running))) {
		return nil
	}
	switch agent.State(s.State) {
	case agent.Revoked:
		return fault.New(fault.Internal, "agent.revoked", "%s is REVOKED and will not run again", s.ID)
	case agent.Errored:
		f := fault.New(fault.Internal, "agent.errored", "%s is ERRORED", s.ID)
		if s.Failure != nil {
			f.Because("%s", s.Failure.Reason).Do("%s", s.Failure.Remedy)
		}
		return f
	}
	return nil
}

func taskCommand(a *app) *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: "task ID", Short: "Give an agent a task through its queue", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		Example: `  portal agents task wow-memory --data '{"type":"memory.store","payload":{"text":"hello"}}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			payload, err := a.argument(data)
			if err != nil {
				return err
			}
			if !json.Valid(payload) {
				return usagef("--data is not JSON")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, id, err := c.sendTask(cmd.Context(), args[0], payload)
			if err != nil {
				return err
			}
			return a.show(view{raw: raw, names: []string{id}, text: "task " + clean(id) + " is in the queue of " + clean(args[0]) + "\n"})
		},
	}
	c.Flags().StringVarP(&data, "data", "d", "{}", "JSON, @FILE, or - for standard input")
	return c
}

func moveCommand(a *app) *cobra.Command {
	var f actionFlags
	var to, image, command string
	var arguments []string
	var plan, copyData bool
	c := &cobra.Command{
		Use: "move ID --to RUNTIME", Short: "Bring an agent to another runtime", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		Long: "Brings an agent to another runtime. Where possible the new instances are ready before the old ones end, and if\n" +
			"they do not get ready everything is taken back. The content of its data directory and volumes goes along with\n" +
			"--copy-data alone; it does not serve while it is copied. With --plan it is said what would happen, and nothing\n" +
			"is changed.",
		Example: "  portal agents move wow-memory --to docker --plan\n  portal agents move worker --to docker --image registry.example/worker:1.2\n" +
			"  portal agents move wow-memory --to docker --copy-data",
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usagef("say where to, with --to")
			}
			changes := map[string]any{}
			if image != "" {
				changes["image"] = image
			}
			if command != "" {
				changes["command"] = command
			}
			if cmd.Flags().Changed("arg") {
				changes["args"] = arguments
			}
			body, err := jsonBody(map[string]any{"runtime": to, "changes": changes, "copy_data": copyData, "reason": f.reason})
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if plan {
				var p fleet.MovePlan
				raw, err := c.once(cmd.Context(), &p, func(ctx context.Context) (*http.Response, error) {
					return c.api.PlanMoveWithBody(ctx, args[0], nil, jsonType, body)
				})
				if err != nil {
					return err
				}
				return a.show(view{raw: raw, names: []string{p.AgentID}, text: movePlanText(p)})
			}
			var answer struct {
				Operation json.RawMessage `json:"operation"`
			}
			if _, err := c.once(cmd.Context(), &answer, func(ctx context.Context) (*http.Response, error) {
				return c.api.MoveAgentWithBody(ctx, args[0], nil, jsonType, body)
			}); err != nil {
				return err
			}
			return a.followOperation(cmd, c, answer.Operation, f, func() { a.say("%s runs on %s", args[0], to) })
		},
	}
	c.Flags().StringVar(&to, "to", "", "runtime that it moves to, e.g. docker")
	c.Flags().StringVar(&image, "image", "", "image that it runs there")
	c.Flags().StringVar(&command, "command", "", "command that it runs there")
	c.Flags().StringArrayVar(&arguments, "arg", nil, "argument of the command; may be given several times")
	c.Flags().BoolVar(&copyData, "copy-data", false, "let the content of its volumes go along")
	c.Flags().BoolVar(&plan, "plan", false, "only say what would happen")
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the audit log")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "return once the portal has taken it over")
	f.wait = true
	return c
}

// followOperation waits for an operation that was begun, unless that is not wanted.
func (a *app) followOperation(cmd *cobra.Command, c *conn, raw json.RawMessage, f actionFlags, done func()) error {
	var op operation.Operation
	if err := c.decode(raw, &op); err != nil {
		return err
	}
	if f.noWait || !f.wait {
		return a.showOperation(raw, &op)
	}
	raw, err := a.waitOperation(cmd.Context(), c, op.ID)
	if raw != nil {
		if showErr := a.showResult(raw, op.ID, done, err); showErr != nil {
			return showErr
		}
	}
	return err
}

// movePlanText tells a plan to people.
func movePlanText(p fleet.MovePlan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s moves from %s to %s.\n", clean(p.AgentID), clean(p.From), clean(p.To))
	if p.Interrupts != "" {
		fmt.Fprintf(&b, "It does not serve for a while: %s.\n", clean(p.Interrupts))
	}
	part := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "\n%s\n", title)
		}
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s\n", clean(l))
		}
	}
	var diff []string
	for _, d := range p.Diff {
		diff = append(diff, fmt.Sprintf("%s: %v → %v", d.Path, d.Old, d.New))
	}
	part("Steps:", p.Steps)
	part("Its specification:", diff)
	part("As before:", p.Moves)
	part("Does not go along:", p.Stays)
	part("To be known:", p.Warnings)
	return b.String()
}
