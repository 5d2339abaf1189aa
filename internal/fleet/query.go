package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/queue"
)

// Impact is what an action would touch, for the question "are you sure?".
type Impact struct {
	AgentID string       `json:"agent_id"`
	Action  agent.Action `json:"action"`
	// Allowed says whether the agent's state allows the action now.
	Allowed bool `json:"allowed"`
	// Dependants are the names of the running agents that depend on this one.
	Dependants []string `json:"dependants"`
	// Instances is how many run now.
	Instances int `json:"instances"`
	// Queue is what waits in the agent's queue; nil if it has none.
	Queue    *queue.Stats `json:"queue,omitempty"`
	Warnings []string     `json:"warnings"`
	// Forgets says that what is suspended loses its memory and begins anew.
	Forgets bool `json:"forgets,omitempty"`
}

// disturbs tells whether the action ends or interrupts what the agent does.
func disturbs(a agent.Action) bool {
	return a == agent.Stop || a == agent.Suspend || a == agent.Restart || a == agent.Revoke
}

// Impact says what the action would touch. NotFound, Invalid for an unknown action.
func (s *Service) Impact(ctx context.Context, id string, action agent.Action) (Impact, error) {
	a, err := s.Agents.Get(ctx, id)
	if err != nil {
		return Impact{}, err
	}
	im := Impact{AgentID: a.ID, Action: action, Dependants: []string{}, Warnings: []string{}}
	_, err = agent.Next(a.State, action)
	if fault.Is(err, fault.Invalid) {
		return Impact{}, err
	}
	im.Allowed = err == nil && a.ActiveOperation == ""
	if a.ActiveOperation != "" {
		im.Warnings = append(im.Warnings, s.busy(ctx, a).Error())
	}
	if im.Dependants, err = s.dependants(ctx, a); err != nil {
		return Impact{}, err
	}
	seen, err := s.Observed.Instances(ctx, a.ID)
	if err != nil {
		return Impact{}, err
	}
	for _, in := range seen[a.ID] {
		if alive(in.State) {
			im.Instances++
		}
	}
	stats, err := s.Broker.Stats(ctx, a.ID)
	switch {
	case err == nil:
		im.Queue = &stats
	case !fault.Is(err, fault.NotFound):
		im.Warnings = append(im.Warnings, "The queue's backlog is not known: "+plainReason(err)+".")
	}
	if f, ok := s.Runtimes[runtimeName(a.Spec)].(Forgetful); ok && (action == agent.Suspend || action == agent.Resume) {
		im.Forgets = f.Forgets()
	}
	if disturbs(action) {
		im.Warnings = append(im.Warnings, im.warnings()...)
	}
	return im, nil
}

// warnings are what the user should think of first.
func (im Impact) warnings() []string {
	var list []string
	if n := len(im.Dependants); n > 0 {
		list = append(list, fmt.Sprintf("%d running agents depend on it: %s.", n, brief(im.Dependants, 5)))
	}
	if q := im.Queue; q != nil && q.InFlight > 0 && im.Instances > 0 {
		list = append(list, fmt.Sprintf("%d tasks are being worked on; they are given back to the queue if they do not end in time.", q.InFlight))
	}
	if q := im.Queue; q != nil && q.Pending+q.InFlight > 0 {
		if im.Action == agent.Revoke {
			list = append(list, fmt.Sprintf("%d messages in its queue will be deleted.", q.Pending+q.InFlight))
		} else {
			list = append(list, fmt.Sprintf("%d messages wait in its queue.", q.Pending))
		}
	}
	if im.Forgets {
		list = append(list, "What its instances have in memory is lost: its runtime ends what it suspends, and begins it anew when it is resumed.")
	}
	if im.Action == agent.Revoke {
		list = append(list, "Its data, queues and credential are deleted for good; its history is kept.")
	}
	return list
}

// dependants gives the names of the running agents that need a.
func (s *Service) dependants(ctx context.Context, a *agent.Agent) ([]string, error) {
	edges, err := s.Agents.Dependencies(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for name, needs := range edges {
		if slices.ContainsFunc(needs, func(n string) bool {
			return strings.EqualFold(n, a.Spec.Name) || strings.EqualFold(n, a.ID)
		}) {
			names = append(names, name)
		}
	}
	running := []string{}
	for part := range slices.Chunk(names, 200) {
		page, err := s.Agents.Find(ctx, agent.Query{IDs: part, States: []agent.State{agent.Running}, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, d := range page.Agents {
			running = append(running, d.Spec.Name)
		}
	}
	slices.Sort(running)
	return slices.Compact(running), nil
}

// Instances gives what was last observed of the agents' instances, by agent
// and in order of revision and index; of all agents if none is named. What the
// probes say is as new as the call.
func (s *Service) Instances(ctx context.Context, agentIDs ...string) (map[string][]Instance, error) {
	seen, err := s.Observed.Instances(ctx, agentIDs...)
	if err != nil {
		return seen, err
	}
	for id, list := range seen {
		for i := range list {
			s.present(id, &list[i])
		}
	}
	return seen, nil
}

// present adds what is newer than the stored observation, and leaves out what
// was true of an earlier run only.
func (s *Service) present(agentID string, in *Instance) {
	if in.State != InstanceRunning {
		in.Live, in.Ready = nil, nil
		return
	}
	in.LastLogs = nil // of the run before
	if s.Monitor == nil {
		return
	}
	if live, ready := s.Monitor.Answers(agentID, in.ID); live != nil || ready != nil {
		in.Live, in.Ready = live, ready
	}
}

// Logs calls fn for each line of an agent's output, as LogReader.ReadLogs does.
// NotFound for an unknown agent, Unavailable if its runtime has no logs to read.
func (s *Service) Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error {
	a, err := s.Agents.Get(ctx, q.AgentID)
	if err != nil {
		return err
	}
	q.AgentID = a.ID
	rt, err := s.runtimeOf(ctx, a)
	if err != nil {
		return err
	}
	r, ok := rt.(LogReader)
	if !ok {
		return fault.New(fault.Unavailable, "fleet.no_logs", "The logs of %s can't be read here", a.ID).
			Because("the runtime %s does not keep them", rt.Name()).Do("Look for them where that runtime writes them.")
	}
	return r.ReadLogs(ctx, q, fn)
}

// runtimeOf gives the runtime that holds the agent, or would hold it.
func (s *Service) runtimeOf(ctx context.Context, a *agent.Agent) (Runtime, error) {
	spec := a.Spec
	if a.DeployedRevision != 0 {
		var err error
		if spec, err = s.spec(ctx, a, a.DeployedRevision); err != nil {
			return nil, err
		}
	}
	return s.Runtime(runtimeName(spec))
}

// meter lets the health checker measure instances of a runtime.
type meter struct{ rt Meter }

// Measure implements health.Meter.
func (m meter) Measure(ctx context.Context, agentID, instanceID string) (map[string]float64, error) {
	u, err := m.rt.Usage(ctx, agentID, instanceID)
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		"cpu_seconds": u.CPUSeconds, "memory_bytes": float64(u.Memory), "pids": float64(u.PIDs), "disk_bytes": float64(u.Disk),
	}, nil
}

var _ health.Meter = meter{}

// HolderQuery selects what Holders tells.
type HolderQuery struct {
	Runtime  string   // "" for all
	Search   string   // part of an agent's id or name, whatever the case
	AgentIDs []string // nil for all
	Offset   int
	Limit    int // 0 means 25
}

// Holder is what one agent holds on one runtime, in short.
type Holder struct {
	Runtime string         `json:"runtime"`
	AgentID string         `json:"agent_id"`
	Name    string         `json:"name"`
	Kinds   map[string]int `json:"kinds" doc:"How many things of each kind"`
	Bytes   int64          `json:"bytes" doc:"On disk, without what others may use as well"`
	// Asked is what all its instances may use; zero where it does not run there.
	Asked Amount `json:"asked"`
	// Left says that the agent does not run there any more.
	Left bool `json:"left,omitempty"`
}

// Holders are the agents that hold something: a part of the list, and the sums of all.
type Holders struct {
	List   []Holder
	Next   int // offset of the next part; 0 on the last
	Places []Place
	Notes  []string // what could not be found out, and why
}

// Place is a runtime and what agents hold there together.
type Place struct {
	Runtime string
	Agents  int    // that hold anything there
	Asked   Amount // what those that run there may use
}

// member is an agent as the sums see it.
type member struct {
	name, runtime string
	takes         bool
	asked         Amount
}

// Holders tells which agents hold what on which runtime.
func (s *Service) Holders(ctx context.Context, q HolderQuery) (*Holders, error) {
	members := map[string]member{}
	err := s.survey(ctx, func(a *agent.Agent, spec agent.Spec, takes bool) {
		m := member{name: a.Spec.Name, runtime: runtimeName(spec), takes: takes}
		if takes {
			m.asked.add(spec)
		}
		members[a.ID] = m
	})
	if err != nil {
		return nil, err
	}
	out := &Holders{List: []Holder{}, Notes: []string{}}
	asked := slices.DeleteFunc(s.byName(), func(rt Runtime) bool { return q.Runtime != "" && q.Runtime != rt.Name() })
	for _, has := range eachAccountant(ctx, s.accountTime(), asked, func(ctx context.Context, ac Accountant) ([]string, error) { return ac.Agents(ctx) }) {
		if has.err != nil {
			out.Notes = append(out.Notes, "What agents hold on "+has.runtime+" is not known: "+plainReason(has.err)+".")
		}
		out.Places = append(out.Places, out.gather(has.runtime, has.got, members, q))
	}
	s.page(out, q)
	return out, s.weigh(ctx, out)
}

// gather lists whom of the runtime the query selects, and sums up all of it.
func (h *Holders) gather(runtime string, ids []string, members map[string]member, q HolderQuery) Place {
	place := Place{Runtime: runtime}
	for _, m := range members {
		if m.takes && m.runtime == runtime {
			place.Asked.plus(m.asked)
		}
	}
	search := strings.ToLower(q.Search)
	for _, id := range ids {
		m, ok := members[id]
		if !ok {
			continue // nobody's; see Orphans
		}
		place.Agents++
		if q.AgentIDs != nil && !slices.Contains(q.AgentIDs, id) || !strings.Contains(strings.ToLower(m.name), search) && !strings.Contains(id, search) {
			continue
		}
		holder := Holder{Runtime: runtime, AgentID: id, Name: m.name, Left: !m.takes || m.runtime != runtime}
		if !holder.Left {
			holder.Asked = m.asked
		}
		h.List = append(h.List, holder)
	}
	return place
}

// page leaves the part that is asked for.
func (s *Service) page(h *Holders, q HolderQuery) {
	slices.SortFunc(h.List, func(x, y Holder) int {
		return cmp.Or(cmp.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name)), cmp.Compare(x.Runtime, y.Runtime))
	})
	limit := cmp.Or(q.Limit, 25)
	from := min(max(0, q.Offset), len(h.List))
	to := min(from+limit, len(h.List))
	if to < len(h.List) {
		h.Next = to
	}
	h.List = h.List[from:to]
}

// weigh looks at what each of the list holds, several at once.
func (s *Service) weigh(ctx context.Context, h *Holders) error {
	var wg sync.WaitGroup
	free := make(chan struct{}, 8)
	errs := make([]error, len(h.List))
	bounded, cancel := context.WithTimeout(ctx, s.accountTime())
	defer cancel()
	for i := range h.List {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			rt := s.Runtimes[h.List[i].Runtime]
			if errs[i] = h.List[i].look(bounded, rt); errs[i] != nil && bounded.Err() != nil {
				errs[i] = silent(rt, s.accountTime())
			}
		})
	}
	wg.Wait()
	said := map[string]bool{}
	for i, err := range errs {
		if rt := h.List[i].Runtime; err != nil && !said[rt] {
			said[rt] = true
			h.Notes = append(h.Notes, "What some agents hold on "+rt+" is not known: "+plainReason(err)+".")
		}
	}
	return ctx.Err()
}

func (h *Holder) look(ctx context.Context, rt Runtime) error {
	h.Kinds = map[string]int{}
	list, err := rt.(Accountant).Holdings(ctx, h.AgentID)
	if err != nil {
		return err
	}
	instances := map[string]bool{}
	for _, one := range list {
		if one.Kind == "instance" && instances[one.Instance] {
			continue // a cluster has several objects for one
		}
		instances[one.Instance] = one.Kind == "instance" || instances[one.Instance]
		h.Kinds[one.Kind]++
	}
	h.Bytes = stock(h.Runtime, list).Bytes
	return nil
}
