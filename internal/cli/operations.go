package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
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

// poll calls look until it says that it is done, at first often and then once
// a second.
func poll(ctx context.Context, look func() (done bool, err error)) error {
	wait := 50 * time.Millisecond
	for {
		done, err := look()
		if done || err != nil {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
		wait = min(wait*3/2, time.Second)
	}
}

// progress shows how far long work is: a bar that is drawn over on a terminal,
// a line a change elsewhere.
type progress struct {
	a     *app
	drawn int
	last  string
}

func (p *progress) show(label string, completed, total int, detail string) {
	if p.a.io.ErrTTY {
		const cells = 24
		full := 0
		if total > 0 {
			full = cells * completed / total
		}
		line := fmt.Sprintf("%s [%s%s] %d/%d %s", clean(label), strings.Repeat("#", full), strings.Repeat(".", cells-full), completed, total, clean(detail))
		if line == p.last {
			return
		}
		p.last = line
		pad := max(0, p.drawn-width(line))
		p.drawn = width(line)
		fmt.Fprintf(p.a.io.Err, "\r%s%s", line, strings.Repeat(" ", pad))
		return
	}
	line := fmt.Sprintf("%s %d/%d %s", clean(label), completed, total, clean(detail))
	if line != p.last {
		p.last = line
		fmt.Fprintln(p.a.io.Err, strings.TrimSpace(line))
	}
}

// end leaves the bar on the screen and goes to the next line.
func (p *progress) end() {
	if p.drawn > 0 {
		fmt.Fprintln(p.a.io.Err)
		p.drawn = 0
	}
}

// leave says how to get back to work that goes on in the server.
func (a *app) leave(err error, what, id string) error {
	switch {
	case fault.KindOf(err) == fault.Unavailable:
		fmt.Fprintf(a.io.Err, "The portal goes on with the work, after its next start if it was stopped. Look at it then: portal %s get %s\n", what, clean(id))
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(a.io.Err, "The work goes on. Follow it: portal %s get %s   Cancel it: portal %s cancel %s\n", what, clean(id), what, clean(id))
	}
	return err
}

// waitOperation follows an operation to its end. It gives the final operation
// as it came; one that did not succeed is an error.
func (a *app) waitOperation(ctx context.Context, c *conn, id string) (json.RawMessage, error) {
	p := &progress{a: a}
	defer p.end()
	var op operation.Operation
	var raw json.RawMessage
	err := poll(ctx, func() (bool, error) {
		op = operation.Operation{}
		var err error
		raw, err = c.operation(ctx, id, &op)
		if err != nil {
			return false, err
		}
		p.show(strings.TrimSpace(op.Kind+" "+op.AgentID), op.Completed, op.Total, currentStep(&op))
		return op.State.Final(), nil
	})
	if err != nil {
		p.end()
		return nil, a.leave(err, "operations", id)
	}
	p.end()
	return raw, operationFailure(&op)
}

// currentStep says what is being done.
func currentStep(op *operation.Operation) string {
	for _, s := range op.Steps {
		if s.State == operation.StepRunning {
			return strings.TrimSpace(s.Name + "  " + s.Detail)
		}
	}
	return string(op.State)
}

func operationFailure(op *operation.Operation) error {
	if op.State == operation.Succeeded {
		return nil
	}
	subject := strings.TrimSpace(op.Kind + " " + op.AgentID)
	if op.Problem == nil {
		return fault.New(fault.Internal, "operation.not_done", "%s ended as %s", subject, op.State)
	}
	return fault.New(fault.Internal, op.Problem.Code, "%s ended as %s: %s", subject, op.State, op.Problem.What).
		Because("%s", op.Problem.Why).Do("%s", op.Problem.Remedy)
}

// waitBulk follows a bulk operation to its end.
func (a *app) waitBulk(ctx context.Context, c *conn, id string) (json.RawMessage, *bulk.Bulk, error) {
	p := &progress{a: a}
	defer p.end()
	var b bulk.Bulk
	var raw json.RawMessage
	err := poll(ctx, func() (bool, error) {
		b = bulk.Bulk{}
		var err error
		raw, err = c.bulk(ctx, id, &b)
		if err != nil {
			return false, err
		}
		detail := string(b.State)
		if b.Failed > 0 {
			detail += fmt.Sprintf(", %d failed", b.Failed)
		}
		p.show("bulk "+joinActions(b.Actions), b.Completed, b.Total, detail)
		return b.State.Final(), nil
	})
	if err != nil {
		p.end()
		return nil, nil, a.leave(err, "bulk", id)
	}
	return raw, &b, nil
}

func joinActions[T ~string](actions []T) string {
	out := make([]string, len(actions))
	for i, x := range actions {
		out[i] = string(x)
	}
	return strings.Join(out, ",")
}
