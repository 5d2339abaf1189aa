package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// stopSlack is how long a shim may take beyond the grace before it is taken to
// hang: its own bound for ending a tree, and some.
var stopSlack = 25 * time.Second

// Stop implements fleet.Runtime. A second Stop with a shorter grace hurries the
// first. The instance goes on ending if the context ends.
func (r *Runtime) Stop(ctx context.Context, agentID, instanceID string, grace time.Duration) error {
	if err := upkeep.CheckIDs(agentID, instanceID); err != nil {
		return err
	}
	dir := r.instanceDir(agentID, instanceID)
	if !r.locks.Busy(instanceID) && !exists(dir) {
		return nil
	}
	// Only a launch that is under way is waited for; stops may overtake each other.
	release, err := r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	rec, rerr := shim.ReadRecord(dir)
	if rerr != nil && locked(dir) {
		rec, rerr = status(ctx, dir)
	}
	release()
	if rerr == nil && rec.Living() {
		if err := r.tell(ctx, dir, rec, grace); err != nil {
			return err
		}
	}
	release, err = r.locks.Acquire(ctx, instanceID)
	if err != nil {
		return err
	}
	defer release()
	if now, err := shim.ReadRecord(dir); err == nil && now.Living() && now.Shim != rec.Shim {
		return nil // it was launched anew meanwhile
	}
	return r.bury(ctx, agentID, instanceID)
}

// tell makes a living shim stop its instance and waits until the shim is gone.
// It gives no error if the shim does not answer; then it must be buried.
func (r *Runtime) tell(ctx context.Context, dir string, rec shim.Record, grace time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, max(grace, 0)+stopSlack)
	defer cancel()
	response, err := shim.Call(bounded, dir, shim.Request{Op: shim.OpStop, Grace: grace})
	switch {
	case err == nil && response.Fault != nil:
		return response.Err()
	case err == nil:
		rec.Shim.Wait(bounded)
	case errors.Is(err, shim.ErrNoShim) && rec.Shim.Alive():
		// It may just be leaving by itself.
		short, cancel := context.WithTimeout(bounded, 2*time.Second)
		defer cancel()
		rec.Shim.Wait(short)
	}
	return ctx.Err()
}

// bury ends what is left of an instance whose shim is gone, hangs or has ended
// for good, and removes its directory. Its log stays.
func (r *Runtime) bury(ctx context.Context, agentID, instanceID string) error {
	dir := r.instanceDir(agentID, instanceID)
	if !exists(dir) {
		return nil
	}
	rec, err := shim.ReadRecord(dir)
	if err != nil || !rec.Final {
		if err := r.killLeftovers(ctx, agentID, instanceID, rec); err != nil {
			return err
		}
	} else {
		rec.Shim.Wait(ctx) // it is just leaving
	}
	bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for _, g := range []interface{ Remove(context.Context) error }{rec.Group, r.host.Group(instanceID)} {
		if err := g.Remove(bounded); err != nil {
			r.cfg.Log.Warn("a control group could not be removed", "instance", instanceID, "error", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fault.New(fault.Unavailable, "instance.remove", "the directory of %s could not be removed", instanceID).
			Do("Check permissions of the data directory.").Wrap(err)
	}
	r.changes.Add(agentID)
	return nil
}

// killLeftovers ends every process of the instance that outlived its shim, and
// the shim itself if it hangs. Nothing survives the machine's restart.
func (r *Runtime) killLeftovers(ctx context.Context, agentID, instanceID string, rec shim.Record) error {
	if rec.Boot != "" && rec.Boot != procfs.BootID() {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	dir := r.instanceDir(agentID, instanceID)
	for _, id := range procfs.WithEnviron(shim.MarkVariable + "=" + dir) { // first, lest it starts anew
		id.Signal(syscall.SIGKILL)
		id.Wait(bounded)
	}
	group := r.host.Group(instanceID)
	for bounded.Err() == nil {
		left := procfs.WithEnviron("AGENT_INSTANCE="+instanceID, "AGENT_DATA_DIR="+r.DataDir(agentID))
		if rec.Process.Alive() {
			left = append(left, rec.Process)
		}
		for _, pid := range append(group.Procs(), rec.Group.Procs()...) {
			if s, err := procfs.Read(pid); err == nil && !s.Dead() {
				left = append(left, s.ID)
			}
		}
		if len(left) == 0 {
			return nil
		}
		group.Kill(bounded)
		for _, id := range left {
			id.Signal(syscall.SIGKILL)
		}
		left[0].Wait(bounded)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "instance.stuck", "%s could not be cleaned up", instanceID).
		Because("some of its processes do not end, even by SIGKILL").Do("See what they wait for, then try again.")
}

// Remove implements fleet.Runtime.
func (r *Runtime) Remove(ctx context.Context, agentID string) error {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return err
	}
	instances, err := names(r.instancesDir(agentID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotDir) {
		return err
	}
	for _, name := range instances {
		if err := r.Stop(ctx, agentID, name, 0); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(r.agentDir(agentID)); err != nil {
		return fault.New(fault.Unavailable, "agent.remove", "the directories of %s could not be removed", agentID).
			Do("Check permissions of the data directory, and that nothing is mounted below it.").Wrap(err)
	}
	return nil
}

// sweepGroups removes the control groups of instances that have no directory
// any more, with whatever still runs in them.
func (r *Runtime) sweepGroups() {
	agents, err := names(r.cfg.Dir)
	if err != nil {
		return
	}
	for _, name := range r.host.Names() {
		if upkeep.CheckIDs(name) != nil || r.locks.Busy(name) {
			continue
		}
		if slices.ContainsFunc(agents, func(a string) bool { return exists(r.instanceDir(a, name)) }) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		group := r.host.Group(name)
		if len(group.Procs()) > 0 {
			group.Kill(ctx)
		}
		if err := group.Remove(ctx); err != nil {
			r.cfg.Log.Warn("a left control group could not be removed", "group", name, "error", err)
		}
		cancel()
	}
}
