package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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
	contextSeen  = 10 * contextFiles // with those that are ignored
	ignoreBytes  = 1 << 20
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
			Do("Name an image, or set %s to the directory whose directories may be built.", r.setting("build-root"))
	case r.cfg.Policy.PinnedOnly:
		return "", refuse("image.not_pinned", "only images that can't change are run ("+r.setting("pinned-only")+")").Do("Name an image with @sha256:… at its end.")
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
	from, err := sourcesOf(root)
	if err != nil {
		return "", refuse("image.build_context", "%v", err).Do("Leave in the directory what the image needs, or name what it does not need in .dockerignore.").Wrap(err)
	}
	return name, r.build(ctx, l, name, from)
}

// build lets the engine make the image, and keeps what it prints beside the output
// of instances.
func (r *Runtime) build(ctx context.Context, l *fleet.Launch, name string, from *sources) error {
	logins, err := r.logins(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	logs := fmt.Sprintf("%s-r%d-build", l.AgentID, l.Revision)
	out, err := segment.Open(filepath.Join(r.logsDir(l.AgentID), logs), r.cfg.SegmentSize, r.cfg.Segments)
	if err != nil {
		return err
	}
	defer out.Close()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(from.pack(pw)) }()
	defer pr.Close()
	answer, err := r.api().ImageBuild(ctx, bufio.NewReaderSize(pr, 1<<20), client.ImageBuildOptions{
		Tags: []string{name}, Dockerfile: "Dockerfile", Remove: true, ForceRemove: true, Version: build.BuilderV1, AuthConfigs: logins.all(),
		Labels: map[string]string{labelOwner: r.cfg.Owner, labelRole: roleBuilt, labelAgent: l.AgentID, labelRevision: itoa(l.Revision)},
	})
	if err == nil {
		err = printed(answer.Body, out, &layers{file: r.layersFile(l.AgentID)})
		_ = answer.Body.Close()
	}
	var failed *buildError
	switch {
	case err == nil:
		return r.dropUnfinished(ctx, l.AgentID)
	case errors.As(err, &failed):
		out.Note("%s", failed.Error())
		f := fault.New(fault.Invalid, "image.build", "The image %s can't be built", l.Image).Because("%s", brief(err)).Wrap(err)
		if strings.Contains(failed.Error(), "no space left on device") {
			return r.answered(ctx, "build "+l.Image, err)
		}
		if refusedLogin(failed) {
			return f.Do("Give a user of the base image's registry and the password in the file that %s names, or correct the name of the base image.", r.setting("config"))
		}
		if unanswered(failed) {
			f.Kind = fault.Unavailable
			return f.Do("See whether the engine reaches the registry of the base image, and what else the Dockerfile fetches, then try again.")
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

// unanswered tells whether it was the engine that could not fetch something, and no
// command of the Dockerfile, whose text an error repeats.
func unanswered(e *buildError) bool {
	text := strings.ToLower(e.text)
	return !strings.HasPrefix(text, "the command '") && slices.ContainsFunc(
		[]string{"dial tcp", "no such host", "i/o timeout", "connection re", "tls handshake", "deadline exceeded", "toomanyrequests", "server misbehaving"},
		func(p string) bool { return strings.Contains(text, p) })
}

// printed takes what a build prints, and gives the error that it ends with.
func printed(body io.Reader, out *segment.Writer, made *layers) error {
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
			text = strings.TrimSuffix(text, "\r")
			out.Line(time.Now(), segment.Stdout, false, []byte(text))
			err = errors.Join(err, made.line(text))
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
	got, err := r.api().ImageList(bounded, client.ImageListOptions{Filters: r.mine(agentID).Add("label", labelRole+"="+roleBuilt)})
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
		_, err := r.api().ImageRemove(bounded, im.id, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		cancel()
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return r.answered(ctx, "remove the image "+im.name, err)
		}
	}
	return nil
}
