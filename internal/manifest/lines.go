package manifest

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lines is where the fields of one document are in the input: path to line,
// from 1. A path is written like "probes.liveness.http.port", "ports[0].name" or
// `labels["a.b/c"]`; the document itself has the path "".
type Lines map[string]int

// Of gives the line of the field, or of what it would lie in if it is not there.
func (l Lines) Of(path string) int {
	for {
		if line, ok := l[path]; ok || path == "" {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// LinesOf finds the fields of every document of an input that Parse accepts, in
// the order in which Parse gives them. What aliases repeat is not followed.
func LinesOf(data []byte) []Lines {
	dec := yaml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	var out []Lines
	for {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return out // the end, or JSON that is no YAML: lines are a courtesy
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
			continue
		}
		for _, n := range mappings(doc.Content[0]) {
			l := Lines{"": n.Line}
			l.add("", n, 0)
			out = append(out, l)
		}
	}
}

// mappings spreads lists and {agents: [...]} as Parse does.
func mappings(n *yaml.Node) []*yaml.Node {
	switch {
	case n.Kind == yaml.SequenceNode:
		return n.Content
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "agents" && n.Content[1].Kind == yaml.SequenceNode:
		return n.Content[1].Content
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return nil
	}
	return []*yaml.Node{n}
}

func (l Lines) add(path string, n *yaml.Node, depth int) {
	if depth > MaxDepth {
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			at := within(path, k.Value)
			l[at] = k.Line
			l.add(at, v, depth+1)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			at := path + "[" + strconv.Itoa(i) + "]"
			l[at] = item.Line
			l.add(at, item, depth+1)
		}
	}
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func within(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + "[" + strconv.Quote(short(key)) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}
