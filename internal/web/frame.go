package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// frameRoutes are what stands around every page.
var frameRoutes = []Route{
	{Method: "GET", Path: "/shortcuts", Role: auth.Viewer, ID: "shortcuts", Title: "Keyboard shortcuts", handle: (*Server).shortcutsPage},
	{Method: "GET", Path: "/context", Role: auth.Viewer, ID: "context", Title: "Context", handle: (*Server).contextPage},
	{Method: "POST", Path: "/context", Role: auth.Viewer, ID: "set-context", handle: (*Server).setContext},
	{Method: "GET", Path: "/gallery", Role: auth.Viewer, ID: "gallery", Title: "Components", handle: (*Server).galleryPage},
	{Method: "GET", Path: "/gallery/{example}", Role: auth.Viewer, ID: "gallery-part", handle: (*Server).galleryPart},
	{Method: "POST", Path: "/gallery/example", Role: auth.Viewer, ID: "gallery-example", handle: (*Server).galleryExample},
	{Method: "GET", Path: "/find", Role: auth.Viewer, ID: "find", handle: (*Server).find},
	{Method: "POST", Path: "/appearance", Public: true, ID: "set-appearance", handle: (*Server).setAppearance},
	{Method: "GET", Path: "/brand.css", Public: true, ID: "brand-style", handle: (*Server).brandStyle},
	{Method: "GET", Path: "/brand.svg", Public: true, ID: "brand-logo", handle: (*Server).brandLogo},
	{Method: "GET", Path: "/portal.webmanifest", Public: true, ID: "webmanifest", handle: (*Server).webManifest},
}

// entry is one place that the navigation leads to.
type entry struct {
	Name, Href, Icon string
	Keys             string // shortcut: two keys, one after the other
}

// planned are the places of the navigation in their order. Those without a
// route are left out, so that none leads nowhere.
var planned = []entry{
	{"Dashboard", "/", "layout-dashboard", "g d"},
	{"Agents", "/agents", "bot", "g a"},
	{"Operations", "/operations", "list-checks", "g o"},
	{"Errors", "/errors", "triangle-alert", "g r"},
	{"Logs", "/logs", "logs", "g l"},
	{"Events", "/events", "activity", "g e"},
	{"Alerts", "/alerts", "bell", "g t"},
	{"Metrics", "/charts", "chart-line", "g m"},
	{"Resources", resourcesPath, "package", "g c"},
	{"Diagnostics", "/diagnostics", "heart-pulse", "g i"},
	{"Audit", "/audit", "scroll-text", "g u"},
	{"Settings", "/settings", "settings", "g s"},
}

// entriesFor gives the places that the role may see.
func entriesFor(role auth.Role) []entry {
	var out []entry
	for _, e := range planned {
		if mayGet(role, e.Href) {
			out = append(out, e)
		}
	}
	return out
}

// mayGet tells whether there is a page at the path, a pattern of the table of
// routes, and the role may see it.
func mayGet(role auth.Role, path string) bool { return may(role, http.MethodGet, path) }

func may(role auth.Role, method, path string) bool {
	if path == "/" {
		path = "/{$}"
	}
	r, ok := reachable[method+" "+path]
	return ok && (r.Public || role.Includes(r.Role))
}

// reachable is the table of routes by method and pattern.
var reachable = map[string]Route{}

func init() { // the routes lead to the layout, which asks for them
	for _, r := range Routes {
		reachable[r.Method+" "+r.Path] = r
	}
}

// choice is the agent that the pages are about: the context.
type choice struct {
	ID    string
	Name  string
	State view.Cell
	// FromURL tells that the address names it, which wins over what is stored.
	FromURL bool
	// Gone says why the stored one was cleared; "" if it was not.
	Gone string
}

const contextCookie = "portal_context"

// contextAgent gives the id of the agent that lists are narrowed to by default:
// the one that the address names, or else the one that the person chose before; ""
// for all.
func (s *Server) contextAgent(r *http.Request) string { return s.choiceOf(r).ID }

// narrowedTo gives the agents that a list is about: those that the address names,
// or else the one of the context.
func (s *Server) narrowedTo(r *http.Request) []string {
	if named := values(r.URL.Query(), "agent"); len(named) > 0 {
		return named
	}
	if id := s.contextAgent(r); id != "" {
		return []string{id}
	}
	return nil
}

func (s *Server) choiceOf(r *http.Request) choice {
	if s.cfg.Agents == nil {
		return choice{}
	}
	if id := r.URL.Query().Get("agent"); id != "" {
		a, err := s.cfg.Agents.Get(r.Context(), id)
		if err != nil {
			return choice{ID: id, Name: view.Plain(id, 80), FromURL: true}
		}
		return choice{ID: a.ID, Name: nameOf(a), State: view.State(a.State), FromURL: true}
	}
	c, err := r.Cookie(contextCookie)
	if err != nil || c.Value == "" {
		return choice{}
	}
	id, err := url.QueryUnescape(c.Value)
	if err != nil {
		return choice{}
	}
	a, err := s.cfg.Agents.Get(r.Context(), id)
	switch {
	case err != nil && fault.KindOf(err) == fault.NotFound:
		return choice{Gone: "The agent " + view.Plain(id, 80) + " is not there any more"}
	case err != nil:
		return choice{}
	case a.State == agent.Revoked:
		return choice{Gone: nameOf(a) + " was revoked"}
	}
	return choice{ID: a.ID, Name: nameOf(a), State: view.State(a.State)}
}

func nameOf(a *agent.Agent) string {
	if a.Spec.DisplayName != "" {
		return view.Plain(a.Spec.DisplayName, 80)
	}
	return view.Plain(a.Spec.Name, 80)
}

// contextPage is where an agent is chosen as the context; with a script only its
// results are asked for, or the selector as it is now.
func (s *Server) contextPage(w http.ResponseWriter, r *http.Request) error {
	if wantsPart(r) && r.FormValue("selector") != "" {
		return s.fragment(w, r, contextSelector(Shell{user: auth.From(r.Context()), choice: s.choiceOf(r)}))
	}
	list, err := s.findAgents(r.Context(), r.FormValue("q"))
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, contextResults(list, r.FormValue("q")))
	}
	return s.show(w, r, Shell{Title: "Context", Crumbs: []Crumb{{"Agents", "/agents"}}}, contextBody(list, r.FormValue("q"), cameFrom(r)))
}

// setContext remembers an agent as the context; "" clears it.
func (s *Server) setContext(w http.ResponseWriter, r *http.Request) error {
	id := r.FormValue("agent")
	if id != "" {
		a, err := s.cfg.Agents.Get(r.Context(), id)
		if err != nil {
			return err
		}
		id = a.ID
	}
	s.setCookie(w, r, contextCookie, url.QueryEscape(id))
	http.Redirect(w, r, withoutAgent(cameFrom(r)), http.StatusSeeOther)
	return nil
}

// withoutAgent takes the agent out of an address: it would win over what was
// just chosen.
func withoutAgent(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		return "/"
	}
	q := u.Query()
	q.Del("agent")
	u.RawQuery = q.Encode()
	return u.String()
}

// setAppearance remembers the theme or the width of the sidebar.
func (s *Server) setAppearance(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.New(fault.Invalid, "form.unreadable", "The form can't be read").Wrap(err)
	}
	for field, allowed := range map[string]string{"theme": " dark light system ", "nav": " narrow "} {
		if !r.PostForm.Has(field) {
			continue
		}
		v := r.PostForm.Get(field)
		if v != "" && !strings.Contains(allowed, " "+v+" ") {
			return fault.New(fault.Invalid, "appearance.unknown", "There is no such appearance").At(fault.Field{Path: field, Message: "is none of:" + allowed})
		}
		s.setCookie(w, r, "portal_"+field, v)
	}
	http.Redirect(w, r, cameFrom(r), http.StatusSeeOther)
	return nil
}

// setCookie remembers a choice in the browser, where scripts change it too; "" forgets it.
func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, name, value string) {
	age := 365 * 24 * 60 * 60
	if value == "" {
		age = -1
	}
	secure := s.cfg.Door.SecureOf != nil && s.cfg.Door.SecureOf(r.Context())
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, SameSite: http.SameSiteLaxMode, Secure: secure})
}

func (s *Server) shortcutsPage(w http.ResponseWriter, r *http.Request) error {
	role := auth.From(r.Context()).Role
	if wantsPart(r) {
		return s.fragment(w, r, shortcutsDialog(entriesFor(role)))
	}
	return s.show(w, r, Shell{Title: "Keyboard shortcuts"}, shortcutsBody(entriesFor(role)))
}

// findAgents looks for agents whose name or description holds the text.
func (s *Server) findAgents(ctx context.Context, text string) ([]*agent.Agent, error) {
	page, err := s.cfg.Agents.Find(ctx, agent.Query{Search: strings.TrimSpace(text), Limit: 8})
	return page.Agents, err
}

// cameFrom gives the page to go back to: the one that the form names, or else the
// one that it is on.
func cameFrom(r *http.Request) string {
	if next := r.FormValue("next"); next != "" {
		return afterSignIn(next)
	}
	return sentFrom(r)
}

// sentFrom gives the page of this portal that sent the request; the start if the
// browser does not say.
func sentFrom(r *http.Request) string {
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host != r.Host {
		return "/"
	}
	return afterSignIn(u.RequestURI())
}

type placeKey struct{}

// placed notes where the stream of events is before anything is read, so that
// the page hears of all that happens after.
func (s *Server) placed(r *http.Request) *http.Request {
	if s.cfg.Place == nil {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), placeKey{}, s.cfg.Place()))
}

// placeOf gives what placed noted; "" for nothing.
func placeOf(ctx context.Context) string {
	if n, ok := ctx.Value(placeKey{}).(int64); ok {
		return strconv.FormatInt(n, 10)
	}
	return ""
}

// nameID is the id of the element with the agent's name, after which others are
// called.
func nameID(a *agent.Agent) string { return "name-" + a.ID }
