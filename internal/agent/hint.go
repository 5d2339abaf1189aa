package agent

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Words that people bring along from similar tools.
var synonyms = map[string]string{
	"cmd": "command", "entrypoint": "command", "environment": "env", "dependson": "dependencies", "deps": "dependencies",
	"limits": "resources", "instances": "replicas", "scale": "replicas", "healthcheck": "probes", "livenessprobe": "probes.liveness",
	"readinessprobe": "probes.readiness", "restartpolicy": "restart", "terminationgraceperiodseconds": "stop_timeout",
	"budget": "resource_budget", "tags": "labels", "mounts": "volumes", "period": "interval",
}

// suggest gives the field of t, or of another part of a Spec, that was probably
// meant by key; "" if none comes to mind.
func suggest(key string, t reflect.Type) string {
	norm := normalise(key)
	names := map[string]string{}
	for i := range t.NumField() {
		names[normalise(jsonName(t.Field(i)))] = jsonName(t.Field(i))
	}
	if s := nearest(norm, names); s != "" {
		return s
	}
	if s := nearest(norm, synonyms); s != "" {
		return s
	}
	return elsewhere(norm, "", reflect.TypeFor[Spec]())
}

// nearest gives what is known under a name that differs by a slip or two.
func nearest(norm string, names map[string]string) string {
	best, bestDistance := "", 3
	if len(norm) < 6 {
		bestDistance = 2
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if d := distance(norm, name); d < bestDistance {
			best, bestDistance = names[name], d
		}
	}
	return best
}

// elsewhere finds the first field of that name anywhere in a Spec.
func elsewhere(norm, path string, t reflect.Type) string {
	for i := range t.NumField() {
		f := t.Field(i)
		at := child(path, jsonName(f))
		if normalise(jsonName(f)) == norm {
			return at
		}
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct {
			if s := elsewhere(norm, at, ft); s != "" {
				return s
			}
		}
	}
	return ""
}

func normalise(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(key))
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours between a and b. Long texts are never near.
func distance(a, b string) int {
	const longest = 40
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
