package docker_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

// put writes a file of a build root.
func put(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// toBuild describes an instance of an image that is built.
func toBuild(agentID, dir string, revision int) fleet.Launch {
	l := fleet.Launch{InstanceID: fleet.InstanceID(agentID, revision, 0), AgentID: agentID, Revision: revision, Image: "build://" + dir}
	l.Restart = agent.RestartPolicy{Policy: "never"}
	return l
}

// prints gives all lines of an agent.
func prints(t *testing.T, rt *docker.Runtime, agentID string) (list []string) {
	t.Helper()
	err := rt.ReadLogs(t.Context(), fleet.LogQuery{AgentID: agentID}, func(l fleet.LogLine) error {
		list = append(list, l.Text)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return list
}

const dockerfile = "FROM " + dockertest.Image + "\nRUN [\"" + dockertest.ProgramPath + "\", \"print\", \"2\"]\nCOPY note /note\nENV GREETING=%\n" +
	"ENTRYPOINT [\"" + dockertest.ProgramPath + "\", \"env\", \"GREETING\"]\n"

func greeting(s string) string {
	return strings.Replace(strings.Replace(dockerfile, "%", s, 1), "\"print\", \"2\"", "\"env\", \"PATH\", \"end\"", 1)
}

func TestAnImageIsBuiltForEachRevision(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	cfg.BuildRoot = t.TempDir()
	put(t, cfg.BuildRoot, "team/greeter/Dockerfile", greeting("hello"))
	put(t, cfg.BuildRoot, "team/greeter/note", "a note")
	rt := open(t, cfg)
	run := func(revision int, want string) {
		t.Helper()
		l := toBuild("greeter", "team/greeter", revision)
		if err := errors.Join(rt.Prepare(t.Context(), l), rt.Launch(t.Context(), l)); err != nil {
			t.Fatal(err)
		}
		fleettest.Eventually(t, want, func() bool { return slices.Contains(prints(t, rt, "greeter"), want) })
		if err := rt.Stop(t.Context(), l.AgentID, l.InstanceID, 0); err != nil {
			t.Error(err)
		}
	}
	run(1, "GREETING=hello")
	if lines := prints(t, rt, "greeter"); !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Step 1/") }) {
		t.Errorf("what the build printed is not kept: %q", lines)
	}
	put(t, cfg.BuildRoot, "team/greeter/Dockerfile", greeting("bye"))
	put(t, cfg.BuildRoot, "team/greeter/Dockerfile.bak", "")
	if err := rt.Prepare(t.Context(), toBuild("greeter", "team/greeter", 1)); err != nil { // it is what it was
		t.Error(err)
	}
	run(2, "GREETING=bye")
	built := func() []string {
		return strings.Fields(e.Docker(t, "images", "-q", "--filter", "label=io.platform-portal.owner="+cfg.Owner))
	}
	holdings, err := rt.Holdings(t.Context(), "greeter")
	own := 0
	for _, h := range holdings {
		if h.Kind == "image" && h.Where == "built for the agent" && h.Bytes > 0 {
			own++
		}
	}
	if err != nil || own != 2 || len(built()) != 2 {
		t.Errorf("it holds %+v, %v; the engine has %v", holdings, err, built())
	}
	if err := rt.Remove(t.Context(), "greeter"); err != nil {
		t.Error(err)
	}
	if left := built(); len(left) > 0 {
		t.Errorf("images are left: %v", left)
	}
}

func TestBuildsThatAreRefused(t *testing.T) {
	dockertest.Start(t)
	cfg := config(t)
	root := t.TempDir()
	put(t, root, "fine/Dockerfile", "FROM "+dockertest.Image+"\n")
	put(t, root, "ignoring/Dockerfile", "FROM "+dockertest.Image+"\n")
	put(t, root, "ignoring/.dockerignore", "a[\n")
	put(t, root, "empty/note", "")
	put(t, root, "large/Dockerfile", "FROM "+dockertest.Image+"\n")
	put(t, root, "broken/Dockerfile", "FROM "+dockertest.Image+"\nRUN [\""+dockertest.ProgramPath+"\", \"exit\", \"3\"]\n")
	put(t, root, "wrong/Dockerfile", "NONSENSE\n")
	if err := os.WriteFile(filepath.Join(root, "large", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "large", "file"), 257<<20); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	put(t, outside, "Dockerfile", "FROM "+dockertest.Image+"\n")
	if err := os.Symlink(outside, filepath.Join(root, "leads-out")); err != nil {
		t.Fatal(err)
	}
	off := open(t, cfg)
	if f := fault.As(off.Prepare(t.Context(), toBuild("builder", "fine", 1))); f == nil || f.Code != "image.no_builds" || !strings.Contains(f.Remedy, "docker.build-root") {
		t.Errorf("without a build root: %v", f)
	}
	cfg = config(t)
	cfg.BuildRoot = root
	rt := open(t, cfg)
	for dir, code := range map[string]string{
		"nothing": "image.build_context", "empty": "image.build_context", "ignoring": "image.build_context", "large": "image.build_context",
		"leads-out": "image.build_context", "../fine": "image.name", "/etc": "image.name", "": "image.name", "broken": "image.build", "wrong": "image.build",
	} {
		f := fault.As(rt.Prepare(t.Context(), toBuild("builder", dir, 1)))
		if f == nil || f.Kind != fault.Invalid || f.Code != code || f.Why == "" || f.Remedy == "" {
			t.Errorf("%q: %v, want %s", dir, f, code)
		}
	}
	if lines := prints(t, rt, "builder"); !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "exiting with 3") }) {
		t.Errorf("the log has %q", lines)
	}
}

// The engine keeps what a build made before it failed, without a label: it is known
// all the same, and goes with the agent or once a build succeeds.
func TestNothingIsLeftOfBuildsThatFail(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	cfg.BuildRoot = t.TempDir()
	rt := open(t, cfg)
	begin := "FROM " + dockertest.Image + "\nCOPY note /note-" + cfg.Owner + "\n"
	fails := begin + "RUN [\"" + dockertest.ProgramPath + "\", \"env\", \"PATH\", \"end\"]\nRUN [\"" + dockertest.ProgramPath + "\", \"exit\", \"3\"]\n"
	put(t, cfg.BuildRoot, "half/note", cfg.Owner)
	put(t, cfg.BuildRoot, "half/Dockerfile", fails)
	others := strings.Fields(e.Docker(t, "images", "-aq", "--no-trunc"))
	made := func() (list []string) {
		for _, id := range strings.Fields(e.Docker(t, "images", "-aq", "--no-trunc")) {
			if !slices.Contains(others, id) {
				list = append(list, id)
			}
		}
		return list
	}
	fail := func(revision int) {
		t.Helper()
		code(t, "a build that fails", rt.Prepare(t.Context(), toBuild("half", "half", revision)), "image.build")
		held, err := rt.Holdings(t.Context(), "half")
		if err != nil || !slices.ContainsFunc(held, func(h fleet.Holding) bool {
			return h.Kind == "image" && h.Bytes > 0 && strings.Contains(h.Where, "failed")
		}) {
			t.Errorf("what it holds is %+v, %v", held, err)
		}
	}
	fail(1)
	// What is taken back says why it failed.
	if err := rt.Withdraw(t.Context(), "half"); err != nil {
		t.Error(err)
	}
	if lines := prints(t, rt, "half"); !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "exiting with 3") }) {
		t.Errorf("the log has %q", lines)
	}
	if list := made(); len(list) != 2 {
		t.Errorf("the engine has %d images more after a build that failed at its third step", len(list))
	}
	if err := rt.Remove(t.Context(), "half"); err != nil {
		t.Error(err)
	}
	if list := made(); len(list) != 0 {
		t.Errorf("%v are left of an agent that was removed", list)
	}
	if lines := prints(t, rt, "half"); len(lines) != 0 {
		t.Errorf("%q is left of an agent that was removed", lines)
	}
	fail(2)
	put(t, cfg.BuildRoot, "half/Dockerfile", begin+"CMD [\"wait\"]\n")
	if err := rt.Prepare(t.Context(), toBuild("half", "half", 3)); err != nil {
		t.Fatal(err)
	}
	held, err := rt.Holdings(t.Context(), "half")
	if err != nil || slices.ContainsFunc(held, func(h fleet.Holding) bool { return strings.Contains(h.Where, "failed") }) {
		t.Errorf("what it holds after a build that succeeded is %+v, %v", held, err)
	}
	if err := rt.Remove(t.Context(), "half"); err != nil {
		t.Error(err)
	}
	if list := made(); len(list) != 0 {
		t.Errorf("%v are left of an agent that was removed", list)
	}
}

func TestABaseImageThatCannotBeReachedIsNoFaultOfTheDockerfile(t *testing.T) {
	dockertest.Start(t)
	cfg := config(t)
	cfg.BuildRoot = t.TempDir()
	put(t, cfg.BuildRoot, "far/Dockerfile", "FROM 127.0.0.1:1/base:1\n")
	err := open(t, cfg).Prepare(t.Context(), toBuild("far", "far", 1))
	if f := fault.As(err); f == nil || f.Code != "image.build" || f.Kind != fault.Unavailable || !strings.Contains(f.Remedy, "registry") {
		t.Errorf("%v", err)
	}
}

// Engines give /tmp the mode of the directory that an image has there.
func TestTemporaryFilesCanBeWrittenWhateverTheImageHas(t *testing.T) {
	dockertest.Start(t)
	cfg := config(t)
	cfg.BuildRoot = t.TempDir()
	put(t, cfg.BuildRoot, "closed/note", "closed")
	put(t, cfg.BuildRoot, "closed/Dockerfile", "FROM "+dockertest.Image+"\nCOPY note /tmp/note\nUSER 1234:1235\n")
	rt := open(t, cfg)
	l := toBuild("closed", "closed", 1)
	l.Command, l.Args = dockertest.ProgramPath, []string{"fill", "/tmp/file", "1"}
	if err := errors.Join(rt.Prepare(t.Context(), l), rt.Launch(t.Context(), l)); err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, "a file in /tmp", func() bool { return slices.Contains(prints(t, rt, "closed"), "filled") })
	if lines := prints(t, rt, "closed"); slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "denied") }) {
		t.Errorf("%q", lines)
	}
}

// What is ignored does not get into the image, whatever else is said of it.
func TestBuildsIgnoreWhatTheyAreTold(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	cfg.BuildRoot = t.TempDir()
	rt := open(t, cfg)
	files := []string{"Dockerfile", "main", ".env", "deep/er/key.pem", "deep/er/note", "deep/key.pem", "vendor/a", "vendor/kept/b", "vendor/kept/b.tmp"}
	holds := func(dir string) []string {
		t.Helper()
		for _, f := range files {
			put(t, cfg.BuildRoot, dir+"/"+f, "text")
		}
		put(t, cfg.BuildRoot, dir+"/Dockerfile", "FROM "+dockertest.Image+"\nCOPY . /all/\n")
		if err := rt.Prepare(t.Context(), toBuild(dir, dir, 1)); err != nil {
			t.Fatal(err)
		}
		id := e.Docker(t, "create", "--label", "io.platform-portal.owner="+cfg.Owner, e.Docker(t, "images", "-q", "--filter", "label=io.platform-portal.agent="+dir))
		defer e.Docker(t, "rm", id)
		archive := filepath.Join(t.TempDir(), "image.tar")
		e.Docker(t, "export", "--output", archive, id)
		return inArchive(t, archive, "all/")
	}
	if got := holds("all"); !slices.Contains(got, ".env") || !slices.Contains(got, "vendor/kept/b") {
		t.Errorf("with nothing ignored: %v", got)
	}
	put(t, cfg.BuildRoot, "some/.dockerignore", "# what is private\n.env\n**/*.pem\nvendor\n!vendor/kept\n**/*.tmp\n")
	if got := holds("some"); !slices.Equal(got, []string{".dockerignore", "Dockerfile", "deep/er/note", "main", "vendor/kept/b"}) {
		t.Errorf("with some ignored: %v", got)
	}
	put(t, cfg.BuildRoot, "every/.dockerignore", "*\n!main\n")
	if got := holds("every"); !slices.Equal(got, []string{"main"}) {
		t.Errorf("with all but one ignored: %v", got)
	}
	put(t, cfg.BuildRoot, "own/.dockerignore", "main\n")
	put(t, cfg.BuildRoot, "own/Dockerfile.dockerignore", "*\n!deep/er\n**/*.pem\n")
	if got := holds("own"); !slices.Equal(got, []string{"deep/er/note"}) {
		t.Errorf("with what the Dockerfile's own file says: %v", got)
	}
	// What is ignored may be too much, or no file at all.
	put(t, cfg.BuildRoot, "big/.dockerignore", "vendor\n")
	put(t, cfg.BuildRoot, "big/vendor/huge", "")
	if err := os.Truncate(filepath.Join(cfg.BuildRoot, "big/vendor/huge"), 257<<20); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(cfg.BuildRoot, "big/vendor/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := holds("big"); slices.Contains(got, "vendor/huge") {
		t.Errorf("too much, and ignored: %v", got)
	}
}

// inArchive names the files of an archive below a directory, in order.
func inArchive(t *testing.T, archive, dir string) (list []string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := tar.NewReader(f)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(list)
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(h.Name, dir); ok && h.Typeflag == tar.TypeReg {
			list = append(list, name)
		}
	}
}

func TestABuildEndsWithWhoWaitsForIt(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	cfg.BuildRoot = t.TempDir()
	put(t, cfg.BuildRoot, "slow/Dockerfile", "FROM "+dockertest.Image+"\nRUN [\""+dockertest.ProgramPath+"\", \"ticks\"]\n")
	rt := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- rt.Prepare(ctx, toBuild("slow", "slow", 1)) }()
	building := func() bool {
		return strings.Contains(e.Docker(t, "ps", "--no-trunc", "--format", "{{.Command}}"), dockertest.ProgramPath+" ticks")
	}
	fleettest.Eventually(t, "the build", building)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the build ends with %v", err)
	}
	fleettest.Eventually(t, "an engine that builds no more", func() bool { return !building() })
}
