package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/notify"
)

type secrets map[string]string

func (s secrets) Secret(_ context.Context, reference string) (string, error) {
	if v, ok := s[reference]; ok {
		return v, nil
	}
	return "", fault.New(fault.NotFound, "secret.not_found", "There is no secret %s", reference).Because("it is not there")
}

var known = secrets{"file:key": "a key that is long enough to sign", "file:short": "short", "file:password": "the password", "file:token": "tok"}

// open is a sender that may reach this machine.
func open(more secrets) *notify.Sender {
	all := secrets{}
	for _, m := range []secrets{known, more} {
		for k, v := range m {
			all[k] = v
		}
	}
	return notify.New(egress.Policy{AllowLoopback: true}, all, time.Now)
}

var began = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func message() alert.Message {
	ended := began.Add(time.Hour)
	return alert.Message{
		Receiver: "ops", GroupKey: "g", GroupLabels: map[string]string{"alertname": "Down"}, PortalURL: "https://portal.example.com", At: began,
		Alerts: []alert.Alert{
			{ID: "1", Key: "k1", Name: "Down", Severity: "critical", Status: alert.Firing, ActiveAt: began, FiredAt: &began, Value: "0",
				Labels:      map[string]string{"alertname": "Down", "agent": "a", "empty": "", "severity": "critical"},
				Annotations: map[string]string{"summary": "a <!channel> is\r\nBcc: down", "description": "It does not answer"}},
			{ID: "2", Key: "k2", Name: "Down", Severity: "critical", Status: alert.Resolved, ActiveAt: began, FiredAt: &began, ResolvedAt: &ended,
				Labels: map[string]string{"alertname": "Down", "agent": "b", "severity": "critical"}, Annotations: map[string]string{"summary": "b is back"}},
		},
	}
}

func TestWebhooksAreSignedAndSentOnceMoreWithTheSameID(t *testing.T) {
	var got map[string]any
	var header http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		header = r.Header
		mac := hmac.New(sha256.New, []byte(known["file:key"]))
		fmt.Fprintf(mac, "%s.%s.%s", header.Get("Webhook-Id"), header.Get("Webhook-Timestamp"), body)
		if header.Get("Webhook-Signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			t.Errorf("signature %q", header.Get("Webhook-Signature"))
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	s := open(secrets{"file:url": srv.URL + "/secret/path"})
	r := alert.Receiver{Kind: alert.Webhook, URL: "file:url", Secret: "file:key"}
	if err := s.Send(t.Context(), r, message(), "id-1"); err != nil {
		t.Fatal(err)
	}
	if header.Get("Webhook-Id") != "id-1" || header.Get("Idempotency-Key") != "id-1" {
		t.Errorf("header %v", header)
	}
	if got["version"] != "4" || got["status"] != "firing" || len(got["alerts"].([]any)) != 2 ||
		fmt.Sprint(got["commonLabels"]) != "map[alertname:Down severity:critical]" {
		t.Errorf("body %v", got)
	}
	r.Secret = "file:short"
	if err := s.Send(t.Context(), r, message(), "id-1"); !fault.Is(err, fault.Invalid) {
		t.Errorf("signed with a short key: %v", err)
	}
	r.Secret = "file:gone"
	if err := s.Send(t.Context(), r, message(), "id-1"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("signed with no key: %v", err)
	}
}

func TestAnswersSayWhetherAnotherTryIsWorthIt(t *testing.T) {
	for status, kind := range map[int]fault.Kind{200: "", 204: "", 400: fault.Invalid, 404: fault.Invalid, 408: fault.Unavailable, 429: fault.Unavailable, 500: fault.Unavailable, 503: fault.Unavailable} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		err := open(nil).Send(t.Context(), alert.Receiver{Kind: alert.Webhook, URL: srv.URL, Secret: "file:key"}, message(), "id")
		if fault.KindOf(err) != kind {
			t.Errorf("%d: %v", status, err)
		}
		srv.Close()
	}
}

func TestReceiversThatHangOrLeadInside(t *testing.T) {
	release := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hang.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := open(nil).Send(ctx, alert.Receiver{Kind: alert.Webhook, URL: hang.URL, Secret: "file:key"}, message(), "id"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("hangs: %v", err)
	}

	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inside was reached") }))
	defer inside.Close()
	for _, to := range []string{inside.URL, "http://169.254.169.254/latest/meta-data"} {
		leads := httptest.NewServer(http.RedirectHandler(to, http.StatusTemporaryRedirect))
		u, _ := url.Parse(leads.URL)
		only := notify.New(egress.Policy{Hosts: []string{u.Host}}, known, time.Now)
		err := only.Send(t.Context(), alert.Receiver{Kind: alert.Webhook, URL: leads.URL, Secret: "file:key"}, message(), "id")
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("redirect to %s: %v", to, err)
		}
		leads.Close()
	}
	strict := notify.New(egress.Policy{}, known, time.Now)
	for name, r := range map[string]alert.Receiver{
		"webhook":      {Kind: alert.Webhook, URL: inside.URL, Secret: "file:key"},
		"alertmanager": {Kind: alert.Alertmanager, URL: inside.URL},
		"mail":         {Kind: alert.Email, Mail: &alert.Mail{Host: "127.0.0.1", Port: 25, TLS: "none", From: "a@b.c", To: []string{"d@e.f"}}},
	} {
		if err := strict.Send(t.Context(), r, message(), "id"); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]alert.Receiver{
		"loopback":   {Kind: alert.Webhook, URL: inside.URL, Secret: "file:key"},
		"metadata":   {Kind: alert.Alertmanager, URL: "http://169.254.169.254"},
		"no secret":  {Kind: alert.Webhook, URL: "https://example.com", Secret: "file:none"},
		"no address": {Kind: alert.Slack, URL: "file:none"},
	} {
		if err := strict.Check(r); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := strict.Check(alert.Receiver{Kind: alert.Webhook, URL: "https://example.com/hook", Secret: "file:key"}); err != nil {
		t.Error(err)
	}
}

func TestSlackCallsNobodyAndShowsNoSecret(t *testing.T) {
	var got struct{ Text string }
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
	}))
	address := srv.URL + "/services/T0/B0/very-secret"
	s := open(secrets{"file:slack": address})
	r := alert.Receiver{Kind: alert.Slack, URL: "file:slack"}
	if err := s.Send(t.Context(), r, message(), "id"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"*[CRITICAL] a &lt;!channel&gt; is  Bcc: down*", "RESOLVED critical b is back", "https://portal.example.com/alerts/1"} {
		if !strings.Contains(got.Text, want) {
			t.Errorf("%q is not in\n%s", want, got.Text)
		}
	}
	srv.Close()
	if err := s.Send(t.Context(), r, message(), "id"); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("closed: %v", err)
	}
	s = open(secrets{"file:slack": "http://bad host/very-secret"})
	if err := s.Send(t.Context(), r, message(), "id"); err == nil || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("bad address: %v", err)
	}
}

func mailTo(s *mailServer, mode string) alert.Receiver {
	return alert.Receiver{Name: "ops", Kind: alert.Email, Mail: &alert.Mail{
		Host: "127.0.0.1", Port: s.port(), TLS: mode, User: "portal", Password: "file:password", From: "portal@example.com", To: []string{"kim@example.com", "lee@example.com"},
	}}
}

func TestMailGoesOutEncryptedAndSignedIn(t *testing.T) {
	for _, mode := range []string{"starttls", "tls"} {
		t.Run(mode, func(t *testing.T) {
			srv := newMailServer(t, func(s *mailServer) { s.implicit = mode == "tls" })
			s := open(nil)
			s.Roots = srv.roots
			if err := s.Send(t.Context(), mailTo(srv, mode), message(), "id-7"); err != nil {
				t.Fatal(err)
			}
			got := srv.got()
			if len(got) != 1 || !got[0].encrypted || got[0].user != "portal" || len(got[0].to) != 2 || !strings.HasPrefix(got[0].from, "FROM:<portal@example.com>") {
				t.Fatalf("mails %+v", got)
			}
			m, err := mail.ReadMessage(strings.NewReader(got[0].data))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
			if err != nil {
				t.Fatal(err)
			}
			if m.Header.Get("Message-Id") != "<id-7@example.com>" || m.Header.Get("Bcc") != "" || m.Header.Get("Subject") != "[CRITICAL] a <!channel> is  Bcc: down" {
				t.Errorf("header %v", m.Header)
			}
			if !strings.Contains(string(body), "It does not answer\r\n") || !strings.Contains(string(body), "https://portal.example.com/alerts/1") {
				t.Errorf("body %s", body)
			}
		})
	}
}

func TestMailServersThatRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(*mailServer)
		trust bool
		kind  fault.Kind
		want  string
	}{
		"no STARTTLS":       {func(s *mailServer) { s.plain = true }, true, fault.Invalid, "STARTTLS"},
		"not trusted":       {nil, false, fault.Unavailable, "not trusted"},
		"wrong password":    {func(s *mailServer) { s.answers["AUTH"] = "535 5.7.8 no" }, true, fault.Invalid, "535"},
		"unknown recipient": {func(s *mailServer) { s.answers["RCPT"] = "550 5.1.1 nobody" }, true, fault.Invalid, "nobody"},
		"later":             {func(s *mailServer) { s.answers["MAIL"] = "451 4.7.1 greylisted" }, true, fault.Unavailable, "greylisted"},
		"hangs":             {func(s *mailServer) { s.hang = true }, true, fault.Unavailable, "in time"},
		"talks for ever":    {func(s *mailServer) { s.answers["EHLO"] = strings.Repeat("250-x\r\n", 60000) + "250 x" }, true, fault.Unavailable, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newMailServer(t, c.set)
			s := open(nil)
			if c.trust {
				s.Roots = srv.roots
			}
			ctx := t.Context()
			if name == "hangs" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			err := s.Send(ctx, mailTo(srv, "starttls"), message(), "id")
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "the password") {
				t.Errorf("got %v", err)
			}
			if got := srv.got(); len(got) != 0 {
				t.Errorf("mails %+v", got)
			}
		})
	}
}

// TestAlertmanager hands alerts to a real one.
func TestAlertmanager(t *testing.T) {
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("prometheus-alertmanager is not installed")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := startAlertmanager(t, program, "--config.file="+config, "--storage.path="+dir, "--cluster.listen-address=", "--web.listen-address=127.0.0.1:0")
	s := open(nil)
	r := alert.Receiver{Kind: alert.Alertmanager, URL: address, Secret: "file:token", Repeat: 60}
	if err := s.Send(t.Context(), r, message(), "id"); err != nil {
		t.Fatal(err)
	}
	type seen struct {
		Labels       map[string]string
		GeneratorURL string
	}
	active := func() (list []seen) {
		resp, err := http.Get(address + "/api/v2/alerts")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	list := active()
	if len(list) != 1 || list[0].Labels["agent"] != "a" || list[0].GeneratorURL != "https://portal.example.com/alerts/1" {
		t.Fatalf("alerts %+v", list)
	}
	m := message()
	now := time.Now()
	m.Alerts[0].ResolvedAt, m.Alerts[0].Status = &now, alert.Resolved
	if err := s.Send(t.Context(), r, m, "id"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); len(active()) > 0; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("alerts %+v", active())
		}
	}
	m.Alerts[0].Labels = map[string]string{}
	if err := s.Send(t.Context(), r, m, "id"); !fault.Is(err, fault.Invalid) {
		t.Errorf("an alert without labels: %v", err)
	}
}
