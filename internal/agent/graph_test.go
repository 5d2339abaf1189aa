package agent_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

func TestGraph(t *testing.T) {
	g := agent.NewGraph([]agent.Node{
		{ID: "d", Name: "D", Needs: []string{"B", "c"}},
		{ID: "b", Name: "B", Needs: []string{"WOW-A"}},
		{ID: "c", Name: "C", Needs: []string{"wowa", "Gone"}},
		{ID: "wow-a", Name: "WowA"},
		{ID: "e", Name: "E"},
	})
	if c := g.Cycle(); c != nil {
		t.Errorf("cycle %v", c)
	}
	if got, want := g.Missing(), map[string][]string{"C": {"Gone"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("missing %v", got)
	}
	if n, ok := g.Resolve("WOWA"); !ok || n.ID != "wow-a" {
		t.Errorf("resolved %v", n)
	}
	if _, ok := g.Resolve("Gone"); ok {
		t.Error("resolved what is missing")
	}
	for _, tt := range []struct {
		in   string
		want [][]string
	}{
		{"d b c wow-a e", [][]string{{"e", "wow-a"}, {"b", "c"}, {"d"}}},
		{"D WowA", [][]string{{"wow-a"}, {"d"}}}, // through agents that are not named
		{"d d D", [][]string{{"d"}}},
		{"b e", [][]string{{"b", "e"}}},
		{"", nil},
	} {
		got, err := g.Waves(strings.Fields(tt.in))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, %v; want %v", tt.in, got, err, tt.want)
		}
	}
	if _, err := g.Waves([]string{"x"}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("unknown agent: %v", err)
	}
	if got := g.Dependents("WowA", true); !reflect.DeepEqual(got, []string{"b", "c", "d"}) {
		t.Errorf("dependents %v", got)
	}
	if got := g.Dependents("wow-a", false); !reflect.DeepEqual(got, []string{"b", "c"}) {
		t.Errorf("direct dependents %v", got)
	}
	if got := g.Dependents("nobody", true); got != nil {
		t.Errorf("dependents of nobody: %v", got)
	}
}

func TestGraphNamesTheCycle(t *testing.T) {
	g := agent.GraphOf(map[string][]string{"X": {"A"}, "A": {"b"}, "B": {"C"}, "C": {"a"}})
	if got := g.Cycle(); !reflect.DeepEqual(got, []string{"A", "B", "C", "A"}) {
		t.Errorf("cycle %v", got)
	}
	_, err := g.Waves([]string{"x"})
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "A → B → C → A") {
		t.Errorf("waves: %v", err)
	}
	self := agent.GraphOf(map[string][]string{"A": {"A"}})
	if got := self.Cycle(); !reflect.DeepEqual(got, []string{"A", "A"}) {
		t.Errorf("cycle %v", got)
	}
}

// A chain as long as a fleet can be needs no more than memory for it.
func TestGraphOfALongChain(t *testing.T) {
	edges := map[string][]string{}
	for i := range 10_000 {
		edges[fmt.Sprintf("a%d", i)] = []string{fmt.Sprintf("a%d", i+1)}
	}
	edges["a10000"] = nil
	waves, err := agent.GraphOf(edges).Waves([]string{"a0", "a10000", "a5000"})
	if err != nil || !reflect.DeepEqual(waves, [][]string{{"a10000"}, {"a5000"}, {"a0"}}) {
		t.Errorf("got %v, %v", waves, err)
	}
}

// Edges name agents without needs only as the need of others.
func TestGraphOfEdgesKnowsWhoIsNeeded(t *testing.T) {
	g := agent.GraphOf(map[string][]string{"B": {"WowA"}, "C": {"wow-a", "b"}})
	waves, err := g.Waves([]string{"wowa", "B", "C"})
	if err != nil || !reflect.DeepEqual(waves, [][]string{{"wow-a"}, {"b"}, {"c"}}) {
		t.Errorf("got %v, %v", waves, err)
	}
	if got := g.Dependents("WowA", false); !reflect.DeepEqual(got, []string{"b", "c"}) {
		t.Errorf("dependents %v", got)
	}
}

func TestDiff(t *testing.T) {
	old := agent.Spec{Name: "A", Args: []string{"x"}, Env: map[string]string{"K": "1", "L": "2"}, Labels: map[string]string{"a.b/c": "1"},
		Constraints: []agent.Constraint{{Rule: "r"}}, Extra: map[string]any{"n": 1.0, "z": nil}}
	changed := agent.Spec{Name: "A", Args: []string{"x", "y"}, Env: map[string]string{"K": "3"}, Labels: map[string]string{"a.b/c": "2"},
		Constraints: []agent.Constraint{{Rule: "r", Reason: "s"}, {Rule: "t"}}, Replicas: 2, Extra: map[string]any{"n": int64(1)}}
	got := agent.Diff(old, changed)
	want := []agent.FieldChange{
		{Path: "args", Old: []any{"x"}, New: []any{"x", "y"}},
		{Path: "constraints[0].reason", New: "s"},
		{Path: "constraints[1].rule", New: "t"},
		{Path: "env.K", Old: "1", New: "3"},
		{Path: "env.L", Old: "2"},
		{Path: "extra.z"},
		{Path: `labels["a.b/c"]`, Old: "1", New: "2"},
		{Path: "replicas", New: int64(2)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
