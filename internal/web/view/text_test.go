package view_test

import (
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestHighlightYAMLKeepsTheText(t *testing.T) {
	in := "name: Wow # why\nports:\n  - name: http\n    port: 8080\n  -\n    name: \"x: y\"\n\"odd key\": 'q'\ndescription: |\n  a: b\n\n  c # d\nok: true\nlist: [a, b]\nurl: http://x:1/y\n- plain\n-5: x\n"
	var out []string
	classes := map[string]string{}
	for _, line := range view.HighlightYAML(in) {
		s := ""
		for _, span := range line {
			s += span.Text
			classes[span.Text] = span.Class
		}
		out = append(out, s)
	}
	if got := strings.Join(out, "\n") + "\n"; got != in {
		t.Errorf("the text became\n%s", got)
	}
	for text, want := range map[string]string{"name": "key", "8080": "number", "true": "word", " # why": "comment", `"x: y"`: "string",
		"  a: b": "string", "ok": "key", "http://x:1/y": "string", `"odd key"`: "key", "[a, b]": "mark", "plain": "string"} {
		if classes[text] != want {
			t.Errorf("%q is %q, want %q", text, classes[text], want)
		}
	}
}

func TestParseLog(t *testing.T) {
	for in, want := range map[string]view.LogText{
		`{"time":"2026-01-01","level":"WARN","msg":"slow","took":1.5,"who":"a b"}`: {Level: "warn", Message: "slow", Fields: "took=1.5 who=a b"},
		"2026-01-01 ERROR it broke": {Level: "error", Message: "2026-01-01 ERROR it broke"},
		"\x1b[31mERROR\x1b[0m x":    {Level: "error", Message: "\x1b[31mERROR\x1b[0m x"},
		`{"level":"info"`:           {Level: "info", Message: `{"level":"info"`},
		"{not json}":                {Message: "{not json}"},
		"<script>alert(1)</script>": {Message: "<script>alert(1)</script>"},
		"":                          {},
	} {
		if got := view.ParseLog(in); got != want {
			t.Errorf("%q: got %+v, want %+v", in, got, want)
		}
	}
	long := view.ParseLog(strings.Repeat("ü", 500_000))
	if len(long.Message)+long.Cut != 1_000_000 || len(long.Message) > 2000 || strings.ContainsRune(long.Message, '\ufffd') {
		t.Errorf("a long line is cut to %d bytes, %d left out", len(long.Message), long.Cut)
	}
}

func TestUnformatted(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31mred\x1b[0m \x1b]0;title\x07end": "red end",
		"a\u202eb\x00c\u2028":                    "a\ufffdb\ufffdc\ufffd",
		"tab\tand\nline":                         "tab\tand\nline",
		"not UTF-8 \xff":                         "not UTF-8 \ufffd",
	} {
		if got := view.Unformatted(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
