package fleet

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// planProvision gives the agent all that it needs before anything can run.
func (s *Service) planProvision(input) []operation.StepDef {
	return []operation.StepDef{
		s.step("runtime", (*job).checkRuntime, nil, persistent),
		s.step("queues", (*job).makeQueues, (*job).removeQueues, persistent),
		s.step("credential", (*job).issueKey, (*job).revokeKey, persistent),
		s.step("ports", (*job).reservePorts, (*job).releasePorts, persistent),
		s.step("monitoring", (*job).registerProbes, (*job).forgetProbes, persistent),
	}
}

// resourcesStep makes sure that the agent has what provisioning gives, for
// agents whose provisioning failed or whose engines lost it. What was not there
// when the operation began is taken away again if it fails.
func (s *Service) resourcesStep(in input) operation.StepDef {
	var undo stepFunc
	if !in.Provisioned {
		undo = (*job).dropResources
	}
	return s.step("resources", (*job).ensureResources, undo, persistent)
}

// planRevoke tears everything down. Nothing of it can be undone, and every step
// does what is left to do, so that a revoke that failed can be repeated.
func (s *Service) planRevoke(input) []operation.StepDef {
	return []operation.StepDef{
		s.step("stop", (*job).stopAll, nil, persistent),
		s.step("runtime", (*job).removeFromRuntime, nil, persistent),
		s.step("queues", (*job).removeQueues, nil, persistent),
		s.step("credential", (*job).revokeKey, nil, persistent),
		s.step("ports", (*job).releasePorts, nil, persistent),
		s.step("monitoring", (*job).forgetProbes, nil, persistent),
	}
}

// checkRuntime looks at what the runtime can enforce for this agent here.
func (j *job) checkRuntime(ctx context.Context) error {
	var gaps []string
	for _, c := range j.rt.Report(ctx) {
		if !c.OK {
			gaps = append(gaps, c.Name+": "+c.Why)
		}
	}
	if len(gaps) == 0 {
		j.detail(ctx, "runtime %s", j.rt.Name())
		return nil
	}
	j.detail(ctx, "runtime %s; not enforced here: %s", j.rt.Name(), strings.Join(gaps, "; "))
	return nil
}

func (j *job) makeQueues(ctx context.Context) error {
	return engineFault("queues", j.Broker.Provision(ctx, j.a.ID))
}

func (j *job) removeQueues(ctx context.Context) error {
	return engineFault("queues", j.Broker.Remove(ctx, j.a.ID))
}

// engineFault makes a fault that may be tried again of what an engine answered.
func engineFault(name string, err error) error {
	if err == nil || fault.As(err) != nil {
		return err
	}
	return fault.New(fault.Unavailable, "fleet.engine_failed", "The %s did not answer as they should", name).
		Because("%s", err.Error()).Do("See `portal doctor`, then try again.").Wrap(err)
}

// issueKey gives the agent a credential, unless it has one: running instances
// use it.
func (j *job) issueKey(ctx context.Context) error {
	_, err := j.Keys.Secret(ctx, j.a.ID)
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	_, err = j.Keys.Issue(ctx, j.a.ID)
	return err
}

func (j *job) revokeKey(ctx context.Context) error { return j.Keys.Revoke(ctx, j.a.ID) }

func (j *job) reservePorts(ctx context.Context) error {
	got, err := j.reserve(ctx)
	if err == nil {
		j.detail(ctx, "%s", brief(got, 10))
	}
	return err
}

// reserve gives every instance its port.
func (j *job) reserve(ctx context.Context) ([]string, error) {
	seen, err := j.observe(ctx)
	if err != nil {
		return nil, err
	}
	var got []string
	for _, i := range j.replicas() {
		at := find(seen, InstanceID(j.a.ID, j.in.Revision, i))
		p, err := j.port(ctx, j.a, i, at != nil && alive(at.State) || distant(j.rt))
		if err != nil {
			return nil, err
		}
		got = append(got, fmt.Sprint(p))
	}
	return got, nil
}

func (j *job) releasePorts(ctx context.Context) error {
	return j.Observed.ReleasePorts(ctx, j.a.ID)
}

// registerProbes checks that the probes can be asked on the ports that the
// instances got, and says what will be asked.
func (j *job) registerProbes(ctx context.Context) error {
	from, _ := j.ports()
	p, err := probesFor(j.a, j.spec, "", from)
	if err != nil {
		return err
	}
	var texts []string
	if p.Liveness != nil {
		texts = append(texts, "liveness every "+p.Liveness.Interval.Or(agent.DefaultProbeInterval).String())
	}
	if p.Readiness != nil {
		texts = append(texts, "readiness every "+p.Readiness.Interval.Or(agent.DefaultProbeInterval).String())
	}
	if len(texts) == 0 {
		texts = []string{"the process alone: the agent has no probes"}
	}
	j.detail(ctx, "%s", strings.Join(texts, ", "))
	return nil
}

// forgetProbes ends the probing and the record of what ran.
func (j *job) forgetProbes(ctx context.Context) error {
	if j.Monitor != nil {
		j.Monitor.Remove(j.a.ID)
	}
	return j.Observed.PutInstances(ctx, j.a.ID, nil)
}

func (j *job) ensureResources(ctx context.Context) error {
	if err := j.makeQueues(ctx); err != nil {
		return err
	}
	if err := j.issueKey(ctx); err != nil {
		return err
	}
	_, err := j.reserve(ctx)
	return err
}

func (j *job) dropResources(ctx context.Context) error {
	for _, do := range []func(context.Context) error{j.releasePorts, j.revokeKey, j.removeQueues} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) removeFromRuntime(ctx context.Context) error {
	j.removeElsewhere(ctx)
	if j.rt == nil {
		j.detail(ctx, "the runtime is not on this portal, and nothing was deployed")
		return nil
	}
	return unreachable(j.rt, j.rt.Remove(ctx, j.a.ID))
}

// removeElsewhere removes what the agent left on runtimes that it ran on before.
// What can't be removed now is found as left over later.
func (j *job) removeElsewhere(ctx context.Context) {
	for _, rt := range j.byName() {
		if rt == j.rt {
			continue
		}
		var list []Holding
		ac, ok := rt.(Accountant)
		var err error
		if ok {
			list, err = ac.Holdings(ctx, j.a.ID)
		}
		if err == nil && (!ok || len(list) > 0) {
			err = rt.Remove(ctx, j.a.ID)
		}
		if err != nil {
			j.detail(ctx, "what it may have left on %s could not be removed: %s", rt.Name(), plainReason(err))
		}
	}
}

// brief joins at most n texts.
func brief(list []string, n int) string {
	if len(list) > n {
		return strings.Join(list[:n], ", ") + fmt.Sprintf(" and %d more", len(list)-n)
	}
	return strings.Join(list, ", ")
}

// port gives the instance its port, one that it can listen on. held tells that
// the instance itself runs and may be the one that listens.
func (s *Service) port(ctx context.Context, a *agent.Agent, index int, held bool) (int, error) {
	from, to := s.ports()
	p, err := s.Observed.ReservePort(ctx, a.ID, index, from, to, free)
	if err != nil || held || free(p) {
		return p, err
	}
	// Something foreign sits on the port that was reserved earlier.
	if err := s.Observed.ReleasePort(ctx, a.ID, index); err != nil {
		return 0, err
	}
	return s.Observed.ReservePort(ctx, a.ID, index, from, to, free)
}

// distant tells whether the runtime's instances have addresses of their own.
func distant(rt Runtime) bool {
	d, ok := rt.(Distant)
	return ok && d.Distant()
}

// fixedPorts checks that nobody has the ports that the spec itself names.
func (s *Service) fixedPorts(spec agent.Spec) error {
	for _, p := range spec.Ports {
		if free(p.Port) {
			continue
		}
		f := fault.New(fault.Conflict, "fleet.port_in_use", "Port %d is in use", p.Port).With("port", p.Port)
		if pid, name := s.holder(p.Port); pid != 0 {
			f.What = fmt.Sprintf("Port %d is in use by process %s (pid %d)", p.Port, name, pid)
			f.With("process", name).With("pid", pid)
		}
		return f.Because("%s needs it as %q", spec.Name, p.Name).
			Do("Stop what uses it, or give the agent another port (%s).", s.suggest(p.Port))
	}
	return nil
}

// holder gives the process that listens on a port; pid 0 if it can't be seen.
func (s *Service) holder(port int) (pid int, name string) {
	if s.Holder == nil {
		return 0, ""
	}
	return s.Holder(port)
}

// suggest names a port near the taken one that is free now.
func (s *Service) suggest(taken int) string {
	for p := taken + 1; p < min(taken+100, 65536); p++ {
		if free(p) {
			return strconv.Itoa(p) + " is free"
		}
	}
	return "one that is free"
}

// InstanceID names the instance of an agent's revision with the given index.
// It is the same each time, so that launching twice finds the first.
func InstanceID(agentID string, revision, index int) string {
	return agentID + "-r" + strconv.Itoa(revision) + "-" + strconv.Itoa(index)
}
