package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// jsonReader reads with the lines that encoding/json does not keep.
type jsonReader struct {
	*reader
	dec  *json.Decoder
	data []byte
	// line is the line of offset at; both only grow.
	line, at int
}

// json reads one or more JSON values. A returned error is one of syntax;
// everything else is collected.
func (r *reader) json(data []byte) ([]root, error) {
	j := &jsonReader{reader: r, dec: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
	j.dec.UseNumber()
	var roots []root
	for r.fatal == nil {
		tok, err := j.dec.Token()
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, j.syntax(err)
		}
		rt := root{line: j.here()}
		if tok == json.Delim('{') {
			rt.value, err = j.object(1, &rt.inner)
		} else {
			rt.value, err = j.value(tok, 0, &rt.lines)
		}
		if err != nil {
			return nil, err
		}
		roots = append(roots, rt)
	}
	return roots, nil
}

// here is the line of the token that was read last.
func (j *jsonReader) here() int {
	to := min(int(j.dec.InputOffset()), len(j.data))
	j.line += bytes.Count(j.data[j.at:to], []byte("\n"))
	j.at = to
	return j.line
}

func (j *jsonReader) syntax(err error) error {
	at := int(j.dec.InputOffset())
	var s *json.SyntaxError
	if errors.As(err, &s) {
		at = int(s.Offset)
	}
	line := 1 + bytes.Count(j.data[:min(max(at, 0), len(j.data))], []byte("\n"))
	why := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		why = "the JSON ends before it is complete"
	}
	return fault.New(fault.Invalid, "manifest.syntax", "The document is not valid JSON").
		At(fault.Field{Path: "line " + strconv.Itoa(line), Message: why})
}

// value reads what begins with tok; it appends the lines of a list's items to
// lines, if that is not nil.
func (j *jsonReader) value(tok json.Token, depth int, lines *[]int) (any, error) {
	line := j.here()
	switch t := tok.(type) {
	case json.Delim:
		if t == '{' {
			return j.object(depth+1, nil)
		}
		return j.list(depth+1, lines)
	case json.Number:
		n, wrong := number(t.String())
		if wrong != "" {
			j.wrong(line, wrong)
		}
		return n, nil
	case string:
		if strings.IndexByte(t, 0) >= 0 {
			j.wrong(line, "a NUL character is not allowed")
		}
		return t, nil
	default: // bool and nil
		return t, nil
	}
}

func (j *jsonReader) object(depth int, inner *[]int) (any, error) {
	if depth > MaxDepth {
		j.fatal = tooDeep(j.here())
	}
	m := map[string]any{}
	for j.fatal == nil && j.dec.More() {
		tok, err := j.dec.Token()
		if err != nil {
			return nil, j.syntax(err)
		}
		key, _ := tok.(string) // the decoder itself refuses any other key
		line := j.here()
		if _, twice := m[key]; twice {
			j.wrong(line, "the key "+strconv.Quote(short(key))+" is there twice")
		}
		if strings.IndexByte(key, 0) >= 0 {
			j.wrong(line, "a NUL character is not allowed")
		}
		if tok, err = j.dec.Token(); err != nil {
			return nil, j.syntax(err)
		}
		var lines *[]int
		if key == "agents" {
			lines = inner
		}
		if m[key], err = j.value(tok, depth, lines); err != nil {
			return nil, err
		}
	}
	return m, j.end()
}

func (j *jsonReader) list(depth int, lines *[]int) (any, error) {
	if depth > MaxDepth {
		j.fatal = tooDeep(j.here())
	}
	items := []any{}
	for j.fatal == nil && j.dec.More() {
		tok, err := j.dec.Token()
		if err != nil {
			return nil, j.syntax(err)
		}
		if lines != nil {
			*lines = append(*lines, j.here())
		}
		item, err := j.value(tok, depth, nil)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, j.end()
}

// end reads the closing bracket.
func (j *jsonReader) end() error {
	if j.fatal != nil {
		return nil //nolint:nilerr // it is told once, where reading ends
	}
	if _, err := j.dec.Token(); err != nil {
		return j.syntax(err)
	}
	return nil
}
