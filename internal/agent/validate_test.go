package agent_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

// probe gives a valid probe with a change.
func probe(change func(*agent.Probe)) agent.Probes {
	p := &agent.Probe{HTTP: &agent.HTTPProbe{}}
	change(p)
	return agent.Probes{Liveness: p}
}

func restart(r agent.RestartPolicy) agent.Spec { return agent.Spec{Restart: r} }

func many(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("x%d", i)
	}
	return out
}

func TestValidateAccepts(t *testing.T) {
	for name, s := range map[string]agent.Spec{
		"the least":                {},
		"image on docker":          {Runtime: "docker", Image: "ghcr.io/a/b:1.2@sha256:ff", Args: []string{"x"}},
		"image and command":        {Runtime: "kubernetes", Image: "a", Command: "/x"},
		"template on docker":       {Runtime: "docker", Template: "memory"},
		"shell arithmetic":         {Command: "/bin/sh", Args: []string{"-c", "n=$((n + 1)); cat $(ls x)"}},
		"port from env":            {Env: map[string]string{"ADMIN": "9000"}, Probes: probe(func(p *agent.Probe) { p.HTTP.Port = "$(ADMIN)" })},
		"pre-release":              {Version: "1.0.0-rc.1+build.5"},
		"did with a path":          {DID: "did:example:a:b%20c"},
		"ports of one":             {Ports: []agent.Port{{Name: "a", Port: 1}, {Name: "b", Port: 65535}}, Replicas: 1},
		"built in a place":         {Runtime: "docker/gpu", Image: "build://team/program"},
		"ports of many in a place": {Ports: []agent.Port{{Name: "a", Port: 1}}, Replicas: 2, Runtime: "kubernetes/eu-1", Image: "a"},
		"ports of many elsewhere":  {Ports: []agent.Port{{Name: "a", Port: 1}}, Replicas: 2, Runtime: "kubernetes", Image: "a"},
		"limits":                   {Resources: agent.Resources{CPU: 0.1, Memory: 4 << 20, PIDs: 1, Disk: 16 << 40}},
		"dependency by id":         {Dependencies: []string{"wow-memory", "WowCache", "My Agent"}},
	} {
		s.Name = "Me"
		if wrong := s.Validate(); len(wrong) != 0 {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}

var long = strings.Repeat("x", 20<<10)

// Each spec is named "Me" unless it has a name; "-" stands for none.
var refused = []struct {
	path, message string
	spec          agent.Spec
}{
	{"name", "must be given", agent.Spec{ID: "x", Name: "-"}},
	{"name", "at most 63", agent.Spec{Name: strings.Repeat("a", 64)}},
	{"name", "ASCII letters", agent.Spec{Name: "../etc"}},
	{"name", "ASCII letters", agent.Spec{Name: "a\nb"}},
	{"name", "ASCII letters", agent.Spec{Name: "a\u202eb"}},
	{"name", "ASCII letters", agent.Spec{Name: "a "}},
	{"id", "lower-case letters", agent.Spec{ID: "A"}},
	{"id", "lower-case letters", agent.Spec{ID: "-a"}},
	{"id", "lower-case letters", agent.Spec{ID: strings.Repeat("a", 64)}},
	{"id", "lower-case letters", agent.Spec{ID: "a/../b"}},
	{"display_name", "one line", agent.Spec{DisplayName: "a\nb"}},
	{"display_name", "one line", agent.Spec{DisplayName: "\u202eevil"}},
	{"display_name", "at most 256", agent.Spec{DisplayName: long}},
	{"did", "did:METHOD", agent.Spec{DID: "web:x"}},
	{"did", "did:METHOD", agent.Spec{DID: "did:WEB:x"}},
	{"tier", "1 to 6, not 7", agent.Spec{Tier: 7}},
	{"tier", "1 to 6", agent.Spec{Tier: -1}},
	{"domain", "must be one of guardian", agent.Spec{Domain: "sales"}},
	{"version", "semantic version", agent.Spec{Version: "0.4"}},
	{"version", "semantic version", agent.Spec{Version: "v1.2.3"}},
	{"customer_id", "letters, digits", agent.Spec{CustomerID: "a b"}},
	{"description", "control", agent.Spec{Description: "a\x00b"}},
	{"description", "control", agent.Spec{Description: "a\xff"}},
	{"description", "at most 16384", agent.Spec{Description: long}},
	{"capabilities.a[0]", "must not be empty", agent.Spec{Capabilities: map[string][]string{"a": {" "}}}},
	{`capabilities[""]`, "must not be empty", agent.Spec{Capabilities: map[string][]string{"": nil}}},
	{"capabilities.a", "at most 256", agent.Spec{Capabilities: map[string][]string{"a": many(257)}}},
	{"constraints[0].rule", "must be given", agent.Spec{Constraints: []agent.Constraint{{Reason: "x"}}}},
	{"wake_patterns[0]", "not a pattern", agent.Spec{WakePatterns: []string{"[a"}}},
	{"wake_patterns[0]", "not a pattern", agent.Spec{WakePatterns: []string{"a b"}}},
	{"wake_patterns", "at most 256", agent.Spec{WakePatterns: many(257)}},
	{"resource_budget", "0 to 1000000", agent.Spec{ResourceBudget: -1}},
	{"resource_budget", "0 to 1000000", agent.Spec{ResourceBudget: math.Inf(1)}},
	{"spec", "JSON can't express", agent.Spec{ResourceBudget: math.NaN()}},
	{"dependencies[0]", "itself", agent.Spec{Dependencies: []string{"ME"}}},
	{"dependencies[0]", "itself", agent.Spec{ID: "i", Dependencies: []string{"i"}}},
	{"dependencies[1]", "there twice, first as dependencies[0]", agent.Spec{Dependencies: []string{"A", "a"}}},
	{"dependencies[0]", "not the name", agent.Spec{Dependencies: []string{"../x"}}},
	{"runtime", "must be one of process", agent.Spec{Runtime: "vm"}},
	{"runtime", "KIND/NAME", agent.Spec{Runtime: "process/x"}},
	{"runtime", "KIND/NAME", agent.Spec{Runtime: "kubernetes/"}},
	{"runtime", "KIND/NAME", agent.Spec{Runtime: "kubernetes/EU"}},
	{"runtime", "KIND/NAME", agent.Spec{Runtime: "kubernetes/a/b"}},
	{"runtime", "KIND/NAME", agent.Spec{Runtime: "docker/-a"}},
	{"runtime", "KIND/NAME", agent.Spec{Runtime: "docker/" + long[:31]}},
	{"template", "must be one of blank", agent.Spec{Template: "huge"}},
	{"template", "together with command", agent.Spec{Template: "blank", Command: "x"}},
	{"template", "together with image", agent.Spec{Template: "blank", Image: "x", Runtime: "docker"}},
	{"image", "can't be run by the runtime process", agent.Spec{Image: "x"}},
	{"image", "not the name of an image", agent.Spec{Runtime: "docker", Image: "a b"}},
	{"image", "only the runtime docker builds", agent.Spec{Runtime: "kubernetes", Image: "build://team/program"}},
	{"image", "only the runtime docker builds", agent.Spec{Runtime: "docker", Image: "http://example.com/program"}},
	{"image", "must be given", agent.Spec{Runtime: "docker", Command: "x"}},
	{"image", "must be given", agent.Spec{Runtime: "kubernetes/eu", Command: "x"}},
	{"image", "only the runtime docker builds", agent.Spec{Runtime: "kubernetes/eu", Image: "build://team/program"}},
	{"ports", "can't be shared by 2 replicas", agent.Spec{Replicas: 2, Ports: []agent.Port{{Name: "a", Port: 1}}, Runtime: "docker/gpu", Image: "a"}},
	{"command", "name or path", agent.Spec{Command: "  "}},
	{"command", "NUL", agent.Spec{Command: "a\x00"}},
	{"args", "need a command", agent.Spec{Args: []string{"x"}}},
	{"args", "at most 256", agent.Spec{Command: "x", Args: many(257)}},
	{"args[0]", "at most 32768", agent.Spec{Command: "x", Args: []string{long + long}}},
	{"args[0]", "$(PROT) is not a variable; there are OWN, AGENT_ID", agent.Spec{Command: "x", Args: []string{"$(PROT)"}, Env: map[string]string{"OWN": ""}}},
	{"args[0]", "is secret", agent.Spec{Command: "x", Args: []string{"$(KEY)"}, Secrets: map[string]string{"KEY": "file:k"}}},
	{"args[0]", "is secret", agent.Spec{Command: "x", Args: []string{"$(QUEUE_TOKEN)"}}},
	{"replicas", "1 to 100, not 101", agent.Spec{Replicas: 101}},
	{"replicas", "1 to 100", agent.Spec{Replicas: -1}},
	{"resources.cpu", "0.1 to 64", agent.Spec{Resources: agent.Resources{CPU: 0.01}}},
	{"resources.cpu", "0.1 to 64", agent.Spec{Resources: agent.Resources{CPU: math.NaN()}}},
	{"resources.memory", "4Mi to 16Ti, not 1Mi", agent.Spec{Resources: agent.Resources{Memory: 1 << 20}}},
	{"resources.memory", "4Mi to 16Ti", agent.Spec{Resources: agent.Resources{Memory: 17 << 40}}},
	{"resources.disk", "1Mi to 16Ti", agent.Spec{Resources: agent.Resources{Disk: 1}}},
	{"resources.pids", "1 to 100000", agent.Spec{Resources: agent.Resources{PIDs: 100001}}},
	{"env.A-B", "not the name of a variable", agent.Spec{Env: map[string]string{"A-B": ""}}},
	{"env.AGENT_X", "set by the portal", agent.Spec{Env: map[string]string{"AGENT_X": ""}}},
	{"env.PORT", "set by the portal", agent.Spec{Env: map[string]string{"PORT": "1"}}},
	{"env.PORTAL_URL", "set by the portal", agent.Spec{Env: map[string]string{"PORTAL_URL": ""}}},
	{"secrets.QUEUE_X", "set by the portal", agent.Spec{Secrets: map[string]string{"QUEUE_X": "file:x"}}},
	{"env.A", "NUL", agent.Spec{Env: map[string]string{"A": "\x00"}}},
	{"env.A", "is itself in env", agent.Spec{Env: map[string]string{"A": "$(B)", "B": ""}}},
	{"env.A", "not a variable", agent.Spec{Env: map[string]string{"A": "$(NO)"}}},
	{"secrets.A", "in env too", agent.Spec{Env: map[string]string{"A": ""}, Secrets: map[string]string{"A": "file:x"}}},
	{"secrets.A", "must be a reference", agent.Spec{Secrets: map[string]string{"A": "hunter2"}}},
	{"secrets.A", "must be a reference", agent.Spec{Secrets: map[string]string{"A": "file:../x"}}},
	{"secrets.A", "must be a reference", agent.Spec{Secrets: map[string]string{"A": "file:.."}}},
	{"secrets.A", "must be a reference", agent.Spec{Secrets: map[string]string{"A": "file:a/b"}}},
	{"secrets.A", "must be a reference", agent.Spec{Secrets: map[string]string{"A": "env:HOME"}}},
	{"ports", "can't be shared by 2 replicas", agent.Spec{Replicas: 2, Ports: []agent.Port{{Name: "a", Port: 1}}}},
	{"ports", "can't be shared by 2 replicas", agent.Spec{Replicas: 2, Ports: []agent.Port{{Name: "a", Port: 1}}, Runtime: "docker", Image: "a"}},
	{"ports[0].port", "1 to 65535", agent.Spec{Ports: []agent.Port{{Name: "a"}}}},
	{"ports[1].port", "there twice", agent.Spec{Ports: []agent.Port{{Name: "a", Port: 1}, {Name: "b", Port: 1}}}},
	{"ports[1].name", "there twice", agent.Spec{Ports: []agent.Port{{Name: "a", Port: 1}, {Name: "a", Port: 2}}}},
	{"volumes[0].name", "lower-case", agent.Spec{Volumes: []agent.Volume{{Name: "A"}}}},
	{"volumes[0].path", "relative", agent.Spec{Volumes: []agent.Volume{{Name: "a", Path: "/etc"}}}},
	{"volumes[0].path", "relative", agent.Spec{Volumes: []agent.Volume{{Name: "a", Path: "../x"}}}},
	{"volumes[0].path", "relative", agent.Spec{Volumes: []agent.Volume{{Name: "a", Path: "x/../../y"}}}},
	{"volumes[0].path", "relative", agent.Spec{Volumes: []agent.Volume{{Name: "a", Path: "."}}}},
	{"volumes[0].path", "relative", agent.Spec{Volumes: []agent.Volume{{Name: "a", Path: `..\x`}}}},
	{"volumes[1].path", "overlaps", agent.Spec{Volumes: []agent.Volume{{Name: "a", Path: "x"}, {Name: "b", Path: "x/y"}}}},
	{"volumes[0].size", "4Ki", agent.Spec{Volumes: []agent.Volume{{Name: "a", Size: 1}}}},
	{"probes.liveness", "exactly one", agent.Spec{Probes: agent.Probes{Liveness: &agent.Probe{}}}},
	{"probes.readiness", "not 2", agent.Spec{Probes: agent.Probes{Readiness: &agent.Probe{TCP: &agent.TCPProbe{}, HTTP: &agent.HTTPProbe{}}}}},
	{"probes.liveness.http.path", "begin with /", agent.Spec{Probes: probe(func(p *agent.Probe) { p.HTTP.Path = "x" })}},
	{"probes.liveness.http.path", "no spaces", agent.Spec{Probes: probe(func(p *agent.Probe) { p.HTTP.Path = "/a b" })}},
	{"probes.liveness.http.port", "1 to 65535", agent.Spec{Probes: probe(func(p *agent.Probe) { p.HTTP.Port = "0" })}},
	{"probes.liveness.http.port", "must be a port number", agent.Spec{Probes: probe(func(p *agent.Probe) { p.HTTP.Port = "$(NO)" })}},
	{"probes.liveness.http.port", "must be a port number", agent.Spec{Probes: probe(func(p *agent.Probe) { p.HTTP.Port = "x$(PORT)" })}},
	{"probes.liveness.http.port", "must be a port number", agent.Spec{Env: map[string]string{"W": "x"}, Probes: probe(func(p *agent.Probe) { p.HTTP.Port = "$(W)" })}},
	{"probes.liveness.exec.command", "must name a program", agent.Spec{Probes: probe(func(p *agent.Probe) { p.HTTP, p.Exec = nil, &agent.ExecProbe{} })}},
	{"probes.liveness.exec.command[1]", "NUL", agent.Spec{Probes: probe(func(p *agent.Probe) { p.HTTP, p.Exec = nil, &agent.ExecProbe{Command: []string{"a", "\x00"}} })}},
	{"probes.liveness.interval", "100ms to 1h", agent.Spec{Probes: probe(func(p *agent.Probe) { p.Interval = 1 })}},
	{"probes.liveness.interval", "100ms to 1h", agent.Spec{Probes: probe(func(p *agent.Probe) { p.Interval = -1 })}},
	{"probes.liveness.timeout", "10ms to 1m", agent.Spec{Probes: probe(func(p *agent.Probe) { p.Timeout = agent.Duration(2 * time.Minute) })}},
	{"probes.liveness.failure_threshold", "1 to 100", agent.Spec{Probes: probe(func(p *agent.Probe) { p.FailureThreshold = 101 })}},
	{"probes.liveness.success_threshold", "1 to 100", agent.Spec{Probes: probe(func(p *agent.Probe) { p.SuccessThreshold = -1 })}},
	{"restart.policy", "always, on-failure or never", restart(agent.RestartPolicy{Policy: "maybe"})},
	{"restart.max_restarts", "0 to 1000", restart(agent.RestartPolicy{MaxRestarts: 1001})},
	{"restart.window", "1s to 24h", restart(agent.RestartPolicy{Window: 1})},
	{"restart.backoff.initial", "10ms", restart(agent.RestartPolicy{Backoff: agent.Backoff{Initial: 1}})},
	{"restart.backoff.max", "must not be less", restart(agent.RestartPolicy{Backoff: agent.Backoff{Initial: agent.Duration(time.Minute), Max: agent.Duration(time.Second)}})},
	{"stop_timeout", "1h", agent.Spec{StopTimeout: agent.Duration(2 * time.Hour)}},
	{`labels["a b"]`, "is not a label", agent.Spec{Labels: map[string]string{"a b": ""}}},
	{`labels["A.b/c"]`, "is not a label", agent.Spec{Labels: map[string]string{"A.b/c": ""}}},
	{"labels.a", "the value may have", agent.Spec{Labels: map[string]string{"a": "b c"}}},
	{"spec", "at most 262144", agent.Spec{Extra: map[string]any{"x": strings.Repeat(long, 20)}}},
}

func TestValidateRefuses(t *testing.T) {
	for _, tt := range refused {
		s := tt.spec
		switch s.Name {
		case "":
			s.Name = "Me"
		case "-":
			s.Name = ""
		}
		found := false
		for _, f := range s.Validate() {
			if f.Path == tt.path && strings.Contains(f.Message, tt.message) {
				found = true
			}
			if strings.Contains(f.Message, "hunter2") {
				t.Errorf("the message repeats a secret: %s", f.Message)
			}
		}
		if !found {
			t.Errorf("%s: …%s… is not in %v", tt.path, tt.message, s.Validate())
		}
	}
	tooMany := agent.Spec{Name: "a", Labels: map[string]string{}}
	for _, k := range many(65) {
		tooMany.Labels[k] = ""
	}
	if wrong := tooMany.Validate(); len(wrong) != 1 || wrong[0].Path != "labels" {
		t.Errorf("65 labels: %v", wrong)
	}
	if wrong := (agent.Spec{Name: "_"}).Validate(); len(wrong) != 1 {
		t.Errorf("a name without a letter: %v", wrong)
	}
}
