package fleet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/operation"
)

func TestAccountNamesWhatAnAgentHolds(t *testing.T) {
	w := newWorld(t)
	sp := spec("Holder")
	sp.Resources.Memory = 64 << 20
	id := w.running(sp)
	acc, err := w.fleet.Account(t.Context(), "Holder")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, st := range acc.Stocks {
		for _, h := range st.Holdings {
			kinds = append(kinds, st.Place+" "+h.Kind)
		}
	}
	if got := strings.Join(kinds, ", "); got != "portal credential, portal port, portal queue, process directory, process instance" {
		t.Errorf("it holds %s", got)
	}
	if acc.Limits.Memory != 64<<20 || len(acc.Uses) != 0 && acc.Uses[0].Instance != fleet.InstanceID(id, 1, 0) || len(acc.Stocks) != 2 {
		t.Errorf("account %+v", acc)
	}
	if _, err := w.fleet.Account(t.Context(), "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

func TestOrphansAreFoundAndRemovedOnRecord(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Owner"))
	launch, _ := w.runtime.Launched(id, fleet.InstanceID(id, 1, 0))
	launch.AgentID, launch.InstanceID = "stranger", "stranger-r1-0"
	if err := w.runtime.Launch(t.Context(), launch); err != nil {
		t.Fatal(err)
	}
	list, notes, err := w.fleet.Orphans(t.Context())
	if err != nil || len(notes) > 0 || len(list) != 1 || list[0].AgentID != "stranger" || len(list[0].Holdings) != 2 {
		t.Fatalf("left over: %+v, %v, %v", list, notes, err)
	}
	if _, err := w.fleet.RemoveOrphan(t.Context(), "process", id, ""); !fault.Is(err, fault.NotFound) || len(w.on(id)) != 1 {
		t.Errorf("an agent's own: %v", err)
	}
	if _, err := w.fleet.RemoveOrphan(t.Context(), "process", "stranger", "tidy"); err != nil {
		t.Fatal(err)
	}
	if list, _, err := w.fleet.Orphans(t.Context()); err != nil || len(list) != 0 || len(w.on("stranger")) != 0 {
		t.Errorf("left over: %+v, %v", list, err)
	}
	if e := w.audited("orphan.remove", "agent/stranger"); len(e) != 1 || e[0].Outcome != audit.Done || e[0].Reason != "tidy" || !strings.Contains(string(e[0].Before), "stranger-r1-0") {
		t.Errorf("on record: %+v", e)
	}
	told := w.events(event.OrphanRemoved)
	if len(told) != 1 || told[0].AgentID != "stranger" || !slices.Contains(told[0].Rooms, event.RoomAgents) || !strings.Contains(string(told[0].Data), `"runtime":"process","agent_id":"stranger","why":"there is no such agent","count":2`) {
		t.Errorf("told: %+v", told)
	}
	// What can't be removed is on record as well, and nothing says that it is gone.
	if err := w.runtime.Launch(t.Context(), launch); err != nil {
		t.Fatal(err)
	}
	w.runtime.Fail("Remove", errors.New("disk is read-only"))
	if _, err := w.fleet.RemoveOrphan(t.Context(), "process", "stranger", "again"); err == nil {
		t.Error("a removal that failed succeeds")
	}
	if e := w.audited("orphan.remove", "agent/stranger"); len(e) != 2 || len(w.events(event.OrphanRemoved)) != 1 {
		t.Errorf("on record: %+v", e)
	}
}

func TestQuotasAreHeldAtAdmission(t *testing.T) {
	w := newWorld(t)
	quotas, err := fleet.ParseQuotas("tier=2 memory=256Mi replicas=3; runtime=docker agents=1")
	if err != nil {
		t.Fatal(err)
	}
	w.quotas = quotas
	w.crash()
	make := func(name, memory string, tier int) string {
		sp := spec(name)
		sp.Tier = tier
		sp.Resources.Memory, _ = agent.ParseQuantity(memory)
		return w.create(sp)
	}
	w.must(make("First", "128Mi", 2), agent.Provision, agent.Deploy)
	refused := func(name, memory, field, message string) {
		t.Helper()
		_, err := w.fleet.Act(t.Context(), make(name, memory, 2), agent.Provision, fleet.ActOptions{})
		f := fault.As(err)
		if f == nil || f.Code != "fleet.quota" || len(f.Fields) != 1 || f.Fields[0] != (fault.Field{Path: field, Message: message}) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	refused("Large", "200Mi", "resources.memory", "200Mi more would be needed, and 128Mi of 256Mi are taken")
	refused("Boundless", "0", "resources.memory", "has to be given, because tier 2 may have 256Mi in all")
	w.must(make("Elsewhere", "900Mi", 3), agent.Provision)
	second := make("Second", "128Mi", 2)
	w.must(second, agent.Provision)
	// A revision that wants more is refused where it is deployed.
	if _, _, err := w.agents.Patch(t.Context(), second, 0, map[string]any{"resources": map[string]any{"memory": "192Mi"}}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.fleet.Act(t.Context(), second, agent.Deploy, fleet.ActOptions{}); fault.As(err) == nil {
		t.Errorf("deploy over the quota: %v", err)
	}
	uses, err := w.fleet.QuotaUses(t.Context())
	if err != nil || uses[0].Taken.Agents != 2 || uses[0].Taken.Memory < 256<<20 {
		t.Errorf("taken %+v, %v", uses, err)
	}
}

func TestQuotaIsNotExceededByHaste(t *testing.T) {
	w := newWorld(t)
	w.quotas = []fleet.Quota{{Amount: fleet.Amount{Agents: 3}}}
	w.crash()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var begun []string
	for i := range 10 {
		id := w.create(spec(fmt.Sprint("Hasty", i)))
		wg.Go(func() {
			op, err := w.fleet.Act(t.Context(), id, agent.Provision, fleet.ActOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				begun = append(begun, op.ID)
			}
		})
	}
	wg.Wait()
	if len(begun) != 3 {
		t.Errorf("%d were admitted, and 3 are allowed", len(begun))
	}
	for _, id := range begun {
		if op := w.wait(id); op.State != operation.Succeeded {
			t.Errorf("%+v", op.Problem)
		}
	}
}

func TestQuotasThatMakeNoSense(t *testing.T) {
	for _, text := range []string{"tier=7 cpu=1", "tier=1", "memory=-1", "cpu=0", "cpu=NaN", "replicas=x", "colour=red", "runtime= cpu=1", "runtime=docker/ cpu=1", "runtime=process/a cpu=1", "agents=0"} {
		if q, err := fleet.ParseQuotas(text); err == nil {
			t.Errorf("%q is %+v", text, q)
		}
	}
	if q, err := fleet.ParseQuotas(" ; "); err != nil || q != nil {
		t.Errorf("nothing is %v, %v", q, err)
	}
}

// A quota of a kind is about all its places together, one of a place about that alone.
func TestQuotasOfAKindCountItsPlaces(t *testing.T) {
	w := newWorld(t)
	quotas, err := fleet.ParseQuotas("runtime=docker replicas=2; runtime=docker/two replicas=1")
	if err != nil {
		t.Fatal(err)
	}
	w.quotas, w.other = quotas, fleettest.NewNamedFake("docker/two")
	w.crash()
	refused := func(name, runtime string, replicas int, whose string) {
		t.Helper()
		sp := elsewhere(name)
		sp.Runtime, sp.Replicas = runtime, replicas
		_, err := w.fleet.Act(t.Context(), w.create(sp), agent.Provision, fleet.ActOptions{})
		if f := fault.As(err); f == nil || f.Code != "fleet.quota" || !strings.Contains(f.What, whose) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("Several", "docker/two", 2, "docker/two")
	w.must(w.create(elsewhere("First")), agent.Provision)
	refused("Second", "docker/two", 1, "docker/two")
	uses, err := w.fleet.QuotaUses(t.Context())
	if err != nil || len(uses) != 2 || uses[0].Taken.Replicas != 1 || uses[1].Taken.Replicas != 1 {
		t.Errorf("taken: %+v, %v", uses, err)
	}
	w.quotas[0].Replicas = 1
	refused("Kind", "docker/two", 1, "the runtime docker ")
}

// A runtime that says nothing is named, and what the others hold is told all the same.
func TestAccountsDoNotWaitForARuntimeThatHangs(t *testing.T) {
	w, other := newTwin(t)
	id := w.running(spec("Near"))
	if err := w.runtime.Launch(t.Context(), fleet.Launch{InstanceID: "stranger-r1-0", AgentID: "stranger", Command: "/bin/program", Args: []string{"wait"}}); err != nil {
		t.Fatal(err)
	}
	w.fleet.AccountTime = 500 * time.Millisecond
	t.Cleanup(other.Block("Agents"))
	t.Cleanup(other.Block("Holdings"))
	list, notes, err := w.fleet.Orphans(t.Context())
	if err != nil || len(list) != 1 || list[0].AgentID != "stranger" || len(notes) != 1 || !strings.Contains(notes[0], "docker is not known: The runtime docker does not answer") {
		t.Errorf("left over: %+v, %q, %v", list, notes, err)
	}
	acc, err := w.fleet.Account(t.Context(), id)
	if err != nil || len(acc.Notes) != 1 || !strings.Contains(acc.Notes[0], "docker does not answer") || !slices.Equal(acc.Unasked, []string{"docker"}) || len(acc.Stocks) != 2 {
		t.Errorf("account: %+v, %v", acc, err)
	}
}
