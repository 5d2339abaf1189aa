package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// The fakes of what a Viewer reads. They count the questions.
type (
	fakeAgents struct {
		web.AgentReader
		all   []*agent.Agent
		asked int
	}
	fakeFleet struct {
		web.Fleet
		asked int
	}
	fakeOperations struct {
		web.Operations
		list  []*operation.Operation
		asked int
		err   error
	}
	fakeBulks   struct{ web.Bulks }
	fakeFigures struct{ metrics.Reader }
)

func (f *fakeAgents) Find(_ context.Context, q agent.Query) (agent.Page, error) {
	f.asked++
	var page agent.Page
	for _, a := range f.all {
		if slices.Contains(q.IDs, a.ID) || slices.Contains(q.IDs, strings.ToLower(a.Spec.Name)) {
			page.Agents = append(page.Agents, a)
		}
	}
	return page, nil
}

func (f *fakeAgents) Counts(context.Context) (map[agent.State]int, map[agent.Health]int, error) {
	return map[agent.State]int{agent.Running: len(f.all)}, map[agent.Health]int{agent.HealthHealthy: len(f.all)}, nil
}

func (f *fakeFleet) Instances(_ context.Context, ids ...string) (map[string][]fleet.Instance, error) {
	f.asked++
	out := map[string][]fleet.Instance{}
	for _, id := range ids {
		out[id] = []fleet.Instance{{AgentID: id, State: fleet.InstanceRunning}}
	}
	return out, nil
}

func (f *fakeOperations) Find(_ context.Context, q operation.Query) ([]*operation.Operation, string, error) {
	f.asked++
	var out []*operation.Operation
	for _, op := range f.list {
		if slices.Contains(q.States, op.State) && (len(q.AgentIDs) == 0 || slices.Contains(q.AgentIDs, op.AgentID)) {
			out = append(out, op)
		}
	}
	return out, "", nil
}

func (f *fakeOperations) Get(_ context.Context, id string) (*operation.Operation, error) {
	for _, op := range f.list {
		if op.ID == id {
			return op, f.err
		}
	}
	return nil, fault.New(fault.NotFound, "operation.unknown", "There is no such operation")
}

func (fakeBulks) Get(_ context.Context, id string) (*bulk.Bulk, error) {
	return &bulk.Bulk{ID: id, State: operation.Running, Total: 4, Completed: 1}, nil
}

func (fakeFigures) Agents(_ context.Context, _ metrics.Window, ids ...string) ([]metrics.AgentFigures, error) {
	out := make([]metrics.AgentFigures, len(ids))
	for i, id := range ids {
		out[i] = metrics.AgentFigures{AgentID: id, Status: metrics.Reporting, Figures: metrics.Figures{TasksPerMinute: new(float64(i))}}
	}
	return out, nil
}

func (fakeFigures) Fleet(context.Context, metrics.Window, ...string) (metrics.FleetFigures, error) {
	return metrics.FleetFigures{Coverage: metrics.Coverage{Agents: 2, Reporting: 1}}, nil
}

func TestRowsOfLiveUpdates(t *testing.T) {
	agents, fleetFake := &fakeAgents{}, &fakeFleet{}
	for i := range 500 {
		agents.all = append(agents.all, &agent.Agent{ID: fmt.Sprint("a", i), State: agent.Running, Spec: agent.Spec{Name: fmt.Sprint("A", i), Replicas: 1}})
	}
	agents.all[0].ActiveOperation = "op"
	agents.all[1].Spec.Name = "a2" // what is the id of another
	ops := &fakeOperations{list: []*operation.Operation{{ID: "op", AgentID: "a0", Kind: "agent.stop", State: operation.Running, Completed: 1, Total: 2}}}
	s := web.New(web.Config{Agents: agents, Fleet: fleetFake, Operations: ops, Bulks: fakeBulks{}, Figures: fakeFigures{}})
	keys := []string{"fleet", "operation:op", "operation:none", "bulk:b", "agent:nobody", "kitchen:sink", "detail:a7", "detail:nobody"}
	for i := range 500 {
		keys = append(keys, fmt.Sprint("agent:a", i))
	}
	rows, err := s.Rows(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 504 || rows["operation:none"] != nil || rows["agent:nobody"] != nil {
		t.Errorf("%d rows", len(rows))
	}
	if agents.asked > 3 || fleetFake.asked > 3 || ops.asked > 4 {
		t.Errorf("500 agents take %d+%d+%d questions", agents.asked, fleetFake.asked, ops.asked)
	}
	text := func(key, cell string) string {
		var c view.Cell
		if err := json.Unmarshal(rows[key][cell], &c); err != nil {
			t.Errorf("%s %s: %v", key, cell, err)
		}
		return c.Text
	}
	for _, c := range [][3]string{
		{"agent:a0", "operation", "Stopping"}, {"agent:a2", "name", "A2"}, {"agent:a1", "name", "a2"}, {"agent:a7", "instances", "1/1"}, {"agent:a7", "tasks", "7"}, {"detail:a7", "tasks", "7"}, {"detail:a7", "revision", "0"},
		{"fleet", "state-running", "500"}, {"fleet", "operations", "1"}, {"fleet", "reporting", "1/2"}, {"operation:op", "progress", "1/2"}, {"bulk:b", "progress", "1/4"},
	} {
		if got := text(c[0], c[1]); got != c[2] {
			t.Errorf("%s of %s is %q, want %q", c[1], c[0], got, c[2])
		}
	}
	if rows["agent:a7"]["revision"] != nil || rows["agent:a7"]["cpu"] != nil {
		t.Error("lists of agents hear what they do not show")
	}
	ops.err = errors.New("no answer")
	if _, err := s.Rows(t.Context(), keys); err == nil {
		t.Error("what can't be read is shown as if it did not exist")
	}
}

// A list that is as the page has it is not sent again: what rows show of an agent
// comes by its row.
func TestListIsSentAgainOnlyIfItChanged(t *testing.T) {
	h := newHome(t)
	a := h.has("one", agent.Running, agent.HealthHealthy)
	refresh := regexp.MustCompile(`hx-get="(/agents\?have=[^"]+)"`)
	at := func(page string) string {
		t.Helper()
		m := refresh.FindStringSubmatch(page)
		if m == nil {
			t.Fatal("the page does not say where it is loaded again")
		}
		return m[1]
	}
	part := []string{"HX-Request", "true", "HX-Request-Type", "partial"}
	first := at(h.page(auth.Operator, "/agents"))
	if w := h.send(auth.Operator, "GET", first, part...); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("as it is: %d with %d bytes", w.Code, w.Body.Len())
	}
	if w := h.send(auth.Viewer, "GET", first, part...); w.Code != http.StatusOK {
		t.Errorf("for somebody who may do less: %d", w.Code)
	}
	ctx := auth.With(t.Context(), auth.System)
	a.State, a.Spec.DisplayName = agent.Stopped, "Another name"
	if err := h.store.Agents().Save(ctx, a); err != nil {
		t.Fatal(err)
	}
	if w := h.send(auth.Operator, "GET", first, part...); w.Code != http.StatusNoContent {
		t.Errorf("after what its row shows: %d", w.Code)
	}
	h.has("two", agent.Running, agent.HealthHealthy)
	w := h.send(auth.Operator, "GET", first, part...)
	h.contains(w.Body.String(), "The two", "Another name")
	if second := at(w.Body.String()); second == first {
		t.Error("another list has the same name")
	}
}
