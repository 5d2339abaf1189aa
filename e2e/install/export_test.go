package install

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/e2e/drive"
)

func TestExportedAgentsRunInACluster(t *testing.T) {
	s := open(t)
	s.image("export")
	p, err := drive.New(s.bin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	root, err := drive.Root()
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if _, err := p.Run(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	run("import", filepath.Join(root, "examples", "fleet"))
	file := filepath.Join(t.TempDir(), "agents.yaml")
	run("agents", "export", "--image", "platform-portal:export", "--file", file)
	out := s.Kubectl(t, "apply", "--dry-run=server", "--validate=strict", "-f", file)
	if n := strings.Count(out, "statefulset.apps/"); n != 14 {
		t.Errorf("%d of 14 agents are taken by the cluster:\n%s", n, out)
	}
	run("agents", "export", "wow-memory", "--image", "platform-portal:export", "--file", file)
	s.Kubectl(t, "apply", "-f", file)
	// Its own probes say that it is ready.
	if out, err := s.Try("rollout", "status", "statefulset/wow-memory", "--timeout=3m"); err != nil {
		logs, _ := s.Try("logs", "wow-memory-0")
		t.Fatalf("%s%v\n%s", out, err, logs)
	}
	s.Kubectl(t, "delete", "-f", file, "--timeout=2m")
}
