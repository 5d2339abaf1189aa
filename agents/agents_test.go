package agents_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/agents"
)

func TestEachNameIsAnAgent(t *testing.T) {
	names := agents.Names()
	if !slices.IsSorted(names) || !slices.Contains(names, "blank") || !slices.Contains(names, "memory") {
		t.Fatal(names)
	}
	t.Setenv("PORT", "")
	t.Setenv("AGENT_DATA_DIR", t.TempDir())
	for _, name := range append(names, "lab") { // which is an agent and no template
		run, ok := agents.Lookup(name)
		if !ok {
			t.Fatal(name, "is not found")
		}
		if err := run(t.Context()); err == nil || !strings.Contains(err.Error(), "PORT") {
			t.Fatalf("%s is no agent of the contract: %v", name, err)
		}
	}
	if _, ok := agents.Lookup("nobody"); ok {
		t.Fatal("an agent that does not exist is found")
	}
}
