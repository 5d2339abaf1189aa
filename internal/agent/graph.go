package agent

import (
	"maps"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Node is one agent in a Graph.
type Node struct {
	ID    string
	Name  string
	Needs []string // names or ids, spelled in any case
}

// NodeOf gives the node of an agent.
func NodeOf(a *Agent) Node {
	return Node{ID: a.ID, Name: a.Spec.Name, Needs: a.Spec.Dependencies}
}

// Graph says which agents need which. Needs that no node answers to are
// missing, not an error.
type Graph struct {
	nodes   []Node
	index   map[string]int // lower-case name and id to place in nodes
	needs   [][]int
	missing [][]string
}

// NewGraph makes a graph of the nodes. Where two answer to the same name, the
// first does.
func NewGraph(nodes []Node) *Graph {
	g := &Graph{nodes: nodes, index: make(map[string]int, 2*len(nodes)), needs: make([][]int, len(nodes)), missing: make([][]string, len(nodes))}
	for i, n := range nodes {
		for _, key := range []string{n.ID, n.Name} {
			key = strings.ToLower(key)
			if _, taken := g.index[key]; !taken && key != "" {
				g.index[key] = i
			}
		}
	}
	for i, n := range nodes {
		for _, need := range n.Needs {
			if j, ok := g.index[strings.ToLower(need)]; ok {
				g.needs[i] = append(g.needs[i], j)
			} else {
				g.missing[i] = append(g.missing[i], need)
			}
		}
	}
	return g
}

// GraphOf makes a graph of Store.Dependencies. It takes ids to be the slugs of
// the names, and every name that is needed for an agent, because edges alone
// don't tell; use NewGraph where the agents are known.
func GraphOf(edges map[string][]string) *Graph {
	nodes := make([]Node, 0, len(edges))
	known := map[string]bool{}
	add := func(name string, needs []string) {
		id := Slug(name)
		known[strings.ToLower(name)], known[id] = true, true
		nodes = append(nodes, Node{ID: id, Name: name, Needs: needs})
	}
	needed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(edges)) {
		add(name, edges[name])
		for _, need := range edges[name] {
			needed[need] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		if !known[strings.ToLower(name)] {
			add(name, nil)
		}
	}
	return NewGraph(nodes)
}

// Resolve gives the node that answers to a name or id, in any case.
func (g *Graph) Resolve(nameOrID string) (Node, bool) {
	i, ok := g.index[strings.ToLower(nameOrID)]
	if !ok {
		return Node{}, false
	}
	return g.nodes[i], true
}

// Missing gives, by the name of the agent, the needs that nothing answers to.
func (g *Graph) Missing() map[string][]string {
	out := map[string][]string{}
	for i, names := range g.missing {
		if len(names) > 0 {
			out[g.nodes[i].Name] = names
		}
	}
	return out
}

// Cycle gives the names along one cycle, with the first again at the end; nil
// if there is none.
func (g *Graph) Cycle() []string {
	_, cycle := g.order()
	return cycle
}

// order gives all nodes with each after the ones it needs, or a cycle. It keeps
// its own stack, because a fleet can be one long chain.
func (g *Graph) order() (sorted []int, cycle []string) {
	const open, done = 1, 2
	mark := make([]int, len(g.nodes))
	next := make([]int, len(g.nodes))
	for start := range g.nodes {
		if mark[start] == done {
			continue
		}
		stack := []int{start}
		mark[start] = open
		for len(stack) > 0 {
			i := stack[len(stack)-1]
			if next[i] == len(g.needs[i]) {
				mark[i] = done
				sorted = append(sorted, i)
				stack = stack[:len(stack)-1]
				continue
			}
			j := g.needs[i][next[i]]
			next[i]++
			switch mark[j] {
			case open:
				for _, k := range append(stack[slices.Index(stack, j):], j) {
					cycle = append(cycle, g.nodes[k].Name)
				}
				return nil, cycle
			case 0:
				mark[j] = open
				stack = append(stack, j)
			}
		}
	}
	return sorted, nil
}

// Waves parts the agents (names or ids) into groups: each agent is in a later
// group than everything it needs, directly or through agents that are not
// named. Groups and their order are stable; the ids of the nodes are given,
// once each. It fails with NotFound for an unknown agent and with Invalid for a
// cycle, which it names.
func (g *Graph) Waves(agents []string) ([][]string, error) {
	chosen := make([]bool, len(g.nodes))
	for _, name := range agents {
		i, ok := g.index[strings.ToLower(name)]
		if !ok {
			return nil, fault.New(fault.NotFound, "agent.not_found", "There is no agent %s", quote(name))
		}
		chosen[i] = true
	}
	sorted, cycle := g.order()
	if cycle != nil {
		return nil, cycleFault(cycle)
	}
	after := make([]int, len(g.nodes)) // the wave that something needing the node can be in
	var waves [][]string
	for _, i := range sorted {
		wave := 0
		for _, j := range g.needs[i] {
			wave = max(wave, after[j])
		}
		after[i] = wave
		if !chosen[i] {
			continue
		}
		after[i]++
		for len(waves) <= wave {
			waves = append(waves, nil)
		}
		waves[wave] = append(waves[wave], g.nodes[i].ID)
	}
	for _, w := range waves {
		slices.Sort(w)
	}
	return waves, nil
}

// Dependents gives the ids of all agents that need the given one (name or id),
// directly or through others, sorted; direct ones alone if deep is false.
func (g *Graph) Dependents(nameOrID string, deep bool) []string {
	start, ok := g.index[strings.ToLower(nameOrID)]
	if !ok {
		return nil
	}
	neededBy := make([][]int, len(g.nodes))
	for i, needs := range g.needs {
		for _, j := range needs {
			neededBy[j] = append(neededBy[j], i)
		}
	}
	seen := map[int]bool{start: true}
	queue, out := []int{start}, []string{}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, j := range neededBy[i] {
			if seen[j] {
				continue
			}
			seen[j] = true
			out = append(out, g.nodes[j].ID)
			if deep {
				queue = append(queue, j)
			}
		}
	}
	slices.Sort(out)
	return out
}

func cycleFault(cycle []string) *fault.Error {
	return fault.New(fault.Invalid, "agent.dependency_cycle", "The dependencies form a cycle").
		Because("%s", strings.Join(cycle, " → ")).Do("Remove one of these dependencies.").With("cycle", cycle)
}
