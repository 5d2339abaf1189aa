package portal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
)

// What is planned and measured must not stand still when the clock is set back.
func TestTimeIsMeasuredByTheMonotonicClock(t *testing.T) {
	n := steady()
	if !strings.Contains(n.String(), " m=") {
		t.Errorf("%v has no monotonic reading", n)
	}
	if n.Nanosecond()%1000 != 0 {
		t.Errorf("%v is finer than databases store", n)
	}
}

func TestAnEmptiedDatabaseIsNoNewPortal(t *testing.T) {
	for name, c := range map[string]struct {
		files   map[string]string
		refused bool
	}{
		"new":             {nil, false},
		"first start cut": {map[string]string{"portal.db": ""}, false},
		"whole":           {map[string]string{"portal.db": "x", "engine.db": "x"}, false},
		"emptied":         {map[string]string{"portal.db": "", "engine.db": "x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f := fault.As(emptied(dir))
			if (f != nil) != c.refused {
				t.Fatalf("gave %v", f)
			}
			if f != nil && (f.Why == "" || f.Remedy == "") {
				t.Errorf("%v does not say why and what to do", f)
			}
		})
	}
}
