package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Encode writes anything that JSON can express, as "yaml" or "json", with the
// names and the order that its JSON form has, and a line break at the end. What
// it writes for a tree from Parse, Parse reads back as the same tree.
// It fails with Invalid for another format or a value without a JSON form.
func Encode(tree any, format string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if format == "json" {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(tree); err != nil {
		return nil, fault.New(fault.Invalid, "manifest.encode", "The value can't be written as %s", format).Wrap(err)
	}
	switch format {
	case "json":
		return buf.Bytes(), nil
	case "yaml":
		return encodeYAML(&buf)
	default:
		return nil, fault.New(fault.Invalid, "manifest.format", "There is no format %q", format).Do("Use yaml or json.")
	}
}

// encodeYAML goes by way of JSON, because that is where the names, the order
// and the forms of values are declared.
func encodeYAML(text io.Reader) ([]byte, error) {
	dec := json.NewDecoder(text)
	dec.UseNumber()
	n, err := nextNode(dec)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(n), enc.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func nextNode(dec *json.Decoder) (*yaml.Node, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := tok.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if t == '[' {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		for dec.More() {
			child, err := nextNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		_, err := dec.Token()
		return n, err
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: t.String()}, nil
	case string:
		return textNode(t), nil
	case bool:
		if t {
			return &yaml.Node{Kind: yaml.ScalarNode, Value: "true"}, nil
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Value: "false"}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: "null"}, nil
	}
}

// Words and numbers that some reader of YAML takes for something else than text.
var lookalike = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|~|<<|=|[-+.]?[0-9].*)?$`)

// textNode quotes whatever could be read back differently.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case strings.Contains(s, "\n") && foldable(s):
		n.Style = yaml.LiteralStyle
	case lookalike.MatchString(s) || strings.ContainsFunc(s, notPlain):
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// foldable tells whether a literal block keeps the text as it is.
func foldable(s string) bool {
	if strings.ContainsFunc(s, func(c rune) bool { return c != '\n' && notPlain(c) }) {
		return false
	}
	if strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\n") || strings.HasSuffix(s, "\n\n") {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasSuffix(line, " ") {
			return false
		}
	}
	return true
}

func notPlain(c rune) bool { return c != ' ' && !unicode.IsPrint(c) || c == '\ufeff' }
