package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Holding is one thing that an agent has somewhere.
type Holding struct {
	Kind     string `json:"kind" doc:"instance, container, volume, directory, logs, cgroup, image, object, port, queue or credential"`
	Name     string `json:"name"`
	Where    string `json:"where,omitempty" doc:"Path, address, or what else tells where it is"`
	Instance string `json:"instance,omitempty" doc:"Where it belongs to one instance"`
	Bytes    int64  `json:"bytes,omitempty" doc:"On disk; left out where that is nothing or not known"`
	Limit    int64  `json:"limit,omitempty" doc:"Bytes that it may have; left out where nothing bounds it"`
	// Shared says that others may use it as well; it is not removed with the agent.
	Shared bool `json:"shared,omitempty"`
	// CreatedAt is when it was made, where that is known.
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// Accountant is a Runtime that can say what it holds.
type Accountant interface {
	// Agents gives the ids of all that have anything on the runtime, sorted; also of
	// those that are in no fleet any more.
	Agents(ctx context.Context) ([]string, error)
	// Holdings lists what one agent has there, by kind and name. Remove takes away
	// all of it but what is shared.
	Holdings(ctx context.Context, agentID string) ([]Holding, error)
}

// Account is what an agent holds where, and how much of it is used.
type Account struct {
	AgentID  string `json:"agent_id"`
	Runtime  string `json:"runtime"`
	Replicas int    `json:"replicas"`
	// Limits are those of one instance, as the deployed specification has them.
	Limits agent.Resources `json:"limits"`
	Uses   []Use           `json:"uses"`
	Stocks []Stock         `json:"stocks"`
	Notes  []string        `json:"notes" doc:"What could not be found out, and why"`
	// Unasked are the runtimes that did not answer.
	Unasked []string `json:"unasked" doc:"Runtimes that did not say what it holds there"`
}

// Use is what one instance uses now.
type Use struct {
	Instance string        `json:"instance"`
	State    InstanceState `json:"state"`
	Usage
}

// Stock is what the agent holds in one place: on a runtime, or in the portal itself.
type Stock struct {
	Place    string    `json:"place" doc:"Name of a runtime, or portal"`
	Bytes    int64     `json:"bytes"`
	Holdings []Holding `json:"holdings"`
	// Left says that the agent does not run there any more.
	Left bool `json:"left,omitempty"`
}

func stock(place string, list []Holding) Stock {
	s := Stock{Place: place, Holdings: list}
	for _, h := range list {
		if !h.Shared {
			s.Bytes += h.Bytes
		}
	}
	return s
}

// Account says what the agent holds where. NotFound.
func (s *Service) Account(ctx context.Context, id string) (*Account, error) {
	a, err := s.Agents.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	spec := a.Spec.WithDefaults()
	if a.DeployedRevision != 0 {
		if spec, err = s.spec(ctx, a, a.DeployedRevision); err != nil {
			return nil, err
		}
	}
	acc := &Account{
		AgentID: a.ID, Runtime: runtimeName(spec), Replicas: max(1, spec.Replicas), Limits: spec.Resources,
		Uses: []Use{}, Stocks: []Stock{}, Notes: []string{}, Unasked: []string{},
	}
	own, err := s.ownStock(ctx, a, spec, acc)
	if err != nil {
		return nil, err
	}
	acc.Stocks = append(acc.Stocks, own)
	held := eachAccountant(ctx, s.accountTime(), s.byName(), func(ctx context.Context, ac Accountant) ([]Holding, error) { return ac.Holdings(ctx, a.ID) })
	for _, h := range held {
		if h.err != nil {
			acc.Notes = append(acc.Notes, "What it holds on "+h.runtime+" is not known: "+plainReason(h.err)+".")
			acc.Unasked = append(acc.Unasked, h.runtime)
			continue
		}
		st := stock(h.runtime, h.got)
		st.Left = h.runtime != acc.Runtime
		if len(h.got) > 0 {
			acc.Stocks = append(acc.Stocks, st)
		}
	}
	return acc, s.uses(ctx, acc)
}

// accountTime is how long a runtime may take to say what it holds.
func (s *Service) accountTime() time.Duration { return cmp.Or(s.AccountTime, 10*time.Second) }

// account is what a runtime said of what it holds.
type account[T any] struct {
	runtime string
	got     T
	err     error
}

// eachAccountant asks all runtimes that can say what they hold, at once and for some
// time, so that one that is slow delays no other; the answers have the order of the
// list.
func eachAccountant[T any](ctx context.Context, patience time.Duration, list []Runtime, ask func(ctx context.Context, ac Accountant) (T, error)) []account[T] {
	list = slices.DeleteFunc(slices.Clone(list), func(rt Runtime) bool { _, ok := rt.(Accountant); return !ok })
	out := make([]account[T], len(list))
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all sync.WaitGroup
	for i, rt := range list {
		all.Go(func() {
			got, err := ask(bounded, rt.(Accountant))
			if err != nil && bounded.Err() != nil && ctx.Err() == nil {
				err = silent(rt, patience)
			}
			out[i] = account[T]{rt.Name(), got, err}
		})
	}
	all.Wait()
	return out
}

// RuntimeNames are the runtimes that this portal has, sorted.
func (s *Service) RuntimeNames() []string {
	var names []string
	for _, rt := range s.byName() {
		names = append(names, rt.Name())
	}
	return names
}

// byName gives the runtimes in the order of their names.
func (s *Service) byName() []Runtime {
	list := make([]Runtime, 0, len(s.Runtimes))
	for _, rt := range s.Runtimes {
		list = append(list, rt)
	}
	slices.SortFunc(list, func(x, y Runtime) int { return cmp.Compare(x.Name(), y.Name()) })
	return list
}

// ownStock is what the agent holds in the portal: ports, queues, a credential.
func (s *Service) ownStock(ctx context.Context, a *agent.Agent, spec agent.Spec, acc *Account) (Stock, error) {
	list := []Holding{}
	ports, err := s.Observed.Ports(ctx)
	if err != nil {
		return Stock{}, err
	}
	for p, owner := range ports {
		if owner == a.ID {
			list = append(list, Holding{Kind: "port", Name: fmt.Sprint(p), Where: "reserved for an instance"})
		}
	}
	if a.DeployedRevision != 0 {
		for _, p := range spec.Ports {
			list = append(list, Holding{Kind: "port", Name: fmt.Sprint(p.Port), Where: "fixed by its specification as " + p.Name})
		}
	}
	stats, err := s.Broker.Stats(ctx, a.ID)
	switch {
	case err == nil:
		list = append(list, Holding{Kind: "queue", Name: "commands", Where: fmt.Sprintf("%d messages wait, %d are worked on", stats.Pending, stats.InFlight)})
	case !fault.Is(err, fault.NotFound):
		acc.Notes = append(acc.Notes, "Its queue is not known: "+plainReason(err)+".")
	}
	_, err = s.Keys.Secret(ctx, a.ID)
	switch {
	case err == nil:
		list = append(list, Holding{Kind: "credential", Name: "of the agent", Where: "derived from the portal's key"})
	case !fault.Is(err, fault.NotFound):
		return Stock{}, err
	}
	SortHoldings(list)
	return stock("portal", list), nil
}

// SortHoldings orders them by kind and name.
func SortHoldings(list []Holding) {
	slices.SortFunc(list, func(x, y Holding) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(len(x.Name), len(y.Name)), cmp.Compare(x.Name, y.Name))
	})
}

// uses measures the instances that run.
func (s *Service) uses(ctx context.Context, acc *Account) error {
	rt := s.Runtimes[acc.Runtime]
	seen, err := s.Observed.Instances(ctx, acc.AgentID)
	if err != nil {
		return err
	}
	m, ok := rt.(Meter)
	if !ok {
		return nil
	}
	for _, in := range seen[acc.AgentID] {
		if in.State != InstanceRunning && in.State != InstanceSuspended {
			continue
		}
		u, err := m.Usage(ctx, acc.AgentID, in.ID)
		if err != nil {
			acc.Notes = append(acc.Notes, "What "+in.ID+" uses is not known: "+plainReason(err)+".")
			continue
		}
		acc.Uses = append(acc.Uses, Use{Instance: in.ID, State: in.State, Usage: u})
	}
	return nil
}

// Orphan is what a runtime holds for an agent that has nothing to do there.
type Orphan struct {
	Runtime  string    `json:"runtime"`
	AgentID  string    `json:"agent_id"`
	Why      string    `json:"why"`
	Bytes    int64     `json:"bytes"`
	Holdings []Holding `json:"holdings"`
}

// Orphans lists what the runtimes hold and no agent owns: what only this portal
// can have made, by its directories or labels. The notes name runtimes that could
// not be asked.
func (s *Service) Orphans(ctx context.Context) (list []Orphan, notes []string, err error) {
	list, notes = []Orphan{}, []string{}
	found := eachAccountant(ctx, s.accountTime(), s.byName(), func(ctx context.Context, ac Accountant) (out []Orphan, err error) {
		ids, err := ac.Agents(ctx)
		for _, id := range ids {
			o, err := s.orphan(ctx, ac.(Runtime).Name(), ac, id)
			if err != nil {
				return nil, err
			}
			if o != nil {
				out = append(out, *o)
			}
		}
		return out, err
	})
	for _, f := range found {
		list = append(list, f.got...)
		if f.err != nil {
			notes = append(notes, "What is left over on "+f.runtime+" is not known: "+plainReason(f.err)+".")
		}
	}
	return list, notes, ctx.Err()
}

// Orphan gives what the runtime holds for the id and nobody owns. NotFound if
// there is no such thing.
func (s *Service) Orphan(ctx context.Context, runtime, id string) (*Orphan, error) {
	ac, ok := s.Runtimes[runtime].(Accountant)
	if !ok {
		return nil, noOrphan(runtime, id)
	}
	o, err := s.orphan(ctx, runtime, ac, id)
	if err == nil && o == nil {
		return nil, noOrphan(runtime, id)
	}
	return o, err
}

// orphan is nil where the agent has a right to be on the runtime, or nothing there.
func (s *Service) orphan(ctx context.Context, runtime string, ac Accountant, id string) (*Orphan, error) {
	why, err := s.unowned(ctx, runtime, id)
	if err != nil || why == "" {
		return nil, err
	}
	list, err := ac.Holdings(ctx, id)
	if err != nil {
		return nil, unreachable(s.Runtimes[runtime], err)
	}
	own := stock(runtime, list)
	if len(list) == 0 {
		return nil, nil
	}
	return &Orphan{Runtime: runtime, AgentID: id, Why: why, Bytes: own.Bytes, Holdings: list}, nil
}

// unowned says why no agent owns what is on the runtime under the id; "" if one does.
func (s *Service) unowned(ctx context.Context, runtime, id string) (string, error) {
	a, err := s.Agents.Get(ctx, id)
	if fault.Is(err, fault.NotFound) || err == nil && a.ID != id {
		return "there is no such agent", nil
	}
	if err != nil {
		return "", err
	}
	switch {
	case a.ActiveOperation != "":
		return "", nil
	case a.State == agent.Revoked:
		return "the agent is revoked", nil
	case a.DeployedRevision == 0:
		if a.State == agent.Errored {
			return "", nil // what failed half way is cleaned up by the next action
		}
		return "nothing of the agent is deployed", nil
	}
	spec, err := s.spec(ctx, a, a.DeployedRevision)
	if err != nil || runtimeName(spec) == runtime {
		return "", err
	}
	return "the agent runs on " + runtimeName(spec) + " now", nil
}

// RemoveOrphan removes what the runtime holds for the id, and gives what that
// was. NotFound if there is nothing that nobody owns.
func (s *Service) RemoveOrphan(ctx context.Context, runtime, id, reason string) (*Orphan, error) {
	// No step of an operation begins meanwhile.
	defer s.locks.lock(id)()
	o, err := s.Orphan(ctx, runtime, id)
	if err != nil {
		return nil, err
	}
	rt := s.Runtimes[runtime]
	before := map[string]any{"runtime": o.Runtime, "why": o.Why, "holdings": o.Holdings}
	if err := rt.Remove(ctx, id); err != nil {
		f := unreachable(rt, err)
		return nil, cmp.Or(s.Audit.Record(context.WithoutCancel(ctx), "orphan.remove", "agent/"+id, audit.Failed, f.Error(), before, nil), f)
	}
	err = s.Tx.Do(context.WithoutCancel(ctx), func(ctx context.Context) error { // it is gone, whoever waits for the answer
		if err := s.Audit.Record(ctx, "orphan.remove", "agent/"+id, audit.Done, reason, before, nil); err != nil {
			return err
		}
		now := s.Now().UTC()
		return s.Events.Append(ctx, event.New(event.OrphanRemoved, id, audit.ActorFrom(ctx).ID, now, event.Orphan{
			Runtime: o.Runtime, AgentID: id, Why: o.Why, Count: len(o.Holdings), Bytes: o.Bytes, Reason: reason, Timestamp: now,
		}, event.RoomAgents))
	})
	return o, err
}

func noOrphan(runtime, id string) error {
	return fault.New(fault.NotFound, "orphan.not_found", "Nothing on %s is left over of %s", runtime, id).
		Because("an agent owns what is there, or nothing is there").Do("List again what is left over.")
}
