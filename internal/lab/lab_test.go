package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/lab"
)

// fake is a portal in memory. What it makes of faults is what the test says.
type fake struct {
	mu       sync.Mutex
	agents   map[string]*fakeAgent
	removed  []string
	policies map[string]any
	modes    []string // that were set for agents of the lab

	class, cause, fix string // of the record; no cause: none
	delay             time.Duration
	refuse            bool   // the fix
	useless           bool   // the fix
	meddles           bool   // restarts what is healthy
	right             bool   // it knows the truth, and repairs what it can
	mends             bool   // by itself
	lacks             string // limit that can't be enforced
}

type fakeAgent struct {
	state, health string
	pid           int
	started       bool
	waiting       int
	hurt          time.Time
	ops           []map[string]any
}

func newFake() *fake {
	return &fake{agents: map[string]*fakeAgent{}, policies: map[string]any{"default": "suggest", "agents": map[string]any{}, "limits": map[string]any{"max_per_hour": 6.0}}}
}

// RoundTrip answers in place of a server, so that time can be the test's.
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var body map[string]any
	if r.Body != nil {
		_ = json.NewDecoder(r.Body).Decode(&body)
	}
	w := httptest.NewRecorder()
	status, answer := f.serve(r.Method, strings.TrimPrefix(r.URL.Path, "/api/platform"), r.URL.Query().Get("agent"), body)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
	return w.Result(), nil
}

type object = map[string]any

func (f *fake) serve(method, path, of string, body object) (int, any) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case path == "/auth/me":
		return 200, object{"role": "admin"}
	case path == "/health":
		return 200, object{"runtimes": []object{{"checks": []object{{"name": f.lacks, "ok": f.lacks == "", "why": "no control groups"}}}}}
	case path == "/recovery/policies":
		return f.policy(method, body)
	case method == "POST" && path == "/agents":
		f.agents[body["name"].(string)] = &fakeAgent{state: "DRAFT", pid: 1}
		return 201, object{}
	case parts[0] == "agents":
		return f.agent(method, parts[1], slices.Concat(parts[2:], []string{""})[0], body)
	case parts[0] == "queues":
		return 200, object{"pending": f.agents[parts[1]].waiting}
	case path == "/errors":
		return 200, object{"items": f.records(of)}
	case parts[0] == "errors":
		return f.apply(parts[1])
	case path == "/operations":
		ops := slices.Clone(f.agents[of].ops)
		slices.Reverse(ops) // newest first
		return 200, object{"items": ops}
	}
	return 404, object{"code": "request.no_route"}
}

func (f *fake) policy(method string, body object) (int, any) {
	if method == "PUT" {
		f.policies = body
		for name, mode := range body["agents"].(object) {
			f.modes = append(f.modes, name+" "+mode.(string))
		}
	}
	return 200, f.policies
}

func (f *fake) agent(method, name, action string, body object) (int, any) {
	a := f.agents[name]
	switch {
	case a == nil:
		return 404, object{"code": "agent.not_found"}
	case method == "DELETE":
		delete(f.agents, name)
		f.removed = append(f.removed, name)
		return 204, nil
	case f.right && (method == "PATCH" || action == "tasks"):
		if strings.Contains(fmt.Sprint(body), "map[for:") {
			a.waiting++
		}
		f.hurts(name)
		return 200, object{}
	case f.right && method == "POST" && a.started && (action == "stop" || action == "restart"):
		f.hurts(strings.TrimSuffix(name, "-dep"))
		return 202, object{"operation": object{"id": action, "state": "SUCCEEDED"}}
	case f.right && method == "POST" && a.started && action != "revoke":
		return 202, object{"operation": object{"id": action, "state": "FAILED"}}
	case action == "tasks":
		if text, _ := json.Marshal(body); strings.Contains(string(text), `"kind":"hang"`) {
			a.health, a.hurt = "unhealthy", time.Now()
		}
		return 202, object{}
	case method == "POST":
		a.state, a.health = map[string]string{"provision": "PROVISIONED", "deploy": "DEPLOYED", "start": "RUNNING", "revoke": "REVOKED", "restart": "RUNNING"}[action], "healthy"
		a.ops = append(a.ops, object{"id": action, "kind": "agent." + action, "state": "SUCCEEDED", "actor": "token:lab"})
		a.started = a.started || action == "start"
		if action == "start" && f.meddles {
			a.ops = append(a.ops, object{"id": "x", "kind": "agent.restart", "state": "SUCCEEDED", "actor": "system"})
		}
		return 202, object{"operation": a.ops[len(a.ops)-1]}
	}
	return 200, object{"id": name, "state": a.state, "health": a.health, "instances": []object{{"id": name + "-0", "pid": a.pid, "state": "running"}}}
}

// hurts lets an agent be unwell, and repairs it in a while if it is to.
func (f *fake) hurts(name string) {
	a := f.agents[name]
	if a.hurt.IsZero() {
		a.hurt, a.health = time.Now(), "unhealthy"
	}
	if f.mends {
		time.AfterFunc(5*time.Second, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			a.health, a.waiting = "healthy", 0
			a.ops = append(a.ops, object{"id": "fix-" + name, "kind": "fix.restart", "state": "SUCCEEDED", "actor": "system"})
		})
	}
}

// truth is what was done to an agent of the lab, by its name.
func truth(name string) lab.Fault {
	for _, f := range lab.Faults {
		if strings.HasPrefix(name, "lab-"+strings.ReplaceAll(f.Name, "_", "-")+"-") {
			return f
		}
	}
	return lab.Fault{}
}

func (f *fake) records(name string) []object {
	a := f.agents[name]
	if a != nil && f.right && !a.hurt.IsZero() {
		return []object{{"id": name, "agent_id": name, "class": truth(name).Class, "cause": truth(name).Name, "state": "open", "first_seen": a.hurt,
			"suggestions": []object{{"fix": "restart", "one_click": true}}}}
	}
	if a == nil || a.hurt.IsZero() || f.cause == "" || time.Since(a.hurt) < f.delay {
		return nil
	}
	return []object{{"id": name, "agent_id": name, "class": f.class, "cause": f.cause, "state": "open", "first_seen": a.hurt,
		"suggestions": []object{{"fix": "raise_memory", "one_click": false}, {"fix": f.fix, "one_click": true}}}}
}

func (f *fake) apply(name string) (int, any) {
	if f.refuse {
		return 409, object{"code": "recovery.refused", "detail": "It can't be done now."}
	}
	if !f.useless {
		f.agents[name].health, f.agents[name].waiting = "healthy", 0
	}
	return 202, object{"operation": object{"id": "fix", "state": "SUCCEEDED"}}
}

// run runs faults against the fake.
func run(t *testing.T, f *fake, faults ...string) *lab.Report {
	t.Helper()
	var report *lab.Report
	synctest.Test(t, func(t *testing.T) {
		l, err := lab.New(lab.Config{URL: "http://portal.test", Token: "x", Self: []string{"/bin/true"}, Faults: faults, Seeds: []int64{1},
			HTTP: &http.Client{Transport: f}})
		if err != nil {
			t.Fatal(err)
		}
		if report, err = l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
	if len(f.agents) > 0 || len(f.removed) != len(faults) && f.lacks == "" {
		t.Errorf("left behind: %v; removed: %v", f.agents, f.removed)
	}
	if left := f.policies["agents"].(object); len(left) > 0 {
		t.Errorf("policies are left behind: %v", left)
	}
	return report
}

func TestARightDiagnosisAndAFixThatWorks(t *testing.T) {
	f := newFake()
	f.class, f.cause, f.fix, f.delay = "transient", "hang", "restart", 3*time.Second
	r := run(t, f, "hang")
	o := r.Outcomes[0]
	if r.Score.ClassRight != 1 || r.Score.CauseRight != 1 || r.Score.FixWorks != 1 || o.Fix != "restart" || !o.Well || o.Failed != "" {
		t.Errorf("%+v\n%+v", r.Score, o)
	}
	if o.Noticed < f.delay || o.Noticed > f.delay+time.Second || o.Recovered < o.Noticed {
		t.Errorf("noticed after %s, recovered after %s", o.Noticed, o.Recovered)
	}
	if len(f.modes) != 1 || !strings.HasSuffix(f.modes[0], " suggest") {
		t.Errorf("modes %v", f.modes)
	}
	if r.Confusion["hang"]["hang"] != 1 {
		t.Errorf("%v", r.Confusion)
	}
}

// inside are the faults that need no server of the lab.
var inside = []string{"port_in_use", "missing_binary", "bad_config", "missing_variable", "missing_dependency", "crash_loop", "out_of_memory", "hang",
	"cpu_starved", "disk_full", "fd_leak", "queue_backlog", "poison_message", "flaky"}

// Each fault reaches the portal; who knows the truth of each and repairs it is
// right in everything; and a seed is the same fault again.
func TestEveryFaultHappensAndIsJudged(t *testing.T) {
	var before *lab.Report
	for range 2 {
		for _, automatic := range []bool{false, true} {
			f := newFake()
			f.right, f.mends = true, automatic
			var report *lab.Report
			synctest.Test(t, func(t *testing.T) {
				l, err := lab.New(lab.Config{URL: "http://portal.test", Token: "x", Self: []string{"/bin/true"}, Faults: inside, Seeds: []int64{1, 2, 3},
					Automatic: automatic, Parallel: 8, Tag: "t", HTTP: &http.Client{Transport: f}})
				if err != nil {
					t.Fatal(err)
				}
				if report, err = l.Run(context.Background()); err != nil {
					t.Fatal(err)
				}
			})
			s := report.Score
			if s.Runs != 3*len(inside) || s.ClassRight != 1 || s.CauseRight != 1 || s.FixWorks != 1 || s.Failed+s.Skipped+s.Harmful+s.FalseAlarms != 0 || len(f.agents) > 0 {
				t.Errorf("automatic %t: %+v, left %v", automatic, s, f.agents)
				for _, o := range report.Outcomes {
					if o.Failed != "" || !o.Well {
						t.Errorf("%+v", o)
					}
				}
			}
			for i, o := range report.Outcomes {
				if automatic && !strings.Contains(o.Fix, "fix.restart") {
					t.Errorf("%s: repaired by %q", o.Fault, o.Fix)
				}
				if before != nil && withoutNumbers(o.Detail) != withoutNumbers(before.Outcomes[i].Detail) {
					t.Errorf("%s, seed %d: %q, and before %q", o.Fault, o.Seed, o.Detail, before.Outcomes[i].Detail)
				}
			}
			before = report
		}
	}
}

var ports = regexp.MustCompile(`port \d+|portal-lab\d+`)

// withoutNumbers leaves out what the machine chooses.
func withoutNumbers(detail string) string { return ports.ReplaceAllString(detail, "") }

func TestWhatIsWrongCountsAsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(*fake)
		cause string
		ended string
	}{
		"no record":       {func(*fake) {}, lab.None, "no record"},
		"another cause":   {func(f *fake) { f.class, f.cause, f.fix, f.useless = "permanent", "crash_loop", "restart", true }, "crash_loop", ""},
		"the fix refused": {func(f *fake) { f.class, f.cause, f.fix, f.refuse = "permanent", "flaky", "wait", true }, "flaky", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c.set(f)
			r := run(t, f, "hang")
			o := r.Outcomes[0]
			if o.Cause != c.cause || o.Well || !strings.Contains(o.Ended, c.ended) || r.Score.CauseRight+r.Score.ClassRight+r.Score.FixWorks != 0 {
				t.Errorf("%+v\n%+v", r.Score, o)
			}
			var text strings.Builder
			if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "instead of transient/hang") {
				t.Errorf("%v\n%s", err, text.String())
			}
		})
	}
}

func TestWhatIsDoneToAHealthyAgentIsHarm(t *testing.T) {
	f := newFake()
	if r := run(t, f, lab.Healthy); r.Score.Harmful != 0 || r.Score.FalseAlarms != 0 || r.Score.Controls != 1 || r.Score.Runs != 0 {
		t.Errorf("%+v %+v", r.Score, r.Outcomes)
	}
	f = newFake()
	f.meddles = true
	if r := run(t, f, lab.Healthy); r.Score.Harmful == 0 {
		t.Errorf("%+v %+v", r.Score, r.Outcomes)
	}
}

func TestWhatTheMachineCannotDoIsLeftOut(t *testing.T) {
	f := newFake()
	f.lacks = "memory_limit"
	r := run(t, f, "out_of_memory")
	if r.Score.Skipped != 1 || r.Score.Runs != 0 || !strings.Contains(r.Outcomes[0].Skipped, "no control groups") {
		t.Errorf("%+v %+v", r.Score, r.Outcomes)
	}
}

func TestUnknownFaultsAreRefused(t *testing.T) {
	if _, err := lab.New(lab.Config{Self: []string{"x"}, Seeds: []int64{1}, Faults: []string{"rain"}}); err == nil || !strings.Contains(err.Error(), "rain") {
		t.Error(err)
	}
	if _, err := lab.New(lab.Config{Self: []string{"x"}}); err == nil {
		t.Error("it would run nothing")
	}
}

func TestEveryFaultSaysWhyItsClassIsRight(t *testing.T) {
	classes := []string{"transient", "permanent", "configuration", "dependency"}
	for _, f := range lab.Faults {
		if !slices.Contains(classes, f.Class) || f.Why == "" || f.Does == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(lab.Faults) != 18 || len(lab.Names()) != 19 {
		t.Errorf("%d faults", len(lab.Faults))
	}
}
