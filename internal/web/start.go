package web

import (
	"context"
	"net/http"
	"slices"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// startReason marks the bulk operation of the first run, so that it is found
// again after a restart and by other people.
const startReason = "First run: start the example fleet"

// firstRun is how far the way from an empty portal to a running fleet is gone.
// All of it is read from what is stored, so that it can be left and taken up
// again at any time, by anybody.
type firstRun struct {
	Total   int   // agents of the example fleet
	Loaded  int   // of them, those that exist
	Held    int   // of them, those that were suspended or revoked, and are left alone
	Running int   // of them, those that run
	Agents  []one // that exist
	// Bulk is the newest attempt to start them; nil without one.
	Bulk    *bulk.Bulk
	BulkRow view.Row
	Failed  []failedItem
	CanAct  bool
	Role    auth.Role
	Key     string // of the forms
}

// one is an agent of the example fleet.
type one struct {
	ID, Name, About string
	Row             view.Row
}

// failedItem is an agent that could not be started.
type failedItem struct {
	Name, ID    string
	State, Note view.Cell
}

// Working tells whether the start goes on.
func (f firstRun) Working() bool { return f.Bulk != nil && !f.Bulk.State.Final() }

// Startable is how many agents exist and don't run.
func (f firstRun) Startable() int { return f.Loaded - f.Held - f.Running }

// Step is the first of the three steps that is not done: 1 load, 2 start, 3 watch.
func (f firstRun) Step() int {
	switch {
	case f.Loaded < f.Total && f.Running == 0 && !f.Working():
		return 1
	case f.Startable() > 0 || f.Working():
		return 2
	}
	return 3
}

// examples gives the documents of the example fleet and the names of its agents.
func (s *Server) examples() (docs []map[string]any, names []string, err error) {
	if s.cfg.Examples == nil {
		return nil, nil, notHere()
	}
	if docs, err = s.cfg.Examples(); err != nil {
		return nil, nil, err
	}
	for _, d := range docs {
		name, _ := d["name"].(string)
		names = append(names, name)
	}
	return docs, names, nil
}

// exampleAgents gives the agents of the example fleet that exist.
func (s *Server) exampleAgents(ctx context.Context, names []string) ([]*agent.Agent, error) {
	page, err := s.cfg.Agents.Find(ctx, agent.Query{IDs: names, Limit: 1000})
	return page.Agents, err
}

// startBulk gives the newest attempt to start the example fleet; nil without one.
func (s *Server) startBulk(ctx context.Context) (*bulk.Bulk, error) {
	list, _, err := s.cfg.Bulks.List(ctx, "", 100)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(b *bulk.Bulk) bool { return b.Reason == startReason })
	if i < 0 {
		return nil, nil
	}
	return s.cfg.Bulks.Get(ctx, list[i].ID)
}

func (s *Server) firstRun(ctx context.Context) (firstRun, error) {
	who := auth.From(ctx)
	f := firstRun{CanAct: who.Role.Includes(auth.Operator), Role: who.Role, Key: newNonce()}
	_, names, err := s.examples()
	if err != nil {
		return f, err
	}
	agents, err := s.exampleAgents(ctx, names)
	if err != nil {
		return f, err
	}
	f.Total, f.Loaded = len(names), len(agents)
	shown, err := s.agentViews(ctx, agents)
	if err != nil {
		return f, err
	}
	called := map[string]string{}
	for i, a := range agents {
		called[a.ID] = nameOf(a)
		f.Agents = append(f.Agents, one{ID: a.ID, Name: nameOf(a), About: view.Plain(a.Spec.Description, 160), Row: shown[i].Row()})
		switch a.State {
		case agent.Running:
			f.Running++
		case agent.Suspended, agent.Revoked:
			f.Held++
		}
	}
	if f.Bulk, err = s.startBulk(ctx); err != nil || f.Bulk == nil {
		return f, err
	}
	f.BulkRow = view.Bulk{Bulk: f.Bulk}.Row()
	for _, it := range f.Bulk.Items {
		if it.State == bulk.ItemFailed {
			state, note := view.Item(it)
			f.Failed = append(f.Failed, failedItem{Name: orWords(called[it.AgentID], it.AgentID), ID: it.AgentID, State: state, Note: note})
		}
	}
	return f, nil
}

// startPage leads from an empty portal to a running fleet.
func (s *Server) startPage(w http.ResponseWriter, r *http.Request) error {
	f, err := s.firstRun(r.Context())
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, startBody(f))
	}
	return s.show(w, r, Shell{Title: "Get started", Active: "/"}, startBody(f))
}

// startLoad makes the agents of the example fleet that do not exist yet. Those
// that exist are left as they are, whatever was made of them.
func (s *Server) startLoad(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	docs, names, err := s.examples()
	if err != nil {
		return err
	}
	there, err := s.exampleAgents(ctx, names)
	if err != nil {
		return err
	}
	var missing []map[string]any
	for i, d := range docs {
		if !slices.ContainsFunc(there, func(a *agent.Agent) bool { return a.Spec.Name == names[i] }) {
			missing = append(missing, d)
		}
	}
	if len(missing) > 0 {
		_, err = s.cfg.Editor.Import(ctx, missing, agent.ImportOptions{Mode: agent.ImportCreate, Reason: "The example fleet"})
		if fault.Is(err, fault.Conflict) { // somebody else loaded them at the same moment
			if there, again := s.exampleAgents(ctx, names); again == nil && len(there) == len(names) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	http.Redirect(w, r, "/start", http.StatusSeeOther)
	return nil
}

// startRun deploys and starts what of the example fleet does not run, as one
// bulk operation; while one is going on there is nothing more to do.
func (s *Server) startRun(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	_, names, err := s.examples()
	if err != nil {
		return err
	}
	last, err := s.startBulk(ctx)
	if err != nil {
		return err
	}
	agents, err := s.exampleAgents(ctx, names)
	if err != nil {
		return err
	}
	var ids []string
	for _, a := range agents {
		if !slices.Contains([]agent.State{agent.Running, agent.Suspended, agent.Revoked}, a.State) {
			ids = append(ids, a.ID)
		}
	}
	if len(ids) > 0 && (last == nil || last.State.Final()) {
		req := bulk.Request{AgentIDs: ids, Actions: []agent.Action{agent.Provision, agent.Deploy, agent.Start}, Reason: startReason}
		if _, err := s.cfg.Bulks.Start(ctx, req); err != nil {
			return err
		}
	}
	http.Redirect(w, r, "/start", http.StatusSeeOther)
	return nil
}
