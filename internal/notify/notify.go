// Package notify is alert.Sender: it tells receivers about alerts over HTTP and
// SMTP. Everything goes out through egress.
package notify

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/fault"
)

// The limits of what is sent and read.
const (
	timeout   = 10 * time.Second
	maxAnswer = 16 << 10
)

// Secrets resolves references to secrets. See fleet.SecretDir.
type Secrets interface {
	Secret(ctx context.Context, reference string) (string, error)
}

// Sender is alert.Sender.
type Sender struct {
	Policy  egress.Policy
	Secrets Secrets
	Now     func() time.Time
	// Roots are whose certificates of mail servers are trusted; nil means the system's.
	Roots  *x509.CertPool
	client *http.Client
}

// New makes a sender.
func New(policy egress.Policy, secrets Secrets, now func() time.Time) *Sender {
	return &Sender{Policy: policy, Secrets: secrets, Now: now, client: egress.NewClient(policy, timeout)}
}

// Check tells what is wrong with where a receiver is: an address that may not be
// reached, or a secret that is not there.
func (s *Sender) Check(r alert.Receiver) error {
	var wrong []fault.Field
	named := func(path, reference string) string {
		if !alert.IsReference(reference) {
			return reference
		}
		text, err := s.secret(context.Background(), reference)
		if f := fault.As(err); f != nil {
			wrong = append(wrong, fault.Field{Path: path, Message: f.What + ": " + f.Why})
			return ""
		}
		return text
	}
	named("secret", r.Secret)
	if r.Mail != nil {
		named("email.password", r.Mail.Password)
	} else if address := named("url", r.URL); address != "" {
		if _, err := s.Policy.CheckURL("url", address); err != nil {
			if f := fault.As(err); f != nil {
				wrong = append(wrong, f.Fields...)
			}
		}
	}
	if len(wrong) > 0 {
		return fault.New(fault.Invalid, "alert.receiver_invalid", "The receiver can't be used").At(wrong...).
			Do("Put secrets into the portal's secrets directory; have addresses of private networks allowed with --egress-allow.")
	}
	return nil
}

// Send tells one receiver.
func (s *Sender) Send(ctx context.Context, r alert.Receiver, m alert.Message, key string) error {
	switch r.Kind {
	case alert.Webhook:
		return s.webhook(ctx, r, m, key)
	case alert.Slack:
		return s.slack(ctx, r, m)
	case alert.Alertmanager:
		return s.alertmanager(ctx, r, m)
	case alert.Email:
		return s.email(ctx, *r.Mail, m, key)
	}
	return fault.New(fault.Invalid, "alert.receiver_kind", "There are no receivers of the kind %q", r.Kind)
}

// secret gives what a reference names. One that is missing may be put there: it
// is worth another try.
func (s *Sender) secret(ctx context.Context, reference string) (string, error) {
	text, err := s.Secrets.Secret(ctx, reference)
	if fault.Is(err, fault.NotFound) {
		f := fault.As(err)
		return "", fault.New(fault.Unavailable, f.Code, "%s", f.What).Because("%s", f.Why).Do("%s", f.Remedy)
	}
	return text, err
}

// address gives the URL of a receiver, which may be a secret.
func (s *Sender) address(ctx context.Context, r alert.Receiver) (string, error) {
	if alert.IsReference(r.URL) {
		return s.secret(ctx, r.URL)
	}
	return r.URL, nil
}

// post sends JSON and reads the answer.
func (s *Sender) post(ctx context.Context, url string, body any, header func(h http.Header, body []byte) error) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		// The error repeats the address, which may be a secret.
		return fault.New(fault.Invalid, "alert.address", "The address of the receiver can't be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "platform-portal")
	if header != nil {
		if err := header(req.Header, data); err != nil {
			return err
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer resp.Body.Close()
	// Only to its end, so that the connection can be used again.
	_, _ = egress.ReadAll(resp.Body, maxAnswer)
	return answered(resp.StatusCode)
}

// unreachable explains why nothing was delivered. What the portal refuses is not
// worth another try.
func unreachable(err error) error {
	kind := fault.Unavailable
	if f := fault.As(err); f != nil && f.Kind == fault.Forbidden {
		kind = fault.Forbidden
	}
	f := fault.New(kind, "alert.unreachable", "The receiver was not reached").Because("%s", egress.Reason(err))
	if kind == fault.Forbidden {
		return f.Do("Correct its address, or have it allowed with --egress-allow.")
	}
	return f
}

// answered explains an answer. Those that say that the request itself is wrong
// are not worth another try.
func answered(status int) error {
	switch {
	case status < 300:
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return fault.New(fault.Unavailable, "alert.refused", "The receiver answered %d %s", status, http.StatusText(status))
	}
	return fault.New(fault.Invalid, "alert.refused", "The receiver answered %d %s", status, http.StatusText(status)).
		Do("Correct its address or secret, then send a test.")
}
