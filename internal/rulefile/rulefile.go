// Package rulefile is alert.Language on the packages with which Prometheus reads
// its rule files, and alert.Folder on directories of this machine.
package rulefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// maxProblems bounds how many mistakes of one file are named.
const maxProblems = 200

// Language is alert.Language. The zero value works; templates that query then
// get nothing.
type Language struct {
	// Querier answers the queries of templates.
	Querier metrics.Querier
	// URL is what templates show as the external address.
	URL *url.URL
}

var promQL = parser.NewParser(parser.Options{})

// Parse reads a rule file whole.
func (Language) Parse(file string, content []byte) (groups []alert.Group, err error) {
	defer func() {
		if r := recover(); r != nil {
			groups, err = nil, invalid(file, fault.Field{Path: file, Message: "is not understood"})
		}
	}()
	if bytes.Count(content, []byte{0}) > 0 {
		return nil, invalid(file, fault.Field{Path: file, Message: "holds NUL bytes; a rule file is text"})
	}
	if problem := documents(content); problem != nil {
		return nil, invalid(file, *problem)
	}
	parsed, mistakes := rulefmt.Parse(content, false, model.UTF8Validation, promQL, slog.New(slog.DiscardHandler))
	if len(mistakes) > 0 {
		var fields []fault.Field
		where := placesOf(content, parsed)
		for _, m := range mistakes {
			fields = append(fields, where.fieldsOf(file, m)...)
		}
		if parsed == nil {
			fields = append(fields, further(file, content)...)
			if slices.ContainsFunc(fields, func(f fault.Field) bool { return f.Message == noDuration }) {
				fields = slices.DeleteFunc(fields, func(f fault.Field) bool { return f.Path == file && strings.Contains(f.Message, "valid duration") })
			}
		}
		return nil, invalid(file, unique(fields)...)
	}
	for _, g := range parsed.Groups {
		groups = append(groups, groupOf(g))
	}
	return groups, nil
}

// secondDocument is where YAML begins another one; rule files have one alone, and
// what follows would go unnoticed.
var secondDocument = regexp.MustCompile(`(?m)^---(?:\s|$)`)

func documents(content []byte) *fault.Field {
	places := secondDocument.FindAllIndex(content, -1)
	for _, at := range places {
		if len(bytes.TrimSpace(stripComments(content[:at[0]]))) > 0 {
			return &fault.Field{Path: fmt.Sprintf("line %d", 1+bytes.Count(content[:at[0]], []byte("\n"))), Message: "begins a second document; a rule file has one"}
		}
	}
	return nil
}

var comment = regexp.MustCompile(`(?m)^(\s*#.*|---\s*|%.*)$`)

func stripComments(b []byte) []byte { return comment.ReplaceAll(b, nil) }

func invalid(file string, fields ...fault.Field) error {
	if n := len(fields); n > maxProblems {
		fields = append(fields[:maxProblems], fault.Field{Path: file, Message: fmt.Sprintf("has %d more mistakes", n-maxProblems)})
	}
	return fault.New(fault.Invalid, "alert.rules_invalid", "The rule file %s has mistakes and was not taken", file).
		Do("Correct what is listed; nothing of the file is in force until then.").At(fields...)
}

// places finds the lines of groups and rules that are only named.
type places struct {
	lines  manifest.Lines
	groups []rulefmt.RuleGroup
}

func placesOf(content []byte, parsed *rulefmt.RuleGroups) places {
	var p places
	if all := manifest.LinesOf(content); len(all) > 0 {
		p.lines = all[0]
	}
	if parsed != nil {
		p.groups = parsed.Groups
	}
	return p
}

// rule gives the line of a rule, counted from 1, or "" if it is not known.
func (p places) rule(group string, n int, name string) string {
	for i, g := range p.groups {
		if g.Name == group && n <= len(g.Rules) && (g.Rules[n-1].Alert == name || g.Rules[n-1].Record == name) {
			return p.at(fmt.Sprintf("groups[%d].rules[%d]", i, n-1))
		}
	}
	return ""
}

// again gives the line of the last group of the name.
func (p places) again(group string) string {
	for i, g := range slices.Backward(p.groups) {
		if g.Name == group {
			return p.at(fmt.Sprintf("groups[%d]", i))
		}
	}
	return ""
}

func (p places) at(path string) string {
	if line := p.lines[path]; line > 0 {
		return fmt.Sprintf(", line %d", line)
	}
	return ""
}

// unique leaves out what is said twice: the file is read for its rules and once
// more for their lines.
func unique(fields []fault.Field) []fault.Field {
	var out []fault.Field
	for _, f := range fields {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

var (
	repeated = regexp.MustCompile(`^0:0: groupname: "(.*)" is repeated`)
	place    = regexp.MustCompile(`^(?:\d+:\d+: )?(\d+):(\d+): `)
	yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	goTypes  = strings.NewReplacer(" in type rulefmt.RuleGroups", "", " in type rulefmt.RuleGroup", " of a group", " in type rulefmt.Rule", " of a rule",
		"rulefmt.RuleGroupNode", "groups", "rulefmt.RuleGroups", "a rule file", "rulefmt.ruleGroups", "a rule file", "rulefmt.RuleGroup", "groups", "rulefmt.RuleNode", "rules", "rulefmt.Rule", "rules", "[]", "a list of ", "!!", "")
)

// fieldsOf gives where a mistake is, and what it is.
func (p places) fieldsOf(file string, err error) []fault.Field {
	var rule *rulefmt.Error
	if errors.As(err, &rule) {
		at := fmt.Sprintf("group %q, rule %d %q", short(rule.Group), rule.Rule, short(rule.RuleName))
		message := rule.Err.Error()
		if found := place.FindStringSubmatch(message); found != nil {
			at += ", line " + found[1]
			message = message[len(found[0]):]
		} else {
			at += p.rule(rule.Group, rule.Rule, rule.RuleName)
		}
		return []fault.Field{{Path: at, Message: short(message)}}
	}
	var out []fault.Field
	for line := range strings.SplitSeq(err.Error(), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line == "yaml: unmarshal errors:" {
			continue
		}
		if found := repeated.FindStringSubmatch(line); found != nil {
			out = append(out, fault.Field{Path: fmt.Sprintf("group %q", short(found[1])) + p.again(found[1]), Message: "has the name of another group of the file"})
			continue
		}
		line = strings.TrimPrefix(line, "0:0: ")
		f := fault.Field{Path: file, Message: short(goTypes.Replace(strings.TrimPrefix(line, "yaml: ")))}
		if found := yamlLine.FindStringSubmatch(line); found != nil {
			f.Path, f.Message = "line "+found[1], short(goTypes.Replace(found[2]))
		} else if found := place.FindStringSubmatch(line); found != nil {
			f.Path, f.Message = "line "+found[1], short(line[len(found[0]):])
		}
		out = append(out, f)
	}
	return out
}

// short keeps what a file holds from filling an error.
func short(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}

func groupOf(g rulefmt.RuleGroup) alert.Group {
	out := alert.Group{Name: g.Name, Interval: time.Duration(g.Interval), Limit: g.Limit}
	if g.QueryOffset != nil {
		out.Offset = time.Duration(*g.QueryOffset)
	}
	for _, r := range g.Rules {
		one := alert.Rule{
			Name: r.Alert, Expr: r.Expr, For: time.Duration(r.For), KeepFor: time.Duration(r.KeepFiringFor),
			Labels: map[string]string{}, Notes: r.Annotations,
		}
		if r.Record != "" {
			one.Name, one.Recording = r.Record, true
		}
		maps.Copy(one.Labels, g.Labels)
		maps.Copy(one.Labels, r.Labels)
		out.Rules = append(out.Rules, one)
	}
	return out
}

// Check tells whether an expression can be asked.
func (Language) Check(expr string) error {
	_, err := parse(expr)
	return err
}

// maxExpr bounds an expression, in bytes.
const maxExpr = 16 << 10

func parse(expr string) (parser.Expr, error) {
	wrong := func(message string) error {
		return fault.New(fault.Invalid, "alert.expression", "The expression can't be asked").At(fault.Field{Path: "expression", Message: message})
	}
	if len(expr) > maxExpr {
		return nil, wrong(fmt.Sprintf("must be at most %d characters", maxExpr))
	}
	e, err := promQL.ParseExpr(expr)
	if err != nil {
		return nil, wrong(short(err.Error()))
	}
	if t := e.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		return nil, wrong("gives a " + string(t) + "; a rule needs a vector or a number")
	}
	return e, nil
}

// comparison is where an expression compares with a number.
type comparison struct {
	cmp     *parser.BinaryExpr
	number  *parser.NumberLiteral
	left    parser.Expr
	flipped bool // the number stands first
}

// find looks for the comparison: at the top, or in what "and" and "unless" only
// restrict further.
func find(e parser.Expr) *comparison {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return find(e.Expr)
	case *parser.BinaryExpr:
		if e.Op == parser.LAND || e.Op == parser.LUNLESS {
			return find(e.LHS)
		}
		if !e.Op.IsComparisonOperator() || e.ReturnBool {
			return nil
		}
		if n := numberOf(e.RHS); n != nil && numberOf(e.LHS) == nil {
			return &comparison{cmp: e, number: n, left: e.LHS}
		}
		if n := numberOf(e.LHS); n != nil && numberOf(e.RHS) == nil {
			return &comparison{cmp: e, number: n, left: e.RHS, flipped: true}
		}
	}
	return nil
}

func numberOf(e parser.Expr) *parser.NumberLiteral {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return numberOf(e.Expr)
	case *parser.NumberLiteral:
		return e
	}
	return nil
}

// without gives the expression with the comparison replaced by what it compares.
func without(e parser.Expr, c *comparison) parser.Expr {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return &parser.ParenExpr{Expr: without(e.Expr, c)}
	case *parser.BinaryExpr:
		if e == c.cmp {
			return c.left
		}
		narrower := *e
		narrower.LHS = &parser.ParenExpr{Expr: without(e.LHS, c)}
		return &narrower
	}
	return e
}

// Threshold finds the number that an expression compares with.
func (Language) Threshold(expr string) (alert.Threshold, bool) {
	e, err := parse(expr)
	if err != nil {
		return alert.Threshold{}, false
	}
	c := find(e)
	if c == nil || math.IsNaN(c.number.Val) || math.IsInf(c.number.Val, 0) {
		return alert.Threshold{}, false
	}
	op := c.cmp.Op.String()
	if c.flipped {
		op = map[string]string{">": "<", "<": ">", ">=": "<=", "<=": ">="}[op] + map[string]string{"==": "==", "!=": "!="}[op]
	}
	return alert.Threshold{Left: without(e, c).String(), Op: op, Value: c.number.Val}, true
}

// WithThreshold gives the expression with another number.
func (Language) WithThreshold(expr string, value float64) (string, error) {
	e, err := parse(expr)
	if err != nil {
		return "", err
	}
	c := find(e)
	if c == nil {
		return "", fault.New(fault.Invalid, "alert.no_threshold", "The expression compares with no number")
	}
	c.number.Val, c.number.Duration = value, false
	return e.String(), nil
}

// Expand fills in a template, as Prometheus does.
func (l Language) Expand(ctx context.Context, text string, f alert.Facts) (string, error) {
	address := ""
	if l.URL != nil {
		address = l.URL.String()
	}
	data := template.AlertTemplateData(f.Labels, map[string]string{}, address, promql.Sample{T: f.At.UnixMilli(), F: f.Value})
	prefix := `{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}`
	x := template.NewTemplateExpander(ctx, prefix+text, "__alert_"+f.Name, data, model.TimeFromUnixNano(f.At.UnixNano()), l.query, l.URL, nil)
	return x.Expand()
}

// query answers a query of a template.
func (l Language) query(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	if l.Querier == nil {
		return nil, errors.New("no metrics are kept")
	}
	result, err := l.Querier.Instant(ctx, expr, at)
	if err != nil {
		return nil, err
	}
	var out promql.Vector
	for _, s := range result.Series {
		if len(s.Points) > 0 {
			out = append(out, promql.Sample{Metric: labelsOf(s.Labels), T: s.Points[0].At.UnixMilli(), F: s.Points[0].Value})
		}
	}
	return out, nil
}

func labelsOf(m map[string]string) labels.Labels {
	list := make([]labels.Label, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, labels.Label{Name: name, Value: m[name]})
	}
	return labels.New(list...)
}
