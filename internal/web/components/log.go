package components

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// How much of one line of a log is shown, in bytes: so much at once, and so much
// when it is opened. The rest can be had as a file.
const (
	lineShown  = 2_000
	lineOpened = 64_000
)

// logSpan is a piece of text with one look.
type logSpan struct {
	Class string // "" for none
	Text  string
	// Mark says that Text stands for a character that can't be seen.
	Mark bool
	// Found says that Text was searched for.
	Found bool
}

// logLine is a line made harmless: what is shown, what is shown when it is opened,
// and how many bytes are left out.
type logLine struct {
	Shown, More []logSpan
	LeftOut     int
}

// readLine makes a line of others harmless: colours (ANSI) become classes, other
// control sequences vanish, and characters that can't be seen or that turn the
// direction of text become visible.
func readLine(line string) logLine {
	line = strings.TrimRight(line, "\r\n")
	var out logLine
	if len(line) > lineOpened {
		out.LeftOut = len(line) - lineOpened
		line = line[:lineOpened]
	}
	shown, more := line, ""
	if len(line) > lineShown {
		cut := lineShown
		for cut > 0 && !utf8.RuneStart(line[cut]) {
			cut--
		}
		shown, more = line[:cut], line[cut:]
	}
	var look sgr
	out.Shown = look.spans(shown)
	if more != "" {
		out.More = look.spans(more)
	}
	return out
}

// sgr is the look that ANSI sequences ask for ("select graphic rendition").
type sgr struct {
	bold, faint, italic, underline bool
	color                          string // "red", "bright-red"
}

func (s *sgr) class() string {
	var c []string
	if s.bold {
		c = append(c, "a-bold")
	}
	if s.faint {
		c = append(c, "a-faint")
	}
	if s.italic {
		c = append(c, "a-italic")
	}
	if s.underline {
		c = append(c, "a-underline")
	}
	if s.color != "" {
		c = append(c, "a-"+s.color)
	}
	return strings.Join(c, " ")
}

var ansiColors = []string{"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"}

// set takes the parameters of one sequence.
func (s *sgr) set(params string) {
	list := strings.FieldsFunc(params, func(r rune) bool { return r == ';' || r == ':' })
	if len(list) == 0 {
		*s = sgr{}
		return
	}
	for i := 0; i < len(list); i++ {
		n, err := strconv.Atoi(list[i])
		if err != nil {
			return
		}
		switch {
		case n == 0:
			*s = sgr{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.faint = true
		case n == 3:
			s.italic = true
		case n == 4:
			s.underline = true
		case n == 22:
			s.bold, s.faint = false, false
		case n == 23:
			s.italic = false
		case n == 24:
			s.underline = false
		case n >= 30 && n <= 37:
			s.color = ansiColors[n-30]
		case n >= 90 && n <= 97:
			s.color = "bright-" + ansiColors[n-90]
		case n == 39:
			s.color = ""
		case n == 38 || n == 48: // one of 256, or of all colours: not shown
			if i+1 < len(list) && list[i+1] == "5" {
				i += 2
			} else {
				i += 4
			}
		}
	}
}

func (s *sgr) spans(text string) []logSpan {
	var out []logSpan
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, logSpan{Class: s.class(), Text: b.String()})
			b.Reset()
		}
	}
	for i := 0; i < len(text); {
		if text[i] == 0x1b {
			length, params, color := escape(text[i:])
			if color {
				flush()
				s.set(params)
			}
			i += length
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		mark := markOf(r, size)
		if mark == "" {
			b.WriteRune(r)
			continue
		}
		flush()
		out = append(out, logSpan{Text: mark, Mark: true})
	}
	flush()
	return out
}

// markOf gives what stands for a character that can't be seen; "" for others.
func markOf(r rune, size int) string {
	switch {
	case r == utf8.RuneError && size == 1:
		return "\ufffd"
	case r == '\t':
		return ""
	case r < 0x20:
		return string(0x2400 + r)
	case r == 0x7f:
		return "\u2421"
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
		return fmt.Sprintf("U+%04X", r)
	}
	return ""
}

// escape gives the length of the control sequence that the text begins with, and
// its parameters if it sets colours.
func escape(text string) (length int, params string, color bool) {
	if len(text) < 2 {
		return len(text), "", false
	}
	switch text[1] {
	case '[': // CSI: parameters, then one final byte
		for i := 2; i < len(text); i++ {
			if c := text[i]; c >= 0x40 && c <= 0x7e {
				return i + 1, text[2:i], c == 'm'
			} else if c < 0x20 || c > 0x3f {
				return i, "", false
			}
		}
		return len(text), "", false
	case ']', 'P', '^', '_', 'X': // a string up to BEL or ST, e.g. a title or a link
		for i := 2; i < len(text); i++ {
			if text[i] == 0x07 {
				return i + 1, "", false
			}
			if text[i] == 0x1b && i+1 < len(text) && text[i+1] == '\\' {
				return i + 2, "", false
			}
		}
		return len(text), "", false
	}
	return 2, "", false
}

// found marks the texts that were searched for, in any case.
func found(spans []logSpan, words []string) []logSpan {
	if len(words) == 0 {
		return spans
	}
	var out []logSpan
	for _, s := range spans {
		if s.Mark {
			out = append(out, s)
			continue
		}
		for text := s.Text; text != ""; {
			at, length := firstOf(text, words)
			if at > 0 {
				out = append(out, logSpan{Class: s.Class, Text: text[:at]})
			}
			if length > 0 {
				out = append(out, logSpan{Class: s.Class, Text: text[at : at+length], Found: true})
			}
			text = text[at+length:]
		}
	}
	return out
}

// firstOf gives where the first of the words stands in the text and how long it
// is; the text's end and 0 if none does.
func firstOf(text string, words []string) (at, length int) {
	lower := strings.ToLower(text)
	at = len(text)
	if len(lower) != len(text) { // letters whose small form is longer: places would be wrong
		return at, 0
	}
	for _, w := range words {
		if i := strings.Index(lower, strings.ToLower(w)); w != "" && i >= 0 && (i < at || i == at && len(w) > length) {
			at, length = i, min(len(w), len(text)-i)
		}
	}
	return at, length
}
