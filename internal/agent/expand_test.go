package agent_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"PORT": "8080", "AGENT_ID": "a", "X": "$(PORT)"}
	for in, want := range map[string]string{
		"":                        "",
		"--port=$(PORT)":          "--port=8080",
		"$(AGENT_ID)$(AGENT_ID)":  "aa",
		"$(X)":                    "$(PORT)", // a value is not expanded again
		"$$(PORT)":                "$(PORT)",
		"$$$(PORT)":               "$8080",
		"$HOME ${HOME} $ $":       "$HOME ${HOME} $ $",
		"n=$((n + 1)); $(cat f)":  "n=$((n + 1)); $(cat f)",
		"$(PORT":                  "$(PORT",
		"$(1X) $() $$":            "$(1X) $() $",
		"ünïcode $(PORT) \x00 ok": "ünïcode 8080 \x00 ok",
	} {
		if got, err := agent.Expand(in, vars); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	_, err := agent.Expand("a $(PROT)", vars)
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "$(PROT)") || !strings.Contains(err.Error(), "AGENT_ID, PORT, X") {
		t.Errorf("unknown variable: %v", err)
	}
	if _, err := agent.Expand("$(A)", nil); !strings.Contains(err.Error(), "there is none") {
		t.Errorf("no variables: %v", err)
	}
}

func TestSpecExpand(t *testing.T) {
	s := agent.Spec{
		Command: "$(HOME)/run", Args: []string{"-p", "$(PORT)", "$(URL)"},
		Env: map[string]string{"URL": "http://h:$(PORT)/?k=$(KEY)", "LOG_LEVEL": "debug"},
	}
	vars := map[string]string{"PORT": "1", "HOME": "/h", "KEY": "s", "LOG_LEVEL": "info"}
	before := maps.Clone(vars)
	got, err := s.Expand(vars)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"PORT": "1", "HOME": "/h", "KEY": "s", "LOG_LEVEL": "debug", "URL": "http://h:1/?k=s"}
	if got.Command != "/h/run" || !slices.Equal(got.Args, []string{"-p", "1", "http://h:1/?k=s"}) || !maps.Equal(got.Env, want) {
		t.Errorf("got %+v", got)
	}
	if !maps.Equal(vars, before) {
		t.Error("the variables given were changed")
	}
	for path, bad := range map[string]agent.Spec{
		"env.A":   {Env: map[string]string{"A": "$(NO)"}},
		"command": {Command: "$(NO)"},
		"args[1]": {Args: []string{"x", "$(NO)"}},
	} {
		_, err := bad.Expand(nil)
		if f := fault.As(err); f == nil || len(f.Fields) != 1 || f.Fields[0].Path != path {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestPortRefResolve(t *testing.T) {
	vars := map[string]string{"PORT": "8080", "BIG": "70000", "WORD": "x"}
	for ref, want := range map[agent.PortRef]int{"": 8080, "$(PORT)": 8080, "81": 81} {
		if got, err := ref.Resolve(vars); err != nil || got != want {
			t.Errorf("%q: got %d, %v", ref, got, err)
		}
	}
	for _, ref := range []agent.PortRef{"0", "70000", "$(BIG)", "$(WORD)", "$(NO)", "x"} {
		if got, err := ref.Resolve(vars); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: got %d, %v", ref, got, err)
		}
	}
}

func TestSlug(t *testing.T) {
	for in, want := range map[string]string{
		"WowAgentFactory": "wow-agent-factory", "WowMemory": "wow-memory", "hello": "hello", "HTTPServer": "http-server",
		"My Agent 2": "my-agent-2", "a__b..c": "a-b-c", "WowV2Cache": "wow-v2-cache", "AI": "ai", "--x--": "x", "été": "t", "語": "", "": "",
		strings.Repeat("aB", 40): ("a-" + strings.Repeat("ba-", 40))[:63],
	} {
		if got := agent.Slug(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestWithDefaults(t *testing.T) {
	s := agent.Spec{Name: "WowX", Probes: agent.Probes{Liveness: &agent.Probe{HTTP: &agent.HTTPProbe{}}, Readiness: &agent.Probe{TCP: &agent.TCPProbe{}}},
		Volumes: []agent.Volume{{Name: "v"}}}
	d := s.WithDefaults()
	if d.ID != "wow-x" || d.Runtime != "process" || d.Replicas != 1 || d.Template != "blank" || d.Restart.Policy != "always" ||
		d.Probes.Liveness.HTTP.Path != "/health" || d.Probes.Readiness.TCP.Port != "$(PORT)" || d.Volumes[0].Path != "v" {
		t.Errorf("got %+v", d)
	}
	if s.Probes.Liveness.HTTP.Path != "" || s.Volumes[0].Path != "" {
		t.Error("the original was changed")
	}
	if f := d.Validate(); len(f) != 0 {
		t.Errorf("the defaults are not valid: %v", f)
	}
	if diff := agent.Diff(d, d.WithDefaults()); len(diff) != 0 {
		t.Errorf("a second time changes %v", diff)
	}
	if c := (agent.Spec{Name: "c", Command: "x"}).WithDefaults(); c.Template != "" {
		t.Errorf("a command got the template %q", c.Template)
	}
	odd := agent.Spec{Name: "o", Restart: agent.RestartPolicy{Backoff: agent.Backoff{Max: agent.Duration(20e6)}}}.WithDefaults()
	if f := odd.Validate(); len(f) != 0 {
		t.Errorf("a short maximum: %v", f)
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$(A)", "$$(A)", "$$$(A)", "$((1+1))", "$", "$(", "$()", "$(A)$(B)", "\xff$(A)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := agent.Expand(s, map[string]string{"A": "x"})
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%v", err)
			}
			return
		}
		if !strings.Contains(s, "$") && got != s {
			t.Fatalf("%q became %q", s, got)
		}
		escaped := strings.ReplaceAll(s, "$", "$$")
		if back, err := agent.Expand(escaped, nil); err != nil || back != s {
			t.Fatalf("escaping %q gave %q, %v", s, back, err)
		}
		if back, err := agent.Expand(agent.Literal(s), nil); err != nil || back != s {
			t.Fatalf("%q as %q gave %q, %v", s, agent.Literal(s), back, err)
		}
	})
}
