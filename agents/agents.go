// Package agents names the agents that come with the portal. Each is an
// ordinary program on agentkit; `portal agent run NAME` runs one.
package agents

import (
	"context"
	"maps"
	"slices"

	"github.com/waooaw/platform-portal/agents/blank"
	"github.com/waooaw/platform-portal/agents/lab"
	"github.com/waooaw/platform-portal/agents/memory"
)

var all = map[string]func(context.Context) error{
	"blank":  blank.Run,
	"memory": memory.Run,
}

// hidden are agents that are no templates: nobody runs them but for a purpose.
var hidden = map[string]func(context.Context) error{
	"lab": lab.Run,
}

// Names gives the names of the templates in order.
func Names() []string { return slices.Sorted(maps.Keys(all)) }

// Lookup gives the agent's main function: it takes its settings from the
// environment of the agent contract and returns when the agent has left.
func Lookup(name string) (run func(context.Context) error, ok bool) {
	if run, ok = all[name]; !ok {
		run, ok = hidden[name]
	}
	return run, ok
}
