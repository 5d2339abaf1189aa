package docker

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/cargo"
)

var _ fleet.Carrier = (*Runtime)(nil)

// carryTime bounds how long the content of one volume may take.
const carryTime = 4 * time.Hour

// Carries implements fleet.Carrier: instances of an agent share its volumes.
func (r *Runtime) Carries(context.Context) (apart bool, err error) { return false, nil }

// PackVolume implements fleet.Carrier.
func (r *Runtime) PackVolume(ctx context.Context, l fleet.Launch, volume string, w io.Writer) error {
	im, err := r.image(ctx, &l)
	if err != nil {
		return err
	}
	m, err := r.volume(l, im, volume)
	if err != nil {
		return err
	}
	return r.within(ctx, l, im, m, func(ctx context.Context, id string) error {
		got, err := r.api().CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: helperDir + "/0/."})
		if err != nil {
			return err
		}
		defer got.Content.Close()
		_, err = io.Copy(w, got.Content)
		return err
	})
}

// UnpackVolume implements fleet.Carrier: the volume is made anew. How much room there
// is only the engine knows, and says it when there is none.
func (r *Runtime) UnpackVolume(ctx context.Context, l fleet.Launch, volume string, _ int64, in io.Reader) error {
	p, err := r.prepare(ctx, l)
	if err != nil {
		return err
	}
	m, err := r.volume(p.launch, p.image, volume)
	if err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err = r.api().VolumeRemove(bounded, m.Source, client.VolumeRemoveOptions{})
	if errdefs.IsConflict(err) {
		return fault.New(fault.Conflict, "volume.in_use", "The volume %s is in use", m.Source).
			Because("%s", brief(err)).Do("Stop what uses it on the engine, then move the agent again.").Wrap(err)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return r.answered(ctx, "empty the volume "+m.Source, err)
	}
	if p, err = r.prepare(ctx, l); err != nil { // which gives it to the image's user
		return err
	}
	uid, gid, _ := strings.Cut(p.user, ":")
	var owner cargo.Owner
	if owner.UID, err = strconv.Atoi(uid); err == nil {
		owner.GID, err = strconv.Atoi(gid)
	}
	if err != nil {
		return err
	}
	return r.within(ctx, l, p.image, m, func(ctx context.Context, id string) error {
		pr, pw := io.Pipe()
		passed := make(chan error, 1)
		go func() {
			_, err := cargo.Pass(pw, in, owner)
			passed <- err
			_ = pw.CloseWithError(err)
		}()
		_, err := r.api().CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: helperDir + "/0", Content: pr})
		_ = pr.CloseWithError(io.ErrClosedPipe)
		if perr := <-passed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
			return perr
		}
		return err
	})
}

// volume gives where a volume of a launch is.
func (r *Runtime) volume(l fleet.Launch, im image, name string) (mount.Mount, error) {
	list, err := r.volumes(l, im)
	if err != nil {
		return mount.Mount{}, err
	}
	for i, m := range list {
		if i == 0 && name == fleet.DataVolume || i > 0 && l.Volumes[i-1].Name == name {
			return m, nil
		}
	}
	return mount.Mount{}, fault.New(fault.NotFound, "volume.not_found", "%s has no volume %s", l.AgentID, name)
}

// within does something beside a volume, in a container that never runs.
func (r *Runtime) within(ctx context.Context, l fleet.Launch, im image, m mount.Mount, do func(ctx context.Context, id string) error) error {
	id, remove, err := r.helper(ctx, l, im, []mount.Mount{m})
	if err != nil {
		return err
	}
	defer remove()
	long, cancel := context.WithTimeout(ctx, carryTime)
	defer cancel()
	return r.answered(ctx, "carry the content of "+m.Source, do(long, id))
}
