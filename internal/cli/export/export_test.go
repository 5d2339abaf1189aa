package export_test

import (
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/cli/export"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

// full is a spec that uses what can be exported.
func full() agent.Spec {
	return agent.Spec{
		Name: "Full", Image: "registry.example/full:1", Command: "/bin/full", Args: []string{"$$(literal)", "$(AGENT_INSTANCE)", "$HOME"},
		Env: map[string]string{"DSN": "user:$(KEY)@$(AGENT_ID)"}, Secrets: map[string]string{"KEY": "file:key"},
		Dependencies: []string{"Other", "Elsewhere"}, Replicas: 2,
		Volumes:   []agent.Volume{{Name: "cache", Path: "var/cache", Size: 5 << 30, ReadOnly: true}},
		Ports:     []agent.Port{{Name: "grpc", Port: 9090}},
		Resources: agent.Resources{CPU: 0.25, Memory: 64 << 20, PIDs: 100, OpenFiles: 1024},
		Probes: agent.Probes{
			Liveness:  &agent.Probe{Exec: &agent.ExecProbe{Command: []string{"/bin/full", "$check"}}, Interval: agent.Duration(1500e6), SuccessThreshold: 2},
			Readiness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/up", Port: "$(PORT)"}},
		},
		Restart: agent.RestartPolicy{Policy: "on-failure", MaxRestarts: 3},
	}.WithDefaults()
}

func write(t *testing.T, format string, specs ...agent.Spec) (text string, notes string) {
	t.Helper()
	out, list, err := export.Write(specs, format, export.Options{Image: "portal:1"})
	if err != nil {
		t.Fatal(err)
	}
	if format == "compose" {
		if _, err := manifest.Parse(out); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
	}
	return string(out), strings.Join(list, "\n")
}

// holds fails for each line that is not in the text, whatever its indentation.
func holds(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		found := false
		for have := range strings.Lines(text) {
			found = found || strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(have), "- ")) == line
		}
		if !found {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func TestKubernetes(t *testing.T) {
	text, notes := write(t, "kubernetes", full())
	holds(t, text,
		"kind: StatefulSet", "kind: Service", "replicas: 2", "image: registry.example/full:1", "/bin/full",
		"$$(literal)", "$(AGENT_INSTANCE)", "$$HOME", // the cluster's own references, and dollars that are none
		"value: user:$(KEY)@full", "name: full-secrets",
		"mountPath: /var/cache", "readOnly: true", `storage: "5368709120"`, `cpu: "250m"`, `memory: "67108864"`,
		"$check", "periodSeconds: 2", "successThreshold: 1", "path: /up", "port: 8080", "port: 9090", "runAsNonRoot: true",
	)
	for _, note := range []string{"full-secrets with the keys KEY", "processes and open files", "on-failure"} {
		if !strings.Contains(notes, note) {
			t.Errorf("no note of %q in %s", note, notes)
		}
	}
	if strings.Contains(text, "file:key") || strings.ContainsRune(text, 0) {
		t.Error("the manifest holds what it must not:", text)
	}
	// A reference to a variable holds only after that variable.
	if strings.Index(text, "name: KEY") > strings.Index(text, "name: DSN") {
		t.Error("the secret comes after what refers to it")
	}
}

func TestCompose(t *testing.T) {
	other := agent.Spec{Name: "Other", Template: "memory"}.WithDefaults()
	text, notes := write(t, "compose", full(), other)
	holds(t, text,
		"image: registry.example/full:1", "image: portal:1", "$$(literal)", "$$HOME", "$$check", "full",
		"DSN: user:${FULL_KEY:?value of a secret}@full", "KEY: ${FULL_KEY:?value of a secret}",
		"full-cache:/var/cache:ro", "other-data:/data", "restart: on-failure:3", "nofile: 1024", "pids_limit: 100", "replicas: 2",
		"disable: true", // the portal's image would ask for a portal
		"memory",
	)
	if !strings.Contains(text, "depends_on:\n      - other\n") {
		t.Errorf("full depends on other and not on what is elsewhere:\n%s", text)
	}
	if !strings.Contains(notes, "FULL_KEY") || strings.Count(notes, "HTTP and TCP") != 1 {
		t.Error(notes)
	}
}

// An image that the portal builds is on its engine alone: what is exported names one
// that can be pulled, or nothing is exported.
func TestAnImageThatIsBuiltIsNotExported(t *testing.T) {
	built := agent.Spec{Name: "built", Runtime: "docker", Image: "build://shop"}.WithDefaults()
	for _, format := range []string{"kubernetes", "compose"} {
		_, _, err := export.Write([]agent.Spec{built}, format, export.Options{})
		if f := fault.As(err); f == nil || f.Code != "export.image" || !strings.Contains(f.Why, "the directory shop") || !strings.Contains(f.Remedy, "--image") {
			t.Errorf("%s: %v", format, err)
		}
		out, _, err := export.Write([]agent.Spec{built}, format, export.Options{Image: "registry.example/shop:2"})
		if err != nil || !strings.Contains(string(out), "image: registry.example/shop:2") || strings.Contains(string(out), "build://") {
			t.Errorf("%s: %v: %s", format, err, out)
		}
	}
}

func TestWhatCannotBeExported(t *testing.T) {
	long := full()
	long.ID = strings.Repeat("x", 60)
	queue := full()
	queue.Env["AT"] = "$(QUEUE_URL)" // credentials for it stay with the portal
	for code, c := range map[string]struct {
		spec   agent.Spec
		format string
	}{
		"export.format":      {full(), "helm"},
		"export.image":       {agent.Spec{Name: "bare", Command: "/bin/true"}.WithDefaults(), "compose"},
		"export.id":          {long, "kubernetes"},
		"agent.invalid_spec": {queue, "kubernetes"},
	} {
		_, _, err := export.Write([]agent.Spec{c.spec}, c.format, export.Options{})
		if f := fault.As(err); f == nil || f.Code != code {
			t.Errorf("%s: %v", code, err)
		}
	}
}
