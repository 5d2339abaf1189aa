package agent_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// The table of the specification, written out once more: what each action
// leads to, from where.
var lifecycle = map[agent.Action]struct{ from, to string }{
	"provision": {"DRAFT", "PROVISIONED"},
	"deploy":    {"PROVISIONED STOPPED ERRORED", "DEPLOYED"},
	"start":     {"DEPLOYED STOPPED ERRORED", "RUNNING"},
	"stop":      {"RUNNING SUSPENDED ERRORED", "STOPPED"},
	"suspend":   {"RUNNING", "SUSPENDED"},
	"resume":    {"SUSPENDED", "RUNNING"},
	"restart":   {"RUNNING ERRORED", "RUNNING"},
	"revoke":    {"DRAFT PROVISIONED DEPLOYED RUNNING STOPPED SUSPENDED ERRORED", "REVOKED"},
}

func TestEveryStateAndAction(t *testing.T) {
	if len(agent.Actions()) != len(lifecycle) {
		t.Fatalf("actions are %v", agent.Actions())
	}
	for _, state := range agent.States {
		var allowed []agent.Action
		for _, action := range agent.Actions() {
			want := lifecycle[action]
			to, err := agent.Next(state, action)
			if slices.Contains(strings.Fields(want.from), string(state)) {
				allowed = append(allowed, action)
				if err != nil || string(to) != want.to {
					t.Errorf("%s from %s: got %s, %v; want %s", action, state, to, err, want.to)
				}
				continue
			}
			f := fault.As(err)
			if f == nil || f.Kind != fault.Conflict {
				t.Errorf("%s from %s: got %s, %v; want a conflict", action, state, to, err)
				continue
			}
			got, ok := f.Extra["allowed"].([]agent.Action)
			if !ok || !slices.Equal(got, agent.Allowed(state)) {
				t.Errorf("%s from %s: the refusal lists %v", action, state, f.Extra)
			}
		}
		if got := agent.Allowed(state); !slices.Equal(got, allowed) {
			t.Errorf("allowed from %s: got %v, want %v", state, got, allowed)
		}
	}
	if got := agent.Allowed(agent.Revoked); got == nil || len(got) != 0 {
		t.Errorf("from REVOKED: %v, want an empty list", got)
	}
}

func TestUndoLeadsBack(t *testing.T) {
	for _, r := range agent.Rules {
		if r.Undo == "" {
			continue
		}
		if to, err := agent.Next(r.To, r.Undo); err != nil || !slices.Contains(r.From, to) {
			t.Errorf("undo of %s from %s leads to %s, %v", r.Action, r.To, to, err)
		}
	}
}

func TestUnknownAction(t *testing.T) {
	_, err := agent.Next(agent.Running, "fly")
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), `"fly"`) {
		t.Errorf("got %v", err)
	}
	if agent.Satisfied(agent.Running, "fly") {
		t.Error("an unknown action is never satisfied")
	}
	if !agent.Satisfied(agent.Running, agent.Start) || agent.Satisfied(agent.Stopped, agent.Start) {
		t.Error("start is satisfied in RUNNING alone")
	}
}
