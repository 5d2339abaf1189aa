package recovery

import (
	"context"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fault"
)

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
	Agents  map[string]Mode `json:"agents" required:"false" doc:"By agent id; in place of the default"`
	Limits  Limits          `json:"limits" required:"false" doc:"What holds where they are left out: 6 an hour, 5 seconds apart"`
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

// mostPolicies bounds for how many agents there can be a policy of their own.
const mostPolicies = 10_000

var modes = []Mode{Off, Suggest, Automatic}

func (p Policies) check() error {
	var wrong []fault.Field
	if !slices.Contains(modes, p.Default) {
		wrong = append(wrong, fault.Field{Path: "default", Message: "must be off, suggest or automatic"})
	}
	for id, m := range p.Agents {
		if !slices.Contains(modes, m) {
			wrong = append(wrong, fault.Field{Path: "agents." + id, Message: "must be off, suggest or automatic"})
		}
	}
	if len(p.Agents) > mostPolicies {
		wrong = append(wrong, fault.Field{Path: "agents", Message: "has more than 10000 agents"})
	}
	if p.Limits.MaxPerHour < 1 || p.Limits.MaxPerHour > 60 {
		wrong = append(wrong, fault.Field{Path: "limits.max_per_hour", Message: "must be 1 to 60"})
	}
	if p.Limits.CoolDownSeconds < 0 || p.Limits.CoolDownSeconds > 86400 {
		wrong = append(wrong, fault.Field{Path: "limits.cool_down_seconds", Message: "must be 0 to 86400"})
	}
	if len(wrong) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "recovery.invalid_policies", "The policies are not valid").At(wrong...).Do("Correct what is listed under errors.")
}

// Policies gives what holds now.
func (s *Service) Policies(ctx context.Context) (Policies, error) {
	p, err := s.Decided.Policies(ctx)
	if err != nil {
		return Policies{}, err
	}
	if p == nil {
		return DefaultPolicies(), nil
	}
	if p.Agents == nil {
		p.Agents = map[string]Mode{}
	}
	return *p, nil
}

// SetPolicies replaces the policies; Invalid with every field that is wrong.
func (s *Service) SetPolicies(ctx context.Context, p Policies) (Policies, error) {
	if p.Agents == nil {
		p.Agents = map[string]Mode{}
	}
	if p.Limits == (Limits{}) {
		p.Limits = DefaultPolicies().Limits
	}
	err := p.check()
	if err == nil {
		err = s.Tx.Do(ctx, func(ctx context.Context) error {
			before, err := s.Policies(ctx)
			if err != nil {
				return err
			}
			if err := s.Decided.SetPolicies(ctx, p); err != nil {
				return err
			}
			return s.Audit.Record(ctx, "recovery.policies", "recovery", audit.Done, "", before, p)
		})
	}
	if f := fault.As(err); f != nil && f.Kind == fault.Invalid {
		if e := s.Audit.Record(ctx, "recovery.policies", "recovery", audit.Refused, f.Error(), nil, nil); e != nil {
			return p, e
		}
	}
	return p, err
}
