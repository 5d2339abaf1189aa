package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

func trees(t testing.TB, text string) []map[string]any {
	t.Helper()
	docs, err := manifest.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]map[string]any, len(docs))
	for i, d := range docs {
		out[i] = d.Tree
	}
	return out
}

// changes says in short what an import did.
func changes(r agent.ImportResult) string {
	var out []string
	for _, it := range r.Items {
		out = append(out, it.ID+" "+it.Change)
	}
	return strings.Join(out, ", ")
}

func (w *world) apply(text string) agent.ImportResult {
	w.t.Helper()
	r, err := w.Import(w.ctx, trees(w.t, text), agent.ImportOptions{Mode: agent.ImportApply, Reason: "gitops"})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestApplyIsIdempotent(t *testing.T) {
	w := newWorld(t)
	set := "name: A\ndependencies: [B]\nextra: {n: 1, f: 0.5}\n---\nname: B\nenv: {K: v}\nresources: {memory: 256Mi, cpu: 0.5}\n"
	if got := changes(w.apply(set)); got != "a created, b created" {
		t.Errorf("first: %s", got)
	}
	entries, events := w.trail()
	if got := changes(w.apply(set)); got != "a unchanged, b unchanged" {
		t.Errorf("again: %s", got)
	}
	e2, v2 := w.trail()
	if len(e2) != len(entries) || len(v2) != len(events) || w.get("a").LockVersion != 1 {
		t.Error("an apply without effect left traces")
	}
	r := w.apply("name: a\ndependencies: [B]\n---\nname: B\nenv: {K: w}\nresources: {memory: 256Mi, cpu: 0.5}\n")
	if got := changes(r); got != "a updated, b updated" {
		t.Errorf("changed: %s", got)
	}
	wantDiff := []agent.FieldChange{{Path: "env.K", Old: "v", New: "w"}}
	if !reflect.DeepEqual(r.Items[1].Diff, wantDiff) {
		t.Errorf("diff %v", r.Items[1].Diff)
	}
	rev, err := w.History.Revision(w.ctx, "b", 2)
	if err != nil || rev.Reason != "gitops" || len(w.get("a").Spec.Extra) != 0 {
		t.Errorf("revision %+v, %v", rev, err)
	}
}

func TestWhatWasReadCanBeAppliedAgain(t *testing.T) {
	w := newWorld(t)
	w.apply("name: A\ntier: 2\n")
	shown := "name: A\nid: a\ntier: 3\nversion: \"\"\nstate: RUNNING\nhealth: healthy\nrevision: 1\nresource_version: 1\ninstances: []\nallowed_actions: [stop]\n"
	r, err := w.Import(w.ctx, trees(t, shown), agent.ImportOptions{Mode: agent.ImportApply, Decode: agent.Strict})
	if err != nil || changes(r) != "a updated" {
		t.Fatalf("got %s, %v", changes(r), err)
	}
	if a := w.get("a"); a.State != agent.Draft || a.Spec.Tier != 3 {
		t.Errorf("got %s, tier %d", a.State, a.Spec.Tier)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.create(agent.Spec{Name: "A"})
	before, _ := w.trail()
	r, err := w.Import(w.ctx, trees(t, "name: A\ntier: 2\n---\nname: B\ndependencies: [Z]\n"), agent.ImportOptions{Mode: agent.ImportApply, DryRun: true})
	if err != nil || changes(r) != "a updated, b created" || !reflect.DeepEqual(r.Items[0].Diff, []agent.FieldChange{{Path: "tier", New: int64(2)}}) {
		t.Errorf("got %+v, %v", r, err)
	}
	if !reflect.DeepEqual(r.Warnings, []string{"1 dependency is not in the fleet: Z"}) {
		t.Errorf("warnings %q", r.Warnings)
	}
	after, _ := w.trail()
	if a := w.get("a"); a.Revision != 1 || a.LockVersion != 1 || len(after) != len(before) {
		t.Errorf("the dry run changed %+v", a)
	}
	if _, err := w.Store.Get(w.ctx, "b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the dry run made an agent: %v", err)
	}
}

func TestImportRefusesTheWholeSet(t *testing.T) {
	w := newWorld(t)
	w.create(agent.Spec{Name: "Old", ID: "was"})
	w.create(agent.Spec{Name: "User", Dependencies: []string{"Old", "New"}})
	for _, tt := range []struct {
		name, mode, set string
		kind            fault.Kind
		fields          []string
	}{
		{"every mistake of every document", "create", "name: Ok\n---\nname: WowCache\ntier: 9\nteir: 2\n---\ntier: 1\n---\nname: ../x\n", fault.Invalid, []string{
			"documents[1](WowCache).teir: is not a field of the specification; did you mean tier?",
			"documents[1](WowCache).tier: must be 1 to 6, not 9",
			"documents[2].name: must be given",
			"documents[3].name: may have"}},
		{"one name twice", "create", "name: A\n---\nname: a\n---\n{name: C, id: A1}\n---\n{name: D, id: a}\n", fault.Invalid, []string{
			"documents[1](a).name: is the same as that of documents[0](A)",
			"documents[2](C).id: must be lower-case",
			"documents[3](D).id: is the same as that of documents[0](A)"}},
		{"exists already", "create", "name: OLD\n---\nname: B\n---\n{name: C, id: user}\n", fault.Conflict, []string{
			"documents[0](OLD).name: is taken by Old (was)", "documents[2](C).id: is taken by User (user)"}},
		{"a cycle within", "create", "{name: A, dependencies: [B]}\n---\n{name: B, dependencies: [a]}\n---\nname: C", fault.Invalid, []string{
			"documents[0](A).dependencies: close the cycle A → B → A", "documents[1](B).dependencies: close the cycle A → B → A"}},
		{"a cycle over the fleet", "create", "{name: New, dependencies: [Via]}\n---\n{name: Via, dependencies: [User]}", fault.Invalid, []string{
			"documents[0](New).dependencies: close the cycle New → Via → User → New", "documents[1](Via).dependencies: close"}},
		{"a name in use", "apply", "{name: Fresh, id: was}", fault.Conflict, []string{"documents[0](Fresh).name: is used by User"}},
		{"the name of another", "apply", "{name: User, id: was}", fault.Conflict, []string{"documents[0](User).name: is taken by User (user)"}},
		{"an id of another name", "apply", "{name: Was}", fault.Conflict, []string{"documents[0](Was).name: is taken by Old (was)"}},
		{"one agent by two names", "apply", "{name: Fresh, id: was}\n---\nname: Old", fault.Conflict, []string{"documents[1](Old).name: is the same agent as documents[0](Fresh)", "documents[0](Fresh).name: is used by User"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.Import(w.ctx, trees(t, tt.set), agent.ImportOptions{Mode: tt.mode})
			f := wantFault(t, err, tt.kind, "")
			if len(f.Fields) != len(tt.fields) {
				t.Errorf("got %d fields: %v", len(f.Fields), f)
			}
			for i, want := range tt.fields {
				if i < len(f.Fields) && !strings.HasPrefix(f.Fields[i].Path+": "+f.Fields[i].Message, want) {
					t.Errorf("got  %s: %s\nwant %s", f.Fields[i].Path, f.Fields[i].Message, want)
				}
			}
		})
	}
	if entries, _ := w.trail(); len(entries) != 2 {
		t.Errorf("a refusal left %d entries", len(entries))
	}
	_, err := w.Import(w.ctx, nil, agent.ImportOptions{})
	wantFault(t, err, fault.Invalid, "no agent to import")
	_, err = w.Import(w.ctx, trees(t, "name: A"), agent.ImportOptions{Mode: "replace"})
	wantFault(t, err, fault.Invalid, "no import mode")
}

func TestImportCutsAFloodOfMistakes(t *testing.T) {
	w := newWorld(t)
	docs := make([]map[string]any, 600)
	for i := range docs {
		docs[i] = map[string]any{"name": fmt.Sprint("a", i), "tier": int64(9), "x": int64(1)}
	}
	_, err := w.Import(w.ctx, docs, agent.ImportOptions{})
	if f := wantFault(t, err, fault.Invalid, "200 further"); len(f.Fields) != 1000 {
		t.Errorf("%d fields", len(f.Fields))
	}
}

// A rename goes through if the set takes along everybody who uses the name.
func TestApplyRenamesWithItsDependents(t *testing.T) {
	w := newWorld(t)
	w.apply("{name: Old, id: was}\n---\n{name: User, dependencies: [Old]}")
	r := w.apply("{name: Fresh, id: was}\n---\n{name: User, dependencies: [Fresh]}")
	if changes(r) != "was updated, user updated" || len(r.Warnings) != 0 || w.get("fresh").ID != "was" {
		t.Errorf("got %+v", r)
	}
	// Whoever still asks for the old name is told that it is gone.
	r = w.apply("{name: Late, dependencies: [Old, WAS]}")
	if !reflect.DeepEqual(r.Warnings, []string{"1 dependency is not in the fleet: Old"}) {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestImportOfForeignDocuments(t *testing.T) {
	w := newWorld(t)
	docs := folder(t, "testdata/foreign")
	_, err := w.Import(w.ctx, docs, agent.ImportOptions{Decode: agent.Strict})
	wantFault(t, err, fault.Invalid, "documents[0](WowCellar).vineyard: is not a field")
	r, err := w.Import(w.ctx, docs, agent.ImportOptions{Decode: agent.Keep})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r.Warnings, []string{"2 dependencies are not in the fleet: WowAgentFactory, WowVisionPrime"}) {
		t.Errorf("warnings %q", r.Warnings)
	}
	if all := strings.Join(r.Items[0].Warnings, "\n"); !strings.Contains(all, "vineyard") || !strings.Contains(all, "WowVisionPrime, WowAgentFactory, which are not in the fleet") {
		t.Errorf("warnings of the first: %s", all)
	}
	a := w.get("WowCellar")
	if a.ID != "wow-cellar" || a.Spec.Template != "blank" || !reflect.DeepEqual(a.Spec.Extra["vineyard"], map[string]any{"slope": 12.0}) {
		t.Errorf("got %+v", a.Spec)
	}
	again, err := w.Import(w.ctx, docs, agent.ImportOptions{Mode: agent.ImportApply, Decode: agent.Keep})
	if err != nil || changes(again) != "wow-cellar unchanged, wow-porter unchanged" {
		t.Errorf("again: %v, %v", changes(again), err)
	}
}

// folder gives the documents of all YAML files in a folder.
func folder(t testing.TB, dir string) []map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	var docs []map[string]any
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, trees(t, string(text))...)
	}
	return docs
}

const moduleRoot = "../.."

func TestExampleFleet(t *testing.T) {
	w := newWorld(t)
	r, err := w.Import(w.ctx, folder(t, filepath.Join(moduleRoot, "examples/fleet")), agent.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tiers := map[string]int{"WowVisionPrime": 1, "WowAgentFactory": 2, "WowDomain": 2, "WowEvent": 3, "WowCommunication": 3, "WowMemory": 4,
		"WowCache": 4, "WowSearch": 4, "WowSecurity": 5, "WowSupport": 5, "WowNotification": 5, "WowScaling": 6, "WowIntegration": 6, "WowAnalytics": 6}
	if len(r.Items) != len(tiers) || len(r.Warnings) != 0 {
		t.Errorf("%d agents, warnings %v", len(r.Items), r.Warnings)
	}
	var ids []string
	for _, it := range r.Items {
		a := w.get(it.ID)
		if a.Spec.Tier != tiers[it.Name] || len(it.Warnings) != 0 || a.Spec.Labels["tier"] != fmt.Sprint(a.Spec.Tier) || a.Spec.Labels["domain"] != a.Spec.Domain {
			t.Errorf("%s: %+v, %v", it.Name, a.Spec, it.Warnings)
		}
		if a.Spec.Probes.Liveness == nil || a.Spec.Probes.Readiness == nil || a.Spec.Description == "" {
			t.Errorf("%s lacks probes or a description", it.Name)
		}
		ids = append(ids, it.ID)
	}
	edges, err := w.Store.Dependencies(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	waves, err := agent.GraphOf(edges).Waves(ids)
	if err != nil || !reflect.DeepEqual(waves[0], []string{"wow-vision-prime"}) || len(slices.Concat(waves...)) != len(tiers) {
		t.Errorf("waves %v, %v", waves, err)
	}
	page, err := w.Store.Find(w.ctx, agent.Query{Templates: []string{"memory"}, Selector: agent.Selector{{Key: "fleet", Op: "=", Values: []string{"waooaw"}}}})
	if err != nil || page.Total != 3 {
		t.Errorf("%d agents of the template memory, %v", page.Total, err)
	}
}

func TestExampleHello(t *testing.T) {
	w := newWorld(t)
	r, err := w.Import(w.ctx, folder(t, filepath.Join(moduleRoot, "examples/hello")), agent.ImportOptions{})
	if err != nil || len(r.Warnings) != 0 {
		t.Fatal(err, r.Warnings)
	}
	for _, it := range r.Items {
		s := w.get(it.ID).Spec
		if s.Command != "/bin/sh" || s.Probes.Liveness.Exec == nil {
			t.Errorf("%s: %+v", it.ID, s)
		}
		if _, err := s.Expand(map[string]string{"AGENT_NAME": s.Name, "AGENT_DATA_DIR": "/x"}); err != nil {
			t.Errorf("%s: %v", it.ID, err)
		}
	}
}

// The files that others wrote for the platform lie beside a checkout.
func TestSharedInputsImportUnchanged(t *testing.T) {
	dir := filepath.Join(moduleRoot, "../shared/inputs/waooaw/agents")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the shared inputs are not beside this checkout: %v", err)
	}
	w := newWorld(t)
	r, err := w.Import(w.ctx, folder(t, dir), agent.ImportOptions{Decode: agent.Keep})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Items) != 12 || !reflect.DeepEqual(r.Warnings, []string{"2 dependencies are not in the fleet: WowAgentFactory, WowVisionPrime"}) {
		t.Errorf("%d agents, warnings %q", len(r.Items), r.Warnings)
	}
}
