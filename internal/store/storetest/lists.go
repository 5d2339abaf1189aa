package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
)

var agentLists = []promise{
	{"an empty fleet is an empty page", func(t *testing.T, s *store.Store) {
		page, err := s.Agents().Find(t.Context(), agent.Query{})
		must(t, err)
		equal(t, "page", page, agent.Page{Agents: []*agent.Agent{}})
	}},
	{"every filter keeps what it says", filters},
	{"a search finds parts of texts as they are", searches},
	{"label selectors work as in Kubernetes", selectors},
	{"every order is total and goes on page by page", orders},
	{"pages stay in place while agents come and go", func(t *testing.T, s *store.Store) {
		for i := range 6 {
			create(t, s, draft(fmt.Sprintf("a%d", i)))
		}
		first, err := s.Agents().Find(t.Context(), agent.Query{Limit: 3})
		must(t, err)
		equal(t, "first page", names(first.Agents), []string{"a0", "a1", "a2"})
		create(t, s, draft("a00"))
		must(t, s.Agents().Delete(t.Context(), agentID("a2"))) // the cursor's own row
		second, err := s.Agents().Find(t.Context(), agent.Query{Limit: 3, Cursor: first.Next})
		must(t, err)
		equal(t, "second page", names(second.Agents), []string{"a3", "a4", "a5"})
		equal(t, "next", second.Next, "")
	}},
	{"pages have numbers for whoever wants them", func(t *testing.T, s *store.Store) {
		for i := range 5 {
			create(t, s, draft(fmt.Sprintf("a%d", i)))
		}
		for offset, want := range map[int][]string{0: {"a0", "a1"}, 2: {"a2", "a3"}, 4: {"a4"}, 9: {}, -1: {"a0", "a1"}} {
			page, err := s.Agents().Find(t.Context(), agent.Query{Limit: 2, Offset: offset})
			must(t, err)
			equal(t, fmt.Sprintf("agents and total from %d", offset), []any{names(page.Agents), page.Total}, []any{want, 5})
		}
	}},
	{"facets count what each value of a filter would select", facets},
	{"a page holds 100 unless told, and 1000 at most", func(t *testing.T, s *store.Store) {
		must(t, Seed(t.Context(), s, 0, 1003))
		for limit, want := range map[int]int{0: 100, -5: 100, 7: 7, 1000: 1000, 5000: 1000} {
			page, err := s.Agents().Find(t.Context(), agent.Query{Limit: limit})
			must(t, err)
			equal(t, fmt.Sprintf("agents and total with limit %d", limit), []int{len(page.Agents), page.Total}, []int{want, 1003})
			if page.Next == "" {
				t.Fatal("no next page")
			}
		}
	}},
	{"a cursor that is not its own is refused", func(t *testing.T, s *store.Store) {
		for i := range 3 {
			create(t, s, draft(fmt.Sprintf("a%d", i)))
		}
		byName, err := s.Agents().Find(t.Context(), agent.Query{Limit: 1})
		must(t, err)
		for _, bad := range []agent.Query{
			{Cursor: "nonsense"},
			{Cursor: "e30"}, // {}
			{Cursor: byName.Next, Sort: "-name"},
			{Cursor: byName.Next, Sort: "updated_at"},
			{Cursor: byName.Next + "x"},
			{Sort: "color"},
			{Sort: "name; DROP TABLE agents"},
			{Selector: agent.Selector{{Key: "a", Op: "~"}}},
		} {
			_, err := s.Agents().Find(t.Context(), bad)
			wantKind(t, err, fault.Invalid)
		}
		_, _, err = s.Operations().Find(t.Context(), opQuery(byName.Next))
		wantKind(t, err, fault.Invalid)
		_, _, err = s.Tokens().Tokens(t.Context(), "", byName.Next, 1)
		wantKind(t, err, fault.Invalid)
	}},
}

func names(list []*agent.Agent) []string {
	out := []string{}
	for _, a := range list {
		out = append(out, a.Spec.Name)
	}
	return out
}

// wantNames finds and compares the names, in the order of the list.
func wantNames(t testing.TB, s *store.Store, q agent.Query, want ...string) {
	t.Helper()
	page, err := s.Agents().Find(t.Context(), q)
	must(t, err)
	equal(t, fmt.Sprintf("agents of %+v", q), names(page.Agents), append([]string{}, want...))
	equal(t, fmt.Sprintf("total of %+v", q), page.Total, len(want))
}

func facets(t *testing.T, s *store.Store) {
	for i, name := range []string{"ann", "bob", "cid", "dan"} {
		a := draft(name)
		a.State = []agent.State{agent.Draft, agent.Running, agent.Running, agent.Stopped}[i]
		a.Health = []agent.Health{agent.HealthUnknown, agent.HealthHealthy, agent.HealthDegraded, agent.HealthUnknown}[i]
		a.Spec.Tier, a.Spec.Domain = 1+i/2, []string{"", "scale", "scale", "guardian"}[i]
		a.Spec.Labels = []map[string]string{{"env": "prod"}, {"env": "prod", "team": "a"}, {"env": "dev"}, nil}[i]
		create(t, s, a)
	}
	got, err := s.Facets().Facets(t.Context(), agent.Query{Limit: 1, Sort: "-tier", Offset: 3})
	must(t, err)
	equal(t, "facets of all", got, agent.Facets{
		Total: 4, States: map[agent.State]int{agent.Draft: 1, agent.Running: 2, agent.Stopped: 1},
		Healths: map[agent.Health]int{agent.HealthUnknown: 2, agent.HealthHealthy: 1, agent.HealthDegraded: 1},
		Tiers:   map[int]int{1: 2, 2: 2}, Domains: map[string]int{"": 1, "scale": 2, "guardian": 1}, Runtimes: map[string]int{"process": 4},
		Labels: []agent.LabelCount{{Name: "env", Value: "prod", Agents: 2}, {Name: "env", Value: "dev", Agents: 1}, {Name: "team", Value: "a", Agents: 1}},
	})
	// The filter of a facet does not count for the facet itself.
	got, err = s.Facets().Facets(t.Context(), agent.Query{States: []agent.State{agent.Running}, Tiers: []int{2}})
	must(t, err)
	equal(t, "facets of a filter", got, agent.Facets{
		Total: 1, States: map[agent.State]int{agent.Running: 1, agent.Stopped: 1}, Healths: map[agent.Health]int{agent.HealthDegraded: 1},
		Tiers: map[int]int{1: 1, 2: 1}, Domains: map[string]int{"scale": 1}, Runtimes: map[string]int{"process": 1},
		Labels: []agent.LabelCount{{Name: "env", Value: "dev", Agents: 1}},
	})
	got, err = s.Facets().Facets(t.Context(), agent.Query{Search: "nobody"})
	must(t, err)
	equal(t, "total of nothing", []int{got.Total, len(got.States), len(got.Labels)}, []int{0, 0, 0})
	_, err = s.Facets().Facets(t.Context(), agent.Query{Selector: agent.Selector{{Key: "a", Op: "~"}}})
	wantKind(t, err, fault.Invalid)
}

func filters(t *testing.T, s *store.Store) {
	for i, name := range []string{"ann", "bob", "cid"} {
		a := draft(name)
		a.State = []agent.State{agent.Draft, agent.Running, agent.Running}[i]
		a.Health = []agent.Health{agent.HealthUnknown, agent.HealthHealthy, agent.HealthDegraded}[i]
		a.Spec.Tier = i + 1
		a.Spec.Domain = []string{"guardian", "scale", "scale"}[i]
		a.Spec.Runtime = []string{"process", "process", "docker"}[i]
		a.Spec.Template = []string{"", "blank", "memory"}[i]
		a.Spec.CustomerID = []string{"", "", "c-1"}[i]
		create(t, s, a)
	}
	for _, c := range []struct {
		q    agent.Query
		want []string
	}{
		{agent.Query{IDs: []string{"ID-ANN", "Bob", "none"}}, []string{"ann", "bob"}},
		{agent.Query{States: []agent.State{agent.Running}}, []string{"bob", "cid"}},
		{agent.Query{States: []agent.State{agent.Draft, agent.Running}}, []string{"ann", "bob", "cid"}},
		{agent.Query{Healths: []agent.Health{agent.HealthHealthy, agent.HealthDegraded}}, []string{"bob", "cid"}},
		{agent.Query{Tiers: []int{1, 3}}, []string{"ann", "cid"}},
		{agent.Query{Domains: []string{"scale"}, Runtimes: []string{"docker"}}, []string{"cid"}},
		{agent.Query{Templates: []string{"blank", "memory"}}, []string{"bob", "cid"}},
		{agent.Query{CustomerID: "c-1"}, []string{"cid"}},
		{agent.Query{Tiers: []int{1}, States: []agent.State{agent.Running}}, nil},
		{agent.Query{Runtimes: []string{"x' OR 'a'='a"}}, nil},
	} {
		wantNames(t, s, c.q, c.want...)
	}
}

func searches(t *testing.T, s *store.Store) {
	for name, text := range map[string]string{"alpha": "keeps 100% of it", "beta_x": "Straße nach Ägypten", "gamma": "it's a \\ path"} {
		a := draft(name)
		a.Spec.Description = text
		a.Spec.DisplayName = "The " + name
		create(t, s, a)
	}
	for search, want := range map[string][]string{
		"ALPHA": {"alpha"}, "the ": {"alpha", "beta_x", "gamma"}, "id-gam": {"gamma"},
		"100%": {"alpha"}, "%": {"alpha"}, "_": {"beta_x"}, "0%o": nil, "ägypten": {"beta_x"}, "STRAße": {"beta_x"},
		"'": {"gamma"}, "\\": {"gamma"}, "?": nil, "*": nil, "zeta": nil, "\x00": {"alpha", "beta_x", "gamma"},
	} {
		wantNames(t, s, agent.Query{Search: search}, want...)
	}
}

func selectors(t *testing.T, s *store.Store) {
	for name, labels := range map[string]map[string]string{
		"a": {"env": "prod", "team": "x"}, "b": {"env": "dev"}, "c": nil,
	} {
		a := draft(name)
		a.Spec.Labels = labels
		create(t, s, a)
	}
	is := func(key, op string, values ...string) agent.Requirement {
		return agent.Requirement{Key: key, Op: op, Values: values}
	}
	for _, c := range []struct {
		sel  agent.Selector
		want []string
	}{
		{agent.Selector{is("env", "=", "prod")}, []string{"a"}},
		{agent.Selector{is("env", "in", "prod", "dev")}, []string{"a", "b"}},
		{agent.Selector{is("env", "!=", "prod")}, []string{"b", "c"}},
		{agent.Selector{is("env", "notin", "prod", "dev")}, []string{"c"}},
		{agent.Selector{is("env", "exists")}, []string{"a", "b"}},
		{agent.Selector{is("env", "!exists")}, []string{"c"}},
		{agent.Selector{is("env", "exists"), is("team", "!exists")}, []string{"b"}},
		{agent.Selector{is("team", "=", "prod")}, nil},
		{agent.Selector{is("env", "=", "PROD")}, nil},
	} {
		wantNames(t, s, agent.Query{Selector: c.sel}, c.want...)
	}
}

// orders walks through the fleet by every sort, three agents a page.
func orders(t *testing.T, s *store.Store) {
	for i := range 10 {
		// Few distinct values, so that ties are common; names in mixed case.
		a := draft([]string{"Zoe", "adam", "Bert", "carl", "Dora", "eva", "Äon", "fred", "gus", "Hal"}[i])
		a.State = agent.States[i%3]
		a.Health = []agent.Health{agent.HealthHealthy, agent.HealthUnknown}[i%2]
		a.Spec.Tier = i % 4
		a.CreatedAt, a.UpdatedAt = *after(time.Duration(i/2) * time.Second), *after(-time.Duration(i/3) * time.Microsecond)
		create(t, s, a)
	}
	for _, sort := range []string{"", "name", "id", "state", "health", "tier", "created_at", "updated_at"} {
		up, down := walk(t, s, sort), walk(t, s, "-"+cmp.Or(sort, "name"))
		slices.Reverse(down)
		equal(t, "order by "+sort+" turned round", down, up)
		if len(up) != 10 {
			t.Fatalf("by %s: %d agents, want 10: %v", sort, len(up), up)
		}
	}
	equal(t, "names", walk(t, s, ""), []string{"adam", "Bert", "carl", "Dora", "eva", "fred", "gus", "Hal", "Zoe", "Äon"})
}

func walk(t *testing.T, s *store.Store, sort string) []string {
	t.Helper()
	got, cursor := []string{}, ""
	for range 10 {
		page, err := s.Agents().Find(t.Context(), agent.Query{Sort: sort, Limit: 3, Cursor: cursor})
		must(t, err)
		equal(t, "total", page.Total, 10)
		got = append(got, names(page.Agents)...)
		if cursor = page.Next; cursor == "" {
			return got
		}
	}
	t.Fatal("the list does not end")
	return nil
}
