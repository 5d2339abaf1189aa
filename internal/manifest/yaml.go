package manifest

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/waooaw/platform-portal/internal/fault"
)

// yamlReader turns nodes into plain values.
type yamlReader struct {
	*reader
	// following are the aliased nodes that the present value lies in, to find
	// one that holds itself.
	following map[*yaml.Node]bool
}

// yaml reads one or more YAML documents. A returned error is one of syntax or a
// limit; everything else is collected.
func (r *reader) yaml(data []byte) ([]root, error) {
	y := &yamlReader{reader: r, following: map[*yaml.Node]bool{}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var roots []root
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, yamlSyntax(err)
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
			continue
		}
		top := doc.Content[0]
		roots = append(roots, root{
			value: y.value(top, 0), line: top.Line, lines: itemLines(top), inner: agentLines(top),
		})
		if y.fatal != nil {
			return nil, y.fatal
		}
	}
}

var lineInMessage = regexp.MustCompile(`^line (\d+): `)

func yamlSyntax(err error) error {
	why := strings.TrimPrefix(err.Error(), "yaml: ")
	field := fault.Field{Path: "document", Message: why}
	if m := lineInMessage.FindStringSubmatch(why); m != nil {
		field = fault.Field{Path: "line " + m[1], Message: strings.TrimPrefix(why, m[0])}
	}
	return fault.New(fault.Invalid, "manifest.syntax", "The document is not valid YAML").At(field)
}

func itemLines(n *yaml.Node) []int {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.SequenceNode {
		return nil
	}
	lines := make([]int, len(n.Content))
	for i, item := range n.Content {
		lines[i] = item.Line
	}
	return lines
}

func agentLines(n *yaml.Node) []int {
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 {
		return nil
	}
	return itemLines(n.Content[1])
}

func (y *yamlReader) value(n *yaml.Node, depth int) any {
	if y.fatal != nil {
		return nil
	}
	if len(y.following) > 0 {
		if y.aliased++; y.aliased > MaxAliased {
			y.fatal = fault.New(fault.TooLarge, "manifest.alias_bomb", "The document's aliases expand to too much").
				Because("they make more than %d values", MaxAliased).Do("Write the values out, or repeat less.")
			return nil
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		return y.follow(n, func(to *yaml.Node) any { return y.value(to, depth) })
	case yaml.ScalarNode:
		return y.scalar(n)
	}
	if depth++; depth > MaxDepth {
		y.fatal = tooDeep(n.Line)
		return nil
	}
	if tag := n.ShortTag(); tag != "!!map" && tag != "!!seq" {
		y.wrong(n.Line, "the tag "+short(tag)+" is not supported")
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		items := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			items = append(items, y.value(item, depth))
		}
		return items
	}
	m := make(map[string]any, len(n.Content)/2)
	y.mapping(n, m, depth)
	return m
}

// follow reads what an alias points to, unless it is within itself.
func (y *yamlReader) follow(n *yaml.Node, read func(*yaml.Node) any) any {
	if y.following[n.Alias] {
		y.wrong(n.Line, "the anchor "+strconv.Quote(short(n.Value))+" contains itself")
		return nil
	}
	y.following[n.Alias] = true
	defer delete(y.following, n.Alias)
	return read(n.Alias)
}

// mapping reads the pairs of n into m. Merged keys ("<<") yield to those that
// are written out.
func (y *yamlReader) mapping(n *yaml.Node, m map[string]any, depth int) {
	var merges []*yaml.Node
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content) && y.fatal == nil; i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" {
			y.wrong(n.Content[i].Line, "the key "+strconv.Quote(short(k.Value))+" is not text; put it in quotes")
			continue
		}
		if strings.IndexByte(k.Value, 0) >= 0 {
			y.wrong(k.Line, "a NUL character is not allowed")
		}
		if first, twice := lines[k.Value]; twice {
			y.wrong(n.Content[i].Line, "the key "+strconv.Quote(short(k.Value))+" is there twice, first in line "+strconv.Itoa(first))
			continue
		}
		lines[k.Value] = n.Content[i].Line
		m[k.Value] = y.value(v, depth)
	}
	for _, v := range merges {
		y.merge(v, m, depth)
	}
}

func (y *yamlReader) merge(v *yaml.Node, m map[string]any, depth int) {
	sources := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		sources = v.Content
	}
	for _, s := range sources {
		from, ok := y.value(s, depth-1).(map[string]any)
		if !ok {
			y.wrong(s.Line, `only mappings can be merged with "<<"`)
			continue
		}
		for k, val := range from {
			if _, there := m[k]; !there {
				m[k] = val
			}
		}
	}
}

var (
	decimal     = regexp.MustCompile(`^[-+]?[0-9][0-9_]*$`)
	leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]+$`)
)

func (y *yamlReader) scalar(n *yaml.Node) any {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		if strings.IndexByte(n.Value, 0) >= 0 {
			y.wrong(n.Line, "a NUL character is not allowed")
		}
		return n.Value
	case "!!null":
		return nil
	case "!!bool", "!!int", "!!float":
		return y.plain(n, tag)
	default:
		y.wrong(n.Line, "the tag "+short(tag)+" is not supported")
		return nil
	}
}

func (y *yamlReader) plain(n *yaml.Node, tag string) any {
	if leadingZero.MatchString(n.Value) && tag == "!!int" {
		y.wrong(n.Line, short(n.Value)+" begins with 0; leave that out, or put it in quotes if it is text")
		return nil
	}
	if decimal.MatchString(n.Value) && tag == "!!float" && n.Style&yaml.TaggedStyle == 0 {
		y.wrong(n.Line, "the whole number "+short(n.Value)+" is beyond 64 bits; put it in quotes if it is text")
		return nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		y.wrong(n.Line, strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	switch v := v.(type) {
	case int:
		return int64(v)
	case uint64:
		y.wrong(n.Line, "the whole number "+short(n.Value)+" is beyond 64 bits; put it in quotes if it is text")
		return nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			y.wrong(n.Line, short(n.Value)+" is not a finite number")
			return nil
		}
		return v
	default:
		return v
	}
}
