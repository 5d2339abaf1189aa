package web_test

import (
	"context"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/rulefile"
)

// newAlerts makes alerts over metrics in which one agent, "busy", is over every
// threshold.
func newAlerts(h *home, rec *audit.Recorder, newID func() string, log *slog.Logger) *alert.Service {
	h.Helper()
	st := h.store
	s := &alert.Service{Stores: st.Alerts(), Tx: st, Events: st.Events(), Audit: rec, Language: rulefile.Language{}, Querier: busy{}, Sender: ears{},
		Now: time.Now, NewID: newID, Log: log, PublicURL: "https://portal.example.com"}
	if err := s.Prepare(h.Context()); err != nil {
		h.Fatal(err)
	}
	return s
}

type busy struct{}

func (busy) Instant(_ context.Context, expr string, at time.Time) (metrics.Result, error) {
	out := metrics.Result{Type: metrics.Vector}
	if strings.Contains(expr, "instance_memory_bytes") {
		out.Series = []metrics.Points{{Labels: map[string]string{"agent": "busy", "instance": "busy-0"}, Points: []metrics.Point{{At: at, Value: 0.97}}}}
	}
	return out, nil
}

func (busy) Range(_ context.Context, _ string, r metrics.Range) (metrics.Result, error) {
	p := metrics.Points{Labels: map[string]string{"agent": "busy"}}
	for at := r.Start; !at.After(r.End); at = at.Add(r.Step) {
		p.Points = append(p.Points, metrics.Point{At: at, Value: 0.9})
	}
	return metrics.Result{Type: metrics.Matrix, Series: []metrics.Points{p}}, nil
}

type ears struct{}

func (ears) Check(alert.Receiver) error { return nil }

func (ears) Send(_ context.Context, r alert.Receiver, _ alert.Message, _ string) error {
	if r.Name == "deaf" {
		return fault.New(fault.Unavailable, "alert.unreachable", "The receiver was not reached")
	}
	return nil
}

// fires lets the shipped rules about memory fire.
func (h *home) fires() alert.Alert {
	h.Helper()
	hold := time.Duration(0)
	list, _ := h.alerts.List()
	for _, r := range list {
		if r.Name == "AgentMemory" {
			if _, err := h.alerts.Tune(auth.With(h.Context(), auth.System), r.ID, alert.Tune{For: &hold}); err != nil {
				h.Fatal(err)
			}
		}
	}
	for _, g := range h.alerts.Groups() {
		h.alerts.Evaluate(h.Context(), g, time.Now())
	}
	found, _, err := h.alerts.Find(h.Context(), alert.Query{Severities: []string{alert.Critical}})
	if err != nil || len(found) != 1 {
		h.Fatalf("%d alerts, %v", len(found), err)
	}
	return found[0]
}

// says sends a form and gives the page that answers it, as text.
func (h *home) says(role auth.Role, status int, path string, fields ...string) string {
	h.Helper()
	w, err := h.ask(role, "POST", path, fields...)
	if err != nil || w.Code != status {
		h.Fatalf("POST %s: status %d, error %v: %.600s", path, w.Code, err, w.Body)
	}
	if status == http.StatusSeeOther {
		return w.Header().Get("Location")
	}
	return w.Body.String()
}

func TestAlertsAreSeenAndTakenOn(t *testing.T) {
	h := newHome(t)
	h.contains(h.page(auth.Viewer, "/alerts"), "No alert matches")
	h.has("busy", agent.Running, agent.HealthHealthy)
	a := h.fires()
	page := h.page(auth.Viewer, "/alerts")
	h.contains(page, "AgentMemory", "busy-0 uses 97% of its memory", "Critical", "Warning", "2 firing")
	h.marks(page, `data-live="alerts"`, `href="/alerts/`+a.ID+`"`)
	h.lacks(h.page(auth.Viewer, "/alerts?agent=other"), "AgentMemory")
	h.contains(h.page(auth.Viewer, "/"), "AgentMemory")

	one := "/alerts/" + a.ID
	h.lacks(h.page(auth.Viewer, one), "Acknowledge</")
	h.contains(h.page(auth.Operator, one), "Raise the limit, or look for what grows.", "Acknowledge")
	h.contains(h.says(auth.Operator, 400, one+"/acknowledge", "reason", " "), "must say what is being done")
	if to := h.says(auth.Operator, 303, one+"/acknowledge", "reason", "I raise the <limit>"); to != one+"?done=acknowledged" {
		t.Errorf("led to %s", to)
	}
	h.contains(h.page(auth.Operator, one+"?done=acknowledged"), "You have taken on the alert", "Acknowledged", "I raise the <limit>")
	h.lacks(h.page(auth.Operator, one+"?done=%3Cb%3E"), "<b>")
}

func TestSilencesAreMadeAndEnded(t *testing.T) {
	h := newHome(t)
	h.fires()
	h.contains(h.page(auth.Operator, "/alerts/silences?matchers="+url.QueryEscape(`agent="busy"`)), `agent="busy"`)
	h.lacks(h.page(auth.Viewer, "/alerts/silences"), "For how many hours")
	h.contains(h.says(auth.Operator, 400, "/alerts/silences", "matchers", "busy", "hours", "2", "reason", "x"), "is not label=")
	h.contains(h.says(auth.Operator, 400, "/alerts/silences", "matchers", `agent="busy"`, "hours", "soon", "reason", "x"), "must be a number of hours")
	h.contains(h.says(auth.Operator, 400, "/alerts/silences", "matchers", `agent="busy"`, "hours", "2", "reason", ""), "must say why")
	h.says(auth.Operator, 303, "/alerts/silences", "matchers", `agent="busy"`, "hours", "2", "reason", "upgrade")
	h.contains(h.page(auth.Viewer, "/alerts?state=silenced"), "AgentMemory", "Silenced")
	page := h.page(auth.Operator, "/alerts/silences")
	h.contains(page, "In force", "upgrade")
	list, _, err := h.alerts.ListSilences(t.Context(), true, "", 10)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	h.says(auth.Operator, 303, "/alerts/silences/"+list[0].ID+"/end")
	h.contains(h.page(auth.Operator, "/alerts/silences"), "Ended")
}

func TestRulesAreTriedAndChanged(t *testing.T) {
	h := newHome(t)
	h.contains(h.page(auth.Viewer, "/alerts/rules"), "AgentMemory", "> 0.85", "> 0.95", "AgentErrored", "platform-portal.yml", "In force")
	var id string
	list, _ := h.alerts.List()
	for _, r := range list {
		if r.Name == "AgentMemory" && r.Severity == alert.Warning {
			id = r.ID
		}
	}
	rule := "/alerts/rules/" + id
	page := h.page(auth.Viewer, rule)
	h.contains(page, "It would have fired 1 time, of 1 series.")
	h.marks(page, `<svg class="sparkline preview-picture"`, "preview-span")
	h.lacks(page, "Switch off")
	h.contains(h.page(auth.Viewer, rule+"?threshold=0.93&for_seconds=60&hours=1"), "It would not have fired, of 1 series.")
	h.contains(h.page(auth.Viewer, rule+"?hours=1"), "would have fired")
	h.contains(h.says(auth.Admin, 400, rule+"/change", "threshold", "much", "for_seconds", "0"), "must be a number")
	h.contains(h.says(auth.Admin, 400, rule+"/change", "threshold", "0.99", "for_seconds", "0"), "would come after critical")
	h.says(auth.Admin, 303, rule+"/change", "threshold", "0.93", "for_seconds", "30", "reason", "noisy", "what", "tune")
	h.contains(h.page(auth.Admin, rule), "> 0.93", "noisy", "Back to what the file says")
	h.says(auth.Admin, 303, rule+"/change", "what", "off")
	h.contains(h.page(auth.Admin, rule), "Switched off", "Switch on")
	h.says(auth.Admin, 303, rule+"/change", "what", "reset")
	h.says(auth.Admin, 303, rule+"/change", "what", "on")

	bad := "groups:\r\n- name: g\r\n  rules:\r\n  - alert: A\r\n    expr: sum(\r\n"
	h.contains(html.UnescapeString(h.says(auth.Admin, 400, "/alerts/rules", "name", "my.yml", "content", bad)), "line 5", "sum(")
	h.says(auth.Admin, 303, "/alerts/rules", "name", "my.yml", "content", strings.Replace(bad, "sum(", "x > 1", 1))
	h.contains(h.page(auth.Viewer, "/alerts/rules?file=my.yml"), "my.yml", "expr: x > 1")
	h.says(auth.Admin, 303, "/alerts/rules/files/my.yml/delete")
	if _, err := h.ask(auth.Admin, "POST", "/alerts/rules/files/my.yml/delete"); !fault.Is(err, fault.NotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestReceiversAreKeptAndTestedOnThePage(t *testing.T) {
	h := newHome(t)
	h.lacks(h.page(auth.Viewer, "/alerts/receivers"), "Add a receiver</h2>")
	h.contains(h.page(auth.Admin, "/alerts/receivers"), "Nobody is told about alerts yet", "Add a receiver")
	fields := []string{"name", "ops", "kind", "webhook", "url", "https://example.com/hook", "matchers", `severity="critical"`}
	page := h.says(auth.Admin, 400, "/alerts/receivers", append(fields, "secret", "hunter2")...)
	h.contains(page, "must be a reference", "https://example.com/hook")
	h.contains(h.says(auth.Admin, 400, "/alerts/receivers", append(fields, "secret", "file:k", "wait", "x")...), "must be a number of seconds")
	h.says(auth.Admin, 303, "/alerts/receivers", append(fields, "secret", "file:k")...)
	list, err := h.alerts.ListReceivers(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	one := "/alerts/receivers/" + list[0].ID
	h.says(auth.Admin, 303, one+"/test")
	h.contains(h.page(auth.Viewer, "/alerts/receivers"), "Delivered", "ops", `severity="critical"`)
	h.contains(h.page(auth.Admin, "/alerts/receivers?edit="+list[0].ID), "Change the receiver", "file:k")
	h.says(auth.Admin, 303, "/alerts/receivers", append(fields[2:], "secret", "file:k", "name", "deaf", "id", list[0].ID)...)
	h.contains(h.says(auth.Admin, 409, one+"/test"), "The test was not delivered", "The receiver was not reached")
	h.says(auth.Admin, 303, one+"/delete")
	mail := []string{"name", "mail", "kind", "email", "host", "mail.example.com", "port", "587", "tls", "starttls", "from", "a@example.com", "to", "b@example.com, c@example.com"}
	h.says(auth.Admin, 303, "/alerts/receivers", mail...)
	h.contains(h.page(auth.Viewer, "/alerts/receivers"), "b@example.com, c@example.com by mail.example.com")
}
