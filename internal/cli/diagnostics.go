package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/cli/client"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

func diagnosticsCommand(a *app) *cobra.Command {
	return a.remote(group("diagnostics", "Look whether the portal and its agents are in order", diagnosticsRunCommand(a), diagnosticsListCommand(a), diagnosticsGetCommand(a)))
}

// findings shows what checks found: the status, the check and what it means on
// one line, below it what was seen and what to do.
func (a *app) findings(list []diagnosis.Finding) view {
	v := view{raw: list}
	var b strings.Builder
	width := 0
	for _, f := range list {
		width = max(width, len(f.Check))
	}
	for _, f := range list {
		v.names = append(v.names, f.Check)
		status := string(f.Status)
		fmt.Fprintf(&b, "%s%s  %-*s  %s\n", a.colour(status), strings.Repeat(" ", max(0, len("warning")-len(status))), width, clean(f.Check), clean(f.Meaning))
		for _, line := range f.Evidence {
			fmt.Fprintf(&b, "%*s%s\n", len("warning")+2, "", clean(line))
		}
		if f.Remedy != "" {
			fmt.Fprintf(&b, "%*sDo: %s\n", len("warning")+2, "", clean(f.Remedy))
		}
	}
	v.text = b.String()
	return v
}

func diagnosticsRunCommand(a *app) *cobra.Command {
	var strict bool
	c := &cobra.Command{
		Use: "run [AGENT]", Short: "Make all checks now", Args: cobra.MaximumNArgs(1),
		Long: "Makes all checks of the portal, or those of an agent, and shows what was seen, what it means and what to do.\n" +
			"`portal doctor` makes those of the portal that need no running one. The exit code tells only with --strict.",
		Example: "  portal diagnostics run\n  portal diagnostics run wow-memory --strict",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var d diagnosis.Diagnosis
			raw, err := c.runDiagnostics(cmd.Context(), strings.Join(args, ""), &d)
			if err != nil {
				return err
			}
			if err := a.showDiagnosis(raw, d); err != nil {
				return err
			}
			if strict && d.Status == diagnosis.Failed {
				return codeError(exitFailed)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "exit code 1 if any check has failed")
	return c
}

func (a *app) showDiagnosis(raw json.RawMessage, d diagnosis.Diagnosis) error {
	v := a.findings(d.Findings)
	v.raw = raw
	return a.show(v)
}

func diagnosticsListCommand(a *app) *cobra.Command {
	var agents []string
	var scope string
	var limit int
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List earlier runs, newest first", Args: cobra.NoArgs,
		Long: "Lists earlier runs, newest first. The last " + fmt.Sprint(diagnosis.Keep) + " of the portal and of each agent are kept.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.diagnostics(cmd.Context(), scope, agents, limit)
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "Nothing was looked at yet.", head: []string{"ID", "AT", "ABOUT", "STATUS", "OK", "WARNINGS", "FAILED", "BECAUSE OF", "BY"}}
			for _, r := range raw {
				var d diagnosis.Diagnosis
				if err := json.Unmarshal(r, &d); err != nil {
					return err
				}
				about := string(d.Scope)
				if d.AgentID != "" {
					about = d.AgentID
				}
				v.names = append(v.names, d.ID)
				v.rows = append(v.rows, []string{d.ID, stamp(d.StartedAt), about, string(d.Status), fmt.Sprint(d.Counts[diagnosis.OK]),
					fmt.Sprint(d.Counts[diagnosis.Warning]), fmt.Sprint(d.Counts[diagnosis.Failed]), string(d.Trigger), d.By})
			}
			return a.show(v)
		},
	}
	c.Flags().StringSliceVar(&agents, "agent", nil, "only of these agents")
	c.Flags().StringVar(&scope, "scope", "", "only of the portal or of agents: portal or agent")
	c.Flags().IntVar(&limit, "limit", 20, "at most this many; 0 means all")
	return c
}

func diagnosticsGetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show what an earlier run found", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var d diagnosis.Diagnosis
			raw, err := c.once(cmd.Context(), &d, func(ctx context.Context) (*http.Response, error) { return c.api.GetDiagnostic(ctx, args[0]) })
			if err != nil {
				return err
			}
			return a.showDiagnosis(raw, d)
		},
	}
}

func (c *conn) runDiagnostics(ctx context.Context, agent string, d *diagnosis.Diagnosis) (json.RawMessage, error) {
	body, err := jsonBody(map[string]string{"agent": agent})
	if err != nil {
		return nil, err
	}
	return c.once(ctx, d, func(ctx context.Context) (*http.Response, error) {
		return c.api.RunDiagnosticsWithBody(ctx, nil, jsonType, body)
	})
}

func (c *conn) diagnostics(ctx context.Context, scope string, agents []string, limit int) ([]json.RawMessage, error) {
	p := client.ListDiagnosticsParams{Scope: param(client.ListDiagnosticsParamsScope(scope)), Agent: params(agents)}
	return c.collect(ctx, limit, func(ctx context.Context, limit *int64, cursor *string) (*http.Response, error) {
		const most = 100
		n := int64(most)
		if limit != nil {
			n = min(n, *limit)
		}
		p.Limit, p.Cursor = &n, cursor
		return c.api.ListDiagnostics(ctx, &p)
	})
}

func bundleCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "support-bundle", Short: "Pack what somebody who helps needs to see, without secrets", Args: cobra.NoArgs,
		Long: "Writes a tar.gz with versions, the configuration, diagnoses, the last operations, errors, events and lines\n" +
			"of the portal's log, the specifications of the agents and the stacks of the portal. Secrets are taken out:\n" +
			"values of env, passwords in addresses, tokens, and whatever else the portal knows to be secret. Look into it\n" +
			"before you give it away. It needs the role admin.",
		Example: "  portal support-bundle -o support.tar.gz",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if file == "" {
				return usagef("say where to put it, with -o FILE; - means standard output")
			}
			r, err := c.api.SupportBundle(cmd.Context())
			if err != nil {
				return c.unreachable(err)
			}
			defer r.Body.Close()
			if r.StatusCode != http.StatusOK {
				_, err := c.read(r, nil)
				return err
			}
			if file == "-" {
				_, err := io.Copy(a.io.Out, r.Body)
				return err
			}
			if err := saveAs(file, r.Body); err != nil {
				return err
			}
			a.say("%s is written. Look into it before you give it away.", file)
			return nil
		},
	}
	c.Flags().StringVarP(&file, "output", "o", "", "file to write; - for standard output")
	c.Flags().StringVar(&a.server, "server", "", "address of the portal (default PORTAL_URL or "+defaultServer+")")
	c.Flags().StringVar(&a.tokenFile, "token-file", "", "file with the token (default PORTAL_TOKEN_FILE; else the token in PORTAL_TOKEN)")
	return c
}

// readyCommand is for health checks in containers, which hold no other program.
func readyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "ready", Short: "Say whether the portal is ready to serve", Args: cobra.NoArgs,
		Long: "Asks the portal at PORTAL_URL, without signing in. The exit code is 0 when it is ready, else 6.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := a.address()
			if err != nil {
				return err
			}
			ctx, stop := plain(cmd.Context())
			defer stop()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", nil)
			if err != nil {
				return err
			}
			c := &conn{http: &http.Client{}, server: server}
			if _, err := c.read(c.http.Do(r)); err != nil {
				return err
			}
			a.say("The portal at %s is ready.", server)
			return nil
		},
	}
	c.Flags().StringVar(&a.server, "server", "", "address of the portal (default PORTAL_URL or "+defaultServer+")")
	return c
}

// saveAs writes a file that only its owner can read. It appears under its name
// only once it is whole.
func saveAs(file string, from io.Reader) error {
	part, err := os.OpenFile(file+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fault.New(fault.Invalid, "cli.file", "%s can't be written", file).Because("%v", err)
	}
	defer func() { _ = os.Remove(part.Name()) }() // gone already if all went well
	defer part.Close()
	if _, err := io.Copy(part, from); err != nil {
		return fault.New(fault.Unavailable, "cli.broke_off", "The answer broke off and is not whole").Because("%v", err).Wrap(err)
	}
	if err := part.Close(); err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}

// shownBytes writes a size; nothing for what is not known.
func shownBytes(n int64) string {
	if n <= 0 {
		return ""
	}
	return agent.Quantity(n).Rough()
}

func (c *conn) account(ctx context.Context, id string, acc *fleet.Account) (json.RawMessage, error) {
	return c.once(ctx, acc, func(ctx context.Context) (*http.Response, error) { return c.api.AgentResources(ctx, id) })
}

func resourcesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "resources ID", Short: "Show what an agent holds where, and how much of its limits it uses", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var acc fleet.Account
			raw, err := c.account(cmd.Context(), args[0], &acc)
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "It holds nothing.", head: []string{"PLACE", "KIND", "NAME", "SIZE", "WHERE"}}
			for _, st := range acc.Stocks {
				place := st.Place
				if st.Left {
					place += " (left)"
				}
				for _, h := range st.Holdings {
					v.names = append(v.names, h.Name)
					v.rows = append(v.rows, []string{place, h.Kind, h.Name, shownBytes(h.Bytes), h.Where})
				}
			}
			for _, u := range acc.Uses {
				memory := shownBytes(u.Memory)
				if u.MemoryLimit > 0 {
					memory += " of " + shownBytes(u.MemoryLimit)
				}
				v.rows = append(v.rows, []string{acc.Runtime, "use", u.Instance, memory, used(u.Usage)})
			}
			if err := a.show(v); err != nil {
				return err
			}
			for _, n := range acc.Notes {
				a.say("%s", n)
			}
			return nil
		},
	}
}

func quotasCommand(a *app) *cobra.Command {
	return a.remote(&cobra.Command{
		Use: "quotas", Short: "Show what agents may ask for together, and what is taken of it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			raw, err := c.collect(cmd.Context(), 0, func(ctx context.Context, _ *int64, _ *string) (*http.Response, error) { return c.api.ListQuotas(ctx) })
			if err != nil {
				return err
			}
			v := view{raw: raw, empty: "There are no quotas (setting quotas).", head: []string{"OF", "WHAT", "TAKEN", "BOUND"}}
			for _, r := range raw {
				var q fleet.QuotaUse
				if err := json.Unmarshal(r, &q); err != nil {
					return err
				}
				row := func(what, taken, bound string) {
					if bound != "0" && bound != "" {
						v.rows = append(v.rows, []string{q.String(), what, taken, bound})
					}
				}
				row("agents", fmt.Sprint(q.Taken.Agents), fmt.Sprint(q.Agents))
				row("replicas", fmt.Sprint(q.Taken.Replicas), fmt.Sprint(q.Replicas))
				row("cpu", fmt.Sprint(q.Taken.CPU), fmt.Sprint(q.CPU))
				row("memory", q.Taken.Memory.String(), shownBytes(int64(q.Memory)))
				row("disk", q.Taken.Disk.String(), shownBytes(int64(q.Disk)))
			}
			return a.show(v)
		},
	})
}
