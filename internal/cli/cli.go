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

	"github.com/waooaw/platform-portal/internal/cli/login"
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
	err := root.ExecuteContext(ctx)
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
		PersistentPreRun: func(*cobra.Command, []string) { a.running = true },
		Args:             cobra.NoArgs,
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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
	for _, c := range []*cobra.Command{importCommand(a), applyCommand(a), agentsCommand(a), bulkCommand(a)} {
		c.GroupID = "fleet"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{operationsCommand(a), searchLogsCommand(a), eventsCommand(a), metricsCommand(a), auditCommand(a), diagnosticsCommand(a)} {
		c.GroupID = "watch"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{serveCommand(a), configCommand(a), doctorCommand(a), bundleCommand(a), labCommand(a), agentCommand(a), versionCommand(a)} {
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
