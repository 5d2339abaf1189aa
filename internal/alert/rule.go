package alert

import (
	"context"
	"strconv"
	"time"
)

// The limits of rules.
const (
	MaxFile      = 1 << 20 // bytes of one rule file
	MaxFiles     = 200
	MaxRules     = 5000 // of all files together
	MaxOfRule    = 1000 // alerts of one rule; what is beyond is counted, not made
	MaxLabel     = 1024 // bytes of a label's value
	MaxNote      = 4096 // bytes of an annotation
	MinInterval  = 5 * time.Second
	DefaultEvery = time.Minute // interval of groups that have none, as in Prometheus
)

// The places that rule files come from.
const (
	Shipped   = "shipped"   // a part of the portal
	Directory = "directory" // of this machine
	Uploaded  = "uploaded"  // by the API or the page
)

// Rule is one rule of a group, as its file has it.
type Rule struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"` // of the alert, or of the metric that is recorded
	Recording bool              `json:"recording,omitempty"`
	Expr      string            `json:"expression"`
	For       time.Duration     `json:"-"`
	KeepFor   time.Duration     `json:"-"`
	Labels    map[string]string `json:"labels,omitempty"`
	Notes     map[string]string `json:"annotations,omitempty"`
}

// Severity is the label of that name.
func (r Rule) Severity() string { return r.Labels["severity"] }

// Group is a group of rules that are evaluated one after the other.
type Group struct {
	File     string        `json:"file"`
	Name     string        `json:"name"`
	Interval time.Duration `json:"-"`
	Offset   time.Duration `json:"-"` // how far back the question is about
	Limit    int           `json:"limit,omitempty"`
	Rules    []Rule        `json:"rules"`
}

// Key names the group among all.
func (g *Group) Key() string { return g.File + "/" + g.Name }

// identify gives the rules ids that stay when expressions and thresholds change.
func identify(g *Group) {
	seen := map[string]int{}
	for i := range g.Rules {
		r := &g.Rules[i]
		name := g.Key() + "\x00" + r.Name + "\x00" + r.Severity()
		seen[name]++
		if n := seen[name]; n > 1 {
			name += "\x00" + strconv.Itoa(n)
		}
		r.ID = digest(name)
	}
}

// Text is a rule file that is to be read.
type Text struct {
	Name    string
	Source  string
	Content []byte
	// Err says why it could not be read.
	Err error
}

// Folder gives the rule files of this machine.
type Folder interface {
	Files(ctx context.Context) ([]Text, error)
}

// Upload is a rule file that somebody sent.
type Upload struct {
	Name      string    `json:"name"`
	Content   string    `json:"content"`
	By        string    `json:"by"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Override is what was changed of a rule without changing its file.
type Override struct {
	RuleID    string    `json:"rule_id"`
	Threshold *float64  `json:"threshold,omitempty"`
	Hold      *float64  `json:"for_seconds,omitempty"`
	Disabled  bool      `json:"disabled,omitempty"`
	By        string    `json:"by"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at"`
}

// RuleStore keeps what was uploaded and what was changed. NotFound for what is
// not there.
type RuleStore interface {
	Uploads(ctx context.Context) ([]Upload, error)
	SaveUpload(ctx context.Context, u Upload) error
	DeleteUpload(ctx context.Context, name string) error
	Overrides(ctx context.Context) ([]Override, error)
	SaveOverride(ctx context.Context, o Override) error
	DeleteOverride(ctx context.Context, ruleID string) error
	// Mark gives a number that was kept under the name, 0 if none was.
	Mark(ctx context.Context, name string) (int64, error)
	SetMark(ctx context.Context, name string, value int64) error
}

// Threshold is the number that an expression compares with.
type Threshold struct {
	Left  string // the expression that is compared
	Op    string // >, >=, <, <=, == or !=
	Value float64
}

// Holds tells whether a value is past the threshold.
func (t Threshold) Holds(v float64) bool {
	switch t.Op {
	case ">":
		return v > t.Value
	case ">=":
		return v >= t.Value
	case "<":
		return v < t.Value
	case "<=":
		return v <= t.Value
	case "==":
		return v == t.Value
	case "!=":
		return v != t.Value
	}
	return false
}

// Facts are what the template of a label or an annotation may show.
type Facts struct {
	Name   string
	Labels map[string]string
	Value  float64
	At     time.Time
}

// Language knows rule files, their expressions and their templates.
type Language interface {
	// Parse reads a rule file whole. Invalid names every mistake with its group,
	// rule and line; no group is given then.
	Parse(file string, content []byte) ([]Group, error)
	// Check tells whether an expression can be asked; Invalid names the place.
	Check(expr string) error
	// Threshold finds the number that an expression compares with, if it does.
	Threshold(expr string) (Threshold, bool)
	// WithThreshold gives the expression with another number; Invalid if it
	// compares with none.
	WithThreshold(expr string, value float64) (string, error)
	// Expand fills in a template.
	Expand(ctx context.Context, text string, f Facts) (string, error)
}
