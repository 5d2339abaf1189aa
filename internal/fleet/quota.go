package fleet

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Quota bounds what the agents of one tier, of one runtime, or both, may ask for
// together. That of a kind of runtimes is about all places of the kind. Zero fields
// bound nothing.
type Quota struct {
	Tier    int    `json:"tier,omitempty"`    // 0: of every tier
	Runtime string `json:"runtime,omitempty"` // "": of every runtime
	Amount
}

// Amount is how much of everything: bounds, or what is taken.
type Amount struct {
	Agents   int            `json:"agents,omitempty"`
	Replicas int            `json:"replicas,omitempty"`
	CPU      float64        `json:"cpu,omitempty"`
	Memory   agent.Quantity `json:"memory,omitzero"`
	Disk     agent.Quantity `json:"disk,omitzero"`
}

// add takes in an agent with the spec.
func (m *Amount) add(spec agent.Spec) {
	n := max(1, spec.Replicas)
	m.plus(Amount{
		Agents: 1, Replicas: n, CPU: float64(n) * spec.Resources.CPU,
		Memory: agent.Quantity(n) * spec.Resources.Memory, Disk: agent.Quantity(n) * spec.Resources.Disk,
	})
}

// plus takes in another amount.
func (m *Amount) plus(n Amount) {
	m.Agents += n.Agents
	m.Replicas += n.Replicas
	m.CPU += n.CPU
	m.Memory += n.Memory
	m.Disk += n.Disk
}

// String names whom the quota is about.
func (q Quota) String() string {
	switch {
	case q.Tier != 0 && q.Runtime != "":
		return fmt.Sprintf("tier %d on %s", q.Tier, q.Runtime)
	case q.Tier != 0:
		return fmt.Sprintf("tier %d", q.Tier)
	case q.Runtime != "":
		return "the runtime " + q.Runtime
	}
	return "the fleet"
}

func (q Quota) about(spec agent.Spec) bool {
	return (q.Tier == 0 || q.Tier == spec.Tier) && (q.Runtime == "" || q.Runtime == runtimeName(spec) || q.Runtime == agent.RuntimeKind(runtimeName(spec)))
}

// ParseQuotas reads quotas as "tier=1 memory=8Gi cpu=4; runtime=docker replicas=20".
func ParseQuotas(text string) ([]Quota, error) {
	var list []Quota
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		var q Quota
		for _, word := range words {
			if err := q.set(word); err != nil {
				return nil, err
			}
		}
		if q.Amount == (Amount{}) {
			return nil, fmt.Errorf("%q bounds nothing; add agents, replicas, cpu, memory or disk", strings.TrimSpace(part))
		}
		list = append(list, q)
	}
	return list, nil
}

func (q *Quota) set(word string) (err error) {
	name, v, _ := strings.Cut(word, "=")
	switch name {
	case "tier":
		if q.Tier, err = strconv.Atoi(v); err == nil && (q.Tier < 1 || q.Tier > 6) {
			err = fmt.Errorf("tiers are 1 to 6")
		}
	case "runtime":
		if q.Runtime = v; !agent.RuntimeName(v) {
			err = fmt.Errorf("it is neither a kind of runtimes nor a place as KIND/NAME")
		}
	case "agents":
		q.Agents, err = positive(v)
	case "replicas":
		q.Replicas, err = positive(v)
	case "cpu":
		if q.CPU, err = strconv.ParseFloat(v, 64); err == nil && !(q.CPU > 0 && q.CPU < 1e6) {
			err = fmt.Errorf("it has to be more than 0")
		}
	case "memory":
		q.Memory, err = bytes(v)
	case "disk":
		q.Disk, err = bytes(v)
	default:
		return fmt.Errorf("%q is none of tier, runtime, agents, replicas, cpu, memory and disk", name)
	}
	if err != nil {
		return fmt.Errorf("%q is no good value of %s: %w", v, name, err)
	}
	return nil
}

func positive(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err == nil && n < 1 {
		err = fmt.Errorf("it has to be 1 or more")
	}
	return n, err
}

func bytes(v string) (agent.Quantity, error) {
	n, err := agent.ParseQuantity(v)
	if err == nil && n < 1 {
		err = fmt.Errorf("it has to be 1 or more")
	}
	return n, err
}

// QuotaUse is a quota and what is taken of it.
type QuotaUse struct {
	Quota
	Taken Amount `json:"taken"`
}

// QuotaUses says what is taken of each quota.
func (s *Service) QuotaUses(ctx context.Context) ([]QuotaUse, error) {
	out := make([]QuotaUse, len(s.Quotas))
	for i, q := range s.Quotas {
		out[i].Quota = q
	}
	return out, s.survey(ctx, func(_ *agent.Agent, spec agent.Spec, takes bool) {
		for i, q := range s.Quotas {
			if takes && q.about(spec) {
				out[i].Taken.add(spec)
			}
		}
	})
}

// holding are the states in which an agent has what its specification asks for,
// or may take it at any time.
var holding = []agent.State{agent.Provisioned, agent.Deployed, agent.Running, agent.Stopped, agent.Suspended, agent.Errored}

// taken adds up what the agents of the quota ask for, but the one that is named.
func (s *Service) taken(ctx context.Context, q Quota, but string) (Amount, error) {
	var sum Amount
	err := s.survey(ctx, func(a *agent.Agent, spec agent.Spec, takes bool) {
		if takes && a.ID != but && q.about(spec) {
			sum.add(spec)
		}
	})
	return sum, err
}

// survey goes through all agents, with the specification by which each counts and
// whether it takes what that asks for. An agent that is being worked on counts with
// its newest revision.
func (s *Service) survey(ctx context.Context, fn func(a *agent.Agent, spec agent.Spec, takes bool)) error {
	for cursor := ""; ; {
		page, err := s.Agents.Find(ctx, agent.Query{Sort: "id", Limit: 1000, Cursor: cursor})
		if err != nil {
			return err
		}
		for _, a := range page.Agents {
			takes := slices.Contains(holding, a.State) || a.State == agent.Draft && a.ActiveOperation != ""
			spec := a.Spec.WithDefaults()
			if takes && a.ActiveOperation == "" && a.DeployedRevision != 0 {
				if spec, err = s.spec(ctx, a, a.DeployedRevision); err != nil {
					return err
				}
			}
			fn(a, spec, takes)
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// admit refuses what would exceed a quota, with the fields that are too large.
func (s *Service) admit(ctx context.Context, a *agent.Agent, spec agent.Spec) error {
	spec = spec.WithDefaults()
	for _, q := range s.Quotas {
		if !q.about(spec) {
			continue
		}
		taken, err := s.taken(ctx, q, a.ID)
		if err != nil {
			return err
		}
		if fields := q.exceeded(taken, spec); len(fields) > 0 {
			return fault.New(fault.Conflict, "fleet.quota", "The quota of %s does not allow %s", q, a.ID).
				Because("%s", fields[0].Message).At(fields...).
				Do("Let it ask for less, revoke agents that nobody needs, or raise the quota (setting quotas).").With("taken", taken)
		}
	}
	return nil
}

// exceeded names the fields with which the agent would take too much.
func (q Quota) exceeded(taken Amount, spec agent.Spec) []fault.Field {
	var one Amount
	one.add(spec)
	var out []fault.Field
	over := func(field string, bound, used, asked float64, unit string, show func(float64) string) {
		switch {
		case bound == 0:
		case asked == 0:
			out = append(out, fault.Field{Path: field, Message: fmt.Sprintf("has to be given, because %s may have %s%s in all", q, show(bound), unit)})
		case used+asked > bound*(1+1e-9):
			out = append(out, fault.Field{Path: field, Message: fmt.Sprintf("%s more would be needed, and %s of %s%s are taken", show(asked), show(used), show(bound), unit)})
		}
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	size := func(v float64) string { return agent.Quantity(v).String() }
	over("replicas", float64(q.Agents), float64(taken.Agents), float64(one.Agents), " agents", number)
	over("replicas", float64(q.Replicas), float64(taken.Replicas), float64(one.Replicas), " replicas", number)
	over("resources.cpu", q.CPU, taken.CPU, one.CPU, " cores", number)
	over("resources.memory", float64(q.Memory), float64(taken.Memory), float64(one.Memory), "", size)
	over("resources.disk", float64(q.Disk), float64(taken.Disk), float64(one.Disk), "", size)
	return out
}
