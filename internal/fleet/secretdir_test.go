package fleet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

func TestSecretDir(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "secrets")
	if err := os.MkdirAll(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"secrets/plain": "value", "secrets/line": "value\n", "secrets/windows": "value\r\n", "secrets/two": "a\nb\n",
		"secrets/nul": "a\x00b", "secrets/long": strings.Repeat("x", 65<<10), "outside": "master key",
	} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(top, "outside"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	src := fleet.SecretDir{Dir: dir, Getenv: func(name string) (string, bool) { return "from env", name == "PORTAL_SECRET_KNOWN" }}
	for _, c := range []struct {
		ref, want string
		kind      fault.Kind
	}{
		{"file:plain", "value", ""}, {"file:line", "value", ""}, {"file:windows", "value", ""}, {"file:two", "a\nb", ""},
		{"env:PORTAL_SECRET_KNOWN", "from env", ""},
		{"env:PORTAL_SECRET_OTHER", "", fault.NotFound}, {"env:PATH", "", fault.Invalid},
		{"file:missing", "", fault.NotFound}, {"file:../outside", "", fault.Invalid}, {"file:link", "", fault.NotFound},
		{"file:folder", "", fault.Invalid}, {"file:nul", "", fault.Invalid}, {"file:long", "", fault.Invalid},
		{"file:", "", fault.Invalid}, {"", "", fault.Invalid}, {"my-real-password", "", fault.Invalid},
	} {
		got, err := src.Secret(t.Context(), c.ref)
		if got != c.want || fault.KindOf(err) != c.kind {
			t.Errorf("%s: %q, %v; want %q, %q", c.ref, got, err, c.want, c.kind)
		}
		if err != nil && (strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), dir)) {
			t.Errorf("%s: the fault gives away too much: %v", c.ref, err)
		}
	}
	if _, err := (fleet.SecretDir{Dir: filepath.Join(top, "nowhere")}).Secret(t.Context(), "file:plain"); !fault.Is(err, fault.NotFound) {
		t.Errorf("without a directory: %v", err)
	}
}
