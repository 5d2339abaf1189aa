package logs

import (
	"regexp"
	"strings"
)

// maxTerms is how many words of a search count.
const maxTerms = 20

// Term is one word of a search.
type Term struct {
	Field string // "" for the whole entry
	Text  string
	// Phrase says that it was in quotes: it is found as it stands, others are
	// found as the beginning of a word.
	Phrase bool
	Not    bool // the entry must not have it
}

var termField = regexp.MustCompile(`^([A-Za-z_@][\w.@/-]{0,99}):(.+)$`)

// Terms reads a search: words that all have to be there in any order and any
// case, "phrases", field:value, and -word for what must not be there. Nothing is
// a mistake.
func Terms(search string) []Term {
	var out []Term
	for rest := strings.TrimSpace(search); rest != "" && len(out) < maxTerms; rest = strings.TrimSpace(rest) {
		var t Term
		if len(rest) > 1 && rest[0] == '-' && rest[1] != ' ' {
			t.Not, rest = true, rest[1:]
		}
		word := rest
		if i := strings.IndexAny(rest, " \t\n\""); i >= 0 {
			word = rest[:i]
		}
		rest = rest[len(word):]
		if m := termField.FindStringSubmatch(word + "\x00"); m != nil && !strings.HasPrefix(m[2], "//") {
			t.Field, word = m[1], strings.TrimSuffix(m[2], "\x00")
		}
		if word == "" && strings.HasPrefix(rest, `"`) {
			word, rest, _ = strings.Cut(rest[1:], `"`)
			t.Phrase = true
		}
		if t.Text = word; t.Text != "" {
			out = append(out, t)
		}
	}
	return out
}

// Marks are the texts of a search that are worth to be marked where they are found.
func Marks(search string) []string {
	var out []string
	for _, t := range Terms(search) {
		if !t.Not && t.Text != "*" {
			out = append(out, t.Text)
		}
	}
	return out
}
