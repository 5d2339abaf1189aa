package docker

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive/drivetest"
)

// inContainer gives what a directory of the agent's container holds.
func (h *harbour) inContainer(agent, dir string) drivetest.Content {
	h.Helper()
	to := h.TempDir()
	h.engine.Docker(h.T, "cp", h.containers(agent)[0]+":"+dir+"/.", to)
	return drivetest.Digest(h.T, to)
}

// someTime waits for at most 400 ms: a copy is cut off anywhere.
func (h *harbour) someTime() {
	select {
	case <-time.After(time.Duration(rand.IntN(400)) * time.Millisecond):
	case <-h.Ctx.Done():
	}
}

func TestDataMovesAlong(t *testing.T) {
	h := open(t)
	h.Running("keeper", map[string]any{"template": "blank", "runtime": "process", "volumes": []map[string]any{{"name": "notes", "path": "notes"}}})
	own := filepath.Join(h.Data, "agents", "keeper")
	large := make([]byte, 64<<20)
	for i := range large {
		large[i] = byte(rand.Uint32())
	}
	drivetest.Write(t, own, map[string][]byte{"data/large": large, "data/deep/er/note": []byte("a note"), "data/empty": nil, "volumes/notes/list": []byte("of things")})
	data, notes := drivetest.Digest(t, filepath.Join(own, "data")), drivetest.Digest(t, filepath.Join(own, "volumes", "notes"))
	plan := h.Command("agents", "move", "keeper", "--to", "docker", "--copy-data", "--plan")
	for _, want := range []string{"does not serve for a while", "its data directory, the volume notes", "Copy the content of its volumes to docker"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan does not say %q: %s", want, plan)
		}
	}
	h.Command("agents", "move", "keeper", "--to", "docker", "--copy-data")
	h.Until("keeper", "RUNNING", "healthy")
	if missing := h.inContainer("keeper", "/var/lib/agent").Lacks(data); len(missing) > 0 {
		t.Errorf("not there as it was: %v", missing)
	}
	if missing := h.inContainer("keeper", "/var/lib/agent/notes").Lacks(notes); len(missing) > 0 {
		t.Errorf("not there as it was: %v", missing)
	}
	if missing := drivetest.Digest(t, filepath.Join(own, "data")).Lacks(data); len(missing) > 0 {
		t.Errorf("not left where it was: %v", missing)
	}

	// What is written there comes back, although the portal dies while it is copied.
	change := filepath.Join(t.TempDir(), "later")
	if err := os.WriteFile(change, []byte("written later"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.engine.Docker(t, "cp", change, h.containers("keeper")[0]+":/var/lib/agent/later")
	now := h.inContainer("keeper", "/var/lib/agent")
	h.KilledWhileCopying("keeper", "process", h.someTime)
	back := drivetest.Digest(t, filepath.Join(own, "data"))
	if missing := back.Lacks(data); len(missing) > 0 || back["later"] != now["later"] || back["later"] == "" {
		t.Errorf("back again, and not as it was: %v; %q", missing, back["later"])
	}
	h.KilledWhileCopying("keeper", "docker", h.someTime)
	if missing := h.inContainer("keeper", "/var/lib/agent").Lacks(back); len(missing) > 0 {
		t.Errorf("not there as it was: %v", missing)
	}
	if p, c := h.spread("keeper"); p != 0 || c != 1 {
		t.Errorf("there are %d processes and %d containers", p, c)
	}
	h.Do("keeper", "revoke")
	if left := h.engine.Docker(t, "ps", "--all", "--quiet", "--filter", "label=io.platform-portal.owner") + h.engine.Docker(t, "volume", "ls", "--quiet"); left != "" {
		t.Errorf("left are %s", left)
	}
}
