package agent

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// FieldChange is one difference between two specs.
type FieldChange struct {
	Path string `json:"path"`
	Old  any    `json:"old"` // nil where it was not there
	New  any    `json:"new"` // nil where it is no longer there
}

// Diff gives every field in which the specs differ, ordered by path. Lists of
// plain values are compared as a whole, everything else part by part. Values of
// env are shown; secrets are references.
func Diff(old, changed Spec) []FieldChange {
	before, after := map[string]any{}, map[string]any{}
	flatten("", old.Tree(), before)
	flatten("", changed.Tree(), after)
	paths := slices.Collect(maps.Keys(before))
	for p := range after {
		if _, both := before[p]; !both {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	var out []FieldChange
	for _, p := range paths {
		was, had := before[p]
		is, has := after[p]
		if had != has || !reflect.DeepEqual(was, is) {
			out = append(out, FieldChange{Path: p, Old: was, New: is})
		}
	}
	return out
}

// flatten writes every leaf of the tree with its path into out. Mappings and
// lists without content are leaves too.
func flatten(path string, v any, out map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flatten(child(path, k), e, out)
		}
		if len(v) == 0 && path != "" {
			out[path] = v
		}
	case []any:
		nested := slices.ContainsFunc(v, func(e any) bool {
			_, isMap := e.(map[string]any)
			return isMap
		})
		if !nested {
			out[path] = v
			return
		}
		for i, e := range v {
			flatten(index(path, i), e, out)
		}
	default:
		out[path] = v
	}
}

// forRecord is a change as the audit log may keep it: of env, secrets and extra
// only the names.
func forRecord(changes []FieldChange) (before, after map[string]any) {
	before, after = map[string]any{}, map[string]any{}
	for _, c := range changes {
		if private(c.Path) {
			c.Old, c.New = present(c.Old), present(c.New)
		}
		if c.Old != nil {
			before[c.Path] = c.Old
		}
		if c.New != nil {
			after[c.Path] = c.New
		}
	}
	return before, after
}

var privateFields = []string{"env", "secrets", "extra"}

func private(path string) bool {
	return slices.ContainsFunc(privateFields, func(f string) bool {
		rest, ok := strings.CutPrefix(path, f)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

func present(v any) any {
	if v == nil {
		return nil
	}
	return "(not recorded)"
}

// recordOf is a whole spec as the audit log may keep it.
func recordOf(s Spec) map[string]any {
	tree := s.Tree()
	for _, f := range privateFields {
		if m, ok := tree[f].(map[string]any); ok {
			tree[f] = slices.Sorted(maps.Keys(m))
		}
	}
	return tree
}
