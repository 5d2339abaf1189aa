package recovery

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// Recorder watches: it reads the stream of events from where its last life left
// off, measures what runs, and looks again at what is not over.
type Recorder struct {
	Service *Service
	// Every is how often it looks again; 0 means a second. Fleets that are large
	// are measured less often.
	Every time.Duration

	loop lifecycle.Loop
}

// Name is "recovery".
func (r *Recorder) Name() string { return "recovery" }

// Start begins to watch.
func (r *Recorder) Start(context.Context) error { return r.loop.Go(r.run) }

// Stop ends the watching; what was not looked at is looked at in the next life.
func (r *Recorder) Stop(ctx context.Context) error { return r.loop.Halt(ctx) }

func (r *Recorder) every() time.Duration {
	if r.Every <= 0 {
		return time.Second
	}
	return r.Every
}

func (r *Recorder) run(ctx context.Context) {
	ctx = auth.With(ctx, auth.System)
	var wg sync.WaitGroup
	wg.Go(func() { r.follow(ctx) })
	wg.Go(func() { r.measure(ctx) })
	tick := time.NewTicker(r.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return
		case <-tick.C:
		}
		if err := r.Service.Review(ctx); err != nil && ctx.Err() == nil {
			r.Service.log().Warn("could not look again at errors; trying again", "error", err)
		}
	}
}

// follow takes in events as they come.
func (r *Recorder) follow(ctx context.Context) {
	wake, stop := r.Service.Events.Watch()
	defer stop()
	slow := time.NewTicker(5 * time.Second) // where another replica wrote
	defer slow.Stop()
	for {
		more, err := r.Service.Read(ctx)
		if err != nil && ctx.Err() == nil {
			r.Service.log().Warn("could not read what happened; trying again", "error", err)
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-slow.C:
		}
	}
}

// batch is how many events are read at once.
const batch = 500

// interesting are the events that can tell of trouble, or of its end.
var interesting = []event.Type{event.AgentStateChanged, event.InstanceChanged, event.AgentHealthUpdate, event.OperationChanged, event.DeadLetter}

// Read takes in the next events, and tells whether there may be more. What it has
// taken in is not looked at again, also not in the next life of the portal.
func (s *Service) Read(ctx context.Context) (more bool, err error) {
	after, err := s.Memory.Cursor(ctx)
	if err != nil {
		return false, err
	}
	_, newest, err := s.Events.Bounds(ctx)
	if err != nil {
		return false, err
	}
	if after < 0 {
		return true, s.Memory.SetCursor(ctx, newest) // what was before the first start is history
	}
	list, err := s.Events.Find(ctx, event.Query{After: after, Types: interesting, Limit: batch})
	if err != nil {
		return false, err
	}
	for _, id := range started(list) {
		if err := s.trust(ctx, id); err != nil {
			return false, err
		}
	}
	for _, t := range triggers(list) {
		if err := s.look(ctx, t); err != nil {
			return false, err
		}
	}
	upTo := newest // whatever else there is up to here is of no interest
	if len(list) == batch {
		upTo = list[len(list)-1].Seq
	}
	if upTo <= after {
		return false, nil
	}
	return len(list) == batch, s.Memory.SetCursor(ctx, upTo)
}

// started gives the operations that brought an agent up.
func started(list []event.Event) []string {
	var out []string
	for _, e := range list {
		var p event.Operation
		if e.Type == event.OperationChanged && json.Unmarshal(e.Data, &p) == nil && p.State == string(operation.Succeeded) &&
			(p.Kind == "agent.start" || p.Kind == "agent.restart") {
			out = append(out, p.OperationID)
		}
	}
	return out
}

// trust remembers that a revision runs well as soon as its probes have said so, for
// which a start waits. One that fails soon after is distrusted again. Without
// probes it takes a while to know.
func (s *Service) trust(ctx context.Context, operationID string) error {
	op, err := s.Ops.Get(ctx, operationID)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var in struct {
		Revision int `json:"revision"`
	}
	if json.Unmarshal(op.Input, &in) != nil || in.Revision == 0 {
		return nil //nolint:nilerr // an operation of another kind: no revision was started
	}
	r, err := s.History.Revision(ctx, op.AgentID, in.Revision)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil || r.Spec.Probes.Liveness == nil && r.Spec.Probes.Readiness == nil && r.Spec.Template == "" {
		return err
	}
	return s.good(ctx, op.AgentID, in.Revision, s.now())
}

// trigger is why one agent is to be looked at.
type trigger struct {
	agentID string
	sighting
	operationID string
	lost        bool // the instance is not seen any more
	dead        *queue.DeadLetter
}

// meant tells whether an instance is not seen any more because an operation ends
// it, or because its revision is not wanted any more: that is no crash.
func (t trigger) meant(a *agent.Agent, f *cause.Facts) bool {
	return t.lost && (a.ActiveOperation != "" ||
		!slices.ContainsFunc(f.Instances, func(in fleet.Instance) bool { return in.ID == t.InstanceID }))
}

// triggers gives what the events ask to look at, at most one an agent and source.
func triggers(list []event.Event) []trigger {
	var out []trigger
	for _, e := range list {
		t, ok := triggerOf(e)
		if !ok {
			continue
		}
		i := slices.IndexFunc(out, func(o trigger) bool {
			return o.agentID == t.agentID && o.Source == t.Source && o.operationID == t.operationID
		})
		if i < 0 {
			out = append(out, t)
		} else if !t.lost || out[i].lost { // one that is lost may be meant to be, and hides no crash
			out[i] = t
		}
	}
	return out
}

func triggerOf(e event.Event) (trigger, bool) {
	t := trigger{agentID: e.AgentID, sighting: sighting{Seq: e.Seq, At: e.At}}
	switch e.Type {
	case event.AgentStateChanged:
		var p event.StateChanged
		if json.Unmarshal(e.Data, &p) != nil || p.NewState != string(agent.Errored) {
			return t, false
		}
		t.Source = FromCrash
	case event.InstanceChanged:
		var p event.Instance
		if json.Unmarshal(e.Data, &p) != nil {
			return t, false
		}
		switch fleet.InstanceState(p.State) {
		case fleet.InstanceBackoff, fleet.InstanceFailed, fleet.InstanceLost:
		default:
			return t, false
		}
		t.Source, t.InstanceID, t.lost = FromCrash, p.InstanceID, fleet.InstanceState(p.State) == fleet.InstanceLost
	case event.AgentHealthUpdate:
		var p event.HealthUpdate
		if json.Unmarshal(e.Data, &p) != nil || p.Health != string(agent.HealthUnhealthy) && p.Health != string(agent.HealthDegraded) {
			return t, false
		}
		t.Source = FromProbe
	case event.OperationChanged:
		var p event.Operation
		if json.Unmarshal(e.Data, &p) != nil || p.State != string(operation.Failed) || !strings.HasPrefix(p.Kind, "agent.") {
			return t, false
		}
		t.Source, t.operationID = FromStep, p.OperationID
	case event.DeadLetter:
		var d queue.DeadLetter
		if json.Unmarshal(e.Data, &d) != nil || d.Reason == queue.ReasonSetAside {
			return t, false
		}
		t.Source, t.dead = FromQueue, &d
	default:
		return t, false
	}
	return t, t.agentID != ""
}

// look collects facts about one agent and takes what they say into the record.
func (s *Service) look(ctx context.Context, t trigger) error {
	a, err := s.Agents.Get(ctx, t.agentID)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if t.dead != nil {
		s.watch.died(*t.dead)
	}
	var op *operation.Operation
	if t.operationID != "" {
		if op, err = s.Ops.Get(ctx, t.operationID); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	f, err := s.facts(ctx, a, op)
	if err != nil {
		return err
	}
	if t.meant(a, f) || idle(a) && f.Problem == nil {
		return nil
	}
	found := diagnose(a, f, t)
	if found == nil {
		return nil
	}
	// What fails while an operation ends the instances says nothing of how they ran.
	if a.ActiveOperation == "" || t.Source == FromStep {
		if err := s.distrust(ctx, f, t); err != nil {
			return err
		}
	}
	_, err = s.record(ctx, f, a.Spec.Name, found, t.sighting)
	return err
}

// idle tells whether an agent is not meant to run. One that is being started is,
// long before it is RUNNING.
func idle(a *agent.Agent) bool {
	switch a.State {
	case agent.Running, agent.Errored:
		return false
	case agent.Provisioned, agent.Deployed:
		return a.ActiveOperation == ""
	}
	return true
}

// diagnose gives what is wrong, as far as the source can tell.
func diagnose(a *agent.Agent, f *cause.Facts, t trigger) *cause.Finding {
	for _, found := range cause.Findings(f) {
		if t.Source != FromQueue || found.Code == cause.PoisonMessage || found.Code == cause.QueueBacklog {
			return &found
		}
	}
	if t.Source == FromProbe && f.Health == agent.HealthHealthy || t.Source == FromQueue {
		return nil // it was over before it was looked at
	}
	if t.lost {
		return cause.Gone(f, t.InstanceID)
	}
	if i := slices.IndexFunc(f.Instances, func(in fleet.Instance) bool { return in.State == fleet.InstanceStopping }); i >= 0 && a.State == agent.Running && f.Problem == nil {
		if a.ActiveOperation != "" {
			return nil // which ends it
		}
		return cause.Gone(f, f.Instances[i].ID)
	}
	return cause.Unexplained(f)
}

// young is how long a revision that was found to run well is on trial.
const young = time.Minute

// distrust forgets that a revision ran well that fails soon after it began to.
func (s *Service) distrust(ctx context.Context, f *cause.Facts, t trigger) error {
	if t.Source == FromQueue || f.Revision == 0 || s.watch.goodFor(f.AgentID, f.Revision, s.now()) > young {
		return nil
	}
	s.watch.forget(f.AgentID)
	return s.Memory.SetGood(ctx, f.AgentID, f.Revision, false, s.now())
}
