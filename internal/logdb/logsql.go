package logdb

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logs"
)

// quote writes a text as LogsQL has it.
func quote(s string) string { return strconv.Quote(s) }

// stamp writes a time to the nanosecond.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

// selection is the filter of a query: its time always, then the streams, which
// the storage finds first, then the rest.
func selection(q logs.Query) string {
	parts := []string{"_time:[" + stamp(q.Since) + ", " + stamp(q.Until) + ")"}
	if s := streams(q); s != "" {
		parts = append(parts, s)
	}
	if c := content(q); c != "" {
		parts = append(parts, c)
	}
	return strings.Join(parts, " ")
}

// streams selects those that wrote.
func streams(q logs.Query) string {
	var tags []string
	if len(q.Agents) > 0 {
		quoted := make([]string, len(q.Agents))
		for i, a := range q.Agents {
			quoted[i] = quote(a)
		}
		tags = append(tags, fieldAgent+" in ("+strings.Join(quoted, ",")+")")
	}
	if q.Instance != "" {
		tags = append(tags, fieldInstance+"="+quote(q.Instance))
	}
	if q.Stream != "" {
		tags = append(tags, fieldStream+"="+quote(q.Stream))
	}
	if len(tags) == 0 {
		return ""
	}
	return "{" + strings.Join(tags, ",") + "}"
}

// content selects by what was written.
func content(q logs.Query) string {
	var parts []string
	switch q.Level {
	case logs.Error:
		parts = append(parts, fieldLevel+":=error")
	case logs.Warn:
		parts = append(parts, fieldLevel+":in(warn,error)")
	case logs.Info: // what does not say is taken as info
		parts = append(parts, "!"+fieldLevel+":=debug")
	}
	for _, t := range logs.Terms(q.Text) {
		parts = append(parts, term(t))
	}
	if f := strings.TrimSpace(q.Filter); f != "" {
		parts = append(parts, "("+f+"\n)") // a comment at its end must not swallow the rest
	}
	return strings.Join(parts, " ")
}

var comparison = regexp.MustCompile(`^(>=|<=|>|<)(-?\d+(?:\.\d+)?)$`)

// term writes one word of a search.
func term(t logs.Term) string {
	match := "i(" + quote(t.Text) + "*)"
	if t.Phrase {
		match = "i(" + quote(t.Text) + ")"
	}
	var s string
	switch {
	case t.Field == "":
		s = "(" + fieldText + ":" + match + " or " + fieldAll + ":" + match + ")"
	case t.Text == "*":
		s = quote(t.Field) + ":*"
	case !t.Phrase && comparison.MatchString(t.Text):
		m := comparison.FindStringSubmatch(t.Text)
		s = quote(t.Field) + ":" + m[1] + m[2]
	default:
		// It may also be a text that has a colon in it, such as localhost:8080.
		whole := ":i(" + quote(t.Field+":"+t.Text) + "*)"
		s = "(" + quote(t.Field) + ":" + match + " or " + fieldText + whole + " or " + fieldAll + whole + ")"
	}
	if t.Not {
		return "!" + s
	}
	return s
}

// check tells whether a filter of a user is one, and nothing but one.
func check(filter string) error {
	if at := pipeAt(filter); at >= 0 {
		return fault.New(fault.Invalid, "logs.filter", "The filter can't be used").
			Because("it holds a pipe, and pipes are not offered here").Do("Leave out what begins with the pipe; write it in quotes if it is to be searched for.").
			At(fault.Field{Path: "query.filter", Message: "pipe at character " + strconv.Itoa(at+1)})
	}
	q, err := logstorage.ParseQuery(filter)
	if err != nil {
		return misunderstood(err)
	}
	if text := q.String(); strings.HasPrefix(text, "options") {
		return fault.New(fault.Invalid, "logs.filter", "The filter can't be used").Because("options are not offered here").
			At(fault.Field{Path: "query.filter", Message: "must not begin with options(…)"})
	}
	if _, err := logstorage.ParseFilter(filter); err != nil {
		return misunderstood(err)
	}
	return nil
}

// pipeAt gives where a pipe stands outside of quotes, -1 for nowhere.
func pipeAt(s string) int {
	var quoted rune
	escaped := false
	for i, r := range s {
		switch {
		case escaped:
			escaped = false
		case quoted != 0:
			if r == '\\' && quoted != '`' {
				escaped = true
			} else if r == quoted {
				quoted = 0
			}
		case slices.Contains([]rune{'"', '\'', '`'}, r):
			quoted = r
		case r == '|':
			return i
		}
	}
	return -1
}

// misunderstood explains what the parser says, with the place.
func misunderstood(err error) error {
	text := err.Error()
	message := text
	if len(message) > 300 {
		message = message[:300] + "…"
	}
	return fault.New(fault.Invalid, "logs.filter", "The filter can't be understood").Because("%s", message).
		Do("It is written in LogsQL, for example level:=error path:\"/pay\" -timeout.").
		At(fault.Field{Path: "query.filter", Message: message}).Wrap(err)
}
