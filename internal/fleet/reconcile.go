package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// view is one agent with all that is known of it at one moment.
type view struct {
	id   string
	a    *agent.Agent // nil if there is no such agent
	spec agent.Spec   // of the deployed revision
	rt   Runtime      // that it belongs on; nil if there is none
	seen []placed
}

// placed is an instance and the runtime that shows it.
type placed struct {
	Instance
	on Runtime
}

func (v *view) instances() []Instance {
	list := make([]Instance, len(v.seen))
	for i, p := range v.seen {
		list[i] = p.Instance
	}
	return list
}

func (v *view) wants(p placed) bool {
	return v.rt != nil && p.on == v.rt && p.Revision == v.a.DeployedRevision && p.Index >= 0 && p.Index < max(1, v.spec.Replicas)
}

// reconcile looks at one agent and brings what runs to what is wanted. again is
// when to look once more; 0 means when something changes.
func (r *Reconciler) reconcile(ctx context.Context, id string) (again time.Duration, err error) {
	s := r.Service
	defer s.locks.lock(id)()
	v, err := r.view(ctx, id)
	if err != nil {
		return 0, err
	}
	if err := r.note(ctx, v); err != nil {
		return 0, err
	}
	if v.a != nil && v.a.ActiveOperation != "" {
		r.unsettled(id)
		return 0, r.during(ctx, v)
	}
	changed, again, err := r.act(ctx, v)
	if err != nil {
		r.unsettled(id)
		return again, err
	}
	if changed {
		r.unsettled(id)
		// What was done is seen and noted like anything else.
		r.Poke(id)
		return again, nil
	}
	r.probe(v)
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.a != nil && again == 0 {
		r.calm[id] = v.a.LockVersion
	} else {
		delete(r.calm, id)
	}
	return again, nil
}

func (r *Reconciler) unsettled(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calm, id)
}

func (r *Reconciler) view(ctx context.Context, id string) (*view, error) {
	s := r.Service
	v := &view{id: id}
	a, err := s.Agents.Get(ctx, id)
	switch {
	case err == nil && a.ID == id:
		v.a = a
	case err != nil && !fault.Is(err, fault.NotFound):
		return nil, err
	}
	if v.a != nil && a.DeployedRevision != 0 {
		if v.spec, err = s.spec(ctx, a, a.DeployedRevision); err != nil {
			return nil, err
		}
		v.rt = s.Runtimes[runtimeName(v.spec)]
	}
	if err := r.observe(ctx, v); err != nil {
		return nil, err
	}
	slices.SortFunc(v.seen, func(x, y placed) int {
		if x.Revision != y.Revision {
			return x.Revision - y.Revision
		}
		return x.Index - y.Index
	})
	return v, nil
}

// note stores what was observed, if it differs from what is stored, and
// announces what watchers of the fleet care about.
func (r *Reconciler) note(ctx context.Context, v *view) error {
	s := r.Service
	list := v.instances()
	if s.Monitor != nil {
		for i := range list {
			list[i].Live, list[i].Ready = s.Monitor.Answers(v.id, list[i].ID)
		}
	}
	r.mu.Lock()
	before := r.known[v.id]
	r.mu.Unlock()
	for i := range list {
		if old := find(before, list[i].ID); old != nil && runOf(*old) == runOf(list[i]) {
			keep(&list[i].Live, old.Live)
			keep(&list[i].Ready, old.Ready)
		}
	}
	for i := range v.seen {
		v.seen[i].Instance = list[i]
	}
	if identical(before, list) {
		return nil
	}
	if v.a != nil {
		err := s.Tx.Do(ctx, func(ctx context.Context) error {
			if err := s.Observed.PutInstances(ctx, v.id, list); err != nil {
				return err
			}
			return s.Events.Append(ctx, changes(v.id, before, list, s.Now().UTC())...)
		})
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(list) == 0 || v.a == nil {
		delete(r.known, v.id)
	} else {
		r.known[v.id] = list
	}
	return nil
}

func keep(now **bool, before *bool) {
	if *now == nil {
		*now = before
	}
}

// changes gives an event for each instance whose state, process, port or count
// of restarts is another than before.
func changes(agentID string, before, now []Instance, at time.Time) []event.Event {
	var list []event.Event
	tell := func(in Instance, state InstanceState) {
		list = append(list, event.New(event.InstanceChanged, agentID, "system", at, event.Instance{
			AgentID: agentID, InstanceID: in.ID, State: string(state), PID: in.PID, Port: in.Port,
			Restarts: in.Restarts, Reason: in.Reason, Timestamp: at,
		}, event.RoomAgents, event.RoomAgent(agentID)))
	}
	for _, in := range now {
		old := find(before, in.ID)
		if old == nil || old.State != in.State || old.PID != in.PID || old.Port != in.Port || old.Restarts != in.Restarts {
			tell(in, in.State)
		}
		if len(in.Drift) > 0 && (old == nil || !slices.Equal(old.Drift, in.Drift)) {
			in.Reason = drifted(in.Drift)
			tell(in, in.State)
		}
	}
	for _, in := range before {
		if find(now, in.ID) == nil {
			in.PID, in.Reason = 0, "gone"
			tell(in, InstanceExited)
		}
	}
	return list
}

// same tells whether the runtimes show what they showed before.
func same(before, now []Instance) bool {
	if len(before) != len(now) {
		return false
	}
	for _, in := range now {
		old := find(before, in.ID)
		if old == nil || !alike(*old, in) {
			return false
		}
	}
	return true
}

func alike(a, b Instance) bool {
	return a.State == b.State && a.PID == b.PID && a.Host == b.Host && a.Port == b.Port && a.Restarts == b.Restarts &&
		a.Reason == b.Reason && a.Signal == b.Signal && a.OOMKilled == b.OOMKilled &&
		a.StartedAt.UnixMicro() == b.StartedAt.UnixMicro() && equal(a.ExitCode, b.ExitCode) && slices.Equal(a.Drift, b.Drift)
}

// identical compares all that is stored.
func identical(before, now []Instance) bool {
	if !same(before, now) {
		return false
	}
	for _, in := range now {
		old := find(before, in.ID)
		if !equal(old.Live, in.Live) || !equal(old.Ready, in.Ready) || !slices.Equal(old.LastLogs, in.LastLogs) {
			return false
		}
	}
	return true
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// act does what is necessary; changed tells that it did something.
func (r *Reconciler) act(ctx context.Context, v *view) (changed bool, again time.Duration, err error) {
	if v.a == nil || !slices.Contains(watched, v.a.State) {
		changed, err = r.end(ctx, v, func(placed) bool { return true })
		return changed, 0, err
	}
	changed, err = r.end(ctx, v, func(p placed) bool { return !v.wants(p) })
	if err != nil || changed {
		return changed, 0, err
	}
	if v.rt == nil {
		return r.withoutRuntime(ctx, v)
	}
	switch v.a.State {
	case agent.Running:
		return r.keepRunning(ctx, v)
	case agent.Suspended:
		changed, err = r.keepSuspended(ctx, v)
	case agent.Errored:
		return r.recovered(ctx, v)
	}
	return changed, 0, err
}

// end stops the instances that nobody wants.
func (r *Reconciler) end(ctx context.Context, v *view, orphan func(placed) bool) (bool, error) {
	var list []placed
	for _, p := range v.seen {
		if orphan(p) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return false, nil
	}
	err := each(ctx, list, func(ctx context.Context, p placed) error {
		r.Service.log().Info("ending an instance that nobody wants", "agent", v.id, "instance", p.ID)
		return unreachable(p.on, p.on.Stop(ctx, v.id, p.ID, grace(v.spec)))
	})
	return true, err
}

// withoutRuntime is an agent that should run where the portal cannot reach.
func (r *Reconciler) withoutRuntime(ctx context.Context, v *view) (bool, time.Duration, error) {
	if v.a.State == agent.Errored || v.a.DeployedRevision == 0 {
		return false, 0, nil
	}
	f := r.Service.noRuntime(runtimeName(v.spec))
	err := r.giveUp(ctx, v.id, failureOf(f.Code, f.What+": "+f.Why, f.Remedy, nil))
	return true, 0, err
}

// keepRunning sees to it that every instance of a RUNNING agent is there.
func (r *Reconciler) keepRunning(ctx context.Context, v *view) (changed bool, again time.Duration, err error) {
	byIndex := map[int]placed{}
	ended := 0
	for _, p := range v.seen {
		byIndex[p.Index] = p
		switch p.State {
		case InstanceFailed:
			return true, 0, r.crashed(ctx, v, p.Instance)
		case InstanceExited:
			ended++
		case InstanceSuspended:
			if s, ok := v.rt.(Suspender); ok {
				return true, 0, unreachable(v.rt, s.Resume(ctx, v.id, p.ID))
			}
		}
	}
	n := max(1, v.spec.Replicas)
	if ended == n {
		return true, 0, r.exited(ctx, v, v.seen[0].Instance)
	}
	var missing []int
	for i := range n {
		if p, ok := byIndex[i]; !ok || p.State == InstanceLost {
			missing = append(missing, i)
		}
	}
	if len(missing) > 0 {
		return r.relaunch(ctx, v, missing)
	}
	return false, 0, nil
}

// crashed moves an agent to ERRORED one of whose instances used up its restarts,
// and ends the others.
func (r *Reconciler) crashed(ctx context.Context, v *view, at Instance) error {
	why := said(at)
	if len(at.LastLogs) > 0 {
		why += "; last output: " + lastLines(at.LastLogs)
	}
	f := failureOf("crash_loop", fmt.Sprintf("Instance %d does not stay up: %s", at.Index, why), remedyFor(at), &at)
	if err := r.giveUp(ctx, v.id, f); err != nil {
		return err
	}
	_, err := r.end(ctx, v, func(p placed) bool { return alive(p.State) })
	return err
}

// exited moves an agent to ERRORED whose instances have all ended by themselves,
// as their restart policy allows.
func (r *Reconciler) exited(ctx context.Context, v *view, at Instance) error {
	reason := fmt.Sprintf("All instances have ended, and the restart policy %q does not start them again: %s", v.spec.Restart.Policy, said(at))
	return r.giveUp(ctx, v.id, failureOf("exited", reason, remedyFor(at), &at))
}

// keepSuspended freezes again what was thawed by somebody else. Instances that
// are gone cannot be brought back with their memory.
func (r *Reconciler) keepSuspended(ctx context.Context, v *view) (bool, error) {
	there := 0
	for _, p := range v.seen {
		switch {
		case p.State == InstanceSuspended:
			there++
		case alive(p.State):
			s, ok := v.rt.(Suspender)
			if !ok {
				return true, r.giveUp(ctx, v.id, failureOf("suspend_lost", plainReason(cannotFreeze(v.rt)), "Stop the agent.", nil))
			}
			return true, unreachable(v.rt, s.Suspend(ctx, v.id, p.ID))
		}
	}
	if there == max(1, v.spec.Replicas) {
		return false, nil
	}
	var names []string
	for _, p := range v.seen {
		if p.State != InstanceSuspended {
			names = append(names, p.ID+" is "+said(p.Instance))
		}
	}
	reason := fmt.Sprintf("Only %d of %d suspended instances are left", there, max(1, v.spec.Replicas))
	if len(names) > 0 {
		reason += ": " + strings.Join(names, "; ")
	}
	return true, r.giveUp(ctx, v.id, failureOf("suspend_lost", reason, "Start or restart the agent; what its instances had in memory is gone.", nil))
}
