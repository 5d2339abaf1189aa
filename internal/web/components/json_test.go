package components_test

import (
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestJSON(t *testing.T) {
	list := make([]int, 250)
	deep := any("bottom")
	for range 30 {
		deep = []any{deep}
	}
	j := show(t, components.JSON("Input", map[string]any{"big": uint64(12345678901234567890), "yes": true, "none": nil, "text": evil, "list": list, "deep": deep, "long": strings.Repeat("x", 10_000), "empty": []int{}}, 1))
	j.has(`aria-label="Input"`, "12345678901234567890", ">true<", ">null<", "{ 8 fields }", "… and 50 more", "too deep to show", "[]")
	j.lacks("<script", "bottom", strings.Repeat("x", 5_000))
	if n := strings.Count(j.html, "<details class=\"json-branch\" open"); n != 1 {
		t.Errorf("%d branches are open, want the first level alone", n)
	}
	show(t, components.JSON("", func() {}, 1)).has("can&#39;t be shown")
}
