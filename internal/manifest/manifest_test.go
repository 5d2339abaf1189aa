package manifest_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

type tree = map[string]any

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []manifest.Document
	}{
		{"one mapping", "name: a\ntier: 4\n", []manifest.Document{{Tree: tree{"name": "a", "tier": int64(4)}, Line: 1}}},
		{"several documents", "# first\nname: a\n---\n---\n\nname: b\n", []manifest.Document{
			{Tree: tree{"name": "a"}, Line: 2}, {Tree: tree{"name": "b"}, Line: 6}}},
		{"list", "- name: a\n- name: b\n", []manifest.Document{
			{Tree: tree{"name": "a"}, Line: 1}, {Tree: tree{"name": "b"}, Line: 2}}},
		{"agents", "agents:\n  - name: a\n  - name: b\n", []manifest.Document{
			{Tree: tree{"name": "a"}, Line: 2}, {Tree: tree{"name": "b"}, Line: 3}}},
		{"agents beside other keys is a field", "agents: []\nname: a", []manifest.Document{
			{Tree: tree{"agents": []any{}, "name": "a"}, Line: 1}}},
		{"JSON object", "\n {\"name\":\"a\",\"f\":1.5,\"n\":null,\"b\":true}", []manifest.Document{
			{Tree: tree{"name": "a", "f": 1.5, "n": nil, "b": true}, Line: 2}}},
		{"JSON list", "[{\"a\":\"\\ud83d\\ude00\"},\n{\"a\":[{\"b\":[]}]}]", []manifest.Document{
			{Tree: tree{"a": "😀"}, Line: 1}, {Tree: tree{"a": []any{tree{"b": []any{}}}}, Line: 2}}},
		{"JSON agents", "{\"agents\":[\n{\"a\":1},\n{\"a\":2}]}", []manifest.Document{
			{Tree: tree{"a": int64(1)}, Line: 2}, {Tree: tree{"a": int64(2)}, Line: 3}}},
		{"JSON lines", "{\"a\":1}\n{\"a\":2}\n", []manifest.Document{
			{Tree: tree{"a": int64(1)}, Line: 1}, {Tree: tree{"a": int64(2)}, Line: 2}}},
		{"flow YAML", "{name: a, args: [x, 1]}", []manifest.Document{
			{Tree: tree{"name": "a", "args": []any{"x", int64(1)}}, Line: 1}}},
		{"byte order mark", "\xef\xbb\xbfname: a", []manifest.Document{{Tree: tree{"name": "a"}, Line: 1}}},
		{"scalars", "a: 0x10\nb: 1_000\nc: 1e3\nd: yes\ne: 2024-01-02\nf: ~\ng: !!str 1\nh: '1'\ni: true\nj:", []manifest.Document{
			{Tree: tree{"a": int64(16), "b": int64(1000), "c": 1000.0, "d": "yes", "e": "2024-01-02", "f": nil,
				"g": "1", "h": "1", "i": true, "j": nil}, Line: 1}}},
		{"anchors and merge", "a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  l: 3\nd:\n  <<: [*x, {m: 4}]\n", []manifest.Document{
			{Tree: tree{
				"a": tree{"k": int64(1), "l": int64(2)}, "b": tree{"k": int64(1), "l": int64(2)},
				"c": tree{"k": int64(1), "l": int64(3)},
				"d": tree{"k": int64(1), "l": int64(2), "m": int64(4)}}, Line: 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := manifest.Parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v\nwant %#v", got, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for _, tt := range []struct {
		name, in string
		kind     fault.Kind
		want     string
	}{
		{"nothing", " \n# only a comment\n", fault.Invalid, "no document"},
		{"scalar", "hello", fault.Invalid, `line 1: a document must be a mapping with the fields of an agent, not the text "hello"`},
		{"list of scalars", "- a: 1\n- 7", fault.Invalid, "line 2: a document must be a mapping with the fields of an agent, not a number"},
		{"too large", strings.Repeat("#", manifest.MaxBytes+1), fault.TooLarge, "at most 10485760"},
		{"NUL", "a: b\nc: \x00", fault.Invalid, "line 2: a NUL"},
		{"escaped NUL", "a: \"\\0\"", fault.Invalid, "line 1: a NUL"},
		{"escaped NUL in JSON", "{\"a\":\"\\u0000\"}", fault.Invalid, "line 1: a NUL"},
		{"not UTF-8", "a: b\nc: \xff", fault.Invalid, "line 2: the text is not UTF-8"},
		{"bad YAML", "a: b\n c: d", fault.Invalid, "line 2: mapping values are not allowed"},
		{"bad JSON", "{\"a\": 1,\n \"b\" 2", fault.Invalid, "not valid JSON: line 2"},
		{"cut JSON", "{\"a\": 1", fault.Invalid, "ends before it is complete"},
		{"key twice", "a: 1\nb: 2\na: 3\nb: 4", fault.Invalid,
			`line 3: the key "a" is there twice, first in line 1; line 4: the key "b" is there twice`},
		{"key twice in JSON", "{\"a\":1,\n\"a\":2}", fault.Invalid, `line 2: the key "a" is there twice`},
		{"number as key", "x:\n  1: a", fault.Invalid, `line 2: the key "1" is not text`},
		{"list as key", "? [a]\n: b", fault.Invalid, "is not text"},
		{"not a number", "a: .nan", fault.Invalid, "line 1: .nan is not a finite number"},
		{"infinite", "a: -.inf", fault.Invalid, "not a finite number"},
		{"too large a number", "{\"a\": 1e999}", fault.Invalid, "out of range"},
		{"beyond 64 bits", "a: 123456789012345678901", fault.Invalid, "beyond 64 bits"},
		{"beyond 63 bits", "a: 18446744073709551615", fault.Invalid, "beyond 64 bits"},
		{"beyond 64 bits in JSON", "{\"a\": 9223372036854775808}", fault.Invalid, "beyond 64 bits"},
		{"octal or decimal", "a: 0755", fault.Invalid, "begins with 0"},
		{"tag", "a: !thing b", fault.Invalid, "the tag !thing is not supported"},
		{"tagged mapping", "a: !!set {b}", fault.Invalid, "not supported"},
		{"deep YAML", strings.Repeat("[", 51) + "x" + strings.Repeat("]", 51), fault.TooLarge, "nested too deeply"},
		{"deep block", "a:\n" + deep(60), fault.TooLarge, "nested too deeply"},
		{"deep JSON", strings.Repeat("{\"a\":", 51) + "1" + strings.Repeat("}", 51), fault.TooLarge, "nested too deeply"},
		{"deep JSON list", strings.Repeat("[", 51) + "1" + strings.Repeat("]", 51), fault.TooLarge, "nested too deeply"},
		{"bomb", bomb, fault.TooLarge, "aliases expand to too much"},
		{"endless alias", "a: &a [*a]", fault.Invalid, `the anchor "a" contains itself`},
		{"bad merge", "a:\n  <<: 1", fault.Invalid, "only mappings can be merged"},
		{"too many values", "a: [" + strings.Repeat("1,", manifest.MaxNodes) + "1]", fault.TooLarge, "too many values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs, err := manifest.Parse([]byte(tt.in))
			if err == nil {
				t.Fatalf("accepted: %v", docs)
			}
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s: %v\nwant %s: …%s…", fault.KindOf(err), err, tt.kind, tt.want)
			}
		})
	}
}

func deep(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// A flood of mistakes is cut, and says how many were left out.
func TestParseListsMistakesUpToALimit(t *testing.T) {
	_, err := manifest.Parse([]byte(strings.Repeat("- 1\n", 80)))
	f := fault.As(err)
	if f == nil || len(f.Fields) != 50 || !strings.Contains(f.Remedy, "30 further") {
		t.Errorf("got %v", err)
	}
}

func TestEncode(t *testing.T) {
	type inner struct {
		B string   `json:"b"`
		A []string `json:"a"`
	}
	v := struct {
		Z     inner          `json:"z"`
		N     int64          `json:"n"`
		Text  string         `json:"text"`
		Empty map[string]any `json:"empty"`
		Big   float64        `json:"big"`
		On    bool           `json:"on"`
		No    *int           `json:"no"`
	}{Z: inner{B: "<yes>", A: []string{"no", "1", "", "x y"}}, N: 7, Text: "two\nlines\n", Empty: map[string]any{}, Big: 1e21, On: true}
	y, err := manifest.Encode(v, "yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := "z:\n  b: <yes>\n  a:\n    - \"no\"\n    - \"1\"\n    - \"\"\n    - x y\n\"n\": 7\ntext: |\n  two\n  lines\nempty: {}\nbig: 1e+21\n\"on\": true\n\"no\": null\n"
	if string(y) != want {
		t.Errorf("got\n%s\nwant\n%s", y, want)
	}
	j, err := manifest.Encode(map[string]any{"b": "<", "a": 1}, "json")
	if err != nil || string(j) != "{\n  \"a\": 1,\n  \"b\": \"<\"\n}\n" {
		t.Errorf("got %s, %v", j, err)
	}
	if _, err := manifest.Encode(v, "toml"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("format toml: %v", err)
	}
	if _, err := manifest.Encode(func() {}, "yaml"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a function: %v", err)
	}
}

// Whatever is parsed is written and read back as the same, in both formats.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"name: a\n---\nname: b\n", "agents:\n- {a: 1}\n", "{\"a\": [1, 2.5, null, \"x\\u0000\"]}", "a: &a [*a]",
		"a: &x {k: |\n  two\n   lines\n\n}\nb: {<<: *x}", "a: !!binary aGk=", "a: 0o17\nb: -0x1\nc: .5\nd: +.inf\n", "- ? a\n  : b\n",
		"a: \"\\x85\\u2028 \\t\\n\"\nb: ' x'\nc: \"\\n  x\"\nd: '#'\ne: 'a: b'", "%YAML 1.1\n---\na: 1\n...\n", "\"\\ud800\": 1",
		"{\"a\":1}{\"b\":[]}", "a: \"a\\n b \\n\"", "a: '\ufeff'",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := manifest.Parse(data)
		if err != nil {
			if fault.As(err) == nil {
				t.Fatalf("not a fault: %v", err)
			}
			return
		}
		for _, d := range docs {
			if d.Line < 1 {
				t.Fatalf("line %d", d.Line)
			}
			for _, format := range []string{"yaml", "json"} {
				text, err := manifest.Encode([]any{d.Tree}, format)
				if err != nil {
					t.Fatalf("%s of %#v: %v", format, d.Tree, err)
				}
				again, err := manifest.Parse(text)
				if err != nil {
					if fault.KindOf(err) == fault.TooLarge {
						continue // it grew by its aliases or its indentation
					}
					t.Fatalf("%s: %v\n%s", format, err, text)
				}
				if len(again) != 1 || !same(again[0].Tree, d.Tree) {
					t.Fatalf("%s: got %#v\nwant %#v\n%s", format, again, d.Tree, text)
				}
			}
		}
	})
}

// same compares trees; 1.0 may come back as 1.
func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		m, ok := b.(map[string]any)
		if !ok || len(a) != len(m) {
			return false
		}
		for k, v := range a {
			w, there := m[k]
			if !there || !same(v, w) {
				return false
			}
		}
		return true
	case []any:
		l, ok := b.([]any)
		if !ok || len(a) != len(l) {
			return false
		}
		for i := range a {
			if !same(a[i], l[i]) {
				return false
			}
		}
		return true
	case int64:
		if f, ok := b.(float64); ok {
			return float64(a) == f
		}
	}
	return a == b
}
