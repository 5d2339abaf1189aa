package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// relations are the agents that specs refer to, by lower-case name or id as
// they are referred to; nil for one that is not in the fleet.
type relations map[string]*Agent

// relate finds all that the specs need, directly or through others, and
// refuses if that closes a cycle. The specs stand for what will be stored.
func (s *Service) relate(ctx context.Context, specs ...Spec) (relations, error) {
	rel := relations{}
	var nodes []Node
	byID, changing := map[string]bool{}, map[string]bool{}
	add := func(a *Agent) {
		if !byID[a.ID] {
			byID[a.ID] = true
			nodes = append(nodes, NodeOf(a))
		}
	}
	for _, spec := range specs {
		a := &Agent{ID: spec.ID, Spec: spec}
		changing[spec.ID] = true
		rel[strings.ToLower(spec.ID)], rel[strings.ToLower(spec.Name)] = a, a
		add(a)
	}
	for i := 0; i < len(nodes); i++ {
		for _, need := range nodes[i].Needs {
			key := strings.ToLower(need)
			if _, known := rel[key]; known {
				continue
			}
			a, err := s.find(ctx, need)
			if err != nil {
				return nil, err
			}
			if a != nil && changing[a.ID] {
				a = nil // found by a name that it gives up
			}
			rel[key] = a
			if a != nil {
				add(a)
			}
		}
	}
	if cycle := NewGraph(nodes).Cycle(); cycle != nil {
		return nil, cycleFault(cycle).At(fault.Field{Path: "dependencies", Message: "close the cycle " + strings.Join(cycle, " → ")})
	}
	return rel, nil
}

// find gives an agent by name or id, nil if there is none.
func (s *Service) find(ctx context.Context, nameOrID string) (*Agent, error) {
	a, err := s.Store.Get(ctx, nameOrID)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return a, err
}

// absent gives the dependencies that are not in the fleet, as they are spelled.
func (r relations) absent(spec Spec) []string {
	var out []string
	for _, dep := range spec.Dependencies {
		if r[strings.ToLower(dep)] == nil {
			out = append(out, dep)
		}
	}
	return out
}

// warnings says what is not right with the dependencies of a spec, without
// being a reason to refuse it.
func (r relations) warnings(spec Spec) []string {
	var out []string
	switch absent := r.absent(spec); len(absent) {
	case 0:
	case 1:
		out = append(out, fmt.Sprintf("%s depends on %s, which is not in the fleet", spec.Name, absent[0]))
	default:
		out = append(out, fmt.Sprintf("%s depends on %s, which are not in the fleet", spec.Name, strings.Join(absent, ", ")))
	}
	for _, dep := range spec.Dependencies {
		if a := r[strings.ToLower(dep)]; a != nil && a.State == Revoked {
			out = append(out, fmt.Sprintf("%s depends on %s, which is REVOKED", spec.Name, dep))
		}
	}
	return out
}

// free refuses an id or name that an agent other than self answers to.
func (s *Service) free(ctx context.Context, spec Spec, self string) error {
	for _, field := range []struct{ path, value string }{{"name", spec.Name}, {"id", spec.ID}} {
		if self != "" && field.path == "id" {
			continue
		}
		a, err := s.find(ctx, field.value)
		if err != nil {
			return err
		}
		if a != nil && a.ID != self {
			return taken(a, field.path, field.value)
		}
	}
	return nil
}

func taken(a *Agent, path, value string) *fault.Error {
	return fault.New(fault.Conflict, "agent.exists", "There is already an agent with the %s %s", path, value).
		Because("it is %s (%s), in state %s", a.Spec.Name, a.ID, a.State).
		Do("Choose another %s, or change that agent.", path).
		At(fault.Field{Path: path, Message: "is taken by " + a.Spec.Name + " (" + a.ID + ")"}).With("agent_id", a.ID)
}

// rename refuses a new name that is taken, or an old one that others use.
func (s *Service) rename(ctx context.Context, a *Agent, spec Spec) error {
	if err := s.free(ctx, spec, a.ID); err != nil {
		return err
	}
	edges, err := s.Store.Dependencies(ctx)
	if err != nil {
		return err
	}
	return renameRefused(a, spec, edges)
}

// renameRefused says who in the edges would lose the agent by its new name.
func renameRefused(a *Agent, spec Spec, edges map[string][]string) error {
	var users []string
	for name, needs := range edges {
		loses := slices.ContainsFunc(needs, func(n string) bool {
			return strings.EqualFold(n, a.Spec.Name) && !strings.EqualFold(n, spec.Name) && !strings.EqualFold(n, a.ID)
		})
		if loses && !strings.EqualFold(name, a.Spec.Name) {
			users = append(users, name)
		}
	}
	if len(users) == 0 {
		return nil
	}
	slices.Sort(users)
	return fault.New(fault.Conflict, "agent.name_in_use", "The agent %s can't be renamed", a.Spec.Name).
		Because("%s depend on it by that name", strings.Join(users, ", ")).
		Do("Change their dependencies to the id %s first.", a.ID).
		At(fault.Field{Path: "name", Message: "is used by " + strings.Join(users, ", ")}).With("dependents", users)
}
