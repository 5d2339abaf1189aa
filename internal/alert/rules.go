package alert

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// FileState is how a rule file was taken.
type FileState struct {
	Name   string `json:"name"`
	Source string `json:"source" enum:"shipped,directory,uploaded"`
	Groups int    `json:"groups"`
	Rules  int    `json:"rules"`
	// Error says why the file, or its newest version, is not in force.
	Error    string        `json:"error,omitempty"`
	Problems []fault.Field `json:"problems,omitempty"`
	content  string
	groups   []Group
}

// table is the rules in force.
type table struct {
	mu        sync.RWMutex
	files     []FileState
	groups    []*Group // with what was changed of their rules
	overrides map[string]Override
	ids       map[string]bool
}

func (t *table) has(id string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ids[id]
}

// Reload reads all rule files, and what was changed of their rules, anew. A file
// with mistakes is taken as it was before, or not at all, and never in part.
func (s *Service) Reload(ctx context.Context) error {
	texts, err := s.texts(ctx)
	if err != nil {
		return err
	}
	overrides, err := s.Rules.Overrides(ctx)
	if err != nil {
		return err
	}
	files := s.parseAll(texts)
	ids := map[string]bool{}
	changed := map[string]Override{}
	for _, o := range overrides {
		changed[o.RuleID] = o
	}
	for _, r := range eventRules {
		ids[r.ID] = !changed[r.ID].Disabled
	}
	var groups []*Group
	for _, f := range files {
		for _, g := range f.groups {
			groups = append(groups, s.inForce(g, changed, ids))
		}
	}
	s.rules.mu.Lock()
	s.rules.files, s.rules.groups, s.rules.overrides, s.rules.ids = files, groups, changed, ids
	s.rules.mu.Unlock()
	s.groups.restart()
	return s.orphans(ctx)
}

// Groups gives the groups in force, with what was changed of their rules.
func (s *Service) Groups() []*Group {
	s.rules.mu.RLock()
	defer s.rules.mu.RUnlock()
	return s.rules.groups
}

// texts gives all rule files, shipped ones first.
func (s *Service) texts(ctx context.Context) ([]Text, error) {
	texts := []Text{{Name: shippedName, Source: Shipped, Content: shippedRules}}
	if s.Folder != nil {
		list, err := s.Folder.Files(ctx)
		if err != nil {
			return nil, err
		}
		texts = append(texts, list...)
	}
	uploads, err := s.Rules.Uploads(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range uploads {
		texts = append(texts, Text{Name: u.Name, Source: Uploaded, Content: []byte(u.Content)})
	}
	return texts, nil
}

// parseAll reads the files; where one has mistakes, its last good version stays.
func (s *Service) parseAll(texts []Text) []FileState {
	s.rules.mu.RLock()
	before := s.rules.files
	s.rules.mu.RUnlock()
	var out []FileState
	total := 0
	for i, t := range texts {
		f := FileState{Name: t.Name, Source: t.Source, content: string(t.Content)}
		groups, err := s.parse(t)
		if err == nil && i >= MaxFiles {
			groups, err = nil, fault.New(fault.TooLarge, "alert.too_many_files", "There are more than %d rule files", MaxFiles)
		}
		if err == nil && total+countRules(groups) > MaxRules {
			groups, err = nil, fault.New(fault.TooLarge, "alert.too_many_rules", "There are more than %d rules", MaxRules)
		}
		if err != nil {
			if old := slices.IndexFunc(before, func(b FileState) bool { return b.Name == f.Name && b.Source == f.Source }); old >= 0 {
				groups = before[old].groups
			}
			f.fail(err)
		}
		f.groups, f.Groups, f.Rules = groups, len(groups), countRules(groups)
		total += f.Rules
		out = append(out, f)
	}
	return out
}

func (f *FileState) fail(err error) {
	f.Error = "The file can't be read"
	if e := fault.As(err); e != nil {
		f.Error, f.Problems = e.What, e.Fields
		if e.Why != "" {
			f.Error += ": " + e.Why
		}
	}
}

func countRules(groups []Group) int {
	n := 0
	for _, g := range groups {
		n += len(g.Rules)
	}
	return n
}

// parse reads one file.
func (s *Service) parse(t Text) ([]Group, error) {
	if t.Err != nil {
		return nil, t.Err
	}
	if len(t.Content) > MaxFile {
		return nil, fault.New(fault.TooLarge, "alert.file_too_large", "The rule file %s is too large", t.Name).
			Because("it has %d bytes, and %d are read", len(t.Content), MaxFile)
	}
	groups, err := s.Language.Parse(t.Name, t.Content)
	if err != nil {
		return nil, err
	}
	var wrong []fault.Field
	for i := range groups {
		g := &groups[i]
		g.File = t.Name
		if g.Interval == 0 {
			g.Interval = DefaultEvery
		}
		if g.Interval < MinInterval {
			wrong = append(wrong, fault.Field{Path: "group " + g.Name, Message: fmt.Sprintf("its interval must be %s or more", MinInterval)})
		}
		identify(g)
	}
	if len(wrong) > 0 {
		return nil, fault.New(fault.Invalid, "alert.rules_invalid", "The rule file %s has mistakes", t.Name).At(wrong...)
	}
	return groups, nil
}

// inForce gives the group with what was changed of its rules, and notes which
// they are.
func (s *Service) inForce(g Group, changed map[string]Override, ids map[string]bool) *Group {
	rules := g.Rules
	g.Rules = nil
	for _, r := range rules {
		o := changed[r.ID]
		if o.Disabled {
			continue
		}
		ids[r.ID] = true
		g.Rules = append(g.Rules, s.apply(r, o))
	}
	return &g
}

// apply gives the rule with what was changed of it.
func (s *Service) apply(r Rule, o Override) Rule {
	if o.Threshold != nil {
		if expr, err := s.Language.WithThreshold(r.Expr, *o.Threshold); err == nil {
			r.Expr = expr
		}
	}
	if o.Hold != nil {
		r.For = time.Duration(*o.Hold * float64(time.Second))
	}
	return r
}

// orphans resolves alerts whose rule is not in force any more.
func (s *Service) orphans(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	var list []change
	for _, a := range s.active {
		if s.rules.has(a.RuleID) {
			continue
		}
		c := a.copy()
		if a.FiredAt == nil {
			list = append(list, change{alert: c, drop: true})
			continue
		}
		c.ResolvedAt = &now
		list = append(list, change{alert: c, note: "Its rule was taken out or switched off"})
	}
	return s.commit(ctx, list, nil)
}

// refreshFolder reads the rules anew if the files of this machine have changed.
func (s *Service) refreshFolder(ctx context.Context) error {
	if s.Folder == nil {
		return nil
	}
	list, err := s.Folder.Files(ctx)
	if err != nil {
		return err
	}
	s.rules.mu.RLock()
	var known []FileState
	for _, f := range s.rules.files {
		if f.Source == Directory {
			known = append(known, f)
		}
	}
	s.rules.mu.RUnlock()
	same := len(known) == len(list)
	for i := 0; same && i < len(list); i++ {
		same = known[i].Name == list[i].Name && known[i].content == string(list[i].Content) && (list[i].Err == nil || known[i].Error != "")
	}
	if same {
		return nil
	}
	return s.Reload(ctx)
}

// RuleView is a rule as it is in force, with how it does.
type RuleView struct {
	Rule
	File      string     `json:"file"`
	Group     string     `json:"group"`
	Source    string     `json:"source" enum:"shipped,directory,uploaded,event"`
	Interval  float64    `json:"interval_seconds,omitempty"`
	Hold      float64    `json:"for_seconds"`
	Keep      float64    `json:"keep_firing_for_seconds,omitempty"`
	Severity  string     `json:"severity,omitempty"`
	Threshold *float64   `json:"threshold,omitempty" doc:"The number that the expression compares with; absent where it does not"`
	Operator  string     `json:"operator,omitempty"`
	Original  *float64   `json:"original_threshold,omitempty" doc:"As the file has it"`
	Disabled  bool       `json:"disabled,omitempty"`
	Changed   *Override  `json:"changed,omitempty" doc:"What was changed of it, by whom and why"`
	Active    int        `json:"active" doc:"Alerts that fire now"`
	Waiting   int        `json:"pending" doc:"Alerts that are pending now"`
	Status    RuleStatus `json:"status"`
	TookMS    float64    `json:"took_ms"`
}

// List gives all rules and the files that they come from.
func (s *Service) List() ([]RuleView, []FileState) {
	s.rules.mu.RLock()
	files, overrides := s.rules.files, s.rules.overrides
	s.rules.mu.RUnlock()
	active, waiting := s.perRule()
	var out []RuleView
	for _, f := range files {
		for _, g := range f.groups {
			for _, r := range g.Rules {
				v := s.view(r, overrides)
				v.File, v.Group, v.Source, v.Interval = f.Name, g.Name, f.Source, g.Interval.Seconds()
				v.Active, v.Waiting = active[r.ID], waiting[r.ID]
				out = append(out, v)
			}
		}
	}
	for _, r := range eventRules {
		v := s.view(r.rule(), overrides)
		v.File, v.Group, v.Source = "events", "events", "event"
		v.Active, v.Waiting = active[r.ID], waiting[r.ID]
		out = append(out, v)
	}
	return out, files
}

func (s *Service) perRule() (active, waiting map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	active, waiting = map[string]int{}, map[string]int{}
	for _, a := range s.active {
		if a.FiredAt != nil {
			active[a.RuleID]++
		} else {
			waiting[a.RuleID]++
		}
	}
	return active, waiting
}

func (s *Service) view(r Rule, overrides map[string]Override) RuleView {
	v := RuleView{Severity: r.Severity()}
	if t, ok := s.Language.Threshold(r.Expr); ok && !r.Recording {
		v.Threshold, v.Original, v.Operator = &t.Value, &t.Value, t.Op
	}
	if o, ok := overrides[r.ID]; ok {
		v.Changed, v.Disabled = &o, o.Disabled
		if o.Threshold != nil && v.Original != nil {
			v.Threshold = o.Threshold
		}
		r = s.apply(r, o)
	}
	v.Rule, v.Hold, v.Keep = r, r.For.Seconds(), r.KeepFor.Seconds()
	if st, ok := s.status.Load(r.ID); ok {
		v.Status = st.(RuleStatus)
		v.TookMS = float64(v.Status.Took.Microseconds()) / 1000
	}
	return v
}

// RuleByID gives one rule; NotFound for an unknown one.
func (s *Service) RuleByID(id string) (RuleView, error) {
	list, _ := s.List()
	if i := slices.IndexFunc(list, func(v RuleView) bool { return v.ID == id }); i >= 0 {
		return list[i], nil
	}
	return RuleView{}, fault.New(fault.NotFound, "alert.no_rule", "There is no such rule").Do("List the rules to see their ids.")
}

// FileContent gives the text of a rule file; NotFound for an unknown one.
func (s *Service) FileContent(name string) (string, error) {
	s.rules.mu.RLock()
	defer s.rules.mu.RUnlock()
	for _, f := range s.rules.files {
		if f.Name == name {
			return f.content, nil
		}
	}
	return "", fault.New(fault.NotFound, "alert.no_file", "There is no rule file %q", strings.ToValidUTF8(cut(name, 100), ""))
}

// due gives when the group is evaluated next after now. Groups are spread over
// their interval, always at the same place in it.
func (g *Group) due(now time.Time) time.Time {
	var spread uint64
	for _, c := range []byte(g.Key()) {
		spread = (spread ^ uint64(c)) * 1099511628211
	}
	offset := time.Duration(spread % uint64(g.Interval))
	next := now.Truncate(g.Interval).Add(offset)
	for !next.After(now) {
		next = next.Add(g.Interval)
	}
	return next
}
