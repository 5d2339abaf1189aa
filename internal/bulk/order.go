package bulk

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// backwards tells whether the actions take agents away, so that those who need
// an agent go before it.
func backwards(actions []agent.Action) bool {
	for _, a := range actions {
		if a != agent.Stop && a != agent.Suspend && a != agent.Revoke {
			return false
		}
	}
	return true
}

// order gives, by the id of each agent, the ids of those that go before it, and
// the waves that follow from that.
func order(agents []*agent.Agent, edges map[string][]string, reverse bool) (needs map[string][]string, waves [][]string, err error) {
	g := graph(agents, edges)
	if cycle := g.Cycle(); cycle != nil {
		return nil, nil, fault.New(fault.Conflict, "bulk.dependency_cycle", "There is no order for these agents").
			Because("the dependencies form a cycle: %s", strings.Join(cycle, " → ")).Do("Remove one of these dependencies.")
	}
	chosen := map[string]bool{}
	for _, a := range agents {
		chosen[a.ID] = true
	}
	needs = map[string][]string{}
	through := map[string][]string{} // of agents that are not selected
	for _, a := range agents {
		for _, id := range nearest(g, a.ID, chosen, through) {
			if reverse {
				needs[id] = append(needs[id], a.ID)
			} else {
				needs[a.ID] = append(needs[a.ID], id)
			}
		}
	}
	return needs, layers(agents, needs), nil
}

// graph is that of the whole fleet, with the ids of the selected agents.
func graph(agents []*agent.Agent, edges map[string][]string) *agent.Graph {
	nodes := make([]agent.Node, 0, len(edges)+len(agents))
	known := map[string]bool{}
	for _, a := range agents {
		nodes = append(nodes, agent.NodeOf(a))
		known[strings.ToLower(a.Spec.Name)] = true
	}
	for name, needed := range edges {
		if !known[strings.ToLower(name)] {
			nodes = append(nodes, agent.Node{ID: agent.Slug(name), Name: name, Needs: needed})
		}
	}
	return agent.NewGraph(nodes)
}

// nearest gives the selected agents that the agent needs, directly or through
// agents that are not selected. through remembers the latter, so that a fleet
// is walked once.
func nearest(g *agent.Graph, id string, chosen map[string]bool, through map[string][]string) []string {
	node, _ := g.Resolve(id)
	var out []string
	for _, name := range node.Needs {
		need, ok := g.Resolve(name)
		switch {
		case !ok:
		case chosen[need.ID]:
			out = append(out, need.ID)
		default:
			far, known := through[need.ID]
			if !known {
				far = nearest(g, need.ID, chosen, through)
				through[need.ID] = far
			}
			out = append(out, far...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// layers puts each agent into the first wave after all that it needs.
func layers(agents []*agent.Agent, needs map[string][]string) [][]string {
	open := map[string]int{}
	followers := map[string][]string{}
	var ready []string
	for _, a := range agents {
		open[a.ID] = len(needs[a.ID])
		for _, id := range needs[a.ID] {
			followers[id] = append(followers[id], a.ID)
		}
		if open[a.ID] == 0 {
			ready = append(ready, a.ID)
		}
	}
	var waves [][]string
	for len(ready) > 0 {
		slices.Sort(ready)
		waves = append(waves, ready)
		var next []string
		for _, id := range ready {
			for _, f := range followers[id] {
				if open[f]--; open[f] == 0 {
					next = append(next, f)
				}
			}
		}
		ready = next
	}
	return waves
}

// childID names the operation that carries out an action on one agent for a
// bulk. It is the same each time, so that a second run finds the operation of
// the first. round 0 is the bulk itself, the others are its rollbacks.
func childID(bulkID, agentID string, action agent.Action, round int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", bulkID, agentID, action, round))
	h[6] = h[6]&0x0f | 0x80 // UUID version 8: made by a rule of our own
	h[8] = h[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
