package agent_test

import (
	"reflect"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
)

// made gives the spec of a tree, which must be valid.
func made(t *testing.T, tree map[string]any) agent.Spec {
	t.Helper()
	spec, _, err := agent.Decode(tree, agent.Strict)
	if err != nil {
		t.Fatal(err)
	}
	return spec.WithDefaults()
}

func TestRebaseKeepsWhatBothChanged(t *testing.T) {
	env := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	base := made(t, map[string]any{"name": "a", "tier": int64(1), "env": env("A", "1", "B", "1"), "description": "old", "labels": env("x", "y")})
	theirs := made(t, map[string]any{"name": "a", "tier": int64(2), "env": env("A", "2", "B", "1"), "description": "old", "labels": env("x", "y"), "version": "1.0.0"})
	mine := made(t, map[string]any{"name": "a", "tier": int64(3), "env": env("A", "1", "B", "9", "C", "1"), "labels": env("x", "y")})
	tree, clashes := agent.Rebase(base, theirs, mine)
	got := made(t, tree)
	if got.Tier != 3 || got.Version != "1.0.0" || got.Description != "" {
		t.Errorf("tier %d, version %q, description %q", got.Tier, got.Version, got.Description)
	}
	if want := map[string]string{"A": "2", "B": "9", "C": "1"}; !reflect.DeepEqual(got.Env, want) {
		t.Errorf("env %v, want %v", got.Env, want)
	}
	if want := []agent.FieldChange{{Path: "tier", Old: int64(2), New: int64(3)}}; !reflect.DeepEqual(clashes, want) {
		t.Errorf("clashes %v, want %v", clashes, want)
	}
}

func TestPatchBetweenLeadsThere(t *testing.T) {
	specs := []map[string]any{
		{"name": "a", "command": "/bin/true"},
		{"name": "a", "tier": int64(3), "ports": []any{map[string]any{"name": "http", "port": int64(8080)}}, "labels": map[string]any{"a": "b"}},
		{"name": "a", "ports": []any{}, "labels": map[string]any{}, "extra": map[string]any{"deep": map[string]any{"x": int64(1)}}},
		{"name": "a", "extra": map[string]any{"deep": map[string]any{"y": []any{int64(1)}}}, "labels": map[string]any{"c": "d"}},
	}
	for i, from := range specs {
		for j, to := range specs {
			before, after := made(t, from), made(t, to)
			tree, _ := agent.Rebase(before, before, after)
			if got := made(t, tree); len(agent.Diff(got, after)) != 0 {
				t.Errorf("%d to %d: %v", i, j, agent.Diff(got, after))
			}
			if i == j && len(agent.PatchBetween(before.Tree(), after.Tree())) != 0 {
				t.Errorf("%d: a patch between equal specs", i)
			}
		}
	}
}

func TestForInstancesLeavesDescriptionsOut(t *testing.T) {
	changes := []agent.FieldChange{{Path: "labels.a"}, {Path: "tier"}, {Path: "env.A"}, {Path: `labels["x/y"]`}, {Path: "version"}, {Path: "labelsx"}}
	got := agent.ForInstances(changes)
	if len(got) != 3 || got[0].Path != "env.A" || got[1].Path != "version" || got[2].Path != "labelsx" {
		t.Errorf("got %v", got)
	}
}
