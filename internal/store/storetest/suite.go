package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
)

// promise is one thing that every store keeps.
type promise struct {
	name string
	hold func(t *testing.T, s *store.Store)
}

// Run holds a store to the promises of every Store interface of the domain.
// open gives a fresh, empty store each time.
func Run(t *testing.T, open func(t testing.TB) *store.Store) {
	for _, group := range []struct {
		name     string
		promises []promise
	}{
		{"transactions", transactions},
		{"agents", agents},
		{"lists of agents", agentLists},
		{"history", history},
		{"operations", operations},
		{"bulks", bulks},
		{"events", events},
		{"audit", audits},
		{"access", access},
		{"accounts", accounts},
		{"instances", instances},
		{"health", results},
		{"preferences", preferences},
		{"alerts", alerts},
		{"webhooks", webhooks},
		{"diagnoses", diagnoses},
		{"incidents", incidents},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, p := range group.promises {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					p.hold(t, open(t))
				})
			}
		})
	}
}

// errStop is an error that a test gives to a transaction.
var errStop = errors.New("stop here")

// epoch is when things happen in the suite; it has microseconds, which must come back.
var epoch = time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)

func after(d time.Duration) *time.Time {
	t := epoch.Add(d)
	return &t
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", chain(err))
	}
}

// chain writes an error with its causes, which a fault does not show.
func chain(err error) string {
	text := ""
	for ; err != nil; err = errors.Unwrap(err) {
		text += fmt.Sprintf("%T: %v\n", err, err)
	}
	return text
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Fatalf("error %v, want a fault of kind %s", chain(err), kind)
	}
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		g, _ := json.MarshalIndent(got, "", " ")
		w, _ := json.MarshalIndent(want, "", " ")
		t.Fatalf("%s:\n got %T %s\nwant %T %s", what, got, g, want, w)
	}
}

// uuid gives the n-th id of the suite; they sort as their numbers do.
func uuid(n int) string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", n) }

// draft gives a small agent that is not stored yet.
func draft(name string) *agent.Agent {
	return &agent.Agent{
		ID:       agentID(name),
		Spec:     agent.Spec{ID: agentID(name), Name: name, Runtime: "process", Command: "sleep"},
		Revision: 1, State: agent.Draft, Health: agent.HealthUnknown,
		CreatedAt: epoch, UpdatedAt: epoch,
	}
}

func agentID(name string) string { return "id-" + name }

// create stores an agent as it is, with its first revision.
func create(t testing.TB, s *store.Store, a *agent.Agent) *agent.Agent {
	t.Helper()
	must(t, s.Agents().Create(t.Context(), a, firstRevision(a)))
	return a
}

func firstRevision(a *agent.Agent) agent.Revision {
	return agent.Revision{AgentID: a.ID, Number: a.Revision, Spec: a.Spec, CreatedBy: "test", CreatedAt: a.CreatedAt}
}
