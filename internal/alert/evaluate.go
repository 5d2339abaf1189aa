package alert

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// queryTime is how long one rule may take.
const queryTime = 30 * time.Second

// RuleStatus is how the evaluation of a rule went last.
type RuleStatus struct {
	At     time.Time     `json:"evaluated_at"`
	Took   time.Duration `json:"-"`
	Error  string        `json:"error,omitempty"`
	Alerts int           `json:"alerts"`
}

// Evaluate evaluates the rules of the group as of a moment, in their order.
func (s *Service) Evaluate(ctx context.Context, g *Group, at time.Time) {
	for i := range g.Rules {
		if ctx.Err() != nil {
			return
		}
		r := &g.Rules[i]
		begun := time.Now()
		n, err := s.evaluate(ctx, g, r, at)
		st := RuleStatus{At: at, Took: time.Since(begun), Alerts: n}
		if err != nil {
			if st.Error = "It could not be evaluated"; fault.As(err) != nil {
				st.Error = err.Error()
			} else if ctx.Err() == nil {
				s.Log.Warn("alerts: can't evaluate a rule", "group", g.Key(), "rule", r.Name, "err", err)
			}
		}
		s.status.Store(r.ID, st)
	}
}

func (s *Service) evaluate(ctx context.Context, g *Group, r *Rule, at time.Time) (int, error) {
	if s.Querier == nil {
		return 0, fault.New(fault.Unavailable, "alert.no_metrics", "No metrics are kept").Do("Configure where they are.")
	}
	ask, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	result, err := s.Querier.Instant(ask, r.Expr, at.Add(-g.Offset))
	if err != nil {
		return 0, err
	}
	if result.Type != metrics.Vector && result.Type != metrics.Scalar {
		return 0, fault.New(fault.Invalid, "alert.rule_type", "The expression gives a %s", result.Type).Do("A rule needs a vector or a number.")
	}
	if r.Recording {
		return 0, s.store(ctx, r, result, at)
	}
	found, note := s.matches(ask, g, r, result, at)
	if err := s.settle(ctx, r, found, at); err != nil {
		return 0, err
	}
	return len(found), note
}

// store keeps what a recording rule gave.
func (s *Service) store(ctx context.Context, r *Rule, result metrics.Result, at time.Time) error {
	if s.Appender == nil {
		return fault.New(fault.Unavailable, "alert.no_recording", "The result can't be stored").
			Because("metrics are kept by another server").Do("Let that server evaluate the recording rules.")
	}
	samples := make([]metrics.Sample, 0, len(result.Series))
	for _, p := range result.Series {
		if len(p.Points) == 0 {
			continue
		}
		labels := maps.Clone(p.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, r.Labels)
		labels[metrics.LabelName] = r.Name
		samples = append(samples, metrics.Sample{Labels: labels, At: at, Value: p.Points[0].Value})
	}
	return s.Appender.Append(ctx, samples)
}

// match is one set of labels for which the condition holds.
type match struct {
	key           string
	labels, notes map[string]string
	value         float64
}

// matches makes the alerts that the result stands for. The error says what could
// not be made; what is given is right all the same.
func (s *Service) matches(ctx context.Context, g *Group, r *Rule, result metrics.Result, at time.Time) ([]match, error) {
	limit := MaxOfRule
	if g.Limit > 0 {
		limit = min(limit, g.Limit)
	}
	out := make([]match, 0, min(len(result.Series), limit))
	seen := map[string]bool{}
	var problem error
	for _, p := range result.Series {
		if len(p.Points) == 0 {
			continue
		}
		if len(out) == limit {
			problem = fault.New(fault.TooLarge, "alert.too_many", "The rule finds %d series and makes %d alerts", len(result.Series), limit).
				Do("Sum up over labels that are not needed.")
			break
		}
		m, err := s.expand(ctx, r, p.Labels, p.Points[0].Value, at)
		if err != nil {
			problem = err
		}
		if seen[m.key] {
			problem = fault.New(fault.Invalid, "alert.same_labels", "The rule finds several series that its labels make the same").
				Do("Don't overwrite labels that tell series apart.")
			continue
		}
		seen[m.key] = true
		out = append(out, m)
	}
	return out, problem
}

// expand gives the labels and annotations of an alert. A template that can't be
// filled in says so in its place.
func (s *Service) expand(ctx context.Context, r *Rule, series map[string]string, value float64, at time.Time) (match, error) {
	given := maps.Clone(series)
	if given == nil {
		given = map[string]string{}
	}
	delete(given, metrics.LabelName)
	facts := Facts{Name: r.Name, Labels: given, Value: value, At: at}
	m := match{labels: maps.Clone(given), notes: map[string]string{}, value: value}
	var problem error
	fill := func(kind, name, text string, size int) string {
		if !strings.Contains(text, "{{") {
			return cut(text, size)
		}
		out, err := s.Language.Expand(ctx, text, facts)
		if err != nil {
			problem = fault.New(fault.Invalid, "alert.template", "The %s %s can't be filled in", kind, name).Wrap(err)
			return "(the template can't be filled in)"
		}
		return cut(out, size)
	}
	for name, text := range r.Labels {
		m.labels[name] = fill("label", name, text, MaxLabel)
	}
	for name, text := range r.Notes {
		m.notes[name] = fill("annotation", name, text, MaxNote)
	}
	m.labels["alertname"] = r.Name
	m.key = keyOf(r.ID, m.labels)
	return m, problem
}

// cut shortens a text to a number of bytes, and drops what no store keeps.
func cut(s string, size int) string {
	if len(s) > size {
		s = s[:size]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
}

// settle brings the alerts of the rule to what was found.
func (s *Service) settle(ctx context.Context, r *Rule, found []match, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.rules.has(r.ID) {
		return nil // it was taken out while it was being evaluated
	}
	var list []change
	still := make(map[string]bool, len(found))
	for _, m := range found {
		still[m.key] = true
		if c := s.seen(r, m, at); c != nil {
			list = append(list, *c)
		}
	}
	for key, a := range s.active {
		if still[key] || a.RuleID != r.ID {
			continue
		}
		if c := s.gone(r, a, at); c != nil {
			list = append(list, *c)
		}
	}
	return s.commit(ctx, list, nil)
}

// storeEvery is how often the value of an alert is stored that does not change
// otherwise.
const storeEvery = time.Minute

// seen is what becomes of an alert whose condition holds; nil if nothing does
// that has to be stored.
func (s *Service) seen(r *Rule, m match, at time.Time) *change {
	old := s.active[m.key]
	if old == nil {
		a := &Alert{
			ID: s.NewID(), RuleID: r.ID, Key: m.key, Name: r.Name, Severity: m.labels["severity"], Source: FromMetric,
			AgentID: m.labels["agent"], AgentName: m.labels["agent_name"], Labels: m.labels, Annotations: m.notes,
			Value: number(m.value), Expr: r.Expr, ActiveAt: at, LastSeenAt: at,
		}
		if r.For <= 0 {
			a.FiredAt = &at
		}
		return &change{alert: a}
	}
	a := old.copy()
	a.Value, a.Annotations, a.Expr, a.LastSeenAt = number(m.value), m.notes, r.Expr, at
	delete(s.restored, m.key)
	if a.FiredAt == nil && at.Sub(a.ActiveAt) >= r.For {
		a.FiredAt = &at
		return &change{alert: a, note: fmt.Sprintf("It held for %s", r.For)}
	}
	if at.Sub(a.stored) >= storeEvery {
		return &change{alert: a, quiet: true}
	}
	s.active[m.key] = a
	return nil
}

// gone is what becomes of an alert whose condition does not hold any more.
func (s *Service) gone(r *Rule, a *Alert, at time.Time) *change {
	if s.restored[a.Key] && at.Sub(s.startedAt) < s.Settle {
		return nil
	}
	c := a.copy()
	if a.FiredAt == nil {
		return &change{alert: c, drop: true}
	}
	if r.KeepFor > 0 && at.Sub(a.LastSeenAt) < r.KeepFor {
		return nil
	}
	c.ResolvedAt = &at
	return &change{alert: c, note: "The condition does not hold any more"}
}

// number writes a value as text.
func number(v float64) string {
	if math.IsNaN(v) {
		return "NaN"
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}
