package cause

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxLine bounds what is looked at of one line, in bytes.
const maxLine = 4096

var (
	escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]`)
	// spoken are the fields of a JSON log line that hold what people would read.
	spoken = []string{"msg", "message", "event", "error", "err", "exception", "reason", "cause", "detail", "details", "stack", "stack_trace", "exc_info"}
)

// Plain gives the words of a line of output: without colours and, where it is
// JSON, what its fields say.
func Plain(line string) string {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	line = strings.TrimSpace(escapes.ReplaceAllString(strings.ToValidUTF8(line, ""), ""))
	if !strings.HasPrefix(line, "{") {
		return line
	}
	var tree map[string]any
	if json.Unmarshal([]byte(line), &tree) != nil {
		return line
	}
	var parts []string
	for _, name := range spoken {
		if text := said(tree[name]); text != "" && !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return line
	}
	// What else it says is kept, so that addresses and names are found.
	for name, v := range tree {
		if s, ok := v.(string); ok && !slices.Contains(spoken, name) && slices.Contains([]string{"addr", "address", "url", "target", "upstream", "host", "variable", "key", "path", "file"}, name) {
			parts = append(parts, name+"="+s)
		}
	}
	slices.SortStableFunc(parts[min(1, len(parts)):], strings.Compare)
	return strings.Join(parts, ": ")
}

// said gives the text of a field, also of one that holds an error as an object.
func said(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case map[string]any:
		var parts []string
		for _, name := range []string{"type", "kind", "code", "message", "msg"} {
			if s, ok := v[name].(string); ok && s != "" {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, ": ")
	}
	return ""
}

// match is a line that a pattern was found in.
type match struct {
	line   string
	groups []string // of the pattern
}

// last gives the newest line in which the pattern is found.
func last(lines []string, pattern *regexp.Regexp) *match {
	for i := len(lines) - 1; i >= 0; i-- {
		if g := pattern.FindStringSubmatch(lines[i]); g != nil {
			return &match{line: lines[i], groups: g}
		}
	}
	return nil
}

// logs makes evidence of a line.
func (m *match) evidence() Evidence { return Evidence{Kind: "log", Text: short(m.line)} }

// short cuts a text for showing.
func short(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " …"
	}
	return s
}

var (
	stamps = regexp.MustCompile(`\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?`)
	uuids  = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	hexes  = regexp.MustCompile(`(?i)\b(?:0x[0-9a-f]+|[0-9a-f]{12,})\b`)
	digits = regexp.MustCompile(`\d+`)
	blanks = regexp.MustCompile(`\s+`)
)

// Normal gives a message without what varies from one time to the next, so that
// like is found to be alike.
func Normal(message string) string {
	s := Plain(message)
	for _, p := range []*regexp.Regexp{stamps, uuids, hexes} {
		s = p.ReplaceAllString(s, "#")
	}
	s = digits.ReplaceAllString(s, "#")
	s = strings.ToLower(strings.TrimSpace(blanks.ReplaceAllString(s, " ")))
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}

var troubles = regexp.MustCompile(`(?i)error|exception|fatal|panic|fail(ed|ure)?\b|cannot|can't|could not|unable|refused|denied|invalid|critical|abort(ed)?\b`)

// telling gives the line that says most about the trouble: the newest that speaks
// of an error, or the newest.
func (f *Facts) telling() string {
	texts := f.texts()
	if m := last(texts, troubles); m != nil {
		return m.line
	}
	for i := len(texts) - 1; i >= 0; i-- {
		if texts[i] != "" {
			return texts[i]
		}
	}
	return ""
}

var target = regexp.MustCompile(`(?i)(?:[a-z][a-z0-9+.-]*://)?(?:[^\s/@:"']*:[^\s/@"']*@)?(\[[0-9a-f:]+\]|localhost|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\d+\.\d+\.\d+\.\d+):(\d{2,5})\b`)

// address is where somebody tried to connect to.
type address struct {
	host string
	port int
}

// addresses gives the addresses with a port that a line names.
func addresses(line string) []address {
	var out []address
	for _, g := range target.FindAllStringSubmatch(line, -1) {
		n, err := strconv.Atoi(g[2])
		if err == nil && n > 0 && n < 65536 && !allDigits(g[1]) {
			out = append(out, address{strings.Trim(strings.ToLower(g[1]), "[]"), n})
		}
	}
	return out
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (a address) local() bool {
	return a.host == "localhost" || strings.HasPrefix(a.host, "127.") || a.host == "::1" || a.host == "0.0.0.0" || a.host == "::"
}

func (a address) String() string { return a.host + ":" + strconv.Itoa(a.port) }
