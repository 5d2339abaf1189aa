package agent

import (
	"reflect"
	"slices"
	"strings"
)

// PatchBetween gives the RFC 7396 merge patch that makes the tree after of the
// tree before. Both are as Spec.Tree gives them.
func PatchBetween(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for k, is := range after {
		was, had := before[k]
		isMap, ok := is.(map[string]any)
		wasMap, both := was.(map[string]any)
		switch {
		case ok && both:
			if sub := PatchBetween(wasMap, isMap); len(sub) > 0 {
				patch[k] = sub
			}
		case !had || !reflect.DeepEqual(was, is):
			patch[k] = is
		}
	}
	for k, was := range before {
		if _, kept := after[k]; !kept && was != nil {
			patch[k] = nil
		}
	}
	return patch
}

// Rebase carries a change over to what somebody else made of the same spec
// meanwhile: what leads from base to mine is applied to theirs. Where both
// changed a field to different values, mine is taken and the clash is given,
// with their value as Old and mine as New.
func Rebase(base, theirs, mine Spec) (tree map[string]any, clashes []FieldChange) {
	tree = theirs.Tree()
	merge(tree, PatchBetween(base.Tree(), mine.Tree()))
	other := Diff(base, theirs)
	for _, c := range Diff(base, mine) {
		for _, o := range other {
			same := c.Path == o.Path && !reflect.DeepEqual(c.New, o.New)
			if same || c.Path != o.Path && (below(c.Path, o.Path) || below(o.Path, c.Path)) {
				clashes = append(clashes, FieldChange{Path: c.Path, Old: o.New, New: c.New})
				break
			}
		}
	}
	return tree, clashes
}

// below tells whether the field lies in another.
func below(path, in string) bool {
	rest, ok := strings.CutPrefix(path, in)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}

// describing are the fields that only say something about an agent. Its
// instances don't see them.
var describing = []string{
	"display_name", "tier", "domain", "description", "capabilities", "constraints", "wake_patterns",
	"specialization", "resource_budget", "labels", "customer_id", "extra",
}

// ForInstances gives those of the changes that reach an agent's instances with
// the next deployment only. The others hold as soon as they are stored.
func ForInstances(changes []FieldChange) []FieldChange {
	var out []FieldChange
	for _, c := range changes {
		if !slices.ContainsFunc(describing, func(f string) bool { return c.Path == f || below(c.Path, f) }) {
			out = append(out, c)
		}
	}
	return out
}
