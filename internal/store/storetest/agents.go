package storetest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/store"
)

var agents = []promise{
	{"an agent comes back as it was stored", func(t *testing.T, s *store.Store) {
		a := create(t, s, full())
		equal(t, "version", a.LockVersion, int64(1))
		for _, key := range []string{a.ID, "ID-FULL", a.Spec.Name, "full NÄME"} {
			got, err := s.Agents().Get(t.Context(), key)
			must(t, err)
			equal(t, "agent by "+key, got, a)
		}
		rev, err := s.History().Revision(t.Context(), a.ID, 3)
		must(t, err)
		equal(t, "first revision", rev.Spec, a.Spec)
	}},
	{"ids and names are unique, whatever their case", func(t *testing.T, s *store.Store) {
		create(t, s, draft("one"))
		for _, change := range []func(a *agent.Agent){
			func(a *agent.Agent) { a.ID = "id-one" },
			func(a *agent.Agent) { a.ID = "ID-One" },
			func(a *agent.Agent) { a.Spec.Name = "one" },
			func(a *agent.Agent) { a.Spec.Name = "ONE" },
		} {
			a := draft("two")
			change(a)
			wantKind(t, s.Agents().Create(t.Context(), a, firstRevision(a)), fault.Conflict)
			equal(t, "version", a.LockVersion, int64(0))
		}
		create(t, s, draft("two")) // nothing of the refused ones is in the way
	}},
	{"an id wins over a name", func(t *testing.T, s *store.Store) {
		create(t, s, draft("one"))
		namesake := draft("two")
		namesake.Spec.Name = "id-one"
		create(t, s, namesake)
		got, err := s.Agents().Get(t.Context(), "ID-ONE")
		must(t, err)
		equal(t, "id", got.ID, "id-one")
	}},
	{"a save stores every field and raises the version", func(t *testing.T, s *store.Store) {
		a := create(t, s, draft("one"))
		changed := full()
		changed.ID, changed.LockVersion, changed.CreatedAt = a.ID, a.LockVersion, a.CreatedAt
		must(t, s.Agents().Save(t.Context(), changed))
		equal(t, "version", changed.LockVersion, int64(2))
		got, err := s.Agents().Get(t.Context(), "full näme")
		must(t, err)
		equal(t, "agent", got, changed)
		wantNames(t, s, agent.Query{Selector: agent.Selector{{Key: "team", Op: "=", Values: []string{"core"}}}}, changed.Spec.Name)
		wantNames(t, s, agent.Query{Search: "described"}, changed.Spec.Name)

		changed.Spec.Labels, changed.Spec.Description, changed.Failure = nil, "", nil
		must(t, s.Agents().Save(t.Context(), changed))
		wantNames(t, s, agent.Query{Selector: agent.Selector{{Key: "team", Op: "exists"}}})
		wantNames(t, s, agent.Query{Search: "described"})
	}},
	{"a save with an old version is stale", func(t *testing.T, s *store.Store) {
		a := create(t, s, draft("one"))
		old := *a
		must(t, s.Agents().Save(t.Context(), a))
		err := s.Agents().Save(t.Context(), &old)
		wantKind(t, err, fault.Stale)
		equal(t, "version told", fault.As(err).Extra["resource_version"], any(int64(2)))
		equal(t, "version of the loser", old.LockVersion, int64(1))
	}},
	{"of two saves with one version one is stale", racingSaves},
	{"a save can't take another one's name or bring an agent back", func(t *testing.T, s *store.Store) {
		create(t, s, draft("one"))
		two := create(t, s, draft("two"))
		two.Spec.Name = "ONE"
		wantKind(t, s.Agents().Save(t.Context(), two), fault.Conflict)
		two.Spec.Name = "Two" // its own in another case
		must(t, s.Agents().Save(t.Context(), two))
		wantKind(t, s.Agents().Save(t.Context(), draft("none")), fault.NotFound)
	}},
	{"health is stored without touching the version", func(t *testing.T, s *store.Store) {
		a := create(t, s, draft("one"))
		at := *after(time.Hour)
		must(t, s.Agents().SaveHealth(t.Context(), a.ID, agent.HealthDegraded, "1 of 2 ready", at))
		got, err := s.Agents().Get(t.Context(), a.ID)
		must(t, err)
		want := *a
		want.Health, want.HealthReason, want.UpdatedAt = agent.HealthDegraded, "1 of 2 ready", at
		equal(t, "agent", got, &want)
		wantKind(t, s.Agents().SaveHealth(t.Context(), "none", agent.HealthHealthy, "", at), fault.NotFound)
	}},
	{"a deleted agent leaves nothing but the record", deleted},
	{"unknown agents are not found, and nothing hangs on them", func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		_, err := s.Agents().Get(ctx, "none")
		wantKind(t, err, fault.NotFound)
		wantKind(t, s.Agents().Delete(ctx, "none"), fault.NotFound)
		wantKind(t, s.History().AddRevision(ctx, agent.Revision{AgentID: "none", Number: 1}), fault.NotFound)
		wantKind(t, s.History().AddTransition(ctx, agent.Transition{ID: uuid(1), AgentID: "none"}), fault.NotFound)
		wantKind(t, s.Health().AddResult(ctx, health.Result{AgentID: "none"}), fault.NotFound)
		wantKind(t, s.Instances().PutInstances(ctx, "none", []fleet.Instance{{ID: "x"}}), fault.NotFound)
		wantKind(t, s.Credentials().PutCredential(ctx, auth.Credential{AgentID: "none"}), fault.NotFound)
		_, err = s.Instances().ReservePort(ctx, "none", 0, 20000, 20001, anyPort)
		wantKind(t, err, fault.NotFound)
	}},
	{"what a text column cannot hold does no harm", func(t *testing.T, s *store.Store) {
		a := draft("odd")
		a.HealthReason = "nul \x00 and \xff bytes, 'quotes', \\back\\slashes ?0 -- ; and ünïcödé 🙂"
		a.Failure = &agent.Failure{Reason: a.HealthReason}
		create(t, s, a)
		got, err := s.Agents().Get(t.Context(), a.ID)
		must(t, err)
		equal(t, "text", got.HealthReason, "nul  and \uFFFD bytes, 'quotes', \\back\\slashes ?0 -- ; and ünïcödé 🙂")
		for _, odd := range []string{"\x00", "'", "x' OR '1'='1", "\\", "?", "id-odd\x00\xff"} {
			_, err := s.Agents().Get(t.Context(), odd+"!")
			wantKind(t, err, fault.NotFound)
		}
	}},
	{"the graph of the fleet is as declared", func(t *testing.T, s *store.Store) {
		one, two := draft("one"), draft("two")
		one.Spec.Dependencies = []string{"Two", "three", "two"}
		create(t, s, one)
		create(t, s, two)
		got, err := s.Agents().Dependencies(t.Context())
		must(t, err)
		equal(t, "edges", got, map[string][]string{"one": {"Two", "three", "two"}})
	}},
	{"agents are counted by state and health", func(t *testing.T, s *store.Store) {
		for name, state := range map[string]agent.State{"a": agent.Running, "b": agent.Running, "c": agent.Stopped} {
			a := draft(name)
			a.State = state
			if name == "a" {
				a.Health = agent.HealthHealthy
			}
			create(t, s, a)
		}
		states, healths, err := s.Agents().Counts(t.Context())
		must(t, err)
		equal(t, "states", states, map[agent.State]int{agent.Running: 2, agent.Stopped: 1})
		equal(t, "healths", healths, map[agent.Health]int{agent.HealthHealthy: 1, agent.HealthUnknown: 2})
	}},
}

// full gives an agent with every field set.
func full() *agent.Agent {
	code := 137
	return &agent.Agent{
		ID: "id-full",
		Spec: agent.Spec{
			ID: "id-full", Name: "Full Näme", DisplayName: "Full", DID: "did:x:1", Tier: 4, Domain: "security", Version: "1.2.3",
			Description: "Described at length", Template: "memory", Capabilities: map[string][]string{"a": {"b", "c"}},
			Constraints: []agent.Constraint{{Rule: "r", Reason: "why"}}, Dependencies: []string{"other"}, WakePatterns: []string{"x.*"},
			Specialization: map[string]any{"n": 1.5, "list": []any{"a", true, nil}}, ResourceBudget: 9.99, Runtime: "process",
			Command: "run", Args: []string{"--port", "$(PORT)"}, Replicas: 3,
			Resources: agent.Resources{CPU: 0.5, Memory: 256 << 20, Disk: 1 << 30, PIDs: 64},
			Env:       map[string]string{"A": "b"}, Secrets: map[string]string{"K": "file:k"},
			Ports: []agent.Port{{Name: "x", Port: 9000}}, Volumes: []agent.Volume{{Name: "v", Path: "p", Size: 1 << 20, ReadOnly: true}},
			Probes: agent.Probes{
				Liveness:  &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/health", Port: "$(PORT)"}, Interval: agent.Duration(time.Second)},
				Readiness: &agent.Probe{TCP: &agent.TCPProbe{Port: "8080"}, FailureThreshold: 2},
			},
			Restart:     agent.RestartPolicy{Policy: "always", MaxRestarts: 5, Window: agent.Duration(time.Minute)},
			StopTimeout: agent.Duration(3 * time.Second), Labels: map[string]string{"team": "core", "env": "prod"},
			CustomerID: "c-1", Extra: map[string]any{"unknown": map[string]any{"deep": "kept"}},
		},
		Revision: 3, DeployedRevision: 2, State: agent.Errored, Health: agent.HealthUnhealthy, HealthReason: "GET /health: 503",
		ActiveOperation: uuid(7),
		Failure:         &agent.Failure{Code: "crash_loop", Reason: "r", Remedy: "m", ExitCode: &code, Signal: "SIGKILL", LastLogs: []string{"a", "b"}},
		CreatedAt:       epoch, UpdatedAt: *after(time.Minute),
	}
}

func anyPort(int) bool { return true }

// racingSaves saves one agent from many goroutines that all read the same version.
func racingSaves(t *testing.T, s *store.Store) {
	a := create(t, s, draft("one"))
	var group sync.WaitGroup
	var won, stale atomic.Int32
	for range 8 {
		mine := *a
		group.Go(func() {
			switch err := s.Agents().Save(t.Context(), &mine); {
			case err == nil:
				won.Add(1)
			case fault.Is(err, fault.Stale):
				stale.Add(1)
			default:
				t.Errorf("unexpected error: %v", chain(err))
			}
		})
	}
	group.Wait()
	equal(t, "won and stale", []int32{won.Load(), stale.Load()}, []int32{1, 7})
}

// deleted gives an agent all that can hang on it and deletes it.
func deleted(t *testing.T, s *store.Store) {
	ctx := t.Context()
	hang := func(a *agent.Agent) {
		must(t, s.History().AddTransition(ctx, agent.Transition{ID: uuid(int(a.Spec.Name[0])), AgentID: a.ID, State: agent.Draft, CreatedAt: epoch}))
		must(t, s.Instances().PutInstances(ctx, a.ID, []fleet.Instance{{ID: "i", AgentID: a.ID}}))
		must(t, s.Health().AddResult(ctx, health.Result{AgentID: a.ID, At: epoch}))
		must(t, s.Credentials().PutCredential(ctx, auth.Credential{AgentID: a.ID, Hash: "h", CreatedAt: epoch}))
		_, err := s.Instances().ReservePort(ctx, a.ID, 0, 20000, 20009, anyPort)
		must(t, err)
		must(t, s.Events().Append(ctx, event.Event{Type: event.AgentCreated, AgentID: a.ID, At: epoch}))
		must(t, s.Operations().Insert(ctx, &operation.Operation{ID: "op-" + a.ID, AgentID: a.ID, State: operation.Succeeded, CreatedAt: epoch}))
	}
	one, two := full(), draft("two")
	two.Spec.Dependencies = []string{"x"}
	for _, a := range []*agent.Agent{one, two} {
		create(t, s, a)
		hang(a)
	}
	must(t, s.Agents().Delete(ctx, one.ID))

	_, err := s.Agents().Get(ctx, one.ID)
	wantKind(t, err, fault.NotFound)
	revs, err := s.History().Revisions(ctx, one.ID, 0, 0)
	must(t, err)
	moves, _, err := s.History().Transitions(ctx, one.ID, "", 0)
	must(t, err)
	probes, _, err := s.Health().Results(ctx, one.ID, "", 0)
	must(t, err)
	running, err := s.Instances().Instances(ctx)
	must(t, err)
	ports, err := s.Instances().Ports(ctx)
	must(t, err)
	graph, err := s.Agents().Dependencies(ctx)
	must(t, err)
	_, err = s.Credentials().CredentialOf(ctx, one.ID)
	wantKind(t, err, fault.NotFound)
	equal(t, "left of the agent", []int{len(revs), len(moves), len(probes), len(running[one.ID])}, []int{0, 0, 0, 0})
	equal(t, "ports", ports, map[int]string{20001: two.ID})
	equal(t, "graph", graph, map[string][]string{"two": {"x"}})
	equal(t, "events", eventCount(t, s), 2)
	_, err = s.Operations().Get(ctx, "op-"+one.ID)
	must(t, err)

	again := full() // its id and name are free
	create(t, s, again)
	wantNames(t, s, agent.Query{}, again.Spec.Name, "two")
}
