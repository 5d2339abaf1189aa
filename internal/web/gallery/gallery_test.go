package gallery_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/web/gallery"
)

var template = regexp.MustCompile(`(?m)^templ ([A-Z]\w*)\(`)

// Whoever makes a part shows it here, says how it is used and what it does for
// everybody, and tests it.
func TestEveryPartIsShown(t *testing.T) {
	in := map[string]string{} // the part that shows a template
	for _, p := range gallery.Parts(time.Now()) {
		if len(p.Use) == 0 || len(p.Access) == 0 || p.For == "" {
			t.Errorf("%s: say what it is for, how it is used and what it does for accessibility", p.ID)
		}
		if (p.Example == nil) == (p.Where == "") {
			t.Errorf("%s: give an example, or say where it is", p.ID)
		}
		for _, name := range p.Parts {
			in[name] = p.ID
		}
	}
	files, err := filepath.Glob("../components/*.templ")
	if err != nil || len(files) < 20 {
		t.Fatalf("the parts are not where they are looked for: %v, %v", files, err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(filepath.Base(file), ".templ")
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range template.FindAllStringSubmatch(string(src), -1) {
			if in[m[1]] != base {
				t.Errorf("%s of %s is not shown in the gallery under %s", m[1], file, base)
			}
			delete(in, m[1])
		}
		if _, err := os.Stat("../components/" + base + "_test.go"); err != nil {
			t.Errorf("%s has no test of its own: %v", base, err)
		}
	}
	for name, id := range in {
		t.Errorf("the gallery shows %s under %s, and there is no such part", name, id)
	}
}

var id = regexp.MustCompile(` id="([^"]*)"`)

func TestThePageIsWhole(t *testing.T) {
	var b strings.Builder
	parts := gallery.Parts(time.Now())
	if err := gallery.Body(parts).Render(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range id.FindAllStringSubmatch(b.String(), -1) {
		if seen[m[1]] {
			t.Errorf("the id %q stands twice on the page", m[1])
		}
		seen[m[1]] = true
	}
	for _, p := range parts {
		if !seen[p.ID] || !strings.Contains(b.String(), `href="#`+p.ID+`"`) {
			t.Errorf("%s has no place on the page, or no link leads there", p.ID)
		}
	}
}
