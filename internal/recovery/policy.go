package recovery

import "time"

// Mode says how much recovery does by itself.
type Mode string

// The modes.
const (
	Off       Mode = "off"       // only the record is kept
	Suggest   Mode = "suggest"   // and suggestions are made, which people carry out
	Automatic Mode = "automatic" // and the suggestions that need nothing filled in are carried out
)

// Limits bound what automatic recovery does to one agent.
type Limits struct {
	MaxPerHour int `json:"max_per_hour" minimum:"1" maximum:"60" doc:"Fixes of one agent in an hour"`
	// CoolDownSeconds is the pause between two fixes of one agent.
	CoolDownSeconds int `json:"cool_down_seconds" minimum:"0" maximum:"86400" doc:"Least time between two fixes of one agent"`
}

// Policies say what recovery may do, in general and for single agents.
type Policies struct {
	Default Mode            `json:"default" enum:"off,suggest,automatic"`
	Agents  map[string]Mode `json:"agents"`
	Limits  Limits          `json:"limits"`
}

// DefaultPolicies hold until somebody sets others.
func DefaultPolicies() Policies {
	return Policies{Default: Suggest, Agents: map[string]Mode{}, Limits: Limits{MaxPerHour: 6, CoolDownSeconds: 5}}
}

// Of gives the mode that holds for an agent.
func (p Policies) Of(agentID string) Mode {
	if m, ok := p.Agents[agentID]; ok {
		return m
	}
	return p.Default
}

// coolDown is the least time between two fixes of one agent.
func (l Limits) coolDown() time.Duration { return time.Duration(l.CoolDownSeconds) * time.Second }
