package web

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// homeRoutes are where people begin: the dashboard, the first run, and the
// figures that the dashboard sums up.
var homeRoutes = []Route{
	{Method: "GET", Path: "/{$}", Role: auth.Viewer, ID: "dashboard", Title: "Dashboard", handle: (*Server).dashboard},
	{Method: "GET", Path: "/figures", Role: auth.Viewer, ID: "figures-page", Title: "Figures by agent", handle: (*Server).figuresPage},
	{Method: "GET", Path: "/start", Role: auth.Viewer, ID: "start-page", Title: "Get started", handle: (*Server).startPage},
	{Method: "POST", Path: "/start/load", Role: auth.Operator, ID: "start-load", handle: (*Server).startLoad},
	{Method: "POST", Path: "/start/run", Role: auth.Operator, ID: "start-run", handle: (*Server).startRun},
}

// The parts of the dashboard that are fetched anew by themselves.
const (
	partAttention = "attention"
	partFigures   = "figures"
	partWork      = "work"
	partEvents    = "events"
)

// board is what the dashboard shows. A part that is not asked for is empty.
type board struct {
	Fleet    view.Row
	States   []tally
	Healths  []tally
	Concerns concerns
	Work     []work
	MoreWork bool
	Events   []happening
	Series   map[metrics.Measure]metrics.Series
	CanAct   bool
	// Only is the agent that the page is about; its ID is "" for the whole fleet.
	Only choice
	// Row is the key of the row that keeps the numbers live.
	Row string
	// Idle says that there are agents, and that none has ever run.
	Idle bool
	At   time.Time
}

// tally is a number of agents with where they are listed.
type tally struct {
	Cell  string // name of the cell in the row of the fleet
	Name  view.Cell
	Count view.Cell
	N     int
	Href  string
}

// work is an operation that is going on.
type work struct {
	Key   string // of its row
	Title string
	Href  string
	Row   view.Row
	By    string
	Since view.Cell
}

// happening is an event as people read it.
type happening struct {
	Badge view.Cell
	Title string
	Href  string
	Text  string
	By    string
	At    view.Cell
	Times int // how often it is among the events that were read
	of    string
}

// alike tells whether another event says the same of the same agent.
func (h happening) alike(other happening) bool {
	return h.of == other.of && h.Badge == other.Badge && h.Text == other.Text
}

// dashboard shows how the fleet is, or how to get one.
func (s *Server) dashboard(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	states, _, err := s.cfg.Agents.Counts(ctx)
	if err != nil {
		return err
	}
	if howMany(states) == 0 && s.cfg.Examples != nil {
		return s.startPage(w, r)
	}
	part := r.URL.Query().Get("part")
	if !wantsPart(r) {
		part = ""
	}
	b, err := s.board(r, part)
	if err != nil {
		return err
	}
	fresh := howMany(states, agent.Draft, agent.Provisioned)
	b.Idle = fresh > 0 && fresh == howMany(states)-states[agent.Revoked]
	switch part {
	case partAttention:
		return s.fragment(w, r, attentionPart(b))
	case partFigures:
		return s.fragment(w, r, figuresPart(b))
	case partWork:
		return s.fragment(w, r, workPart(b))
	case partEvents:
		return s.fragment(w, r, eventsPart(b))
	}
	return s.show(w, r, Shell{Title: "Dashboard", Active: "/"}, dashboardBody(b))
}

// howMany counts the agents in these states, in any if none is named.
func howMany(counts map[agent.State]int, states ...agent.State) (n int) {
	if len(states) == 0 {
		states = agent.States
	}
	for _, s := range states {
		n += counts[s]
	}
	return n
}

// board gathers what the part shows; everything for "".
func (s *Server) board(r *http.Request, part string) (board, error) {
	ctx := r.Context()
	b := board{CanAct: auth.From(ctx).Role.Includes(auth.Operator), At: s.cfg.Now(), Only: s.choiceOf(r)}
	for _, load := range []struct {
		part string
		from func(context.Context, *board) error
	}{{partAttention, s.loadAttention}, {partFigures, s.loadFigures}, {partWork, s.loadWork}, {partEvents, s.loadEvents}} {
		if part != "" && part != load.part {
			continue
		}
		if err := load.from(ctx, &b); err != nil {
			return b, err
		}
	}
	return b, nil
}

// ids are the agents that the page is about; none for all.
func (b *board) ids() []string {
	if b.Only.ID == "" {
		return nil
	}
	return []string{b.Only.ID}
}

// from is the address of a part of the page.
func (b *board) from(part string) string {
	q := url.Values{"part": {part}}
	if b.Only.ID != "" {
		q.Set("agent", b.Only.ID)
	}
	return "/?" + q.Encode()
}

func (s *Server) loadAttention(ctx context.Context, b *board) (err error) {
	b.Concerns, err = s.attention(ctx, b.ids()...)
	return err
}

// courseTime is how far back the course of a number is drawn.
const courseTime = 30 * time.Minute

// loadFigures gathers the numbers and their course.
func (s *Server) loadFigures(ctx context.Context, b *board) (err error) {
	load := s.loadFleet
	if b.Only.ID != "" {
		load = s.loadAgent
	}
	if err := load(ctx, b); err != nil {
		return err
	}
	b.Series = map[metrics.Measure]metrics.Series{}
	if s.cfg.Figures == nil {
		return nil
	}
	for _, m := range []metrics.Measure{metrics.MeasureTasks, metrics.MeasureErrorRate, metrics.MeasureP95, metrics.MeasureCost} {
		if b.Series[m], err = s.cfg.Figures.Series(ctx, m, metrics.Window{Length: courseTime}, 60, b.ids()...); err != nil {
			return err
		}
	}
	return nil
}

// loadFleet gathers the numbers of the whole fleet.
func (s *Server) loadFleet(ctx context.Context, b *board) (err error) {
	b.Row = view.Fleet
	if b.Fleet, err = s.fleetRow(ctx); err != nil {
		return err
	}
	states, healths, err := s.cfg.Agents.Counts(ctx)
	if err != nil {
		return err
	}
	for _, state := range agent.States {
		cell := "state-" + strings.ToLower(string(state))
		b.States = append(b.States, tally{Cell: cell, Name: view.State(state), Count: b.Fleet[cell], N: states[state], Href: "/agents?state=" + string(state)})
	}
	for _, health := range view.Healths {
		cell := "health-" + string(health)
		b.Healths = append(b.Healths, tally{Cell: cell, Name: view.Health(health, ""), Count: b.Fleet[cell], N: healths[health], Href: "/agents?health=" + string(health)})
	}
	return nil
}

// loadAgent gathers the numbers of the agent that the page is about.
func (s *Server) loadAgent(ctx context.Context, b *board) error {
	b.Row, b.Fleet = view.DetailKey(b.Only.ID), view.Row{}
	if s.cfg.Figures != nil {
		now, err := s.cfg.Figures.Fleet(ctx, metrics.Window{}, b.Only.ID)
		if err != nil {
			return err
		}
		before, err := s.cfg.Figures.Fleet(ctx, metrics.Window{Before: 5 * time.Minute}, b.Only.ID)
		if err != nil {
			return err
		}
		b.Fleet = view.Summary{Figures: &now, Before: &before}.Row()
	}
	a, err := s.cfg.Agents.Get(ctx, b.Only.ID)
	if err != nil {
		return err
	}
	shown, err := s.agentViews(ctx, []*agent.Agent{a})
	if err != nil {
		return err
	}
	maps.Copy(b.Fleet, shown[0].Row()) // what live updates will say of it
	return nil
}

const maxWork = 8

// loadWork lists what is going on. What is a part of a bulk operation is seen
// there.
func (s *Server) loadWork(ctx context.Context, b *board) error {
	ops, _, err := s.cfg.Operations.Find(ctx, operation.Query{AgentIDs: b.ids(), States: unfinished, Limit: 200})
	if err != nil {
		return err
	}
	parents := map[string]bool{}
	for _, op := range ops {
		parents[op.ID] = true
	}
	for _, op := range ops {
		if parents[op.ParentID] {
			continue
		}
		if len(b.Work) == maxWork {
			b.MoreWork = true
			break
		}
		one, err := s.workOf(ctx, op)
		if err != nil {
			return err
		}
		b.Work = append(b.Work, one)
	}
	return nil
}

// workOf shows one operation; a bulk operation by its agents rather than by its
// only step.
func (s *Server) workOf(ctx context.Context, op *operation.Operation) (work, error) {
	one := work{Key: view.OperationKey(op.ID), Title: titleOf(op), Href: "/operations/" + op.ID, By: op.Actor, Since: view.When(op.CreatedAt)}
	if op.Kind == "bulk" {
		b, err := s.cfg.Bulks.Get(ctx, op.ID)
		if err != nil {
			return one, err
		}
		names := make([]string, len(b.Actions))
		for i, a := range b.Actions {
			names[i] = string(a)
		}
		one.Key, one.Row = view.BulkKey(b.ID), view.Bulk{Bulk: b}.Row()
		one.Title = view.Words(strings.Join(names, ", ")) + " of " + count(b.Total, "agent", "agents")
		return one, nil
	}
	full, err := s.cfg.Operations.Get(ctx, op.ID)
	if err != nil {
		return one, err
	}
	one.Row = view.Operation{Operation: full}.Row()
	return one, nil
}

const (
	maxEvents  = 10
	readEvents = 100 // of which those alike are shown as one
)

// loadEvents lists what happened last to agents.
func (s *Server) loadEvents(ctx context.Context, b *board) error {
	found, err := s.cfg.Events.Find(ctx, event.Query{AgentID: b.ids(), Newest: true, Limit: readEvents, Types: []event.Type{
		event.AgentCreated, event.AgentUpdated, event.AgentDeleted, event.AgentStateChanged, event.AgentHealthUpdate, event.DeadLetter,
	}})
	if err != nil || len(found) == 0 {
		return err
	}
	var ids []string
	for _, e := range found {
		if !slices.Contains(ids, e.AgentID) {
			ids = append(ids, e.AgentID)
		}
	}
	page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: ids, Limit: 2 * readEvents})
	if err != nil {
		return err
	}
	for _, e := range found {
		h := happeningOf(e)
		if i := slices.IndexFunc(b.Events, h.alike); i >= 0 {
			b.Events[i].Times++
			continue
		}
		if len(b.Events) == maxEvents {
			break
		}
		if i := slices.IndexFunc(page.Agents, func(a *agent.Agent) bool { return a.ID == e.AgentID }); i >= 0 {
			h.Title = nameOf(page.Agents[i])
		} else {
			h.Href = "" // it was deleted since
		}
		b.Events = append(b.Events, h)
	}
	return nil
}

// byWhom names who caused something, for those who want to know exactly.
func byWhom(actor string) string {
	if actor == "" || actor == auth.System.ID {
		return "By the portal itself"
	}
	return "By " + view.Plain(actor, 100)
}

// happeningOf says an event in words.
func happeningOf(e event.Event) happening {
	h := happening{Title: e.AgentID, Href: "/agents/" + url.PathEscape(e.AgentID), By: e.Actor, At: view.When(e.At), Times: 1, of: e.AgentID}
	var data struct {
		NewState string `json:"new_state"`
		OldState string `json:"old_state"`
		Reason   string `json:"reason"`
		Health   string `json:"health"`
		Revision int    `json:"revision"`
	}
	_ = json.Unmarshal(e.Data, &data) // events of other makes have less to say
	switch e.Type {
	case event.AgentStateChanged:
		h.Badge = view.State(agent.State(data.NewState))
		h.Text = "was " + strings.ToLower(view.Words(data.OldState))
		if data.Reason != "" {
			h.Text += ": " + data.Reason
		}
	case event.AgentHealthUpdate:
		h.Badge, h.Text = view.Health(agent.Health(data.Health), ""), data.Reason
	case event.AgentCreated:
		h.Badge = view.Cell{Text: "Created", Status: "info"}
	case event.AgentUpdated:
		h.Badge, h.Text = view.Cell{Text: "Changed", Status: "info"}, "revision "+view.Count(data.Revision)
	case event.AgentDeleted:
		h.Badge, h.Href = view.Cell{Text: "Deleted", Status: "revoked"}, ""
	case event.DeadLetter:
		h.Badge, h.Text = view.Cell{Text: "Dead letter", Status: "warning"}, "a command could not be done"
	}
	h.Text = view.Plain(h.Text, 300)
	return h
}
