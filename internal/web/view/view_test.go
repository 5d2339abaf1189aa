package view_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// narrow makes the narrow space of what is got comparable to a typed one.
func narrow(s string) string { return strings.ReplaceAll(s, "\u202f", " ") }

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{view.Count(0), "0"}, {view.Count(-7), "-7"}, {view.Count(9999), "9999"}, {view.Count(12345), "12 345"}, {view.Count(-1234567), "-1 234 567"},
		{view.Number(0), "0"}, {view.Number(0.0004), "<0.001"}, {view.Number(0.034), "0.034"}, {view.Number(1.25), "1.25"}, {view.Number(12.54), "12.5"},
		{view.Number(340.4), "340"}, {view.Number(9999.4), "9999"}, {view.Number(12345), "12.3k"}, {view.Number(4.5e6), "4.5M"}, {view.Number(-2), "-2"},
		{view.Number(999_960), "1M"}, {view.Number(7e9), "7G"}, {view.Number(math.NaN()), "–"}, {view.Number(math.Inf(1)), "–"}, {view.Number(0.9999), "1"},
		{view.Percent(0), "0 %"}, {view.Percent(0.034), "3.4 %"}, {view.Percent(0.0001), "<0.1 %"}, {view.Percent(0.5), "50 %"}, {view.Percent(1), "100 %"},
		{view.Percent(0.9999), "99.9 %"}, {view.Percent(0.12345), "12 %"}, {view.Percent(math.NaN()), "–"},
		{view.Bytes(0), "0 B"}, {view.Bytes(1023), "1023 B"}, {view.Bytes(1024), "1 KiB"}, {view.Bytes(1536), "1.5 KiB"}, {view.Bytes(256 << 20), "256 MiB"},
		{view.Bytes(1<<30 - 1), "1 GiB"}, {view.Bytes(math.MaxInt64), "8 EiB"}, {view.Bytes(-2048), "-2 KiB"}, {view.Bytes(math.MinInt64), "-8 EiB"},
		{view.Money(0), "$0.00"}, {view.Money(0.0042), "$0.0042"}, {view.Money(3.2), "$3.20"}, {view.Money(1234.4), "$1234"}, {view.Money(12345), "$12 345"},
		{view.Money(0.00001), "<$0.0001"}, {view.Money(-2), "-$2.00"}, {view.Money(math.Inf(1)), "–"}, {view.Money(999.999), "$1000"},
		{view.Duration(0), "0 s"}, {view.Duration(time.Microsecond), "<1 ms"}, {view.Duration(250 * time.Millisecond), "250 ms"},
		{view.Duration(1490 * time.Millisecond), "1.4 s"}, {view.Duration(42 * time.Second), "42 s"}, {view.Duration(185 * time.Second), "3 min 5 s"},
		{view.Duration(3 * time.Minute), "3 min"}, {view.Duration(130 * time.Minute), "2 h 10 min"}, {view.Duration(99 * time.Hour), "4 d 3 h"},
		{view.Duration(-time.Minute), "-1 min"}, {view.Seconds(1.4), "1.4 s"}, {view.Seconds(math.NaN()), "–"}, {view.Seconds(1e300), "–"},
		{view.Words("rolled_back"), "Rolled back"}, {view.Words("RUNNING"), "Running"}, {view.Words(""), ""},
		{view.Actor("user:ana@example.com/12ab"), "ana@example.com"}, {view.Actor("token:ci bot/12ab"), "the token ci bot"}, {view.Actor("system"), "the portal"},
		{view.Actor("session:x"), "somebody signed in by a one-time link"}, {view.Actor("agent:cache"), "cache"}, {view.Actor("?\u202e"), "?\ufffd"},
		{view.Kind("agent.start"), "Start"}, {view.Kind("bulk"), "Bulk"}, {view.Doing(agent.Stop), "Stopping"},
	} {
		if narrow(c.got) != c.want {
			t.Errorf("got %q, want %q", narrow(c.got), c.want)
		}
	}
}

// is compares one cell.
func is(t *testing.T, r view.Row, name, text, status string) {
	t.Helper()
	if c, ok := r[name]; !ok || narrow(c.Text) != text || c.Status != status {
		t.Errorf("%s is %+v, want %q %q", name, c, text, status)
	}
}

func TestRowOfAnAgent(t *testing.T) {
	changed := time.Date(2026, 3, 1, 12, 0, 5, 0, time.UTC)
	a := view.Agent{Agent: &agent.Agent{
		ID: "cache", Spec: agent.Spec{Name: "cache", DisplayName: "The Cache", Version: "1.2.3", Replicas: 3},
		State: agent.Running, Health: agent.HealthDegraded, HealthReason: "1 of 3 is not ready", Revision: 4, DeployedRevision: 3,
		ActiveOperation: "op1", UpdatedAt: changed,
	}, Instances: []fleet.Instance{
		{State: fleet.InstanceRunning, Ready: new(true), Restarts: 2}, {State: fleet.InstanceRunning, Ready: new(false)}, {State: fleet.InstanceBackoff, Restarts: 1},
	}, Operation: &operation.Operation{ID: "op1", Kind: "agent.restart", State: operation.Running, Completed: 1, Total: 4}}
	r := a.Row()
	is(t, r, "name", "The Cache", "")
	is(t, r, "state", "Running", "running")
	is(t, r, "health", "Degraded", "degraded")
	is(t, r, "instances", "1/3", "partial")
	is(t, r, "restarts", "3", "some")
	is(t, r, "version", "1.2.3", "")
	is(t, r, "revision", "4", "outdated")
	is(t, r, "operation", "Restarting", "busy")
	is(t, r, "progress", "1/4", "")
	is(t, r, "actions", "", "")
	is(t, r, "updated", "1 Mar 12:00", "")
	if c := r["health"]; c.Hint != "1 of 3 is not ready" {
		t.Errorf("health says %q", c.Hint)
	}
	if c := r["instances"]; !strings.Contains(c.Hint, "1 waiting to restart") {
		t.Errorf("instances say %q", c.Hint)
	}
	if c := r["operation"]; c.Href != "/operations/op1" || c.Hint != "1 of 4 steps done" {
		t.Errorf("operation is %+v", c)
	}
	if c := r["progress"]; c.Share == nil || *c.Share != 0.25 || !r["updated"].At.Equal(changed) {
		t.Errorf("progress %+v, updated %+v", c, r["updated"])
	}

	a.ActiveOperation, a.Operation, a.Instances, a.State = "", nil, nil, agent.Errored
	a.Failure = &agent.Failure{Reason: "it crashed 5 times", Remedy: "Look at its log."}
	r = a.Row()
	is(t, r, "operation", "", "idle")
	is(t, r, "instances", "0/3", "empty")
	is(t, r, "restarts", "–", "none")
	is(t, r, "actions", "", "deploy start stop restart revoke")
	if c := r["state"]; c.Hint != "it crashed 5 times. Look at its log." {
		t.Errorf("state says %q", c.Hint)
	}
	a.State, a.Spec.Version = agent.Draft, ""
	r = a.Row()
	is(t, r, "instances", "–", "none")
	is(t, r, "version", "–", "none")
}

func TestRowOfAnOperation(t *testing.T) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	op := view.Operation{Operation: &operation.Operation{
		Kind: "agent.start", State: operation.Failed, Request: "cancel", Completed: 1, Total: 3, StartedAt: &begun, EndedAt: new(begun.Add(90 * time.Second)),
		Problem: &operation.Problem{What: "Not started", Why: "the port is taken", Remedy: "Free it."},
		Steps: []operation.Step{{Name: "launch", State: operation.StepDone, Attempts: 2, Detail: "started"},
			{Name: "ready", State: operation.StepFailed, Problem: &operation.Problem{What: "Not ready"}}, {Name: "route", State: operation.StepPending}},
	}}
	r := op.Row()
	is(t, r, "state", "Failed", "failed")
	is(t, r, "request", "", "")
	is(t, r, "progress", "1/3", "")
	is(t, r, "problem", "Not started: the port is taken", "error")
	is(t, r, "took", "1 min 30 s", "")
	is(t, r, "step-0", "Done", "done")
	is(t, r, "step-0-detail", "started", "")
	is(t, r, "step-1-detail", "Not ready", "error")
	is(t, r, "step-2", "Pending", "pending")
	op.State, op.Steps[1].State = operation.Running, operation.StepRunning
	r = op.Row()
	is(t, r, "step", "Ready", "running")
	is(t, r, "request", "Cancel asked for", "cancel")
}

func TestRowOfABulkOperation(t *testing.T) {
	r := view.Bulk{Bulk: &bulk.Bulk{State: operation.Running, Total: 4, Completed: 2, Succeeded: 1, Failed: 1, Items: []bulk.Item{
		{AgentID: "a", State: bulk.ItemSucceeded, Note: "already RUNNING"}, {AgentID: "b", State: bulk.ItemFailed, Problem: &operation.Problem{What: "No port"}},
		{AgentID: "c", State: bulk.ItemRunning, Action: agent.Deploy}, {AgentID: "d", State: bulk.ItemPending},
	}}}.Row()
	is(t, r, "progress", "2/4", "")
	is(t, r, "failed", "1", "error")
	is(t, r, "running", "1", "busy")
	is(t, r, "skipped", "0", "none")
	is(t, r, "item-a", "Succeeded", "succeeded")
	is(t, r, "note-a", "already RUNNING", "")
	is(t, r, "item-b", "Failed", "failed")
	is(t, r, "note-b", "No port", "error")
	is(t, r, "item-c", "Deploying", "running")
	is(t, r, "completed", "2 of 4", "")
}

// What was cancelled is not shown as done, nor what was taken back as cancelled.
func TestCancelledPartsOfABulkOperationAreNotDone(t *testing.T) {
	r := view.Bulk{Bulk: &bulk.Bulk{State: operation.Cancelled, Total: 4, Completed: 4, Succeeded: 1, Items: []bulk.Item{
		{AgentID: "a", State: bulk.ItemSucceeded}, {AgentID: "b", State: bulk.ItemRolledBack}, {AgentID: "c", State: bulk.ItemCancelled}, {AgentID: "d", State: bulk.ItemCancelled},
	}}}.Row()
	is(t, r, "progress", "2/4", "")
	is(t, r, "completed", "2 of 4", "")
	is(t, r, "succeeded", "1", "success")
	is(t, r, "cancelled", "2", "warning")
	is(t, r, "back", "1", "warning")
}

func TestRowOfTheFleet(t *testing.T) {
	r := view.Summary{States: map[agent.State]int{agent.Running: 3, agent.Revoked: 2}, Healths: map[agent.Health]int{agent.HealthHealthy: 3}}.Row()
	is(t, r, "total", "3", "")
	is(t, r, "state-running", "3", "running")
	is(t, r, "state-draft", "0", "none")
	is(t, r, "state-revoked", "2", "revoked")
	is(t, r, "health-healthy", "3", "healthy")
	is(t, r, "health-degraded", "0", "none")
}

func TestHostileTextIsHarmless(t *testing.T) {
	hostile := "\x1b[31mred\x00\u202egnp.exe\r\n\x9b" + string([]byte{0xff, 0xfe}) + strings.Repeat("A", 1<<20)
	r := view.Agent{Agent: &agent.Agent{ID: "a", Spec: agent.Spec{Name: hostile}, HealthReason: hostile}}.Row()
	for name, c := range r {
		for _, s := range []string{c.Text, c.Hint} {
			if strings.ContainsAny(s, "\x1b\x00\u202e\r\n\u009b") || !utf8.ValidString(s) || utf8.RuneCountInString(s) > 1001 {
				t.Errorf("%s holds %.80q (%d bytes)", name, s, len(s))
			}
		}
	}
	if !strings.HasSuffix(r["name"].Text, "…") || !strings.Contains(r["name"].Text, "red") {
		t.Errorf("name is %.40q", r["name"].Text)
	}
	if got := view.Plain("größe 数\u202f%", 20); got != "größe 数\u202f%" {
		t.Errorf("ordinary text became %q", got)
	}
}

func TestCellsAsJSON(t *testing.T) {
	got := view.Row{"x": {Text: "<b>", Status: "s", Hint: "h"}, "none": {}, "bad": {Text: "b", Share: new(math.NaN())}, "time": view.When(time.Unix(0, 1000))}.Encode()
	for name, want := range map[string]string{"x": `{"t":"\u003cb\u003e","s":"s","h":"h"}`, "none": `{}`, "bad": `{"t":"b"}`, "time": `{"at":"1970-01-01T00:00:00.000001Z"}`} {
		if string(got[name]) != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	var c view.Cell
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.FixedZone("x", 3600))
	body, _ := json.Marshal(view.When(at))
	if err := json.Unmarshal(body, &c); err != nil || !c.At.Equal(at) || !strings.Contains(string(body), `"at":"2026-03-01T11:00:00.123456Z"`) {
		t.Errorf("a time is %s, %v", body, err)
	}
}

func TestFiguresOfAnAgent(t *testing.T) {
	a := view.Agent{Agent: &agent.Agent{ID: "a"}, Figures: &metrics.AgentFigures{Status: metrics.Partly, Instances: 2, Reporting: 1, Figures: metrics.Figures{
		TasksPerMinute: new(12.5), ErrorRate: new(0.034), P95: &metrics.Quantile{Seconds: 10, AtLeast: true}, Memory: new(float64(64 << 20)), CostPerHour: new(0.25),
		Backlog: &metrics.Backlog{Waiting: 1200, InFlight: 3},
	}}}
	r := a.Row()
	is(t, r, "tasks", "12.5", "")
	is(t, r, "errors", "3.4 %", "warning")
	is(t, r, "p95", "> 10 s", "")
	is(t, r, "memory", "64 MiB", "")
	is(t, r, "cpu", "–", "none")
	is(t, r, "cost", "$0.25", "")
	is(t, r, "queue", "1200", "waiting")
	is(t, r, "dead", "0", "none")
	if r["tasks"].Hint != "1 of 2 instances report" || r["cpu"].Hint != "It does not report this" {
		t.Errorf("tasks %+v, cpu %+v", r["tasks"], r["cpu"])
	}
	a.Figures = &metrics.AgentFigures{Status: metrics.Silent, Reason: "it does not answer"}
	if c := a.Row()["tasks"]; c.Text != view.None || c.Hint != "It reported nothing lately. it does not answer." {
		t.Errorf("a silent agent: %+v", c)
	}
	a.Figures = &metrics.AgentFigures{Status: metrics.Reporting, Figures: metrics.Figures{TasksPerMinute: new(0.0)}}
	if c := a.Row()["errors"]; c.Text != view.None || c.Hint != "No task ended" {
		t.Errorf("without tasks: %+v", c)
	}
}

func TestFiguresOfTheFleet(t *testing.T) {
	r := view.Summary{Operations: 2, Figures: &metrics.FleetFigures{Coverage: metrics.Coverage{Agents: 5, Reporting: 3}, Figures: metrics.Figures{TasksPerMinute: new(7.0)}}}.Row()
	is(t, r, "operations", "2", "busy")
	is(t, r, "tasks", "7", "")
	is(t, r, "reporting", "3/5", "")
	is(t, r, "cost", "–", "none")
	if _, ok := (view.Summary{}).Row()["tasks"]; ok {
		t.Error("figures are shown that nobody asked for")
	}
}

func TestLeft(t *testing.T) {
	took := []time.Duration{9 * time.Second, time.Second, 5 * time.Second}
	for already, want := range map[time.Duration]string{time.Second: "about 4\u202fs left", 7 * time.Second: "longer than the usual 5\u202fs"} {
		if got := view.Left(took, already); got != want {
			t.Errorf("after %s: %q, want %q", already, got, want)
		}
	}
	if got := view.Left(took[:2], 0); got != "" {
		t.Errorf("of two earlier ones: %q", got)
	}
}

func TestRemainingOfABulkOperation(t *testing.T) {
	begin := time.Date(2026, 5, 4, 3, 2, 0, 0, time.UTC)
	ended := begin.Add(10 * time.Second)
	b := &bulk.Bulk{State: operation.Running, Total: 5, Completed: 2, CreatedAt: begin, Items: []bulk.Item{{AgentID: "a", State: bulk.ItemSucceeded, EndedAt: &ended}, {AgentID: "b", State: bulk.ItemRunning}}}
	if got := (view.Bulk{Bulk: b}).Row()["remaining"].Text; got != "about 15\u202fs left" {
		t.Errorf("%q", got)
	}
	b.Completed = 0
	if got := (view.Bulk{Bulk: b}).Row()["remaining"].Text; got != "" {
		t.Errorf("before any agent is done: %q", got)
	}
}
