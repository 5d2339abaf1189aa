// Package post sends messages to webhooks over HTTP, through internal/egress.
package post

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/webhook"
)

// timeout is how long a receiver may take to answer.
const timeout = 10 * time.Second

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1 << 10

// Sender is webhook.Sender.
type Sender struct {
	client *http.Client
	agent  string
	now    func() time.Time
}

// New makes a sender that reaches what the policy allows. The version is part
// of what it calls itself.
func New(p egress.Policy, version string, now func() time.Time) *Sender {
	return &Sender{client: egress.NewClient(p, timeout), agent: "platform-portal/" + version, now: now}
}

// Send sends one message with POST.
func (s *Sender) Send(ctx context.Context, url string, header map[string]string, body []byte) webhook.Answer {
	begun := s.now()
	out := s.send(ctx, url, header, body)
	out.Took = s.now().Sub(begun)
	return out
}

func (s *Sender) send(ctx context.Context, url string, header map[string]string, body []byte) webhook.Answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return webhook.Answer{Reason: "its address can't be used"}
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", s.agent)
	resp, err := s.client.Do(req)
	if err != nil {
		return webhook.Answer{Reason: egress.Reason(err)}
	}
	defer resp.Body.Close()
	// The status says whether it was taken. A body that is cut off, or has no end,
	// changes nothing about that.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return webhook.Answer{Status: resp.StatusCode, Body: string(text), RetryAfter: s.retryAfter(resp.Header.Get("Retry-After"))}
}

// retryAfter reads the header of that name: seconds, or a date.
func (s *Sender) retryAfter(text string) time.Duration {
	text = strings.TrimSpace(text)
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(n, 0), 86400)) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(s.now()))
}
