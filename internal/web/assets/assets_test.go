package assets_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files of others are what their checksums say, and each is listed.
func TestFilesOfOthersAreWhatTheirChecksumsSay(t *testing.T) {
	for _, dir := range []string{"static", "vendor/htmx", "vendor/lucide"} {
		sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		listed := map[string]bool{"SHA256SUMS": true, "README.md": true, "LICENSE": true}
		for line := range strings.Lines(string(sums)) {
			want, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
			if !ok {
				t.Fatalf("%s: what is %q?", dir, line)
			}
			listed[name] = true
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
				continue
			}
			if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != want {
				t.Errorf("%s/%s differs from its checksum", dir, name)
			}
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !listed[f.Name()] && !strings.HasPrefix(f.Name(), "LICENSE-") && !own[f.Name()] {
				t.Errorf("%s/%s has no checksum", dir, f.Name())
			}
		}
	}
}

// own are files of this repository that lie beside those of others.
var own = map[string]bool{"favicon.svg": true}
