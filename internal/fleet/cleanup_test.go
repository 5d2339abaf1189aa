package fleet_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
)

// brokenKeys issues no credential.
type brokenKeys struct{ fleet.Keys }

func (brokenKeys) Issue(context.Context, string) (string, error) {
	return "", refusal("no credential")
}

// brokenPorts has ports for the first instances only.
type brokenPorts struct {
	fleet.InstanceStore
	most int
}

func (p brokenPorts) ReservePort(ctx context.Context, agentID string, index, from, to int, usable func(int) bool) (int, error) {
	if index >= p.most {
		return 0, refusal("no port")
	}
	return p.InstanceStore.ReservePort(ctx, agentID, index, from, to, usable)
}

// halfPrepared makes what belongs to an agent before it fails.
type halfPrepared struct{ fleet.Runtime }

func (h halfPrepared) Prepare(ctx context.Context, l fleet.Launch) error {
	if err := h.Runtime.Prepare(ctx, l); err != nil {
		return err
	}
	return refusal("no volume")
}

func (h halfPrepared) Agents(ctx context.Context) ([]string, error) {
	return h.Runtime.(fleet.Accountant).Agents(ctx)
}

func (h halfPrepared) Holdings(ctx context.Context, agentID string) ([]fleet.Holding, error) {
	return h.Runtime.(fleet.Accountant).Holdings(ctx, agentID)
}

// held is all that the agent holds, wherever.
func (w *world) held(id string) string {
	w.t.Helper()
	acc, err := w.fleet.Account(w.t.Context(), id)
	if err != nil || len(acc.Notes) > 0 {
		w.t.Fatal(acc, err)
	}
	var out []string
	for _, st := range acc.Stocks {
		for _, h := range st.Holdings {
			out = append(out, st.Place+" "+h.Kind+" "+h.Name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// Whatever step fails, what those before it made is taken back, and the account is
// what it was.
func TestEveryStepThatFailsIsTakenBack(t *testing.T) {
	provisioned, deployed := []agent.Action{agent.Provision}, []agent.Action{agent.Provision, agent.Deploy}
	for step, c := range map[string]struct {
		before []agent.Action
		breaks func(w *world)
		action agent.Action
		reason string
	}{
		"queues":        {nil, func(w *world) { w.broker.SetFail(refusal("no queue")) }, agent.Provision, "no queue"},
		"credential":    {nil, func(w *world) { w.fleet.Keys = brokenKeys{w.fleet.Keys} }, agent.Provision, "no credential"},
		"ports":         {nil, func(w *world) { w.fleet.Observed = brokenPorts{w.fleet.Observed, 1} }, agent.Provision, "no port"},
		"configuration": {provisioned, func(w *world) { delete(w.env, "PORTAL_SECRET_KEY") }, agent.Deploy, "PORTAL_SECRET_KEY"},
		"prepare":       {provisioned, func(w *world) { w.runtime.Fail("Prepare", refusal("no room")) }, agent.Deploy, "no room"},
		"volumes":       {provisioned, func(w *world) { w.fleet.Runtimes["process"] = halfPrepared{w.runtime} }, agent.Deploy, "no volume"},
		"launch":        {deployed, func(w *world) { w.runtime.Fail("Launch", refusal("no launch")) }, agent.Start, "no launch"},
		"ready":         {deployed, func(w *world) { w.prober.says(func(string) string { return "GET /ready: 503" }) }, agent.Start, "503"},
	} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			w.fleet.StartTimeout = 3 * time.Second
			w.env["PORTAL_SECRET_KEY"] = "k"
			sp := spec("Worker")
			sp.Replicas = 2
			sp.Secrets = map[string]string{"KEY": "env:PORTAL_SECRET_KEY"}
			sp.Probes.Readiness = &agent.Probe{HTTP: &agent.HTTPProbe{}, Interval: agent.Duration(100 * time.Millisecond), Timeout: agent.Duration(10 * time.Millisecond), FailureThreshold: 1}
			id := w.create(sp)
			w.must(id, c.before...)
			before := w.held(id)
			c.breaks(w)
			op := w.act(id, c.action)
			if op.State != operation.Failed || !strings.Contains(op.Problem.What+op.Problem.Why, c.reason) {
				t.Fatalf("%s %+v, want a failure with %q", op.State, op.Problem, c.reason)
			}
			w.expect(id, agent.Errored)
			w.broker.SetFail(nil)
			if after := w.held(id); after != before {
				t.Errorf("it held %q, and holds %q", before, after)
			}
			w.must(id, agent.Revoke)
			if after := w.held(id); after != "" {
				t.Errorf("when it is revoked it holds %q", after)
			}
			if list, notes, err := w.fleet.Orphans(t.Context()); err != nil || len(list)+len(notes) > 0 {
				t.Errorf("left over: %+v, %v, %v", list, notes, err)
			}
		})
	}
}
