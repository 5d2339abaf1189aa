package components_test

import (
	"math"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestSparkline(t *testing.T) {
	v := func(list ...float64) (out []*float64) {
		for _, f := range list {
			if math.IsNaN(f) {
				out = append(out, nil)
			} else {
				out = append(out, &f)
			}
		}
		return out
	}
	gap := math.NaN()
	s := show(t, components.Sparkline("Tasks", v(1, 2, gap, gap, 5, 4)))
	s.has(`role="img"`, `aria-label="Tasks: lowest 1, highest 5, last 4"`)
	if n := strings.Count(s.html, `class="sparkline-line"`); n != 2 {
		t.Errorf("a line with a gap has %d parts, want 2", n)
	}
	show(t, components.Sparkline("Tasks", v(gap, gap))).has("Tasks: nothing known")
	show(t, components.Sparkline("Tasks", v(1, gap))).has("last not known")
	show(t, components.Sparkline("Tasks", v(3, 3, 3))).has("L60 16")
}
