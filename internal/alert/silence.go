package alert

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The limits of silences and matchers.
const (
	maxMatchers = 20
	maxPattern  = 500
	maxReason   = 1000
	maxSilence  = 366 * 24 * time.Hour
)

// Matcher selects alerts by one label. A label that an alert does not have
// counts as empty.
type Matcher struct {
	Label  string `json:"label" maxLength:"200" doc:"Name of the label, e.g. severity, agent, agent_name or alertname"`
	Value  string `json:"value" maxLength:"500"`
	Regexp bool   `json:"regexp,omitempty" doc:"value is a regular expression for the whole of the label"`
	Not    bool   `json:"not,omitempty" doc:"Selects what does not match"`
}

// String writes the matcher as PromQL does.
func (m Matcher) String() string {
	op := map[[2]bool]string{{false, false}: "=", {false, true}: "!=", {true, false}: "=~", {true, true}: "!~"}[[2]bool{m.Regexp, m.Not}]
	return m.Label + op + fmt.Sprintf("%q", m.Value)
}

// ParseMatchers reads label="value", label!=, label=~ and label!~, separated by
// commas or line ends; quotes may be left out where the value needs none.
func ParseMatchers(text string) ([]Matcher, error) {
	var out []Matcher
	rest := strings.TrimSpace(text)
	for rest != "" {
		found := matcherText.FindStringSubmatch(rest)
		if found == nil {
			return nil, fmt.Errorf("%.60q is not label=\"value\", label!=\"value\", label=~\"pattern\" or label!~\"pattern\"", rest)
		}
		value := found[4]
		if found[3] != "" {
			value = unquoted(found[3])
		}
		out = append(out, Matcher{Label: found[1], Value: value, Regexp: strings.HasSuffix(found[2], "~"), Not: strings.HasPrefix(found[2], "!")})
		rest = strings.TrimSpace(rest[len(found[0]):])
	}
	return out, nil
}

// unquoted reads a text in quotes. One with what is no escape, such as "wow-\d+",
// is a pattern as people write it: only quotes and backslashes are escaped there.
func unquoted(text string) string {
	if s, err := strconv.Unquote(text); err == nil {
		return s
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text[1 : len(text)-1])
}

var matcherText = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(?:("(?:[^"\\]|\\.)*")|([^",\s]*))\s*(?:[,\n]|$)`)

// rule is a matcher that is ready to be used.
type rule struct {
	Matcher
	pattern *regexp.Regexp
}

// compile checks matchers and makes them ready; problems are at path.
func compile(list []Matcher, path string) ([]rule, []fault.Field) {
	var wrong []fault.Field
	if len(list) > maxMatchers {
		return nil, []fault.Field{{Path: path, Message: fmt.Sprintf("has more than %d matchers", maxMatchers)}}
	}
	out := make([]rule, 0, len(list))
	for i, m := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		r := rule{Matcher: m}
		switch {
		case m.Label == "" || len(m.Label) > 200:
			wrong = append(wrong, fault.Field{Path: at + ".label", Message: "must name a label, in at most 200 characters"})
		case len(m.Value) > maxPattern:
			wrong = append(wrong, fault.Field{Path: at + ".value", Message: fmt.Sprintf("must be at most %d characters", maxPattern)})
		case m.Regexp:
			var err error
			if r.pattern, err = regexp.Compile("^(?:" + m.Value + ")$"); err != nil {
				wrong = append(wrong, fault.Field{Path: at + ".value", Message: "is no regular expression: " + strings.TrimPrefix(err.Error(), "error parsing regexp: ")})
			}
		}
		out = append(out, r)
	}
	return out, wrong
}

// fits tells whether all rules select the labels; none selects everything.
func fits(rules []rule, labels map[string]string) bool {
	for _, r := range rules {
		v := labels[r.Label]
		hit := v == r.Value
		if r.pattern != nil {
			hit = r.pattern.MatchString(v)
		}
		if hit == r.Not {
			return false
		}
	}
	return true
}

// Silence keeps alerts from being told about for a time.
type Silence struct {
	ID        string    `json:"id"`
	Matchers  []Matcher `json:"matchers"`
	StartsAt  time.Time `json:"starts_at"`
	EndsAt    time.Time `json:"ends_at"`
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// EndedBy is who ended it early.
	EndedBy string `json:"ended_by,omitempty"`
}

// State is pending, active or expired.
func (s *Silence) State(now time.Time) string {
	switch {
	case !now.Before(s.EndsAt):
		return "expired"
	case now.Before(s.StartsAt):
		return "pending"
	}
	return "active"
}

// check gives what is wrong with a silence, all of it.
func (s *Silence) check(now time.Time) ([]rule, error) {
	rules, wrong := compile(s.Matchers, "matchers")
	if len(s.Matchers) == 0 {
		wrong = append(wrong, fault.Field{Path: "matchers", Message: "must select something; an empty list would silence everything"})
	}
	if len(wrong) == 0 && fits(rules, map[string]string{}) {
		wrong = append(wrong, fault.Field{Path: "matchers", Message: "also select alerts without any label, which is every alert; name one label that must be there"})
	}
	if strings.TrimSpace(s.Reason) == "" || len(s.Reason) > maxReason {
		wrong = append(wrong, fault.Field{Path: "reason", Message: fmt.Sprintf("must say why, in at most %d characters", maxReason)})
	}
	if !s.EndsAt.After(s.StartsAt) || !s.EndsAt.After(now) {
		wrong = append(wrong, fault.Field{Path: "ends_at", Message: "must be in the future and after starts_at"})
	} else if s.EndsAt.Sub(s.StartsAt) > maxSilence {
		wrong = append(wrong, fault.Field{Path: "ends_at", Message: "must be within a year of starts_at"})
	}
	if len(wrong) > 0 {
		return nil, fault.New(fault.Invalid, "alert.silence_invalid", "The silence can't be used").At(wrong...)
	}
	return rules, nil
}

// SilenceStore keeps silences. NotFound for an unknown one.
type SilenceStore interface {
	Silence(ctx context.Context, id string) (*Silence, error)
	// Silences lists those that end last first; only those that end after ending
	// if it is not zero.
	Silences(ctx context.Context, ending time.Time, cursor string, limit int) (list []Silence, next string, err error)
	SaveSilence(ctx context.Context, s Silence) error
	PruneSilences(ctx context.Context, before time.Time) (int, error)
}
