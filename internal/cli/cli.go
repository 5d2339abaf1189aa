// Package cli is the portal's command line: commands for people and scripts
// over the HTTP API, and the local commands that cmd/portal lends it.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/cli/login"
	"github.com/waooaw/platform-portal/internal/diagnosis"
)

// IO is where a command reads and writes; tests give their own.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	// InTTY, OutTTY and ErrTTY say whether a person is at the other end.
	InTTY, OutTTY, ErrTTY bool
	Getenv                func(string) string
	Now                   func() time.Time
	// Open shows an address in the user's browser; nil where there is none.
	Open func(ctx context.Context, address string) error
	// Edit lets the user edit the file and returns when they are done.
	Edit func(ctx context.Context, path string) error
}

// StdIO is the terminal, environment and editor of this process.
func StdIO() IO {
	tty := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	return IO{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTTY: tty(os.Stdin), OutTTY: tty(os.Stdout), ErrTTY: tty(os.Stderr),
		Getenv: os.Getenv, Now: time.Now, Open: login.Open, Edit: edit,
	}
}

// edit runs $VISUAL, $EDITOR or vi. The variable may hold arguments.
func edit(ctx context.Context, path string) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// app is what all commands of one run share.
type app struct {
	deps Deps
	io   IO

	server, tokenFile, output string
	// running is set once flags and arguments were accepted; an error before
	// that is a mistake in how the command was written.
	running bool
	at      string // the command that was meant, with its parents
}

// New gives the root command on the standard streams.
func New(d Deps) *cobra.Command { return newRoot(&app{deps: d, io: StdIO()}) }

// Main runs the command line of this process and gives its exit code. The
// first SIGINT or SIGTERM ends the command in order, the second at once.
func Main(d Deps) int {
	if len(os.Args) > 1 && os.Args[1] == "shim" && d.Shim != nil {
		return d.Shim() // without the weight of everything else
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop()
	}()
	return Run(ctx, d, StdIO(), os.Args[1:])
}

// Run runs one command with the given arguments and gives its exit code.
func Run(ctx context.Context, d Deps, o IO, args []string) int {
	a := &app{deps: d, io: o}
	root := newRoot(a)
	if args == nil {
		args = []string{} // nil would mean those of the process
	}
	root.SetArgs(args)
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.Err)
	at, err := root.ExecuteContextC(ctx)
	a.at = at.CommandPath()
	if err != nil && !a.running {
		err = usageError{err}
	}
	return a.finish(ctx, err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "portal",
		Short: "Run a fleet of agents",
		Long: "portal is the control plane for a fleet of AI agents: the server, and the commands that speak to it.\n\n" +
			"Commands reach the server at PORTAL_URL (default: the one of portal login, else " + defaultServer + "),\n" +
			"signed in by portal login or with the token in PORTAL_TOKEN.\n" +
			"A token is never given as a flag, because every user of a machine can read the arguments of a process.\n\n" +
			exitCodesHelp,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			// Until it runs, what is wrong is how it was written. These would be looked at after this.
			err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups())
			a.running = err == nil
			return err
		},
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: "fleet", Title: "The fleet:"},
		&cobra.Group{ID: "watch", Title: "What happens:"},
		&cobra.Group{ID: "access", Title: "Access:"},
		&cobra.Group{ID: "local", Title: "This machine:"},
	)
	for _, c := range []*cobra.Command{loginCommand(a), logoutCommand(a), tokenCommand(a)} {
		c.GroupID = "access"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{importCommand(a), applyCommand(a), agentsCommand(a), bulkCommand(a), quotasCommand(a), orphansCommand(a)} {
		c.GroupID = "fleet"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{operationsCommand(a), searchLogsCommand(a), errorsCommand(a), recoveryCommand(a), eventsCommand(a), metricsCommand(a), alertsCommand(a), auditCommand(a), webhooksCommand(a), diagnosticsCommand(a)} {
		c.GroupID = "watch"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{serveCommand(a), configCommand(a), doctorCommand(a), readyCommand(a), bundleCommand(a), labCommand(a), agentCommand(a), versionCommand(a)} {
		c.GroupID = "local"
		root.AddCommand(c)
	}
	root.AddCommand(shimCommand(a))
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return usageError{errors.New("say which: see " + cmd.CommandPath() + " --help")}
	}}
	c.AddCommand(commands...)
	return c
}

// remote adds the flags of a command, and of those below it, that speaks to
// the server.
func (a *app) remote(c *cobra.Command) *cobra.Command {
	f := c.PersistentFlags()
	f.StringVar(&a.server, "server", "", "address of the portal (default PORTAL_URL or "+defaultServer+")")
	f.StringVar(&a.tokenFile, "token-file", "", "file with the token (default PORTAL_TOKEN_FILE; else the token in PORTAL_TOKEN)")
	f.StringVarP(&a.output, "output", "o", "table", "table, json, yaml or name")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml", "name"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// Deps are the commands that work on this machine instead of over the API.
// cmd/portal fills them in; a command whose function is nil says that this
// build does not have it.
type Deps struct {
	// Version is shown by "portal version" and sent as the User-Agent.
	Version Version
	// ServeFlags are the flags of serve, config check and doctor beside the
	// built-in ones of BaseFlags. A flag with the name of a built-in one
	// replaces it.
	ServeFlags []Flag
	// Templates are the names that AgentRun knows, for help and completion.
	Templates []string

	// Serve runs the portal until ctx ends and everything is stopped.
	Serve func(ctx context.Context, o ServeOptions) error
	// TokenCreate makes an API token in the data directory, also while a portal
	// is serving from it, and gives the secret.
	TokenCreate func(ctx context.Context, o TokenOptions) (secret string, err error)
	// AuditVerify checks the chain of the audit log in the data directory, and
	// that it holds the anchors. A broken chain is a report, not an error.
	AuditVerify func(ctx context.Context, o ServeOptions, anchors ...audit.Anchor) (audit.Report, error)
	// ConfigCheck gives every setting with its value and where it came from;
	// values of secrets are replaced by the callee. Invalid settings are a fault.
	ConfigCheck func(ctx context.Context, o ServeOptions) ([]Setting, error)
	// Doctor looks at this machine and the data directory.
	Doctor func(ctx context.Context, o ServeOptions) ([]diagnosis.Finding, error)
	// AgentRun runs a built-in agent in the foreground until ctx ends.
	AgentRun func(ctx context.Context, template string) error
	// Shim supervises one instance; it reads its orders by itself and gives the
	// exit code.
	Shim func() int
}

// Version says what was built.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // of the commit, RFC 3339
}

// Flag is a flag of serve: the name of a setting.
type Flag struct {
	Name    string // e.g. "log-level"
	Usage   string
	Default string // shown in help only; the flag counts only when it is given
	// Bool makes a flag that needs no value; it arrives as "true" or "false".
	Bool bool
}

// ServeOptions are the flags that were given, by name; a flag that was not
// given is absent, so that environment and file can speak.
type ServeOptions struct {
	Flags map[string]string
}

// TokenOptions say which token to make.
type TokenOptions struct {
	ServeOptions
	Name string
	Role string        // viewer, operator or admin
	TTL  time.Duration // 0: the default of auth
}

// Setting is one value of the configuration.
type Setting struct {
	Name   string `json:"name"`   // e.g. "listen"
	Value  string `json:"value"`  // as it is in force
	Source string `json:"source"` // default, flag, environment PORTAL_X or file PATH
	Doc    string `json:"doc,omitempty"`
}

// BaseFlags are the settings that can always be given to serve.
func BaseFlags() []Flag {
	return []Flag{
		{Name: "data", Usage: "directory of everything the portal keeps", Default: "./data"},
		{Name: "listen", Usage: "address to serve on, HOST:PORT", Default: "127.0.0.1:8080"},
		{Name: "config", Usage: "YAML file with settings"},
		{Name: "log-level", Usage: "debug, info, warn or error", Default: "info"},
	}
}
