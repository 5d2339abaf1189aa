package docker

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
)

// of gives the ids of the agent's containers on an engine.
func (h *harbour) of(e *dockertest.Engine, agent string) string {
	h.Helper()
	return e.Docker(h.T, "ps", "--quiet", "--no-trunc", "--filter", "label=io.platform-portal.agent="+agent)
}

// left gives what is left over, and what is not known of it.
func (h *harbour) left() (names, notes []string) {
	h.Helper()
	var out struct {
		Items []struct {
			Runtime string
			Agent   string `json:"agent_id"`
		}
		Notes []string
	}
	if err := h.Call(h.Ctx, http.MethodGet, "/orphans", nil, &out); err != nil {
		h.Fatal(err)
	}
	for _, o := range out.Items {
		names = append(names, o.Runtime+"/"+o.Agent)
	}
	return names, out.Notes
}

func TestTwoEnginesAreTwoPlacesOfOnePortal(t *testing.T) {
	if testing.Short() {
		t.Skip("Docker engines are started")
	}
	second, _ := dockertest.Small(t, "1G")
	file := filepath.Join(t.TempDir(), "portal.yaml")
	if err := os.WriteFile(file, []byte("places: {docker/two: {host: '"+second.Host+"'}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, "--config", file)
	h.Running("here", map[string]any{"template": "blank"})
	h.Running("there", map[string]any{"template": "memory", "runtime": "docker/two"})
	here, there := h.of(h.engine, "here"), h.of(second, "there")
	if here == "" || there == "" || h.of(h.engine, "there")+h.of(second, "here") != "" {
		t.Fatalf("containers on the one engine %q, on the other %q", here, there)
	}
	if err := h.Kill9(); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(h.Ctx); err != nil {
		t.Fatal(err)
	}
	h.Until("here", "RUNNING", "healthy")
	h.Until("there", "RUNNING", "healthy")
	if a, b := h.of(h.engine, "here"), h.of(second, "there"); a != here || b != there {
		t.Errorf("after the portal was killed there are %q and %q, before %q and %q", a, b, here, there)
	}
	if names, notes := h.left(); len(names)+len(notes) != 0 {
		t.Errorf("left over: %v, %v", names, notes)
	}

	marker := filepath.Join(t.TempDir(), "marker")
	if err := os.WriteFile(marker, []byte("what it keeps"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.engine.Docker(t, "cp", marker, here+":/var/lib/agent/marker")
	if out, err := h.Portal.Run(h.Ctx, "agents", "move", "here", "--to", "docker/two", "--copy-data"); err != nil {
		t.Fatal(out, err)
	}
	h.Until("here", "RUNNING", "healthy")
	if a, b := h.of(h.engine, "here"), h.of(second, "here"); a != "" || b == "" {
		t.Errorf("moved, and there are %q and %q", a, b)
	}
	carried := filepath.Join(t.TempDir(), "carried")
	second.Docker(t, "cp", h.of(second, "here")+":/var/lib/agent/marker", carried)
	if text, err := os.ReadFile(carried); err != nil || string(text) != "what it keeps" {
		t.Errorf("its data did not come along: %q, %v", text, err)
	}
	if names, _ := h.left(); !slices.Equal(names, []string{"docker/here"}) {
		t.Errorf("moved, and left over is %v", names)
	}

	// One engine goes away, the other one is looked after.
	h.engine.Halt(t)
	again := h.of(second, "there")
	second.Docker(t, "rm", "--force", again)
	err := drive.Poll(h.Ctx, 100*time.Millisecond, func() (bool, error) {
		now := h.of(second, "there")
		return now != "" && now != again, nil
	})
	if err != nil {
		t.Errorf("with the other engine away it does not come back: %q, %v", h.of(second, "there"), err)
	}
	if names, notes := h.left(); len(names) != 0 || len(notes) != 1 || !strings.Contains(notes[0], "on docker is not known") {
		t.Errorf("with an engine away, left over is %v, %v", names, notes)
	}
	h.engine.Resume(t)
	if out, err := h.Portal.Run(h.Ctx, "orphans", "rm", "docker/here", "--yes"); err != nil {
		t.Errorf("once it is back: %s, %v", out, err)
	}
	for _, name := range []string{"here", "there"} {
		h.Do(name, "revoke")
	}
	if names, notes := h.left(); len(names)+len(notes) != 0 {
		t.Errorf("left over in the end: %v, %v", names, notes)
	}
}
