package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery"
)

func errorsCommand(a *app) *cobra.Command {
	return a.remote(group("errors", "What goes wrong with agents, why, and what to do about it",
		errorsListCommand(a), errorsGetCommand(a), errorsFixCommand(a), errorsDismissCommand(a)))
}

// errorFilter are the flags that select errors.
type errorFilter struct{ states, causes, agents []string }

func errorsListCommand(a *app) *cobra.Command {
	var f errorFilter
	var limit int
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List errors, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.incidents(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "No errors.", head: []string{"ID", "AGENT", "STATE", "CAUSE", "SEEN", "LAST", "ERROR"}}
			for _, r := range raw {
				var in recovery.Incident
				if err := json.Unmarshal(r, &in); err != nil {
					return err
				}
				v.names = append(v.names, in.ID)
				v.rows = append(v.rows, []string{in.ID, in.AgentName, string(in.State), string(in.Cause), fmt.Sprint(in.Count), a.since(in.LastSeen), clean(in.Title)})
			}
			return a.show(v)
		},
	}
	c.Flags().StringSliceVar(&f.states, "state", nil, "only these states: open, recovering, recovered, dismissed")
	c.Flags().StringSliceVar(&f.causes, "cause", nil, "only these causes, e.g. port_in_use")
	c.Flags().StringSliceVar(&f.agents, "agent", nil, "only of these agents")
	c.Flags().IntVar(&limit, "limit", 50, "at most this many; 0 means all")
	return c
}

func errorsGetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show an error with its evidence and suggestions", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var in recovery.Incident
			raw, err := c.incident(cmd.Context(), args[0], &in)
			if err != nil {
				return err
			}
			return a.show(view{raw: raw, names: []string{in.ID}, text: describeIncident(&in)})
		},
	}
}

func describeIncident(in *recovery.Incident) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", key+":", clean(value))
		}
	}
	line("ID", in.ID)
	line("Agent", in.AgentName)
	line("Error", in.Title)
	line("Means", in.Summary)
	line("State", string(in.State))
	line("Cause", fmt.Sprintf("%s (%s)", in.Cause, in.Class))
	line("Seen", fmt.Sprintf("%d times, first %s, last %s", in.Count, stamp(in.FirstSeen), stamp(in.LastSeen)))
	line("Note", in.Note)
	for _, e := range in.Evidence {
		line("Evidence", e.Kind+": "+e.Text)
	}
	for _, t := range in.Tried {
		line("Tried", fmt.Sprintf("%s by operation %s", t.Fix, t.OperationID))
	}
	for _, sg := range in.Suggestions {
		line("Suggests", fmt.Sprintf("%-20s %3.0f %%  %s", sg.Fix, 100*sg.ExpectedSuccess, sg.Title))
	}
	return b.String()
}

func errorsFixCommand(a *app) *cobra.Command {
	var set map[string]string
	var preview bool
	c := &cobra.Command{
		Use: "fix ID [FIX]", Short: "Carry out a fix: the first suggestion, or the one that is named", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			fix := ""
			if len(args) == 2 {
				fix = args[1]
			} else if fix, err = c.firstFix(cmd.Context(), args[0]); err != nil {
				return err
			}
			if preview {
				raw, text, err := c.previewFix(cmd.Context(), args[0], fix, set)
				if err != nil {
					return err
				}
				return a.show(view{raw: raw, names: []string{fix}, text: text})
			}
			var op operation.Operation
			if _, err := c.applyFix(cmd.Context(), args[0], fix, set, &op); err != nil {
				return err
			}
			raw, err := a.waitOperation(cmd.Context(), c, op.ID)
			if raw == nil {
				return err
			}
			return a.showResult(raw, op.ID, func() { a.say("%s: helped", fix) }, err)
		},
	}
	c.Flags().StringToStringVar(&set, "set", nil, "parameters in place of those that are suggested, e.g. to=8081")
	c.Flags().BoolVar(&preview, "preview", false, "only say what it would do")
	return c
}

func errorsDismissCommand(a *app) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "dismiss ID", Short: "End an error without a fix", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.dismissError(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			return a.showResult(raw, args[0], func() { a.say("%s: dismissed", args[0]) }, nil)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; kept in the audit log")
	_ = c.MarkFlagRequired("reason")
	return c
}

func recoveryCommand(a *app) *cobra.Command {
	return a.remote(group("recovery", "How much is mended by itself",
		group("policy", "The policies of recovery", policyGetCommand(a), policySetCommand(a))))
}

func policyGetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get", Short: "Show the policies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var p recovery.Policies
			raw, err := c.recoveryPolicies(cmd.Context(), &p)
			if err != nil {
				return err
			}
			return a.show(view{raw: raw, names: []string{string(p.Default)}, text: describePolicies(p)})
		},
	}
}

func describePolicies(p recovery.Policies) string {
	text := fmt.Sprintf("In general: %s\nLimits:     %d fixes of one agent in an hour, %d seconds apart\n", p.Default, p.Limits.MaxPerHour, p.Limits.CoolDownSeconds)
	for _, id := range slices.Sorted(maps.Keys(p.Agents)) {
		text += fmt.Sprintf("%-11s %s\n", id+":", p.Agents[id])
	}
	return text
}

func policySetCommand(a *app) *cobra.Command {
	var agentID string
	var hourly, apart int
	c := &cobra.Command{
		Use: "set off|suggest|automatic", Short: "Set the policy in general, or of one agent", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var p recovery.Policies
			if _, err := c.recoveryPolicies(cmd.Context(), &p); err != nil {
				return err
			}
			if agentID != "" {
				p.Agents[agentID] = recovery.Mode(args[0])
			} else {
				p.Default = recovery.Mode(args[0])
			}
			if cmd.Flags().Changed("max-per-hour") {
				p.Limits.MaxPerHour = hourly
			}
			if cmd.Flags().Changed("cool-down") {
				p.Limits.CoolDownSeconds = apart
			}
			raw, err := c.setRecoveryPolicies(cmd.Context(), &p)
			if err != nil {
				return err
			}
			return a.show(view{raw: raw, names: []string{string(p.Default)}, text: describePolicies(p)})
		},
	}
	c.Flags().StringVar(&agentID, "agent", "", "id of the agent whose policy it is")
	c.Flags().IntVar(&hourly, "max-per-hour", 0, "fixes of one agent in an hour, 1 to 60")
	c.Flags().IntVar(&apart, "cool-down", 0, "seconds between two fixes of one agent")
	return c
}

// driftCommand shows what somebody else changed of an agent, and takes it back or over.
func driftCommand(a *app) *cobra.Command {
	var f actionFlags
	var repair, adopt, plan bool
	c := &cobra.Command{
		Use: "drift ID", Short: "Show what somebody else changed of an agent on its engine", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		Long: "Shows what somebody else changed of an agent's instances on their engine since they were launched, field by field.\n" +
			"With --repair the agent is restarted as it is specified. With --adopt the image, the command, the arguments, the\n" +
			"limits, the probes and the variables of the environment that were changed become a revision of the agent, which is\n" +
			"deployed as any other. What a specification can't have is named, and not adopted; --plan says which is which. Values of variables are read from\n" +
			"the engine then, and are in the specification from then on, for everybody to see who may see the agent.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			switch {
			case plan:
				return a.planAdoption(cmd.Context(), c, args[0])
			case repair:
				return a.actOnOne(cmd, c, args[0], agent.Restart, f)
			case adopt:
				return a.adoptDrift(cmd.Context(), c, args[0], f.reason)
			}
			if err := c.compared(cmd.Context(), args[0]); err != nil {
				return err
			}
			raw, err := c.instances(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v := view{raw: raw, head: []string{"INSTANCE", "FIELD", "WANTED", "LIVE"}, empty: "Nothing was changed by somebody else."}
			for _, r := range raw {
				var in fleet.Instance
				if err := json.Unmarshal(r, &in); err != nil {
					return err
				}
				for _, d := range in.Drift {
					v.names = append(v.names, in.ID)
					v.rows = append(v.rows, []string{in.ID, d.Field, d.Wanted, d.Live})
				}
			}
			return a.show(v)
		},
	}
	c.Flags().BoolVar(&repair, "repair", false, "restart the agent as it is specified")
	c.Flags().BoolVar(&adopt, "adopt", false, "make a revision of what runs")
	c.Flags().BoolVar(&plan, "plan", false, "only say what --adopt would do")
	c.MarkFlagsMutuallyExclusive("repair", "adopt")
	c.MarkFlagsMutuallyExclusive("repair", "plan")
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the audit log")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "return once the portal has taken it over")
	f.wait = true
	return c
}

// planAdoption shows what of it would become a revision.
func (a *app) planAdoption(ctx context.Context, c *conn, id string) error {
	var p fleet.Adoption
	raw, err := c.once(ctx, &p, func(ctx context.Context) (*http.Response, error) { return c.api.PlanAdoption(ctx, id) })
	if err != nil {
		return err
	}
	v := view{raw: raw, head: []string{"FIELD", "ADOPTED", "WHY NOT"}}
	for _, field := range p.Takes {
		v.names, v.rows = append(v.names, field), append(v.rows, []string{field, "yes", ""})
	}
	for _, f := range p.Leaves {
		v.names, v.rows = append(v.names, f.Path), append(v.rows, []string{f.Path, "no", f.Message})
	}
	return a.show(v)
}

func (a *app) adoptDrift(ctx context.Context, c *conn, id, reason string) error {
	body, err := jsonBody(map[string]any{"reason": reason})
	if err != nil {
		return err
	}
	var now struct {
		Revision int      `json:"revision"`
		Warnings []string `json:"warnings"`
	}
	raw, err := c.once(ctx, &now, func(ctx context.Context) (*http.Response, error) {
		return c.api.AdoptDriftWithBody(ctx, id, nil, jsonType, body)
	})
	if err != nil {
		return err
	}
	a.warn(now.Warnings...)
	return a.show(view{raw: raw, names: []string{id}, text: fmt.Sprintf("What runs of %s is its revision %d now. Deploy it to end the difference.\n", clean(id), now.Revision)})
}

// compared fails if the runtime of the agent does not answer now: what was seen last
// says nothing of what was changed since.
func (c *conn) compared(ctx context.Context, id string) error {
	var acc fleet.Account
	if _, err := c.account(ctx, id, &acc); err != nil {
		return err
	}
	if !slices.Contains(acc.Unasked, acc.Runtime) {
		return nil
	}
	return fault.New(fault.Unavailable, "drift.unknown", "Whether somebody changed %s is not known: its runtime %s can't be asked", id, acc.Runtime).
		Because("%s", strings.TrimSuffix(strings.Join(acc.Notes, " "), ".")).Do("Try again when it answers.")
}
