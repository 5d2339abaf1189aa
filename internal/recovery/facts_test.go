package recovery_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// site is a fleet of which a test says what is seen of it.
type site struct {
	ground
	instances map[string][]fleet.Instance
	lines     []string
	usage     fleet.Usage
	stats     queue.Stats
}

func (s *site) Instances(_ context.Context, ids ...string) (map[string][]fleet.Instance, error) {
	return s.instances, nil
}

func (s *site) Logs(_ context.Context, q fleet.LogQuery, fn func(fleet.LogLine) error) error {
	for _, text := range s.lines {
		if err := fn(fleet.LogLine{AgentID: q.AgentID, Stream: "stderr", Text: text}); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) Runtime(string) (fleet.Runtime, error) { return meter{s.runtime, s}, nil }

func (s *site) Stats(context.Context, string) (queue.Stats, error) { return s.stats, nil }

// meter measures what the site says.
type meter struct {
	fleet.Runtime
	s *site
}

func (m meter) Usage(context.Context, string, string) (fleet.Usage, error) { return m.s.usage, nil }

// onSite is a ward whose fleet shows what a test says.
func onSite(t *testing.T) (*ward, *site) {
	t.Helper()
	w := treated(t)
	s := &site{ground: ground{fleettest.NewFake()}, instances: map[string][]fleet.Instance{}}
	w.Fleet, w.Queues = s, s
	reads(t, w, w.Service)
	return w, s
}

// runs brings the agent to RUNNING with one instance.
func (w *ward) runs(s *site, deployed int) *agent.Agent {
	w.Helper()
	a, err := w.Agents.Get(w.as(), w.a.ID)
	if err != nil {
		w.Fatal(err)
	}
	a.State, a.Health, a.DeployedRevision = agent.Running, agent.HealthHealthy, deployed
	if err := w.Agents.Save(w.as(), a); err != nil {
		w.Fatal(err)
	}
	s.instances[a.ID] = []fleet.Instance{{ID: a.ID + "-r1-0", AgentID: a.ID, State: fleet.InstanceRunning, PID: 7, Port: 9001, StartedAt: w.clock.Add(-time.Minute)}}
	return a
}

// backsOff ends the instance, and tells of it.
func (w *ward) backsOff(s *site, code int) {
	w.Helper()
	in := &s.instances[w.a.ID][0]
	in.State, in.ExitCode, in.EndedAt, in.Restarts = fleet.InstanceBackoff, &code, w.clock, in.Restarts+1
	e := event.New(event.InstanceChanged, w.a.ID, "system", w.clock, event.Instance{InstanceID: in.ID, State: string(in.State)}, event.RoomAgents)
	if err := w.Events.Append(w.as(), e); err != nil {
		w.Fatal(err)
	}
	reads(w.T, w, w.Service)
}

// What was printed, what ran before, and what the machine knows lead to the cause
// and to what is offered.
func TestACrashIsExplainedFromWhatIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		line  string
		cause cause.Code
		title string
		first cause.Fix
	}{
		"a port that another program has": {"listen tcp :8081: bind: address already in use", cause.PortInUse, "nginx (pid 4711)", cause.Restart},
		"a variable":                      {"KeyError: 'API_BASE'", cause.MissingVariable, "API_BASE", cause.RollBack},
		"nobody knows":                    {"bye", cause.Unknown, "not known", cause.RollBack},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := onSite(t)
			w.runs(s, 1)
			if _, err := w.Sample(w.as()); err != nil { // revision 1 is seen to run well
				t.Fatal(err)
			}
			w.runs(s, 2)
			s.lines = []string{"starting", c.line}
			w.passes(2 * time.Minute)
			w.backsOff(s, 1)
			list := w.recorded()
			if len(list) != 1 {
				t.Fatalf("%d errors", len(list))
			}
			in := list[0]
			if in.Cause != c.cause || !strings.Contains(in.Title, c.title) || in.Class != cause.ClassOf(c.cause) || in.InstanceID == "" {
				t.Errorf("%+v", in)
			}
			if len(in.Suggestions) == 0 || in.Suggestions[0].Fix != c.first {
				t.Errorf("suggested: %+v", in.Suggestions)
			}
			printed := false
			for _, e := range in.Evidence {
				printed = printed || strings.Contains(e.Text, c.line)
			}
			if !printed {
				t.Errorf("what was printed is no evidence: %+v", in.Evidence)
			}
			// The same again is counted, and not a second error.
			w.passes(time.Second)
			w.backsOff(s, 1)
			if list = w.recorded(); len(list) != 1 || list[0].Count != 2 {
				t.Errorf("after the second time: %+v", list)
			}
		})
	}
}

// A dependency that does not run is the cause, before all that the agent says.
func TestADependencyThatDoesNotRunIsNamed(t *testing.T) {
	w, s := onSite(t)
	editor := w.Editor.(*agent.Service)
	if _, _, err := editor.Create(w.as(), agent.Spec{Name: "store", Command: "/bin/store"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := editor.Patch(w.as(), w.a.ID, 0, map[string]any{"dependencies": []any{"store"}}, ""); err != nil {
		t.Fatal(err)
	}
	w.runs(s, 3)
	s.lines = []string{"dial tcp 127.0.0.1:9002: connect: connection refused"}
	w.backsOff(s, 1)
	list := w.recorded()
	if len(list) != 1 || list[0].Cause != cause.MissingDependency || list[0].Class != cause.Dependency || list[0].Suggestions[0].Fix != cause.StartDependency ||
		list[0].Suggestions[0].Parameters["agent"] != "store" {
		t.Fatalf("%d errors, the first %+v", len(list), list[0])
	}
}

// What is used up is seen before anything fails, and is over when it is not used
// up any more.
func TestWhatIsUsedUpIsAnErrorUntilItIsNot(t *testing.T) {
	w, s := onSite(t)
	w.runs(s, 1)
	for i, open := range []int{100, 300, 600, 850, 900} {
		s.usage = fleet.Usage{OpenFiles: open, FileLimit: 1000}
		w.passes(3 * time.Second)
		if _, err := w.Sample(w.as()); err != nil {
			t.Fatal(err)
		}
		if n := len(w.recorded()); i < 3 && n != 0 {
			t.Fatalf("with %d files: %d errors", open, n)
		}
	}
	list := w.recorded()
	if len(list) != 1 || list[0].Cause != cause.FDLeak || list[0].Source != recovery.FromMetric || !strings.Contains(list[0].Summary, "of the 1000") {
		t.Fatalf("%+v", list)
	}
	if err := w.Review(w.as()); err != nil || w.recorded()[0].State != recovery.Open {
		t.Fatalf("while they are open: %+v, %v", w.recorded()[0], err)
	}
	s.usage.OpenFiles = 20
	for range 4 {
		w.passes(3 * time.Second)
		if _, err := w.Sample(w.as()); err != nil {
			t.Fatal(err)
		}
		if err := w.Review(w.as()); err != nil {
			t.Fatal(err)
		}
	}
	if in := w.recorded()[0]; in.State != recovery.Recovered || in.RecoveredAt == nil || in.Note == "" {
		t.Errorf("when they are closed: %+v", in)
	}
}

// A backlog that lasts is an error of the agent that does not keep up.
func TestABacklogThatLastsIsAnError(t *testing.T) {
	w, s := onSite(t)
	w.runs(s, 1)
	for i := range 12 {
		s.stats = queue.Stats{Pending: 100 + 20*i, InFlight: 1, Consumers: 1, Oldest: w.clock.Add(-time.Minute)}
		w.passes(3 * time.Second)
		if _, err := w.Sample(w.as()); err != nil {
			t.Fatal(err)
		}
	}
	list := w.recorded()
	if len(list) != 1 || list[0].Cause != cause.QueueBacklog || list[0].Source != recovery.FromQueue {
		t.Fatalf("%+v", list)
	}
}

// What ends without anybody doing something, or because of what somebody did, is
// told apart.
func TestErrorsEndWithWhatTheyAreAbout(t *testing.T) {
	w, s := onSite(t)
	w.runs(s, 1)
	s.lines = []string{"bye"}
	w.backsOff(s, 1)
	s.lines = nil
	in := &s.instances[w.a.ID][0]
	in.State, in.StartedAt = fleet.InstanceRunning, w.clock
	for range 6 {
		w.passes(5 * time.Second)
		if err := w.Review(w.as()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.recorded()[0]; got.State != recovery.Recovered || got.Note != "it runs well again" {
		t.Fatalf("well by itself: %+v", got)
	}
	w.passes(time.Minute)
	w.backsOff(s, 1)
	a, err := w.Agents.Get(w.as(), w.a.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.passes(time.Second)
	a.State, a.UpdatedAt = agent.Stopped, w.clock
	if err := w.Agents.Save(w.as(), a); err != nil {
		t.Fatal(err)
	}
	if err := w.Review(w.as()); err != nil {
		t.Fatal(err)
	}
	if got := w.recorded()[0]; got.State != recovery.Dismissed || !strings.Contains(got.Note, "STOPPED") {
		t.Errorf("stopped by somebody: %+v", got)
	}
}
