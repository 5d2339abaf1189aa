package fleet_test

import (
	"slices"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

func TestWhatOthersChangedBecomesARevision(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	shows := func(drifts ...[]fleet.Difference) {
		t.Helper()
		var list []fleet.Instance
		for i, d := range drifts {
			list = append(list, fleet.Instance{ID: fleet.InstanceID(id, 1, i), AgentID: id, Revision: 1, Index: i, State: fleet.InstanceRunning, Drift: d})
		}
		if err := w.store.Instances().PutInstances(t.Context(), id, list); err != nil {
			t.Fatal(err)
		}
	}
	args := fleet.Difference{Field: "args", Wanted: `["wait"]`, Live: `["ticks","--fast"]`}
	memory := fleet.Difference{Field: "resources.memory", Wanted: "64Mi", Live: "96Mi"}
	cpu := fleet.Difference{Field: "resources.cpu", Wanted: "none", Live: "0.25"}
	env := fleet.Difference{Field: "env", Wanted: "a", Live: "b"}

	for name, drifts := range map[string][][]fleet.Difference{
		"nothing": {nil, nil}, "what no specification has": {{env}},
		"one of two": {{memory}, nil}, "the other of two": {nil, {memory}},
		"a program of several parts": {{{Field: "command", Wanted: "/bin/a", Live: `["/bin/sh","-c"]`}}, {{Field: "command", Wanted: "/bin/a", Live: `["/bin/sh","-c"]`}}},
		"different":                  {{memory}, {{Field: "resources.memory", Wanted: "64Mi", Live: "32Mi"}}},
	} {
		shows(drifts...)
		if _, err := w.fleet.AdoptDrift(t.Context(), id, 0, ""); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	shows([]fleet.Difference{args, memory, cpu, env}, []fleet.Difference{args, memory, cpu})
	if _, err := w.fleet.AdoptDrift(t.Context(), id, 99, ""); !fault.Is(err, fault.Stale) {
		t.Errorf("an agent that is another one by now: %v", err)
	}
	before := w.get(id)
	a, err := w.fleet.AdoptDrift(t.Context(), id, before.LockVersion, "")
	if err != nil {
		t.Fatal(err)
	}
	if a.Revision != before.Revision+1 || a.DeployedRevision != before.DeployedRevision {
		t.Errorf("revision %d, deployed %d; were %d, %d", a.Revision, a.DeployedRevision, before.Revision, before.DeployedRevision)
	}
	if !slices.Equal(a.Spec.Args, []string{"ticks", "--fast"}) || a.Spec.Resources.Memory != 96<<20 || a.Spec.Resources.CPU != 0.25 {
		t.Errorf("its specification is %+v", a.Spec)
	}
	gone := fleet.Difference{Field: "resources.memory", Wanted: "96Mi", Live: fleet.Absent}
	shows([]fleet.Difference{gone}, []fleet.Difference{gone})
	if a, err = w.fleet.AdoptDrift(t.Context(), id, a.LockVersion, ""); err != nil || a.Spec.Resources.Memory != 0 || a.Spec.Resources.CPU != 0.25 {
		t.Errorf("a limit that somebody took away: %v, %+v", err, a.Spec.Resources)
	}
}
