package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// image is what is known of an image that the engine has.
type image struct {
	id      string // every run uses the same, wherever a tag points meanwhile
	user    string
	workDir string
	path    string   // the PATH of its environment
	command []string // what it runs by itself
}

// image gives the launch's image, and pulls it if the engine lacks it.
func (r *Runtime) image(ctx context.Context, l *fleet.Launch) (image, error) {
	if l.Image == "" && l.Command != "" && l.Command == r.cfg.Self {
		var err error
		if l.Image, err = r.selfImage(ctx); err != nil {
			return image{}, err
		}
		l.Command = selfPath
	}
	if l.Image == "" {
		return image{}, fault.New(fault.Invalid, "image.missing", "%s names no image", l.AgentID).
			Because("the runtime docker runs commands in images").Do("Give the agent an image, or the runtime process.")
	}
	if strings.HasPrefix(l.Image, buildScheme) {
		name, err := r.built(ctx, l)
		if err != nil {
			return image{}, err
		}
		got, err := r.inspectImage(ctx, name)
		return got, r.answered(ctx, "look at the image "+name, err)
	}
	ref, err := reference.ParseNormalizedNamed(l.Image)
	if err != nil {
		return image{}, fault.New(fault.Invalid, "image.name", "%q is not the name of an image", l.Image).
			Because("%v", err).Do("Write it as in ghcr.io/team/program:1.2, best with @sha256:… after it.")
	}
	if _, pinned := ref.(reference.Canonical); !pinned && r.cfg.Policy.PinnedOnly && l.Command != selfPath {
		return image{}, fault.New(fault.Invalid, "image.not_pinned", "The image %s is not named by its digest", l.Image).
			Because("only images that can't change are run (%s)", r.setting("pinned-only")).Do("Write it with @sha256:… at its end.")
	}
	got, err := r.inspectImage(ctx, l.Image)
	if errdefs.IsNotFound(err) {
		if err := r.pull(ctx, ref, l.Image); err != nil {
			return image{}, err
		}
		got, err = r.inspectImage(ctx, l.Image)
	}
	if err != nil {
		return image{}, r.answered(ctx, "look at the image "+l.Image, err)
	}
	return got, nil
}

func (r *Runtime) inspectImage(ctx context.Context, name string) (image, error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().ImageInspect(bounded, name)
	if err != nil {
		return image{}, err
	}
	im := image{id: got.ID, workDir: "/", path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if c := got.Config; c != nil {
		im.user, im.command = c.User, slices.Concat(c.Entrypoint, c.Cmd)
		im.workDir = path.Join("/", c.WorkingDir)
		for _, v := range c.Env {
			if p, ok := strings.CutPrefix(v, "PATH="); ok {
				im.path = p
			}
		}
	}
	return im, nil
}

// pull lets the engine fetch an image. How long that takes is the caller's.
func (r *Runtime) pull(ctx context.Context, ref reference.Named, name string) error {
	var options client.ImagePullOptions
	logins, err := r.logins(ctx)
	if err != nil {
		return err
	}
	auth, err := logins.of(reference.Domain(ref))
	if err == nil && auth.Username != "" {
		options.RegistryAuth, err = authconfig.Encode(auth)
	}
	if err != nil {
		return err
	}
	answer, err := r.api().ImagePull(ctx, name, options)
	if err == nil {
		err = answer.Wait(ctx)
	}
	if err == nil || ctx.Err() != nil || client.IsErrConnectionFailed(err) {
		return r.answered(ctx, "pull "+name, err)
	}
	return r.notPulled(ctx, reference.Domain(ref), name, err)
}

// notPulled makes a fault of what kept the engine from fetching an image.
func (r *Runtime) notPulled(ctx context.Context, domain, name string, err error) error {
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	f := fault.New(fault.Unavailable, "image.pull", "The image %s can't be pulled", name).Because("%s", brief(err)).Wrap(err)
	switch {
	case has("no space left"):
		return r.answered(ctx, "pull "+name, err)
	case has("verification failed", "unexpected eof", "invalid checksum", "unexpected commit digest", "failed precondition", "end of json"):
		f.Code, f.What = "image.corrupt", "The image "+name+" is damaged"
		return f.Do("What %s gave is not what its digest says. Push the image again, and see whether something between the engine and the registry changes what passes.", domain)
	case has("toomanyrequests", "too many requests"):
		return f.Do("%s lets nobody pull so often: wait, give a user of it in the file that %s names, or have the image nearer.", domain, r.setting("config"))
	case errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) || refusedLogin(err):
		f.Kind = fault.Invalid
		return f.Do("Give a user of %s and the password in the file that %s names, or correct the name of the image.", domain, r.setting("config"))
	case errdefs.IsNotFound(err) || has("manifest unknown", "name unknown", "not found"):
		f.Kind = fault.Invalid
		return f.Do("Correct the name, the tag or the digest of the image.")
	case has("server gave http response"):
		return f.Do("Give %s a certificate, or name it in the engine's insecure-registries.", domain)
	case has("x509"):
		return f.Do("Give the engine the certificate of the authority of %s, in /etc/docker/certs.d/%s/ca.crt on its machine.", domain, domain)
	}
	return f.Do("See whether the engine reaches %s, then try again.", domain)
}

// refusedLogin tells whether a registry asked for other credentials, as engines say it.
func refusedLogin(err error) bool {
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc([]string{"denied", "unauthorized", "no basic auth", "authentication required"}, func(p string) bool {
		return strings.Contains(text, p)
	})
}

// selfPath is the portal's program in the image that is made of it.
const selfPath = "/portal"

// builtIn makes and remembers the image of the built-in agents.
type builtIn struct {
	mu   sync.Mutex
	name string
}

// selfImage gives the image of the portal's own program, and makes it if the
// engine lacks it.
func (r *Runtime) selfImage(ctx context.Context) (string, error) {
	b := &r.builtIn
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.name == "" {
		sum, err := static(r.cfg.Self)
		if err != nil {
			return "", err
		}
		b.name = "platform-portal/agent:" + sum
	}
	_, err := r.inspectImage(ctx, b.name)
	if err == nil || !errdefs.IsNotFound(err) {
		return b.name, r.answered(ctx, "look at the image "+b.name, err)
	}
	f, err := os.Open(r.cfg.Self)
	if err != nil {
		return "", err
	}
	defer f.Close()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(pack(pw, f)) }()
	defer pr.Close()
	name, tag, _ := strings.Cut(b.name, ":")
	answer, err := r.api().ImageImport(ctx, client.ImageImportSource{Source: pr, SourceName: "-"}, name, client.ImageImportOptions{
		Tag: tag, Message: "built-in agents of the portal", Changes: []string{"ENTRYPOINT [\"" + selfPath + "\"]", "WORKDIR " + DataDir, "LABEL " + labelRole + "=built-in"},
	})
	if err == nil {
		_, err = io.Copy(io.Discard, answer)
		_ = answer.Close()
	}
	return b.name, r.answered(ctx, "make the image "+b.name, err)
}

// pack writes an archive of the program alone.
func pack(w io.Writer, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Name: selfPath[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(t, bufio.NewReaderSize(f, 1<<20)); err != nil {
		return err
	}
	return t.Close()
}

// static gives the checksum of a program that needs nothing but the kernel.
func static(file string) (string, error) {
	refuse := func(why string) error {
		return fault.New(fault.Invalid, "image.not_static", "No image can be made of the portal's program").
			Because("%s", why).Do("Use a portal that was built with CGO_ENABLED=0 for Linux, or give the agent an image.")
	}
	e, err := elf.Open(file)
	if err != nil {
		return "", refuse("it is no program for Linux")
	}
	defer e.Close()
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return "", refuse("it needs libraries that no empty image has")
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// nobody is the user of images that would run as root.
const nobody = "65532:65532"

// user gives the user and group, as numbers, that an image's program runs as.
// passwd reads the image's list of users.
func (r *Runtime) user(im image, passwd func() ([]byte, error)) (string, error) {
	name, group, _ := strings.Cut(im.user, ":")
	if name == "" {
		name = "0"
	}
	if n, err := strconv.Atoi(name); err == nil {
		if n == 0 && !r.cfg.Policy.Root {
			return nobody, nil
		}
		if group == "" {
			group = name
		}
		if _, err := strconv.Atoi(group); err != nil {
			group = name
		}
		return name + ":" + group, nil
	}
	b, err := passwd()
	if err != nil {
		return "", err
	}
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		f := strings.Split(string(line), ":")
		if len(f) < 4 || f[0] != name {
			continue
		}
		if f[2] == "0" && !r.cfg.Policy.Root {
			return nobody, nil
		}
		return f[2] + ":" + f[3], nil
	}
	return "", fault.New(fault.Invalid, "image.user", "The user %s of the image can't be found", name).
		Because("the image has no such line in /etc/passwd").Do("Build the image with a numeric USER.")
}
