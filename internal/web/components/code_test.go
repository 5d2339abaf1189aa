package components_test

import (
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestCode(t *testing.T) {
	c := show(t, components.Code("Spec", "a: 1\n"+evil))
	c.has(`data-n="1"`, `data-n="2"`, "a: 1", "&lt;script&gt;", `tabindex="0"`, "data-copy=")
	c.lacks("<script", `data-n="3"`)
}

func TestDiff(t *testing.T) {
	same := strings.Repeat("same\n", 30)
	d := show(t, components.Diff("Revision 1 → 2", same+"tier: 3\n", same+"tier: 4\n"))
	d.has("+1", "−1", "equal lines", "<details")
	d.inOrder(`data-sign="-"`, "tier: 3", `data-sign="+"`, "tier: 4")
	show(t, components.Diff("", same, same)).has("no difference")
}
