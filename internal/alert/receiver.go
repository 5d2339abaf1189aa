package alert

import (
	"context"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Kind is what a receiver speaks.
type Kind string

// The kinds of receivers.
const (
	Webhook      Kind = "webhook"      // signed JSON
	Email        Kind = "email"        // SMTP
	Slack        Kind = "slack"        // an incoming webhook that takes {"text"}
	Alertmanager Kind = "alertmanager" // its API, version 2
)

// Kinds are all of them.
var Kinds = []Kind{Webhook, Email, Slack, Alertmanager}

// Receiver is somebody who is told about alerts: whom, which alerts, how often.
type Receiver struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Kind     Kind   `json:"kind" enum:"webhook,email,slack,alertmanager"`
	Disabled bool   `json:"disabled,omitempty"`
	// URL is where webhook, slack and alertmanager are reached: an address without
	// credentials, or a reference to a secret that holds it.
	URL string `json:"url,omitempty" maxLength:"2000"`
	// Secret is a reference: the key that webhooks are signed with, or the bearer
	// token for an Alertmanager.
	Secret string `json:"secret,omitempty" maxLength:"200"`
	Mail   *Mail  `json:"email,omitempty"`
	// Matchers say which alerts; none means all.
	Matchers []Matcher `json:"matchers"`
	// GroupBy are the labels by which alerts are told together.
	GroupBy []string `json:"group_by"`
	// Wait is how long the first message of a group waits for more alerts, Every
	// how long a further one waits, Repeat when a group that still fires is told
	// again; in seconds.
	Wait      int       `json:"group_wait_seconds" minimum:"0" maximum:"3600"`
	Every     int       `json:"group_interval_seconds" minimum:"0" maximum:"86400"`
	Repeat    int       `json:"repeat_interval_seconds" minimum:"0" maximum:"2678400"`
	LeaveEnds bool      `json:"leave_out_resolved,omitempty"`
	By        string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Mail is how mails are sent.
type Mail struct {
	Host     string   `json:"host" maxLength:"253"`
	Port     int      `json:"port" minimum:"1" maximum:"65535"`
	TLS      string   `json:"tls" enum:"starttls,tls,none" doc:"starttls refuses servers that do not offer it"`
	User     string   `json:"user,omitempty" maxLength:"200"`
	Password string   `json:"password,omitempty" maxLength:"200" doc:"Reference to the secret: file:NAME or env:PORTAL_SECRET_NAME"`
	From     string   `json:"from" maxLength:"254"`
	To       []string `json:"to" maxItems:"50"`
}

var (
	reference = regexp.MustCompile(`^(file:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|env:PORTAL_SECRET_[A-Z0-9_]{1,100})$`)
	labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,199}$`)
	hostName  = regexp.MustCompile(`^[A-Za-z0-9.:\[\]_-]{1,253}$`)
)

// IsReference tells whether the text names a secret.
func IsReference(s string) bool { return reference.MatchString(s) }

// complete fills in what was left open.
func (r *Receiver) complete() {
	if r.Wait == 0 && r.Kind != Alertmanager {
		r.Wait = 10
	}
	if r.Every == 0 {
		r.Every = map[bool]int{true: 15, false: 60}[r.Kind == Alertmanager]
	}
	if r.Repeat == 0 {
		r.Repeat = map[bool]int{true: 60, false: 4 * 3600}[r.Kind == Alertmanager]
	}
	if r.GroupBy == nil && r.Kind != Alertmanager {
		r.GroupBy = []string{"alertname", "severity"}
	}
	if r.Matchers == nil {
		r.Matchers = []Matcher{}
	}
	if r.GroupBy == nil {
		r.GroupBy = []string{}
	}
}

// check gives everything that is wrong with the receiver.
func (r *Receiver) check() error {
	var wrong []fault.Field
	bad := func(path, message string) { wrong = append(wrong, fault.Field{Path: path, Message: message}) }
	if n := len(strings.TrimSpace(r.Name)); n == 0 || n > 100 || strings.ContainsAny(r.Name, "\r\n") {
		bad("name", "must have 1 to 100 characters on one line")
	}
	switch r.Kind {
	case Webhook, Slack, Alertmanager:
		r.checkURL(bad)
		if r.Mail != nil {
			bad("email", "is only for receivers of the kind email")
		}
	case Email:
		r.checkMail(bad)
	default:
		bad("kind", "must be webhook, email, slack or alertmanager")
	}
	if r.Kind == Webhook && r.Secret == "" {
		bad("secret", "must be a reference, file:NAME or env:PORTAL_SECRET_NAME: messages are signed with what it names")
	}
	if r.Kind == Slack && r.Secret != "" {
		bad("secret", "is not for receivers of the kind slack")
	}
	if r.Secret != "" && !IsReference(r.Secret) {
		bad("secret", "must be a reference, file:NAME or env:PORTAL_SECRET_NAME, and not the secret itself")
	}
	_, problems := compile(r.Matchers, "matchers")
	wrong = append(wrong, problems...)
	if len(r.GroupBy) > 10 || slices.ContainsFunc(r.GroupBy, func(l string) bool { return !labelName.MatchString(l) }) {
		bad("group_by", "must be at most 10 names of labels")
	}
	if r.Wait < 0 || r.Wait > 3600 {
		bad("group_wait_seconds", "must be 0 to 3600")
	}
	if r.Every < 1 || r.Every > 86400 {
		bad("group_interval_seconds", "must be 1 to 86400")
	}
	if r.Repeat < 30 || r.Repeat > 31*86400 {
		bad("repeat_interval_seconds", "must be 30 to 2678400")
	}
	if len(wrong) > 0 {
		return fault.New(fault.Invalid, "alert.receiver_invalid", "The receiver can't be used").At(wrong...)
	}
	return nil
}

func (r *Receiver) checkURL(bad func(path, message string)) {
	if IsReference(r.URL) {
		return
	}
	u, err := url.Parse(r.URL)
	switch {
	case r.Kind == Slack:
		// The address of such a webhook is all that is needed to post there.
		bad("url", "must be a reference, file:NAME or env:PORTAL_SECRET_NAME: the address of an incoming webhook is a secret")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		bad("url", "must be an address as in https://example.com/hook, or a reference, file:NAME or env:PORTAL_SECRET_NAME")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		bad("url", "must have no credentials, query or fragment; an address with a secret in it is given as a reference, file:NAME or env:PORTAL_SECRET_NAME")
	}
}

func (r *Receiver) checkMail(bad func(path, message string)) {
	m := r.Mail
	if m == nil {
		bad("email", "is missing")
		return
	}
	if r.URL != "" || r.Secret != "" {
		bad("url", "and secret are not for receivers of the kind email")
	}
	if !hostName.MatchString(m.Host) {
		bad("email.host", "must be the name of a mail server")
	}
	if m.Port < 1 || m.Port > 65535 {
		bad("email.port", "must be 1 to 65535, most often 587")
	}
	if m.TLS != "starttls" && m.TLS != "tls" && m.TLS != "none" {
		bad("email.tls", "must be starttls, tls or none")
	}
	if m.Password != "" && !IsReference(m.Password) {
		bad("email.password", "must be a reference, file:NAME or env:PORTAL_SECRET_NAME, and not the password itself")
	}
	if (m.User == "") != (m.Password == "") {
		bad("email.user", "and email.password go together")
	}
	if m.User != "" && m.TLS == "none" {
		bad("email.tls", "must not be none with a password, which everybody on the way could read")
	}
	if !address(m.From) {
		bad("email.from", "must be one address, as in portal@example.com")
	}
	if len(m.To) == 0 || len(m.To) > 50 {
		bad("email.to", "must be 1 to 50 addresses")
	}
	for i, to := range m.To {
		if !address(to) {
			bad(fmt.Sprintf("email.to[%d]", i), "must be an address, as in ops@example.com")
		}
	}
}

// address tells whether the text is a mail address and nothing more.
func address(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= 254
}

// recipient is a receiver whose matchers are ready.
type recipient struct {
	Receiver
	rules []rule
}

// wants tells whether the receiver is told about alerts with these labels.
func (r *recipient) wants(labels map[string]string) bool { return !r.Disabled && fits(r.rules, labels) }

// group gives the labels that the alert is told by, and their key.
func (r *Receiver) group(labels map[string]string) (map[string]string, string) {
	if len(r.GroupBy) == 0 && r.Kind == Alertmanager {
		return map[string]string{}, "all" // it groups by itself
	}
	out := map[string]string{}
	for _, name := range r.GroupBy {
		out[name] = labels[name]
	}
	return out, keyOf("", out)
}

// ReceiverStore keeps receivers. NotFound for an unknown one, Conflict for a name
// that is taken.
type ReceiverStore interface {
	Receiver(ctx context.Context, id string) (*Receiver, error)
	// Receivers lists by name.
	Receivers(ctx context.Context) ([]Receiver, error)
	SaveReceiver(ctx context.Context, r Receiver) error
	// DeleteReceiver removes one with what waits for it.
	DeleteReceiver(ctx context.Context, id string) error
}
