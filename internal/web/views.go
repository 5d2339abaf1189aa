package web

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

const (
	viewsKey = "agents/views/"
	maxViews = 50
	maxName  = 60 // characters
)

// savedView is a filter with its order and layout under a name.
type savedView struct {
	ID      string `json:"-"`
	Name    string `json:"name"`
	Query   string `json:"query"` // as in the address, see fleetQuery.view
	Default bool   `json:"default,omitempty"`
}

// read gives the filter of the view.
func (v savedView) read() (fleetQuery, error) {
	values, err := url.ParseQuery(v.Query)
	if err != nil {
		return fleetQuery{}, err
	}
	values.Set("saved", v.ID)
	return readFleetQuery(values)
}

func (v savedView) address() string {
	q := "?saved=" + url.QueryEscape(v.ID)
	if v.Query != "" {
		q = "?" + v.Query + "&saved=" + url.QueryEscape(v.ID)
	}
	return "/agents" + q
}

// owner is whose preferences are meant.
func owner(ctx context.Context) string { return auth.From(ctx).User }

// savedViews gives the views of whoever asks, by name.
func (s *Server) savedViews(ctx context.Context) ([]savedView, error) {
	list, err := s.cfg.Preferences.List(ctx, owner(ctx), viewsKey)
	if err != nil {
		return nil, err
	}
	out := make([]savedView, 0, len(list))
	for _, p := range list {
		v := savedView{ID: strings.TrimPrefix(p.Key, viewsKey)}
		if err := p.Decode(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b savedView) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return out, nil
}

// saved is the view that the page began with; nil if it began with none.
func (p *fleetPage) saved() *savedView {
	i := slices.IndexFunc(p.views, func(v savedView) bool { return v.ID == p.Saved })
	if i < 0 {
		return nil
	}
	return &p.views[i]
}

// viewTabs are all agents, and the saved views.
func (p *fleetPage) viewTabs() []components.Tab {
	all := "/agents"
	if slices.ContainsFunc(p.views, func(v savedView) bool { return v.Default }) {
		all = "/agents?saved=all"
	}
	tabs := []components.Tab{{Name: "All agents", Href: all, Current: p.saved() == nil && !p.filtered()}}
	for _, v := range p.views {
		tabs = append(tabs, components.Tab{Name: view.Plain(v.Name, maxName), Href: v.address(), Current: v.ID == p.Saved})
	}
	return tabs
}

// newView asks for the name of a new view.
func (s *Server) newView(w http.ResponseWriter, r *http.Request) error {
	query, err := viewQuery(r.URL.Query().Get("query"))
	if err != nil {
		return err
	}
	return s.dialog(w, r, "Save view", "/agents?"+query, viewForm(savedView{Query: query}, query))
}

// editView shows what can be done with a view.
func (s *Server) editView(w http.ResponseWriter, r *http.Request) error {
	v, _, err := s.viewOf(r.Context(), r.PathValue("view"))
	if err != nil {
		return err
	}
	query, err := viewQuery(r.URL.Query().Get("query"))
	if err != nil {
		return err
	}
	return s.dialog(w, r, "Edit view", v.address(), viewForm(*v, query))
}

// viewQuery brings the filter that a form holds into its one form.
func viewQuery(text string) (string, error) {
	values, err := url.ParseQuery(text)
	if err != nil || len(text) > 2*maxSelector {
		return "", fault.New(fault.Invalid, "view.query", "The filter of the view can't be read").
			At(fault.Field{Path: "query", Message: "must be the part of the address of the agents page after the ?"})
	}
	q, err := readFleetQuery(values)
	return q.view(), err
}

func (s *Server) viewOf(ctx context.Context, id string) (*savedView, []savedView, error) {
	list, err := s.savedViews(ctx)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(list, func(v savedView) bool { return v.ID == id })
	if i < 0 {
		return nil, nil, fault.New(fault.NotFound, "view.not_found", "There is no such saved view").
			Because("it was deleted, or it is somebody else's").Do("Choose another one on the agents page.")
	}
	return &list[i], list, nil
}

// saveView stores a new view.
func (s *Server) saveView(w http.ResponseWriter, r *http.Request) error {
	list, err := s.savedViews(r.Context())
	if err != nil {
		return err
	}
	if len(list) >= maxViews {
		return fault.New(fault.TooLarge, "view.too_many", "There is no room for another view").
			Because("you have %d, and that is all that are kept", len(list)).Do("Delete one that you don't need.")
	}
	return s.putView(w, r, savedView{ID: strings.ToLower(rand.Text())}, list)
}

// changeView renames a view, gives it another filter, makes it the one to begin
// with, or deletes it.
func (s *Server) changeView(w http.ResponseWriter, r *http.Request) error {
	v, list, err := s.viewOf(r.Context(), r.PathValue("view"))
	if err != nil {
		return err
	}
	if r.PostFormValue("delete") != "" {
		return s.deleteView(w, r, v.ID)
	}
	return s.putView(w, r, *v, list)
}

// putView stores the view as the form says.
func (s *Server) putView(w http.ResponseWriter, r *http.Request, v savedView, list []savedView) error {
	query, err := viewQuery(r.PostFormValue("query"))
	if err != nil {
		return err
	}
	v.Name, v.Query, v.Default = strings.TrimSpace(r.PostFormValue("name")), query, r.PostFormValue("default") != ""
	if err := checkViewName(v, list); err != nil {
		return err
	}
	ctx := r.Context()
	for _, other := range list {
		if v.Default && other.Default && other.ID != v.ID {
			other.Default = false
			if err := s.cfg.Preferences.Put(ctx, owner(ctx), viewsKey+other.ID, other); err != nil {
				return err
			}
		}
	}
	if err := s.cfg.Preferences.Put(ctx, owner(ctx), viewsKey+v.ID, v); err != nil {
		return err
	}
	return landed(w, r, v.address())
}

func checkViewName(v savedView, list []savedView) error {
	var message string
	switch {
	case v.Name == "" || utf8.RuneCountInString(v.Name) > maxName:
		message = "must be 1 to 60 characters long"
	case view.Plain(v.Name, maxName) != v.Name:
		message = "must be one line of ordinary characters"
	case slices.ContainsFunc(list, func(o savedView) bool { return o.ID != v.ID && strings.EqualFold(o.Name, v.Name) }):
		message = "is the name of another view of yours"
	default:
		return nil
	}
	return fault.New(fault.Invalid, "view.name", "The view needs another name").At(fault.Field{Path: "name", Message: message})
}

// deleteView forgets a view.
func (s *Server) deleteView(w http.ResponseWriter, r *http.Request, id string) error {
	if err := s.cfg.Preferences.Delete(r.Context(), owner(r.Context()), viewsKey+id); err != nil {
		return err
	}
	return landed(w, r, "/agents?saved=all")
}

// dialog shows a form in a dialog of the page that is open, or without scripts
// on a page of its own.
func (s *Server) dialog(w http.ResponseWriter, r *http.Request, title, from string, form templ.Component) error {
	return s.dialogOf(w, r, Shell{Title: title, Active: "/agents", Crumbs: []Crumb{{"Agents", "/agents"}}}, form)
}

// dialogOf shows a form in a dialog, or without scripts on a page of its own.
func (s *Server) dialogOf(w http.ResponseWriter, r *http.Request, shell Shell, form templ.Component) error {
	if wantsPart(r) {
		return s.fragment(w, r, inDialog(shell.Title, form))
	}
	return s.show(w, r, shell, onPage(form))
}

func escapeQuery(s string) string { return url.QueryEscape(s) }
