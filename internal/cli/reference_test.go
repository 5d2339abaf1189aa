package cli_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/waooaw/platform-portal/internal/cli"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/portal"
)

// TestCommandReference holds docs/cli.md equal to the commands.
func TestCommandReference(t *testing.T) {
	var b strings.Builder
	var settings []cli.Flag
	for _, s := range portal.Settings {
		settings = append(settings, cli.Flag{Name: s.Flag(), Usage: s.Doc, Default: s.Default})
	}
	root := cli.New(cli.Deps{ServeFlags: settings})
	b.WriteString("# Command line\n\nGenerated from the commands by `make generate`.\n\n")
	b.WriteString(strings.TrimSpace(root.Long) + "\n\n## Environment\n\n")
	b.WriteString("| variable | meaning |\n|---|---|\n" +
		"| `PORTAL_URL` | address of the portal; default is the one of `portal login`, else `http://127.0.0.1:8080` |\n" +
		"| `PORTAL_TOKEN` | token to sign in with, in place of `portal login` |\n" +
		"| `PORTAL_TOKEN_FILE` | file with the token, where `PORTAL_TOKEN` is not set |\n" +
		"| `NO_COLOR` | any value: no colour, also on a terminal |\n" +
		"| `VISUAL`, `EDITOR` | editor of `portal agents edit` |\n\n## Commands\n")
	document(&b, root)
	const path = "../../docs/cli.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // documentation is for everybody
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("docs/cli.md is not what the commands say (%v); run: make generate", err)
	}
}

func document(b *strings.Builder, c *cobra.Command) {
	if c.Runnable() && !c.HasAvailableSubCommands() || c.Name() == "bulk" {
		fmt.Fprintf(b, "\n### %s\n\n", c.CommandPath())
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(b, "%s\n\n```\n%s\n```\n", strings.TrimSpace(text), c.UseLine())
		if c.Example != "" {
			fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimSpace(c.Example), "\n  ", "\n"))
		}
		flags := &pflag.FlagSet{}
		flags.AddFlagSet(c.InheritedFlags())
		flags.AddFlagSet(c.NonInheritedFlags())
		head := "\n| flag | meaning |\n|---|---|\n"
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			name := "`--" + f.Name + "`"
			if f.Shorthand != "" {
				name = "`-" + f.Shorthand + "`, " + name
			}
			fmt.Fprintf(b, "%s| %s | %s |\n", head, name, strings.ReplaceAll(f.Usage, "|", "\\|"))
			head = ""
		})
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			document(b, sub)
		}
	}
}

// TestClientIsThatOfTheAPI holds the generated client equal to the API: the
// document it was made from is the present one, and neither that nor the
// client was changed afterwards.
func TestClientIsThatOfTheAPI(t *testing.T) {
	doc, err := httpapi.OpenAPI30()
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Indent(&want, doc, "", "  "); err != nil {
		t.Fatal(err)
	}
	want.WriteByte('\n')
	got, err := os.ReadFile("client/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("the API is not the one that the client was generated from; run: make generate")
	}
	sums, err := os.ReadFile("client/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		data, err := os.ReadFile("client/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%x", sha256.Sum256(data)) != sum {
			t.Errorf("client/%s was changed since the client was generated; run: make generate", name)
		}
	}
}
