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

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// Errors keeps the record of what goes wrong, and mends it. See recovery.Service.
type Errors interface {
	List(ctx context.Context, q recovery.Query) ([]*recovery.Incident, string, error)
	Get(ctx context.Context, id string) (*recovery.Incident, error)
	Patterns(ctx context.Context, agentIDs []string, least, limit int) ([]recovery.Pattern, error)
	Preview(ctx context.Context, id string, fix cause.Fix, parameters map[string]any) (recovery.Preview, error)
	Fix(ctx context.Context, id string, fix cause.Fix, parameters map[string]any) (*operation.Operation, error)
	Dismiss(ctx context.Context, id, reason string) (*recovery.Incident, error)
	Policies(ctx context.Context) (recovery.Policies, error)
	SetPolicies(ctx context.Context, p recovery.Policies) (recovery.Policies, error)
}

// errorRoutes are the pages of what goes wrong.
var errorRoutes = []Route{
	{Method: "GET", Path: "/errors", Role: auth.Viewer, ID: "errors-page", Title: "Errors", handle: (*Server).errorsPage},
	{Method: "GET", Path: "/errors/{id}", Role: auth.Viewer, ID: "error-page", Title: "Error", handle: (*Server).incidentPage},
	{Method: "GET", Path: "/errors/{id}/fixes/{fix}", Role: auth.Operator, ID: "fix-form", handle: (*Server).fixForm},
	{Method: "POST", Path: "/errors/{id}/fixes/{fix}", Role: auth.Operator, ID: "fix-error", handle: (*Server).fixError},
	{Method: "POST", Path: "/errors/{id}/dismiss", Role: auth.Operator, ID: "dismiss-error-form", handle: (*Server).dismissIncident},
	{Method: "POST", Path: "/errors/policies", Role: auth.Admin, ID: "recovery-policies-form", handle: (*Server).savePolicies},
}

func errorPath(id string) string { return "/errors/" + url.PathEscape(id) }

// errorList is what the page of errors shows.
type errorList struct {
	Agents, States, Causes []string
	Active, Ended          []*recovery.Incident
	Patterns               []recovery.Pattern
	Policies               recovery.Policies
	Older                  string
	Filtered               bool
	MaySet                 bool   // whoever looks may change the policies
	Of                     string // the agent whose tab it is; "" on the page of all
}

var incidentStates = []recovery.State{recovery.Open, recovery.Recovering, recovery.Recovered, recovery.Dismissed}

// errorsPage shows what goes wrong now, what went wrong, and what came back.
func (s *Server) errorsPage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	list := &errorList{Agents: s.narrowedTo(r), Causes: values(q, "cause"), MaySet: auth.From(r.Context()).Role.Includes(auth.Admin)}
	for _, v := range values(q, "state") {
		if !slices.Contains(incidentStates, recovery.State(v)) {
			return invalidQuery("state", "there is no state "+strconv.Quote(v))
		}
		list.States = append(list.States, v)
	}
	list.Filtered = len(values(q, "agent"))+len(list.States)+len(list.Causes) > 0
	ids, err := s.agentIDs(r.Context(), list.Agents)
	if err != nil {
		return err
	}
	if err := s.fillErrors(r, list, ids); err != nil {
		return err
	}
	if list.Policies, err = s.cfg.Errors.Policies(r.Context()); err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, errorsBody(list, r.URL.RequestURI()))
	}
	return s.show(w, r, Shell{Title: "Errors", Active: "/errors"}, errorsBody(list, r.URL.RequestURI()))
}

// fillErrors reads what the list shows.
func (s *Server) fillErrors(r *http.Request, list *errorList, ids []string) error {
	q := recovery.Query{AgentIDs: ids, Limit: 200}
	for _, c := range list.Causes {
		q.Causes = append(q.Causes, cause.Code(c))
	}
	wanted := func(states ...recovery.State) []recovery.State {
		return slices.DeleteFunc(states, func(st recovery.State) bool {
			return len(list.States) > 0 && !slices.Contains(list.States, string(st))
		})
	}
	var err error
	ctx := r.Context()
	if q.States = wanted(recovery.Open, recovery.Recovering); len(q.States) > 0 && r.URL.Query().Get("cursor") == "" {
		if list.Active, _, err = s.cfg.Errors.List(ctx, q); err != nil {
			return err
		}
	}
	if q.States = wanted(recovery.Recovered, recovery.Dismissed); len(q.States) > 0 {
		q.Limit, q.Cursor = perPage, r.URL.Query().Get("cursor")
		var next string
		if list.Ended, next, err = s.cfg.Errors.List(ctx, q); err != nil {
			return err
		}
		list.Older = olderHref(r, next)
	}
	list.Patterns, err = s.cfg.Errors.Patterns(ctx, ids, 2, 20)
	return err
}

// errorsTab shows the errors of one agent.
func (s *Server) errorsTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	if s.cfg.Errors == nil {
		return nil, notHere()
	}
	list := &errorList{Of: d.ID}
	if err := s.fillErrors(r, list, []string{d.ID}); err != nil {
		return nil, err
	}
	return agentErrorsBody(list), nil
}

// incidentDetail is what the page of one error shows.
type incidentDetail struct {
	*recovery.Incident
	Like []*recovery.Incident // others with the same fingerprint
	May  bool
}

// may tells whether something can be done about it now, by whoever looks.
func (d *incidentDetail) may() bool { return d.May && d.State == recovery.Open }

func (s *Server) incidentPage(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	in, err := s.cfg.Errors.Get(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	d := &incidentDetail{Incident: in, May: mayAct(ctx)}
	like, _, err := s.cfg.Errors.List(ctx, recovery.Query{Fingerprint: in.Fingerprint, Limit: 20})
	if err != nil {
		return err
	}
	d.Like = slices.DeleteFunc(like, func(o *recovery.Incident) bool { return o.ID == in.ID })
	if wantsPart(r) {
		return s.fragment(w, r, incidentBody(d))
	}
	return s.show(w, r, Shell{Title: view.Plain(in.Title, 120), Active: "/errors", Crumbs: []Crumb{{"Errors", "/errors"}}}, incidentBody(d))
}

// fixForm says what a fix would do, and asks whether it is to be done.
func (s *Server) fixForm(w http.ResponseWriter, r *http.Request) error {
	in, err := s.cfg.Errors.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	fix := cause.Fix(r.PathValue("fix"))
	form := fixDialog{Incident: in, Fix: fix, Fields: asked(in, fix), Back: localPath(r.URL.Query().Get("back"), errorPath(in.ID))}
	p, err := s.cfg.Errors.Preview(r.Context(), in.ID, fix, nil)
	switch f := fault.As(err); {
	case f != nil && f.Kind == fault.Invalid && len(form.Fields) > 0: // it has to be filled in first
		form.Title = suggested(in, fix).Title
	case f != nil && f.Kind != fault.Internal && f.Kind != fault.NotFound:
		form.Blocked, form.Title = f.Error(), suggested(in, fix).Title
	case err != nil:
		return err
	default:
		form.Preview, form.Title = &p, p.Title
	}
	shell := Shell{Title: view.Plain(form.Title, 120), Active: "/errors", Crumbs: []Crumb{{"Errors", "/errors"}, {view.Plain(in.Title, 60), errorPath(in.ID)}}}
	return s.dialogOf(w, r, shell, fixConfirm(form))
}

// fixDialog is what is asked before a fix is carried out.
type fixDialog struct {
	Incident *recovery.Incident
	Fix      cause.Fix
	Title    string
	Preview  *recovery.Preview // nil while something is to be filled in
	Fields   []fixField
	Blocked  string
	Back     string
}

// fixField is a parameter that people may change.
type fixField struct{ Name, Label, Value, Hint string }

var fixLabels = map[string]string{
	"to": "New port", "memory": "Memory", "cpu": "Cores", "replicas": "Instances", "command": "Program", "value": "Value",
	"open_files": "Open files", "revision": "Revision",
}

func suggested(in *recovery.Incident, fix cause.Fix) cause.Suggestion {
	for _, sg := range in.Suggestions {
		if sg.Fix == fix {
			return sg
		}
	}
	return cause.Suggestion{Fix: fix, Title: view.Words(string(fix))}
}

// asked gives the fields of a fix with what is suggested.
func asked(in *recovery.Incident, fix cause.Fix) []fixField {
	var out []fixField
	sg := suggested(in, fix)
	for _, name := range []string{"to", "memory", "cpu", "replicas", "command", "value", "open_files", "revision"} {
		v, ok := sg.Parameters[name]
		if ok || name == "value" && fix == cause.SetVariable && sg.Parameters["from_revision"] == nil {
			text := ""
			if ok && v != nil {
				text = fmt.Sprint(v)
			}
			out = append(out, fixField{Name: name, Label: fixLabels[name], Value: view.Plain(text, 200)})
		}
	}
	return out
}

// fixError carries a fix out.
func (s *Server) fixError(w http.ResponseWriter, r *http.Request) error {
	in, err := s.cfg.Errors.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	fix := cause.Fix(r.PathValue("fix"))
	parameters := map[string]any{}
	for _, f := range asked(in, fix) {
		text := strings.TrimSpace(r.PostFormValue(f.Name))
		if n, err := strconv.ParseFloat(text, 64); err == nil && f.Name != "value" && f.Name != "command" && f.Name != "memory" {
			parameters[f.Name] = n
		} else if text != "" {
			parameters[f.Name] = text
		}
	}
	op, err := s.cfg.Errors.Fix(r.Context(), in.ID, fix, parameters)
	if err != nil {
		return err
	}
	return s.begun(w, r, op, localPath(r.PostFormValue("back"), errorPath(in.ID)))
}

func (s *Server) dismissIncident(w http.ResponseWriter, r *http.Request) error {
	reason := strings.TrimSpace(r.PostFormValue("reason"))
	if reason == "" || len(reason) > 500 {
		return fault.New(fault.Invalid, "error.reason", "The error was not dismissed").Do("Say why.").
			At(fault.Field{Path: "reason", Message: "must be given, and at most 500 bytes long"})
	}
	in, err := s.cfg.Errors.Dismiss(r.Context(), r.PathValue("id"), reason)
	if err != nil {
		return err
	}
	http.Redirect(w, r, errorPath(in.ID), http.StatusSeeOther)
	return nil
}

// savePolicies stores the policies: the default, the limits, and that of one agent.
func (s *Server) savePolicies(w http.ResponseWriter, r *http.Request) error {
	p, err := s.cfg.Errors.Policies(r.Context())
	if err != nil {
		return err
	}
	p.Default = recovery.Mode(r.PostFormValue("default"))
	for field, into := range map[string]*int{"max_per_hour": &p.Limits.MaxPerHour, "cool_down_seconds": &p.Limits.CoolDownSeconds} {
		if *into, err = strconv.Atoi(strings.TrimSpace(r.PostFormValue(field))); err != nil {
			return fault.New(fault.Invalid, "recovery.invalid_policies", "The policies are not valid").At(fault.Field{Path: field, Message: "must be a whole number"})
		}
	}
	if name := strings.TrimSpace(r.PostFormValue("agent")); name != "" {
		a, err := s.cfg.Agents.Get(r.Context(), name)
		if err != nil {
			return err
		}
		if mode := r.PostFormValue("mode"); mode == "" {
			delete(p.Agents, a.ID)
		} else {
			p.Agents[a.ID] = recovery.Mode(mode)
		}
	}
	if _, err := s.cfg.Errors.SetPolicies(r.Context(), p); err != nil {
		return err
	}
	http.Redirect(w, r, "/errors", http.StatusSeeOther)
	return nil
}

// incidentCell is the state of an error as a badge.
func incidentCell(st recovery.State) view.Cell {
	status := map[recovery.State]string{recovery.Open: "error", recovery.Recovering: "busy", recovery.Recovered: "success", recovery.Dismissed: "none"}[st]
	return view.Cell{Text: view.Words(string(st)), Status: status}
}

// unfixed lists errors that are not over, for the dashboard.
func (s *Server) unfixed(ctx context.Context, ids []string, out *concerns, seen map[string]bool) error {
	if s.cfg.Errors == nil {
		return nil
	}
	list, _, err := s.cfg.Errors.List(ctx, recovery.Query{AgentIDs: ids, States: []recovery.State{recovery.Open, recovery.Recovering}, Limit: maxConcerns + 1})
	if err != nil {
		return err
	}
	for i, in := range list {
		if i == maxConcerns {
			out.More = append(out.More, link{Text: "More errors", Href: "/errors"})
			break
		}
		if seen[in.AgentID] {
			continue
		}
		seen[in.AgentID] = true
		c := concern{Badge: view.Cell{Text: view.Words(string(in.Cause)), Status: incidentCell(in.State).Status}, Title: view.Plain(in.AgentName, 80), Href: errorPath(in.ID),
			Text: view.Plain(in.Title, 200), At: view.When(in.FirstSeen), AgentID: in.AgentID}
		if len(in.Suggestions) > 0 {
			c.Remedy = view.Plain(in.Suggestions[0].Title, 100) + "."
		}
		out.List = append(out.List, c)
	}
	return nil
}
