// Package agents names the agents that come with the portal. Each is an
// ordinary program on agentkit; `portal agent run NAME` runs one.
package agents

import (
	"context"
	"maps"
	"slices"

	"github.com/waooaw/platform-portal/agents/blank"
	"github.com/waooaw/platform-portal/agents/memory"
)

var all = map[string]func(context.Context) error{
	"blank":  blank.Run,
	"memory": memory.Run,
}

// Names gives the names in order.
func Names() []string { return slices.Sorted(maps.Keys(all)) }

// Lookup gives the agent's main function: it takes its settings from the
// environment of the agent contract and returns when the agent has left.
func Lookup(name string) (run func(context.Context) error, ok bool) {
	run, ok = all[name]
	return run, ok
}
