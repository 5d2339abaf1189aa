// Command portal is the whole product: the server, its command line, the shim
// that supervises an instance, and the built-in agents.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/agents"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/cli"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/cargo"
	"github.com/waooaw/platform-portal/internal/fleet/process"
	"github.com/waooaw/platform-portal/internal/heap"
	"github.com/waooaw/platform-portal/internal/portal"
)

// Set by the linker.
var version, commit, date = "dev", "", ""

func main() {
	if len(os.Args) == 2 && os.Args[1] == "shim" {
		os.Exit(process.ShimMain()) // one per instance: before anything else takes memory
	}
	if len(os.Args) > 2 && os.Args[1] == "cargo" {
		os.Exit(cargo.Main(os.Args[2:])) // beside a volume, in a pod of its own
	}
	os.Exit(cli.Main(deps()))
}

func deps() cli.Deps {
	return cli.Deps{
		Version: cli.Version{Version: version, Commit: commit, Date: date}, ServeFlags: flags(), Templates: agents.Names(),
		Serve: serve, TokenCreate: createToken, AuditVerify: verifyAudit, ConfigCheck: checkConfig, Doctor: doctor,
		AgentRun: runAgent, Shim: process.ShimMain,
	}
}

func flags() []cli.Flag {
	out := make([]cli.Flag, 0, len(portal.Settings)+1)
	for _, s := range portal.Settings {
		out = append(out, cli.Flag{Name: s.Flag(), Usage: s.Doc, Default: s.Default, Bool: s.Default == "true" || s.Default == "false"})
	}
	return append(out, cli.Flag{Name: "config", Usage: "YAML file with settings."})
}

func load(o cli.ServeOptions) (portal.Config, error) {
	cfg, _, err := portal.Load(o.Flags, os.Getenv)
	return cfg, err
}

func serve(ctx context.Context, o cli.ServeOptions) error {
	cfg, err := load(o)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	// A burst of work must not leave the heap at twice its size for long; a page
	// of 500 agents takes some MB to make.
	defer heap.Pace(40, 22<<20).Stop()
	return portal.Serve(ctx, cfg, portal.Build{Version: version, Commit: commit, Date: date, Self: self}, os.Stdout, os.Stderr)
}

func createToken(ctx context.Context, o cli.TokenOptions) (string, error) {
	cfg, err := load(o.ServeOptions)
	if err != nil {
		return "", err
	}
	return portal.CreateToken(ctx, cfg, o.Name, auth.Role(o.Role), o.TTL)
}

func verifyAudit(ctx context.Context, o cli.ServeOptions, anchors ...audit.Anchor) (audit.Report, error) {
	cfg, err := load(o)
	if err != nil {
		return audit.Report{}, err
	}
	return portal.VerifyAudit(ctx, cfg, anchors...)
}

func checkConfig(_ context.Context, o cli.ServeOptions) ([]cli.Setting, error) {
	_, values, err := portal.Load(o.Flags, os.Getenv)
	out := make([]cli.Setting, 0, len(values))
	for _, v := range values {
		shown := v.Value
		if v.Secret && shown != "" {
			shown = "(set, not shown)"
		}
		out = append(out, cli.Setting{Name: v.Key, Value: shown, Source: v.Source, Doc: v.Doc})
	}
	return out, err
}

func doctor(ctx context.Context, o cli.ServeOptions) ([]diagnosis.Finding, error) {
	cfg, err := load(o)
	if err != nil {
		return nil, err
	}
	return portal.Examine(ctx, cfg), nil
}

func runAgent(ctx context.Context, template string) error {
	run, ok := agents.Lookup(template)
	if !ok {
		return fault.New(fault.NotFound, "agent.no_template", "There is no built-in agent %q", template).
			Do("Use one of %v.", agents.Names())
	}
	return run(ctx)
}
