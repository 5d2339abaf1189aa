package storetest

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
)

// firing gives an alert that is not stored yet.
func firing(n int, severity, agentID string) alert.Alert {
	at := epoch.Add(time.Duration(n) * time.Second)
	return alert.Alert{
		ID: uuid(n), RuleID: "rule", Key: uuid(n), Name: "Down", Severity: severity, Status: alert.Firing, Source: alert.FromMetric, AgentID: agentID,
		Labels: map[string]string{"alertname": "Down", "ü": "<&>"}, Annotations: map[string]string{"summary": "s"}, Value: "NaN",
		ActiveAt: at, FiredAt: &at, ChangedAt: at, LastSeenAt: at,
	}
}

var alerts = []promise{
	{"an alert comes back as it was stored last", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Alerts().Alerts
		a := firing(1, "critical", "x")
		must(t, st.SaveAlert(ctx, a))
		a.Status, a.Ack, a.Value = alert.Acknowledged, &alert.Acknowledgement{By: "me", Reason: "r", At: epoch}, "2"
		must(t, st.SaveAlert(ctx, a))
		got, err := st.Alert(ctx, a.ID)
		must(t, err)
		equal(t, "alert", *got, a)
		must(t, st.DropAlert(ctx, a.ID))
		_, err = st.Alert(ctx, a.ID)
		wantKind(t, err, fault.NotFound)
		wantKind(t, st.DropAlert(ctx, a.ID), fault.NotFound)
	}},
	{"alerts are listed by urgency, page by page", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Alerts().Alerts
		list := []alert.Alert{firing(1, "warning", "a"), firing(2, "critical", "a"), firing(3, "critical", "b"), firing(4, "info", "b"), firing(5, "critical", "a")}
		list[4].Status, list[4].ResolvedAt = alert.Resolved, after(time.Hour)
		list[3].Status, list[3].FiredAt = alert.Pending, nil
		for _, a := range list {
			must(t, st.SaveAlert(ctx, a))
		}
		var got []string
		q := alert.Query{Limit: 2}
		for {
			page, next, err := st.Alerts(ctx, q)
			must(t, err)
			for _, a := range page {
				got = append(got, a.ID[len(a.ID)-1:])
			}
			if q.Cursor = next; next == "" {
				break
			}
		}
		equal(t, "order", got, []string{"3", "2", "1", "4", "5"})
		for _, c := range []struct {
			q    alert.Query
			want int
		}{
			{alert.Query{Statuses: []alert.Status{alert.Firing}}, 3}, {alert.Query{Severities: []string{"critical"}}, 3},
			{alert.Query{AgentIDs: []string{"b"}}, 2}, {alert.Query{Name: "Up"}, 0}, {alert.Query{RuleID: "rule", AgentIDs: []string{"a", "b"}}, 5},
		} {
			page, _, err := st.Alerts(ctx, c.q)
			must(t, err)
			equal(t, "found", len(page), c.want)
		}
		_, _, err := st.Alerts(ctx, alert.Query{Cursor: "x"})
		wantKind(t, err, fault.Invalid)
		tally, err := st.CountAlerts(ctx, "a")
		must(t, err)
		equal(t, "tally", tally, []alert.Tally{{Status: alert.Firing, Severity: "critical", Count: 1}, {Status: alert.Firing, Severity: "warning", Count: 1}, {Status: alert.Resolved, Severity: "critical", Count: 1}})
		n, err := st.PruneAlerts(ctx, epoch.Add(2*time.Hour))
		must(t, err)
		equal(t, "pruned", n, 1)
	}},
	{"the history of an alert goes with it", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Alerts().Alerts
		c := alert.Change{AlertID: uuid(1), At: epoch, Status: alert.Firing, Actor: "system", Note: "n"}
		wantKind(t, st.AddChange(ctx, c), fault.NotFound)
		must(t, st.SaveAlert(ctx, firing(1, "info", "")))
		must(t, st.AddChange(ctx, c))
		c.Status = alert.Resolved
		must(t, st.AddChange(ctx, c))
		list, err := st.Changes(ctx, uuid(1))
		must(t, err)
		equal(t, "changes", []alert.Status{list[0].Status, list[1].Status}, []alert.Status{alert.Firing, alert.Resolved})
		must(t, st.DropAlert(ctx, uuid(1)))
		list, err = st.Changes(ctx, uuid(1))
		must(t, err)
		equal(t, "changes that are left", len(list), 0)
	}},
	{"rules, what was changed of them, and marks", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Alerts().Rules
		u := alert.Upload{Name: "b.yml", Content: "x: 'ü'\n", By: "me", UpdatedAt: epoch}
		must(t, st.SaveUpload(ctx, u))
		must(t, st.SaveUpload(ctx, alert.Upload{Name: "a.yml", UpdatedAt: epoch}))
		u.Content = "y"
		must(t, st.SaveUpload(ctx, u))
		list, err := st.Uploads(ctx)
		must(t, err)
		equal(t, "files", list, []alert.Upload{{Name: "a.yml", UpdatedAt: epoch}, u})
		must(t, st.DeleteUpload(ctx, "a.yml"))
		wantKind(t, st.DeleteUpload(ctx, "a.yml"), fault.NotFound)

		limit, hold := 0.25, 60.0
		o := alert.Override{RuleID: "r", Threshold: &limit, Hold: &hold, By: "me", Reason: "why", At: epoch}
		must(t, st.SaveOverride(ctx, o))
		o.Disabled = true
		must(t, st.SaveOverride(ctx, o))
		changed, err := st.Overrides(ctx)
		must(t, err)
		equal(t, "overrides", changed, []alert.Override{o})
		must(t, st.DeleteOverride(ctx, "r"))
		wantKind(t, st.DeleteOverride(ctx, "r"), fault.NotFound)

		n, err := st.Mark(ctx, "m")
		must(t, err)
		equal(t, "mark that was never set", n, int64(0))
		must(t, st.SetMark(ctx, "m", 7))
		must(t, st.SetMark(ctx, "m", 8))
		n, err = st.Mark(ctx, "m")
		must(t, err)
		equal(t, "mark", n, int64(8))
	}},
	{"silences end last first", func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.Alerts().Silences
		var want []alert.Silence
		for n := range 3 {
			one := alert.Silence{
				ID: uuid(n), Matchers: []alert.Matcher{{Label: "a", Value: "b", Not: true}}, StartsAt: epoch, EndsAt: epoch.Add(time.Duration(3-n) * time.Hour),
				By: "me", Reason: "r", CreatedAt: epoch, UpdatedAt: epoch,
			}
			must(t, st.SaveSilence(ctx, one))
			want = append(want, one)
		}
		first, next, err := st.Silences(ctx, epoch.Add(90*time.Minute), "", 1)
		must(t, err)
		second, end, err := st.Silences(ctx, epoch.Add(90*time.Minute), next, 1)
		must(t, err)
		equal(t, "silences", append(first, second...), want[:2])
		equal(t, "cursor at the end", end, "")
		got, err := st.Silence(ctx, uuid(2))
		must(t, err)
		equal(t, "silence", *got, want[2])
		_, err = st.Silence(ctx, uuid(9))
		wantKind(t, err, fault.NotFound)
		n, err := st.PruneSilences(ctx, epoch.Add(90*time.Minute))
		must(t, err)
		equal(t, "pruned", n, 1)
	}},
	{"receivers have names of their own, and what waits goes with them", func(t *testing.T, s *store.Store) {
		ctx, st, q := t.Context(), s.Alerts().Receivers, s.Alerts().Queue
		r := alert.Receiver{ID: uuid(1), Name: "ops", Kind: alert.Webhook, URL: "https://example.com", Matchers: []alert.Matcher{}, GroupBy: []string{"a"}, UpdatedAt: epoch}
		must(t, st.SaveReceiver(ctx, r))
		wantKind(t, st.SaveReceiver(ctx, alert.Receiver{ID: uuid(2), Name: "ops"}), fault.Conflict)
		r.Wait = 3
		must(t, st.SaveReceiver(ctx, r))
		must(t, st.SaveReceiver(ctx, alert.Receiver{ID: uuid(3), Name: "a", Matchers: []alert.Matcher{}, GroupBy: []string{}, UpdatedAt: epoch}))
		got, err := st.Receiver(ctx, r.ID)
		must(t, err)
		equal(t, "receiver", *got, r)
		list, err := st.Receivers(ctx)
		must(t, err)
		equal(t, "first by name", list[0].Name, "a")
		must(t, q.SaveDispatch(ctx, alert.Dispatch{ReceiverID: r.ID, GroupKey: "g", DueAt: epoch}))
		must(t, q.SaveDelivery(ctx, alert.Delivery{ID: uuid(5), ReceiverID: r.ID, State: alert.Queued, CreatedAt: epoch, NextAt: epoch}))
		must(t, st.DeleteReceiver(ctx, r.ID))
		wantKind(t, st.DeleteReceiver(ctx, r.ID), fault.NotFound)
		_, err = q.Dispatch(ctx, r.ID, "g")
		wantKind(t, err, fault.NotFound)
		due, err := q.DueDeliveries(ctx, epoch.Add(time.Hour), 10)
		must(t, err)
		equal(t, "waiting", len(due), 0)
	}},
	{"what is to be told waits for its time", func(t *testing.T, s *store.Store) {
		ctx, q := t.Context(), s.Alerts().Queue
		for n := 1; n <= 2; n++ {
			must(t, s.Alerts().Receivers.SaveReceiver(ctx, alert.Receiver{ID: uuid(n), Name: uuid(n)}))
		}
		d := alert.Dispatch{ReceiverID: uuid(1), GroupKey: "g", Labels: map[string]string{"a": "b"}, DueAt: epoch, LastSentAt: after(-time.Hour), Told: []string{"x"}}
		must(t, q.SaveDispatch(ctx, alert.Dispatch{ReceiverID: uuid(1), GroupKey: "g", DueAt: epoch.Add(time.Hour)}))
		must(t, q.SaveDispatch(ctx, d))
		got, err := q.Dispatch(ctx, uuid(1), "g")
		must(t, err)
		equal(t, "dispatch", *got, d)
		early, err := q.DueDispatches(ctx, epoch.Add(-time.Second), 10)
		must(t, err)
		due, err := q.DueDispatches(ctx, epoch, 10)
		must(t, err)
		equal(t, "due", [2]int{len(early), len(due)}, [2]int{0, 1})
		must(t, q.DeleteDispatch(ctx, uuid(1), "g"))
		must(t, q.DeleteDispatch(ctx, uuid(1), "g"))

		var want []alert.Delivery
		for n := range 4 {
			one := alert.Delivery{
				ID: uuid(10 + n), ReceiverID: uuid(1 + n/3), GroupKey: "g", State: alert.Queued, CreatedAt: epoch.Add(time.Duration(n) * time.Second), NextAt: epoch,
				Message: alert.Message{Receiver: "r", GroupLabels: map[string]string{}, Alerts: []alert.Alert{firing(1, "info", "a")}, At: epoch},
			}
			want = append(want, one)
			must(t, q.SaveDelivery(ctx, one))
		}
		want[0].State, want[0].EndedAt = alert.Delivered, after(0)
		must(t, q.SaveDelivery(ctx, want[0]))
		ready, err := q.DueDeliveries(ctx, epoch, 10)
		must(t, err)
		equal(t, "one a receiver, the oldest", ready, []alert.Delivery{want[1], want[3]})
		first, next, err := q.Deliveries(ctx, uuid(1), "", 2)
		must(t, err)
		rest, _, err := q.Deliveries(ctx, uuid(1), next, 2)
		must(t, err)
		equal(t, "newest first", []string{first[0].ID, first[1].ID, rest[0].ID}, []string{uuid(12), uuid(11), uuid(10)})
		n, err := q.PruneDeliveries(ctx, epoch.Add(time.Hour))
		must(t, err)
		equal(t, "pruned", n, 1)
	}},
}
