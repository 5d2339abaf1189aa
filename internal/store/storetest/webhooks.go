package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/webhook"
)

var webhooks = []promise{
	{"a webhook comes back as it was stored, by id and by name", func(t *testing.T, s *store.Store) {
		ctx, w := t.Context(), s.Webhooks()
		in := subscription(1, "Ops Ünit")
		must(t, w.CreateWebhook(ctx, in))
		for _, ref := range []string{in.ID, "ops Ünit", "OPS ÜNIT"} {
			got, err := w.Webhook(ctx, ref)
			must(t, err)
			equal(t, "webhook", *got, in)
		}
		_, err := w.Webhook(ctx, "other\x00")
		wantKind(t, err, fault.NotFound)
		wantKind(t, w.CreateWebhook(ctx, subscription(2, "OPS Ünit")), fault.Conflict)
		must(t, w.CreateWebhook(ctx, subscription(3, "a")))
		list, err := w.Webhooks(ctx)
		must(t, err)
		equal(t, "names", []string{list[0].Name, list[1].Name}, []string{"a", "Ops Ünit"})
	}},
	{"a change of a webhook needs its version and leaves its progress", func(t *testing.T, s *store.Store) {
		ctx, w := t.Context(), s.Webhooks()
		one := subscription(1, "one")
		must(t, w.CreateWebhook(ctx, one))
		must(t, w.CreateWebhook(ctx, subscription(2, "two")))
		p := webhook.Progress{Cursor: 7, Pending: 8, Tries: 2, NextAt: after(time.Minute), Reason: "<no>", Delivered: 5}
		must(t, w.SaveProgress(ctx, one.ID, p))
		changed := one
		changed.URL, changed.Enabled, changed.Version, changed.Progress = "https://b.example/", false, 2, webhook.Progress{}
		must(t, w.UpdateWebhook(ctx, changed))
		changed.Progress = p
		got, err := w.Webhook(ctx, "one")
		must(t, err)
		equal(t, "webhook", *got, changed)
		wantKind(t, w.UpdateWebhook(ctx, changed), fault.Stale)
		changed.Version, changed.Name = 3, "Two"
		wantKind(t, w.UpdateWebhook(ctx, changed), fault.Conflict)
		wantKind(t, w.UpdateWebhook(ctx, subscription(9, "nine")), fault.NotFound)
		wantKind(t, w.SaveProgress(ctx, uuid(9), p), fault.NotFound)
	}},
	{"attempts are kept up to a number, each webhook's own, and go with it", func(t *testing.T, s *store.Store) {
		ctx, w := t.Context(), s.Webhooks()
		must(t, w.CreateWebhook(ctx, subscription(1, "one")))
		must(t, w.CreateWebhook(ctx, subscription(2, "two")))
		for i := range 7 {
			must(t, w.AddAttempt(ctx, attempt(10+i, uuid(1)), 5))
		}
		must(t, w.AddAttempt(ctx, attempt(30, uuid(2)), 5))
		first, next, err := w.Attempts(ctx, uuid(1), "", 3)
		must(t, err)
		rest, end, err := w.Attempts(ctx, uuid(1), next, 3)
		must(t, err)
		got := []string{}
		for _, a := range append(first, rest...) {
			got = append(got, a.ID)
		}
		equal(t, "attempts", got, []string{uuid(16), uuid(15), uuid(14), uuid(13), uuid(12)})
		equal(t, "end", end, "")
		one, err := w.Attempt(ctx, uuid(1), uuid(16))
		must(t, err)
		equal(t, "attempt", *one, attempt(16, uuid(1)))
		_, err = w.Attempt(ctx, uuid(2), uuid(16))
		wantKind(t, err, fault.NotFound)
		_, _, err = w.Attempts(ctx, uuid(2), next, 3)
		wantKind(t, err, fault.Invalid)
		wantKind(t, w.AddAttempt(ctx, attempt(50, uuid(9)), 5), fault.NotFound)
		must(t, w.DeleteWebhook(ctx, uuid(1)))
		wantKind(t, w.DeleteWebhook(ctx, uuid(1)), fault.NotFound)
		gone, _, err := w.Attempts(ctx, uuid(1), "", 10)
		must(t, err)
		equal(t, "attempts of the deleted one", len(gone), 0)
		kept, _, err := w.Attempts(ctx, uuid(2), "", 10)
		must(t, err)
		equal(t, "attempts of the other", len(kept), 1)
	}},
	{"progress and attempt are stored together or not at all", func(t *testing.T, s *store.Store) {
		ctx, w := t.Context(), s.Webhooks()
		must(t, w.CreateWebhook(ctx, subscription(1, "one")))
		err := s.Do(ctx, func(ctx context.Context) error {
			must(t, w.AddAttempt(ctx, attempt(10, uuid(1)), 5))
			must(t, w.SaveProgress(ctx, uuid(1), webhook.Progress{Cursor: 3}))
			return errStop
		})
		equal(t, "error", err, errStop)
		got, err := w.Webhook(ctx, uuid(1))
		must(t, err)
		equal(t, "progress", got.Progress, webhook.Progress{})
		list, _, err := w.Attempts(ctx, uuid(1), "", 10)
		must(t, err)
		equal(t, "attempts", len(list), 0)
	}},
}

func subscription(n int, name string) webhook.Subscription {
	return webhook.Subscription{
		ID: uuid(n), Name: name, URL: "https://a.example/x?y=<1>", Types: []string{"agent:*"}, Agents: []string{"one"}, Confidential: true,
		SecretRef: "file:hook", KeyNumber: 2, KeyUntil: after(time.Hour), Enabled: true, CreatedBy: "user:ann", CreatedAt: epoch, UpdatedAt: epoch, Version: 1,
	}
}

func attempt(n int, of string) webhook.Attempt {
	return webhook.Attempt{
		ID: uuid(n), WebhookID: of, Kind: webhook.KindEvent, MessageID: fmt.Sprintf("evt_%d", n), EventSeq: int64(n), EventType: "agent:created",
		Try: 1, At: epoch, Took: 3 * time.Millisecond, Status: 500, Reason: "no", Answer: "<b>\u00fc",
	}
}
