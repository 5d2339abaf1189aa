package docker

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// killTime is how long a container may take to end after the first of so many
// SIGKILL.
const (
	killTime = 60 * time.Second
	kills    = 6
)

// Stop implements fleet.Runtime. A second Stop with a shorter grace hurries the
// first.
func (r *Runtime) Stop(ctx context.Context, agentID, instanceID string, grace time.Duration) error {
	if err := upkeep.CheckIDs(agentID, instanceID); err != nil {
		return err
	}
	// Only a launch that is under way is waited for; stops may overtake each other.
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	var before fleet.InstanceState
	u, st, err := r.find(ctx, agentID, instanceID)
	if err == nil && st.Status != container.StateCreated {
		u.mu.Lock()
		before, u.rec.State = u.rec.State, fleet.InstanceStopping
		u.reopen()
		u.save()
		u.mu.Unlock()
		u.rest()
	}
	release()
	if fault.Is(err, fault.NotFound) {
		if u := r.unit(instanceID); u != nil && u.agentID == agentID {
			r.forget(u)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.halt(ctx, u, grace); err != nil {
		if unbegun := (*unbegunError)(nil); errors.As(err, &unbegun) {
			u.unstop(before)
			return unbegun.err
		}
		return err
	}
	if release, err = r.locks.Acquire(ctx, instanceID); err != nil {
		return err
	}
	defer release()
	return r.discard(ctx, u)
}

// unbegunError is why the end of a container did not begin: it runs on as before.
type unbegunError struct{ err error }

func (e *unbegunError) Error() string { return e.err.Error() }

func (e *unbegunError) Unwrap() error { return e.err }

// unstop takes back that a container that runs is to end.
func (u *unit) unstop(before fleet.InstanceState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before != "" || u.cancel == nil {
		return
	}
	u.rec.State = before
	u.save()
	u.poke()
	u.r.changes.Add(u.agentID)
}

// halt ends the container: SIGTERM, grace, SIGKILL. Its processes share a PID
// namespace, so that none outlives it.
func (r *Runtime) halt(ctx context.Context, u *unit, grace time.Duration) error {
	if grace > 0 {
		// What stands still would not hear.
		if err := r.told(ctx, u, func(ctx context.Context) error {
			_, err := r.api().ContainerUnpause(ctx, u.container, client.ContainerUnpauseOptions{})
			return err
		}); err != nil {
			return &unbegunError{err}
		}
		// The engine takes SIGTERM for a stop only where the image wants just that.
		if err := r.told(ctx, u, func(ctx context.Context) error { return r.unpolicy(ctx, u) }); err != nil {
			return &unbegunError{err}
		}
		if err := r.signal(ctx, u, "SIGTERM"); err != nil {
			return err
		}
		ended, err := r.await(ctx, u, grace)
		if ended || err != nil {
			return err
		}
	}
	// An engine under load has lost the end of a container that was waited for.
	for range kills {
		if err := r.signal(ctx, u, "SIGKILL"); err != nil {
			return err
		}
		ended, err := r.await(ctx, u, killTime/kills)
		if ended || err != nil {
			return err
		}
	}
	return fault.New(fault.Unavailable, "instance.stuck", "%s could not be stopped", u.instanceID).
		Because("its container does not end, even by SIGKILL").Do("See what its processes wait for, then try again.")
}

func (r *Runtime) signal(ctx context.Context, u *unit, name string) error {
	return r.told(ctx, u, func(ctx context.Context) error {
		_, err := r.api().ContainerKill(ctx, u.container, client.ContainerKillOptions{Signal: name})
		return err
	})
}

// told asks something of a container; that it is gone, has ended or is already
// so is no error.
func (r *Runtime) told(ctx context.Context, u *unit, ask func(context.Context) error) error {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	err := ask(bounded)
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) || isNotPaused(err) {
		return nil
	}
	return r.answered(ctx, "stop "+u.instanceID, err)
}

// await tells whether the container has ended in time.
func (r *Runtime) await(ctx context.Context, u *unit, most time.Duration) (ended bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	wait := r.api().ContainerWait(bounded, u.container, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-wait.Result:
		return true, nil
	case err := <-wait.Error:
		if errdefs.IsNotFound(err) {
			return true, nil
		}
		if ctx.Err() == nil && errors.Is(bounded.Err(), context.DeadlineExceeded) {
			return false, nil
		}
		return false, r.answered(ctx, "wait for "+u.instanceID, err)
	}
}

// discard removes a container that has ended, once its output is taken. The lock
// of the instance is held.
func (r *Runtime) discard(ctx context.Context, u *unit) error {
	u.mu.Lock()
	quiet := u.quiet
	u.mu.Unlock()
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
	case <-quiet:
	case <-u.done: // nobody looks after it any more
	case <-patience.C:
		r.cfg.Log.Warn("the last output of an instance may be lost", "instance", u.instanceID)
	case <-ctx.Done():
		return ctx.Err()
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err := r.api().ContainerRemove(bounded, u.container, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		return r.answered(ctx, "remove "+u.instanceID, err)
	}
	if u.cancel != nil {
		r.forget(u)
		<-u.done // nobody writes its output any more
	}
	r.changes.Add(u.agentID)
	return nil
}

// Remove implements fleet.Runtime.
func (r *Runtime) Remove(ctx context.Context, agentID string) error {
	if err := r.Withdraw(ctx, agentID); err != nil {
		return err
	}
	if err := r.dropUnfinished(ctx, agentID); err != nil {
		return err
	}
	if err := os.RemoveAll(r.agentDir(agentID)); err != nil {
		return fault.New(fault.Unavailable, "agent.remove", "the directories of %s could not be removed", agentID).
			Do("Check permissions of the data directory.").Wrap(err)
	}
	return nil
}

// Withdraw implements fleet.Withdrawer: what a build printed stays, and so does what it
// made before it failed, which the next one begins with.
func (r *Runtime) Withdraw(ctx context.Context, agentID string) error {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return err
	}
	list, err := r.containers(ctx, agentID)
	if err != nil {
		return err
	}
	for _, c := range list {
		if err := r.Stop(ctx, agentID, c.Labels[labelInstance], 0); err != nil {
			return err
		}
	}
	r.sweepHelpers(ctx) // which would hold the volumes
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	volumes, err := r.api().VolumeList(bounded, client.VolumeListOptions{Filters: r.mine(agentID)})
	if err != nil {
		return r.answered(ctx, "list volumes", err)
	}
	for _, v := range volumes.Items {
		if _, err := r.api().VolumeRemove(bounded, v.Name, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return r.answered(ctx, "remove the volume "+v.Name, err)
		}
	}
	if err := r.dropImages(ctx, agentID); err != nil {
		return err
	}
	r.dropNetwork(ctx)
	return nil
}
