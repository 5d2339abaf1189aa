package web

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// eventRoutes are what happened, as one stream.
var eventRoutes = []Route{
	{Method: "GET", Path: "/events", Role: auth.Viewer, ID: "events-page", Title: "Events", handle: (*Server).eventsPage},
}

// eventGroup is a kind of events that people ask for.
type eventGroup struct {
	Slug, Label string
	Patterns    []string // of types
}

// eventGroups are in the order in which they are offered.
var eventGroups = []eventGroup{
	{"agents", "Agents", []string{"agent:created", "agent:updated", "agent:deleted", "agent:state_changed"}},
	{"health", "Health", []string{"agent:health_update", "instance:*"}},
	{"operations", "Operations", []string{"operation:*", "step_completed", "bulk_op:*"}},
	{"resources", "Resources", []string{"orphan:*"}},
	{"queues", "Queues", []string{"queue_update", "dlq_message"}},
	{"alerts", "Alerts", []string{"alert:*"}},
	{"errors", "Errors", []string{"error:*"}},
	{"diagnostics", "Diagnostics", []string{"diagnostic:*"}},
	{"config", "Configuration", []string{"config:*", "webhook:*"}},
	{"access", "Access", []string{"auth:*"}},
}

// streamed are the types that the page is loaded again for.
const streamed = everything + " alert:fired alert:resolved alert:changed error:recorded error:changed diagnostic:finished webhook:changed orphan:removed" +
	" auth:signed_in auth:token_changed auth:user_changed auth:session_changed bulk_op:progress"

func groupOf(t event.Type) eventGroup {
	for _, g := range eventGroups {
		if slices.ContainsFunc(g.Patterns, func(p string) bool { return event.Matches(p, t) }) {
			return g
		}
	}
	return eventGroup{Label: "Other"}
}

// eventLine is one event as it is shown.
type eventLine struct {
	event.Event
	Said      event.Said
	Group     eventGroup
	AgentName string // "" if it is about none
	AgentHref string // "" if the agent is not there any more
	Operation string // id
	Bulk      bool   // the operation is one on many agents
	Alert     string // id
	Error     string // id
}

// eventList is what the page shows.
type eventList struct {
	Lines    []eventLine
	Older    string
	Query    url.Values // what is asked for, without the agent of the context
	Agent    string     // id of the agent that the list is narrowed to
	Filtered bool
	Paused   bool
	Admin    bool
}

// eventFields are the filters of the page.
var eventFields = []string{"q", "group", "type", "actor", "agent", "since", "until"}

// eventsPage shows the stream of what happened, newest first.
func (s *Server) eventsPage(w http.ResponseWriter, r *http.Request) error {
	list, err := s.eventList(r)
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, eventStream(list))
	}
	return s.show(w, r, Shell{Title: "Events", Active: "/events"}, eventsPageBody(list))
}

func (s *Server) eventList(r *http.Request) (*eventList, error) {
	in := r.URL.Query()
	list := &eventList{Query: url.Values{}, Paused: in.Get("paused") != "", Agent: s.contextAgent(r), Admin: auth.From(r.Context()).Role.Includes(auth.Admin)}
	for _, f := range eventFields {
		if v := values(in, f); len(v) > 0 {
			list.Query[f] = v
			list.Filtered = true
		}
	}
	q, err := s.eventQuery(r, list)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), eventSearch)
	defer cancel()
	found, err := s.cfg.Events.Find(ctx, q)
	if err != nil {
		if ctx.Err() != nil && r.Context().Err() == nil {
			return nil, invalidQuery("q", "found nothing in time; narrow the search by time, kind or agent")
		}
		return nil, err
	}
	if len(found) == perPage {
		list.Older = olderHref(r, strconv.FormatInt(found[perPage-1].Seq, 10))
	}
	list.Lines, err = s.eventLines(r.Context(), found)
	return list, err
}

// eventSearch is how long the search for events may take.
const eventSearch = 10 * time.Second

func (s *Server) eventQuery(r *http.Request, list *eventList) (event.Query, error) {
	in := r.URL.Query()
	q := event.Query{Newest: true, Limit: perPage, Actors: values(in, "actor"), Search: in.Get("q"), Open: !list.Admin}
	if len(q.Search) > 200 || len(q.Actors) > 20 {
		return q, invalidQuery("q", "is too long")
	}
	for _, t := range values(in, "type") {
		q.Types = append(q.Types, event.Type(t))
	}
	for _, slug := range values(in, "group") {
		i := slices.IndexFunc(eventGroups, func(g eventGroup) bool { return g.Slug == slug })
		if i < 0 {
			return q, invalidQuery("group", "is not a kind of events")
		}
		for _, p := range eventGroups[i].Patterns {
			q.Types = append(q.Types, event.Type(p))
		}
	}
	if len(q.Types) > 100 {
		return q, invalidQuery("type", "names more than 100 types")
	}
	if list.Agent != "" {
		q.AgentID = []string{list.Agent}
	}
	if named := values(in, "agent"); len(named) > 1 {
		var err error
		if q.AgentID, err = s.agentIDs(r.Context(), named); err != nil {
			return q, err
		}
	}
	return q, eventTimes(in, &q)
}

// eventTimes reads from when to when, and after which event the page goes on.
func eventTimes(in url.Values, q *event.Query) error {
	for field, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		at, err := dayOf(in.Get(field))
		if err != nil {
			return invalidQuery(field, "must be a day as in 2026-01-31, or a time as in RFC 3339")
		}
		*to = at
	}
	if !q.Until.IsZero() && len(in.Get("until")) == len(time.DateOnly) {
		q.Until = q.Until.AddDate(0, 0, 1) // the day that is named counts
	}
	if text := in.Get("cursor"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return invalidQuery("cursor", "must be the number of an event")
		}
		q.Before = n
	}
	return nil
}

// eventLines puts events into words, with the names of their agents.
func (s *Server) eventLines(ctx context.Context, found []event.Event) ([]eventLine, error) {
	var ids []string
	for _, e := range found {
		if e.AgentID != "" && !slices.Contains(ids, e.AgentID) {
			ids = append(ids, e.AgentID)
		}
	}
	known, err := s.neighbours(ctx, ids)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, n := range known {
		if n.Agent != nil {
			names[n.Agent.ID] = nameOf(n.Agent)
		}
	}
	lines := make([]eventLine, len(found))
	for i, e := range found {
		l := eventLine{Event: e, Group: groupOf(e.Type), AgentName: e.AgentID}
		if name, there := names[e.AgentID]; there {
			l.AgentName, l.AgentHref = name, agentPath(e.AgentID)
		}
		l.Said = event.Say(e, func(string) string { return l.AgentName })
		var of struct {
			Operation string `json:"operation_id"`
			Alert     string `json:"alert_id"`
			ID        string `json:"id"`
		}
		_ = json.Unmarshal(e.Data, &of) // what another version wrote leads nowhere
		l.Operation, l.Alert, l.Bulk = of.Operation, of.Alert, e.Type == event.BulkProgress
		if l.Group.Slug == "errors" {
			l.Error = of.ID
		}
		lines[i] = l
	}
	return lines, nil
}

// rooms are where the page hears of what is new.
func (l *eventList) rooms() string {
	if l.Agent != "" && len(l.Query["agent"]) <= 1 {
		return event.RoomAgent(l.Agent)
	}
	rooms := []string{event.RoomAgents, event.RoomOperations, event.RoomQueues, event.RoomAlerts, event.RoomErrors, event.RoomDiagnostics}
	if l.Admin {
		rooms = append(rooms, event.RoomAudit)
	}
	return strings.Join(rooms, " ")
}

// live tells whether the list grows by itself: its first page does, unless it
// was paused or ends in the past.
func (l *eventList) live() bool { return !l.Paused && l.Query.Get("until") == "" }

// address is that of the list, paused or not.
func (l *eventList) address(paused bool) string {
	q := url.Values{}
	for k, v := range l.Query {
		q[k] = v
	}
	if paused {
		q.Set("paused", "1")
	}
	if len(q) == 0 {
		return "/events"
	}
	return "/events?" + q.Encode()
}

// exportHref is where what is asked for can be had as a file.
func (l *eventList) exportHref(format string) string {
	q := url.Values{"format": {format}}
	if l.Agent != "" {
		q.Set("agent", l.Agent)
	}
	for k, v := range l.Query {
		q[k] = v
	}
	for _, slug := range q["group"] {
		for _, g := range eventGroups {
			if g.Slug == slug {
				q["type"] = append(q["type"], g.Patterns...)
			}
		}
	}
	q.Del("group")
	for _, field := range []string{"since", "until"} {
		if t, err := dayOf(q.Get(field)); err == nil && !t.IsZero() {
			if field == "until" && len(q.Get(field)) == len(time.DateOnly) {
				t = t.AddDate(0, 0, 1)
			}
			q.Set(field, t.Format(time.RFC3339))
		}
	}
	return "/api/platform/events/export?" + q.Encode()
}

// groupOptions are the kinds that can be chosen. What only administrators see is
// not offered to others.
func (l *eventList) groupOptions() []components.Option {
	options := []components.Option{{Label: "All"}}
	for _, g := range eventGroups {
		if g.Slug != "access" || l.Admin {
			options = append(options, components.Option{Value: g.Slug, Label: g.Label})
		}
	}
	return options
}

// auditHref leads to what the audit log says of the same thing.
func (l eventLine) auditHref() string {
	switch {
	case l.Operation != "":
		return "/audit?q=" + queryEscape(l.Operation)
	case l.AgentID != "":
		return "/audit?agent=" + queryEscape(l.AgentID)
	}
	return "/audit?since=" + l.At.UTC().Add(-time.Minute).Format(time.RFC3339) + "&until=" + l.At.UTC().Add(time.Minute).Format(time.RFC3339)
}

// operationHref leads to the operation that the event is about.
func (l eventLine) operationHref() string {
	if l.Bulk {
		return "/bulk/" + queryEscape(l.Operation)
	}
	return operationPath(l.Operation)
}

// kindCell is the cell of the kind of an event. Trouble has its colour.
func (l eventLine) kindCell() view.Cell {
	c := view.Cell{Text: l.Group.Label, Status: "info"}
	text := string(l.Data)
	for status, signs := range map[string][]string{
		"failed":  {`"FAILED"`, `"ERRORED"`, `"unhealthy"`, `"status":"failed"`, `"critical"`},
		"warning": {`"degraded"`, `"warning"`, `"given_up"`},
	} {
		if slices.ContainsFunc(signs, func(sign string) bool { return strings.Contains(text, sign) }) {
			c.Status = status
			if status == "failed" {
				break
			}
		}
	}
	return c
}
