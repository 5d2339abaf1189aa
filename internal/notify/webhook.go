package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
)

// minKey is how many bytes the key of signatures has at least.
const minKey = 24

// webhookBody is what webhooks get. It has the shape in which Alertmanager tells
// webhooks, version 4, so that what reads those reads these.
type webhookBody struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Test              bool              `json:"test,omitempty"`
	Alerts            []webhookAlert    `json:"alerts"`
}

type webhookAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
	ID           string            `json:"id"`
	Value        string            `json:"value,omitempty"`
}

func bodyOf(m alert.Message) webhookBody {
	b := webhookBody{
		Version: "4", GroupKey: m.GroupKey, TruncatedAlerts: m.Cut, Status: statusOf(m), Receiver: m.Receiver, GroupLabels: m.GroupLabels,
		ExternalURL: m.PortalURL, Test: m.Test, Alerts: []webhookAlert{},
	}
	for i, a := range m.Alerts {
		one := webhookAlert{
			Status: "firing", Labels: a.Labels, Annotations: a.Annotations, StartsAt: a.ActiveAt, GeneratorURL: link(m, a), Fingerprint: a.Key, ID: a.ID, Value: a.Value,
		}
		if a.ResolvedAt != nil {
			one.Status, one.EndsAt = "resolved", *a.ResolvedAt
		}
		b.Alerts = append(b.Alerts, one)
		if i == 0 {
			b.CommonLabels, b.CommonAnnotations = maps.Clone(a.Labels), maps.Clone(a.Annotations)
			continue
		}
		b.CommonLabels, b.CommonAnnotations = common(b.CommonLabels, a.Labels), common(b.CommonAnnotations, a.Annotations)
	}
	return b
}

// common keeps what both have.
func common(a, b map[string]string) map[string]string {
	maps.DeleteFunc(a, func(k, v string) bool { w, ok := b[k]; return !ok || w != v })
	return a
}

func statusOf(m alert.Message) string {
	if len(m.Firing()) > 0 {
		return "firing"
	}
	return "resolved"
}

// link is where an alert is seen.
func link(m alert.Message, a alert.Alert) string {
	if m.Test {
		return m.PortalURL + "/alerts"
	}
	return m.PortalURL + "/alerts/" + a.ID
}

// webhook sends a message with a signature as in Standard Webhooks. The id stays
// the same when it is sent again.
func (s *Sender) webhook(ctx context.Context, r alert.Receiver, m alert.Message, id string) error {
	url, err := s.address(ctx, r)
	if err != nil {
		return err
	}
	key, err := s.signingKey(ctx, r.Secret)
	if err != nil {
		return err
	}
	return s.post(ctx, url, bodyOf(m), func(h http.Header, body []byte) error {
		at := strconv.FormatInt(s.Now().Unix(), 10)
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.", id, at)
		mac.Write(body)
		h.Set("Webhook-Id", id)
		h.Set("Webhook-Timestamp", at)
		h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		h.Set("Idempotency-Key", id)
		return nil
	})
}

// signingKey reads the key: base64 after whsec_, or any text that is long enough.
func (s *Sender) signingKey(ctx context.Context, reference string) ([]byte, error) {
	text, err := s.secret(ctx, reference)
	if err != nil {
		return nil, err
	}
	key := []byte(text)
	if encoded, ok := strings.CutPrefix(text, "whsec_"); ok {
		key, err = base64.StdEncoding.DecodeString(encoded)
	}
	if err != nil || len(key) < minKey {
		return nil, fault.New(fault.Invalid, "alert.key", "The secret %s can't sign messages", reference).
			Because("it is no base64 after whsec_, or shorter than %d bytes", minKey).Do("Put a longer one there, for example what `openssl rand -base64 32` prints.")
	}
	return key, nil
}
