package components_test

import (
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestLog(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 5e6, time.UTC)
	show(t, components.Log("out", "Output"), components.LogRow(components.LogEntry{At: at, Source: "r1-0", Level: "error", Text: "broke"})).
		inOrder(`role="log"`, `aria-label="Output"`, `tabindex="0"`, `data-level="error"`, "03:02:01.005", "r1-0", "broke")
	hostile := show(t, components.LogRow(components.LogEntry{Text: evil + "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07 \u202eturned"}))
	hostile.has("&lt;script&gt;", "red")
	hostile.lacks("<script", "\x1b", "\u202e", "<a")
	long := show(t, components.LogText(strings.Repeat("word ", 300_000)))
	long.has("the whole line", "are left out")
	if len(long.html) > 200_000 {
		t.Errorf("a line of 1.5 MB becomes %d bytes", len(long.html))
	}
}
