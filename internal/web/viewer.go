package web

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// unfinished are the states of operations in which something may still happen.
var unfinished = []operation.State{operation.Pending, operation.Running, operation.Paused, operation.Cancelling}

// Rows gives what live updates show, by key: "agent:ID", "detail:ID", "fleet",
// "operation:ID" and "bulk:ID". What does not exist is absent. Agents are read
// many at once, the others one by one: nobody looks at many of them.
func (s *Server) Rows(ctx context.Context, keys []string) (map[string]map[string]json.RawMessage, error) {
	out := make(map[string]map[string]json.RawMessage, len(keys))
	var ids []string
	asked := make(map[string]bool, len(keys))
	for _, key := range keys {
		kind, id, _ := strings.Cut(key, ":")
		known := asked[view.AgentKey(id)] || asked[view.DetailKey(id)]
		asked[key] = true
		var row view.Row
		var err error
		switch kind {
		case "agent", "detail":
			if !known {
				ids = append(ids, id)
			}
			continue
		case view.Fleet:
			row, err = s.fleetRow(ctx)
		case "operation":
			row, err = s.operationRow(ctx, id)
		case "bulk":
			row, err = s.bulkRow(ctx, id)
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		if err == nil && row != nil {
			out[key] = row.Encode()
		}
	}
	for part := range slices.Chunk(ids, 200) {
		// A name may be the id of another agent, so more may be found than are asked for.
		page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: part, Limit: 2 * len(part)})
		if err != nil {
			return nil, err
		}
		shown, err := s.agentViews(ctx, page.Agents)
		if err != nil {
			return nil, err
		}
		for i, a := range page.Agents {
			if key := view.AgentKey(a.ID); asked[key] {
				out[key] = shown[i].Brief().Encode()
			}
			if key := view.DetailKey(a.ID); asked[key] {
				out[key] = shown[i].Row().Encode()
			}
		}
	}
	return out, nil
}

// agentViews gives what the rows of agents are made of, in their order, for pages
// and live updates alike.
func (s *Server) agentViews(ctx context.Context, agents []*agent.Agent) ([]view.Agent, error) {
	if len(agents) == 0 {
		return nil, nil
	}
	ids := make([]string, len(agents))
	var busy []string
	for i, a := range agents {
		if ids[i] = a.ID; a.ActiveOperation != "" {
			busy = append(busy, a.ID)
		}
	}
	instances, err := s.cfg.Fleet.Instances(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var figures []metrics.AgentFigures
	if s.cfg.Figures != nil {
		if figures, err = s.cfg.Figures.Agents(ctx, metrics.Window{}, ids...); err != nil {
			return nil, err
		}
	}
	working := map[string]*operation.Operation{}
	if len(busy) > 0 {
		list, _, err := s.cfg.Operations.Find(ctx, operation.Query{AgentIDs: busy, States: unfinished, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, op := range list {
			working[op.ID] = op
		}
	}
	shown := make([]view.Agent, len(agents))
	for i, a := range agents {
		shown[i] = view.Agent{Agent: a, Instances: instances[a.ID], Operation: working[a.ActiveOperation]}
		if figures != nil {
			shown[i].Figures = &figures[i]
		}
	}
	return shown, nil
}

// listRows gives the rows of agents as lists show them.
func (s *Server) listRows(ctx context.Context, agents []*agent.Agent) ([]view.Row, error) {
	shown, err := s.agentViews(ctx, agents)
	if err != nil {
		return nil, err
	}
	rows := make([]view.Row, len(shown))
	for i, a := range shown {
		rows[i] = a.Brief()
	}
	return rows, nil
}

// fleetRow gives the row of the whole fleet.
func (s *Server) fleetRow(ctx context.Context) (view.Row, error) {
	var sum view.Summary
	var err error
	if sum.States, sum.Healths, err = s.cfg.Agents.Counts(ctx); err != nil {
		return nil, err
	}
	ops, _, err := s.cfg.Operations.Find(ctx, operation.Query{States: unfinished, Limit: 1000})
	if err != nil {
		return nil, err
	}
	sum.Operations = len(ops)
	if s.cfg.Figures != nil {
		f, err := s.cfg.Figures.Fleet(ctx, metrics.Window{})
		if err != nil {
			return nil, err
		}
		before, err := s.cfg.Figures.Fleet(ctx, metrics.Window{Before: 5 * time.Minute})
		if err != nil {
			return nil, err
		}
		sum.Figures, sum.Before = &f, &before
	}
	return sum.Row(), nil
}

func (s *Server) operationRow(ctx context.Context, id string) (view.Row, error) {
	op, err := s.cfg.Operations.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return view.Operation{Operation: op}.Row(), nil
}

func (s *Server) bulkRow(ctx context.Context, id string) (view.Row, error) {
	b, err := s.cfg.Bulks.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return view.Bulk{Bulk: b}.Row(), nil
}
