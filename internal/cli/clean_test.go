package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var nasty = []string{
	"", "plain", "wow-memory: läuft 世界 👩‍💻", "\x1b[31mred", "a\x00b", "\x9b2J", "\u009b2J", "\u202etxt.exe", "\u2066x\u2069",
	"line\nbreak\r\ttab", "\x7f", "\xff\xfe", "\ufeff", "\U000e0041", "{", "- yes", "null", "1e3", "~", "2026-01-01", "'", "\"", ": #", strings.Repeat("long ", 50) + "\u202e",
}

func FuzzNothingShownCanActOnATerminal(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, out := range map[string]string{"clean": clean(s), "cleanLine": cleanLine(s)} {
			checkHarmless(t, name, out, name == "cleanLine")
		}
		if !utf8.ValidString(s) {
			return // JSON has no such strings
		}
		value := map[string]any{"key": s, s + "k": []any{s, 1.5, nil, true, map[string]any{}}}
		var js, ya bytes.Buffer
		if err := printJSON(&js, value); err != nil {
			t.Fatal(err)
		}
		if err := printYAML(&ya, value); err != nil {
			t.Fatal(err)
		}
		checkHarmless(t, "JSON", strings.ReplaceAll(js.String(), "\n", ""), false)
		checkHarmless(t, "YAML", strings.ReplaceAll(ya.String(), "\n", ""), false)
		var fromJSON, fromYAML any
		if err := json.Unmarshal(js.Bytes(), &fromJSON); err != nil || !sameJSON(fromJSON, value) {
			t.Errorf("JSON changed the value: %v\n%s", err, js.String())
		}
		if err := yaml.Unmarshal(ya.Bytes(), &fromYAML); err != nil || !sameJSON(fromYAML, value) {
			t.Errorf("YAML changed the value: %v\n%s", err, ya.String())
		}
	})
}

func checkHarmless(t *testing.T, name, out string, tabs bool) {
	t.Helper()
	if !utf8.ValidString(out) {
		t.Errorf("%s: %q is not UTF-8", name, out)
	}
	for _, r := range out {
		if unsafe(r) && (r != '\t' || !tabs) {
			t.Errorf("%s: %q holds %U", name, out, r)
		}
	}
}

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "läuft": 5, "世界": 4, "e\u0301": 1, "👩": 2} {
		if got := width(s); got != want {
			t.Errorf("width(%q) = %d, want %d", s, got, want)
		}
	}
}
