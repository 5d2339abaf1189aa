package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
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
