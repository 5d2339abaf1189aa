package recovery

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

const (
	// linesBack is how far back output is looked at, and linesMost how much of it.
	linesBack = 3 * time.Minute
	linesMost = 60
)

// facts collects what is known of an agent. op is the operation that failed, or nil.
func (s *Service) facts(ctx context.Context, a *agent.Agent, op *operation.Operation) (*cause.Facts, error) {
	f := &cause.Facts{
		Now: s.now(), AgentID: a.ID, State: a.State, Health: a.Health, HealthReason: a.HealthReason, Failure: a.Failure, DiskFree: -1,
	}
	if err := s.revision(ctx, a, f); err != nil {
		return nil, err
	}
	if err := s.runs(ctx, a, f); err != nil {
		return nil, err
	}
	if op != nil {
		blame(f, op)
	}
	f.Environment = environment(f.Spec)
	if err := s.peers(ctx, f); err != nil {
		return nil, err
	}
	if err := s.printed(ctx, a, f, op); err != nil {
		return nil, err
	}
	list, _, err := s.Probes.Results(ctx, a.ID, "", 30)
	if err != nil {
		return nil, err
	}
	f.Probes = list
	s.watch.fill(f)
	s.machine(f)
	if s.Letters != nil && (a.State == agent.Running || a.State == agent.Errored) {
		if m, err := s.Letters.Working(ctx, a.ID); err == nil && m != nil {
			f.Oldest = &cause.Message{Sequence: m.Sequence, ID: m.ID, Deliveries: m.Deliveries, Published: m.Published}
		}
	}
	return f, nil
}

// revision fills in what runs, and what ran well before.
func (s *Service) revision(ctx context.Context, a *agent.Agent, f *cause.Facts) error {
	f.Revision = a.DeployedRevision
	if f.Revision == 0 || a.State == agent.Errored && a.Failure != nil && a.Revision != a.DeployedRevision && undeployed(a.Failure.Code) {
		f.Revision = a.Revision // the newest could not be deployed
	}
	f.Spec = a.Spec
	if f.Revision != a.Revision {
		r, err := s.History.Revision(ctx, a.ID, f.Revision)
		if err != nil {
			return err
		}
		f.Spec = r.Spec
	}
	f.Spec = f.Spec.WithDefaults()
	good, err := s.Memory.GoodRevisions(ctx, a.ID)
	if err != nil {
		return err
	}
	for _, n := range good {
		if n == f.Revision {
			continue
		}
		r, err := s.History.Revision(ctx, a.ID, n)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if spec := r.Spec.WithDefaults(); len(agent.ForInstances(agent.Diff(f.Spec, spec))) > 0 {
			f.Good = &cause.Good{Revision: n, Spec: spec}
			break
		}
	}
	return nil
}

// undeployed tells whether the failure is of a revision that is not deployed yet.
func undeployed(code string) bool {
	return strings.HasPrefix(code, "command.") || strings.HasPrefix(code, "fleet.secret") || strings.HasPrefix(code, "fleet.template") ||
		strings.HasPrefix(code, "agent.unknown_variable") || code == "agent.invalid" || code == "volume.path"
}

// runs fills in the instances, and the one that ended last.
func (s *Service) runs(ctx context.Context, a *agent.Agent, f *cause.Facts) error {
	all, err := s.Fleet.Instances(ctx, a.ID)
	if err != nil {
		return err
	}
	f.Instances = all[a.ID]
	for i := range f.Instances {
		in := &f.Instances[i]
		ended := in.State == fleet.InstanceFailed || in.State == fleet.InstanceBackoff || in.State == fleet.InstanceExited || in.State == fleet.InstanceLost
		if ended && (f.Ended == nil || in.EndedAt.After(f.Ended.EndedAt)) {
			f.Ended = in
		}
	}
	return nil
}

// blame fills in which step of an operation failed, and why.
func blame(f *cause.Facts, op *operation.Operation) {
	f.Kind, f.Problem = op.Kind, op.Problem
	for _, st := range op.Steps {
		if st.State == operation.StepFailed {
			f.Step = st.Name
			if st.Problem != nil {
				f.Problem = st.Problem
			}
		}
	}
}

func environment(spec agent.Spec) map[string]bool {
	env := map[string]bool{"HOME": true, "LANG": true, "PATH": true}
	for _, n := range agent.ContractVars {
		env[n] = true
	}
	for n := range maps.Keys(spec.Env) {
		env[n] = true
	}
	for n := range maps.Keys(spec.Secrets) {
		env[n] = true
	}
	return env
}

// peers fills in the agents that this one needs, and who has which port.
func (s *Service) peers(ctx context.Context, f *cause.Facts) error {
	for _, name := range f.Spec.Dependencies {
		d, err := s.Agents.Get(ctx, name)
		if fault.Is(err, fault.NotFound) {
			f.Dependencies = append(f.Dependencies, cause.Peer{Name: name})
			continue
		}
		if err != nil {
			return err
		}
		p, err := s.peer(ctx, d)
		if err != nil {
			return err
		}
		f.Dependencies = append(f.Dependencies, *p)
	}
	f.PeerAt = func(port int) *cause.Peer { return s.peerAt(ctx, port) }
	return nil
}

// slowest gives how long the slowest of an agent's latest probes took; 0 if none
// was answered.
func (s *Service) slowest(ctx context.Context, id string) (time.Duration, error) {
	list, _, err := s.Probes.Results(ctx, id, "", 8)
	var slowest time.Duration
	seen := map[health.Kind]bool{}
	for _, r := range list {
		if !seen[r.Kind] {
			slowest = max(slowest, r.Latency)
		}
		seen[r.Kind] = true
	}
	return slowest, err
}

func (s *Service) peer(ctx context.Context, d *agent.Agent) (*cause.Peer, error) {
	p := &cause.Peer{ID: d.ID, Name: d.Spec.Name, Exists: true, State: d.State, Health: d.Health}
	for _, fixed := range d.Spec.Ports {
		p.Ports = append(p.Ports, fixed.Port)
	}
	var err error
	if p.Latency, err = s.slowest(ctx, d.ID); err != nil {
		return nil, err
	}
	all, err := s.Fleet.Instances(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	for _, in := range all[d.ID] {
		p.Ports = append(p.Ports, in.Port)
	}
	list, _, err := s.Store.Incidents(ctx, Query{AgentIDs: []string{d.ID}, States: []State{Open, Recovering}, Limit: 1})
	p.Troubled = len(list) > 0
	return p, err
}

// peerAt gives the agent that a port belongs to; nil if it is nobody's.
func (s *Service) peerAt(ctx context.Context, port int) *cause.Peer {
	all, err := s.Fleet.Instances(ctx)
	if err != nil {
		return nil
	}
	for id, list := range all {
		if !slices.ContainsFunc(list, func(in fleet.Instance) bool { return in.Port == port }) {
			continue
		}
		if d, err := s.Agents.Get(ctx, id); err == nil {
			if p, err := s.peer(ctx, d); err == nil {
				return p
			}
		}
	}
	if _, _, id, ok := s.holder(port); ok && id != "" {
		if d, err := s.Agents.Get(ctx, id); err == nil {
			if p, err := s.peer(ctx, d); err == nil {
				return p
			}
		}
	}
	return nil
}

func (s *Service) holder(port int) (pid int, command, agentID string, ok bool) {
	if s.Machine == nil {
		return 0, "", "", false
	}
	return s.Machine.HolderOf(port)
}

// machine fills in what can be asked of the machine, where agents run on it.
func (s *Service) machine(f *cause.Facts) {
	if s.Machine == nil || f.Spec.Runtime != "" && f.Spec.Runtime != agent.DefaultRuntime {
		return
	}
	f.DiskFree = s.Machine.DiskFree()
	f.FreePort = s.Machine.FreePort
	f.HolderOf = func(port int) *cause.Holder {
		pid, command, id, ok := s.Machine.HolderOf(port)
		if !ok {
			return nil
		}
		if command == "" {
			command = "another program"
		}
		return &cause.Holder{PID: pid, Command: command, AgentID: id}
	}
	f.Find = func(command string) (bool, []string) {
		return s.Machine.FindCommand(f.AgentID, command, f.Spec.Env["PATH"])
	}
}

// printed fills in the newest output of the agent's present life.
func (s *Service) printed(ctx context.Context, a *agent.Agent, f *cause.Facts, op *operation.Operation) error {
	since := f.Now.Add(-linesBack)
	moves, _, err := s.History.Transitions(ctx, a.ID, "", 5)
	if err != nil {
		return err
	}
	for _, t := range moves {
		if t.State != agent.Errored {
			since = later(since, t.CreatedAt)
			break
		}
	}
	if op != nil {
		since = later(since, op.CreatedAt)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err = s.Fleet.Logs(ctx, fleet.LogQuery{AgentID: a.ID, Since: since, Tail: linesMost}, func(l fleet.LogLine) error {
		if l.Stream != "portal" {
			f.Lines = append(f.Lines, l.Text)
		}
		return nil
	})
	if err != nil && fault.As(err) == nil && ctx.Err() == nil {
		return err
	}
	if f.Ended != nil && len(f.Lines) == 0 {
		f.Lines = f.Ended.LastLogs
	}
	return nil
}
