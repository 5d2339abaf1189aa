package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/operation"
)

var actionHelp = map[agent.Action]string{
	agent.Provision: "Make what agents need: directories, queues, credentials, ports",
	agent.Deploy:    "Put the newest revision of agents on their runtime",
	agent.Start:     "Start agents and wait until they are ready",
	agent.Stop:      "Stop agents gracefully",
	agent.Suspend:   "Freeze agents with their memory kept",
	agent.Resume:    "Thaw suspended agents",
	agent.Restart:   "Restart agents, one instance after the other",
	agent.Revoke:    "Tear agents down for good, with their credentials and data",
}

// actionFlags are common to actions on agents.
type actionFlags struct {
	selector, reason string
	wait, noWait     bool
	yes              bool
	parallel         int
	onFailure        string
}

func (f *actionFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the audit log")
	c.Flags().BoolVar(&f.wait, "wait", true, "wait until it is done")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "return once the portal has taken it over")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask before revoking")
	c.Flags().IntVar(&f.parallel, "max-parallel", 0, "how many agents at once when there are several, at most 50 (default 5)")
	c.Flags().StringVar(&f.onFailure, "on-failure", "", "when one of several fails: continue (default), stop or rollback")
	_ = c.RegisterFlagCompletionFunc("on-failure", cobra.FixedCompletions([]string{"continue", "stop", "rollback"}, cobra.ShellCompDirectiveNoFileComp))
}

func actionCommand(a *app, rule agent.Rule) *cobra.Command {
	var f actionFlags
	c := &cobra.Command{
		Use: string(rule.Action) + " ID…", Short: actionHelp[rule.Action], ValidArgsFunction: a.completeAgents,
		Long: actionHelp[rule.Action] + ".\n\nAllowed from: " + joinActions(rule.From) + "; leads to " + string(rule.To) + ".\n" +
			"Several agents, or a selector, become one bulk operation in the order of their dependencies.\n" +
			"Ctrl-C while waiting leaves the work going in the server.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (f.selector == "") {
				return usagef("name agents or give a selector (-l), one of the two")
			}
			if rule.Action == agent.Revoke {
				target := strings.Join(args, ", ")
				if f.selector != "" {
					target = "all agents with " + f.selector
				}
				if err := a.confirm(f.yes, "Revoke "+target+" for good, with credentials and data?"); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return a.actOnOne(cmd, c, args[0], rule.Action, f)
			}
			return a.startBulk(cmd, c, bulkRequest{Actions: []string{string(rule.Action)}, AgentIDs: args, Selector: f.selector}, f)
		},
	}
	c.Flags().StringVarP(&f.selector, "selector", "l", "", "act on all agents with these labels")
	f.flags(c)
	return c
}

func (a *app) actOnOne(cmd *cobra.Command, c *conn, id string, action agent.Action, f actionFlags) error {
	op, raw, err := c.act(cmd.Context(), id, action, f.reason)
	if err != nil {
		return err
	}
	if f.noWait || !f.wait {
		return a.showOperation(raw, op)
	}
	raw, err = a.waitOperation(cmd.Context(), c, op.ID)
	if raw != nil {
		if showErr := a.showResult(raw, op.ID, func() { a.say("%s: %s done", id, action) }, err); showErr != nil {
			return showErr
		}
	}
	return err
}

// showResult prints the final operation for scripts, and a sentence for people
// if it went well.
func (a *app) showResult(raw json.RawMessage, name string, sentence func(), failure error) error {
	if a.output == "" || a.output == "table" {
		if failure == nil {
			sentence()
		}
		return nil
	}
	return a.show(view{raw: raw, names: []string{name}})
}

func (a *app) showOperation(raw json.RawMessage, op *operation.Operation) error {
	return a.show(view{raw: raw, names: []string{op.ID}, text: fmt.Sprintf("%s %s is %s: operation %s\n",
		clean(op.Kind), clean(op.AgentID), clean(string(op.State)), clean(op.ID))})
}

// bulkRequest is the body of a bulk operation.
type bulkRequest struct {
	Actions     []string `json:"actions"`
	AgentIDs    []string `json:"agent_ids,omitempty"`
	Selector    string   `json:"selector,omitempty"`
	Filter      any      `json:"filter,omitempty"` // as in the list of agents; an empty one means all
	MaxParallel int      `json:"max_parallel,omitempty"`
	OnFailure   string   `json:"on_failure,omitempty"`
	Reason      string   `json:"reason,omitempty"`
}

func (a *app) startBulk(cmd *cobra.Command, c *conn, req bulkRequest, f actionFlags) error {
	req.MaxParallel, req.OnFailure, req.Reason = f.parallel, f.onFailure, f.reason
	id, raw, err := c.startBulk(cmd.Context(), req)
	if err != nil {
		return err
	}
	if f.noWait || !f.wait {
		return a.show(view{raw: raw, names: []string{id}, text: "bulk " + clean(id) + "\n"})
	}
	raw, b, err := a.waitBulk(cmd.Context(), c, id)
	if err != nil {
		return err
	}
	if err := a.showBulk(raw, b); err != nil {
		return err
	}
	if b.State != operation.Succeeded || b.Failed > 0 {
		return codeError(exitFailed)
	}
	return nil
}

// problemNote says on one line what is wrong, why, and what to do.
func problemNote(p *operation.Problem) string {
	note := strings.TrimSuffix(p.What, ".")
	if p.Why != "" {
		note += ": " + strings.TrimSuffix(p.Why, ".")
	}
	if note != "" && p.Remedy != "" {
		note += "."
	}
	return strings.TrimSpace(note + " " + p.Remedy)
}

// showBulk shows the result of each agent.
func (a *app) showBulk(raw json.RawMessage, b *bulk.Bulk) error {
	v := view{raw: raw, names: []string{b.ID}, head: []string{"AGENT", "RESULT", "TOOK", "NOTE"}}
	for _, it := range b.Items {
		note := it.Note
		if it.Problem != nil {
			note = problemNote(it.Problem)
		}
		took := ""
		if it.StartedAt != nil && it.EndedAt != nil {
			took = span(it.EndedAt.Sub(*it.StartedAt))
		}
		v.rows = append(v.rows, []string{it.AgentID, string(it.State), took, note})
	}
	if err := a.show(v); err != nil {
		return err
	}
	if a.output == "" || a.output == "table" {
		a.say("%s %s: %d of %d succeeded, %d failed, %d skipped (bulk %s)", joinActions(b.Actions), b.State, b.Succeeded, b.Total, b.Failed, b.Skipped, b.ID)
	}
	return nil
}

func bulkCommand(a *app) *cobra.Command {
	var f actionFlags
	var filter agentFilter
	var all bool
	c := &cobra.Command{
		Use: "bulk ACTION[,ACTION…] [ID…]", Short: "Act on many agents as one operation",
		Long: "Runs one or several actions on the agents that are named, that have the labels (-l), that match the\n" +
			"filters, or on all (--all): in the order of their dependencies, some at a time, with a result for each.\n" +
			"What is done already is skipped. The server owns the work: it survives this command and a crash.",
		Example: "  portal bulk provision,deploy,start --all\n  portal bulk restart --state ERRORED --max-parallel 10",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := bulkTarget(args, filter.selector, filter.body(), all)
			if err != nil {
				return err
			}
			for _, action := range req.Actions {
				if _, ok := agent.RuleOf(agent.Action(action)); !ok {
					return usagef("there is no action %q; use some of %s", action, joinActions(agent.Actions()))
				}
				if action == string(agent.Revoke) {
					if err := a.confirm(f.yes, "Revoke these agents for good, with credentials and data?"); err != nil {
						return err
					}
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.startBulk(cmd, c, req, f)
		},
	}
	filter.flags(c)
	f.flags(c)
	c.Flags().BoolVar(&all, "all", false, "act on every agent")
	c.AddCommand(bulkListCommand(a), bulkGetCommand(a), bulkCancelCommand(a), bulkRollbackCommand(a))
	return a.remote(c)
}

// bulkTarget says which agents are meant; exactly one way has to be used.
func bulkTarget(args []string, selector string, filter map[string]any, all bool) (bulkRequest, error) {
	req := bulkRequest{Actions: strings.Split(args[0], ","), AgentIDs: args[1:], Selector: selector}
	ways := 0
	for _, used := range []bool{len(req.AgentIDs) > 0, selector != "" && len(filter) == 0, len(filter) > 0, all} {
		if used {
			ways++
		}
	}
	if ways != 1 {
		return req, usagef("say which agents in one way: ids, -l, filters such as --state, or --all")
	}
	if len(filter) > 0 || all {
		if selector != "" {
			filter["selector"] = selector
		}
		req.Filter, req.Selector = filter, ""
	}
	return req, nil
}

func bulkListCommand(a *app) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List bulk operations, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.bulks(cmd.Context(), limit)
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No bulk operations.", head: []string{"ID", "ACTIONS", "STATE", "DONE", "FAILED", "BY", "AGE"}}
			for _, r := range raw {
				var b bulk.Bulk
				if err := json.Unmarshal(r, &b); err != nil {
					return err
				}
				v.names = append(v.names, b.ID)
				v.rows = append(v.rows, []string{b.ID, joinActions(b.Actions), string(b.State), fmt.Sprintf("%d/%d", b.Completed, b.Total), strconv.Itoa(b.Failed), b.Actor, a.since(b.CreatedAt)})
			}
			return a.show(v)
		},
	}
	c.Flags().IntVar(&limit, "limit", 50, "at most this many; 0 means all")
	return c
}

func bulkGetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show a bulk operation with the result of each agent", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var b bulk.Bulk
			raw, err := c.bulk(cmd.Context(), args[0], &b)
			if err != nil {
				return err
			}
			return a.showBulk(raw, &b)
		},
	}
}

func bulkCancelCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "Start nothing more of a bulk operation", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.cancelBulk(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(view{raw: raw, names: args, text: "bulk " + clean(args[0]) + " is being cancelled\n"})
		},
	}
}

func bulkRollbackCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rollback ID", Short: "Take back what a bulk operation did", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.rollbackBulk(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(view{raw: raw, names: args, text: "bulk " + clean(args[0]) + " is being rolled back\n"})
		},
	}
}
