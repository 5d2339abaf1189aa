package logs

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Lines that follow each other closely may belong together. What decides is when
// they were written, so that reading them again gives the same entries.
const (
	joinPlain = 100 * time.Millisecond // indented lines to the one before
	joinTrace = time.Second            // lines of a stack trace to its beginning
	slack     = 100 * time.Millisecond // until a line that was written can be read
)

// continues is how a source marks a line that goes on in the next one.
const continues = " [continues]"

// kind is what a group of lines is.
type kind int

const (
	plainLine kind = iota
	jsonLine       // whole in itself
	trace          // of Java, Node and whatever indents its frames
	python         // from Traceback to the line with the error
	pythonEnd      // after that line
	goPanic
)

var (
	exception = regexp.MustCompile(`^(?:Exception in thread ".*" |Uncaught |Unhandled )?[\w$]+(?:\.[\w$]+)*(?:Exception|Error|Throwable|Panic)\b(?::|$| \[)`)
	frame     = regexp.MustCompile(`^(?:\s+(?:at |\.\.\. \d+ )|Caused by: |\s*Suppressed: )`)
	goCall    = regexp.MustCompile(`^[\w./*()\[\]{},~%-]+\(.*\)$`)
	pyError   = regexp.MustCompile(`^[A-Za-z_][\w.]*(?::|$)`)
)

const traceback = "Traceback (most recent call last):"

// group is the lines of one entry.
type group struct {
	kind        kind
	entry       Entry
	text        strings.Builder
	first, last int // of its lines
	at          time.Time
	lines       int
	cut         int64
	partial     bool // its last line goes on
	split       bool // and what comes of it is another entry
	full        bool // nothing more may be added
}

// kindOf tells what begins with a line.
func kindOf(text string) kind {
	switch {
	case strings.HasPrefix(text, "{"):
		return jsonLine
	case strings.HasPrefix(text, "panic: "), strings.HasPrefix(text, "fatal error: "), strings.HasPrefix(text, "goroutine ") && strings.HasSuffix(text, "]:"):
		return goPanic
	case strings.HasSuffix(text, traceback):
		return python
	case exception.MatchString(text):
		return trace
	}
	return plainLine
}

func blank(text string) bool    { return strings.TrimSpace(text) == "" }
func indented(text string) bool { return text != "" && (text[0] == ' ' || text[0] == '\t') }

// takes tells whether the line belongs to the group, and turns the group's kind
// if it tells more of it.
func (g *group) takes(l Line, text string) bool {
	gap := l.At.Sub(g.at)
	switch {
	case g.split:
		return false
	case g.partial:
		return true
	case g.full || gap > joinTrace:
		return false
	}
	switch g.kind {
	case jsonLine:
		return false
	case plainLine:
		return gap <= joinPlain && g.takesPlain(text)
	case trace:
		return frame.MatchString(text) || indented(text) && !blank(text)
	case python, pythonEnd:
		return g.takesPython(text)
	}
	return blank(text) || indented(text) || kindOf(text) == goPanic || strings.HasPrefix(text, "created by ") ||
		strings.HasPrefix(text, "[signal ") || strings.HasPrefix(text, "exit status ") || goCall.MatchString(text)
}

// takesPlain lets indented lines, and the trace that an error was logged with,
// follow a plain line.
func (g *group) takesPlain(text string) bool {
	if frame.MatchString(text) {
		g.kind = trace
		return true
	}
	if k := kindOf(text); (k == trace || text == traceback) && g.grave() {
		g.kind = k
		return true
	}
	return indented(text) && !blank(text)
}

// grave tells whether the group begins as an error or a warning.
func (g *group) grave() bool {
	m := levelWord.FindStringSubmatch(Strip(g.text.String()[:min(g.text.Len(), 256)]))
	return m != nil && (levelNames[strings.ToLower(m[1])] == Error || levelNames[strings.ToLower(m[1])] == Warn)
}

func (g *group) takesPython(text string) bool {
	if g.kind == python {
		if !indented(text) && !blank(text) && pyError.MatchString(text) {
			g.kind = pythonEnd
			return true
		}
		return indented(text) || blank(text) || strings.HasPrefix(text, "  ")
	}
	if strings.HasSuffix(text, traceback) {
		g.kind = python
		return true
	}
	return blank(text) || strings.HasPrefix(text, "During handling of the above exception") || strings.HasPrefix(text, "The above exception was the direct cause")
}

// add appends a line, as far as there is room.
func (g *group) add(l Line, index int) {
	text, more := strings.CutSuffix(l.Text, continues)
	if g.lines > 0 && !g.partial {
		g.text.WriteByte('\n')
	}
	if !g.partial {
		g.lines++
	}
	room := max(0, MaxText-g.text.Len())
	if len(text) > room {
		kept := strings.ToValidUTF8(text[:room], "")
		g.cut += int64(len(text) - len(kept))
		text = kept
	}
	g.text.WriteString(text)
	g.cut += int64(l.cut)
	g.partial, g.split, g.at, g.last = more, l.split, l.At, index
	g.full = g.split || g.lines >= MaxLines || !more && g.text.Len() >= MaxText
}

// settled tells whether nothing can follow any more, as of now.
func (g *group) settled(now time.Time) bool {
	wait := joinTrace
	switch {
	case g.split:
		return true
	case g.partial:
		wait = 5 * time.Second // the rest is surely on its way
	case g.full || g.kind == jsonLine:
		return true
	case g.kind == plainLine:
		wait = joinPlain
	}
	return now.Sub(g.at) > wait+slack
}

func (g *group) finish() Entry {
	e := g.entry
	e.Parse(strings.TrimRight(g.text.String(), "\n "))
	if g.lines > 1 {
		e.Lines = g.lines
	}
	if e.Level == "" && (g.kind != plainLine && g.kind != jsonLine) {
		e.Level = Error
	}
	if e.Level == "" && e.Stream == "stderr" {
		e.Level = Warn
	}
	e.Cut, e.Cursor = g.cut, place{e.At, 1}.String()
	return e
}

// gather makes entries of lines in their order. A line that others may still
// follow is kept back, with all lines after it: used says how many lines the
// entries cover. With more, further lines are there to be read now.
func gather(agentID string, lines []Line, more bool, now time.Time) (entries []Entry, used int) {
	var groups []*group
	open := map[string]*group{}
	for i, l := range lines {
		key := l.Instance + "\x00" + l.Stream
		text := Strip(l.Text)
		g := open[key]
		if g == nil || !g.takes(l, text) {
			g = &group{kind: kindOf(text), first: i, entry: Entry{At: l.At, AgentID: agentID, Instance: l.Instance, Stream: l.Stream}}
			groups, open[key] = append(groups, g), g
		}
		g.add(l, i)
	}
	used = len(lines)
	for _, g := range open {
		if more && !g.full || !more && !g.settled(now) {
			used = min(used, g.first)
		}
	}
	// What is kept back must not be torn from lines before it.
	for _, g := range slices.Backward(groups) {
		if g.first < used && g.last >= used {
			used = g.first
		}
	}
	if used == 0 && more {
		used = len(lines) // a full batch has to be taken
	}
	for _, g := range groups {
		if g.first < used {
			entries = append(entries, g.finish())
		}
	}
	return entries, used
}
