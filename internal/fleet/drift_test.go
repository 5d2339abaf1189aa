package fleet_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

func TestWhatOthersChangedBecomesARevision(t *testing.T) {
	w := newWorld(t)
	id := w.running(spec("Worker"))
	shows := func(drifts ...[]fleet.Difference) {
		t.Helper()
		var list []fleet.Instance
		for i, d := range drifts {
			list = append(list, fleet.Instance{ID: fleet.InstanceID(id, 1, i), AgentID: id, Revision: 1, Index: i, State: fleet.InstanceRunning, Drift: d})
		}
		if err := w.store.Instances().PutInstances(t.Context(), id, list); err != nil {
			t.Fatal(err)
		}
	}
	args := fleet.Difference{Field: "args", Wanted: `["wait"]`, Live: `["ticks","--fast"]`}
	memory := fleet.Difference{Field: "resources.memory", Wanted: "64Mi", Live: "96Mi"}
	cpu := fleet.Difference{Field: "resources.cpu", Wanted: "none", Live: "0.25"}
	env := fleet.Difference{Field: "env", Wanted: "a", Live: "b"}

	for name, drifts := range map[string][][]fleet.Difference{
		"nothing": {nil, nil}, "what no specification has": {{env}},
		"one of two": {{memory}, nil}, "the other of two": {nil, {memory}},
		"a program of several parts": {{{Field: "command", Wanted: "/bin/a", Live: `["/bin/sh","-c"]`}}, {{Field: "command", Wanted: "/bin/a", Live: `["/bin/sh","-c"]`}}},
		"different":                  {{memory}, {{Field: "resources.memory", Wanted: "64Mi", Live: "32Mi"}}},
	} {
		shows(drifts...)
		if _, _, err := w.fleet.AdoptDrift(t.Context(), id, 0, ""); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	shows([]fleet.Difference{args, memory, cpu, env}, []fleet.Difference{args, memory, cpu})
	if _, _, err := w.fleet.AdoptDrift(t.Context(), id, 99, ""); !fault.Is(err, fault.Stale) {
		t.Errorf("an agent that is another one by now: %v", err)
	}
	before := w.get(id)
	a, warnings, err := w.fleet.AdoptDrift(t.Context(), id, before.LockVersion, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "env is not adopted: ") {
		t.Errorf("what is left is said as %q", warnings)
	}
	if a.Revision != before.Revision+1 || a.DeployedRevision != before.DeployedRevision {
		t.Errorf("revision %d, deployed %d; were %d, %d", a.Revision, a.DeployedRevision, before.Revision, before.DeployedRevision)
	}
	if !slices.Equal(a.Spec.Args, []string{"ticks", "--fast"}) || a.Spec.Resources.Memory != 96<<20 || a.Spec.Resources.CPU != 0.25 {
		t.Errorf("its specification is %+v", a.Spec)
	}
	gone := fleet.Difference{Field: "resources.memory", Wanted: "96Mi", Live: fleet.Absent}
	shows([]fleet.Difference{gone}, []fleet.Difference{gone})
	if a, _, err = w.fleet.AdoptDrift(t.Context(), id, a.LockVersion, ""); err != nil || a.Spec.Resources.Memory != 0 || a.Spec.Resources.CPU != 0.25 {
		t.Errorf("a limit that somebody took away: %v, %+v", err, a.Spec.Resources)
	}
}

// meddled is an agent that runs, and what somebody else changed of it is seen.
type meddled struct {
	*world
	id string
}

func (m *meddled) instance() string { return fleet.InstanceID(m.id, m.get(m.id).DeployedRevision, 0) }

// sees stores what the runtime shows now, as the reconciler does.
func (m *meddled) sees() {
	m.t.Helper()
	list, err := m.runtime.Observe(m.t.Context(), m.id)
	if err == nil {
		err = m.store.Instances().PutInstances(m.t.Context(), m.id, list)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// env gives the instance other variables.
func (m *meddled) env(values map[string]string, gone ...string) {
	m.t.Helper()
	env := map[string]*string{}
	for name, v := range values {
		env[name] = &v
	}
	for _, name := range gone {
		env[name] = nil
	}
	m.runtime.Change(m.id, m.instance(), env)
	m.sees()
}

func (m *meddled) adopts() (*agent.Agent, []string) {
	m.t.Helper()
	a, warnings, err := m.fleet.AdoptDrift(m.t.Context(), m.id, 0, "")
	if err != nil {
		m.t.Fatal(err)
	}
	return a, warnings
}

// refuses adopts nothing, names the field, and does not say the value.
func (m *meddled) refuses(field, value string, kind fault.Kind) {
	m.t.Helper()
	before := m.get(m.id)
	_, _, err := m.fleet.AdoptDrift(m.t.Context(), m.id, 0, "")
	f := fault.As(err)
	if f == nil || f.Kind != kind || !slices.ContainsFunc(f.Fields, func(in fault.Field) bool { return in.Path == field && in.Message != "" }) {
		m.t.Fatalf("got %v, want a fault of kind %s about %s", err, kind, field)
	}
	if text := fmt.Sprintf("%v %+v", err, f); value != "" && strings.Contains(text, value) {
		m.t.Errorf("the value is in %s", text)
	}
	if after := m.get(m.id); after.Revision != before.Revision {
		m.t.Errorf("it has revision %d", after.Revision)
	}
}

func TestVariablesThatOthersChangedBecomeARevision(t *testing.T) {
	w := newWorld(t)
	w.env["PORTAL_SECRET_KEY"] = "hidden"
	sp := spec("Worker")
	sp.Env = map[string]string{"LEVEL": "low", "GONE": "soon", "KEPT": "$(AGENT_ID)"}
	sp.Secrets = map[string]string{"KEY": "env:PORTAL_SECRET_KEY"}
	m := &meddled{w, w.running(sp)}
	m.env(map[string]string{"LEVEL": "hush-$(HUSH)", "MORE": "hush-$$", "KEY": "hush-key", "QUEUE_TOKEN": "hush-token"}, "GONE", "LANG")

	p, err := m.fleet.PlanAdoption(t.Context(), m.id)
	if err != nil || !slices.Equal(p.Takes, []string{"env.GONE", "env.LEVEL", "env.MORE"}) || len(p.Leaves) != 3 || strings.Contains(fmt.Sprintf("%+v", p), "hush") {
		t.Errorf("the plan is %+v, %v", p, err)
	}
	if got := m.get(m.id).Revision; got != 1 {
		t.Errorf("a plan made revision %d", got)
	}
	a, warnings := m.adopts()
	if a.Revision != 2 || !maps.Equal(a.Spec.Secrets, sp.Secrets) {
		t.Errorf("revision %d, secrets %v", a.Revision, a.Spec.Secrets)
	}
	said := strings.Join(warnings, "\n")
	for _, want := range []string{"env.KEY is not adopted: it is in secrets", "env.QUEUE_TOKEN is not adopted: the portal itself", "env.LANG is not adopted: the portal itself"} {
		if !strings.Contains(said, want) {
			t.Errorf("not said: %q in %s", want, said)
		}
	}
	m.must(m.id, agent.Stop, agent.Deploy, agent.Start)
	l, ok := m.runtime.Launched(m.id, m.instance())
	if _, gone := l.Env["GONE"]; !ok || gone || l.Env["LEVEL"] != "hush-$(HUSH)" || l.Env["MORE"] != "hush-$$" || l.Env["KEPT"] != m.id || l.Env["KEY"] != "hidden" || l.Env["LANG"] == "" {
		t.Errorf("it was launched with %v", l.Env)
	}
	m.keepsQuiet("hush-")
	m.sees()
	if _, _, err := m.fleet.AdoptDrift(t.Context(), m.id, 0, ""); !fault.Is(err, fault.Conflict) {
		t.Errorf("deployed, and there is more: %v", err)
	}
}

// keepsQuiet looks for a value where none may be.
func (m *meddled) keepsQuiet(value string) {
	m.t.Helper()
	entries, _, err := m.store.Audit().Find(m.t.Context(), audit.Query{Limit: 100})
	if err != nil || len(entries) == 0 {
		m.t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, e := range entries {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, value) {
			m.t.Errorf("the record says %s", text)
		}
	}
	events, err := m.store.Events().Find(m.t.Context(), event.Query{Limit: 1000})
	if err != nil || len(events) == 0 {
		m.t.Fatalf("%d events, %v", len(events), err)
	}
	for _, e := range events {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, value) {
			m.t.Errorf("an event says %s", text)
		}
	}
}

func TestVariablesThatNoSpecificationMayHaveAreRefused(t *testing.T) {
	w := newWorld(t)
	m := &meddled{w, w.running(spec("Worker"))}
	long := "hush" + strings.Repeat("x", 40<<10)
	many := map[string]string{}
	for i := range 300 {
		many[fmt.Sprint("HUSH_", i)] = "hush"
	}
	for _, c := range []struct {
		env   map[string]string
		field string
		kind  fault.Kind
	}{
		{map[string]string{"A": "hush\xff"}, "env.A", fault.Conflict},
		{map[string]string{"A": "hush\x00"}, "env.A", fault.Invalid},
		{map[string]string{"A": long}, "env.A", fault.Invalid},
		{map[string]string{"not-a-name": "hush"}, "env.not-a-name", fault.Invalid},
		{many, "env", fault.Invalid},
		{map[string]string{"PORT": "hush"}, "env.PORT", fault.Conflict},
	} {
		m.env(c.env)
		m.refuses(c.field, "hush", c.kind)
	}
	m.env(map[string]string{"A": "b"})
	m.runtime.Fail("LiveEnv", fault.New(fault.Unavailable, "engine.away", "The engine is away"))
	if _, _, err := m.fleet.AdoptDrift(t.Context(), m.id, 0, ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an engine that can't be asked: %v", err)
	}
	m.runtime.Fail("LiveEnv", nil)
	if a, _ := m.adopts(); a.Spec.Env["A"] != "b" {
		t.Errorf("env is %v", a.Spec.Env)
	}
}

func TestProbesThatOthersChangedBecomeARevision(t *testing.T) {
	w := newWorld(t)
	sp := spec("Worker")
	sp.Env = map[string]string{"ADMIN": "9100"}
	sp.Probes.Readiness = &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/ready", Port: "$(ADMIN)"}, Interval: agent.Duration(500 * time.Millisecond), InitialDelay: agent.Duration(time.Second)}
	w.prober.says(func(string) string { return "" })
	m := &meddled{w, w.running(sp)}
	m.sees()
	port := agent.PortRef(fmt.Sprint(m.seen().Port))
	minute := agent.Duration(time.Minute)

	// Another path at the same port, and a second probe at the instance's own.
	m.runtime.ChangeProbes(m.id, m.instance(), agent.Probes{
		Readiness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/other", Port: "9100"}, Interval: agent.Duration(500 * time.Millisecond), FailureThreshold: 7},
		Liveness:  &agent.Probe{TCP: &agent.TCPProbe{Port: port}, Interval: minute},
	}, nil, fleet.FieldReadiness, fleet.FieldLiveness)
	m.sees()
	a, warnings := m.adopts()
	want := agent.Spec{Probes: agent.Probes{
		Readiness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/other", Port: "$(ADMIN)"}, Interval: agent.Duration(500 * time.Millisecond), FailureThreshold: 7},
		Liveness:  &agent.Probe{TCP: &agent.TCPProbe{Port: "$(PORT)"}, Interval: minute},
	}}.WithDefaults().Probes
	if !reflect.DeepEqual(a.Spec.Probes, want) || len(warnings) > 0 {
		t.Errorf("its probes are %+v and %+v, %q", a.Spec.Probes.Readiness, a.Spec.Probes.Liveness, warnings)
	}
	// One is gone, and the startup probe is none that can be said.
	m.runtime.ChangeProbes(m.id, m.instance(), agent.Probes{}, map[string]string{fleet.FieldStartup: "it is odd"}, fleet.FieldStartup)
	m.sees()
	if a, warnings = m.adopts(); a.Spec.Probes.Readiness != nil || a.Spec.Probes.Liveness != nil || len(warnings) != 1 {
		t.Errorf("its probes are %+v, %q", a.Spec.Probes, warnings)
	}
	m.runtime.ChangeProbes(m.id, m.instance(), agent.Probes{}, map[string]string{fleet.FieldReadiness: "it asks by gRPC"})
	m.refuses("probes.readiness", "", fault.Conflict)
}

// seen is the instance as it was seen last.
func (m *meddled) seen() fleet.Instance {
	m.t.Helper()
	list, err := m.store.Instances().Instances(m.t.Context(), m.id)
	if err == nil && len(list[m.id]) != 1 {
		err = errors.New("there is not one instance")
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return list[m.id][0]
}

// A built-in agent has both probes where its specification has none.
func TestProbesOfBuiltInAgentsAreAdoptedOneByOne(t *testing.T) {
	w := newWorld(t)
	w.prober.says(func(string) string { return "" })
	m := &meddled{w, w.running(agent.Spec{Name: "Clerk", Template: "blank"})}
	m.runtime.ChangeProbes(m.id, m.instance(), agent.Probes{}, nil, fleet.FieldReadiness, fleet.FieldLiveness)
	m.sees()
	m.refuses("probes", "", fault.Conflict)

	list := []fleet.Instance{m.seen()}
	list[0].Drift = list[0].Drift[:1]
	if err := w.store.Instances().PutInstances(t.Context(), m.id, list); err != nil {
		t.Fatal(err)
	}
	a, _ := m.adopts()
	if p := a.Spec.Probes; p.Readiness != nil || p.Liveness == nil || p.Liveness.HTTP == nil || p.Liveness.HTTP.Path != "/health" {
		t.Errorf("its probes are %+v", p)
	}
}
