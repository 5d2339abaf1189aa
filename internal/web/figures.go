package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// figureRow is one agent in the list of figures.
type figureRow struct {
	ID, Name string
	Row      view.Row
}

// figureOrders are the columns of the list of figures that it can be sorted by.
var figureOrders = []string{"name", "tasks", "errors", "p95", "cost", "queue", "dead", "cpu", "memory"}

// figuresPage lists the figures of all agents that run or have something
// waiting: where the numbers of the dashboard come from.
func (s *Server) figuresPage(w http.ResponseWriter, r *http.Request) error {
	order := r.URL.Query().Get("sort")
	if !slices.Contains(figureOrders, order) {
		order = "tasks"
	}
	only := s.choiceOf(r)
	var ids []string
	if only.ID != "" {
		ids = []string{only.ID}
	}
	rows, err := s.figureRows(r.Context(), order, ids)
	if err != nil {
		return err
	}
	fleet, err := s.fleetRow(r.Context())
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, figuresTable(rows, fleet, order, only))
	}
	shell := Shell{Title: "Figures by agent", Active: "/charts", Crumbs: []Crumb{{"Metrics", "/charts"}}}
	return s.show(w, r, shell, figuresTable(rows, fleet, order, only))
}

// maxFigures is how many agents the list of figures has at most.
const maxFigures = 200

func (s *Server) figureRows(ctx context.Context, order string, only []string) ([]figureRow, error) {
	all, err := s.cfg.Figures.Agents(ctx, metrics.Window{}, only...)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b metrics.AgentFigures) int {
		if order == "name" {
			return strings.Compare(a.AgentID, b.AgentID)
		}
		return cmp.Compare(rank(b, order), rank(a, order))
	})
	if len(all) > maxFigures {
		all = all[:maxFigures]
	}
	ids := make([]string, len(all))
	for i, f := range all {
		ids[i] = f.AgentID
	}
	known := map[string]*agent.Agent{}
	for part := range slices.Chunk(ids, 200) {
		page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: part, Limit: 2 * len(part)})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Agents {
			known[a.ID] = a
		}
	}
	var agents []*agent.Agent
	for _, id := range ids {
		if a := known[id]; a != nil { // others have been deleted since
			agents = append(agents, a)
		}
	}
	shown, err := s.agentViews(ctx, agents)
	if err != nil {
		return nil, err
	}
	rows := make([]figureRow, len(agents))
	for i, a := range agents {
		rows[i] = figureRow{ID: a.ID, Name: nameOf(a), Row: shown[i].Row()}
	}
	return rows, nil
}

// rank gives the figure that the list is sorted by; what is not known comes last.
func rank(f metrics.AgentFigures, order string) float64 {
	value := func(v *float64) float64 {
		if v == nil {
			return -1
		}
		return *v
	}
	switch order {
	case "errors":
		return value(f.ErrorRate)
	case "p95":
		if f.P95 != nil {
			return f.P95.Seconds
		}
		return -1
	case "cost":
		return value(f.CostPerHour)
	case "cpu":
		return value(f.CPU)
	case "memory":
		return value(f.Memory)
	case "queue", "dead":
		switch {
		case f.Backlog == nil:
			return -1
		case order == "queue":
			return float64(f.Backlog.Waiting)
		}
		return float64(f.Backlog.Dead)
	}
	return value(f.TasksPerMinute)
}

// resourcesTab shows what the agent holds where.
func (s *Server) resourcesTab(ctx context.Context, d *agentDetail) (templ.Component, error) {
	if s.cfg.Steward == nil {
		return resourcesBody(d, &fleet.Account{}), nil
	}
	acc, err := s.cfg.Steward.Account(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	return resourcesBody(d, acc), nil
}

// limited writes what is used, and of how much.
func limited(used, limit int64) string {
	if limit <= 0 {
		return view.Bytes(used)
	}
	return view.Bytes(used) + " of " + view.Bytes(limit)
}
