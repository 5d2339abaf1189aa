package docker

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
)

// buildScheme begins the image of an agent that is built from a directory of the
// build root.
const buildScheme = "build://"

// What a build may take.
const (
	contextBytes = 256 << 20
	contextFiles = 20_000
	buildTime    = 30 * time.Minute
)

const roleBuilt = "built"

var contextName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$`)

// builtName is the name of the image of a revision. It begins with what all
// images of the agent have.
func (r *Runtime) builtName(l *fleet.Launch) string {
	return r.name("built", strings.ToLower(l.AgentID)) + ":r" + itoa(l.Revision)
}

// built gives the image of a revision that is built here. A revision is one image:
// it is built once, whatever becomes of the directory.
func (r *Runtime) built(ctx context.Context, l *fleet.Launch) (string, error) {
	dir := strings.TrimPrefix(l.Image, buildScheme)
	refuse := func(code, format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, code, "The image %s can't be built", l.Image).Because(format, args...)
	}
	switch {
	case r.cfg.BuildRoot == "":
		return "", refuse("image.no_builds", "this portal builds no images").
			Do("Name an image, or set docker.build-root to the directory whose directories may be built.")
	case r.cfg.Policy.PinnedOnly:
		return "", refuse("image.not_pinned", "this portal only runs images that can't change (docker.pinned-only)").Do("Name an image with @sha256:… at its end.")
	case !contextName.MatchString(dir):
		return "", refuse("image.name", "%q is not the name of a directory", dir).Do("Write it as in build://team/program.")
	}
	release, err := r.locks.Acquire(ctx, "\x00build\x00"+l.AgentID)
	if err != nil {
		return "", err
	}
	defer release()
	name := r.builtName(l)
	if _, err = r.inspectImage(ctx, name); !errdefs.IsNotFound(err) {
		return name, r.answered(ctx, "look at the image "+name, err)
	}
	root, err := os.OpenRoot(r.cfg.BuildRoot)
	if err == nil {
		defer root.Close()
		root, err = root.OpenRoot(dir) // symbolic links do not lead out
	}
	if err != nil {
		return "", refuse("image.build_context", "%s has no such directory", r.cfg.BuildRoot).Do("Put a directory with a Dockerfile there, or correct the image.").Wrap(err)
	}
	defer root.Close()
	list, why := contextOf(root)
	if why != "" {
		return "", refuse("image.build_context", "%s", why).Do("Leave in the directory what the image needs, and nothing else.")
	}
	return name, r.build(ctx, l, name, root, list)
}

// contextOf lists the files of a directory; or says why they are not a context.
func contextOf(root *os.Root) (list []string, why string) {
	var size int64
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		switch mode := d.Type(); {
		case err != nil:
			return err
		case name == ".dockerignore":
			return errors.New("it has a .dockerignore, which is not followed: what it names would get into the image")
		case mode != 0 && mode != fs.ModeDir && mode != fs.ModeSymlink:
			return errors.New(name + " is neither a file nor a directory")
		case mode == 0:
			size += info.Size()
		}
		if list = append(list, name); len(list) > contextFiles || size > contextBytes {
			return fmt.Errorf("it holds more than %d files or %d MiB", contextFiles, contextBytes>>20)
		}
		return nil
	})
	if info, serr := root.Stat("Dockerfile"); err == nil && (serr != nil || !info.Mode().IsRegular()) {
		err = errors.New("it has no Dockerfile")
	}
	if err != nil {
		return nil, err.Error()
	}
	return list, ""
}

// packContext writes an archive of the files.
func packContext(w io.Writer, root *os.Root, list []string) error {
	t := tar.NewWriter(w)
	for _, name := range list {
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		link := ""
		if info.Mode().Type() == fs.ModeSymlink {
			if link, err = root.Readlink(name); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		_, err = io.CopyN(t, f, h.Size)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return t.Close()
}

// build lets the engine make the image, and keeps what it prints beside the output
// of instances.
func (r *Runtime) build(ctx context.Context, l *fleet.Launch, name string, root *os.Root, list []string) error {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	logs := fmt.Sprintf("%s-r%d-build", l.AgentID, l.Revision)
	out, err := segment.Open(filepath.Join(r.logsDir(l.AgentID), logs), r.cfg.SegmentSize, r.cfg.Segments)
	if err != nil {
		return err
	}
	defer out.Close()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(packContext(pw, root, list)) }()
	defer pr.Close()
	answer, err := r.api.ImageBuild(ctx, bufio.NewReaderSize(pr, 1<<20), client.ImageBuildOptions{
		Tags: []string{name}, Dockerfile: "Dockerfile", Remove: true, ForceRemove: true, Version: build.BuilderV1,
		Labels: map[string]string{labelOwner: r.cfg.Owner, labelRole: roleBuilt, labelAgent: l.AgentID, labelRevision: itoa(l.Revision)},
	})
	if err == nil {
		err = printed(answer.Body, out)
		_ = answer.Body.Close()
	}
	var failed *buildError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		out.Note("%s", failed.Error())
		f := fault.New(fault.Invalid, "image.build", "The image %s can't be built", l.Image).Because("%s", brief(err)).Wrap(err)
		if strings.Contains(failed.Error(), "no space left on device") {
			return r.answered(ctx, "build "+l.Image, err)
		}
		return f.Do("Correct the Dockerfile; what the build printed is in the agent's log, as instance %s.", logs)
	case errdefs.IsInvalidArgument(err):
		return fault.New(fault.Invalid, "image.build", "The image %s can't be built", l.Image).Because("%s", brief(err)).Do("Correct the Dockerfile.").Wrap(err)
	}
	return r.answered(ctx, "build "+l.Image, err)
}

// buildError is a failure of the build itself.
type buildError struct{ text string }

func (e *buildError) Error() string { return e.text }

// printed takes what a build prints, and gives the error that it ends with.
func printed(body io.Reader, out *segment.Writer) error {
	in := json.NewDecoder(body)
	line := ""
	for {
		var m struct {
			Stream string
			Error  string
		}
		err := in.Decode(&m)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if m.Error != "" {
			err = &buildError{m.Error}
		}
		line += m.Stream
		for text, rest, ok := strings.Cut(line, "\n"); ok; text, rest, ok = strings.Cut(line, "\n") {
			out.Line(time.Now(), segment.Stdout, false, []byte(strings.TrimSuffix(text, "\r")))
			line = rest
		}
		if len(line) > 64<<10 || m.Stream == "" && err != nil || !in.More() {
			if line != "" {
				out.Line(time.Now(), segment.Stdout, false, []byte(line))
			}
			line = ""
		}
		if err != nil || !in.More() {
			out.Flush()
			return err
		}
	}
}

// images gives what was built for the agent.
func (r *Runtime) images(ctx context.Context, agentID string) (list []builtImage, err error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api.ImageList(bounded, client.ImageListOptions{Filters: r.mine(agentID).Add("label", labelRole+"="+roleBuilt)})
	if err != nil {
		return nil, r.answered(ctx, "list images", err)
	}
	for _, im := range got.Items {
		name := im.ID
		if len(im.RepoTags) > 0 {
			name = im.RepoTags[0]
		}
		list = append(list, builtImage{name: path.Base(name), id: im.ID, size: im.Size, made: time.Unix(im.Created, 0).UTC()})
	}
	return list, nil
}

type builtImage struct {
	name, id string
	size     int64
	made     time.Time
}

// dropImages removes what was built for the agent.
func (r *Runtime) dropImages(ctx context.Context, agentID string) error {
	list, err := r.images(ctx, agentID)
	if err != nil {
		return err
	}
	for _, im := range list {
		bounded, cancel := r.bounded(ctx)
		_, err := r.api.ImageRemove(bounded, im.id, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		cancel()
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return r.answered(ctx, "remove the image "+im.name, err)
		}
	}
	return nil
}
