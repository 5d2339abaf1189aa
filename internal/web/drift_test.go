package web_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

// worker is an agent that runs.
func (h *home) worker(name string) *agent.Agent {
	h.Helper()
	sp := agent.Spec{Name: name, Command: "/bin/worker", Volumes: []agent.Volume{{Name: "notes", Path: "notes"}}}
	sp.Resources.Memory = 64 << 20
	a := h.declares(sp)
	h.does(a.ID, agent.Provision, agent.Deploy, agent.Start)
	return h.now(a.ID)
}

func (h *home) now(id string) *agent.Agent {
	h.Helper()
	a, err := h.store.Agents().Get(h.Context(), id)
	if err != nil {
		h.Fatal(err)
	}
	return a
}

func TestWhatOthersChangedIsShownAndAdopted(t *testing.T) {
	h := newHome(t)
	a := h.worker("edited")
	page := "/agents/" + a.ID
	h.lacks(h.page(auth.Operator, page), "Somebody else changed")
	if _, err := h.ask(auth.Operator, "POST", page+"/adopt", "version", strconv.FormatInt(a.LockVersion, 10)); !fault.Is(err, fault.Conflict) {
		t.Errorf("nothing was changed: %v", err)
	}
	in := fleet.Instance{ID: fleet.InstanceID(a.ID, 1, 0), AgentID: a.ID, Revision: 1, State: fleet.InstanceRunning}
	in.Drift = []fleet.Difference{{Field: "resources.memory", Wanted: "64Mi", Live: "96Mi"}, {Field: "env.<KEY>", Wanted: "the value that was written", Live: "none"}}
	h.sees(a.ID, in)
	shown := h.page(auth.Operator, page)
	h.contains(shown, "Somebody else changed this agent on process", "resources.memory", "64Mi", "96Mi", "env.<KEY>", "Repair", "Adopt")
	h.marks(shown, `href="`+page+`/adopt"`, `href="`+page+`/actions/restart"`)
	watched := h.page(auth.Viewer, page)
	h.contains(watched, "96Mi")
	h.lacks(watched, page+"/adopt")
	value := "hush-hush"
	h.runtime.Change(a.ID, in.ID, map[string]*string{"<KEY>": &value, "LEVEL": &value})
	in.Drift = append(in.Drift, fleet.Difference{Field: "env.PORT", Wanted: "the value that was written", Live: "another value"}, fleet.Difference{Field: "containers", Wanted: "agent", Live: "agent, <spy>"})
	h.sees(a.ID, in)
	question := h.page(auth.Operator, page+"/adopt")
	h.contains(question, "next revision", "Nothing is restarted", "Adopted: env.<KEY>, resources.memory", "Everybody can read them",
		"Not adopted: env.PORT", "The portal itself sets it.", "Not adopted: containers")
	h.lacks(question, value)
	if _, err := h.ask(auth.Operator, "POST", page+"/adopt", "version", strconv.FormatInt(h.now(a.ID).LockVersion, 10)); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), value) {
		t.Errorf("a name that no specification has: %v", err)
	}
	in.Drift[1].Field = "env.LEVEL"
	h.sees(a.ID, in)
	if _, err := h.ask(auth.Operator, "POST", page+"/adopt"); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a version: %v", err)
	}
	if _, err := h.ask(auth.Operator, "POST", page+"/adopt", "version", "99"); !fault.Is(err, fault.Stale) {
		t.Errorf("of an agent that is another one by now: %v", err)
	}
	w := h.form(303, page+"/adopt", "version", strconv.FormatInt(h.now(a.ID).LockVersion, 10), "reason", "more is needed")
	if to := w.Header().Get("Location"); to != page+"?tab=spec&saved=2" {
		t.Errorf("it leads to %s", to)
	}
	if got := h.now(a.ID); got.Revision != 2 || got.Spec.Resources.Memory != 96<<20 || len(got.Spec.Env) != 1 || got.Spec.Env["LEVEL"] != value {
		t.Errorf("%+v, %v", got.Spec.Resources, got.Spec.Env)
	}
	// Where nothing can be adopted the question says why, and can't be answered.
	in.Drift = in.Drift[2:]
	h.sees(a.ID, in)
	blocked := h.page(auth.Operator, page+"/adopt")
	h.contains(blocked, "There is nothing of "+a.ID+" that could be adopted", "Not adopted: env.PORT")
	h.marks(blocked, "disabled")
}

// sees stores what is seen of an agent.
func (h *home) sees(id string, in ...fleet.Instance) {
	h.Helper()
	if err := h.store.Instances().PutInstances(h.Context(), id, in); err != nil {
		h.Fatal(err)
	}
}

func TestDataIsCopiedWhereTheFormSaysSo(t *testing.T) {
	h := newHome(t)
	other := fleettest.NewNamedFake("docker")
	h.fleet.Runtimes["docker"] = other
	a := h.worker("keeper")
	h.runtime.Fill(a.ID, "notes", map[string]string{"a": "b"})
	form := "/agents/" + a.ID + "/move"
	h.contains(h.page(auth.Operator, form+"?to=docker&image=registry/worker:1"), "Copy its data", "Content is not copied")
	h.contains(h.page(auth.Operator, form+"?to=docker&image=registry/worker:1&copy=yes"), "The content of its data directory, the volume notes goes along", "does not serve for a while")
	w := h.form(303, form, "version", strconv.FormatInt(a.LockVersion, 10), "to", "docker", "image", "registry/worker:1", "copy", "yes")
	if !strings.HasPrefix(w.Header().Get("Location"), "/agents/"+a.ID) {
		t.Errorf("it leads to %s", w.Header().Get("Location"))
	}
	h.until("the move", func(context.Context) bool {
		now := h.now(a.ID)
		return now.ActiveOperation == "" && now.Spec.Runtime == "docker" && now.State == agent.Running
	})
	if got, err := other.Content(a.ID, "notes"); err != nil || got["a"] != "b" {
		t.Errorf("it holds %v, %v", got, err)
	}
}
