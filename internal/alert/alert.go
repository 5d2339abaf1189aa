// Package alert says when something is wrong, to whom, and who is looking after
// it.
//
// Rules are of two kinds. Those of Prometheus rule files ask a metrics.Querier at
// the interval of their group; those on events are told by the stored stream of
// events and fire within a second. Either makes alerts, which are pending, firing,
// acknowledged, silenced and resolved. What has to be told to somebody is put into
// a queue in the same transaction, so that it survives the death of the portal.
package alert

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
)

// Status is how an alert stands.
type Status string

// The statuses.
const (
	Pending      Status = "pending"      // the condition holds, but not for long enough
	Firing       Status = "firing"       // somebody should look
	Acknowledged Status = "acknowledged" // firing, and somebody does
	Silenced     Status = "silenced"     // firing, and nobody wants to hear of it
	Resolved     Status = "resolved"     // the condition does not hold any more
	Inactive     Status = "inactive"     // it was pending and came to nothing; never stored
)

// Statuses are all of them, the most urgent first.
var Statuses = []Status{Firing, Acknowledged, Silenced, Pending, Resolved}

// Active tells whether the alert has fired and not been resolved.
func (s Status) Active() bool { return s == Firing || s == Acknowledged || s == Silenced }

// The severities that the portal knows an order of; rules may have others.
const (
	Critical = "critical"
	Warning  = "warning"
	Info     = "info"
)

// Where alerts come from.
const (
	FromMetric = "metric"
	FromEvent  = "event"
)

// Acknowledgement says who looks after an alert.
type Acknowledgement struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Alert is one time that the condition of a rule held for one set of labels,
// from its beginning to its end.
type Alert struct {
	ID     string `json:"id"`
	RuleID string `json:"rule_id"`
	// Key is the rule and the labels: at most one alert of a key is not resolved.
	Key         string            `json:"key"`
	Name        string            `json:"name"`
	Severity    string            `json:"severity,omitempty"`
	Status      Status            `json:"state"`
	Source      string            `json:"source" enum:"metric,event"`
	AgentID     string            `json:"agent_id,omitempty"`
	AgentName   string            `json:"agent_name,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	// Value is what the expression gave last, as text: it may be no number.
	Value string `json:"value,omitempty"`
	Expr  string `json:"expression,omitempty"`
	// Count is how often it happened, for alerts on events.
	Count      int              `json:"count,omitempty"`
	ActiveAt   time.Time        `json:"active_at"`
	FiredAt    *time.Time       `json:"fired_at,omitempty"`
	ResolvedAt *time.Time       `json:"resolved_at,omitempty"`
	ChangedAt  time.Time        `json:"changed_at"`
	LastSeenAt time.Time        `json:"last_seen_at"`
	Ack        *Acknowledgement `json:"acknowledgement,omitempty"`
	SilenceID  string           `json:"silence_id,omitempty"`

	stored time.Time // when it was stored last
}

// Summary is one line about the alert.
func (a *Alert) Summary() string {
	return cmp.Or(a.Annotations["summary"], a.Annotations["title"], a.Annotations["message"], a.Annotations["description"], a.Name)
}

// copy gives one that can be changed on its own.
func (a *Alert) copy() *Alert {
	c := *a
	c.Labels, c.Annotations = maps.Clone(a.Labels), maps.Clone(a.Annotations)
	return &c
}

// standing gives the status that follows from what is known of the alert.
func (a *Alert) standing() Status {
	switch {
	case a.ResolvedAt != nil:
		return Resolved
	case a.FiredAt == nil:
		return Pending
	case a.SilenceID != "":
		return Silenced
	case a.Ack != nil:
		return Acknowledged
	}
	return Firing
}

// Place orders alerts, the most urgent first: by status, then severity.
func (a *Alert) Place() int {
	severity := slices.Index([]string{Critical, Warning, Info}, a.Severity)
	if severity < 0 {
		severity = 3
	}
	return slices.Index(Statuses, a.Status)*10 + severity
}

// Change is one entry of the history of an alert.
type Change struct {
	AlertID string    `json:"-"`
	At      time.Time `json:"at"`
	Status  Status    `json:"state"`
	Actor   string    `json:"actor"`
	Note    string    `json:"note,omitempty"`
}

// Query selects alerts. Zero fields do not restrict.
type Query struct {
	Statuses   []Status
	Severities []string
	AgentIDs   []string
	Name       string
	RuleID     string
	Limit      int // default 100, at most 1000
	Cursor     string
}

// Store keeps alerts and what happened to them. NotFound for an unknown one.
type Store interface {
	Alert(ctx context.Context, id string) (*Alert, error)
	// Alerts lists by Place, then the last changed first.
	Alerts(ctx context.Context, q Query) (list []Alert, next string, err error)
	// SaveAlert stores an alert in the place of the one with its id.
	SaveAlert(ctx context.Context, a Alert) error
	// DropAlert removes one that came to nothing, with its history.
	DropAlert(ctx context.Context, id string) error
	// CountAlerts counts by status and severity, of the agents if any are named.
	CountAlerts(ctx context.Context, agentIDs ...string) ([]Tally, error)
	AddChange(ctx context.Context, c Change) error
	// Changes lists oldest first.
	Changes(ctx context.Context, alertID string) ([]Change, error)
	// PruneAlerts removes those resolved before.
	PruneAlerts(ctx context.Context, before time.Time) (int, error)
}

// Tally is how many alerts there are of one kind.
type Tally struct {
	Status   Status `json:"state"`
	Severity string `json:"severity"`
	Count    int    `json:"count"`
}

// keyOf names a set of labels of a rule.
func keyOf(ruleID string, labels map[string]string) string {
	var b strings.Builder
	b.WriteString(ruleID)
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString("\x00" + name + "\x00" + labels[name])
	}
	return digest(b.String())
}

// digest gives a short name of a text.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}
