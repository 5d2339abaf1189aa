package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
)

const (
	// settle is how long an instance without probes must have run to count as ready,
	// beside the delay of a Delayed runtime.
	settle = 200 * time.Millisecond
	// The pauses between two looks at instances that are to become ready.
	lookMin = 50 * time.Millisecond
	lookMax = 250 * time.Millisecond
)

// watch is what waiting knows of one instance.
type watch struct {
	index int
	id    string
	probe *agent.Probe // the one that tells readiness; nil if there is none
	// run and since are the life that is being watched and when it was first seen.
	run   string
	since time.Time
	delay time.Duration // of the runtime
	goods int
	ready bool
	last  string // the newest reason why it is not ready
}

func (j *job) awaitAll(ctx context.Context) error { return j.await(ctx, j.replicas()) }

// await returns once the instances are ready, or with the reason why they will
// not be.
func (j *job) await(ctx context.Context, indices []int) error {
	watches, limit := j.watches(indices)
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	for pace := lookMin; ; pace = min(pace*3/2, lookMax) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return j.late(ctx, watches, limit)
		case <-look.C:
		}
		seen, err := j.observe(ctx)
		if err != nil {
			return err
		}
		if err := j.look(ctx, seen, watches); err != nil {
			return err
		}
		n := 0
		for _, w := range watches {
			if w.ready {
				n++
			}
		}
		if len(watches) > 1 && n > 0 {
			j.detail(ctx, "%d of %d instances are ready", n, len(watches))
		}
		if n == len(watches) {
			return nil
		}
		look.Reset(pace)
	}
}

// watches prepares the waiting and says how long it may take.
func (j *job) watches(indices []int) ([]*watch, time.Duration) {
	limit := j.StartTimeout
	if limit <= 0 {
		limit = time.Minute
	}
	limit = max(limit, patience(decisive(probesOf(j.spec))))
	var delay time.Duration
	if d, ok := j.rt.(Delayed); ok {
		delay = d.Delay()
	}
	list := make([]*watch, len(indices))
	for n, i := range indices {
		list[n] = &watch{index: i, id: InstanceID(j.a.ID, j.in.Revision, i), delay: delay, last: "it was not seen yet"}
	}
	return list, limit
}

// decisive gives the probe that tells whether an instance has started.
func decisive(p agent.Probes) *agent.Probe {
	if p.Readiness != nil {
		return p.Readiness
	}
	return p.Liveness
}

// patience is how long the probe itself says an instance may take to start.
func patience(p *agent.Probe) time.Duration {
	if p == nil {
		return 0
	}
	once := p.Interval.Or(agent.DefaultProbeInterval) + p.Timeout.Or(agent.DefaultProbeTimeout)
	return min(time.Duration(p.InitialDelay)+once*time.Duration(max(1, p.FailureThreshold)), 9*time.Minute)
}

// look takes in what the runtime shows and asks those that run.
func (j *job) look(ctx context.Context, seen []Instance, watches []*watch) error {
	var ask []*watch
	for _, w := range watches {
		at := find(seen, w.id)
		switch {
		case at == nil:
			w.last, w.ready, w.run = "the runtime does not show it", false, ""
		case at.State == InstanceFailed || at.State == InstanceExited || at.State == InstanceLost:
			return j.notReady(*at)
		case at.State != InstanceRunning && at.State != InstanceStarting:
			w.last, w.ready, w.run = said(*at), false, ""
		default:
			if run := runOf(*at); run != w.run {
				p, err := probesFor(j.a, j.spec, at.Host, at.Port)
				if err != nil {
					return err
				}
				w.run, w.since, w.goods, w.ready, w.probe = run, time.Now(), 0, false, decisive(p)
			}
			if !w.ready && w.due() {
				ask = append(ask, w)
			}
		}
	}
	exec, _ := j.rt.(health.Execer)
	return each(ctx, ask, func(ctx context.Context, w *watch) error {
		if w.probe == nil {
			w.ready = true
			return nil
		}
		a := j.Prober.Probe(ctx, j.a.ID, w.id, *w.probe, exec)
		if !a.OK {
			w.goods, w.last = 0, a.Reason
			return nil
		}
		w.goods++
		w.ready = w.goods >= max(1, w.probe.SuccessThreshold)
		return nil
	})
}

// due tells whether the instance has run long enough to be asked.
func (w *watch) due() bool {
	if w.probe == nil {
		return time.Since(w.since) >= settle+w.delay
	}
	return time.Since(w.since) >= time.Duration(w.probe.InitialDelay)
}

// runOf names one life of an instance's process.
func runOf(in Instance) string {
	return fmt.Sprintf("%d/%d/%d", in.PID, in.Restarts, in.StartedAt.UnixMicro())
}

// said gives what the runtime says about an instance that does not run.
func said(in Instance) string {
	text := string(in.State)
	if in.Reason != "" {
		text += " (" + in.Reason + ")"
	}
	if in.ExitCode != nil {
		text += fmt.Sprintf(", exit code %d", *in.ExitCode)
	}
	if in.Signal != "" {
		text += ", ended by " + in.Signal
	}
	if in.OOMKilled {
		text += ", out of memory"
	}
	return text
}

// notReady is the fault for an instance that ended while it was waited for.
func (j *job) notReady(at Instance) error {
	j.remember(at)
	f := fault.New(fault.Conflict, "agent.instance_"+string(at.State), "Instance %d of %s did not stay up", at.Index, j.a.ID)
	why := said(at)
	if len(at.LastLogs) > 0 {
		why += "; last output: " + lastLines(at.LastLogs)
	}
	return f.Because("%s", why).Do("%s", remedyFor(at))
}

// late is the fault for instances that run and did not become ready in time.
func (j *job) late(ctx context.Context, watches []*watch, limit time.Duration) error {
	seen, err := j.observe(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(watches, func(w *watch) bool { return !w.ready })
	w, at := watches[i], find(seen, watches[i].id)
	why := w.last
	if at != nil {
		j.remember(*at)
		if len(at.LastLogs) > 0 {
			why += "; last output: " + lastLines(at.LastLogs)
		}
	}
	return fault.New(fault.Conflict, "agent.not_ready", "Instance %d of %s was not ready within %s", w.index, j.a.ID, since(limit)).
		Because("%s", why).
		Do("Look at its logs (portal agents logs %s), correct what keeps it from answering, and start it again.", j.a.ID)
}

func remedyFor(in Instance) string {
	switch {
	case in.OOMKilled:
		return "Give it more memory (resources.memory), or make it need less."
	case in.Remedy != "":
		return in.Remedy
	case in.State == InstanceExited:
		return "Let the program go on running, or let its restart policy be \"always\"."
	}
	return "Look at its logs (portal agents logs " + in.AgentID + "), correct the cause and start it again."
}

// unstop runs again what a cancelled stop has ended. After a stop that failed
// there is nothing to take back: the user wanted it stopped.
func (j *job) unstop(ctx context.Context) error {
	if j.op.State != operation.Cancelling {
		return nil
	}
	switch j.in.From {
	case agent.Running:
		if err := j.launchAll(ctx); err != nil {
			return err
		}
		return j.awaitAll(ctx)
	case agent.Suspended:
		return j.stillFrozen(ctx)
	}
	return nil
}

// stillFrozen is a failure unless every instance is there and frozen: memory
// that is gone cannot be brought back.
func (j *job) stillFrozen(ctx context.Context) error {
	seen, err := j.observe(ctx)
	if err != nil {
		return err
	}
	for _, i := range j.replicas() {
		at := find(seen, InstanceID(j.a.ID, j.in.Revision, i))
		if at == nil || at.State != InstanceSuspended {
			return fault.New(fault.Conflict, "fleet.not_restored", "The suspended state of %s is gone", j.a.ID).
				Because("an instance had ended before the cancel came").Do("Start the agent.")
		}
	}
	return nil
}

// replace restarts one instance and waits until it is ready. If it runs since
// after the step began, an earlier life of the portal has done it.
func (j *job) replace(ctx context.Context, step string, index int) error {
	seen, err := j.observe(ctx)
	if err != nil {
		return err
	}
	o, err := j.outfit(ctx, j.a, j.spec, j.in.Revision)
	if err != nil {
		return err
	}
	id := InstanceID(j.a.ID, j.in.Revision, index)
	at, began := find(seen, id), j.stepOf(step).StartedAt
	fresh := at != nil && alive(at.State) && began != nil && at.StartedAt.After(*began)
	if at != nil && !fresh {
		if err := j.rt.Stop(ctx, j.a.ID, id, grace(j.spec)); err != nil {
			return unreachable(j.rt, err)
		}
		seen = slices.DeleteFunc(seen, func(in Instance) bool { return in.ID == id })
	}
	if err := j.launchOne(ctx, j.rt, o, seen, index); err != nil {
		return err
	}
	return j.await(ctx, []int{index})
}

// unreplace brings the instance back after a cancel. After a failure it ends the
// one that did not become ready and leaves the others serving.
func (j *job) unreplace(ctx context.Context, step string, index int) error {
	if j.op.State != operation.Cancelling {
		if j.stepOf(step).State != operation.StepFailed {
			return nil
		}
		return unreachable(j.rt, j.rt.Stop(ctx, j.a.ID, InstanceID(j.a.ID, j.in.Revision, index), grace(j.spec)))
	}
	seen, err := j.observe(ctx)
	if err != nil {
		return err
	}
	o, err := j.outfit(ctx, j.a, j.spec, j.in.Revision)
	if err != nil {
		return err
	}
	if err := j.launchOne(ctx, j.rt, o, seen, index); err != nil {
		return err
	}
	return j.await(ctx, []int{index})
}

func (j *job) stepOf(name string) operation.Step {
	for _, st := range j.op.Steps {
		if st.Name == name {
			return st
		}
	}
	return operation.Step{}
}
