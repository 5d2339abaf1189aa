package fleettest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
)

func testHoldings(t *testing.T, b *bench) {
	ac, ok := b.rt.(fleet.Accountant)
	if !ok {
		t.Skip("the runtime does not say what it holds")
	}
	l := b.start("holder", 0, "wait")
	ids, err := ac.Agents(b.ctx())
	if err != nil || !slices.Equal(ids, []string{"holder"}) {
		t.Errorf("agents %v, %v", ids, err)
	}
	list, err := ac.Holdings(b.ctx(), "holder")
	if err != nil || !slices.ContainsFunc(list, func(h fleet.Holding) bool { return h.Instance == l.InstanceID }) ||
		!slices.ContainsFunc(list, func(h fleet.Holding) bool { return h.Kind == "directory" || h.Kind == "volume" }) {
		t.Errorf("it holds %+v, %v", list, err)
	}
	if list, err := ac.Holdings(b.ctx(), "somebody"); err != nil || len(list) > 0 {
		t.Errorf("an agent that is not there holds %+v, %v", list, err)
	}
	// What is stopped keeps what outlives instances.
	b.ok(b.rt.Stop(b.ctx(), "holder", l.InstanceID, time.Second))
	if list, err := ac.Holdings(b.ctx(), "holder"); err != nil || len(list) == 0 {
		t.Errorf("after the stop it holds %+v, %v", list, err)
	}
	b.ok(b.rt.Remove(b.ctx(), "holder"))
	if list, err := ac.Holdings(b.ctx(), "holder"); err != nil || len(list) > 0 {
		t.Errorf("after its removal it holds %+v, %v", list, err)
	}
	if ids, err := ac.Agents(b.ctx()); err != nil || len(ids) > 0 {
		t.Errorf("after its removal there are %v, %v", ids, err)
	}
	// What can't be launched holds no more than what was prepared for it.
	l = b.launch("holder", 0, "wait")
	b.ok(b.rt.Prepare(b.ctx(), l))
	prepared := held(b, ac)
	l.Command = "/no/such/program"
	if err := b.rt.Launch(b.ctx(), l); err == nil {
		t.Error("a program that is not there was launched")
	}
	if now := held(b, ac); !slices.Equal(now, prepared) {
		t.Errorf("after a launch that failed it holds %v, before %v", now, prepared)
	}
	b.ok(b.rt.Remove(b.ctx(), "holder"))
	if left := held(b, ac); len(left) > 0 {
		t.Errorf("after its removal it holds %v", left)
	}
}

// Only what was changed is told, with its value, and differences have the names alone.
func testWitness(t *testing.T, b *bench) {
	w, ok := b.rt.(fleet.Witness)
	if !ok || b.h.Change == nil {
		t.Skip("the runtime does not say what somebody else changed")
	}
	l := b.launch("witness", 0, "wait")
	l.Env["GONE"], l.Env["KEPT"] = "as it was", "as it is"
	b.ok(b.rt.Launch(b.ctx(), l))
	if env, err := w.LiveEnv(b.ctx(), l.AgentID, l.InstanceID); err != nil || len(env) > 0 {
		t.Errorf("nobody changed it, and it has %v, %v", env, err)
	}
	if now, unsaid, err := w.LiveProbes(b.ctx(), l.AgentID, l.InstanceID, l.Health); err != nil || len(unsaid) > 0 || now != l.Health {
		t.Errorf("nobody changed its probes, and they are %+v, %v, %v", now, unsaid, err)
	}
	other, more := "hush-hush", ""
	b.h.Change(t, b.rt, l, map[string]*string{"GREETING": &other, "MORE": &more, "GONE": nil})
	in := b.until(l, "that it is seen", func(in fleet.Instance) bool { return len(in.Drift) == 3 })
	for i, name := range []string{"GONE", "GREETING", "MORE"} {
		if d := in.Drift[i]; d.Field != "env."+name || strings.Contains(d.String(), other) {
			t.Errorf("a difference is %+v", d)
		}
	}
	env, err := w.LiveEnv(b.ctx(), l.AgentID, l.InstanceID)
	b.ok(err)
	gone, there := env["GONE"]
	if len(env) != 3 || !there || gone != nil || env["GREETING"] == nil || *env["GREETING"] != other || env["MORE"] == nil || *env["MORE"] != more {
		t.Errorf("it has %v", env)
	}
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 0))
	b.ok(b.rt.Launch(b.ctx(), l))
	if env, err := w.LiveEnv(b.ctx(), l.AgentID, l.InstanceID); err != nil || len(env) > 0 {
		t.Errorf("launched anew it has %v, %v", env, err)
	}
	b.ok(b.rt.Remove(b.ctx(), l.AgentID))
}

func held(b *bench, ac fleet.Accountant) (out []string) {
	b.Helper()
	list, err := ac.Holdings(b.ctx(), "holder")
	b.ok(err)
	for _, h := range list {
		if h.Kind != "logs" && !h.Shared {
			out = append(out, h.Kind+" "+h.Name)
		}
	}
	return out
}
