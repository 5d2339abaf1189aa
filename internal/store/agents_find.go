package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// agentSort is a column that agents can be sorted by, and how a cursor names a
// row's place in that order.
type agentSort struct {
	column string
	place  func(r agentRow) database.Cursor
}

var agentSorts = map[string]agentSort{
	"name":       {"name_key", func(r agentRow) database.Cursor { return database.Cursor{Text: r.NameKey} }},
	"id":         {"id_key", func(r agentRow) database.Cursor { return database.Cursor{Text: r.IDKey} }},
	"state":      {"state", func(r agentRow) database.Cursor { return database.Cursor{Text: r.State} }},
	"health":     {"health", func(r agentRow) database.Cursor { return database.Cursor{Text: r.Health} }},
	"tier":       {"tier", func(r agentRow) database.Cursor { return database.Cursor{Num: int64(r.Tier)} }},
	"created_at": {"created_at", func(r agentRow) database.Cursor { return database.Cursor{Num: r.CreatedAt} }},
	"updated_at": {"updated_at", func(r agentRow) database.Cursor { return database.Cursor{Num: r.UpdatedAt} }},
}

// presized is for how many rows there is room from the start; to make more for so
// large ones again and again costs as much as to read them.
const presized = 512

// Find gives one page.
func (st agents) Find(ctx context.Context, q agent.Query) (agent.Page, error) {
	name, descending := strings.CutPrefix(q.Sort, "-")
	if name == "" {
		name = "name"
	}
	sort, ok := agentSorts[name]
	if !ok {
		return agent.Page{}, fault.New(fault.Invalid, "agent.bad_sort", "Agents can't be sorted by %q", database.Clean(name)).
			At(fault.Field{Path: "sort", Message: `must be name, id, state, health, tier, updated_at or created_at, "-" before it reverses`})
	}
	list := "agents/" + q.Sort
	after, err := database.ParseCursor(list, q.Cursor)
	if err != nil {
		return agent.Page{}, err
	}
	db := st.s.Handle(ctx)
	limit := database.Bounded(q.Limit)
	rows := make([]agentRow, 0, min(limit+1, presized))
	page := db.NewSelect().Model(&rows).ExcludeColumn(unread...).Limit(int64(limit) + 1)
	if after == nil && q.Offset > 0 {
		page.Offset(int64(q.Offset))
	}
	if err := st.filter(page, q); err != nil {
		return agent.Page{}, err
	}
	if err := sort.order(page, after, descending).Scan(ctx); err != nil {
		return agent.Page{}, st.s.Explain(ctx, err)
	}
	total := len(rows)
	if after != nil || total > limit || q.Offset > 0 {
		if total, err = st.count(ctx, db, q); err != nil {
			return agent.Page{}, err
		}
	}
	rows, next := database.Cut(rows, limit, func(r agentRow) database.Cursor {
		c := sort.place(r)
		c.List, c.ID = list, r.ID
		return c
	})
	found, err := st.withSpecs(ctx, db, rows)
	return agent.Page{Agents: found, Next: next, Total: total}, err
}

// count gives the number of agents that match in all.
func (st agents) count(ctx context.Context, db bun.IDB, q agent.Query) (int, error) {
	all := db.NewSelect().Model((*agentRow)(nil))
	if err := st.filter(all, q); err != nil {
		return 0, err
	}
	n, err := all.Count(ctx)
	return int(n), st.s.Explain(ctx, err)
}

// order sorts by the column and then the id, and goes on after the cursor.
func (o agentSort) order(q *bun.SelectQuery, after *database.Cursor, descending bool) *bun.SelectQuery {
	compare, direction := bun.Safe(">"), bun.Safe("ASC")
	if descending {
		compare, direction = "<", "DESC"
	}
	if after != nil {
		var value any = after.Num
		if o.place(agentRow{NameKey: "x", IDKey: "x", State: "x", Health: "x"}).Text != "" {
			value = after.Text
		}
		q = q.Where("(a.?, a.id) ? (?, ?)", bun.Ident(o.column), compare, value, after.ID)
	}
	return q.OrderExpr("a.? ?, a.id ?", bun.Ident(o.column), direction, direction)
}

// filter adds the conditions of the query.
func (st agents) filter(sel *bun.SelectQuery, q agent.Query) error {
	if len(q.IDs) > 0 {
		keys := make([]string, len(q.IDs))
		for i, id := range q.IDs {
			keys[i] = database.Fold(id)
		}
		sel.Where("(a.id_key IN (?) OR a.name_key IN (?))", bun.List(keys), bun.List(keys))
	}
	anyOf(sel, "state", q.States)
	anyOf(sel, "health", q.Healths)
	anyOf(sel, "tier", q.Tiers)
	anyOf(sel, "domain", q.Domains)
	anyOf(sel, "runtime", q.Runtimes)
	anyOf(sel, "template", q.Templates)
	if q.CustomerID != "" {
		sel.Where("a.customer_id = ?", q.CustomerID)
	}
	if q.Search != "" {
		sel.Where("?(a.words, ?) > 0", st.s.Find(), database.Fold(q.Search))
	}
	for _, r := range q.Selector {
		if err := require(sel, r); err != nil {
			return err
		}
	}
	return nil
}

func anyOf[T any](sel *bun.SelectQuery, column string, values []T) {
	if len(values) > 0 {
		sel.Where("a.? IN (?)", bun.Ident(column), bun.List(values))
	}
}

// require adds one term of a label selector. As in Kubernetes, != and notin
// also hold for an agent that does not have the label.
func require(sel *bun.SelectQuery, r agent.Requirement) error {
	const has = "a.id IN (SELECT agent_id FROM agent_labels WHERE name = ?"
	// What most agents lack is quicker looked up agent by agent.
	const lacks = "NOT EXISTS (SELECT 1 FROM agent_labels AS l WHERE l.agent_id = a.id AND l.name = ?"
	switch r.Op {
	case "=", "==", "in":
		sel.Where(has+" AND value IN (?))", r.Key, bun.List(r.Values))
	case "!=", "notin":
		sel.Where(lacks+" AND l.value IN (?))", r.Key, bun.List(r.Values))
	case "exists":
		sel.Where(has+")", r.Key)
	case "!exists":
		sel.Where(lacks+")", r.Key)
	default:
		return fault.New(fault.Invalid, "agent.bad_selector", "The label selector can't be read").
			At(fault.Field{Path: "selector", Message: fmt.Sprintf("%q is not one of = != in notin exists !exists", database.Clean(r.Op))})
	}
	return nil
}

// Dependencies gives the declared edges of the whole fleet.
func (st agents) Dependencies(ctx context.Context) (map[string][]string, error) {
	var edges []struct{ Name, Needs string }
	err := st.s.Handle(ctx).NewRaw("SELECT a.name, d.needs FROM agent_dependencies AS d JOIN agents AS a ON a.id = d.agent_id ORDER BY d.agent_id, d.place").
		Scan(ctx, &edges)
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	out := map[string][]string{}
	for _, e := range edges {
		out[e.Name] = append(out[e.Name], e.Needs)
	}
	return out, nil
}

// Counts gives the number of agents by state and by health.
func (st agents) Counts(ctx context.Context) (map[agent.State]int, map[agent.Health]int, error) {
	var groups []struct {
		State, Health string
		N             int
	}
	err := st.s.Handle(ctx).NewRaw("SELECT state, health, count(*) AS n FROM agents GROUP BY state, health").Scan(ctx, &groups)
	if err != nil {
		return nil, nil, st.s.Explain(ctx, err)
	}
	states, healths := map[agent.State]int{}, map[agent.Health]int{}
	for _, g := range groups {
		states[agent.State(g.State)] += g.N
		healths[agent.Health(g.Health)] += g.N
	}
	return states, healths, nil
}

// maxLabels is how many labels Facets gives.
const maxLabels = 40

// facetGroup is a number of agents that are alike in what lists filter by.
type facetGroup struct {
	State, Health, Domain, Runtime string
	Tier, N                        int
}

// Facets counts what each value of a filter selects beside the other filters.
// One statement groups the agents; what the filters make of the groups, of which
// there are few, is counted here.
func (st agents) Facets(ctx context.Context, q agent.Query) (agent.Facets, error) {
	db := st.s.Handle(ctx)
	rest := q
	rest.States, rest.Healths, rest.Tiers, rest.Domains, rest.Runtimes = nil, nil, nil, nil, nil
	sel := db.NewSelect().Model((*agentRow)(nil)).ColumnExpr("a.state, a.health, a.domain, a.runtime, a.tier, count(*) AS n").
		GroupExpr("a.state, a.health, a.domain, a.runtime, a.tier")
	if err := st.filter(sel, rest); err != nil {
		return agent.Facets{}, err
	}
	var groups []facetGroup
	if err := sel.Scan(ctx, &groups); err != nil {
		return agent.Facets{}, st.s.Explain(ctx, err)
	}
	f := sum(groups, q)
	labels := db.NewSelect().TableExpr("agent_labels AS l").ColumnExpr("l.name, l.value, count(*) AS agents").
		GroupExpr("l.name, l.value").OrderExpr("agents DESC, l.name, l.value").Limit(maxLabels)
	if filters(q) {
		labels.Join("JOIN agents AS a ON a.id = l.agent_id")
		if err := st.filter(labels, q); err != nil {
			return agent.Facets{}, err
		}
	}
	return f, st.s.Explain(ctx, labels.Scan(ctx, &f.Labels))
}

// filters tells whether the query leaves any agent out.
func filters(q agent.Query) bool {
	return len(q.IDs)+len(q.States)+len(q.Healths)+len(q.Tiers)+len(q.Domains)+len(q.Runtimes)+len(q.Templates)+len(q.Selector) > 0 ||
		q.CustomerID != "" || q.Search != ""
}

// sum counts each group wherever all filters but the facet's own let it through.
func sum(groups []facetGroup, q agent.Query) agent.Facets {
	f := agent.Facets{
		States: map[agent.State]int{}, Healths: map[agent.Health]int{}, Tiers: map[int]int{},
		Domains: map[string]int{}, Runtimes: map[string]int{},
	}
	for _, g := range groups {
		passes := [...]bool{
			oneOf(q.States, agent.State(g.State)), oneOf(q.Healths, agent.Health(g.Health)), oneOf(q.Tiers, g.Tier),
			oneOf(q.Domains, g.Domain), oneOf(q.Runtimes, g.Runtime),
		}
		failed, last := 0, 0
		for i, ok := range passes {
			if !ok {
				failed, last = failed+1, i
			}
		}
		counts := func(facet int) bool { return failed == 0 || failed == 1 && last == facet }
		if failed == 0 {
			f.Total += g.N
		}
		if counts(0) {
			f.States[agent.State(g.State)] += g.N
		}
		if counts(1) {
			f.Healths[agent.Health(g.Health)] += g.N
		}
		if counts(2) {
			f.Tiers[g.Tier] += g.N
		}
		if counts(3) {
			f.Domains[g.Domain] += g.N
		}
		if counts(4) {
			f.Runtimes[g.Runtime] += g.N
		}
	}
	return f
}

// oneOf tells whether a filter lets a value through.
func oneOf[T comparable](filter []T, v T) bool { return len(filter) == 0 || slices.Contains(filter, v) }
