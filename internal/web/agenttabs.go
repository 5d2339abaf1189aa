package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// perPage is how many entries of a list a page shows.
const perPage = 50

// exitText says how an instance's last run ended; "" if none has.
func exitText(in fleet.Instance) string {
	var out []string
	if in.ExitCode != nil {
		out = append(out, "exit code "+strconv.Itoa(*in.ExitCode))
	}
	if in.Signal != "" {
		out = append(out, "ended by "+view.Plain(in.Signal, 40))
	}
	if in.OOMKilled {
		out = append(out, "out of memory")
	}
	return capital(strings.Join(out, ", "))
}

func (s *Server) healthTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	list, next, err := s.cfg.Probes.Results(r.Context(), d.ID, r.URL.Query().Get("cursor"), perPage)
	if err != nil {
		return nil, err
	}
	return healthBody(d, list, olderHref(r, next)), nil
}

// olderHref is where the next part of a list is; "" on the last.
func olderHref(r *http.Request, next string) string {
	if next == "" {
		return ""
	}
	q := r.URL.Query()
	q.Set("cursor", next)
	return r.URL.Path + "?" + q.Encode()
}

// instanceName is the part of an instance's id that tells it from its siblings.
func instanceName(id, agentID string) string {
	return view.Plain(strings.TrimPrefix(strings.TrimPrefix(id, agentID), "-"), 80)
}

func resultCell(p health.Result) view.Cell {
	if p.OK {
		return view.Cell{Text: "Passes", Status: "healthy"}
	}
	return view.Cell{Text: "Fails", Status: "unhealthy"}
}

func (s *Server) agentOperationsTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	list, next, err := s.cfg.Operations.Find(r.Context(), operation.Query{AgentIDs: []string{d.ID}, Limit: perPage / 2, Cursor: r.URL.Query().Get("cursor")})
	if err != nil {
		return nil, err
	}
	rows := make([]operationLine, len(list))
	for i, op := range list {
		// The list comes without steps; of one agent they are few.
		whole, err := s.cfg.Operations.Get(r.Context(), op.ID)
		if err != nil {
			return nil, err
		}
		attempts, err := s.cfg.Operations.Attempts(r.Context(), op.ID)
		if err != nil {
			return nil, err
		}
		rows[i] = operationLine{Operation: whole, Attempts: attempts}
	}
	return agentOperationsBody(d, rows, olderHref(r, next)), nil
}

func (s *Server) historyTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	list, next, err := s.cfg.History.Transitions(r.Context(), d.ID, r.URL.Query().Get("cursor"), perPage)
	if err != nil {
		return nil, err
	}
	return historyBody(d, list, olderHref(r, next)), nil
}

// exportHref is where a page's timeline is saved from.
func exportHref(page, format string) string {
	if page == "" {
		return ""
	}
	return page + "&export=" + format
}

// exportHistory sends the whole history of an agent, newest first.
func (s *Server) exportHistory(w http.ResponseWriter, r *http.Request, id string) error {
	var list []agent.Transition
	for cursor := ""; ; {
		part, next, err := s.cfg.History.Transitions(r.Context(), id, cursor, 500)
		if err != nil {
			return err
		}
		if list = append(list, part...); next == "" || len(list) >= maxExport {
			return exportTimeline(w, r.URL.Query().Get("export"), id+"-history", moments(list))
		}
		cursor = next
	}
}

// maxExport is how many entries of a history are saved at most.
const maxExport = 10_000

// moments are the entries of a history, which is newest first. How long the state
// before lasted is not known of the last one on a page.
func moments(list []agent.Transition) []components.Moment {
	out := make([]components.Moment, len(list))
	for i, t := range list {
		m := components.Moment{Status: view.State(t.State), Title: view.Words(string(t.State)), At: t.CreatedAt}
		if t.PreviousState != "" {
			m.Title = view.Words(string(t.PreviousState)) + " → " + m.Title
			if i+1 < len(list) {
				m.Duration = "after " + view.Duration(t.CreatedAt.Sub(list[i+1].CreatedAt))
			}
		}
		if op := metaText(t, "operation"); op != "" {
			m.Href = operationPath(op)
		}
		m.Note = "By " + view.Actor(t.TriggeredBy)
		if reason := metaText(t, "reason"); reason != "" {
			m.Note = capital(reason) + " · by " + view.Actor(t.TriggeredBy)
		}
		out[i] = m
	}
	return out
}

// metaText gives a piece of a transition's metadata; "" if it is not there.
func metaText(t agent.Transition, key string) string {
	v, ok := t.Metadata[key]
	if !ok || v == nil {
		return ""
	}
	return view.Plain(fmt.Sprint(v), 500)
}

func (s *Server) eventsTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	q := event.Query{AgentID: []string{d.ID}, Limit: perPage, Newest: true}
	if text := r.URL.Query().Get("cursor"); text != "" {
		before, err := strconv.ParseInt(text, 10, 64)
		if err != nil || before < 1 {
			return nil, invalidQuery("cursor", "is not a place in this list")
		}
		q.Before = before
	}
	list, err := s.cfg.Events.Find(r.Context(), q)
	if err != nil {
		return nil, err
	}
	next := ""
	if n := len(list); n == perPage {
		next = strconv.FormatInt(list[n-1].Seq, 10)
	}
	if !auth.From(r.Context()).Role.Includes(auth.Admin) {
		list = slices.DeleteFunc(list, confidential)
	}
	return eventsBody(list, olderHref(r, next)), nil
}

// confidential tells whether only the audit room hears of the event, which is
// for administrators.
func confidential(e event.Event) bool {
	return len(e.Rooms) > 0 && !slices.ContainsFunc(e.Rooms, func(room string) bool { return room != event.RoomAudit })
}

// eventText says in a sentence what happened.
func eventText(e event.Event) string {
	var d struct {
		OldState string `json:"old_state"`
		NewState string `json:"new_state"`
		Health   string `json:"health"`
		Reason   string `json:"reason"`
		Name     string `json:"name"`
		Revision int    `json:"revision"`
		Instance string `json:"instance_id"`
		State    string `json:"state"`
		Kind     string `json:"kind"`
		Step     string `json:"step"`
		Status   string `json:"status"`
		Error    string `json:"error"`
		// of a part of a bulk operation
		ItemStatus string `json:"item_status"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	var text string
	switch e.Type {
	case event.AgentStateChanged:
		text = view.Words(d.OldState) + " → " + view.Words(d.NewState)
	case event.AgentHealthUpdate:
		text = view.Words(d.Health)
	case event.AgentCreated, event.AgentUpdated:
		text = "Revision " + strconv.Itoa(d.Revision)
	case event.InstanceChanged:
		text = "Instance " + d.Instance + ": " + d.State
	case event.OperationChanged:
		text = view.Kind(d.Kind) + ": " + strings.ToLower(view.Words(d.State))
	case event.BulkProgress:
		text = "Part of a bulk operation: " + strings.ToLower(view.Words(d.ItemStatus))
	case event.StepCompleted:
		text = "Step " + d.Step + ": " + d.Status
	default:
		return ""
	}
	for _, more := range []string{d.Reason, d.Error} {
		if more != "" {
			text += " (" + more + ")"
		}
	}
	return view.Plain(text, 500)
}

func (s *Server) agentAuditTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	list, next, err := s.cfg.Audit.Find(r.Context(), audit.Query{Targets: []string{"agent/" + d.ID}, Limit: perPage, Cursor: r.URL.Query().Get("cursor")})
	if err != nil {
		return nil, err
	}
	return agentAuditBody(list, olderHref(r, next)), nil
}

// agentFigures are the figures that an agent reports of its work, and the
// charts about it.
type agentFigures struct {
	metrics.AgentFigures
	metricsView
}

// metricsTab shows what the agent reported over a window.
func (s *Server) metricsTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	sp := span{Window: r.URL.Query().Get("window"), Agents: []string{d.ID}, Names: map[string]string{d.ID: nameOf(d.Agent)}}
	if sp.Window == "" {
		sp.Window = "15m"
	}
	if err := sp.times(r.URL.Query(), s.cfg.Now()); err != nil {
		return nil, err
	}
	if s.cfg.Figures == nil {
		return metricsBody(d, nil), nil
	}
	list, err := s.cfg.Figures.Agents(r.Context(), metrics.Window{Length: sp.To.Sub(sp.From)}, d.ID)
	if err != nil || len(list) == 0 {
		return metricsBody(d, nil), err
	}
	f := &agentFigures{AgentFigures: list[0], metricsView: metricsView{span: sp}}
	if s.cfg.Series != nil {
		err = s.draw(r.Context(), &f.metricsView)
	}
	return metricsBody(d, f), err
}

// orNone writes a number, and that it is not known as 0.
func orNone(n int) string {
	if n == 0 {
		return view.None
	}
	return strconv.Itoa(n)
}

// movesTo are the runtimes that the agent can be moved to now.
func (s *Server) movesTo(a *agent.Agent) (names []string) {
	if s.cfg.Mover == nil || a.ActiveOperation != "" || a.State == agent.Draft || a.State == agent.Revoked || a.State == agent.Suspended {
		return nil
	}
	return slices.DeleteFunc(s.cfg.Mover.RuntimeNames(), func(name string) bool { return name == a.Spec.Runtime })
}

// moveOptions reads where an agent is to go, and what else has to differ there.
func moveOptions(value func(string) string) fleet.MoveOptions {
	opt := fleet.MoveOptions{Runtime: value("to"), Changes: map[string]any{}, CopyData: value("copy") != "", Reason: strings.TrimSpace(value("reason"))}
	for _, name := range []string{"image", "command"} {
		if v := strings.TrimSpace(value(name)); v != "" {
			opt.Changes[name] = v
		}
	}
	return opt
}

// moveForm tells the plan of a move, and asks whether it is to be done.
func (s *Server) moveForm(w http.ResponseWriter, r *http.Request) error {
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	if s.cfg.Mover == nil {
		return fault.New(fault.NotFound, "agent.no_move", "Agents can't be moved here")
	}
	q := r.URL.Query()
	opt := moveOptions(q.Get)
	m := &moveView{Agent: a, To: view.Plain(opt.Runtime, 60), Image: q.Get("image"), Command: q.Get("command"), Copy: opt.CopyData}
	// What it runs has to be said where it is not the same on both sides.
	m.Asks = a.Spec.Template == ""
	m.Plan, err = s.cfg.Mover.PlanMove(r.Context(), a.ID, opt)
	if f := fault.As(err); f != nil && f.Kind != fault.Internal {
		m.Refusal = f
	} else if err != nil {
		return err
	}
	return s.dialog(w, r, "Move "+nameOf(a)+" to "+m.To, agentPath(a.ID), moveConfirm(m))
}

// moveView is what the form of a move shows.
type moveView struct {
	*agent.Agent
	To, Image, Command string
	Asks, Copy         bool
	Plan               *fleet.MovePlan // nil if it is refused
	Refusal            *fault.Error
}

// blocked says why the move can't be done whatever is filled in.
func (m *moveView) blocked() string {
	if m.Refusal == nil || m.Asks && m.Refusal.Kind == fault.Invalid {
		return ""
	}
	return view.Plain(m.Refusal.Error(), 400)
}

// text says what happens to the service meanwhile.
func (m *moveView) text() string {
	switch {
	case m.Plan == nil:
		return "Say what it runs there. It is checked before anything is changed."
	case m.Plan.Interrupts != "":
		return "It does not serve for a while: " + m.Plan.Interrupts + "."
	}
	return "New instances are ready on " + m.To + " before the old ones end. If they do not get ready, everything is taken back."
}

// impact are the lines of the plan.
func (m *moveView) impact() (out []components.Consequence) {
	if m.Plan == nil {
		return nil
	}
	for _, text := range m.Plan.Stays {
		out = append(out, components.Consequence{Icon: "layers", Text: view.Plain(text, 400), Status: "warning"})
	}
	for _, text := range m.Plan.Moves {
		out = append(out, components.Consequence{Icon: "check", Text: view.Plain(text, 400)})
	}
	for _, text := range m.Plan.Warnings {
		out = append(out, components.Consequence{Icon: "info", Text: view.Plain(text, 400), Status: "info"})
	}
	return out
}

// move does what the form asks for.
func (s *Server) move(w http.ResponseWriter, r *http.Request) error {
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	opt := moveOptions(r.PostFormValue)
	if opt.IfMatch, err = strconv.ParseInt(r.PostFormValue("version"), 10, 64); err != nil || s.cfg.Mover == nil || len(opt.Reason) > 500 {
		return fault.New(fault.Invalid, "action.form", "The form is not complete").Do("Open it again.")
	}
	op, err := s.cfg.Mover.Move(r.Context(), a.ID, opt)
	if err != nil {
		return s.explain(r.Context(), a, err)
	}
	return s.begun(w, r, op, agentPath(a.ID))
}
