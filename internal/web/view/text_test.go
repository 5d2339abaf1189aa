package view_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestDiffLinesRebuildsBothTexts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = string(rune('a' + rnd.IntN(4)))
		}
		return out
	}
	cases := [][2][]string{{nil, nil}, {{"a"}, nil}, {nil, {"a"}}, {{"a", "b"}, {"b", "a"}}, {text(4000), text(4000)}}
	for range 300 {
		cases = append(cases, [2][]string{text(rnd.IntN(12)), text(rnd.IntN(12))})
	}
	for _, c := range cases {
		var before, after []string
		for _, l := range view.DiffLines(c[0], c[1]) {
			if l.Kind != view.LineAdded {
				before = append(before, l.Text)
				if l.Old != len(before) {
					t.Fatalf("line %d of the old text is numbered %d", len(before), l.Old)
				}
			}
			if l.Kind != view.LineRemoved {
				after = append(after, l.Text)
				if l.New != len(after) {
					t.Fatalf("line %d of the new text is numbered %d", len(after), l.New)
				}
			}
		}
		if strings.Join(before, "\n") != strings.Join(c[0], "\n") || strings.Join(after, "\n") != strings.Join(c[1], "\n") {
			t.Fatalf("%v and %v became %v and %v", c[0], c[1], before, after)
		}
	}
}

func TestDiffLinesIsShort(t *testing.T) {
	lines := view.DiffLines(strings.Split("a b c a b b a", " "), strings.Split("c b a b a c", " "))
	changes := 0
	for _, l := range lines {
		if l.Kind != view.LineSame {
			changes++
		}
	}
	if changes != 5 {
		t.Errorf("%d changes, 5 are enough: %v", changes, lines)
	}
}

func TestHunksLeaveOutWhatIsFarFromAChange(t *testing.T) {
	before := strings.Split("1 2 3 4 5 6 7 8 9 10", " ")
	after := strings.Split("1 2 3 4 5 6 7 x 9 10", " ")
	hunks := view.Hunks(view.DiffLines(before, after), 1)
	if len(hunks) != 1 || hunks[0].Skipped != 6 || len(hunks[0].Lines) != 4 {
		t.Errorf("got %+v", hunks)
	}
	if view.Hunks(view.DiffLines(before, before), 3) != nil {
		t.Error("a hunk without a change")
	}
}

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
		"2026-01-01 ERROR it broke":              {Level: "error", Message: "2026-01-01 ERROR it broke"},
		"\x1b[31mred\x1b[0m \x1b]0;title\x07end": {Message: "red end"},
		"a\u202eb\x00c":                          {Message: "a\ufffdb\ufffdc"},
		`{"level":"info"`:                        {Level: "info", Message: `{"level":"info"`},
		"{not json}":                             {Message: "{not json}"},
		"<script>alert(1)</script>":              {Message: "<script>alert(1)</script>"},
		"":                                       {},
	} {
		if got := view.ParseLog(in); got != want {
			t.Errorf("%q: got %+v, want %+v", in, got, want)
		}
	}
	long := view.ParseLog(strings.Repeat("ü", 500_000))
	if len(long.Message)+long.Cut != 1_000_000 || len(long.Message) > 4000 || strings.ContainsRune(long.Message, '\ufffd') {
		t.Errorf("a long line is cut to %d bytes, %d left out", len(long.Message), long.Cut)
	}
}
