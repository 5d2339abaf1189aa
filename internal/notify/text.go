package notify

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/waooaw/platform-portal/internal/alert"
)

// The limits of texts for people.
const (
	maxLines = 20  // alerts that are named
	maxText  = 500 // bytes of one summary or description
)

// subject is one line about the message.
func subject(m alert.Message) string {
	firing, ended := m.Firing(), m.Ended()
	prefix := ""
	if m.Test {
		prefix = "[TEST] "
	}
	switch {
	case len(firing) == 1 && m.Cut == 0:
		a := firing[0]
		return prefix + oneLine(fmt.Sprintf("[%s] %s", strings.ToUpper(orFiring(a.Severity)), a.Summary()))
	case len(firing) > 0:
		return prefix + oneLine(fmt.Sprintf("[%s] %d alerts: %s", strings.ToUpper(orFiring(firing[0].Severity)), len(firing)+m.Cut, firing[0].Name))
	case len(ended) == 1:
		return prefix + oneLine("[RESOLVED] "+ended[0].Summary())
	case len(ended) > 0:
		return prefix + oneLine(fmt.Sprintf("[RESOLVED] %d alerts: %s", len(ended), ended[0].Name))
	}
	return prefix + "No alerts"
}

func orFiring(severity string) string {
	if severity == "" {
		return "firing"
	}
	return severity
}

// oneLine makes a text that can't begin another line or hide what it says.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return strings.TrimSpace(s)
}

// plain is the message as plain text.
func plain(m alert.Message) string {
	var b strings.Builder
	for i, a := range m.Alerts {
		if i == maxLines {
			fmt.Fprintf(&b, "… and %d more.\n\n", len(m.Alerts)-i+m.Cut)
			break
		}
		state := "FIRING"
		since := "since " + a.ActiveAt.UTC().Format(time.RFC1123)
		if a.ResolvedAt != nil {
			state, since = "RESOLVED", "at "+a.ResolvedAt.UTC().Format(time.RFC1123)
		}
		fmt.Fprintf(&b, "%s %s %s\n", state, oneLine(orFiring(a.Severity)), oneLine(a.Summary()))
		for _, text := range []string{a.Annotations["description"], a.Annotations["runbook"]} {
			if text != "" && text != a.Summary() {
				fmt.Fprintf(&b, "  %s\n", oneLine(text))
			}
		}
		fmt.Fprintf(&b, "  %s\n  %s\n\n", since, link(m, a))
	}
	return b.String()
}

// slackBody is what incoming webhooks of Slack, Mattermost, Rocket.Chat and
// others take.
type slackBody struct {
	Text string `json:"text"`
}

var slackEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slack posts the message to an incoming webhook.
func (s *Sender) slack(ctx context.Context, r alert.Receiver, m alert.Message) error {
	url, err := s.address(ctx, r)
	if err != nil {
		return err
	}
	// Escaped, so that no label can call everybody in the channel (<!channel>).
	text := "*" + slackEscapes.Replace(strings.ReplaceAll(subject(m), "*", "")) + "*\n" + slackEscapes.Replace(plain(m))
	return s.post(ctx, url, slackBody{Text: text}, nil)
}

// postedAlert is an alert as the API of Alertmanager takes it.
type postedAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// alertmanager hands the alerts over. They end by themselves unless they are
// told again, so that none fires for ever once the portal is gone.
func (s *Sender) alertmanager(ctx context.Context, r alert.Receiver, m alert.Message) error {
	url, err := s.address(ctx, r)
	if err != nil {
		return err
	}
	list := make([]postedAlert, 0, len(m.Alerts))
	for _, a := range m.Alerts {
		one := postedAlert{Labels: filled(a.Labels), Annotations: filled(a.Annotations), StartsAt: a.ActiveAt, GeneratorURL: link(m, a)}
		one.EndsAt = s.Now().Add(4 * time.Duration(r.Repeat) * time.Second)
		if a.ResolvedAt != nil {
			one.EndsAt = *a.ResolvedAt
		} else if m.Test {
			one.EndsAt = s.Now().Add(time.Minute)
		}
		list = append(list, one)
	}
	return s.post(ctx, strings.TrimSuffix(strings.TrimSuffix(url, "/"), "/api/v2/alerts")+"/api/v2/alerts", list, func(h http.Header, _ []byte) error {
		if r.Secret == "" {
			return nil
		}
		token, err := s.secret(ctx, r.Secret)
		if err == nil {
			h.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		}
		return err
	})
}

// filled leaves out empty values, which Alertmanager takes for missing ones.
func filled(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		if v != "" {
			out[k] = v
		}
	}
	return out
}
