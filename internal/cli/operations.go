package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
)

func operationsCommand(a *app) *cobra.Command {
	c := group("operations", "Durable work: list, follow, pause, cancel, undo",
		operationsListCommand(a), operationsGetCommand(a), operationsWaitCommand(a),
		steerCommand(a, "pause", "Pause an operation after the step it is in", (*conn).pauseOperation),
		steerCommand(a, "resume", "Go on with a paused operation", (*conn).resumeOperation),
		steerCommand(a, "cancel", "Cancel an operation and clean up what it made", (*conn).cancelOperation),
		steerCommand(a, "undo", "Take an operation back, where that is offered", (*conn).undoOperation))
	c.Aliases = []string{"ops"}
	return a.remote(c)
}

// operationFilter are the flags that select operations.
type operationFilter struct {
	states, kinds, agents []string
	since                 moment
}

func operationsListCommand(a *app) *cobra.Command {
	var f operationFilter
	var limit int
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List operations, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.operations(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No operations.", head: []string{"ID", "KIND", "AGENT", "STATE", "STEPS", "BY", "AGE"}}
			for _, r := range raw {
				var op operation.Operation
				if err := json.Unmarshal(r, &op); err != nil {
					return err
				}
				v.names = append(v.names, op.ID)
				v.rows = append(v.rows, []string{op.ID, op.Kind, op.AgentID, string(op.State), fmt.Sprintf("%d/%d", op.Completed, op.Total), op.Actor, a.since(op.CreatedAt)})
			}
			return a.show(v)
		},
	}
	c.Flags().StringSliceVar(&f.states, "state", nil, "only these states, e.g. RUNNING,FAILED")
	c.Flags().StringSliceVar(&f.kinds, "kind", nil, "only these kinds, e.g. agent.start")
	c.Flags().StringSliceVar(&f.agents, "agent", nil, "only of these agents")
	c.Flags().Var(&f.since, "since", "only those made from then on: a time, or an age such as 1h")
	c.Flags().IntVar(&limit, "limit", 50, "at most this many; 0 means all")
	return c
}

func operationsGetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show an operation with its steps", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var op operation.Operation
			raw, err := c.operation(cmd.Context(), args[0], &op)
			if err != nil {
				return err
			}
			return a.show(view{raw: raw, names: []string{op.ID}, text: describeOperation(&op)})
		},
	}
}

func describeOperation(op *operation.Operation) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", key+":", clean(value))
		}
	}
	line("ID", op.ID)
	line("Kind", op.Kind)
	line("Agent", op.AgentID)
	line("State", strings.TrimSpace(string(op.State)+" "+op.Request))
	line("By", op.Actor)
	line("Reason", op.Reason)
	line("Created", stamp(op.CreatedAt))
	if op.EndedAt != nil {
		line("Ended", stamp(*op.EndedAt)+" after "+span(op.EndedAt.Sub(op.CreatedAt)))
	}
	if op.Undo != nil && op.Undo.UsedBy == "" {
		line("Undo", op.Undo.Action+", until "+stamp(op.Undo.Until))
	}
	if p := op.Problem; p != nil {
		line("Problem", p.What)
		line("  Why", p.Why)
		line("  Do", p.Remedy)
	}
	for _, s := range op.Steps {
		note := s.Detail
		if s.Problem != nil {
			note = s.Problem.What
		}
		line("Step", fmt.Sprintf("%-10s %s  %s", s.State, s.Name, note))
	}
	return b.String()
}

func operationsWaitCommand(a *app) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "wait ID…", Short: "Wait until operations have ended", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			for _, id := range args {
				raw, err := a.waitOperation(ctx, c, id)
				if raw != nil {
					if showErr := a.showResult(raw, id, func() { a.say("%s: %s", id, operation.Succeeded) }, err); showErr != nil {
						return showErr
					}
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "time limit (default none)")
	return c
}

// steerCommand changes the course of an operation.
func steerCommand(a *app, verb, short string, call func(*conn, context.Context, string, *operation.Operation) (json.RawMessage, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var op operation.Operation
			raw, err := call(c, cmd.Context(), args[0], &op)
			if err != nil {
				return err
			}
			return a.showOperation(raw, &op)
		},
	}
}

// metricsCommand asks the time series.
func metricsCommand(a *app) *cobra.Command {
	var agents []string
	var span, step string
	query := &cobra.Command{
		Use: "query EXPR", Short: "Evaluate a PromQL expression", Args: cobra.ExactArgs(1),
		Long: "Evaluates a PromQL expression now, or with --range over a time up to now. With --agent it is about\n" +
			"these agents only. The table shows the last value of each series; -o json has all of them.",
		Example: "  portal metrics query 'sum by (agent) (rate(agent_tasks_total[5m]))'\n  portal metrics query 'instance_memory_bytes' --range 1h --step 1m -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var length time.Duration
			if span != "" {
				if length, err = metrics.ParseDuration(span); err != nil {
					return usagef("--range %s", err)
				}
			}
			var result struct {
				Text     string
				Warnings []string
				Series   []struct {
					Labels map[string]string
					Points []struct {
						At    time.Time
						Value any
					}
				}
			}
			raw, err := c.queryMetrics(cmd.Context(), args[0], agents, length, step, &result)
			if err != nil {
				return err
			}
			a.warn(result.Warnings...)
			v := view{raw: raw, empty: "No series has a value.", head: []string{"SERIES", "AT", "VALUE"}}
			if result.Text != "" {
				v.text = clean(result.Text) + "\n"
			}
			for _, s := range result.Series {
				if n := len(s.Points); n > 0 {
					name := seriesName(s.Labels)
					v.names = append(v.names, name)
					v.rows = append(v.rows, []string{name, stamp(s.Points[n-1].At), fmt.Sprint(s.Points[n-1].Value)})
				}
			}
			return a.show(v)
		},
	}
	query.Flags().StringSliceVar(&agents, "agent", nil, "only these agents")
	query.Flags().StringVar(&span, "range", "", "over this time up to now, e.g. 1h")
	query.Flags().StringVar(&step, "step", "", "with --range: the time between two values, e.g. 1m")
	return group("metrics", "What is measured, as time series", a.remote(query))
}

// seriesName writes labels as PromQL does.
func seriesName(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != metrics.LabelName {
			parts = append(parts, name+"="+strconv.Quote(labels[name]))
		}
	}
	return labels[metrics.LabelName] + "{" + strings.Join(parts, ", ") + "}"
}
