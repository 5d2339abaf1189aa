package view

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// LogText is a line of an agent's output as it is shown.
type LogText struct {
	Level   string // debug, info, warn or error; "" if the line does not say
	Message string
	Fields  string // what else a line in JSON says, as key=value
	Cut     int    // how many bytes are left out at the end
}

// maxLogText is how much of a line is shown before somebody asks for all of it,
// in bytes.
const maxLogText = 2000

var (
	// Sequences by which programs colour, move and title terminals.
	ansi = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[PX^_][^\x1b]*(?:\x1b\\\\)?|[ -/]*[0-~])")
	// The word by which lines of plain text tell their level.
	levelWord = regexp.MustCompile(`(?i)^.{0,64}?\b(trace|debug|info|notice|warn|warning|error|err|fatal|panic|critical)\b`)
)

var levels = map[string]string{
	"trace": "debug", "debug": "debug", "info": "info", "notice": "info", "warn": "warn", "warning": "warn",
	"error": "error", "err": "error", "fatal": "error", "panic": "error", "critical": "error",
}

// ParseLog reads a line of output, JSON or plain text. Its texts may still hold
// what terminals obey; components.LogText makes them harmless.
func ParseLog(line string) LogText {
	var out LogText
	whole := line
	if len(line) > maxLogText {
		line = line[:maxLogText]
		for len(line) > 0 && !utf8.ValidString(line[len(line)-min(len(line), utf8.UTFMax):]) && len(line) > maxLogText-utf8.UTFMax {
			line = line[:len(line)-1]
		}
		out.Cut = len(whole) - len(line)
	}
	if out.Cut == 0 && strings.HasPrefix(line, "{") && out.parseJSON(line) {
		return out
	}
	out.Message = line
	if m := levelWord.FindStringSubmatch(Unformatted(line)); m != nil {
		out.Level = levels[strings.ToLower(m[1])]
	}
	return out
}

// parseJSON reads a line of structured output, with its fields in their order.
func (t *LogText) parseJSON(line string) bool {
	dec := json.NewDecoder(strings.NewReader(line))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return false
	}
	var fields []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return false
		}
		name, text := key.(string), string(value)
		var s string
		if json.Unmarshal(value, &s) == nil && len(value) > 0 && value[0] == '"' {
			text = s
		}
		switch {
		case slices.Contains([]string{"msg", "message"}, name) && t.Message == "":
			t.Message = text
		case slices.Contains([]string{"level", "severity", "lvl"}, name) && t.Level == "":
			t.Level = levels[strings.ToLower(text)]
		case slices.Contains([]string{"time", "ts", "timestamp", "@timestamp"}, name):
		default:
			fields = append(fields, name+"="+text)
		}
	}
	if _, err := dec.Token(); err != nil || dec.More() {
		return false
	}
	t.Fields = strings.Join(fields, " ")
	return true
}

// Unformatted makes a text of others harmless to show: without sequences for
// terminals, with a mark in place of control characters and of those that change
// the direction of what stands around. Line breaks and tabs stay.
func Unformatted(s string) string {
	s = ansi.ReplaceAllString(s, "")
	if !strings.ContainsFunc(s, strange) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if strange(r) {
			r = '\ufffd'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func strange(r rune) bool {
	return r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
