package agent

import (
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// maxRequirements bounds a selector, because each costs the store a search.
const maxRequirements = 32

// ParseSelector reads a label selector in the syntax of Kubernetes:
// "env=prod,team!=x,tier in (a,b),zone notin (c),key,!key". An empty one has no
// requirements and matches everything. It returns an Invalid fault that says
// what is wrong where.
func ParseSelector(s string) (Selector, error) {
	p := &selectorParser{in: s}
	p.space()
	if p.at == len(p.in) {
		return nil, nil
	}
	var out Selector
	for {
		r, err := p.requirement()
		if err != nil {
			return nil, err
		}
		if out = append(out, r); len(out) > maxRequirements {
			return nil, p.wrong("there are more than %d requirements", maxRequirements)
		}
		p.space()
		if p.at == len(p.in) {
			return out, nil
		}
		if !p.take(",") {
			return nil, p.wrong("a comma is missing before %s", quote(p.in[p.at:]))
		}
	}
}

type selectorParser struct {
	in string
	at int
}

func (p *selectorParser) wrong(message string, args ...any) error {
	return fault.New(fault.Invalid, "agent.invalid_selector", "The label selector %s can't be read", quote(p.in)).
		Because(message, args...).Do("Write for example env=prod,team!=x,tier in (a,b),zone notin (c),key,!key.")
}

func (p *selectorParser) space() {
	for p.at < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.at]) >= 0 {
		p.at++
	}
}

// take reads the token if it is next.
func (p *selectorParser) take(token string) bool {
	p.space()
	if strings.HasPrefix(p.in[p.at:], token) {
		p.at += len(token)
		return true
	}
	return false
}

// word reads up to the next space or sign.
func (p *selectorParser) word() string {
	p.space()
	rest := p.in[p.at:]
	n := strings.IndexAny(rest, " \t\r\n,=!()")
	if n < 0 {
		n = len(rest)
	}
	p.at += n
	return rest[:n]
}

func (p *selectorParser) requirement() (Requirement, error) {
	not := p.take("!")
	r := Requirement{Key: p.word(), Op: "exists"}
	if !validLabelKey(r.Key) {
		return r, p.wrong("%s is not a label", quote(r.Key))
	}
	if not {
		r.Op = "!exists"
		return r, nil
	}
	switch {
	case p.take("!="):
		r.Op = "!="
		return r, p.value(&r)
	case p.take("=="), p.take("="):
		r.Op = "="
		return r, p.value(&r)
	}
	before := p.at
	switch op := p.word(); op {
	case "in", "notin":
		r.Op = op
		return r, p.values(&r)
	case "":
		return r, nil
	default:
		p.at = before
		return r, p.wrong("%s is not an operator; there are =, !=, in and notin", quote(op))
	}
}

func (p *selectorParser) value(r *Requirement) error {
	v := p.word()
	if !validLabelValue(v) {
		return p.wrong("%s is not the value of a label", quote(v))
	}
	r.Values = []string{v}
	return nil
}

func (p *selectorParser) values(r *Requirement) error {
	if !p.take("(") {
		return p.wrong("%s needs its values in brackets", r.Op)
	}
	for {
		v := p.word()
		if !validLabelValue(v) {
			return p.wrong("%s is not the value of a label", quote(v))
		}
		r.Values = append(r.Values, v)
		switch {
		case p.take(","):
		case p.take(")"):
			slices.Sort(r.Values)
			r.Values = slices.Compact(r.Values)
			return nil
		default:
			return p.wrong("the bracket after %s is not closed", r.Op)
		}
	}
}

// Matches tells whether the labels meet all requirements. As in Kubernetes, !=
// and notin are met by labels that lack the key.
func (s Selector) Matches(labels map[string]string) bool {
	for _, r := range s {
		v, there := labels[r.Key]
		ok := false
		switch r.Op {
		case "=", "in":
			ok = there && slices.Contains(r.Values, v)
		case "!=", "notin":
			ok = !there || !slices.Contains(r.Values, v)
		case "exists":
			ok = there
		case "!exists":
			ok = !there
		}
		if !ok {
			return false
		}
	}
	return true
}

// String writes what ParseSelector reads.
func (s Selector) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		switch r.Op {
		case "exists":
			b.WriteString(r.Key)
		case "!exists":
			b.WriteString("!" + r.Key)
		case "in", "notin":
			b.WriteString(r.Key + " " + r.Op + " (" + strings.Join(r.Values, ",") + ")")
		default:
			b.WriteString(r.Key + r.Op + strings.Join(r.Values, ","))
		}
	}
	return b.String()
}
