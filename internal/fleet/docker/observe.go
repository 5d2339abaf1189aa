package docker

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// inspectors is how many containers are looked at at the same time.
const inspectors = 8

// Observe implements fleet.Runtime.
func (r *Runtime) Observe(ctx context.Context, agentID string) ([]fleet.Instance, error) {
	if agentID != "" {
		if err := upkeep.CheckIDs(agentID); err != nil {
			return nil, err
		}
	}
	containers, err := r.containers(ctx, agentID)
	if err != nil {
		return nil, err
	}
	found := make([]*fleet.Instance, len(containers))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(inspectors)
	for i, c := range containers {
		group.Go(func() (err error) {
			found[i], err = r.observe(gctx, c)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var list []fleet.Instance
	for _, in := range found {
		if in != nil {
			list = append(list, *in)
		}
	}
	slices.SortFunc(list, func(a, b fleet.Instance) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// containers lists this portal's containers that are instances.
func (r *Runtime) containers(ctx context.Context, agentID string) ([]container.Summary, error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().ContainerList(bounded, client.ContainerListOptions{
		All: true, Filters: r.mine(agentID).Add("label", labelRole+"="+roleInstance),
	})
	if err != nil {
		return nil, r.answered(ctx, "list containers", err)
	}
	return slices.DeleteFunc(got.Items, func(c container.Summary) bool {
		return upkeep.CheckIDs(c.Labels[labelAgent], c.Labels[labelInstance]) != nil
	}), nil
}

// observe looks at one container; nil if it went away meanwhile.
func (r *Runtime) observe(ctx context.Context, c container.Summary) (*fleet.Instance, error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().ContainerInspect(bounded, c.ID, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, r.answered(ctx, "look at "+c.Labels[labelInstance], err)
	}
	in := described(c.Labels, got.Container.State)
	in.Host = r.host()
	if got.Container.State.Status == container.StateCreated {
		if in.State = fleet.InstanceStarting; !r.locks.Busy(in.ID) {
			in.State, in.Reason = fleet.InstanceLost, "its launch was interrupted"
		}
		return in, nil
	}
	u := r.adopt(c.ID, c.Labels)
	u.mu.Lock()
	defer u.mu.Unlock()
	in.Restarts, in.Reason = u.rec.Started, u.rec.Reason
	switch st := got.Container.State; {
	case u.rec.State == fleet.InstanceStopping || st.Status == container.StateRemoving:
		in.State = fleet.InstanceStopping
	case u.ending:
		in.State = u.rec.State
	case st.Paused:
		in.State = fleet.InstanceSuspended
	case runs(st):
		in.State = fleet.InstanceRunning
	case st.Status == container.StateDead:
		in.State, in.Reason = fleet.InstanceLost, "the engine could not remove its container"
	case u.rec.State != "":
		in.State = u.rec.State
	default: // what follows is being decided
		in.State, in.Reason = fleet.InstanceBackoff, u.describe(st)
	}
	if u.rec.Code != nil && in.State == u.rec.State { // the engine may have begun a run that was not to be
		in.ExitCode, in.Signal = u.rec.Code, upkeep.Signal(*u.rec.Code)
	}
	if !runs(got.Container.State) {
		in.LastLogs = segment.Last(filepath.Join(r.logsDir(in.AgentID), in.ID), 20, 400)
	}
	return in, nil
}

// described is what the engine itself says.
func described(labels map[string]string, st *container.State) *fleet.Instance {
	in := &fleet.Instance{
		ID: labels[labelInstance], AgentID: labels[labelAgent], StartedAt: instant(st.StartedAt), OOMKilled: st.OOMKilled,
	}
	in.Revision, _ = strconv.Atoi(labels[labelRevision])
	in.Index, _ = strconv.Atoi(labels[labelIndex])
	in.Port, _ = strconv.Atoi(labels[labelPort])
	if runs(st) {
		in.PID = st.Pid
	} else if in.EndedAt = instant(st.FinishedAt); !in.EndedAt.IsZero() {
		code := st.ExitCode
		in.ExitCode, in.Signal = &code, upkeep.Signal(code)
	}
	return in
}

// find gives the container of an instance and who looks after it. NotFound.
func (r *Runtime) find(ctx context.Context, agentID, instanceID string) (*unit, *container.State, error) {
	if err := upkeep.CheckIDs(agentID, instanceID); err != nil {
		return nil, nil, err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().ContainerInspect(bounded, r.name(instanceID), client.ContainerInspectOptions{})
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, nil, r.answered(ctx, "look at "+instanceID, err)
	}
	// Another's container may have the name.
	if err != nil || got.Container.Config.Labels[labelOwner] != r.cfg.Owner || got.Container.Config.Labels[labelAgent] != agentID {
		return nil, nil, notThere(instanceID)
	}
	if got.Container.State.Status == container.StateCreated {
		return &unit{r: r, agentID: agentID, instanceID: instanceID, container: got.Container.ID, quiet: closed}, got.Container.State, nil
	}
	return r.adopt(got.Container.ID, got.Container.Config.Labels), got.Container.State, nil
}

// closed stands for what has happened already.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Agents implements fleet.Accountant: also those are named of which only volumes
// or output are left.
func (r *Runtime) Agents(ctx context.Context) ([]string, error) {
	list, err := r.containers(ctx, "")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, c := range list {
		found[c.Labels[labelAgent]] = true
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	volumes, err := r.api().VolumeList(bounded, client.VolumeListOptions{Filters: r.mine("")})
	if err != nil {
		return nil, r.answered(ctx, "list volumes", err)
	}
	for _, v := range volumes.Items {
		if id := v.Labels[labelAgent]; upkeep.CheckIDs(id) == nil {
			found[id] = true
		}
	}
	images, err := r.api().ImageList(bounded, client.ImageListOptions{Filters: r.mine("").Add("label", labelRole+"="+roleBuilt)})
	if err != nil {
		return nil, r.answered(ctx, "list images", err)
	}
	for _, im := range images.Items {
		if id := im.Labels[labelAgent]; upkeep.CheckIDs(id) == nil {
			found[id] = true
		}
	}
	dirs, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		if d.IsDir() && upkeep.CheckIDs(d.Name()) == nil {
			found[d.Name()] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}
