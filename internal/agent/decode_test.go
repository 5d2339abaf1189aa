package agent_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

// tree parses one document.
func tree(t testing.TB, text string) map[string]any {
	t.Helper()
	docs, err := manifest.Parse([]byte(text))
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v, in\n%s", len(docs), err, text)
	}
	return docs[0].Tree
}

func TestDecodeWholeSpec(t *testing.T) {
	got, warnings, err := agent.Decode(tree(t, `
id: a-1
name: A 1
display_name: Ä
did: did:web:example.com:a
tier: 4
domain: intelligence
version: "0.4.3"
description: |
  two
  lines
capabilities: {storing: [a, b], none: }
constraints: [{rule: r, reason: w}]
dependencies: [B]
wake_patterns: ["*.memory.store"]
specialization: {role: x, depth: {n: 1}}
resource_budget: 40
runtime: process
command: /bin/x
args: [-p, $(PORT), "$(OWN)", '$$(date)']
replicas: 2
resources: {cpu: 1, memory: 268435456, disk: 1Gi, pids: 10}
env: {OWN: "$(PORTAL_URL) $(KEY)", LOG_LEVEL: debug}
secrets: {KEY: file:key.txt, OTHER: "env:PORTAL_SECRET_X"}
volumes: [{name: v, path: a/b, size: 10Mi, read_only: true}]
probes:
  liveness: {http: {path: /h, port: 8080}, initial_delay: 1s, interval: 500ms, timeout: 1s, failure_threshold: 2, success_threshold: 1}
  readiness: {exec: {command: [/bin/true]}}
restart: {policy: on-failure, max_restarts: 3, window: 1m30s, backoff: {initial: 1s, max: 2s}}
stop_timeout: 5s
labels: {a.b/c: d, e: ""}
customer_id: c:1
extra: {old: [1]}
`), agent.Strict)
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	second := func(n float64) agent.Duration { return agent.Duration(n * float64(time.Second)) }
	want := agent.Spec{
		ID: "a-1", Name: "A 1", DisplayName: "Ä", DID: "did:web:example.com:a", Tier: 4, Domain: "intelligence", Version: "0.4.3",
		Description: "two\nlines\n", Capabilities: map[string][]string{"storing": {"a", "b"}, "none": nil},
		Constraints: []agent.Constraint{{Rule: "r", Reason: "w"}}, Dependencies: []string{"B"}, WakePatterns: []string{"*.memory.store"},
		Specialization: map[string]any{"role": "x", "depth": map[string]any{"n": int64(1)}}, ResourceBudget: 40, Runtime: "process",
		Command: "/bin/x", Args: []string{"-p", "$(PORT)", "$(OWN)", "$$(date)"}, Replicas: 2,
		Resources: agent.Resources{CPU: 1, Memory: 256 << 20, Disk: 1 << 30, PIDs: 10},
		Env:       map[string]string{"OWN": "$(PORTAL_URL) $(KEY)", "LOG_LEVEL": "debug"},
		Secrets:   map[string]string{"KEY": "file:key.txt", "OTHER": "env:PORTAL_SECRET_X"},
		Volumes:   []agent.Volume{{Name: "v", Path: "a/b", Size: 10 << 20, ReadOnly: true}},
		Probes: agent.Probes{
			Liveness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/h", Port: "8080"}, InitialDelay: second(1), Interval: second(0.5),
				Timeout: second(1), FailureThreshold: 2, SuccessThreshold: 1},
			Readiness: &agent.Probe{Exec: &agent.ExecProbe{Command: []string{"/bin/true"}}},
		},
		Restart:     agent.RestartPolicy{Policy: "on-failure", MaxRestarts: 3, Window: second(90), Backoff: agent.Backoff{Initial: second(1), Max: second(2)}},
		StopTimeout: second(5), Labels: map[string]string{"a.b/c": "d", "e": ""}, CustomerID: "c:1",
		Extra: map[string]any{"old": []any{int64(1)}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	again, _, err := agent.Decode(got.Tree(), agent.Strict)
	if err != nil || len(agent.Diff(got, again)) != 0 {
		t.Errorf("its tree comes back as %v, %v", agent.Diff(got, again), err)
	}
}

func TestDecodeReadsOtherSpellings(t *testing.T) {
	got, _, err := agent.Decode(tree(t, "coe_name: WowX\nspecialization: Keeper\ndescription:\n"), agent.Strict)
	if err != nil || got.Name != "WowX" || got.Specialization["role"] != "Keeper" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, _, err := agent.Decode(tree(t, "coe_name: A\nname: A"), agent.Strict); err != nil {
		t.Errorf("the same name twice: %v", err)
	}
	if _, _, err := agent.Decode(tree(t, "coe_name: A\nname: B"), agent.Strict); err == nil || !strings.Contains(err.Error(), "coe_name: ") {
		t.Errorf("two names: %v", err)
	}
}

func TestDecodeKeepsWhatItDoesNotKnow(t *testing.T) {
	got, warnings, err := agent.Decode(tree(t, `
name: a
shoe_size: 42
replica: 3
resources: {gpu: 1}
constraints: [{rule: r, since: 2020}]
state: RUNNING
extra: {kept: before}
`), agent.Keep)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"shoe_size": int64(42), "replica": int64(3), "resources.gpu": int64(1), "constraints[0].since": int64(2020), "kept": "before"}
	if !reflect.DeepEqual(got.Extra, want) {
		t.Errorf("kept %v", got.Extra)
	}
	all := strings.Join(warnings, "\n")
	for _, w := range []string{"shoe_size is not a field", "replica is not a field of the specification and was kept in extra; did you mean replicas?",
		"resources.gpu", "constraints[0].since", "state is set by the portal and was left out"} {
		if !strings.Contains(all, w) {
			t.Errorf("no warning %q in\n%s", w, all)
		}
	}
}

// Each line is one mistake; all are reported at once, with the path as written.
func TestDecodeNamesEveryMistakeAtOnce(t *testing.T) {
	_, _, err := agent.Decode(tree(t, `
name: 5
version: 0.4
tier: high
replica: 2
replicas: 1.5
cmd: x
memory: 1Gi
livenessProbe: {}
state: RUNNING
quux: 1
args: [a, 2, ~]
dependencies: A
capabilities: {a: [1], b: c}
env: {A: 1, B: true, C: }
resources: {cpu: lots, memory: big, disk: -1, pids: [1]}
probes:
  liveness: {http: {port: [1]}, interval: 5, intervall: 5s}
  readiness: 7
stop_timeout: 5 seconds
restart: {window: 1.5}
volumes: [{name: v, read_only: yes}, w]
specialization: [a]
`), agent.Strict)
	f := fault.As(err)
	if f == nil || f.Kind != fault.Invalid {
		t.Fatalf("got %v", err)
	}
	want := []string{
		"args: need a command or an image that takes them",
		"args[1]: must be text, not the number 2; put it in quotes",
		"args[2]: must not be empty",
		"capabilities.a[0]: must be text, not the number 1; put it in quotes",
		`capabilities.b: must be a list, not the text "c"`,
		"cmd: is not a field of the specification; did you mean command?",
		`dependencies: must be a list, not the text "A"`,
		"env.A: must be text, not the number 1; put it in quotes",
		"env.B: must be text, not true; put it in quotes",
		`env.C: must be text; write "" for an empty one`,
		"livenessProbe: is not a field of the specification; did you mean probes.liveness?",
		"memory: is not a field of the specification; did you mean resources.memory?",
		"name: must be text, not the number 5; put it in quotes",
		"probes.liveness.http.port: must be a port number or a reference such as $(PORT), not a list",
		"probes.liveness.interval: must be a duration with its unit, such as 500ms, 10s or 1m30s, not the number 5",
		"probes.liveness.intervall: is not a field of the specification; did you mean interval?",
		"probes.readiness: must be a mapping, not the number 7",
		"quux: is not a field of the specification",
		"replica: is not a field of the specification; did you mean replicas?",
		"replicas: must be a whole number, not the number 1.5",
		`resources.cpu: must be a number, not the text "lots"`,
		`resources.disk: "-1" is not a size such as 256Mi, 1Gi or 500M`,
		`resources.memory: "big" is not a size such as 256Mi, 1Gi or 500M`,
		"resources.pids: must be a whole number, not a list",
		"restart.window: must be a duration with its unit, such as 500ms, 10s or 1m30s, not the number 1.5",
		"specialization: must be a mapping, not a list",
		"state: is set by the portal and can't be given",
		`stop_timeout: "5 seconds" is not a duration such as 500ms, 10s or 1m30s`,
		`tier: must be a whole number, not the text "high"`,
		`version: must be text, not the number 0.4; put it in quotes and write all three parts, as in "0.4.0"`,
		`volumes[0].read_only: must be true or false, not the text "yes"`,
		`volumes[1]: must be a mapping, not the text "w"`,
	}
	var got []string
	for _, field := range f.Fields {
		got = append(got, field.Path+": "+field.Message)
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("missing: %s", w)
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("not expected: %s", g)
		}
	}
}

func TestDecodeHints(t *testing.T) {
	for key, want := range map[string]string{
		"enviroment":  "env", //nolint:misspell // what users type
		"environment": "env", "depends_on": "dependencies", "dependancies": "dependencies", "stopTimeout": "stop_timeout",
		"cpu": "resources.cpu", "max_restarts": "restart.max_restarts", "lables": "labels", "Image": "image", "portss": "ports", "zzz": "",
		strings.Repeat("x", 500): "",
	} {
		_, _, err := agent.Decode(map[string]any{"name": "a", key: "x"}, agent.Strict)
		hint := "; did you mean " + want + "?"
		if err == nil || want != "" && !strings.Contains(err.Error(), hint) || want == "" && strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%s: got %v, want %q", key, err, want)
		}
	}
}

// Trees that were read by other means hold other kinds of number.
func TestDecodeTakesNumbersOfAnyKind(t *testing.T) {
	got, _, err := agent.Decode(map[string]any{"name": "a", "tier": 3.0, "replicas": 2, "resource_budget": 7,
		"resources": map[string]any{"memory": 1e9}}, agent.Strict)
	if err != nil || got.Tier != 3 || got.Replicas != 2 || got.ResourceBudget != 7 || got.Resources.Memory != 1e9 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"name: a\ntier: 4", "coe_name: b\nspecialization: x", "name: a\nprobes: {liveness: {http: {port: $(PORT)}}}",
		"name: a\nargs: [\"$(X)\", 1, null]\ncommand: x", "name: a\nextra: {a: {b: [1.5, null]}}\nunknown: {x: 1}",
		"name: a\nresources: {memory: 1Gi, cpu: 0.5}\nlabels: {a/b: c}", "name: \"\\u202e\"", "name: a\nenv: {A: \"$(B)\", B: x}",
		"name: a\nvolumes: [{name: a, path: ../x}]\nports: [{name: a, port: 1}]", "name: a\nstop_timeout: 1h\nrestart: {backoff: {max: 1ms}}",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, keep bool) {
		docs, err := manifest.Parse(data)
		if err != nil {
			return
		}
		mode := agent.Strict
		if keep {
			mode = agent.Keep
		}
		for _, d := range docs {
			spec, _, err := agent.Decode(d.Tree, mode)
			if err != nil {
				if f := fault.As(err); f == nil || f.Kind != fault.Invalid || len(f.Fields) == 0 {
					t.Fatalf("not an explained fault: %v", err)
				}
				continue
			}
			stored := spec.WithDefaults()
			if wrong := stored.Validate(); len(wrong) != 0 && !onlySize(wrong) {
				t.Fatalf("with defaults: %v", wrong)
			}
			again, _, err := agent.Decode(stored.Tree(), agent.Strict)
			if err != nil && !onlySize(fault.As(err).Fields) {
				t.Fatalf("its own tree is refused: %v", err)
			}
			if d := agent.Diff(stored, again.WithDefaults()); err == nil && len(d) != 0 {
				t.Fatalf("comes back different: %v", d)
			}
		}
	})
}

func onlySize(fields []fault.Field) bool {
	return len(fields) == 1 && fields[0].Path == "spec"
}

func ExampleSlug() {
	fmt.Println(agent.Slug("WowAgentFactory"))
	// Output: wow-agent-factory
}
