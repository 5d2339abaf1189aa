package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// Part is how a part of the portal itself is.
type Part struct {
	Name    string
	Problem string // "" if it is well
	Remedy  string
}

// concern is one thing that needs somebody.
type concern struct {
	Badge  view.Cell // what kind of trouble it is
	Title  string    // whose
	Href   string    // where it is seen in full
	Text   string    // what is wrong
	Remedy string
	At     view.Cell // since when; empty if that is not known
	// Action is what most likely helps, "" for nothing that a button can do;
	// AgentID is whom it is done to.
	Action  agent.Action
	AgentID string
}

// post is where the action's form is sent.
func (c concern) post() string { return "/agents/" + c.AgentID + "/actions/" + string(c.Action) }

// concerns are what needs somebody, the worst first.
type concerns struct {
	List []concern
	// More are further ones that are not listed, with where they are.
	More []link
}

// link is a text that leads somewhere.
type link struct{ Text, Href string }

const (
	maxConcerns = 8              // of one kind
	recently    = 24 * time.Hour // how long a failed operation needs somebody
)

// attention finds what needs somebody: of the agents that are named, of all if
// none is.
func (s *Server) attention(ctx context.Context, ids ...string) (concerns, error) {
	var out concerns
	s.parts(ctx, &out)
	seen := map[string]bool{}
	for _, find := range []func(context.Context, []string, *concerns, map[string]bool) error{s.unfixed, s.errored, s.firing, s.unwell, s.reports, s.failures} {
		if err := find(ctx, ids, &out, seen); err != nil {
			return concerns{}, err
		}
	}
	return out, nil
}

// parts lists parts of the portal that are not well.
func (s *Server) parts(ctx context.Context, out *concerns) {
	if s.cfg.Parts == nil {
		return
	}
	for _, p := range s.cfg.Parts(ctx) {
		if p.Problem != "" {
			out.List = append(out.List, concern{
				Badge: view.Cell{Text: "Portal", Status: "error"}, Title: view.Words(p.Name), Href: "/api/platform/health", Text: p.Problem, Remedy: p.Remedy,
			})
		}
	}
}

// errored lists agents that the portal has given up.
func (s *Server) errored(ctx context.Context, ids []string, out *concerns, seen map[string]bool) error {
	page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: ids, States: []agent.State{agent.Errored}, Sort: "-updated_at", Limit: maxConcerns})
	if err != nil {
		return err
	}
	for _, a := range page.Agents {
		c := ofAgent(a, view.Cell{Text: "Errored", Status: "errored"})
		if f := a.Failure; f != nil {
			c.Text, c.Remedy = f.Reason, f.Remedy
			if f.Code == "crash_loop" {
				c.Badge.Text = "Crash loop"
			}
		}
		c.Action = agent.Restart
		out.add(c, a, seen)
	}
	out.rest(page.Total-len(page.Agents), "errored agent", "errored agents", "/agents?state=ERRORED")
	return nil
}

// firing lists alerts on metrics that nobody looks after. What those on events
// tell is listed by what it is about.
func (s *Server) firing(ctx context.Context, ids []string, out *concerns, _ map[string]bool) error {
	if s.cfg.Alerts == nil {
		return nil
	}
	list, _, err := s.cfg.Alerts.Find(ctx, alert.Query{Statuses: []alert.Status{alert.Firing}, AgentIDs: ids, Limit: 100})
	if err != nil {
		return err
	}
	n := 0
	for _, a := range list {
		if a.Source != alert.FromMetric {
			continue
		}
		if n++; n <= maxConcerns {
			c := severityCell(a.Severity)
			c.Text = "Alert"
			out.List = append(out.List, concern{
				Badge: c, Title: view.Plain(a.Name, 80), Href: "/alerts/" + a.ID, Text: view.Plain(a.Summary(), 300), Remedy: view.Plain(a.Annotations["runbook"], 300), At: view.When(a.ActiveAt),
			})
		}
	}
	out.rest(n-maxConcerns, "alert", "alerts", "/alerts?state=firing")
	return nil
}

// unwell lists running agents whose probes say that they are not well.
func (s *Server) unwell(ctx context.Context, ids []string, out *concerns, seen map[string]bool) error {
	for _, health := range []agent.Health{agent.HealthUnhealthy, agent.HealthDegraded} {
		page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: ids, States: []agent.State{agent.Running}, Healths: []agent.Health{health}, Sort: "-updated_at", Limit: maxConcerns})
		if err != nil {
			return err
		}
		found := make([]string, len(page.Agents))
		for i, a := range page.Agents {
			found[i] = a.ID
		}
		var instances map[string][]fleet.Instance
		if len(found) > 0 {
			if instances, err = s.cfg.Fleet.Instances(ctx, found...); err != nil {
				return err
			}
		}
		for _, a := range page.Agents {
			c := ofAgent(a, view.Health(health, ""))
			c.Text = a.HealthReason
			if health == agent.HealthUnhealthy {
				c.Action = agent.Restart
			}
			for _, in := range instances[a.ID] {
				if in.State == fleet.InstanceBackoff {
					// It is started again by itself; a restart by hand would only add one more.
					c.Badge, c.Action = view.Cell{Text: "Crashing", Status: "backoff"}, ""
					c.Text = strings.TrimSpace(fmt.Sprintf("Started again %d times. %s", in.Restarts, in.Reason))
				}
			}
			out.add(c, a, seen)
		}
		out.rest(page.Total-len(page.Agents), string(health)+" agent", string(health)+" agents", "/agents?state=RUNNING&health="+string(health))
	}
	return nil
}

// reports lists what figures say: dead letters, and agents that run and no
// longer report.
func (s *Server) reports(ctx context.Context, ids []string, out *concerns, seen map[string]bool) error {
	if s.cfg.Figures == nil {
		return nil
	}
	all, err := s.cfg.Figures.Agents(ctx, metrics.Window{}, ids...)
	if err != nil {
		return err
	}
	dead := slices.DeleteFunc(slices.Clone(all), func(f metrics.AgentFigures) bool { return f.Backlog == nil || f.Backlog.Dead == 0 })
	slices.SortFunc(dead, func(a, b metrics.AgentFigures) int { return cmp.Compare(b.Backlog.Dead, a.Backlog.Dead) })
	names, err := s.names(ctx, all)
	if err != nil {
		return err
	}
	for i, f := range dead {
		if i == maxConcerns {
			out.rest(len(dead)-i, "queue with dead letters", "queues with dead letters", "/figures?sort=dead")
			break
		}
		out.List = append(out.List, concern{
			Badge: view.Cell{Text: "Dead letters", Status: "warning"}, Title: names[f.AgentID], Href: "/agents/" + f.AgentID,
			Text: count(f.Backlog.Dead, "command", "commands") + " could not be done", Remedy: "Its logs say why.",
		})
	}
	for _, f := range all {
		if f.Status != metrics.Silent || seen[f.AgentID] {
			continue
		}
		seen[f.AgentID] = true
		out.List = append(out.List, concern{
			Badge: view.Cell{Text: "Silent", Status: "warning"}, Title: names[f.AgentID], Href: "/agents/" + f.AgentID,
			Text: view.Plain("It runs and does not say what it does: "+orWords(f.Reason, "no answer"), 300), At: view.When(f.At),
		})
	}
	return nil
}

// names gives the names of those agents of the figures that are named among what
// needs attention.
func (s *Server) names(ctx context.Context, all []metrics.AgentFigures) (map[string]string, error) {
	out := map[string]string{}
	var ids []string
	for _, f := range all {
		if f.Status == metrics.Silent || f.Backlog != nil && f.Backlog.Dead > 0 {
			ids = append(ids, f.AgentID)
			out[f.AgentID] = f.AgentID
		}
	}
	for part := range slices.Chunk(ids, 200) {
		page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: part, Limit: 2 * len(part)})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Agents {
			out[a.ID] = nameOf(a)
		}
	}
	return out, nil
}

// failures lists operations that failed lately, unless something was done about
// them since.
func (s *Server) failures(ctx context.Context, ids []string, out *concerns, seen map[string]bool) error {
	since := s.cfg.Now().Add(-recently)
	failed, _, err := s.cfg.Operations.Find(ctx, operation.Query{AgentIDs: ids, States: []operation.State{operation.Failed}, Since: since, Limit: 100})
	if err != nil || len(failed) == 0 {
		return err
	}
	var concerned []string
	for _, op := range failed {
		if op.AgentID != "" && !slices.Contains(concerned, op.AgentID) {
			concerned = append(concerned, op.AgentID)
		}
	}
	newest := map[string]string{} // operation by agent
	if len(concerned) > 0 {
		later, _, err := s.cfg.Operations.Find(ctx, operation.Query{AgentIDs: concerned, Since: since, Limit: 1000})
		if err != nil {
			return err
		}
		for _, op := range later {
			if newest[op.AgentID] == "" {
				newest[op.AgentID] = op.ID
			}
		}
	}
	for _, op := range failed {
		if op.ParentID != "" || op.AgentID != "" && (newest[op.AgentID] != op.ID || seen[op.AgentID]) {
			continue
		}
		c := concern{Badge: view.Cell{Text: "Failed", Status: "failed"}, Title: titleOf(op), Href: "/operations/" + op.ID}
		if p := op.Problem; p != nil {
			c.Text, c.Remedy = view.Plain(joined(p.What, p.Why), 300), view.Plain(p.Remedy, 300)
		}
		if op.EndedAt != nil {
			c.At = view.When(*op.EndedAt)
		}
		out.List = append(out.List, c)
		if len(out.List) >= 3*maxConcerns {
			break
		}
	}
	return nil
}

// titleOf names an operation for people: "Start of memory-eu".
func titleOf(op *operation.Operation) string {
	if op.AgentID == "" {
		return view.Kind(op.Kind)
	}
	return view.Kind(op.Kind) + " of " + op.AgentID
}

func joined(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

func orWords(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// ofAgent is a concern about an agent.
func ofAgent(a *agent.Agent, badge view.Cell) concern {
	return concern{Badge: badge, Title: nameOf(a), Href: "/agents/" + a.ID, AgentID: a.ID, At: view.When(a.UpdatedAt)}
}

// add lists a concern about an agent. While an operation works on it there is
// nothing to do but wait.
func (c *concerns) add(one concern, a *agent.Agent, seen map[string]bool) {
	one.Text, one.Remedy = view.Plain(one.Text, 300), view.Plain(one.Remedy, 300)
	if a.ActiveOperation != "" {
		one.Action, one.Remedy = "", "It is being worked on."
	}
	seen[a.ID] = true
	c.List = append(c.List, one)
}

// rest says that there are more.
func (c *concerns) rest(n int, one, many, href string) {
	if n > 0 {
		c.More = append(c.More, link{Text: count(n, "more "+one, "more "+many), Href: href})
	}
}

// firingNow is how many alerts fire that nobody has taken on; 0 where that can't be
// told, for no page is to fail because of it.
func (s *Server) firingNow(ctx context.Context) int {
	if s.cfg.Alerts == nil {
		return 0
	}
	list, err := s.cfg.Alerts.Counts(ctx)
	if err != nil {
		return 0
	}
	n := 0
	for _, t := range list {
		if t.Status == alert.Firing {
			n += t.Count
		}
	}
	return n
}

// firingPart is the number beside the entry of the navigation.
func (s *Server) firingPart(w http.ResponseWriter, r *http.Request) error {
	return s.fragment(w, r, alertCount(s.firingNow(r.Context())))
}
