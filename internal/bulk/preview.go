package bulk

import (
	"context"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
)

// Preview is what a bulk operation would do as things are now, for the
// question "are you sure?".
type Preview struct {
	MaxParallel int
	OnFailure   OnFailure
	// Waves is how many groups follow one another because of dependencies.
	Waves int
	// Items are the agents in the order in which they are begun.
	Items []PreviewItem
	// Dependants are the names of the running agents outside of the selection
	// that need one of the agents that are stopped, suspended, restarted or revoked.
	Dependants []string
}

// PreviewItem is what would happen to one agent.
type PreviewItem struct {
	Agent *agent.Agent
	Wave  int
	// Actions are those that would be carried out; none if all of them are
	// satisfied already.
	Actions []agent.Action
	// Refusal says why it would fail; nil if nothing speaks against it.
	Refusal error
}

// Preview checks the request as Start does and says what it would do. It
// returns the faults of Start.
func (s *Service) Preview(ctx context.Context, req Request) (Preview, error) {
	sel, err := req.check()
	if err != nil {
		return Preview{}, err
	}
	agents, err := s.selected(ctx, req, sel)
	if err != nil {
		return Preview{}, err
	}
	edges, err := s.Agents.Dependencies(ctx)
	if err != nil {
		return Preview{}, err
	}
	_, waves, err := order(agents, edges, backwards(req.Actions))
	if err != nil {
		return Preview{}, err
	}
	byID := make(map[string]*agent.Agent, len(agents))
	for _, a := range agents {
		byID[a.ID] = a
	}
	p := Preview{MaxParallel: req.MaxParallel, OnFailure: req.OnFailure, Waves: len(waves)}
	var disturbed []*agent.Agent
	for wave, ids := range waves {
		for _, id := range ids {
			it := foresee(byID[id], req.Actions)
			it.Wave = wave
			p.Items = append(p.Items, it)
			if slices.ContainsFunc(it.Actions, disturbs) {
				disturbed = append(disturbed, it.Agent)
			}
		}
	}
	p.Dependants, err = s.dependants(ctx, disturbed, byID, edges)
	return p, err
}

// foresee plays the actions through on one agent.
func foresee(a *agent.Agent, actions []agent.Action) PreviewItem {
	it := PreviewItem{Agent: a}
	state := a.State
	for _, action := range actions {
		if agent.Satisfied(state, action) {
			continue
		}
		to, err := agent.Next(state, action)
		if err != nil {
			it.Refusal = err
			return it
		}
		it.Actions = append(it.Actions, action)
		state = to
	}
	return it
}

func disturbs(a agent.Action) bool {
	return a == agent.Stop || a == agent.Suspend || a == agent.Restart || a == agent.Revoke
}

// dependants gives the names of the running agents outside of the selection
// that need one of the disturbed ones.
func (s *Service) dependants(ctx context.Context, disturbed []*agent.Agent, selected map[string]*agent.Agent, edges map[string][]string) ([]string, error) {
	hit, mine := map[string]bool{}, map[string]bool{}
	for _, a := range disturbed {
		hit[strings.ToLower(a.ID)], hit[strings.ToLower(a.Spec.Name)] = true, true
	}
	for _, a := range selected {
		mine[a.Spec.Name] = true
	}
	var names []string
	for name, needs := range edges {
		if !mine[name] && slices.ContainsFunc(needs, func(n string) bool { return hit[strings.ToLower(n)] }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	running := []string{}
	for part := range slices.Chunk(names, pageSize/2) {
		found, err := s.all(ctx, agent.Query{IDs: part, States: []agent.State{agent.Running}})
		if err != nil {
			return nil, err
		}
		for _, a := range found {
			running = append(running, a.Spec.Name)
		}
	}
	return running, nil
}
