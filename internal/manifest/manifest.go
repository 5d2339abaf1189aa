// Package manifest reads the documents in which people declare agents, YAML or
// JSON, into plain trees, and writes plain trees back.
//
// Documents come from outside, so everything about them is bounded: their size,
// their depth, and what anchors and aliases may grow into.
package manifest

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The limits of one input.
const (
	MaxBytes   = 10 << 20 // size of the input
	MaxDepth   = 50       // of maps and lists within each other
	MaxNodes   = 500_000  // values written in the input
	MaxAliased = 100_000  // values that aliases (*name) add to what is written
	maxReports = 50       // mistakes that are listed before the rest is cut
)

// Document is one mapping of the input.
type Document struct {
	// Tree holds nil, bool, int64, float64, string, []any and map[string]any.
	Tree map[string]any
	// Line is where the document begins in the input, from 1.
	Line int
}

// Parse reads an input that holds one or more documents: YAML (several parted
// by "---"), JSON objects, lists of either, or one mapping whose only key
// "agents" holds such a list. The format is told from the content.
//
// It fails with TooLarge if a limit is passed, and with Invalid and the line of
// each mistake otherwise: broken syntax, a key twice in one mapping, a key that
// is not text, a number that cannot be kept exactly or is not finite, NUL
// characters, bytes that are not UTF-8, or no document at all.
func Parse(data []byte) ([]Document, error) {
	if len(data) > MaxBytes {
		return nil, fault.New(fault.TooLarge, "manifest.too_large", "The document is too large").
			Because("it has %d bytes and at most %d are read", len(data), MaxBytes).
			Do("Split it into several files.")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if err := checkText(data); err != nil {
		return nil, err
	}
	if err := checkCount(data); err != nil {
		return nil, err
	}
	r := &reader{}
	var roots []root
	if first := firstByte(data); first == '{' || first == '[' {
		var syntax error
		if roots, syntax = r.json(data); syntax != nil {
			// Flow-style YAML begins like JSON. If it is neither, the message
			// about JSON is the one that helps.
			r = &reader{}
			var err error
			if roots, err = r.yaml(data); err != nil {
				return nil, syntax
			}
		}
	} else {
		var err error
		if roots, err = r.yaml(data); err != nil {
			return nil, err
		}
	}
	docs := r.documents(roots)
	if err := r.err(); err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, fault.New(fault.Invalid, "manifest.empty", "There is no document in the input").
			Do("Give at least one mapping with the fields of an agent.")
	}
	return docs, nil
}

// root is one value at the top of the input.
type root struct {
	value any
	line  int
	lines []int // of the items, if value is a list
	inner []int // of the items below "agents", if value is such a mapping
}

// reader collects the mistakes of one input.
type reader struct {
	fields  []fault.Field
	more    int
	fatal   *fault.Error // a limit was passed; nothing further is read
	aliased int
}

func (r *reader) wrong(line int, message string) {
	if len(r.fields) >= maxReports {
		r.more++
		return
	}
	r.fields = append(r.fields, fault.Field{Path: "line " + strconv.Itoa(line), Message: message})
}

func (r *reader) err() error {
	if r.fatal != nil {
		return r.fatal
	}
	if len(r.fields) == 0 {
		return nil
	}
	f := fault.New(fault.Invalid, "manifest.invalid", "The document can't be read").At(r.fields...)
	if r.more > 0 {
		f.Do("There are %d further mistakes.", r.more)
	}
	return f
}

// documents spreads lists and {agents: [...]} into single mappings.
func (r *reader) documents(roots []root) []Document {
	var docs []Document
	add := func(v any, line int) {
		if m, ok := v.(map[string]any); ok {
			docs = append(docs, Document{Tree: m, Line: line})
			return
		}
		r.wrong(line, "a document must be a mapping with the fields of an agent, not "+describe(v))
	}
	for _, rt := range roots {
		switch v := rt.value.(type) {
		case nil:
		case []any:
			for i, item := range v {
				add(item, lineAt(rt.lines, i, rt.line))
			}
		case map[string]any:
			list, ok := v["agents"].([]any)
			if !ok || len(v) != 1 {
				add(v, rt.line)
				continue
			}
			for i, item := range list {
				add(item, lineAt(rt.inner, i, rt.line))
			}
		default:
			add(v, rt.line)
		}
	}
	return docs
}

func lineAt(lines []int, i, otherwise int) int {
	if i < len(lines) {
		return lines[i]
	}
	return otherwise
}

// checkText refuses what is no text at all.
func checkText(data []byte) error {
	refuse := func(at int, what string) error {
		line := 1 + bytes.Count(data[:at], []byte("\n"))
		return fault.New(fault.Invalid, "manifest.not_text", "The document can't be read").
			At(fault.Field{Path: "line " + strconv.Itoa(line), Message: what})
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return refuse(i, "a NUL character is not allowed")
	}
	for i := 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && n == 1 {
			return refuse(i, "the text is not UTF-8")
		}
		i += n
	}
	return nil
}

// checkCount bounds the memory that parsing can take, before it takes it: every
// written value beyond the first needs one of these characters.
func checkCount(data []byte) error {
	n := 0
	for i, c := range data {
		switch c {
		case ',', '[', '{':
			n++
		case ':', '-', '?':
			if i+1 == len(data) || data[i+1] <= ' ' || c == ':' && data[i+1] == '"' {
				n++
			}
		}
	}
	if n > MaxNodes {
		return fault.New(fault.TooLarge, "manifest.too_many_values", "The document holds too many values").
			Because("at most %d are read", MaxNodes).Do("Split it into several files.")
	}
	return nil
}

func firstByte(data []byte) byte {
	if t := bytes.TrimLeft(data, " \t\r\n"); len(t) > 0 {
		return t[0]
	}
	return 0
}

func tooDeep(line int) *fault.Error {
	return fault.New(fault.TooLarge, "manifest.too_deep", "The document is nested too deeply").
		Because("line %d is more than %d levels down", line, MaxDepth)
}

// number keeps a written number as int64 or float64, if that is possible.
func number(text string) (any, string) {
	if !strings.ContainsAny(text, ".eE") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, "the whole number " + short(text) + " is beyond 64 bits; put it in quotes if it is text"
		}
		return n, ""
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, "the number " + short(text) + " is out of range"
	}
	return f, ""
}

func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return "the text " + strconv.Quote(short(v))
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	default:
		return "a number"
	}
}

// short cuts what is repeated in a message.
func short(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
