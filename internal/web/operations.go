package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// operationLine is an operation with what is shown of it.
type operationLine struct {
	*operation.Operation
	Attempts  []operation.Attempt
	AgentName string // of its agent; "" if that is not in the fleet any more
}

func (o operationLine) row() view.Row { return view.Operation{Operation: o.Operation}.Row() }

// attemptsOf gives the tries of one step in order, those of undoing it last.
func (o operationLine) attemptsOf(step string) []operation.Attempt {
	var out []operation.Attempt
	for _, a := range o.Attempts {
		if a.Step == step {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b operation.Attempt) int {
		switch {
		case a.Undo == b.Undo:
			return 0
		case a.Undo:
			return 1
		}
		return -1
	})
	return out
}

// moments are the steps as a timeline shows them. What failed is open.
func (o operationLine) moments() []components.Moment {
	row := o.row()
	out := make([]components.Moment, len(o.Steps))
	for i, st := range o.Steps {
		name := "step-" + strconv.Itoa(i)
		m := components.Moment{Name: name, Status: row[name], Work: true, Title: capital(view.Plain(st.Name, 120)), Open: st.State == operation.StepFailed}
		if st.Problem == nil {
			m.NoteName, m.Note = name+"-detail", row[name+"-detail"].Text
		}
		if st.StartedAt != nil {
			m.At = *st.StartedAt
			if st.EndedAt != nil {
				m.Duration = view.Duration(st.EndedAt.Sub(*st.StartedAt))
			}
		}
		tries := o.attemptsOf(st.Name)
		if len(tries) == 1 && tries[0].Error == "" {
			tries = nil // that it was done in one go is seen without it
		}
		if st.Problem != nil || len(tries) > 0 {
			m.Detail = stepDetail(st.Problem, tries)
		}
		out[i] = m
	}
	return out
}

// timeOf gives a moment that may not have come.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// The states of operations in two groups.
var (
	activeStates   = []operation.State{operation.Pending, operation.Running, operation.Paused, operation.Cancelling}
	finalStates    = []operation.State{operation.Succeeded, operation.Failed, operation.Cancelled}
	operationKinds = func() []string {
		out := []string{"bulk"}
		for _, a := range agent.Actions() {
			out = append(out, "agent."+string(a))
		}
		return out
	}()
)

// first gives the first of the values; "" if there is none.
func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func stateOptions() []components.Option {
	out := []components.Option{{Label: "All"}}
	for _, st := range slices.Concat(activeStates, finalStates) {
		out = append(out, components.Option{Value: string(st), Label: view.Words(string(st))})
	}
	return out
}

func kindOptions() []components.Option {
	out := []components.Option{{Label: "All"}}
	for _, k := range operationKinds {
		out = append(out, components.Option{Value: k, Label: view.Kind(k)})
	}
	return out
}

// operationList is what the list of operations shows.
type operationList struct {
	States, Kinds, Agents []string // what is asked for
	Active, Ended         []operationLine
	Older                 string
	Filtered              bool
}

// operationsPage lists operations: those that go on first, then what has ended.
func (s *Server) operationsPage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	list := operationList{Kinds: values(q, "kind"), Agents: s.narrowedTo(r)}
	var states []operation.State
	for _, v := range values(q, "state") {
		state := operation.State(strings.ToUpper(v))
		if !slices.Contains(activeStates, state) && !slices.Contains(finalStates, state) {
			return invalidQuery("state", "there is no state "+strconv.Quote(v))
		}
		states, list.States = append(states, state), append(list.States, string(state))
	}
	list.Filtered = len(states)+len(list.Kinds)+len(values(q, "agent")) > 0
	query := operation.Query{Kinds: list.Kinds, Limit: perPage}
	var err error
	if query.AgentIDs, err = s.agentIDs(r.Context(), list.Agents); err != nil {
		return err
	}
	if query.States = among(activeStates, states); len(query.States) > 0 && q.Get("cursor") == "" {
		query.Limit = 200
		if list.Active, _, err = s.operationLines(r.Context(), query, true); err != nil {
			return err
		}
	}
	if query.States = among(finalStates, states); len(query.States) > 0 {
		query.Limit, query.Cursor = perPage, q.Get("cursor")
		var next string
		if list.Ended, next, err = s.operationLines(r.Context(), query, false); err != nil {
			return err
		}
		list.Older = olderHref(r, next)
	}
	if wantsPart(r) {
		return s.fragment(w, r, operationsBody(list, r.URL.RequestURI()))
	}
	return s.show(w, r, Shell{Title: "Operations", Active: "/operations"}, operationsBody(list, r.URL.RequestURI()))
}

// values are the values of a query's field that are not empty, separated by
// commas or repeated.
func values(q url.Values, field string) []string {
	var out []string
	for _, v := range q[field] {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// among gives the group, or what of it is asked for.
func among(group, asked []operation.State) []operation.State {
	if len(asked) == 0 {
		return group
	}
	var out []operation.State
	for _, s := range asked {
		if slices.Contains(group, s) {
			out = append(out, s)
		}
	}
	return out
}

// agentIDs gives the ids of agents that are named by id or name, in any case.
// What is not in the fleet any more is taken as an id.
func (s *Server) agentIDs(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > 100 {
		return nil, invalidQuery("agent", "names more than 100 agents")
	}
	found, err := s.neighbours(ctx, names)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(found))
	for i, n := range found {
		if out[i] = strings.ToLower(n.Name); n.Agent != nil {
			out[i] = n.Agent.ID
		}
	}
	return out, nil
}

// operationLines finds operations with the names of their agents. Steps are
// looked up for those that go on only: they say what is being done.
func (s *Server) operationLines(ctx context.Context, q operation.Query, steps bool) ([]operationLine, string, error) {
	list, next, err := s.cfg.Operations.Find(ctx, q)
	if err != nil {
		return nil, "", err
	}
	var ids []string
	for _, op := range list {
		if op.AgentID != "" && !slices.Contains(ids, op.AgentID) {
			ids = append(ids, op.AgentID)
		}
	}
	known, err := s.neighbours(ctx, ids)
	if err != nil {
		return nil, "", err
	}
	names := map[string]string{}
	for _, n := range known {
		if n.Agent != nil {
			names[n.Agent.ID] = nameOf(n.Agent)
		}
	}
	out := make([]operationLine, len(list))
	for i, op := range list {
		if steps && len(list) <= perPage {
			if op, err = s.cfg.Operations.Get(ctx, op.ID); err != nil {
				return nil, "", err
			}
		}
		out[i] = operationLine{Operation: op, AgentName: names[op.AgentID]}
	}
	return out, next, nil
}

// operationDetail is what the page of an operation shows.
type operationDetail struct {
	operationLine
	Parts    []operationLine // operations that are parts of it
	MoreHref string          // where all parts are, if there are more
	May      bool
	Can      []string // what it can be told now
	Now      time.Time
	Left     string // how long it will still take; "" if nobody knows
}

// operationPage shows one operation.
func (s *Server) operationPage(w http.ResponseWriter, r *http.Request) error {
	d, err := s.operationDetail(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if format := r.URL.Query().Get("export"); format != "" {
		return exportTimeline(w, format, "operation-"+d.ID, d.moments())
	}
	if wantsPart(r) {
		return s.fragment(w, r, operationBody(d))
	}
	shell := Shell{Title: d.title(), Active: "/operations", Crumbs: []Crumb{{Name: "Operations", Href: "/operations"}}}
	return s.show(w, r, shell, operationBody(d))
}

func (s *Server) operationDetail(ctx context.Context, id string) (*operationDetail, error) {
	op, err := s.cfg.Operations.Get(ctx, id)
	if f := fault.As(err); f != nil && f.Kind == fault.NotFound {
		f.Do("It may be too old to be kept. Look for it in the list of operations.")
	}
	if err != nil {
		return nil, err
	}
	d := &operationDetail{operationLine: operationLine{Operation: op}, May: mayAct(ctx), Now: s.cfg.Now()}
	if d.Attempts, err = s.cfg.Operations.Attempts(ctx, id); err != nil {
		return nil, err
	}
	var next string
	if d.Parts, next, err = s.operationLines(ctx, operation.Query{ParentID: id, Limit: perPage * 2}, false); err != nil {
		return nil, err
	}
	if next != "" {
		d.MoreHref = "/bulk/" + url.PathEscape(id)
	}
	if op.AgentID != "" {
		if d.AgentName, err = s.agentName(ctx, op.AgentID); err != nil {
			return nil, err
		}
	}
	d.Can = controls(op, s.cfg.Now())
	if d.Left, err = s.left(ctx, op); err != nil {
		return nil, err
	}
	return d, nil
}

// left says how long an operation will still take, by how long the last ones of
// its kind took on its agent, or else on any; "" if too few have ended.
func (s *Server) left(ctx context.Context, op *operation.Operation) (string, error) {
	if op.State != operation.Running || op.StartedAt == nil || op.AgentID == "" {
		return "", nil
	}
	q := operation.Query{Kinds: []string{op.Kind}, States: []operation.State{operation.Succeeded}, AgentIDs: []string{op.AgentID}, Limit: 9}
	earlier, _, err := s.cfg.Operations.Find(ctx, q)
	if err == nil && len(earlier) < 3 {
		q.AgentIDs = nil
		earlier, _, err = s.cfg.Operations.Find(ctx, q)
	}
	if err != nil {
		return "", err
	}
	var took []time.Duration
	for _, e := range earlier {
		if e.StartedAt != nil && e.EndedAt != nil {
			took = append(took, e.EndedAt.Sub(*e.StartedAt))
		}
	}
	return view.Left(took, s.cfg.Now().Sub(*op.StartedAt)), nil
}

// agentName is what an agent is called; "" if it is not in the fleet.
func (s *Server) agentName(ctx context.Context, id string) (string, error) {
	a, err := s.cfg.Agents.Get(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return nameOf(a), nil
}

func (d *operationDetail) title() string {
	title := view.Kind(d.Kind)
	if d.AgentName != "" {
		title += " " + d.AgentName
	}
	if d.Kind == "bulk" {
		title = "Bulk operation"
	}
	return title
}

// controls are what an operation can be told now. Whether it is obeyed is
// decided when it is told.
func controls(op *operation.Operation, now time.Time) []string {
	failed := slices.ContainsFunc(op.Steps, func(s operation.Step) bool { return s.State == operation.StepFailed })
	var out []string
	switch {
	case op.State.Final():
		if op.Undo != nil && op.Undo.UsedBy == "" && now.Before(op.Undo.Until) {
			out = append(out, "undo")
		}
	case failed:
	case op.State == operation.Paused || op.Request == "pause":
		out = append(out, "resume", "cancel")
	case op.State == operation.Pending || op.State == operation.Running:
		out = append(out, "pause", "cancel")
	}
	return out
}

// steerOperation tells an operation to pause, to go on, or to end.
func (s *Server) steerOperation(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	calls := map[string]func(context.Context, string) (*operation.Operation, error){
		"pause": s.cfg.Operations.Pause, "resume": s.cfg.Operations.Resume, "cancel": s.cfg.Operations.Cancel,
	}
	call, ok := calls[r.PathValue("control")]
	if !ok {
		return notHere()
	}
	if _, err := call(r.Context(), id); err != nil {
		return err
	}
	if scripted(r) {
		d, err := s.operationDetail(r.Context(), id)
		if err != nil {
			return err
		}
		return s.fragment(w, r, operationBody(d))
	}
	return landed(w, r, operationPath(id))
}
