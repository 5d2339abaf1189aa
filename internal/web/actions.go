package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// deed is how an action is shown.
type deed struct {
	Action agent.Action
	Icon   string
	Done   string // "started"
	// Does says what happens, of "it".
	Does string
	// Undo says how to get back.
	Undo string
}

// deeds are the actions in the order in which menus show them.
var deeds = []deed{
	{agent.Start, "play", "is started", "Its instances are started, and it takes work once they are ready.", "Can be undone: it is stopped again."},
	{agent.Stop, "square", "is stopped", "Its instances are told to finish, and ended if they take too long. What waits in its queue stays there.", "Can be undone: it is started again."},
	{agent.Restart, "rotate-ccw", "is restarted", "Its instances are started anew, one after the other where there are several.", "There is nothing to undo: it runs afterwards as it did before."},
	{agent.Suspend, "pause", "is suspended", "Its instances are frozen. They keep their memory and take no work.", "Can be undone: it is resumed."},
	{agent.Resume, "skip-forward", "goes on", "Its instances go on where they were frozen.", "Can be undone: it is suspended again."},
	{agent.Deploy, "rocket", "is deployed", "The newest revision is put on the runtime. It does not run before it is started.", "Can be undone: the revision that was deployed before comes back."},
	{agent.Provision, "package", "is provisioned", "Its directories, queues, credential and port are made.", "It can't be undone, but it can be revoked."},
	{agent.Revoke, "ban", "is revoked", "Everything it has is torn down: instances, directories, volumes, queues and its credential. This is the end of it.", "It can't be undone."},
}

func deedOf(a agent.Action) deed {
	i := slices.IndexFunc(deeds, func(d deed) bool { return d.Action == a })
	if a == fleet.Move {
		return deed{Action: a, Icon: "arrow-right", Done: "has moved"}
	}
	if i < 0 {
		return deed{Action: a, Icon: "zap", Done: strings.ReplaceAll(string(a), "_", " ") + " done"}
	}
	return deeds[i]
}

// name is the action as a button says it.
func (d deed) name() string { return view.Words(string(d.Action)) }

func (d deed) danger() bool { return d.Action == agent.Revoke }

// actionsPage lists what can be done to an agent, for those without scripts.
func (s *Server) actionsPage(w http.ResponseWriter, r *http.Request) error {
	a, err := s.cfg.Agents.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	shell := Shell{Title: "Actions for " + nameOf(a), Active: "/agents", Crumbs: []Crumb{{"Agents", "/agents"}, {nameOf(a), agentPath(a.ID)}}}
	return s.show(w, r, shell, actionsBody(a))
}

// actionForm says what an action would do, and asks whether it is to be done.
func (s *Server) actionForm(w http.ResponseWriter, r *http.Request) error {
	ctx, d := r.Context(), deedOf(agent.Action(r.PathValue("action")))
	a, err := s.cfg.Agents.Get(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	im, err := s.cfg.Fleet.Impact(ctx, a.ID, d.Action)
	if err != nil {
		return err
	}
	if im.Forgets {
		d.Does = "Its instances are ended, and begin anew when it is resumed. What they have in memory is lost; it takes no work meanwhile."
		if d.Action == agent.Resume {
			d.Does = "Its instances are started anew: what they had in memory was lost when it was suspended."
		}
	}
	form := actionConfirm(a, im, d, localPath(r.URL.Query().Get("back"), agentPath(a.ID)))
	return s.dialog(w, r, d.name()+" "+nameOf(a), agentPath(a.ID), form)
}

// localPath gives the path of this portal that the text names, or another.
// What browsers may take for another host is refused.
func localPath(text, otherwise string) string {
	u, err := url.Parse(text)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") || strings.ContainsAny(text, "\\\r\n\t") {
		return otherwise
	}
	return text
}

// act does what the form asks for.
func (s *Server) act(w http.ResponseWriter, r *http.Request) error {
	ctx, action := r.Context(), agent.Action(r.PathValue("action"))
	a, err := s.cfg.Agents.Get(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	if _, ok := agent.RuleOf(action); !ok {
		return fault.New(fault.NotFound, "agent.unknown_action", "There is no action %q", view.Plain(string(action), 40))
	}
	seen, err := strconv.ParseInt(r.PostFormValue("version"), 10, 64)
	if err != nil || seen < 1 {
		return fault.New(fault.Invalid, "action.form", "The form is not complete").Do("Open it again.").
			At(fault.Field{Path: "version", Message: "must be the version of the agent that the form was made for"})
	}
	if action == agent.Revoke && r.PostFormValue("confirm") != a.Spec.Name {
		return fault.New(fault.Invalid, "action.confirm", "Nothing was revoked").Because("the name that was typed is not the agent's").
			Do("Type the agent's name as it is shown.").At(fault.Field{Path: "confirm", Message: "must be " + strconv.Quote(view.Plain(a.Spec.Name, 100))})
	}
	reason := strings.TrimSpace(r.PostFormValue("reason"))
	if len(reason) > 500 {
		return fault.New(fault.Invalid, "action.reason", "The reason is too long").At(fault.Field{Path: "reason", Message: "must be at most 500 bytes long"})
	}
	op, err := s.cfg.Fleet.Act(ctx, a.ID, action, fleet.ActOptions{IfMatch: seen, Reason: reason})
	if err != nil {
		return s.explain(ctx, a, err)
	}
	return s.begun(w, r, op, localPath(r.PostFormValue("back"), agentPath(a.ID)))
}

// undo takes an operation back by another one.
func (s *Server) undo(w http.ResponseWriter, r *http.Request) error {
	op, err := s.cfg.Operations.Undo(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.begun(w, r, op, localPath(r.PostFormValue("back"), operationPath(op.ID)))
}

// begun answers a form that began an operation: with a message, or without
// scripts with the page that it came from, where the message stands.
func (s *Server) begun(w http.ResponseWriter, r *http.Request, op *operation.Operation, back string) error {
	if scripted(r) {
		t, err := s.toastOf(r.Context(), op)
		if err != nil {
			return err
		}
		return s.fragment(w, r, components.Toast(t))
	}
	u, err := url.Parse(back)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("did", op.ID)
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
	return nil
}

// explain adds to a refusal who did what in between, and what can be done now.
func (s *Server) explain(ctx context.Context, a *agent.Agent, err error) error {
	f := fault.As(err)
	if f == nil || f.Kind != fault.Stale && f.Kind != fault.Conflict {
		return err
	}
	now, getErr := s.cfg.Agents.Get(ctx, a.ID)
	if getErr != nil {
		return err
	}
	out := *f
	if who := s.lastChange(ctx, now); who != "" {
		out.Why = strings.TrimPrefix(out.Why+"; "+who, "; ")
		if f.Kind == fault.Stale {
			out.What, out.Why = nameOf(a)+" changed while you looked at it", who
		}
	}
	out.Remedy = "It is " + strings.ToLower(string(now.State)) + " now. " + possible(now)
	switch {
	case now.ActiveOperation != "":
		out.Remedy = "Wait until that has ended, or cancel it on its page; then choose again."
	case f.Kind == fault.Stale: // what the form says of the agent is no longer so
		out.Remedy += " Close this and choose again."
	}
	return &out
}

// possible says which actions the agent's state allows.
func possible(a *agent.Agent) string {
	var names []string
	for _, d := range deeds {
		if slices.Contains(agent.Allowed(a.State), d.Action) {
			names = append(names, string(d.Action))
		}
	}
	if len(names) == 0 {
		return "Nothing can be done to it any more."
	}
	return "Possible are: " + strings.Join(names, ", ") + "."
}

// lastChange says who changed the agent last, how, and how long ago; "" if that
// is not known. It is asked for when two people meet, so it may fail quietly.
func (s *Server) lastChange(ctx context.Context, a *agent.Agent) string {
	var at time.Time
	text := ""
	newer := func(when time.Time, format string, args ...any) {
		if when.After(at) {
			at, text = when, fmt.Sprintf(format, args...)
		}
	}
	if list, _, err := s.cfg.Operations.Find(ctx, operation.Query{AgentIDs: []string{a.ID}, Limit: 1}); err == nil && len(list) > 0 {
		newer(list[0].CreatedAt, "%s began to %s it", view.Actor(list[0].Actor), strings.ToLower(view.Kind(list[0].Kind)))
	}
	if list, _, err := s.cfg.History.Transitions(ctx, a.ID, "", 1); err == nil && len(list) > 0 {
		newer(list[0].CreatedAt, "it became %s by %s", strings.ToLower(string(list[0].State)), view.Actor(list[0].TriggeredBy))
	}
	if list, err := s.cfg.History.Revisions(ctx, a.ID, 0, 1); err == nil && len(list) > 0 && list[0].Number > 1 {
		newer(list[0].CreatedAt, "%s changed its spec (revision %d)", view.Actor(list[0].CreatedBy), list[0].Number)
	}
	if text == "" {
		return ""
	}
	return text + " " + ago(s.cfg.Now().Sub(at))
}

func ago(d time.Duration) string {
	if d < 2*time.Second {
		return "a moment ago"
	}
	return view.Duration(d.Truncate(time.Second)) + " ago"
}

// toastOf tells of an operation: what it does, how it ended, and how to take it
// back.
func (s *Server) toastOf(ctx context.Context, op *operation.Operation) (components.ToastProps, error) {
	about := "it"
	if op.AgentID != "" {
		a, err := s.cfg.Agents.Get(ctx, op.AgentID)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return components.ToastProps{}, err
		}
		if about = op.AgentID; a != nil {
			about = nameOf(a)
		}
	}
	_, action, _ := strings.Cut(op.Kind, ".")
	words := strings.ReplaceAll(action, "_", " ")
	t := components.ToastProps{ID: "toast-" + op.ID, Status: "busy", Text: view.Doing(agent.Action(action)) + " " + about,
		Link: operationPath(op.ID), LinkText: "Show operation"}
	switch op.State {
	case operation.Succeeded:
		t.Status, t.Text = "success", about+" "+deedOf(agent.Action(action)).Done
	case operation.Failed:
		t.Status, t.Text = "error", about+": "+words+" failed"
		if p := op.Problem; p != nil {
			t.Detail = view.Plain(clause(p.What, p.Why)+" "+p.Remedy, 400)
		}
	case operation.Cancelled:
		t.Status, t.Text = "warning", about+": "+words+" was cancelled"
	default:
		t.Live = "operation:" + op.ID
		t.Refresh = operationPath(op.ID) + "/toast"
	}
	if u := op.Undo; u != nil && u.UsedBy == "" && s.cfg.Now().Before(u.Until) && mayAct(ctx) {
		t.Undo, t.UndoUntil, t.Key = operationPath(op.ID)+"/undo", u.Until, newKey()
	}
	return t, nil
}

func clause(what, why string) string {
	if why == "" {
		return what + "."
	}
	return what + ": " + why + "."
}

// operationToast is the message about an operation as it is now, which takes the
// place of the one that is there.
func (s *Server) operationToast(w http.ResponseWriter, r *http.Request) error {
	op, err := s.cfg.Operations.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	t, err := s.toastOf(r.Context(), op)
	if err != nil {
		return err
	}
	return s.fragment(w, r, components.FlashToast(t))
}

// did gives the message about the operation that a form began, which the address
// names after a redirect; nil if it names none.
func (s *Server) did(r *http.Request) *components.ToastProps {
	id := r.URL.Query().Get("did")
	if id == "" || auth.From(r.Context()).Role == auth.Nobody || s.cfg.Operations == nil {
		return nil
	}
	op, err := s.cfg.Operations.Get(r.Context(), id)
	if err != nil {
		return nil // an old address, or somebody's invention
	}
	t, err := s.toastOf(r.Context(), op)
	if err != nil {
		return nil
	}
	return &t
}

// workOf says what becomes of the work of instances that are disturbed.
func workOf(instances int) string {
	if instances == 1 {
		return "What it is doing is finished or given back to the queue."
	}
	return "What they are doing is finished or given back to the queue."
}

// consequences are the lines of the impact of an action.
func consequences(im fleet.Impact, d deed) []components.Consequence {
	var out []components.Consequence
	disturbs := d.Action == agent.Stop || d.Action == agent.Suspend || d.Action == agent.Restart || d.Action == agent.Revoke
	if n := len(im.Dependants); n > 0 {
		c := components.Consequence{Icon: "link", Text: count(n, "running agent depends on it", "running agents depend on it"), Detail: view.Plain(brief(im.Dependants, 8), 400)}
		if disturbs {
			c.Status = "warning"
		}
		out = append(out, c)
	} else {
		out = append(out, components.Consequence{Icon: "link", Text: "No running agent depends on it"})
	}
	if im.Instances > 0 {
		c := components.Consequence{Icon: "server", Text: count(im.Instances, "instance runs", "instances run")}
		if disturbs {
			c.Detail, c.Status = workOf(im.Instances), "info"
		}
		out = append(out, c)
	}
	return append(out, backlog(im, d))
}

// backlog is what the action means for the work that waits.
func backlog(im fleet.Impact, d deed) components.Consequence {
	q := im.Queue
	switch {
	case q == nil:
		return components.Consequence{Icon: "inbox", Text: "It has no queue"}
	case q.Pending+q.InFlight == 0:
		return components.Consequence{Icon: "inbox", Text: "Nothing waits in its queue"}
	}
	c := components.Consequence{Icon: "inbox", Text: fmt.Sprintf("%s waiting, %s being worked on", view.Count(q.Pending), view.Count(q.InFlight)), Status: "info"}
	switch d.Action {
	case agent.Revoke:
		c.Detail, c.Status = "They are deleted with the queue.", "error"
	case agent.Stop, agent.Suspend:
		c.Detail, c.Status = "They wait until it runs again.", "warning"
	}
	return c
}

// brief names the first n of a list.
func brief(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:n], ", ") + fmt.Sprintf(" and %d more", len(names)-n)
}
