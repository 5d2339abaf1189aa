package fleet

import (
	"context"
	"slices"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

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
