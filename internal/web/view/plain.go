package view

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// How long the texts of a cell may be, in characters. What is longer is
// shortened: a cell is a summary, and what agents and probes say has no bounds.
const (
	maxText = 300
	maxHint = 1000
)

// Plain makes text of others harmless to show: one line, without control
// characters and without those that change the direction of what stands around,
// at most limit characters long.
func Plain(s string, limit int) string {
	if len(s) <= limit && printable(s) {
		return s // nearly all are so
	}
	if len(s) > limit*utf8.UTFMax { // do not look at megabytes that will not be shown
		s = s[:limit*utf8.UTFMax]
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == limit {
			return b.String() + "…"
		}
		switch {
		case unicode.IsSpace(r):
			if r != '\u00a0' && r != '\u202f' {
				r = ' '
			}
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			r = '\ufffd'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// printable tells whether there is nothing but visible ASCII and spaces.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// plain makes every text of the row harmless.
func (r Row) plain() Row {
	for name, c := range r {
		if text, hint := Plain(c.Text, maxText), Plain(c.Hint, maxHint); text != c.Text || hint != c.Hint {
			c.Text, c.Hint = text, hint
			r[name] = c
		}
	}
	return r
}
