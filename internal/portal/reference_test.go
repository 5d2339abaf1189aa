package portal

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md again")

// TestConfigurationReference holds docs/configuration.md equal to the table of
// settings.
func TestConfigurationReference(t *testing.T) {
	const path = "../../docs/configuration.md"
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"A flag beats the environment, which beats the file named by `--config` or `PORTAL_CONFIG`, which beats\n" +
		"the default. `portal config check` shows every value in force and where it came from.\n\n" +
		"In the file, dots are levels: `ports.from` is `ports: {from: 15000}`.\n\n" +
		"Further engines, clusters and namespaces stand in the file alone, below `places`, with the settings of their kind:\n" +
		"`places: {kubernetes/eu: {kubeconfig: /etc/portal/eu}, docker/gpu: {host: \"ssh://portal@192.0.2.7\"}}`. What a place does\n" +
		"not name is as `docker.*` or `kubernetes.*` say; see runtimes.md.\n\n" +
		"| setting | flag | environment | default | meaning |\n|---|---|---|---|---|\n")
	for _, s := range Settings {
		def := s.Default
		if def == "" {
			def = "(none)"
		}
		fmt.Fprintf(&b, "| `%s` | `--%s` | `%s` | %s | %s |\n", s.Key, s.Flag(), s.Env(), def, s.Doc)
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Error("docs/configuration.md is not what the settings say; run: go test ./internal/portal -run TestConfigurationReference -update")
	}
}
