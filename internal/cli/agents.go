package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/cli/export"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// shownAgent is what the command line needs of an agent's JSON; everything
// else passes through as it came.
type shownAgent struct {
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	DisplayName      string            `json:"display_name"`
	State            string            `json:"state"`
	Health           string            `json:"health"`
	HealthReason     string            `json:"health_reason"`
	Version          string            `json:"version"`
	Revision         int               `json:"revision"`
	DeployedRevision int               `json:"deployed_revision"`
	ResourceVersion  int64             `json:"resource_version"`
	Tier             int               `json:"tier"`
	Domain           string            `json:"domain"`
	Runtime          string            `json:"runtime"`
	Template         string            `json:"template"`
	Image            string            `json:"image"`
	Command          string            `json:"command"`
	Args             []string          `json:"args"`
	Replicas         int               `json:"replicas"`
	Labels           map[string]string `json:"labels"`
	Dependencies     []string          `json:"dependencies"`
	ActiveOperation  string            `json:"active_operation"`
	AllowedActions   []string          `json:"allowed_actions"`
	Failure          *agent.Failure    `json:"failure"`
	Warnings         []string          `json:"warnings"`
	Instances        []fleet.Instance  `json:"instances"`
	CreatedAt        time.Time         `json:"created_at"`
	UpdatedAt        time.Time         `json:"updated_at"`
}

// ready gives "ready/wanted".
func (s shownAgent) ready() string {
	n := 0
	for _, i := range s.Instances {
		if i.State == fleet.InstanceRunning && (i.Ready == nil || *i.Ready) {
			n++
		}
	}
	return fmt.Sprintf("%d/%d", n, max(s.Replicas, 1))
}

func (s shownAgent) restarts() int {
	n := 0
	for _, i := range s.Instances {
		n += i.Restarts
	}
	return n
}

func agentsCommand(a *app) *cobra.Command {
	c := group("agents", "Agents: list, make, change, and act on them",
		agentsListCommand(a), agentsGetCommand(a), agentsCreateCommand(a), agentsEditCommand(a), agentsRemoveCommand(a), exportCommand(a),
		logsCommand(a), historyCommand(a), versionsCommand(a), instancesCommand(a), agentHealthCommand(a), waitCommand(a), taskCommand(a), resourcesCommand(a), driftCommand(a), moveCommand(a))
	for _, rule := range agent.Rules {
		c.AddCommand(actionCommand(a, rule))
	}
	c.Aliases = []string{"ag"}
	return a.remote(c)
}

// agentFilter are the flags that select agents, as in the list of the API.
type agentFilter struct {
	states, healths, domains, runtimes, templates []string
	tiers                                         []int
	selector, search, customer, sort              string
}

func (f *agentFilter) flags(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.states, "state", nil, "only these states, e.g. RUNNING,ERRORED")
	c.Flags().StringSliceVar(&f.healths, "health", nil, "only these healths, e.g. unhealthy,degraded")
	c.Flags().IntSliceVar(&f.tiers, "tier", nil, "only these tiers")
	c.Flags().StringSliceVar(&f.domains, "domain", nil, "only these domains")
	c.Flags().StringSliceVar(&f.runtimes, "runtime", nil, "only these runtimes")
	c.Flags().StringSliceVar(&f.templates, "template", nil, "only these templates")
	c.Flags().StringVar(&f.customer, "customer", "", "only this customer's agents")
	c.Flags().StringVarP(&f.selector, "selector", "l", "", "only agents with these labels, e.g. env=prod,team!=x")
	c.Flags().StringVarP(&f.search, "search", "q", "", "only agents with this text in id, name or description")
	states := make([]string, len(agent.States))
	for i, s := range agent.States {
		states[i] = string(s)
	}
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
}

func agentsListCommand(a *app) *cobra.Command {
	var f agentFilter
	var limit int
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List agents", Args: cobra.NoArgs,
		Example: "  portal agents ls --state ERRORED\n  portal agents ls -l team=search -o name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.listAgents(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			return a.showAgents(raw)
		},
	}
	f.flags(c)
	c.Flags().StringVar(&f.sort, "sort", "", "name (default), id, state, health, tier, updated_at or created_at; \"-\" before it reverses")
	c.Flags().IntVar(&limit, "limit", 0, "at most this many (default all)")
	return c
}

func (a *app) showAgents(raw []json.RawMessage) error {
	v := view{raw: raw, empty: "No agents.", head: []string{"ID", "STATE", "HEALTH", "READY", "RESTARTS", "VERSION", "TIER", "RUNTIME", "CHANGED"}}
	for _, r := range raw {
		var s shownAgent
		if err := json.Unmarshal(r, &s); err != nil {
			return err
		}
		tier := ""
		if s.Tier > 0 {
			tier = strconv.Itoa(s.Tier)
		}
		v.names = append(v.names, s.ID)
		v.rows = append(v.rows, []string{s.ID, s.State, s.Health, s.ready(), strconv.Itoa(s.restarts()), s.Version, tier, s.Runtime, a.since(s.UpdatedAt)})
	}
	return a.show(v)
}

func agentsGetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get ID…", Short: "Show agents in full", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			v := view{}
			var all []json.RawMessage
			for i, id := range args {
				var s shownAgent
				raw, err := c.agent(cmd.Context(), id, &s)
				if err != nil {
					return err
				}
				all = append(all, raw)
				v.names = append(v.names, s.ID)
				if i > 0 {
					v.text += "\n"
				}
				v.text += a.describe(s)
			}
			v.raw = all
			if len(all) == 1 {
				v.raw = all[0]
			}
			return a.show(v)
		},
	}
}

// describe shows one agent for people.
func (a *app) describe(s shownAgent) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-14s %s\n", key+":", clean(value))
		}
	}
	line("ID", s.ID)
	line("Name", s.Name)
	line("Display name", s.DisplayName)
	line("State", s.State)
	line("Health", strings.TrimSpace(s.Health+"  "+s.HealthReason))
	if s.Failure != nil {
		line("Failure", s.Failure.Reason)
		line("  Do", s.Failure.Remedy)
		for _, l := range s.Failure.LastLogs {
			line("  log", l)
		}
	}
	line("Operation", s.ActiveOperation)
	line("Version", s.Version)
	line("Revision", s.revisions())
	if s.Tier > 0 {
		line("Tier", fmt.Sprintf("%d %s", s.Tier, s.Domain))
	}
	line("Specified", strings.TrimSpace(fmt.Sprintf("%s %s%s%s %s", s.Runtime, s.Template, s.Image, s.Command, strings.Join(s.Args, " "))))
	line("Depends on", strings.Join(s.Dependencies, ", "))
	line("Labels", joinLabels(s.Labels))
	line("Can", strings.Join(s.AllowedActions, ", "))
	line("Created", stamp(s.CreatedAt))
	line("Changed", stamp(s.UpdatedAt))
	for _, i := range s.Instances {
		text := fmt.Sprintf("%s %s", i.ID, i.State)
		if i.PID > 0 {
			text += fmt.Sprintf(" pid %d port %d", i.PID, i.Port)
		}
		line("Instance", strings.TrimSpace(fmt.Sprintf("%s restarts %d %s", text, i.Restarts, i.Reason)))
	}
	for _, w := range s.Warnings {
		line("Warning", w)
	}
	return b.String()
}

// revisions says which revision is the newest and which one is deployed, and how the
// newest one is brought to run.
func (s shownAgent) revisions() string {
	switch {
	case s.DeployedRevision == 0 || s.State == string(agent.Revoked):
		return fmt.Sprintf("%d, none is deployed", s.Revision)
	case s.DeployedRevision == s.Revision:
		return fmt.Sprintf("%d, deployed", s.Revision)
	}
	return fmt.Sprintf("%d, but %d is deployed: portal bulk stop,deploy,start %s deploys %[1]d", s.Revision, s.DeployedRevision, s.ID)
}

func joinLabels(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func agentsRemoveCommand(a *app) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "rm ID…", Short: "Delete agents that are DRAFT or REVOKED", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm(yes, "Delete "+strings.Join(args, ", ")+"?"); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := c.deleteAgent(cmd.Context(), id); err != nil {
					return err
				}
				a.say("%s deleted", id)
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// completeAgents offers ids of agents to the shell.
func (a *app) completeAgents(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	a.running = true
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	raw, err := c.listAgents(ctx, agentFilter{search: prefix}, 100)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, r := range raw {
		var s shownAgent
		if json.Unmarshal(r, &s) == nil && strings.HasPrefix(s.ID, prefix) {
			out = append(out, s.ID)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// exportCommand writes agents as manifests for elsewhere.
func exportCommand(a *app) *cobra.Command {
	var format, file string
	var o export.Options
	c := &cobra.Command{
		Use: "export [ID…]", Short: "Write agents as manifests for Kubernetes or Compose", ValidArgsFunction: a.completeAgents,
		Long: "Writes manifests that run agents without the portal, all of them where no id is given. Values of secrets are\n" +
			"not written, and neither are credentials of the portal's message queue. What the format can't say is\n" +
			"told on standard error.",
		Example: "  portal agents export wow-memory --format kubernetes --image registry.example.com/platform-portal:1.0.0\n" +
			"  portal agents export --format compose --image platform-portal:latest --file agents.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			specs, err := c.specs(cmd.Context(), args)
			if err != nil {
				return err
			}
			text, notes, err := export.Write(specs, format, o)
			if err != nil {
				return err
			}
			for _, note := range notes {
				fmt.Fprintln(a.io.Err, "Note:", clean(note))
			}
			if file == "" {
				_, err = a.io.Out.Write(text)
				return err
			}
			return saveAs(file, bytes.NewReader(text))
		},
	}
	c.Flags().StringVar(&format, "format", export.Formats[0], strings.Join(export.Formats, " or "))
	c.Flags().StringVar(&o.Image, "image", "", "image for agents that name none, or one that is built; for built-in agents one of the portal")
	c.Flags().StringVarP(&file, "file", "f", "", "file to write instead of standard output")
	return c
}

// specs gives the specs of the agents, of all where none is named.
func (c *conn) specs(ctx context.Context, ids []string) ([]agent.Spec, error) {
	if len(ids) == 0 {
		all, err := c.listAgents(ctx, agentFilter{}, 0)
		if err != nil {
			return nil, err
		}
		for _, raw := range all {
			var s shownAgent
			if err := c.decode(raw, &s); err != nil {
				return nil, err
			}
			ids = append(ids, s.ID)
		}
	}
	out := make([]agent.Spec, len(ids))
	for i, id := range ids {
		raw, err := c.agent(ctx, id, &shownAgent{})
		if err != nil {
			return nil, err
		}
		if err := c.decode(raw, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// compact writes a value on one line.
func compact(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}

// used says what an instance uses beside memory; a cluster does not tell how many
// processes there are.
func used(u fleet.Usage) string {
	text := fmt.Sprintf("%.1f s of CPU", u.CPUSeconds)
	if u.PIDs > 0 {
		text += fmt.Sprintf(", %d processes and threads", u.PIDs)
	}
	return text
}
