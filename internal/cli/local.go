package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lab"
)

// place are the settings that say where the portal's data is.
var place = []string{"data", "config", "database-url"}

// settingFlags adds the flags of the configuration; the returned function
// gives those that were set. Commands other than serve take all of them, too,
// but show only those that say where the data is.
func (a *app) settingFlags(c *cobra.Command) func() ServeOptions {
	flags := slices.Clone(a.deps.ServeFlags)
	for _, base := range BaseFlags() {
		if !slices.ContainsFunc(flags, func(f Flag) bool { return f.Name == base.Name }) {
			flags = append(flags, base)
		}
	}
	for _, f := range flags {
		usage := f.Usage
		if f.Default != "" {
			usage += fmt.Sprintf(" (default %s)", f.Default)
		}
		if f.Bool {
			c.Flags().Bool(f.Name, false, usage)
		} else {
			c.Flags().String(f.Name, "", usage)
		}
		c.Flags().Lookup(f.Name).Hidden = c.Name() != "serve" && !slices.Contains(place, f.Name)
	}
	return func() ServeOptions { return given(c, flags) }
}

func given(c *cobra.Command, flags []Flag) ServeOptions {
	o := ServeOptions{Flags: map[string]string{}}
	c.Flags().Visit(func(f *pflag.Flag) {
		if slices.ContainsFunc(flags, func(s Flag) bool { return s.Name == f.Name }) {
			o.Flags[f.Name] = f.Value.String()
		}
	})
	return o
}

func serveCommand(a *app) *cobra.Command {
	var options func() ServeOptions
	c := &cobra.Command{
		Use: "serve", Short: "Run the portal on this machine", Args: cobra.NoArgs,
		Long: "Runs the portal until it is told to end (SIGTERM or Ctrl-C). Without any setting it uses only engines\n" +
			"that are part of this program and keeps everything in one directory. Agents live on while it is down.\n" +
			"Settings come from flags, then PORTAL_* in the environment, then the file of --config.",
		Example: "  portal serve --data ./data --listen 127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.deps.Serve == nil {
				return missing("serve")
			}
			return a.deps.Serve(cmd.Context(), options())
		},
	}
	options = a.settingFlags(c)
	return c
}

func configCommand(a *app) *cobra.Command {
	var options func() ServeOptions
	check := &cobra.Command{
		Use: "check", Short: "Show every setting, its value and where it came from", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if a.deps.ConfigCheck == nil {
				return missing("config check")
			}
			list, err := a.deps.ConfigCheck(cmd.Context(), options())
			if err != nil {
				return err
			}
			v := view{raw: list, head: []string{"SETTING", "VALUE", "FROM"}}
			for _, s := range list {
				v.names = append(v.names, s.Name)
				v.rows = append(v.rows, []string{s.Name, s.Value, s.Source})
			}
			return a.show(v)
		},
	}
	options = a.settingFlags(check)
	a.outputFlag(check)
	return group("config", "The configuration of this machine's portal", check)
}

func (a *app) outputFlag(c *cobra.Command) {
	c.Flags().StringVarP(&a.output, "output", "o", "table", "table, json, yaml or name")
}

func doctorCommand(a *app) *cobra.Command {
	var options func() ServeOptions
	var strict bool
	c := &cobra.Command{
		Use: "doctor", Short: "Look at what this machine can do and what is wrong", Args: cobra.NoArgs,
		Long: "Makes those checks of `portal diagnostics run` that need no running portal, on this machine and the data\n" +
			"directory, and says what to do about what it finds. Not everything matters to every fleet: the exit code\ntells only with --strict.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if a.deps.Doctor == nil {
				return missing("doctor")
			}
			list, err := a.deps.Doctor(cmd.Context(), options())
			if err != nil {
				return err
			}
			if err := a.show(a.findings(list)); err != nil {
				return err
			}
			failed := slices.ContainsFunc(list, func(f diagnosis.Finding) bool { return f.Status == diagnosis.Failed })
			if failed && strict {
				return codeError(exitFailed)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "exit code 1 if any check has failed")
	options = a.settingFlags(c)
	a.outputFlag(c)
	return c
}

func agentCommand(a *app) *cobra.Command {
	run := &cobra.Command{
		Use: "run TEMPLATE", Short: "Run a built-in agent in the foreground", Args: cobra.ExactArgs(1),
		Long:      "Runs one of the agents that are part of this program, as the portal does for a spec with template. It\nreads its settings from the environment of the agent contract (AGENT_ID, PORT, QUEUE_URL …).",
		ValidArgs: a.deps.Templates,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.deps.AgentRun == nil {
				return missing("agent run")
			}
			if len(a.deps.Templates) > 0 && !slices.Contains(a.deps.Templates, args[0]) && args[0] != labAgent {
				return fault.New(fault.NotFound, "agent.unknown_template", "There is no template %q", args[0]).
					Do("Use one of: %s.", strings.Join(a.deps.Templates, ", "))
			}
			return a.deps.AgentRun(cmd.Context(), args[0])
		},
	}
	return group("agent", "The agents that are part of this program", run)
}

func versionCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Say what this program is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			v := a.deps.Version
			text := "portal " + v.Version
			if v.Commit != "" {
				text += " (" + v.Commit + ", " + v.Date + ")"
			}
			text += fmt.Sprintf(" %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return a.show(view{raw: v, names: []string{v.Version}, text: text})
		},
	}
	a.outputFlag(c)
	return c
}

func shimCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "shim", Short: "Supervise one instance (started by the portal)", Hidden: true,
		DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			if a.deps.Shim == nil {
				return missing("shim")
			}
			if code := a.deps.Shim(); code != 0 {
				return codeError(code)
			}
			return nil
		},
	}
}

// labAgent is the built-in agent that is no template: only the laboratory runs it.
const labAgent = "lab"

func labCommand(a *app) *cobra.Command {
	c := group("lab", "The fault laboratory: real faults, and whether the portal finds and repairs them", labListCommand(a), labRunCommand(a))
	return a.remote(c)
}

func labListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the faults with what is right to say of them", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			v := view{raw: lab.Faults, head: []string{"FAULT", "CLASS", "WHAT THE LAB DOES", "WHY THIS CLASS"}}
			for _, f := range lab.Faults {
				v.names = append(v.names, f.Name)
				v.rows = append(v.rows, []string{f.Name, f.Class, f.Does, f.Why})
			}
			return a.show(v)
		},
	}
}

func labRunCommand(a *app) *cobra.Command {
	var seeds []int64
	var automatic bool
	var parallel int
	var patience time.Duration
	c := &cobra.Command{
		Use: "run [FAULT…]", Short: "Let faults happen to agents of the lab and judge what the portal makes of it",
		Long: "For each fault and seed, makes an agent, waits until it is healthy, lets the fault happen, waits for the\n" +
			"portal's error record, takes its first suggestion, and looks whether the agent is well and stays so. The\n" +
			"agents are removed afterwards. Without names all faults are run, and healthy agents as controls.\n\n" +
			"The command runs on the portal's machine, because the agents are processes of it, and needs a token of an\n" +
			"administrator. It takes memory, ports and CPU time, though bounded: don't run it beside work that matters.",
		Example:   "  portal lab run port_in_use hang --seeds 1,2,3\n  portal lab run --automatic -o json",
		ValidArgs: lab.Names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			cfg := lab.Config{Faults: args, Seeds: seeds, Automatic: automatic, Parallel: parallel, Patience: patience, Done: a.labProgress}
			report, err := a.runLab(cmd, cfg)
			if err != nil {
				return err
			}
			var text strings.Builder
			if err := report.Print(&text); err != nil {
				return err
			}
			lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
			for i := range lines {
				lines[i] = clean(lines[i])
			}
			return a.show(view{raw: report, text: strings.Join(lines, "\n") + "\n"})
		},
	}
	c.Flags().Int64SliceVar(&seeds, "seeds", []int64{1}, "one run of each fault for each seed")
	c.Flags().BoolVar(&automatic, "automatic", false, "let the portal repair by itself, instead of taking its first suggestion")
	c.Flags().DurationVar(&patience, "patience", 45*time.Second, "how long the portal may take to notice a fault")
	c.Flags().IntVar(&parallel, "parallel", 3, "agents that suffer at a time")
	return c
}

// runLab runs the laboratory against the portal that the command line speaks to.
func (a *app) runLab(cmd *cobra.Command, cfg lab.Config) (*lab.Report, error) {
	var err error
	if cfg.URL, err = a.address(); err != nil {
		return nil, err
	}
	bearer, err := a.bearer(cfg.URL)
	if err != nil {
		return nil, err
	}
	if bearer != nil {
		if cfg.Token, err = bearer(cmd.Context()); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cfg.Self = []string{self, "agent", "run", labAgent}
	l, err := lab.New(cfg)
	if err != nil {
		return nil, err
	}
	return l.Run(cmd.Context())
}

// labProgress tells people how far the lab is.
func (a *app) labProgress(o lab.Outcome) {
	fmt.Fprintf(a.io.Err, "%s %d: found %s/%s, fix %q, well %t, noticed after %s %s\n", o.Fault, o.Seed, clean(o.Class), clean(o.Cause),
		clean(o.Fix), o.Well, o.Noticed.Round(10*time.Millisecond), clean(o.Failed))
}
