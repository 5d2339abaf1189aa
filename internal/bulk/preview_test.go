package bulk_test

import (
	"slices"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
)

func TestPreviewSaysWhatWouldHappen(t *testing.T) {
	w := newWorld(t)
	w.agent("A", agent.Running)
	w.agent("B", agent.Running, "A")
	w.agent("C", agent.Stopped, "B")
	w.agent("D", agent.Draft)
	w.agent("Outside", agent.Running, "b")
	w.agent("Asleep", agent.Stopped, "A")
	p, err := w.svc.Preview(t.Context(), bulk.Request{Actions: actions(agent.Stop), AgentIDs: []string{"a", "B", "c", "d"}})
	if err != nil {
		t.Fatal(err)
	}
	if p.MaxParallel != 5 || p.OnFailure != bulk.Continue || p.Waves != 3 || !slices.Equal(p.Dependants, []string{"Outside"}) {
		t.Errorf("preview %+v", p)
	}
	var order []string
	for _, it := range p.Items {
		order = append(order, it.Agent.ID)
		acts := it.Agent.State == agent.Running
		if acts != (len(it.Actions) == 1) || it.Refusal != nil {
			t.Errorf("%s (%s): %v, refusal %v", it.Agent.ID, it.Agent.State, it.Actions, it.Refusal)
		}
	}
	if i, j := slices.Index(order, "b"), slices.Index(order, "a"); i > j {
		t.Errorf("order %v", order)
	}
	if w.state("a") != agent.Running || len(w.seen()) != 0 {
		t.Error("the preview did something")
	}
}

func TestPreviewOfAChain(t *testing.T) {
	w := newWorld(t)
	for name, state := range map[string]agent.State{"Draft": agent.Draft, "Stopped": agent.Stopped, "Running": agent.Running, "Gone": agent.Revoked} {
		w.agent(name, state)
	}
	p, err := w.svc.Preview(t.Context(), bulk.Request{Actions: actions(agent.Provision, agent.Deploy, agent.Start), Filter: &agent.Query{}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]agent.Action{"draft": {agent.Provision, agent.Deploy, agent.Start}, "stopped": {agent.Deploy, agent.Start}, "running": nil, "gone": nil}
	for _, it := range p.Items {
		if !slices.Equal(it.Actions, want[it.Agent.ID]) {
			t.Errorf("%s: %v, want %v", it.Agent.ID, it.Actions, want[it.Agent.ID])
		}
		if refused := it.Agent.ID == "gone"; refused != fault.Is(it.Refusal, fault.Conflict) {
			t.Errorf("%s: refusal %v", it.Agent.ID, it.Refusal)
		}
	}
	if _, err := w.svc.Preview(t.Context(), bulk.Request{AgentIDs: []string{"draft"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without an action: %v", err)
	}
	if _, err := w.svc.Preview(t.Context(), bulk.Request{Actions: actions(agent.Start), AgentIDs: []string{"none"}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("of nobody: %v", err)
	}
}
