package bundle_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/scripts/assets/bundle"
)

// What is embedded is what the sources say. If this fails, run `make generate`.
func TestTheEmbeddedFilesAreBuiltFromTheirSources(t *testing.T) {
	t.Chdir("../../..")
	const dir = "internal/web/assets"
	want, err := bundle.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got, err := os.ReadFile(filepath.Join(dir, "dist", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		data, ok := want[e.Name()]
		switch {
		case !ok:
			t.Errorf("%s is embedded but nothing builds it", e.Name())
		case !bytes.Equal(got, data):
			t.Errorf("%s differs from what its sources give", e.Name())
		}
		delete(want, e.Name())
	}
	for name := range want {
		t.Errorf("%s is not embedded", name)
	}
}

func TestAMistakeInASourceIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"main.ts": "import './gone'", "app.css": "a{}"} {
		if err := os.WriteFile(filepath.Join(dir, "src", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bundle.Build(dir); err == nil || !strings.Contains(err.Error(), "./gone") {
		t.Errorf("the error does not name what is missing: %v", err)
	}
}
