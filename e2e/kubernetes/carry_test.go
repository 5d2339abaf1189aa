package kubernetes

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/e2e/drive/drivetest"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
)

// carried waits for the pod beside the volume, which is there or will be in a moment.
func (h *helm) carried() {
	err := drive.Poll(h.Ctx, 50*time.Millisecond, func() (bool, error) {
		return h.cluster.Kubectl(h.T, "get", "pods", "-l", "platform-portal.io/role=carrier", "-o", "name") != "", nil
	})
	if err != nil {
		h.Fatal(err)
	}
}

// What an agent keeps goes with it from a process to the cluster, to a Docker engine,
// to the cluster again, where the portal is killed, and back.
func TestDataMovesAlong(t *testing.T) {
	engine := dockertest.Start(t)
	h := open(t, "--docker-host", engine.Host)
	h.Running("keeper", map[string]any{"template": "blank", "runtime": "process", "volumes": []map[string]any{{"name": "notes", "path": "notes"}}})
	own := filepath.Join(h.Data, "agents", "keeper")
	drivetest.Write(t, own, map[string][]byte{
		"data/large": bytes.Repeat([]byte("0123456789abcde\n"), 2<<20), "data/deep/er/note": []byte("a note"), "data/empty": nil, "volumes/notes/list": []byte("of things"),
	})
	data, notes := drivetest.Digest(t, filepath.Join(own, "data")), drivetest.Digest(t, filepath.Join(own, "volumes", "notes"))
	for _, to := range []string{"kubernetes", "docker"} {
		h.Command("agents", "move", "keeper", "--to", to, "--copy-data")
		h.Until("keeper", "RUNNING", "healthy")
	}
	for _, part := range []string{"data", "volumes/notes"} { // what comes back has been away
		list, err := filepath.Glob(filepath.Join(own, part, "*"))
		if err != nil || len(list) == 0 {
			t.Fatalf("left is %v, %v", list, err)
		}
		for _, name := range list {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.KilledWhileCopying("keeper", "kubernetes", h.carried)
	if left := h.cluster.Kubectl(t, "get", "pods", "-l", "platform-portal.io/role=carrier", "-o", "name"); left != "" {
		t.Errorf("a pod beside a volume is left: %s", left)
	}
	h.Command("agents", "move", "keeper", "--to", "process", "--copy-data")
	h.Until("keeper", "RUNNING", "healthy")
	for part, was := range map[string]drivetest.Content{"data": data, "volumes/notes": notes} {
		if missing := drivetest.Digest(t, filepath.Join(own, part)).Lacks(was); len(missing) > 0 {
			t.Errorf("not as it was in %s: %v", part, missing)
		}
	}
	if p, c := h.spread("keeper"); p != 1 || c != 0 {
		t.Errorf("there are %d processes and %d pods", p, c)
	}
	// Several instances have each their own volumes there, and here one together.
	h.Running("crew", map[string]any{"template": "blank", "runtime": "process", "replicas": 2})
	if out, err := h.Portal.Run(h.Ctx, "agents", "move", "crew", "--to", "kubernetes", "--copy-data", "--plan"); err == nil || !strings.Contains(err.Error(), "2 instances") {
		t.Errorf("for several instances: %s, %v", out, err)
	}
	for _, name := range []string{"keeper", "crew"} {
		h.Do(name, "revoke")
	}
	if left := h.Command("orphans", "ls", "-o", "name") + h.objects("keeper"); left != "" {
		t.Errorf("left over: %s", left)
	}
}
