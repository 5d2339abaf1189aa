package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// abreast is how many instances of one agent are worked on at once.
const abreast = 8

// planDeploy puts a revision on the runtime without running it. That it is the
// deployed one is stored when the operation succeeds.
func (s *Service) planDeploy(in input) []operation.StepDef {
	undo := (*job).unprepare
	if in.PreviousRevision != 0 {
		undo = nil // what is there belongs to the revision before as well
	}
	return []operation.StepDef{
		s.resourcesStep(in),
		s.step("configuration", (*job).checkConfiguration, nil, persistent),
		s.step("clean", (*job).stopAll, nil, persistent),
		s.step("prepare", (*job).prepare, undo, persistent),
	}
}

func (s *Service) planStart(in input) []operation.StepDef {
	return []operation.StepDef{
		s.step("dependencies", (*job).checkDependencies, nil, persistent),
		s.resourcesStep(in),
		s.launchStep(in),
		s.step("ready", (*job).awaitAll, nil, operation.Retry{}),
	}
}

// launchStep ends what it launched if the operation fails, and takes the agent
// off the runtime if it was not deployed before.
func (s *Service) launchStep(in input) operation.StepDef {
	undo := (*job).stopAll
	if in.PreviousRevision == 0 {
		undo = (*job).unprepare
	}
	return s.step("launch", (*job).launchAll, undo, persistent)
}

func (s *Service) planStop(input) []operation.StepDef {
	return []operation.StepDef{s.step("stop", (*job).stopAll, (*job).unstop, persistent)}
}

func (s *Service) planSuspend(input) []operation.StepDef {
	return []operation.StepDef{s.step("freeze", (*job).freezeAll, (*job).thawAll, persistent)}
}

func (s *Service) planResume(input) []operation.StepDef {
	return []operation.StepDef{
		s.step("thaw", (*job).thawAll, (*job).freezeAll, persistent),
		s.step("ready", (*job).awaitAll, nil, operation.Retry{}),
	}
}

// planRestart replaces one instance after the other, so that the others go on
// serving; an agent that is ERRORED serves nobody, so all of it is replaced at once.
func (s *Service) planRestart(in input) []operation.StepDef {
	if in.From == agent.Errored {
		return []operation.StepDef{
			s.resourcesStep(in),
			s.step("clean", (*job).stopAll, nil, persistent),
			s.launchStep(in),
			s.step("ready", (*job).awaitAll, nil, operation.Retry{}),
		}
	}
	list := []operation.StepDef{s.resourcesStep(in)}
	for i := range in.Replicas {
		name := fmt.Sprintf("instance %d", i)
		list = append(list, s.step(name,
			func(j *job, ctx context.Context) error { return j.replace(ctx, name, i) },
			func(j *job, ctx context.Context) error { return j.unreplace(ctx, name, i) }, operation.Retry{}))
	}
	return list
}

// checkConfiguration builds what the instances will get, so that a secret or
// reference that is missing is known before anything is touched.
func (j *job) checkConfiguration(ctx context.Context) error {
	o, err := j.outfit(ctx, j.a, j.spec, j.in.Revision)
	if err != nil {
		return err
	}
	from, _ := j.ports()
	_, err = o.launch(0, from)
	return err
}

func (j *job) prepare(ctx context.Context) error { return j.prepareAt(ctx, 0) }

// prepareAt prepares the instances, whose ports are reserved from that place on.
func (j *job) prepareAt(ctx context.Context, base int) error {
	o, err := j.outfit(ctx, j.a, j.spec, j.in.Revision)
	if err != nil {
		return err
	}
	return each(ctx, j.replicas(), func(ctx context.Context, i int) error {
		p, err := j.port(ctx, j.a, base+i, distant(j.rt))
		if err != nil {
			return err
		}
		l, err := o.launch(i, p)
		if err != nil {
			return err
		}
		return unreachable(j.rt, j.rt.Prepare(ctx, l))
	})
}

// unprepare takes an agent off the runtime that was not deployed there before.
func (j *job) unprepare(ctx context.Context) error {
	if w, ok := j.rt.(Withdrawer); ok {
		return unreachable(j.rt, w.Withdraw(ctx, j.a.ID))
	}
	return unreachable(j.rt, j.rt.Remove(ctx, j.a.ID))
}

// checkDependencies names the agents that this one needs and that do not run.
// It starts nevertheless: agents have to cope with their peers coming and going.
func (j *job) checkDependencies(ctx context.Context) error {
	var missing []string
	for _, name := range j.spec.Dependencies {
		d, err := j.Agents.Get(ctx, name)
		switch {
		case fault.Is(err, fault.NotFound):
			missing = append(missing, name+" is not in the fleet")
		case err != nil:
			return err
		case d.State != agent.Running:
			missing = append(missing, name+" is "+string(d.State))
		}
	}
	if len(missing) > 0 {
		j.detail(ctx, "warning: %s", brief(missing, 5))
	}
	return nil
}

func (j *job) launchAll(ctx context.Context) error { return j.launchAt(ctx, 0) }

// launchAt launches the instances, whose ports are reserved from that place on.
func (j *job) launchAt(ctx context.Context, base int) error {
	seen, err := j.observe(ctx)
	if err != nil {
		return err
	}
	o, err := j.outfit(ctx, j.a, j.spec, j.in.Revision)
	if err != nil {
		return err
	}
	o.base = base
	runs := slices.ContainsFunc(seen, func(in Instance) bool { return alive(in.State) && j.wants(in) })
	for _, in := range seen {
		if !j.wants(in) {
			if err := j.rt.Stop(ctx, j.a.ID, in.ID, grace(j.spec)); err != nil {
				return unreachable(j.rt, err)
			}
		}
	}
	if !runs && !distant(j.rt) {
		if err := j.fixedPorts(j.spec); err != nil {
			return err
		}
	}
	return each(ctx, j.replicas(), func(ctx context.Context, i int) error {
		return j.launchOne(ctx, j.rt, o, seen, i)
	})
}

// wants tells whether the instance is one of those that the operation is about.
func (j *job) wants(in Instance) bool {
	return in.Revision == j.in.Revision && in.Index >= 0 && in.Index < j.in.Replicas
}

// launchOne runs one instance, unless it runs.
func (s *Service) launchOne(ctx context.Context, rt Runtime, o *outfit, seen []Instance, index int) error {
	id := InstanceID(o.a.ID, o.revision, index)
	at := find(seen, id)
	held := at != nil && alive(at.State)
	if at != nil && !held {
		if err := rt.Stop(ctx, o.a.ID, id, grace(o.spec)); err != nil {
			return unreachable(rt, err)
		}
	}
	for try := 1; ; try++ {
		err := s.launchOn(ctx, rt, o, index, held)
		if f := fault.As(err); try == portTries || f == nil || f.Code != "port.taken" {
			return err
		}
		if distant(rt) { // only the runtime knows which ports are free there; the next one is another
			if err := s.Observed.ReleasePort(ctx, o.a.ID, o.base+index); err != nil {
				return err
			}
		}
	}
}

// portTries is how often an instance is given a port, where somebody else took
// it between the look and the launch.
const portTries = 4

// launchOn runs one instance on the port that is reserved for it.
func (s *Service) launchOn(ctx context.Context, rt Runtime, o *outfit, index int, held bool) error {
	port, err := s.port(ctx, o.a, o.base+index, held || distant(rt))
	if err != nil || held {
		return err
	}
	l, err := o.launch(index, port)
	if err != nil {
		return err
	}
	if err := rt.Prepare(ctx, l); err != nil {
		return unreachable(rt, err)
	}
	return unreachable(rt, rt.Launch(ctx, l))
}

// stopAll ends every instance of the agent and makes sure that none is left.
func (j *job) stopAll(ctx context.Context) error {
	seen, err := j.observe(ctx)
	if err != nil || len(seen) == 0 {
		return err
	}
	err = each(ctx, seen, func(ctx context.Context, in Instance) error {
		return unreachable(j.rt, j.rt.Stop(ctx, j.a.ID, in.ID, grace(j.spec)))
	})
	if err != nil {
		return err
	}
	if seen, err = j.observe(ctx); err != nil || len(seen) == 0 {
		return err
	}
	return fault.New(fault.Unavailable, "fleet.not_stopped", "Instances of %s are still there", j.a.ID).
		Because("the runtime shows %s as %s after it was stopped", seen[0].ID, seen[0].State).Do("Try again.")
}

func (j *job) freezeAll(ctx context.Context) error {
	return j.flip(ctx, func(s Suspender, ctx context.Context, id string) error { return s.Suspend(ctx, j.a.ID, id) })
}

func (j *job) thawAll(ctx context.Context) error {
	return j.flip(ctx, func(s Suspender, ctx context.Context, id string) error { return s.Resume(ctx, j.a.ID, id) })
}

// flip freezes or thaws every instance; the runtime leaves those alone that
// already are as they should be.
func (j *job) flip(ctx context.Context, fn func(s Suspender, ctx context.Context, id string) error) error {
	s, ok := j.rt.(Suspender)
	if !ok {
		return cannotFreeze(j.rt)
	}
	return each(ctx, j.replicas(), func(ctx context.Context, i int) error {
		return unreachable(j.rt, fn(s, ctx, InstanceID(j.a.ID, j.in.Revision, i)))
	})
}

func cannotFreeze(rt Runtime) error {
	return fault.New(fault.Conflict, "fleet.cannot_suspend", "The runtime %s can't freeze instances", rt.Name()).
		Because("it has no way to keep their memory").Do("Stop the agent instead.")
}

// alive tells whether an instance in this state does or will run by itself.
func alive(s InstanceState) bool {
	switch s {
	case InstanceStarting, InstanceRunning, InstanceBackoff, InstanceSuspended:
		return true
	}
	return false
}

// each calls fn for all items, some at once, waits for all, and gives the first
// error in the order of the items.
func each[T any](ctx context.Context, items []T, fn func(ctx context.Context, item T) error) error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, abreast)
	var wg sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = fn(ctx, item)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// lastLines joins the end of an instance's output for a sentence.
func lastLines(lines []string) string {
	lines = lines[max(0, len(lines)-3):]
	text := strings.Join(lines, " | ")
	if len(text) > 500 {
		text = text[len(text)-500:]
	}
	return strings.ToValidUTF8(text, "")
}

// since says how long ago something was, for people.
func since(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }
