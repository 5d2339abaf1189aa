package recovery

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

func TestAnInstanceThatAnOperationEndsHasNotCrashed(t *testing.T) {
	for _, c := range []struct {
		name, state, operation, present string
		meant                           bool
	}{
		{"lost while the agent is being stopped", "lost", "op-1", "mind-r1-0", true},
		{"lost with a revision that was replaced", "lost", "", "mind-r2-0", true},
		{"lost by itself", "lost", "", "mind-r1-0", false},
		{"crashed while the agent is being started", "backoff", "op-1", "mind-r1-0", false},
		{"failed for good", "failed", "", "mind-r1-0", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := event.New(event.InstanceChanged, "mind", "system", time.Unix(0, 0), event.Instance{AgentID: "mind", InstanceID: "mind-r1-0", State: c.state})
			got, ok := triggerOf(e)
			if !ok || got.Source != FromCrash || got.InstanceID != "mind-r1-0" {
				t.Fatalf("%+v %t", got, ok)
			}
			a := &agent.Agent{ID: "mind", State: agent.Running, ActiveOperation: c.operation}
			f := &cause.Facts{Instances: []fleet.Instance{{ID: c.present}}}
			if got.meant(a, f) != c.meant {
				t.Errorf("meant: %t", !c.meant)
			}
		})
	}
}

// Somebody removes a container or workload that the portal did not touch: nobody is
// told that the cause is unknown and that another revision may help.
func TestWhatSomebodyElseEndsIsNoUnknownError(t *testing.T) {
	f := &cause.Facts{Now: time.Unix(90, 0), State: agent.Running, Health: agent.HealthUnhealthy, DiskFree: -1, Lines: []string{"agent stopped"}, Good: &cause.Good{Revision: 1},
		Instances: []fleet.Instance{{ID: "mind-r2-0", State: fleet.InstanceStopping}}}
	a := &agent.Agent{ID: "mind", State: agent.Running}
	probe := trigger{agentID: "mind", sighting: sighting{Source: FromProbe}}
	if found := diagnose(a, f, probe); found == nil || found.Code != cause.Displaced {
		t.Errorf("%+v", found)
	}
	a.ActiveOperation = "op-1"
	if found := diagnose(a, f, probe); found != nil {
		t.Errorf("an operation that ends it is an error: %+v", found)
	}
	a.ActiveOperation, f.Instances = "", nil
	if found := diagnose(a, f, trigger{agentID: "mind", sighting: sighting{Source: FromCrash, InstanceID: "mind-r2-0"}, lost: true}); found == nil || found.Code != cause.Displaced {
		t.Errorf("lost: %+v", found)
	}
}

func TestACrashIsSeenAlsoWhereAnotherInstanceIsLostRightAfter(t *testing.T) {
	changed := func(seq int64, id, state string) event.Event {
		e := event.New(event.InstanceChanged, "mind", "system", time.Unix(seq, 0), event.Instance{AgentID: "mind", InstanceID: id, State: state})
		e.Seq = seq
		return e
	}
	for name, list := range map[string][]event.Event{
		"crash, then lost": {changed(1, "mind-r2-0", "backoff"), changed(2, "mind-r1-0", "lost")},
		"lost, then crash": {changed(1, "mind-r1-0", "lost"), changed(2, "mind-r2-0", "backoff")},
	} {
		t.Run(name, func(t *testing.T) {
			got := triggers(list)
			if len(got) != 1 {
				t.Fatalf("%d triggers", len(got))
			}
			if now := (&cause.Facts{Instances: []fleet.Instance{{ID: "mind-r2-0"}}}); got[0].InstanceID != "mind-r2-0" || got[0].meant(&agent.Agent{ID: "mind", State: agent.Running}, now) {
				t.Errorf("the crash is dropped with the instance that was replaced: %+v", got[0])
			}
		})
	}
}

// A guess gives way to what is known; what is known stays beside what else is wrong.
func TestAGuessGivesWay(t *testing.T) {
	poison := &cause.Finding{Code: cause.PoisonMessage, Certainty: 0.94, Key: "message"}
	guessed := &Incident{Cause: cause.BadConfig, Certainty: 0.6, Fingerprint: "a"}
	known := &Incident{Cause: cause.BadConfig, Certainty: 0.95, Fingerprint: "b"}
	if in, better := place([]*Incident{guessed}, "agent", poison); in != guessed || !better {
		t.Errorf("beside a guess: %+v, %t", in, better)
	}
	if in, _ := place([]*Incident{known}, "agent", poison); in != nil {
		t.Errorf("what is known is taken for something else: %+v", in)
	}
	less := &cause.Finding{Code: cause.SlowDependency, Certainty: 0.5}
	if in, better := place([]*Incident{guessed}, "agent", less); in != nil && better {
		t.Errorf("a worse guess takes its place: %+v", in)
	}
}

// What a runtime says of itself is true when it says it: an engine that is gone has no
// full disk any more.
func TestTheNewestThatARuntimeSaysCounts(t *testing.T) {
	full := &Incident{Cause: cause.NoRoom, Certainty: 0.99, Fingerprint: "a", State: Open}
	away := &cause.Finding{Code: cause.EngineAway, Certainty: 0.99, Key: "docker.unreachable"}
	if in, better := place([]*Incident{full}, "agent", away); in != full || !better {
		t.Errorf("%+v, %t", in, better)
	}
	guess := &cause.Finding{Code: cause.Hang, Certainty: 0.8}
	if in, better := place([]*Incident{full}, "agent", guess); in != full || better {
		t.Errorf("a guess: %+v, %t", in, better)
	}
}
