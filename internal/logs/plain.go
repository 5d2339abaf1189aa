package logs

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Plain writes an entry as a line that people read; further lines of a stack
// trace are indented.
func Plain(e Entry) string {
	var b strings.Builder
	b.WriteString(e.At.UTC().Format("2006-01-02T15:04:05.000Z") + " " + e.AgentID + " " + e.Instance + " " + e.Stream)
	if e.Level != "" {
		b.WriteString(" " + strings.ToUpper(string(e.Level)))
	}
	b.WriteString(" " + strings.ReplaceAll(e.Text, "\n", "\n\t"))
	if f := FieldText(e); f != "" {
		b.WriteString(" " + f)
	}
	if e.Cut > 0 {
		b.WriteString(" [" + strconv.FormatInt(e.Cut, 10) + " bytes are left out]")
	}
	return b.String()
}

// FieldText writes an entry's fields as name=value, in the order of their names;
// "" where its text, which is the whole line then, has them already.
func FieldText(e Entry) string {
	var parts []string
	for i, name := range slices.Sorted(maps.Keys(e.Fields)) {
		if i == 0 && (strings.HasPrefix(e.Text, "{") || strings.Contains(e.Text, name+"=")) {
			return ""
		}
		value := e.Fields[name]
		if strings.ContainsAny(value, " \t\n\"=") {
			value = strconv.Quote(value)
		}
		parts = append(parts, name+"="+value)
	}
	return strings.Join(parts, " ")
}
