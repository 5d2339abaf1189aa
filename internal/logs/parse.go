package logs

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

var (
	// Sequences by which programs colour, move and title terminals.
	sequences = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[PX^_][^\x1b]*(?:\x1b\\\\)?|[ -/]*[0-~])?")
	// The word by which lines of plain text tell their level.
	levelWord = regexp.MustCompile(`(?i)^.{0,64}?\b(trace|debug|info|notice|warn|warning|error|err|fatal|panic|critical)\b`)
	// The letter by which lines of glog and klog do.
	levelLetter = regexp.MustCompile(`^[IWEF]\d{4} \d\d:\d\d:`)
)

var levelNames = map[string]Level{
	"trace": Debug, "debug": Debug, "info": Info, "information": Info, "notice": Info, "warn": Warn, "warning": Warn,
	"error": Error, "err": Error, "fatal": Error, "panic": Error, "critical": Error, "crit": Error, "severe": Error, "emergency": Error, "alert": Error,
	"i": Info, "w": Warn, "e": Error, "f": Error,
}

// levelOf reads what a field says of the level: a word, or the number of pino
// and bunyan.
func levelOf(text string) Level {
	if l, ok := levelNames[strings.ToLower(text)]; ok {
		return l
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < 10 || n > 60:
		return ""
	case n < 30:
		return Debug
	case n < 40:
		return Info
	case n < 50:
		return Warn
	}
	return Error
}

// Strip takes sequences for terminals out of a text.
func Strip(text string) string {
	if strings.IndexByte(text, 0x1b) < 0 {
		return text
	}
	return sequences.ReplaceAllString(text, "")
}

// Parse reads one line, or the lines of a stack trace: JSON, logfmt, or plain
// text that names its level. It sets Level, Text, Raw and Fields of the entry.
func (e *Entry) Parse(line string) {
	e.Text, e.Raw, e.Fields = line, "", nil
	if strings.HasPrefix(line, "{") && e.parseJSON(line) {
		return
	}
	e.Text = Strip(line)
	if len(e.Text) != len(line) {
		e.Raw = line
	}
	if e.parseLogfmt(e.Text) {
		return
	}
	head, _, _ := strings.Cut(e.Text, "\n")
	if m := levelWord.FindStringSubmatch(head[:min(len(head), 128)]); m != nil {
		e.Level = levelNames[strings.ToLower(m[1])]
	} else if levelLetter.MatchString(head) {
		e.Level = levelNames[strings.ToLower(head[:1])]
	}
}

// fields collects what a structured line says.
type fields struct {
	message string
	level   Level
	all     map[string]string
	over    bool // a bound
}

func (f *fields) add(name, value string) {
	switch name {
	case "msg", "message":
		if f.message == "" {
			f.message = Strip(value)
			return
		}
	case "level", "severity", "lvl":
		if l := levelOf(value); l != "" && f.level == "" {
			f.level = l
			return
		}
	case "time", "ts", "timestamp", "@timestamp":
		return // the entry has its own
	case "":
		name = "_"
	}
	if len(name) > maxName || len(value) > maxValue || len(f.all) >= maxFields {
		f.over = true
		return
	}
	if f.all == nil {
		f.all = map[string]string{}
	}
	f.all[name] = value
}

// put makes the fields those of the entry. A line without a message is its own.
func (f *fields) put(e *Entry, line string) bool {
	if f.over {
		return false
	}
	e.Fields = f.all
	if f.level != "" {
		e.Level = f.level
	}
	if e.Text = f.message; e.Text == "" {
		e.Text = line
	}
	return true
}

func (e *Entry) parseJSON(line string) bool {
	var f fields
	if !f.object("", []byte(line), 0) {
		return false
	}
	return f.put(e, line)
}

// maxDepth is how deep objects in objects become fields of their own.
const maxDepth = 4

// object reads an object whose names begin with prefix.
func (f *fields) object(prefix string, text []byte, depth int) bool {
	dec := json.NewDecoder(bytes.NewReader(text))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return false
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return false
		}
		f.value(prefix+key.(string), value, depth)
	}
	if _, err := dec.Token(); err != nil {
		return false
	}
	// Nothing may stand behind it.
	rest := text[dec.InputOffset():]
	return len(bytes.TrimSpace(rest)) == 0
}

func (f *fields) value(name string, value json.RawMessage, depth int) {
	switch {
	case len(value) == 0 || string(value) == "null":
	case value[0] == '{' && depth < maxDepth && string(value) != "{}":
		f.object(name+".", value, depth+1)
	case value[0] == '"':
		var s string
		if json.Unmarshal(value, &s) == nil {
			f.add(name, strings.ReplaceAll(s, "\x00", "\uFFFD"))
		}
	default:
		f.add(name, string(value))
	}
}

// parseLogfmt reads lines such as level=info msg="it works" took=3ms. Every word
// has to be a pair, and there have to be two.
func (e *Entry) parseLogfmt(line string) bool {
	var f fields
	pairs := 0
	for rest := line; ; {
		rest = strings.TrimLeft(rest, " ")
		if rest == "" {
			break
		}
		name, after, ok := pairName(rest)
		if !ok {
			return false
		}
		var value string
		if value, rest, ok = pairValue(after); !ok {
			return false
		}
		f.add(name, value)
		pairs++
	}
	return pairs >= 2 && f.put(e, line)
}

func pairName(s string) (name, rest string, ok bool) {
	for i := 0; i < len(s) && i <= maxName; i++ {
		switch c := s[i]; {
		case c == '=':
			return s[:i], s[i+1:], i > 0
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '.' || c == '-' || c == '/'):
		default:
			return "", "", false
		}
	}
	return "", "", false
}

func pairValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, " ")
		return value, rest, !strings.ContainsAny(value, "\n\"")
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if v, err := strconv.Unquote(s[:i+1]); err == nil {
				return strings.ReplaceAll(v, "\x00", "\uFFFD"), s[i+1:], i+1 == len(s) || s[i+1] == ' '
			}
			return s[1:i], s[i+1:], i+1 == len(s) || s[i+1] == ' '
		}
	}
	return "", "", false
}
