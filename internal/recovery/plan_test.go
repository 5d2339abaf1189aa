package recovery_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// machine is one on which port 8081 is in use by another program.
type machine struct{}

func (machine) HolderOf(port int) (pid int, command, agentID string, ok bool) {
	return 4711, "nginx", "", port == 8081
}
func (machine) FreePort(near int) int { return near + 10 }
func (machine) FindCommand(_, command, _ string) (there bool, near []string) {
	return command == "/bin/healer", nil
}
func (machine) DiskFree() int64                            { return 1 << 30 }
func (machine) Disposable(string) ([]string, int64, error) { return []string{"a", "b"}, 3 << 20, nil }
func (machine) FreeDisk(string) (freed int64, err error)   { return 3 << 20, nil }

// treated is an agent with something to change, on that machine.
func treated(t *testing.T) *ward {
	t.Helper()
	w := newWard(t)
	g := ground{fleettest.NewFake()}
	w.Fleet, w.Queues, w.Probes, w.Machine = g, g, w.store.Health(), machine{}
	patch := map[string]any{"args": []any{"--listen=:8080"}, "env": map[string]any{"URL": "http://localhost:8080/", "BUILD": "18080"},
		"resources": map[string]any{"memory": "128Mi", "cpu": 1.0}}
	a, _, err := w.Editor.Patch(w.as(), w.a.ID, 0, patch, "")
	if err != nil {
		t.Fatal(err)
	}
	w.a = a
	return w
}

func TestFixesSayWhatTheyWouldChange(t *testing.T) {
	w := treated(t)
	in := w.falls(cause.Restart)
	for _, c := range []struct {
		fix   cause.Fix
		with  map[string]any
		wants string // changed fields with their new values, or what is wrong
	}{
		{cause.ChangePort, map[string]any{"from": 8080, "to": 9090}, "--listen=:9090 http://localhost:9090/"},
		{cause.ChangePort, map[string]any{"from": "8080"}, "--listen=:8090 http://localhost:8090/"},
		{cause.ChangePort, map[string]any{"from": 8080, "to": 8081}, "parameters.to: is in use by nginx"},
		{cause.ChangePort, map[string]any{"from": 8080, "to": 70000}, "parameters.to: must be another port"},
		{cause.ChangePort, map[string]any{"from": 1234, "to": 9090}, "parameters.from: is not a port"},
		{cause.ChangePort, nil, "parameters.from: must be the port"},
		{cause.RaiseMemory, map[string]any{"memory": "256Mi"}, "256Mi"},
		{cause.RaiseMemory, map[string]any{"memory": "64Mi"}, "parameters.memory: must be a size above 128Mi"},
		{cause.RaiseCPU, map[string]any{"cpu": 2.5}, "2.5"},
		{cause.RaiseCPU, map[string]any{"cpu": 1}, "parameters.cpu: must be a number of cores above 1"},
		{cause.ScaleOut, map[string]any{"replicas": 3}, "3"},
		{cause.ScaleOut, map[string]any{"replicas": 1}, "parameters.replicas: must be a number above 1"},
		{cause.SetVariable, map[string]any{"name": "TOKEN", "value": "x"}, "x"},
		{cause.SetVariable, map[string]any{"name": "1X", "value": "x"}, "parameters.name: must be the name"},
		{cause.SetVariable, map[string]any{"name": "TOKEN"}, "parameters.value: must be the value"},
		{cause.SetVariable, map[string]any{"name": "TOKEN", "from_revision": 1}, "parameters.from_revision: is a revision that does not set"},
		{cause.RollBack, map[string]any{"revision": 1}, ""},
		{cause.RollBack, map[string]any{"revision": 2}, "parameters.revision: is not different"},
		{cause.CorrectCommand, map[string]any{"command": "/bin/healer"}, "/bin/healer"},
		{cause.CorrectCommand, map[string]any{"command": "/bin/heeler"}, "parameters.command: is not there"},
		{cause.RaiseLimit, map[string]any{"open_files": 4096}, "4096"},
		{cause.RaiseLimit, map[string]any{"open_files": 1}, "parameters.open_files: must be"},
		{cause.RestartWithBackoff, nil, "1s 10"},
	} {
		t.Run(fmt.Sprint(c.fix, c.with), func(t *testing.T) {
			p, err := w.Preview(w.as(), in.ID, c.fix, c.with)
			if f := fault.As(err); f != nil {
				if got := fmt.Sprintf("%s: %s", f.Fields[0].Path, f.Fields[0].Message); f.Kind != fault.Invalid || !strings.HasPrefix(got, c.wants) || c.wants == "" {
					t.Errorf("%s: %s", f.Kind, got)
				}
				return
			}
			if err != nil || len(p.Changes) == 0 || p.Undo == "" {
				t.Fatalf("%+v, %v", p, err)
			}
			for _, want := range strings.Fields(c.wants) {
				if !strings.Contains(fmt.Sprint(p.Changes), want) {
					t.Errorf("nothing becomes %s: %v", want, p.Changes)
				}
			}
			if strings.Contains(fmt.Sprint(p.Changes), "BUILD") && c.fix != cause.RollBack {
				t.Errorf("a number that only holds the port's digits is changed: %v", p.Changes)
			}
		})
	}
	if a, err := w.Agents.Get(w.as(), w.a.ID); err != nil || a.Revision != w.a.Revision || len(w.ops.list) != 0 {
		t.Errorf("looking changed something: %+v, %v", a, err)
	}
}

func TestWhatIsSuggestedAndTakenMeanwhileIsReplaced(t *testing.T) {
	w := treated(t)
	in := w.falls()
	in = w.stored(in)
	in.Suggestions = []cause.Suggestion{{Fix: cause.ChangePort, Title: "Use port 8081", OneClick: true, Parameters: map[string]any{"from": 8080, "to": 8081}}}
	if err := w.Store.UpdateIncident(w.as(), in); err != nil {
		t.Fatal(err)
	}
	p, err := w.Preview(w.as(), in.ID, cause.ChangePort, nil)
	if err != nil || p.Title != "Use port 8091 in place of 8080" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestAFixCanBeTakenBackForAWhile(t *testing.T) {
	w := treated(t)
	in := w.falls()
	op, err := w.Fix(w.as(), in.ID, cause.RaiseMemory, map[string]any{"memory": "256Mi"})
	if err != nil {
		t.Fatal(err)
	}
	w.ends(operation.Succeeded)
	if op.Undo == nil || !op.Undo.Until.Equal(w.clock.Add(time.Hour)) {
		t.Fatalf("undo %+v", op.Undo)
	}
	by, err := recovery.TakeBack(w.Service, w.as(), op)
	if err != nil || by.Kind != recovery.KindUndo || by.AgentID != w.a.ID || !strings.Contains(string(by.Input), `"memory":"128Mi"`) {
		t.Errorf("taken back by %+v, %v", by, err)
	}
	// What has no other specification can't be taken back.
	other := w.falls(cause.Restart)
	if op, err = w.Fix(w.as(), other.ID, cause.Restart, nil); err != nil {
		t.Fatal(err)
	}
	w.ends(operation.Succeeded)
	if op.Undo != nil {
		t.Errorf("a restart can be undone: %+v", op.Undo)
	}
}

func TestAFixOfWhatChangedMeanwhileIsRefused(t *testing.T) {
	w := treated(t)
	in := w.falls()
	with := map[string]any{"memory": "256Mi"}
	if _, err := w.Preview(w.as(), in.ID, cause.RaiseMemory, with); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Editor.Patch(w.as(), w.a.ID, 0, map[string]any{"resources": map[string]any{"memory": "1Gi"}}, "by somebody else"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Fix(w.as(), in.ID, cause.RaiseMemory, with); !fault.Is(err, fault.Invalid) {
		t.Errorf("memory was raised already: %v", err)
	}
	a, err := w.Agents.Get(w.as(), w.a.ID)
	if err != nil {
		t.Fatal(err)
	}
	a.State = agent.Revoked
	if err := w.store.Agents().Save(w.as(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Fix(w.as(), in.ID, cause.Restart, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("the agent was revoked: %v", err)
	}
	if len(w.ops.list) != 0 {
		t.Errorf("begun: %s", w.kinds())
	}
}
