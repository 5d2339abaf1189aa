package docker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	put(t, root, "ignoring/.dockerignore", "secret\n")
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
