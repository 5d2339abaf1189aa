package bulk

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	defaultParallel = 5
	maxParallel     = 50
	pageSize        = 1000
)

// check finds everything that is wrong with the request, fills in defaults,
// and gives the parsed selector.
func (r *Request) check() (agent.Selector, error) {
	var wrong []fault.Field
	say := func(path, message string, args ...any) {
		wrong = append(wrong, fault.Field{Path: path, Message: fmt.Sprintf(message, args...)})
	}
	if len(r.Actions) == 0 {
		say("actions", "must name at least one action")
	}
	for i, a := range r.Actions {
		path := fmt.Sprintf("actions[%d]", i)
		if _, ok := agent.RuleOf(a); !ok {
			say(path, "there is no action %q; the actions are %v", a, agent.Actions())
		} else if slices.Contains(r.Actions[:i], a) {
			say(path, "names %s a second time", a)
		}
	}
	given := 0
	for _, ok := range []bool{len(r.AgentIDs) > 0, r.Selector != "", r.Filter != nil} {
		if ok {
			given++
		}
	}
	if given != 1 {
		say("agent_ids", "exactly one of agent_ids, selector and filter must be given")
	}
	if r.MaxParallel == 0 {
		r.MaxParallel = defaultParallel
	}
	if r.MaxParallel < 1 || r.MaxParallel > maxParallel {
		say("max_parallel", "must be from 1 to %d", maxParallel)
	}
	switch r.OnFailure {
	case "":
		r.OnFailure = Continue
	case Continue, Stop, Rollback:
	default:
		say("on_failure", "must be %s, %s or %s", Continue, Stop, Rollback)
	}
	var sel agent.Selector
	if r.Selector != "" {
		var err error
		if sel, err = agent.ParseSelector(r.Selector); err != nil {
			say("selector", "%s", reason(err))
		}
	}
	if len(wrong) > 0 {
		return nil, fault.New(fault.Invalid, "bulk.invalid", "The bulk operation can't be started").At(wrong...)
	}
	return sel, nil
}

func reason(err error) string {
	if f := fault.As(err); f != nil && f.Why != "" {
		return f.Why
	}
	return err.Error()
}

// selected gives the agents that the request is about, each once.
func (s *Service) selected(ctx context.Context, req Request, sel agent.Selector) ([]*agent.Agent, error) {
	if len(req.AgentIDs) > 0 {
		return s.named(ctx, req.AgentIDs)
	}
	q := agent.Query{Selector: sel}
	if req.Filter != nil {
		q = *req.Filter
	}
	list, err := s.all(ctx, q)
	if err == nil && len(list) == 0 {
		err = fault.New(fault.Invalid, "bulk.nothing_selected", "No agent is selected").
			Because("none matches").Do("List the agents with the same filter first.")
	}
	return list, err
}

// all gives every page of the query.
func (s *Service) all(ctx context.Context, q agent.Query) ([]*agent.Agent, error) {
	q.Limit, q.Cursor = pageSize, ""
	var list []*agent.Agent
	for {
		page, err := s.Agents.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Agents...)
		if page.Next == "" {
			return list, nil
		}
		q.Cursor = page.Next
	}
}

// named finds agents by id or name. It fails with NotFound and lists everyone
// who is not there.
func (s *Service) named(ctx context.Context, names []string) ([]*agent.Agent, error) {
	known := map[string]*agent.Agent{}
	for chunk := range slices.Chunk(names, pageSize/2) {
		found, err := s.all(ctx, agent.Query{IDs: chunk})
		if err != nil {
			return nil, err
		}
		for _, a := range found {
			known[strings.ToLower(a.Spec.Name)] = a
		}
		for _, a := range found { // an id wins over another's name
			known[strings.ToLower(a.ID)] = a
		}
	}
	var list []*agent.Agent
	var unknown []string
	taken := map[string]bool{}
	for _, name := range names {
		a := known[strings.ToLower(name)]
		switch {
		case a == nil:
			unknown = append(unknown, name)
		case !taken[a.ID]:
			taken[a.ID] = true
			list = append(list, a)
		}
	}
	if len(unknown) > 0 {
		return nil, fault.New(fault.NotFound, "bulk.unknown_agents", "Not every agent is there").
			Because("there is no agent %s", strings.Join(unknown, ", ")).
			Do("Correct the names; nothing was started.").With("unknown", unknown)
	}
	return list, nil
}
