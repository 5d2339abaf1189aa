package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// agentRoutes are the pages of one agent, and where agents are declared.
var agentRoutes = []Route{
	{Method: "GET", Path: "/agents/new", Role: auth.Operator, ID: "new-agents-page", Title: "New agents", handle: (*Server).newPage},
	{Method: "POST", Path: "/agents/new", Role: auth.Operator, ID: "new-agents", Large: true, handle: (*Server).createNew},
	{Method: "POST", Path: "/agents/new/check", Role: auth.Operator, ID: "check-new-agents", Large: true, handle: (*Server).checkNew},
	{Method: "GET", Path: "/agents/{id}", Role: auth.Viewer, ID: "agent-page", Title: "Agent", handle: (*Server).agentPage},
	{Method: "GET", Path: "/agents/{id}/edit", Role: auth.Operator, ID: "edit-agent-page", Title: "Edit agent", handle: (*Server).editPage},
	{Method: "POST", Path: "/agents/{id}/edit", Role: auth.Operator, ID: "edit-agent", handle: (*Server).saveEdit},
	{Method: "POST", Path: "/agents/{id}/edit/check", Role: auth.Operator, ID: "check-agent", handle: (*Server).checkEdit},
	{Method: "GET", Path: "/agents/{id}/move", Role: auth.Operator, ID: "move-form", handle: (*Server).moveForm},
	{Method: "POST", Path: "/agents/{id}/move", Role: auth.Operator, ID: "move", handle: (*Server).move},
	{Method: "GET", Path: "/agents/{id}/adopt", Role: auth.Operator, ID: "adopt-form", handle: (*Server).adoptForm},
	{Method: "POST", Path: "/agents/{id}/adopt", Role: auth.Operator, ID: "adopt", handle: (*Server).adopt},
	{Method: "GET", Path: "/agents/{id}/spec.yaml", Role: auth.Viewer, ID: "agent-spec-file", handle: (*Server).specFile},
	{Method: "POST", Path: "/agents/{id}/revisions/{number}/restore", Role: auth.Operator, ID: "restore-revision", handle: (*Server).restoreRevision},
	{Method: "GET", Path: "/agents/{id}/logs/line", Role: auth.Viewer, ID: "agent-log-line", handle: (*Server).logLine},
	{Method: "GET", Path: "/agents/{id}/logs/file", Role: auth.Viewer, ID: "agent-log-file", handle: (*Server).logFile},
	{Method: "GET", Path: "/operations", Role: auth.Viewer, ID: "operations-page", Title: "Operations", handle: (*Server).operationsPage},
	{Method: "GET", Path: "/operations/{id}", Role: auth.Viewer, ID: "operation-page", Title: "Operation", handle: (*Server).operationPage},
	{Method: "POST", Path: "/operations/{id}/{control}", Role: auth.Operator, ID: "steer-operation", handle: (*Server).steerOperation},
	{Method: "GET", Path: "/audit", Role: auth.Viewer, ID: "audit-page", Title: "Audit", handle: (*Server).auditPage},
}

// agentTab is one of the parts of an agent's page.
type agentTab struct{ Name, Title string }

// agentTabs are all of them, in the order in which they are shown.
var agentTabs = []agentTab{
	{"overview", "Overview"}, {"instances", "Instances"}, {"resources", "Resources"}, {"logs", "Logs"}, {"metrics", "Metrics"}, {"health", "Health"}, {"errors", "Errors"},
	{"operations", "Operations"}, {"history", "History"}, {"events", "Events"}, {"spec", "Spec"}, {"audit", "Audit"},
}

// agentDetail is what every tab of an agent's page knows.
type agentDetail struct {
	*agent.Agent
	Tab       string
	Row       view.Row
	Instances []fleet.Instance
	Operation *operation.Operation // that works on it now; nil if nothing does
	Figures   *metrics.AgentFigures
	// Drift is what the newest revision changes in what is deployed, and Waits the
	// part of it that needs a deployment.
	Drift, Waits []agent.FieldChange
	May          bool     // whoever looks may act
	MovesTo      []string // other runtimes that it can be moved to
}

// href is the address of a tab of the page.
func (d *agentDetail) href(tab string) string {
	if tab == "overview" {
		return agentPath(d.ID)
	}
	return agentPath(d.ID) + "?tab=" + tab
}

// The events that change what a tab shows beside its cells.
const (
	anyTab     = "agent:updated agent:deleted agent:state_changed operation:changed"
	everything = anyTab + " instance:changed agent:health_update step_completed dlq_message queue_update config:changed"
)

var liveOn = map[string]string{
	"overview": anyTab + " instance:changed", "instances": anyTab + " instance:changed", "resources": anyTab + " instance:changed", "logs": anyTab, "metrics": anyTab,
	"health": anyTab + " agent:health_update", "errors": anyTab + " error:recorded error:changed", "operations": anyTab + " step_completed", "history": anyTab, "events": everything,
	"spec": anyTab, "audit": everything,
}

// refreshOn says when the page is fetched anew. Figures make no events.
func refreshOn(tab string) string {
	if tab == "metrics" {
		return "refresh, every 15s"
	}
	return "refresh"
}

// tabs are the links to the parts of the page.
func (d *agentDetail) tabs() []components.Tab {
	out := make([]components.Tab, len(agentTabs))
	for i, t := range agentTabs {
		out[i] = components.Tab{Name: t.Title, Href: d.href(t.Name), Current: t.Name == d.Tab}
	}
	return out
}

// actions are what may be done to the agent now, the likeliest first. What is for
// good stands elsewhere.
func (d *agentDetail) actions() []agent.Action {
	if d.ActiveOperation != "" {
		return nil
	}
	likely := []agent.Action{agent.Provision, agent.Resume, agent.Start, agent.Restart, agent.Deploy, agent.Stop, agent.Suspend}
	if len(d.Waits) > 0 && d.State == agent.Stopped {
		likely = slices.Insert(likely, 0, agent.Deploy) // what it was stopped for
	}
	var out []agent.Action
	for _, a := range likely {
		if slices.Contains(agent.Allowed(d.State), a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// kind is how the button of the i-th action looks: the first stands out if it
// brings the agent on.
func (d *agentDetail) kind(i int) string {
	if i == 0 && d.State != agent.Running {
		return components.Primary
	}
	return ""
}

// agentPage shows one agent.
func (s *Server) agentPage(w http.ResponseWriter, r *http.Request) error {
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	if a.ID != r.PathValue("id") { // found by its name: there is one address for each agent
		to := *r.URL
		to.Path = agentPath(a.ID)
		http.Redirect(w, r, to.RequestURI(), http.StatusFound)
		return nil
	}
	if q := r.URL.Query(); q.Get("tab") == "history" && q.Has("export") {
		return s.exportHistory(w, r, a.ID)
	}
	d, err := s.detail(r.Context(), a)
	if err != nil {
		return err
	}
	if d.Tab = r.URL.Query().Get("tab"); d.Tab == "" {
		d.Tab = "overview"
	}
	body, err := s.agentTab(r, d)
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, agentBody(d, r.URL.RequestURI(), body))
	}
	shell := Shell{Title: nameOf(a), Active: "/agents", Crumbs: []Crumb{{Name: "Agents", Href: "/agents"}}}
	return s.show(w, r, shell, agentBody(d, r.URL.RequestURI(), body))
}

// agentOf gives the agent that the address names.
func (s *Server) agentOf(r *http.Request) (*agent.Agent, error) {
	a, err := s.cfg.Agents.Get(r.Context(), r.PathValue("id"))
	if f := fault.As(err); f != nil && f.Kind == fault.NotFound {
		f.Do("It may have been deleted. Look for it in the list of agents.")
	}
	return a, err
}

// detail gathers what all tabs show around their own part.
func (s *Server) detail(ctx context.Context, a *agent.Agent) (*agentDetail, error) {
	d := &agentDetail{Agent: a, May: mayAct(ctx)}
	seen, err := s.cfg.Fleet.Instances(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	d.Instances = seen[a.ID]
	if a.ActiveOperation != "" {
		d.Operation, err = s.cfg.Operations.Get(ctx, a.ActiveOperation)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
	}
	if a.DeployedRevision != 0 && a.DeployedRevision != a.Revision {
		held, err := s.cfg.History.Revision(ctx, a.ID, a.DeployedRevision)
		if err != nil {
			return nil, err
		}
		d.Drift = agent.Diff(held.Spec, a.Spec)
		d.Waits = agent.ForInstances(d.Drift)
	}
	if s.cfg.Figures != nil {
		list, err := s.cfg.Figures.Agents(ctx, metrics.Window{}, a.ID)
		if err != nil {
			return nil, err
		}
		d.Figures = &list[0]
	}
	d.MovesTo = s.movesTo(a)
	d.Row = view.Agent{Agent: a, Instances: d.Instances, Operation: d.Operation, Figures: d.Figures}.Row()
	return d, nil
}

// agentTab gives the content of the tab that is asked for.
func (s *Server) agentTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	switch d.Tab {
	case "overview":
		return s.overviewTab(r.Context(), d)
	case "instances":
		return instancesTab(d), nil
	case "resources":
		return s.resourcesTab(r.Context(), d)
	case "logs":
		return s.logsTab(r, d)
	case "metrics":
		return s.metricsTab(r, d)
	case "health":
		return s.healthTab(r, d)
	case "errors":
		return s.errorsTab(r, d)
	case "operations":
		return s.agentOperationsTab(r, d)
	case "history":
		return s.historyTab(r, d)
	case "events":
		return s.eventsTab(r, d)
	case "spec":
		return s.specTab(r, d)
	case "audit":
		return s.agentAuditTab(r, d)
	}
	names := make([]string, len(agentTabs))
	for i, t := range agentTabs {
		names[i] = t.Name
	}
	return nil, invalidQuery("tab", "must be one of "+strings.Join(names, ", "))
}

// neighbour is an agent that this one needs, or that needs it; Agent is nil if
// it is not in the fleet.
type neighbour struct {
	Name  string
	Agent *agent.Agent
}

// overview is what the first tab shows.
type overview struct {
	*agentDetail
	Needs, NeededBy []neighbour
	NeededByMore    int // that are not listed
	Recent          []agent.Transition
}

// maxNeighbours is how many of the agents that need one are listed.
const maxNeighbours = 24

// overviewTab gathers what matters first.
func (s *Server) overviewTab(ctx context.Context, d *agentDetail) (templ.Component, error) {
	o := &overview{agentDetail: d}
	var err error
	if o.Needs, err = s.neighbours(ctx, d.Spec.Dependencies); err != nil {
		return nil, err
	}
	edges, err := s.cfg.Agents.Dependencies(ctx)
	if err != nil {
		return nil, err
	}
	var users []string
	for name, needs := range edges {
		if slices.ContainsFunc(needs, func(n string) bool { return strings.EqualFold(n, d.Spec.Name) || strings.EqualFold(n, d.ID) }) {
			users = append(users, name)
		}
	}
	slices.Sort(users)
	if o.NeededByMore = len(users) - maxNeighbours; o.NeededByMore > 0 {
		users = users[:maxNeighbours]
	}
	if o.NeededBy, err = s.neighbours(ctx, users); err != nil {
		return nil, err
	}
	if o.Recent, _, err = s.cfg.History.Transitions(ctx, d.ID, "", 5); err != nil {
		return nil, err
	}
	return overviewBody(o), nil
}

// neighbours finds the agents by the names under which they are needed.
func (s *Server) neighbours(ctx context.Context, names []string) ([]neighbour, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out := make([]neighbour, len(names))
	page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: names, Limit: 1000})
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		out[i].Name = name
		at := slices.IndexFunc(page.Agents, func(a *agent.Agent) bool {
			return strings.EqualFold(a.Spec.Name, name) || strings.EqualFold(a.ID, name)
		})
		if at >= 0 {
			out[i].Agent = page.Agents[at]
		}
	}
	return out, nil
}

// oldest is the instance that has been running for longest.
func (d *agentDetail) oldest() (in fleet.Instance, ok bool) {
	for _, i := range d.Instances {
		if i.State == fleet.InstanceRunning && !i.StartedAt.IsZero() && (!ok || i.StartedAt.Before(in.StartedAt)) {
			in, ok = i, true
		}
	}
	return in, ok
}

// portsOf lists the ports on which the agent's instances listen.
func portsOf(d *agentDetail) []string {
	var out []string
	for _, in := range d.Instances {
		if in.Port != 0 && !slices.Contains(out, strconv.Itoa(in.Port)) {
			out = append(out, strconv.Itoa(in.Port))
		}
	}
	return out
}

// driftText says how the newest revision gets to the instances.
func driftText(d *agentDetail) string {
	if len(d.Waits) == 0 {
		return "It changes descriptions only; there is nothing to deploy for its instances."
	}
	what := count(len(d.Waits), "change reaches", "changes reach") + " its instances with the next deployment: "
	switch d.State {
	case agent.Running, agent.Suspended:
		return what + "stop, deploy and start it."
	case agent.Stopped, agent.Errored:
		return what + "deploy and start it."
	}
	return what + "deploy it."
}

func queryEscape(s string) string { return url.QueryEscape(s) }

// listText puts texts of others one after the other.
func listText(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = view.Plain(s, 120)
	}
	return strings.Join(out, ", ")
}

// lastLog is one of the last lines of an instance that ended.
func lastLog(line string) components.LogEntry {
	t := view.ParseLog(line)
	return components.LogEntry{Level: t.Level, Text: strings.TrimSpace(t.Message + " " + t.Fields)}
}

// freshness is when the figures were measured; nil if there are none.
func (d *agentDetail) freshness() templ.Component {
	if d.Figures == nil || d.Figures.At.IsZero() {
		return nil
	}
	return components.Time("", d.Figures.At)
}

// figureNote says how far an agent's figures can be relied on.
func (d *agentDetail) figureNote() string {
	if d.Figures == nil {
		return ""
	}
	return figureNote(*d.Figures)
}
