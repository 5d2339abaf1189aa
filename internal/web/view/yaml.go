package view

import (
	"regexp"
	"strings"
)

// Span is a piece of a line with the class that colours it; "" for plain text.
type Span struct{ Class, Text string }

var (
	yamlKey    = regexp.MustCompile(`^(\s*(?:- +)*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s#'"\[\]{},&*!|>%@-][^#:]*?|-[^\s#:][^#:]*?)(:)(\s|$)`)
	yamlNumber = regexp.MustCompile(`^[-+]?(?:0x[0-9a-fA-F]+|\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?)$`)
	yamlWord   = regexp.MustCompile(`^(?:true|false|null|~)$`)
	yamlItem   = regexp.MustCompile(`^(\s*(?:- +)+|\s*-$|\s+)`)
)

// HighlightYAML parts a YAML text into lines of coloured pieces: key, string,
// number, word, comment and mark. The pieces of a line are the line.
func HighlightYAML(text string) [][]Span {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	out := make([][]Span, len(lines))
	block := -1 // indentation of the key whose text block the line may lie in
	for i, line := range lines {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if block >= 0 && (strings.TrimSpace(line) == "" || indent > block) {
			out[i] = []Span{{"string", line}}
			continue
		}
		block = -1
		out[i] = yamlLine(line)
		if last := out[i]; len(last) > 0 && last[len(last)-1].Class == "mark" {
			if m := last[len(last)-1].Text; strings.HasPrefix(m, "|") || strings.HasPrefix(m, ">") {
				block = indent
			}
		}
	}
	return out
}

func yamlLine(line string) []Span {
	var out []Span
	rest := line
	if m := yamlKey.FindStringSubmatch(line); m != nil {
		out = add(out, "mark", m[1])
		out = add(out, "key", m[2])
		out = add(out, "mark", m[3])
		rest = line[len(m[1])+len(m[2])+len(m[3]):]
	} else if m := yamlItem.FindString(line); m != "" {
		out = add(out, "mark", m)
		rest = line[len(m):]
	}
	value := strings.TrimLeft(rest, " ")
	out = add(out, "", rest[:len(rest)-len(value)])
	return append(out, yamlValue(value)...)
}

func yamlValue(value string) []Span {
	if value == "" {
		return nil
	}
	var comment string
	if value[0] != '"' && value[0] != '\'' {
		if i := strings.Index(" "+value, " #"); i >= 0 {
			value, comment = value[:max(0, i-1)], value[max(0, i-1):]
		}
	}
	text := strings.TrimRight(value, " ")
	class := ""
	switch {
	case text == "":
	case text[0] == '"' || text[0] == '\'':
		class = "string"
	case yamlNumber.MatchString(text):
		class = "number"
	case yamlWord.MatchString(text):
		class = "word"
	case strings.ContainsRune("|>&*!{[", rune(text[0])):
		class = "mark"
	default:
		class = "string"
	}
	var out []Span
	out = add(out, class, text)
	out = add(out, "", value[len(text):])
	return add(out, "comment", comment)
}

// add appends a piece, unless it is empty.
func add(list []Span, class, text string) []Span {
	if text == "" {
		return list
	}
	return append(list, Span{class, text})
}
