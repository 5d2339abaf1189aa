package checks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/queue"
)

// Finder finds agents.
type Finder interface {
	Find(ctx context.Context, q agent.Query) (agent.Page, error)
}

// Keys knows the credential of each agent.
type Keys interface {
	Secret(ctx context.Context, agentID string) (string, error)
	Verify(ctx context.Context, agentID, secret string) error
}

// Queues knows what waits in the queue of each agent.
type Queues interface {
	Stats(ctx context.Context, agentID string) (queue.Stats, error)
}

// Agents makes the checks of one agent that need no question to the agent itself.
type Agents struct {
	Agents Finder
	Keys   Keys
	Queues Queues
	// SignIn connects to the queue as the agent would; nil where the portal does
	// not decide who may.
	SignIn func(ctx context.Context, agentID, secret string) error
	// Resolve gives the value of a reference to a secret.
	Resolve func(ctx context.Context, reference string) (string, error)
}

// Checks are the checks of an agent.
func (c Agents) Checks() []diagnosis.Check {
	return []diagnosis.Check{
		ofAgent("state", c.state), ofAgent("dependencies", c.dependencies), ofAgent("secrets", c.secrets),
		ofAgent("credential", c.credential), ofAgent("queue", c.queue),
	}
}

// provisioned tells whether the agent has resources: queues, a credential, ports.
func provisioned(a *agent.Agent) bool { return a.State != agent.Draft && a.State != agent.Revoked }

func (c Agents) state(_ context.Context, on diagnosis.Subject) diagnosis.Outcome {
	a := on.Agent
	evidence := []string{fmt.Sprintf("state %s, health %s", a.State, a.Health)}
	if a.HealthReason != "" {
		evidence = append(evidence, a.HealthReason)
	}
	for _, in := range on.Instances {
		line := fmt.Sprintf("instance %s: %s", in.ID, in.State)
		if in.Restarts > 0 {
			line += fmt.Sprintf(", restarted %d times", in.Restarts)
		}
		if in.Reason != "" {
			line += ": " + in.Reason
		}
		evidence = append(evidence, line)
	}
	switch {
	case a.State == agent.Errored:
		o := fail("The agent does not work: an action failed, or it crashed too often.", "See the last operation and the logs of the agent, correct the cause, then start it.", evidence...)
		if f := a.Failure; f != nil {
			o.Evidence = append([]string{f.Reason}, o.Evidence...)
			if f.Remedy != "" {
				o.Remedy = f.Remedy
			}
		}
		return o
	case a.State == agent.Running && a.Health == agent.HealthUnhealthy:
		return fail("The agent runs but is not well.", "See its logs and what its probes say.", evidence...)
	case a.State == agent.Running && a.Health == agent.HealthDegraded:
		return warn("The agent works in part.", "See its logs, what its probes say, and the agents that it depends on.", evidence...)
	case a.State != agent.Running:
		return skip("The agent is not meant to run now.", evidence...)
	}
	return fine("The agent runs and is well.", evidence...)
}

func (c Agents) dependencies(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome {
	needs := on.Spec.Dependencies
	if len(needs) == 0 {
		return skip("It depends on no other agent.")
	}
	page, err := c.Agents.Find(ctx, agent.Query{IDs: needs, Limit: 1000})
	if err != nil {
		return broken("It is not known how the agents are that it depends on.", "See that the database answers.", err)
	}
	var w worse
	for _, name := range needs {
		i := slices.IndexFunc(page.Agents, func(a *agent.Agent) bool {
			return strings.EqualFold(a.Spec.Name, name) || strings.EqualFold(a.ID, name)
		})
		if i < 0 {
			w.add(warn("An agent that it depends on is not in the fleet.", "Declare "+name+", or take it out of the dependencies.", name+": not in the fleet"))
			continue
		}
		d := page.Agents[i]
		line := fmt.Sprintf("%s: %s, %s", name, d.State, d.Health)
		if d.HealthReason != "" {
			line += " (" + d.HealthReason + ")"
		}
		switch {
		case d.State != agent.Running:
			w.add(fail("An agent that it depends on does not run.", "Start "+name+" first.", line))
		case d.Health == agent.HealthUnhealthy || d.Health == agent.HealthDegraded:
			w.add(warn("An agent that it depends on is not well.", "Look at "+name+" first.", line))
		default:
			w.add(fine("The agents that it depends on run and are well.", line))
		}
	}
	return w.Outcome
}

func (c Agents) secrets(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome {
	return resolved(ctx, on.Spec.Secrets, c.Resolve)
}

// resolved tries each reference. Values are looked at and forgotten.
func resolved(ctx context.Context, references map[string]string, resolve func(ctx context.Context, reference string) (string, error)) diagnosis.Outcome {
	if len(references) == 0 {
		return skip("No secret is referred to.")
	}
	var w worse
	for _, name := range slices.Sorted(maps.Keys(references)) {
		value, err := resolve(ctx, references[name])
		switch f := fault.As(err); {
		case f != nil:
			w.add(fail("A secret can't be read; what needs it can't start.", f.Remedy, name+": "+strings.TrimSuffix(f.What+", "+f.Why, ", ")))
		case err != nil:
			w.add(fail("A secret can't be read; what needs it can't start.", "Let the portal's user read the secrets directory.", name+": it can't be read"))
		case value == "":
			w.add(warn("A secret is empty.", "Put its value where the reference points.", name+": it is empty"))
		default:
			w.add(fine("Every secret can be read.", name+": can be read"))
		}
	}
	return w.Outcome
}

func (c Agents) credential(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome {
	if !provisioned(on.Agent) {
		return skip("The agent has no credential: it is not provisioned.", "state "+string(on.Agent.State))
	}
	const meaning, remedy = "The agent can't sign in to its queue and gets no tasks.", "Provision the agent anew, then restart it."
	secret, err := c.Keys.Secret(ctx, on.Agent.ID)
	if err != nil {
		return broken(meaning, remedy, err)
	}
	if err := c.Keys.Verify(ctx, on.Agent.ID, secret); err != nil {
		return broken(meaning, remedy, err)
	}
	if c.SignIn == nil {
		return fine("The agent's credential is valid.", "it fits its hash; whom the external queue lets in is not for the portal to say")
	}
	if err := c.SignIn(ctx, on.Agent.ID, secret); err != nil {
		return broken(meaning, remedy, err, "the credential itself is valid")
	}
	return fine("The agent's credential is valid.", "the queue lets the agent in with it")
}

// manyDead is how many dead letters are no accident any more.
const manyDead = 10

func (c Agents) queue(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome {
	if !provisioned(on.Agent) {
		return skip("The agent has no queue: it is not provisioned.", "state "+string(on.Agent.State))
	}
	st, err := c.Queues.Stats(ctx, on.Agent.ID)
	if err != nil {
		return broken("Its queue does not answer; it gets no tasks.", "Provision the agent anew; see the portal's log if that does not help.", err)
	}
	evidence := []string{fmt.Sprintf("%d wait, %d are being worked on, %d dead letters, %d consumers", st.Pending, st.InFlight, st.Dead, st.Consumers)}
	if !st.Oldest.IsZero() {
		evidence = append(evidence, "the oldest is of "+st.Oldest.UTC().Format("2006-01-02 15:04:05")+" UTC")
	}
	switch {
	case on.Agent.State == agent.Running && st.Pending > 0 && st.InFlight == 0 && st.Consumers == 0:
		return fail("Tasks wait and nobody takes them.", "See whether the agent is connected to its queue (its logs say so); restart it.", evidence...)
	case st.Dead >= manyDead:
		return fail("Many tasks could not be done.", "Look at the dead letters: what they have in common is the cause.", evidence...)
	case st.Dead > 0:
		return warn("Some tasks could not be done.", "Look at the dead letters.", evidence...)
	}
	return fine("Tasks are taken from its queue.", evidence...)
}
