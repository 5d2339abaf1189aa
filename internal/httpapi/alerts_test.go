package httpapi_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/rulefile"
)

// newAlerts makes the alerts of the portal. Metrics say what metricsSay says,
// and receivers named "deaf" are never reached.
func newAlerts(w *world, rec *audit.Recorder, newID func() string, log *slog.Logger) *alert.Service {
	w.t.Helper()
	st := w.store
	s := &alert.Service{Stores: st.Alerts(), Tx: st, Events: st.Events(), Audit: rec, Language: rulefile.Language{}, Querier: steadyMetrics{}, Sender: ears{},
		Now: w.clock.Now, NewID: newID, Log: log, PublicURL: "https://portal.example.com"}
	if err := s.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

// steadyMetrics has one series, "load", of one agent, which is 3 at all times.
type steadyMetrics struct{}

func (steadyMetrics) Instant(context.Context, string, time.Time) (metrics.Result, error) {
	return metrics.Result{Type: metrics.Vector}, nil
}

func (steadyMetrics) Range(_ context.Context, expr string, r metrics.Range) (metrics.Result, error) {
	out := metrics.Result{Type: metrics.Matrix}
	if expr == "load" {
		p := metrics.Points{Labels: map[string]string{"agent": "one"}}
		for at := r.Start; !at.After(r.End); at = at.Add(r.Step) {
			p.Points = append(p.Points, metrics.Point{At: at, Value: 3})
		}
		out.Series = append(out.Series, p)
	}
	return out, nil
}

type ears struct{}

func (ears) Check(alert.Receiver) error { return nil }

func (ears) Send(_ context.Context, r alert.Receiver, _ alert.Message, _ string) error {
	if r.Name == "deaf" {
		return fault.New(fault.Unavailable, "alert.unreachable", "The receiver was not reached")
	}
	return nil
}

// errored lets the alerts hear that an agent became ERRORED.
func (w *world) errored(id string) {
	w.t.Helper()
	e := event.New(event.AgentStateChanged, id, "system", w.clock.Now(), event.StateChanged{AgentID: id, OldState: "RUNNING", NewState: "ERRORED", Reason: "it broke"},
		event.RoomAgents, event.RoomAgent(id))
	if err := w.store.Events().Append(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
	if err := w.alerts.CatchUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func TestAlertsAreSeenTakenOnAndSilenced(t *testing.T) {
	w := newWorld(t)
	w.running("One")
	w.errored("one")
	w.errored("two")
	list := items(t, w.do("GET", api+"/alerts?agent=ONE&state=firing", nil))
	if len(list) != 1 || list[0]["name"] != "AgentErrored" || list[0]["severity"] != "critical" || list[0]["agent_id"] != "one" {
		t.Fatalf("alerts %v", list)
	}
	all := w.do("GET", api+"/alerts?limit=1", nil).want(t, 200).JSON(t)
	if all["next_cursor"] == nil || len(all["items"].([]any)) != 1 {
		t.Errorf("page %v", all)
	}
	next := items(t, w.do("GET", api+"/alerts?limit=1&cursor="+all["next_cursor"].(string), nil))
	if len(next) != 1 || next[0]["id"] == all["items"].([]any)[0].(map[string]any)["id"] {
		t.Errorf("next page %v", next)
	}
	w.do("GET", api+"/alerts?state=burning", nil).want(t, 400)
	w.do("GET", api+"/alerts?cursor=x", nil).want(t, 400)

	path := api + "/alerts/" + list[0]["id"].(string)
	w.do("POST", path+"/acknowledge", `{"reason":"mine"}`, w.as(auth.Viewer)...).want(t, 403)
	w.do("POST", path+"/acknowledge", `{"reason":""}`, w.as(auth.Operator)...).want(t, 400)
	got := w.do("POST", path+"/acknowledge", `{"reason":"mine"}`, w.as(auth.Operator)...).want(t, 200).JSON(t)
	if got["state"] != "acknowledged" || len(got["history"].([]any)) != 2 {
		t.Errorf("acknowledged %v", got)
	}
	if ack := got["acknowledgement"].(map[string]any); ack["reason"] != "mine" || !strings.HasPrefix(ack["by"].(string), "token:operator") {
		t.Errorf("acknowledgement %v", ack)
	}
	w.do("POST", api+"/alerts/nobody/acknowledge", `{"reason":"x"}`).want(t, 404)

	r := w.do("POST", api+"/alerts/silences", `{"matchers":[{"label":"agent","value":"(","regexp":true}],"seconds":3600,"reason":"upgrade"}`).want(t, 400)
	if r.code(t) != "alert.silence_invalid" || !strings.Contains(r.Body, "matchers[0].value") {
		t.Errorf("refused %s", r.Body)
	}
	w.do("POST", api+"/alerts/silences", `{"matchers":[{"label":"agent","value":"two"}],"reason":"both"}`).want(t, 400)
	s := w.do("POST", api+"/alerts/silences", `{"matchers":[{"label":"agent","value":"two"}],"seconds":3600,"reason":"upgrade"}`).want(t, 201).JSON(t)
	if s["state"] != "active" {
		t.Errorf("silence %v", s)
	}
	if list := items(t, w.do("GET", api+"/alerts?agent=two", nil)); list[0]["state"] != "silenced" {
		t.Errorf("alerts %v", list)
	}
	one := api + "/alerts/silences/" + s["id"].(string)
	w.do("PUT", one, `{"matchers":[{"label":"agent","value":"two"}],"seconds":7200,"reason":"longer"}`).want(t, 200)
	w.do("DELETE", one, nil).want(t, 204)
	if got := w.do("GET", one, nil).want(t, 200).JSON(t); got["state"] != "expired" || got["reason"] != "longer" {
		t.Errorf("silence %v", got)
	}
	if len(items(t, w.do("GET", api+"/alerts/silences", nil))) != 0 || len(items(t, w.do("GET", api+"/alerts/silences?all=true", nil))) != 1 {
		t.Error("ended silences")
	}
}

func TestRulesAreSeenAndChanged(t *testing.T) {
	w := newWorld(t)
	all := w.do("GET", api+"/alerts/rules?limit=3", nil).want(t, 200).JSON(t)
	if len(all["items"].([]any)) != 3 || all["next_cursor"] == nil || len(all["files"].([]any)) != 1 {
		t.Errorf("rules %v", all)
	}
	w.do("GET", api+"/alerts/rules?cursor=x", nil).want(t, 400)
	var id string
	for _, r := range items(t, w.do("GET", api+"/alerts/rules", nil)) {
		if r["name"] == "AgentErrorRate" && r["severity"] == "warning" {
			id = r["id"].(string)
		}
	}
	rule := api + "/alerts/rules/" + id
	w.do("PUT", rule, `{"threshold":0.1}`, w.as(auth.Operator)...).want(t, 403)
	if r := w.do("PUT", rule, `{"threshold":0.9}`).want(t, 400); !strings.Contains(r.Body, "after critical") {
		t.Errorf("refused %s", r.Body)
	}
	got := w.do("PUT", rule, `{"threshold":0.1,"for_seconds":60,"reason":"noisy"}`).want(t, 200).JSON(t)
	if got["threshold"] != 0.1 || got["original_threshold"] != 0.05 || got["for_seconds"] != 60.0 {
		t.Errorf("rule %v", got)
	}
	if got := w.do("GET", rule, nil).want(t, 200).JSON(t); got["changed"].(map[string]any)["reason"] != "noisy" {
		t.Errorf("rule %v", got)
	}
	w.do("GET", api+"/alerts/rules/nobody", nil).want(t, 404)

	file := api + "/alerts/rules/files/mine.yml"
	bad := map[string]string{"content": "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(\n  - alert: B\n    expr: \"\"\n"}
	r := w.do("PUT", file, bad).want(t, 400)
	for _, want := range []string{`rule 1 \"A\", line 5`, `rule 2 \"B\"`} {
		if !strings.Contains(r.Body, want) {
			t.Errorf("%s is not in %s", want, r.Body)
		}
	}
	w.do("POST", api+"/alerts/rules/validate", bad).want(t, 400)
	good := map[string]string{"content": "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: load > 2\n"}
	w.do("POST", api+"/alerts/rules/validate", good, w.as(auth.Operator)...).want(t, 200)
	w.do("GET", file, nil).want(t, 404)
	w.do("PUT", file, good).want(t, 200)
	if got := w.do("GET", file, nil, w.as(auth.Viewer)...).want(t, 200).JSON(t); got["content"] != good["content"] {
		t.Errorf("file %v", got)
	}
	w.do("DELETE", file, nil).want(t, 204)
	w.do("DELETE", file, nil).want(t, 404)

	p := w.do("POST", api+"/alerts/rules/preview", `{"expression":"load > 2","for_seconds":60,"hours":1}`).want(t, 200).JSON(t)
	if p["alerts"] != 1.0 || p["threshold"] != 2.0 || len(p["list"].([]any)[0].(map[string]any)["points"].([]any)) < 200 {
		t.Errorf("preview %v", p)
	}
	w.do("POST", api+"/alerts/rules/preview", `{"expression":"load >"}`).want(t, 400)
}

func TestReceiversAreKeptAndTested(t *testing.T) {
	w := newWorld(t)
	body := map[string]any{"name": "ops", "kind": "webhook", "url": "https://example.com/hook", "secret": "plain text"}
	if r := w.do("POST", api+"/alerts/receivers", body).want(t, 400); strings.Contains(r.Body, "plain text") {
		t.Errorf("shows the secret: %s", r.Body)
	}
	body["secret"] = "file:hook"
	w.do("POST", api+"/alerts/receivers", body, w.as(auth.Operator)...).want(t, 403)
	got := w.do("POST", api+"/alerts/receivers", body).want(t, 201).JSON(t)
	if got["group_wait_seconds"] != 10.0 || got["repeat_interval_seconds"] != 14400.0 {
		t.Errorf("receiver %v", got)
	}
	w.do("POST", api+"/alerts/receivers", body).want(t, 409)
	one := api + "/alerts/receivers/" + got["id"].(string)
	if d := w.do("POST", one+"/test", nil).want(t, 200).JSON(t); d["state"] != "delivered" {
		t.Errorf("test %v", d)
	}
	body["name"] = "deaf"
	w.do("PUT", one, body).want(t, 200)
	if d := w.do("POST", one+"/test", nil).want(t, 200).JSON(t); d["state"] != "failed" || d["error"] != "The receiver was not reached" {
		t.Errorf("test %v", d)
	}
	if list := items(t, w.do("GET", api+"/alerts/deliveries?receiver="+got["id"].(string), nil)); len(list) != 2 || list[0]["state"] != "failed" {
		t.Errorf("deliveries %v", list)
	}
	if list := items(t, w.do("GET", api+"/alerts/receivers", nil, w.as(auth.Viewer)...)); len(list) != 1 || list[0]["name"] != "deaf" {
		t.Errorf("receivers %v", list)
	}
	w.do("GET", one, nil).want(t, 200)
	w.do("DELETE", one, nil).want(t, 204)
	w.do("GET", one, nil).want(t, 404)
	entries := items(t, w.do("GET", api+"/audit?action=alert.*", nil))
	if len(entries) < 5 {
		t.Errorf("audit %v", entries)
	}
}
