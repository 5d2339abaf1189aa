package view_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestDevice(t *testing.T) {
	for userAgent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36":                         "Chrome on Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15":                   "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Firefox/1":       "Firefox",
		"curl/8.7":        "curl/8.7",
		"a\u202eb\x1b[1m": view.Unformatted("a\u202eb\x1b[1m"),
		"":                "Unknown",
	} {
		c := view.Device(userAgent)
		if c.Text != want {
			t.Errorf("%q is shown as %q, want %q", userAgent, c.Text, want)
		}
		if c.Text != userAgent && c.Text != "Unknown" && want != view.Unformatted(userAgent) && c.Hint != userAgent {
			t.Errorf("%q: hint %q", userAgent, c.Hint)
		}
	}
}
