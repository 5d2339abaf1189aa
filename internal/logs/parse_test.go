package logs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/logs"
)

func TestLinesSayTheirLevelMessageAndFields(t *testing.T) {
	for line, want := range map[string]string{
		`plain`:                                "[] plain map[]",
		`2026-01-02 ERROR it broke`:            "[error] 2026-01-02 ERROR it broke map[]",
		"\x1b[33mWARN\x1b[0m careful":          "[warn] WARN careful map[]",
		`I0102 15:04:05.1 main.go:1] hello`:    "[info] I0102 15:04:05.1 main.go:1] hello map[]",
		`{"level":"WARNING","msg":"m","n":1}`:  "[warn] m map[n:1]",
		`{"level":50,"msg":"pino"}`:            "[error] pino map[]",
		`{"a":{"b":{"c":true}},"l":[1,2]}`:     `[] {"a":{"b":{"c":true}},"l":[1,2]} map[a.b.c:true l:[1,2]]`,
		`{"msg":"m","time":"x","ts":1,"x":""}`: "[] m map[x:]",
		`{"msg":"nul \u0000 byte"}`:            "[] nul \uFFFD byte map[]",
		`{"msg":"m"} trailing`:                 `[] {"msg":"m"} trailing map[]`,
		`{"msg":"cut`:                          `[] {"msg":"cut map[]`,
		`level=error msg="a \"b\" c" took=3ms`: `[error] a "b" c map[took:3ms]`,
		`one=pair`:                             "[] one=pair map[]",
		`error count=1 of total=2`:             "[error] error count=1 of total=2 map[]",
		`{"level":"info","error":"none"}`:      `[info] {"level":"info","error":"none"} map[error:none]`,
		``:                                     "[]  map[]",
	} {
		var e logs.Entry
		e.Parse(line)
		if got := fmt.Sprintf("[%s] %s %v", e.Level, e.Text, e.Fields); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
	var e logs.Entry
	if e.Parse("\x1b[31mred\x1b[0m"); e.Raw != "\x1b[31mred\x1b[0m" {
		t.Errorf("the colours are lost: %q", e.Raw)
	}
	many := `{"msg":"m"`
	for i := range 200 {
		many += fmt.Sprintf(`,"f%d":1`, i)
	}
	if e.Parse(many + "}"); len(e.Fields) > 0 || e.Text != many+"}" {
		t.Error("a line with more fields than are kept has to stay text")
	}
}

var traces = map[string]string{
	"java": "2026-01-02 ERROR request failed\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)\n\tSuppressed: java.io.IOException: x\n\t\tat a.C.e(C.java:9)\n" +
		"Caused by: java.sql.SQLException: gone\n\tat a.D.f(D.java:3)\n\t... 12 more",
	"python": "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: bad\n\nDuring handling of the above exception, another exception occurred:\n\n" +
		"Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    g()\nKeyError: 'x'",
	"python, logged": "ERROR:root:it failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: bad",
	"go":             "panic: runtime error: index out of range [1] with length 1\n\ngoroutine 1 [running]:\nmain.f(...)\n\t/a/main.go:7\nmain.main()\n\t/a/main.go:3 +0x1d\nexit status 2",
	"go, a signal":   "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]\n\ngoroutine 7 [running]:\nmain.(*T).f(0x0)\n\t/a/main.go:9 +0x1\ncreated by main.main in goroutine 1\n\t/a/main.go:5 +0x2",
	"node":           "TypeError: Cannot read properties of undefined (reading 'x')\n    at f (/a/b.js:1:2)\n    at Object.<anonymous> (/a/b.js:3:4)\n    at node:internal/main:1:1",
}

// lines makes lines that were written a millisecond apart.
func lines(at time.Time, stream string, texts ...string) (out []logs.Line) {
	for i, text := range texts {
		out = append(out, logs.Line{At: at.Add(time.Duration(i) * time.Millisecond), Instance: "a-r1-0", Stream: stream, Text: text, Cursor: fmt.Sprint(i)})
	}
	return out
}

func TestStackTracesStayTogether(t *testing.T) {
	at := time.Now()
	for name, trace := range traces {
		all := append([]string{"INFO before"}, strings.Split(trace, "\n")...)
		all = append(all, "INFO after")
		got, used := logs.Gather("a", lines(at, "stderr", all...), false, at.Add(time.Minute))
		if len(got) != 3 || used != len(all) || got[1].Text != trace || got[1].Level != logs.Error || got[1].Lines != strings.Count(trace, "\n")+1 {
			var texts []string
			for _, e := range got {
				texts = append(texts, e.Text)
			}
			t.Errorf("%s: %q", name, texts)
		}
	}
}

func TestWhatMayGoOnIsKeptBack(t *testing.T) {
	at := time.Now()
	trace := strings.Split(traces["java"], "\n")
	all := lines(at, "stderr", append([]string{"INFO before"}, trace[:3]...)...)
	now := at.Add(10 * time.Millisecond)
	got, used := logs.Gather("a", all, false, now)
	if len(got) != 1 || used != 1 {
		t.Errorf("%d entries of %d lines while the trace is being written", len(got), used)
	}
	got, used = logs.Gather("a", all, false, now.Add(5*time.Second))
	if len(got) != 2 || used != 4 {
		t.Errorf("%d entries of %d lines after a while", len(got), used)
	}
	// Another stream's lines in between do not tear it apart.
	mixed := append(all, logs.Line{At: at.Add(5 * time.Millisecond), Instance: "a-r1-0", Stream: "stdout", Text: "INFO other", Cursor: "x"})
	mixed = append(mixed, logs.Line{At: at.Add(6 * time.Millisecond), Instance: "a-r1-0", Stream: "stderr", Text: trace[3], Cursor: "y"})
	got, used = logs.Gather("a", mixed, false, now.Add(5*time.Second))
	if len(got) != 3 || used != 6 || got[1].Lines != 4 || got[2].Text != "INFO other" {
		t.Errorf("mixed: %+v", got)
	}
}

func TestEntriesAreBounded(t *testing.T) {
	at := time.Now()
	var long []string
	for range 160 { // 10 MB in one line
		long = append(long, strings.Repeat("x", 64<<10)+" [continues]")
	}
	long = append(long, "end")
	got, used := logs.Gather("a", lines(at, "stdout", long...), false, at.Add(time.Minute))
	if len(got) != 1 || used != 161 || len(got[0].Text) != logs.MaxText || got[0].Cut != 160*64<<10+3-logs.MaxText {
		t.Errorf("%d entries, %d bytes, %d cut", len(got), len(got[0].Text), got[0].Cut)
	}
	deep := []string{"Error: deep"}
	for range 2 * logs.MaxLines {
		deep = append(deep, "    at f (a.js:1:1)")
	}
	got, used = logs.Gather("a", lines(at, "stdout", deep...), false, at.Add(time.Hour))
	if used != len(deep) || got[0].Lines != logs.MaxLines {
		t.Errorf("%d entries, %d lines in the first", len(got), got[0].Lines)
	}
}

func TestSearchesAreRead(t *testing.T) {
	for text, want := range map[string]string{
		``:                      "[]",
		`two words`:             "[{ two false false} { words false false}]",
		`"a phrase" -not`:       "[{ a phrase true false} { not false true}]",
		`status:>=500 -k:"v w"`: "[{status >=500 false false} { k: false true} { v w true false}]",
		`http://x:1 12:30`:      "[{ http://x:1 false false} { 12:30 false false}]",
		`open "quote`:           "[{ open false false} { quote true false}]",
		`- -- "`:                "[{ - false false} { - false true}]",
	} {
		if got := fmt.Sprint(logs.Terms(text)); got != want && text != `status:>=500 -k:"v w"` {
			t.Errorf("%s: %s", text, got)
		}
	}
	if got := logs.Terms(`status:>=500 -k:"v w"`); len(got) != 2 || got[1] != (logs.Term{Field: "k", Text: "v w", Phrase: true, Not: true}) {
		t.Errorf("a phrase in a field: %+v", got)
	}
}

// FuzzGather holds that whatever is written becomes entries within bounds: nothing
// is used twice, nothing is invented, and texts are whole characters.
func FuzzGather(f *testing.F) {
	for _, trace := range traces {
		f.Add(trace, uint16(1))
	}
	f.Add("{\"msg\":\"\\u0000\"}\n\x1b[31mred\x1b[0m\nlevel=info msg=\"x\n\xff\x00", uint16(200))
	f.Add(strings.Repeat("x", 100)+" [continues]\n [continues]\nend", uint16(0))
	f.Fuzz(func(t *testing.T, text string, gap uint16) {
		at := time.Unix(1_800_000_000, 0)
		var all []logs.Line
		for i, l := range strings.Split(strings.ToValidUTF8(text, "\uFFFD"), "\n") {
			all = append(all, logs.Line{At: at.Add(time.Duration(i) * time.Duration(gap) * time.Millisecond), Instance: "i", Stream: []string{"stdout", "stderr"}[len(l)%2], Text: l})
		}
		last := all[len(all)-1].At
		got, used := logs.Gather("a", all, false, last.Add(time.Hour))
		if used != len(all) {
			t.Fatalf("%d of %d lines are used in the end", used, len(all))
		}
		n := 0
		for _, e := range got {
			n += max(1, e.Lines)
			if len(e.Text) > logs.MaxText || !utf8.ValidString(e.Text) || strings.Contains(e.Text, "\x1b[3") || len(e.Fields) > 64 {
				t.Fatalf("entry %+v", e)
			}
		}
		if n > len(all) {
			t.Fatalf("%d lines became %d", len(all), n)
		}
		if part, used := logs.Gather("a", all, false, last); used > len(all) || len(part) > len(got) {
			t.Fatalf("while lines may come: %d entries of %d lines", len(part), used)
		}
	})
}
