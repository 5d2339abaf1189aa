package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// ready is what a container is made from.
type ready struct {
	launch fleet.Launch // with the image and the command that are meant
	image  image
	user   string
	mounts []mount.Mount
}

// Prepare implements fleet.Runtime.
func (r *Runtime) Prepare(ctx context.Context, l fleet.Launch) error {
	_, err := r.prepare(ctx, l)
	return err
}

// prepare finds the image, its user and the program in it, and makes the
// volumes.
func (r *Runtime) prepare(ctx context.Context, l fleet.Launch) (*ready, error) {
	if err := upkeep.CheckIDs(l.AgentID); err != nil {
		return nil, err
	}
	im, err := r.image(ctx, &l)
	if err != nil {
		return nil, err
	}
	p := &ready{launch: l, image: im}
	if l.Command == "" && len(im.command) == 0 && len(l.Args) == 0 {
		return nil, fault.New(fault.Invalid, "command.missing", "The image %s says nothing about what to run", l.Image).
			Do("Give the agent a command.")
	}
	if p.mounts, err = r.volumes(l, im); err != nil {
		return nil, err
	}
	if known, ok := r.checked.Load(p.key()); ok {
		p.user = known.(string)
		if fresh, err := r.makeVolumes(ctx, p); err != nil || !fresh {
			return p, err
		}
	}
	if err := r.tryOut(ctx, p); err != nil {
		return nil, err
	}
	r.checked.Store(p.key(), p.user)
	return p, nil
}

// key names what tryOut has looked at.
func (p *ready) key() string {
	parts := []string{p.image.id, p.launch.Command}
	for _, m := range p.mounts {
		parts = append(parts, m.Source)
	}
	return strings.Join(parts, "\x00")
}

// volumes gives the mounts of an instance: the agent's data directory, and the
// volumes of its specification.
func (r *Runtime) volumes(l fleet.Launch, im image) ([]mount.Mount, error) {
	// Otherwise the engine gives an empty volume the content and the owner of what
	// the image has in its place.
	empty := &mount.VolumeOptions{NoCopy: true}
	list := []mount.Mount{{Type: mount.TypeVolume, Source: r.name(l.AgentID, "data"), Target: DataDir, VolumeOptions: empty}}
	for i, v := range l.Volumes {
		where := v.Path
		if where == "" {
			where = v.Name
		}
		where = path.Clean(where)
		why := ""
		if upkeep.CheckIDs(v.Name) != nil {
			why = "a volume's name has letters, digits, dots, dashes and underscores only"
		} else if !filepath.IsLocal(where) || where == "." || strings.ContainsRune(where, 0) {
			why = "its path leaves the working directory"
		}
		if why != "" {
			return nil, fault.New(fault.Invalid, "volume.path", "volume %.100q cannot be used", v.Name).Because("%s", why).
				Do("Give it a relative path that is free, without \"..\".").At(fault.Field{Path: "volumes[" + itoa(i) + "].path", Message: why})
		}
		list = append(list, mount.Mount{
			Type: mount.TypeVolume, Source: r.volumeName(l.AgentID, v), Target: path.Join(im.workDir, where), ReadOnly: v.ReadOnly, VolumeOptions: empty,
		})
	}
	return list, nil
}

func (r *Runtime) volumeName(agentID string, v agent.Volume) string {
	return r.name(agentID, "volume", v.Name)
}

// makeVolumes tells whether one was not there yet.
func (r *Runtime) makeVolumes(ctx context.Context, p *ready) (fresh bool, err error) {
	for _, m := range p.mounts {
		bounded, cancel := r.bounded(ctx)
		got, err := r.api().VolumeInspect(bounded, m.Source, client.VolumeInspectOptions{})
		if errdefs.IsNotFound(err) {
			fresh = true
			_, err = r.api().VolumeCreate(bounded, client.VolumeCreateOptions{
				Name: m.Source, Labels: map[string]string{labelOwner: r.cfg.Owner, labelAgent: p.launch.AgentID},
			})
		} else if err == nil && got.Volume.Labels[labelOwner] != r.cfg.Owner {
			err = fault.New(fault.Conflict, "volume.taken", "The volume %s belongs to somebody else", m.Source).
				Because("it does not have this portal's labels").Do("Remove or rename it on the engine.")
		}
		cancel()
		if err != nil {
			return false, r.answered(ctx, "make the volume "+m.Source, err)
		}
	}
	return fresh, nil
}

// tryOut makes a container that never runs, to look into the image and to give
// the volumes to the image's user.
func (r *Runtime) tryOut(ctx context.Context, p *ready) error {
	if _, err := r.makeVolumes(ctx, p); err != nil {
		return err
	}
	id, remove, err := r.helper(ctx, p.launch, p.image, p.mounts)
	if err != nil {
		return err
	}
	defer remove()
	if err := r.findCommand(ctx, id, p); err != nil {
		return err
	}
	if p.user, err = r.user(p.image, func() ([]byte, error) { return r.readFile(ctx, id, "/etc/passwd") }); err != nil {
		return err
	}
	return r.answered(ctx, "give volumes to the image's user", r.giveVolumes(ctx, id, p))
}

// helperDir holds the mounts of a helper, by their numbers.
const helperDir = "/.portal"

// helper makes a container that never runs, and what removes it.
func (r *Runtime) helper(ctx context.Context, l fleet.Launch, im image, list []mount.Mount) (id string, remove func(), err error) {
	mounts := make([]mount.Mount, len(list))
	for i, m := range list {
		mounts[i] = mount.Mount{Type: m.Type, Source: m.Source, Target: helperDir + "/" + itoa(i), VolumeOptions: m.VolumeOptions}
	}
	if r.untidy.Swap(false) {
		r.sweepHelpers(ctx)
	}
	name := r.name("helper", strings.ToLower(rand.Text()))
	r.helpers.Store(name, true)
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	made, err := r.api().ContainerCreate(bounded, client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: im.id, Entrypoint: []string{"/never-run"}, NetworkDisabled: true,
			Labels: map[string]string{labelOwner: r.cfg.Owner, labelRole: roleHelper, labelAgent: l.AgentID},
		},
		HostConfig: &container.HostConfig{Mounts: mounts, NetworkMode: "none"},
	})
	if err != nil {
		r.helpers.Delete(name)
		r.untidy.Store(true) // the engine may have made it all the same
		return "", nil, r.answered(ctx, "look into the image "+l.Image, err)
	}
	return made.ID, func() {
		late, cancel := r.bounded(context.WithoutCancel(ctx))
		defer cancel()
		if _, err := r.api().ContainerRemove(late, made.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			r.cfg.Log.Warn("a container that was to look into an image could not be removed yet", "container", made.ID, "error", err)
			r.untidy.Store(true)
		}
		r.helpers.Delete(name)
	}, nil
}

// findCommand looks for the program in the image.
func (r *Runtime) findCommand(ctx context.Context, id string, p *ready) error {
	if p.launch.Command == "" {
		return nil
	}
	places := []string{path.Join(p.image.workDir, p.launch.Command)}
	if path.IsAbs(p.launch.Command) {
		places = []string{p.launch.Command}
	} else if !strings.Contains(p.launch.Command, "/") {
		places = nil
		for dir := range strings.SplitSeq(p.image.path, ":") {
			places = append(places, path.Join(dir, p.launch.Command))
		}
	}
	for _, place := range places {
		bounded, cancel := r.bounded(ctx)
		got, err := r.api().ContainerStatPath(bounded, id, client.ContainerStatPathOptions{Path: place})
		cancel()
		switch {
		case errdefs.IsNotFound(err):
			continue
		case err != nil:
			return r.answered(ctx, "look for "+place, err)
		case got.Stat.Mode.IsDir():
			return commandMissing(p.launch, place+" is a directory")
		case got.Stat.Mode.IsRegular() && got.Stat.Mode.Perm()&0o111 == 0:
			return commandMissing(p.launch, place+" is not executable")
		}
		return nil
	}
	return commandMissing(p.launch, "it is not in the image, looked for as "+strings.Join(places, ", "))
}

// readFile reads a small file of the image.
func (r *Runtime) readFile(ctx context.Context, id, file string) ([]byte, error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().CopyFromContainer(bounded, id, client.CopyFromContainerOptions{SourcePath: file})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, r.answered(ctx, "read "+file, err)
	}
	defer got.Content.Close()
	t := tar.NewReader(got.Content)
	if _, err := t.Next(); err != nil {
		return nil, r.answered(ctx, "read "+file, err)
	}
	return io.ReadAll(io.LimitReader(t, 1<<20))
}

// giveVolumes makes the image's user the owner of the volumes.
func (r *Runtime) giveVolumes(ctx context.Context, id string, p *ready) error {
	owner, group, _ := strings.Cut(p.user, ":")
	uid, err := strconv.Atoi(owner)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for i := range p.mounts {
		if err := t.WriteHeader(&tar.Header{Name: itoa(i) + "/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: uid, Gid: gid, ModTime: time.Now()}); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err = r.api().CopyToContainer(bounded, id, client.CopyToContainerOptions{DestinationPath: helperDir, Content: &b})
	return err
}

// sweepHelpers removes what is left of looking into images by a portal that was
// killed, or on an engine that was too slow: every helper that is not at work.
// Portals with the same mark never work at the same time.
func (r *Runtime) sweepHelpers(ctx context.Context) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().ContainerList(bounded, client.ContainerListOptions{All: true, Filters: r.mine("").Add("label", labelRole+"="+roleHelper)})
	if err != nil {
		r.untidy.Store(true)
		return
	}
	for _, c := range got.Items {
		if !slices.ContainsFunc(c.Names, r.helping) {
			if _, err := r.api().ContainerRemove(bounded, c.ID, client.ContainerRemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
				r.untidy.Store(true)
			}
		}
	}
}

// helping tells whether the container of that name is at work.
func (r *Runtime) helping(name string) bool {
	_, ok := r.helpers.Load(strings.TrimPrefix(name, "/"))
	return ok
}
