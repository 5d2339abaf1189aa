package web

import (
	"encoding/json"
	"errors"
	"hash/fnv"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// The layouts of the agents page.
const (
	layoutCards = "cards"
	layoutTable = "table"
)

// pageSizes are how many agents a page may show; the first is the default.
var pageSizes = []int{100, 250, 500}

// The bounds of what an address may hold.
const (
	maxSearch   = 200
	maxSelector = 2000
	maxSelected = 500
)

// fleetQuery is what the address of the agents page says: which agents, in which
// order, how many, and how. Everything that can be changed on the page is in it,
// so that an address leads others to the same.
type fleetQuery struct {
	agent.Query        // without Limit, Offset and Cursor
	Layout      string // layoutCards, layoutTable, or "" for what was used last
	Size        int    // agents on a page
	Page        int    // from 1
	Saved       string // id of the saved view that it began with
	Selected    []string
	Everything  bool // all that match are selected
}

// readFleetQuery reads an address. Invalid, with every wrong field named.
func readFleetQuery(v url.Values) (fleetQuery, error) {
	q := fleetQuery{Size: pageSizes[0], Page: 1, Saved: v.Get("saved")}
	var wrong []fault.Field
	bad := func(path, message string) { wrong = append(wrong, fault.Field{Path: path, Message: message}) }
	for _, name := range parts(v["state"]) {
		state := agent.State(strings.ToUpper(name))
		if !slices.Contains(agent.States, state) {
			bad("state", "there is no state "+strconv.Quote(name))
		}
		q.States = append(q.States, state)
	}
	for _, name := range parts(v["health"]) {
		h := agent.Health(strings.ToLower(name))
		if !slices.Contains(view.Healths, h) {
			bad("health", "there is no health "+strconv.Quote(name))
		}
		q.Healths = append(q.Healths, h)
	}
	for _, name := range parts(v["tier"]) {
		n, err := strconv.Atoi(name)
		if err != nil || n < 0 || n > 6 {
			bad("tier", "must be a number from 1 to 6, or 0 for agents without one")
		}
		q.Tiers = append(q.Tiers, n)
	}
	q.Domains, q.Runtimes, q.Templates, q.IDs = someOrNone(v["domain"]), parts(v["runtime"]), parts(v["template"]), parts(v["id"])
	for _, name := range q.Runtimes {
		if message := agent.WrongRuntime(name); message != "" {
			bad("runtime", message)
		}
	}
	q.CustomerID = v.Get("customer_id")
	if q.Search = strings.TrimSpace(v.Get("q")); len(q.Search) > maxSearch {
		bad("q", "must be at most 200 bytes long")
	}
	q.readSelector(v.Get("selector"), bad)
	q.readPlace(v, bad)
	if len(wrong) > 0 {
		return q, fault.New(fault.Invalid, "agents.filter", "The filter can't be read").
			Do("Correct what is listed, or start again without a filter.").At(wrong...)
	}
	return q, nil
}

func (q *fleetQuery) readSelector(text string, bad func(path, message string)) {
	if text == "" {
		return
	}
	if len(text) > maxSelector {
		bad("selector", "must be at most 2000 bytes long")
		return
	}
	var err error
	if q.Selector, err = agent.ParseSelector(text); err != nil {
		bad("selector", reasonOf(err))
	}
}

// readPlace reads which part of the agents is shown, and how.
func (q *fleetQuery) readPlace(v url.Values, bad func(path, message string)) {
	number := func(name string, into *int, ok func(int) bool, message string) {
		if text := v.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || !ok(n) {
				bad(name, message)
				return
			}
			*into = n
		}
	}
	number("size", &q.Size, func(n int) bool { return slices.Contains(pageSizes, n) }, "must be 100, 250 or 500")
	number("page", &q.Page, func(n int) bool { return n >= 1 && n <= 1_000_000 }, "must be a number from 1")
	if q.Sort = v.Get("sort"); q.Sort == "name" {
		q.Sort = ""
	}
	if q.Sort != "" && !slices.ContainsFunc(sorts, func(o sortOption) bool { return o.Value == q.Sort }) {
		bad("sort", `must be name, id, state, health, tier, updated_at or created_at, "-" before it reverses`)
	}
	if q.Layout = v.Get("view"); q.Layout != "" && q.Layout != layoutCards && q.Layout != layoutTable {
		bad("view", "must be cards or table")
	}
	if v.Get("selected") == "all" {
		q.Everything = true
	} else if q.Selected = parts(v["selected"]); len(q.Selected) > maxSelected {
		bad("selected", "must name at most 500 agents")
	}
}

// reasonOf gives why something can't be read, for the field that it stands in.
func reasonOf(err error) string {
	if f := fault.As(err); f != nil && f.Why != "" {
		return f.Why
	}
	return err.Error()
}

// parts reads repeated values and values separated by commas.
func parts(list []string) []string {
	var out []string
	for _, v := range list {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// someOrNone reads repeated values, of which one may be empty: "domain=" are the
// agents without a domain.
func someOrNone(list []string) []string {
	if len(list) == 1 && list[0] == "" {
		return list
	}
	return parts(list)
}

// filter is the part of the address that says which agents, in its one form.
func (q fleetQuery) filter() url.Values {
	v := url.Values{}
	for _, s := range q.States {
		v.Add("state", strings.ToLower(string(s)))
	}
	for _, h := range q.Healths {
		v.Add("health", string(h))
	}
	for _, t := range q.Tiers {
		v.Add("tier", strconv.Itoa(t))
	}
	add(v, "domain", q.Domains)
	add(v, "runtime", q.Runtimes)
	add(v, "template", q.Templates)
	add(v, "id", q.IDs)
	for name, text := range map[string]string{"customer_id": q.CustomerID, "selector": q.Selector.String(), "q": q.Search} {
		if text != "" {
			v.Set(name, text)
		}
	}
	return v
}

func add(v url.Values, name string, list []string) {
	for _, one := range list {
		v.Add(name, one)
	}
}

// address is where the page of q is. Selection is left out: scripts add it.
func (q fleetQuery) address() string {
	v := q.filter()
	if q.Sort != "" {
		v.Set("sort", q.Sort)
	}
	if q.Layout != "" {
		v.Set("view", q.Layout)
	}
	if q.Size != pageSizes[0] {
		v.Set("size", strconv.Itoa(q.Size))
	}
	if q.Page > 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	if q.Saved != "" {
		v.Set("saved", q.Saved)
	}
	if len(v) == 0 {
		return "/agents"
	}
	return "/agents?" + v.Encode()
}

// view is the part of the address that a saved view keeps.
func (q fleetQuery) view() string {
	q.Page, q.Saved = 1, ""
	_, query, _ := strings.Cut(q.address(), "?")
	return query
}

// filtered tells whether anything is left out.
func (q fleetQuery) filtered() bool { return len(q.filter()) > 0 }

// but gives the first page of q with a change.
func (q fleetQuery) but(change func(q *fleetQuery)) fleetQuery {
	q.Page = 1
	change(&q)
	return q
}

// toggle takes a value into a filter, or out of it.
func toggle[T comparable](list []T, v T) []T {
	if i := slices.Index(list, v); i >= 0 {
		return slices.Delete(slices.Clone(list), i, i+1)
	}
	return append(slices.Clone(list), v)
}

// toggleLabel takes "name=value" into the selector, or out of it.
func toggleLabel(sel agent.Selector, name, value string) agent.Selector {
	one := agent.Requirement{Key: name, Op: "=", Values: []string{value}}
	same := func(r agent.Requirement) bool {
		return r.Key == name && (r.Op == "=" || r.Op == "==") && slices.Equal(r.Values, one.Values)
	}
	if i := slices.IndexFunc(sel, same); i >= 0 {
		return slices.Delete(slices.Clone(sel), i, i+1)
	}
	return append(slices.Clone(sel), one)
}

// sortOption is one order of the list.
type sortOption struct{ Value, Label string }

var sorts = []sortOption{
	{"name", "Name"}, {"-name", "Name, Z to A"}, {"state", "State"}, {"-state", "State, reversed"}, {"health", "Health"}, {"-health", "Health, reversed"},
	{"tier", "Tier"}, {"-tier", "Tier, highest first"}, {"-updated_at", "Changed last"}, {"updated_at", "Changed first"},
	{"-created_at", "Newest"}, {"created_at", "Oldest"}, {"id", "Id"}, {"-id", "Id, Z to A"},
}

// sortAddress is where the list is in another order.
func (q fleetQuery) sortAddress(by string) string {
	return q.but(func(q *fleetQuery) {
		if q.Sort = by; by == "name" {
			q.Sort = ""
		}
	}).address()
}

func (q fleetQuery) sortLabel() string {
	for _, o := range sorts {
		if o.Value == q.Sort || q.Sort == "" && o.Value == "name" {
			return o.Label
		}
	}
	return ""
}

// tick is the icon of an order in the menu.
func (q fleetQuery) tick(by string) string {
	if by == q.Sort || q.Sort == "" && by == "name" {
		return "check"
	}
	return ""
}

// in gives the same in another layout, and at another page.
func (q fleetQuery) in(layout string) string { q.Layout = layout; return q.address() }
func (q fleetQuery) at(page int) string      { q.Page = page; return q.address() }

func (q fleetQuery) isSelected(id string) bool {
	return q.Everything || slices.Contains(q.Selected, id)
}

// hidden are the names and values by which a form keeps the filter, but for the
// search.
func (q fleetQuery) hidden() [][2]string {
	q.Search = ""
	v := q.filter()
	var out [][2]string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		for _, one := range v[name] {
			out = append(out, [2]string{name, one})
		}
	}
	return out
}

// refresh is where the page asks for the list again, saying which one it has.
func (p *fleetPage) refresh() string {
	at, have := p.address(), "have="+p.have
	if strings.Contains(at, "?") {
		return at + "&" + have
	}
	return at + "?" + have
}

// version changes with everything in the list that rows do not keep live: which
// agents there are, in which order, what the filters offer, and what else is
// written about each agent. Hundreds of cards are not sent again because one of
// them changed in a way that its row shows anyway.
func (p *fleetPage) version() string {
	facets := p.facets
	if p.live() {
		facets.States, facets.Healths = map[agent.State]int{agent.Errored: min(1, facets.States[agent.Errored])}, nil
	}
	h := fnv.New64a()
	out := json.NewEncoder(h)
	err := out.Encode([]any{p.address(), p.layout, p.may, p.found.Total, facets, p.views})
	for _, a := range p.found.Agents {
		err = errors.Join(err, out.Encode([]string{a.ID, tagsOf(a)}))
	}
	if err != nil {
		return "" // another one than any page has
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// pagination leads to the pages beside this one.
func (p *fleetPage) pagination() components.PaginationProps {
	out := components.PaginationProps{Noun: "agents", Total: p.found.Total, Attrs: templ.Attributes{"data-part": true, "data-top": true}}
	if n := len(p.found.Agents); n > 0 {
		out.From = (p.Page-1)*p.Size + 1
		out.To = out.From + n - 1
	}
	if p.Page > 1 {
		out.Prev = p.at(p.Page - 1)
	}
	if p.Page < p.pages() {
		out.Next = p.at(p.Page + 1)
	}
	return out
}
