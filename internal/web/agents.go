package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// fleetRoutes are the pages of the fleet as a whole, and what is done to it there.
var fleetRoutes = []Route{
	{Method: "GET", Path: "/agents", Role: auth.Viewer, ID: "agents-page", Title: "Agents", handle: (*Server).agentsPage},
	{Method: "GET", Path: "/saved-views/new", Role: auth.Viewer, ID: "new-view-form", handle: (*Server).newView},
	{Method: "POST", Path: "/saved-views", Role: auth.Viewer, ID: "save-view", handle: (*Server).saveView},
	{Method: "GET", Path: "/saved-views/{view}", Role: auth.Viewer, ID: "view-form", handle: (*Server).editView},
	{Method: "POST", Path: "/saved-views/{view}", Role: auth.Viewer, ID: "change-view", handle: (*Server).changeView},
	{Method: "GET", Path: "/agents/{id}/actions", Role: auth.Operator, ID: "actions-page", handle: (*Server).actionsPage},
	{Method: "GET", Path: "/agents/{id}/actions/{action}", Role: auth.Operator, ID: "action-form", handle: (*Server).actionForm},
	{Method: "POST", Path: "/agents/{id}/actions/{action}", Role: auth.Operator, ID: "act", handle: (*Server).act},
	{Method: "GET", Path: "/operations/{id}/toast", Role: auth.Viewer, ID: "operation-toast", handle: (*Server).operationToast},
	{Method: "POST", Path: "/operations/{id}/undo", Role: auth.Operator, ID: "undo", handle: (*Server).undo},
	{Method: "GET", Path: "/bulk/new", Role: auth.Operator, ID: "bulk-form", handle: (*Server).bulkForm},
	{Method: "POST", Path: "/bulk", Role: auth.Operator, ID: "bulk", handle: (*Server).beginBulk},
	{Method: "GET", Path: "/bulk/{id}", Role: auth.Viewer, ID: "bulk-page", Title: "Bulk operation", handle: (*Server).bulkPage},
	{Method: "POST", Path: "/bulk/{id}/cancel", Role: auth.Operator, ID: "cancel-bulk-page", handle: (*Server).cancelBulk},
	{Method: "POST", Path: "/bulk/{id}/rollback", Role: auth.Operator, ID: "rollback-bulk-page", handle: (*Server).rollBackBulk},
}

// layoutCookie remembers whether cards or the table were used last.
const layoutCookie = "portal_agents_view"

// fleetPage is what the agents page shows.
type fleetPage struct {
	fleetQuery
	layout string
	found  agent.Page
	rows   []view.Row
	facets agent.Facets
	views  []savedView
	may    bool   // do something to agents
	have   string // its version
}

// agentsPage lists the fleet.
func (s *Server) agentsPage(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	q, err := readFleetQuery(r.URL.Query())
	if err != nil {
		return err
	}
	p := &fleetPage{fleetQuery: q, may: mayAct(ctx)}
	if p.views, err = s.savedViews(ctx); err != nil {
		return err
	}
	if r.URL.RawQuery == "" {
		p.useDefault()
	}
	p.layout = s.rememberLayout(w, r, p.Layout)
	if err := s.readFleet(ctx, p); err != nil {
		return err
	}
	p.have = p.version()
	if wantsPart(r) && p.have != "" && r.URL.Query().Get("have") == p.have {
		w.WriteHeader(http.StatusNoContent) // it is on the page already
		return nil
	}
	if wantsPart(r) {
		return s.fragment(w, r, fleetRegion(p))
	}
	return s.show(w, r, Shell{Title: "Agents", Active: "/agents", Whole: true}, fleetBody(p))
}

// useDefault begins with the view that the person chose for that.
func (p *fleetPage) useDefault() {
	i := slices.IndexFunc(p.views, func(v savedView) bool { return v.Default })
	if i < 0 {
		return
	}
	if q, err := p.views[i].read(); err == nil {
		p.fleetQuery = q
	}
}

// readFleet reads the agents of the page, what they do, and what filters select.
func (s *Server) readFleet(ctx context.Context, p *fleetPage) error {
	q := p.Query
	q.Limit, q.Offset = p.Size, (p.Page-1)*p.Size
	var err error
	if p.found, err = s.cfg.Agents.Find(ctx, q); err != nil {
		return err
	}
	if p.rows, err = s.listRows(ctx, p.found.Agents); err != nil {
		return err
	}
	p.facets, err = s.cfg.Facets.Facets(ctx, q)
	return err
}

// rememberLayout gives the layout to use: the one of the address, else the one
// that was used last. An address that came from elsewhere is not remembered.
func (s *Server) rememberLayout(w http.ResponseWriter, r *http.Request, asked string) string {
	last := layoutCards
	if c, err := r.Cookie(layoutCookie); err == nil && c.Value == layoutTable {
		last = layoutTable
	}
	if asked == "" {
		return last
	}
	if asked != last && r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		s.setCookie(w, r, layoutCookie, asked)
	}
	return asked
}

// pages is how many pages there are, at least one.
func (p *fleetPage) pages() int { return max(1, (p.found.Total+p.Size-1)/p.Size) }

// place says which agents the page shows: "101–200 of 500 agents".
func (p *fleetPage) place() string {
	first := (p.Page-1)*p.Size + 1
	if len(p.found.Agents) == p.found.Total {
		return count(p.found.Total, "agent", "agents")
	}
	return fmt.Sprintf("%s–%s of %s agents", view.Count(first), view.Count(first+len(p.found.Agents)-1), view.Count(p.found.Total))
}

// bulkAddress is where something is done to all that match.
func (p *fleetPage) bulkAddress(action string) string {
	v := url.Values{"filter": {p.filter().Encode()}}
	if action != "" {
		v.Set("action", action)
	}
	return "/bulk/new?" + v.Encode()
}

// liveOn are the events that change which agents the page shows, or their order.
// What else changes comes by the rows.
func (p *fleetPage) liveOn() string {
	on := "agent:created agent:updated agent:deleted"
	if len(p.States) > 0 || strings.HasSuffix(p.Sort, "state") || p.filtered() {
		on += " agent:state_changed"
	}
	if len(p.Healths) > 0 || strings.HasSuffix(p.Sort, "health") {
		on += " agent:health_update"
	}
	return on
}

// chip is one value of a filter: a link that takes it in or out.
type chip struct {
	ID     string // of its element
	Label  string
	Status string // colour and icon; "" for none
	Count  int
	On     bool
	Href   string
	Cell   string // of the row of the fleet that keeps the count live; "" for none
}

// shownChips are chips as the page shows them.
func shownChips(list []chip) []components.Chip {
	out := make([]components.Chip, len(list))
	for i, c := range list {
		n := view.Cell{Text: view.Count(c.Count), Status: c.Status} // as in the row of the fleet
		if c.Count == 0 {
			n.Status = "none"
		}
		out[i] = components.Chip{ID: c.ID, Label: c.Label, Status: c.Status, Count: n, CountName: c.Cell, Href: c.Href, On: c.On, Attrs: templ.Attributes{"data-part": true}}
	}
	return out
}

// live tells whether the counts of states and healths are those of the whole
// fleet, which live updates bring. Then chips of what there is none of are
// there as well, but not shown.
func (p *fleetPage) live() bool { return !p.filtered() }

func (p *fleetPage) cell(name string) string {
	if p.live() {
		return name
	}
	return ""
}

// stateChips are the states that there are, and those that are chosen.
func (p *fleetPage) stateChips() []chip {
	var out []chip
	for _, st := range agent.States {
		on, name := slices.Contains(p.States, st), strings.ToLower(string(st))
		if n := p.facets.States[st]; n > 0 || on || p.live() {
			out = append(out, chip{"chip-state-" + name, view.Words(name), name, n, on,
				p.but(func(q *fleetQuery) { q.States = toggle(q.States, st) }).address(), p.cell("state-" + name)})
		}
	}
	return out
}

func (p *fleetPage) healthChips() []chip {
	var out []chip
	for _, h := range view.Healths {
		on := slices.Contains(p.Healths, h)
		if n := p.facets.Healths[h]; n > 0 || on || p.live() {
			out = append(out, chip{"chip-health-" + string(h), view.Words(string(h)), string(h), n, on,
				p.but(func(q *fleetQuery) { q.Healths = toggle(q.Healths, h) }).address(), p.cell("health-" + string(h))})
		}
	}
	return out
}

// facetMenu is a filter with values of its own, in a menu.
type facetMenu struct {
	ID, Name string
	Chips    []chip
}

func (c facetMenu) on() int {
	n := 0
	for _, one := range c.Chips {
		if one.On {
			n++
		}
	}
	return n
}

// choices are the filters beside state and health. One that leaves nothing to
// choose is left out.
func (p *fleetPage) choices() []facetMenu {
	out := []facetMenu{
		{"filter-tier", "Tier", chipsOf(p, "tier", p.facets.Tiers, p.Tiers, tierName, func(q *fleetQuery, v int) { q.Tiers = toggle(q.Tiers, v) })},
		{"filter-domain", "Domain", chipsOf(p, "domain", p.facets.Domains, p.Domains, domainName, func(q *fleetQuery, v string) { q.Domains = toggle(q.Domains, v) })},
		{"filter-runtime", "Runtime", chipsOf(p, "runtime", p.facets.Runtimes, p.Runtimes, view.Words, func(q *fleetQuery, v string) { q.Runtimes = toggle(q.Runtimes, v) })},
		{"filter-label", "Label", p.labelChips()},
	}
	return slices.DeleteFunc(out, func(c facetMenu) bool {
		return len(c.Chips) == 0 || len(c.Chips) == 1 && c.on() == 0 && c.Name != "Label"
	})
}

func tierName(n int) string {
	if n == 0 {
		return "Without a tier"
	}
	return "Tier " + strconv.Itoa(n)
}

func domainName(d string) string {
	if d == "" {
		return "Without a domain"
	}
	return view.Words(d)
}

// chipsOf makes the chips of a facet in the order of its values.
func chipsOf[T int | string](p *fleetPage, id string, counts map[T]int, chosen []T, name func(T) string, flip func(q *fleetQuery, v T)) []chip {
	var list []T
	for v := range counts {
		list = append(list, v)
	}
	for _, v := range chosen {
		if _, ok := counts[v]; !ok {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	out := make([]chip, len(list))
	for i, v := range list {
		out[i] = chip{anchor(fmt.Sprintf("chip-%s-%v", id, v)), view.Plain(name(v), 60), "", counts[v], slices.Contains(chosen, v),
			p.but(func(q *fleetQuery) { flip(q, v) }).address(), ""}
	}
	return out
}

// labelChips are the labels that are chosen, then the most frequent ones.
func (p *fleetPage) labelChips() []chip {
	var out []chip
	seen := map[string]bool{}
	for _, r := range p.Selector {
		text := agent.Selector{r}.String()
		seen[text] = true
		out = append(out, chip{"chip-label-" + text, view.Plain(text, 80), "", 0, true, p.but(func(q *fleetQuery) {
			q.Selector = slices.DeleteFunc(slices.Clone(q.Selector), func(o agent.Requirement) bool { return agent.Selector{o}.String() == text })
		}).address(), ""})
	}
	for _, l := range p.facets.Labels {
		text := l.Name + "=" + l.Value
		if !seen[text] {
			out = append(out, chip{"chip-label-" + text, view.Plain(text, 80), "", l.Agents, false,
				p.but(func(q *fleetQuery) { q.Selector = toggleLabel(q.Selector, l.Name, l.Value) }).address(), ""})
		}
	}
	return out
}

// chosen are the values of menus that are on, shown beside them so that they can
// be taken out.
func (p *fleetPage) chosen() []chip {
	var out []chip
	for _, c := range p.choices() {
		for _, one := range c.Chips {
			if one.On {
				one.ID += "-on"
				out = append(out, one)
			}
		}
	}
	off := func(id, label string, change func(q *fleetQuery)) {
		out = append(out, chip{id, view.Plain(label, 80), "", 0, true, p.but(change).address(), ""})
	}
	if len(p.IDs) > 0 {
		off("chip-id", count(len(p.IDs), "chosen agent", "chosen agents"), func(q *fleetQuery) { q.IDs = nil })
	}
	if p.CustomerID != "" {
		off("chip-customer", "Customer "+p.CustomerID, func(q *fleetQuery) { q.CustomerID = "" })
	}
	for _, t := range p.Templates {
		off("chip-template-"+t, "Template "+t, func(q *fleetQuery) { q.Templates = toggle(q.Templates, t) })
	}
	return out
}

// sortedBy is the heading's part of the order of the list.
func (p *fleetPage) sortedBy(column string) (href, sorted string) {
	now := p.Sort
	if now == "" {
		now = "name"
	}
	next := column
	switch now {
	case column:
		sorted, next = "ascending", "-"+column
	case "-" + column:
		sorted = "descending"
	}
	return p.sortAddress(next), sorted
}

// count gives a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return view.Count(n) + " " + many
}

// columns are the heads of the table.
func (p *fleetPage) columns() []components.Column {
	sorted := func(name, by string) components.Column {
		href, how := p.sortedBy(by)
		return components.Column{Name: name, Sort: href, Sorted: how}
	}
	out := []components.Column{
		sorted("Name", "name"), sorted("State", "state"), sorted("Health", "health"), {Name: "Instances", Number: true},
		{Name: "Tasks/min", Number: true}, {Name: "Waiting", Number: true}, sorted("Tier and domain", "tier"), {Name: "Version", Number: true},
	}
	if p.may {
		out = append(out, components.Column{Name: "Actions", Hidden: true})
	}
	return out
}

func (p *fleetPage) selectName() string {
	if p.may {
		return "agent"
	}
	return ""
}

// tagsOf says in a line what kind of agent it is.
func tagsOf(a *agent.Agent) string {
	var out []string
	if a.Spec.Tier > 0 {
		out = append(out, "Tier "+strconv.Itoa(a.Spec.Tier))
	}
	for _, s := range []string{a.Spec.Domain, a.Spec.Runtime} {
		if s != "" {
			out = append(out, view.Words(view.Plain(s, 40)))
		}
	}
	return strings.Join(out, " · ")
}

// erroredAddress is where those of the page's filter that are in error are
// restarted.
func erroredAddress(p *fleetPage) string {
	q := p.fleetQuery
	q.States = []agent.State{agent.Errored}
	v := url.Values{"action": {string(agent.Restart)}, "filter": {q.filter().Encode()}}
	return "/bulk/new?" + v.Encode()
}
