package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
)

// verdict is what an event says about a rule.
type verdict int

const (
	nothing verdict = iota
	fires
	clears
)

// eventRule is a rule on events. There is one alert an agent.
type eventRule struct {
	ID, Name, Severity string
	What               string // what it is about, for people
	Types              []event.Type
	// Judge says what the event means, and describes it for people.
	Judge func(e event.Event) (verdict, string)
	// Quiet is how long it must not happen again for the alert to end by itself;
	// 0 for those that another event ends.
	Quiet time.Duration
}

func (r eventRule) rule() Rule {
	return Rule{ID: r.ID, Name: r.Name, Expr: r.What, Labels: map[string]string{"severity": r.Severity}}
}

// crashes is how often an instance is started again in a row before it counts as
// a crash loop.
const crashes = 3

// eventRules are the rules on events.
var eventRules = []eventRule{
	{ID: "event-agent-errored", Name: "AgentErrored", Severity: Critical, What: "an agent became ERRORED",
		Types: []event.Type{event.AgentStateChanged, event.AgentDeleted}, Judge: judgeErrored},
	{ID: "event-crash-loop", Name: "AgentCrashLoop", Severity: Critical, What: "an instance was started again 3 times in a row",
		Types: []event.Type{event.InstanceChanged, event.AgentStateChanged, event.AgentDeleted}, Judge: judgeCrash, Quiet: 10 * time.Minute},
	{ID: "event-dead-letter", Name: "DeadLetter", Severity: Warning, What: "a command could not be done and became a dead letter",
		Types: []event.Type{event.DeadLetter, event.AgentDeleted}, Judge: judgeDead, Quiet: 30 * time.Minute},
	{ID: "event-operation-failed", Name: "OperationFailed", Severity: Warning, What: "an operation failed",
		Types: []event.Type{event.OperationChanged, event.AgentDeleted}, Judge: judgeOperation, Quiet: time.Hour},
}

func judgeErrored(e event.Event) (verdict, string) {
	var p event.StateChanged
	if e.Type == event.AgentDeleted {
		return clears, "The agent was deleted"
	}
	if json.Unmarshal(e.Data, &p) != nil {
		return nothing, ""
	}
	if p.NewState == "ERRORED" {
		return fires, p.Reason
	}
	return clears, "It is " + p.NewState
}

func judgeCrash(e event.Event) (verdict, string) {
	if e.Type == event.InstanceChanged {
		var p event.Instance
		if json.Unmarshal(e.Data, &p) == nil && p.State == "backoff" && p.Restarts >= crashes {
			return fires, fmt.Sprintf("Instance %s was started again %d times: %s", p.InstanceID, p.Restarts, p.Reason)
		}
		return nothing, ""
	}
	var p event.StateChanged
	if e.Type == event.AgentStateChanged && json.Unmarshal(e.Data, &p) == nil && (p.NewState == "ERRORED" || p.OldState == "ERRORED" && p.NewState != "STOPPED") {
		return nothing, "" // it was given up for this, or is tried again
	}
	return clears, "The agent was stopped or deleted"
}

func judgeDead(e event.Event) (verdict, string) {
	if e.Type == event.AgentDeleted {
		return clears, "The agent was deleted"
	}
	var p struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
		Error  string `json:"error"`
	}
	if json.Unmarshal(e.Data, &p) != nil {
		return nothing, ""
	}
	return fires, "Command " + p.ID + " " + p.Reason + p.Error
}

func judgeOperation(e event.Event) (verdict, string) {
	if e.Type == event.AgentDeleted {
		return clears, "The agent was deleted"
	}
	var p event.Operation
	if json.Unmarshal(e.Data, &p) != nil {
		return nothing, ""
	}
	switch p.State {
	case "FAILED":
		return fires, p.Kind + " failed: " + p.Error
	case "SUCCEEDED", "COMPLETED":
		return clears, p.Kind + " succeeded"
	}
	return nothing, ""
}

// quietOf is how long the alert must not happen again to end by itself; 0 if it
// does not.
func quietOf(a *Alert) time.Duration {
	for _, r := range eventRules {
		if r.ID == a.RuleID {
			return r.Quiet
		}
	}
	return 0
}

// markEvents is the name under which the number of the next event is kept.
const markEvents = "alerts.events"

// follow reads the stream of events from where it was left.
func (s *Service) follow(ctx context.Context) {
	wake, stop := s.Events.Watch()
	defer stop()
	tick := time.NewTicker(time.Second) // events may be appended by another process
	defer tick.Stop()
	for {
		if err := s.CatchUp(ctx); err != nil {
			s.logged(ctx, "follow events", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
	}
}

// CatchUp takes in what has happened since the last time, also since before a
// restart. At the very first time it begins with what happens from then on.
func (s *Service) CatchUp(ctx context.Context) error {
	next, err := s.Rules.Mark(ctx, markEvents)
	if err != nil {
		return err
	}
	oldest, newest, err := s.Events.Bounds(ctx)
	if err != nil {
		return err
	}
	after := next - 1
	if next == 0 || after > newest {
		return s.Rules.SetMark(ctx, markEvents, newest+1)
	}
	after = max(after, oldest-1)
	for after < newest && ctx.Err() == nil {
		list, err := s.Events.Find(ctx, event.Query{After: after, Types: listened(), Limit: 256})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			if newest-after < 500 {
				return nil // what it would save to look at is less than the writing costs
			}
			return s.Rules.SetMark(ctx, markEvents, newest+1)
		}
		if err := s.take(ctx, list); err != nil {
			return err
		}
		after = list[len(list)-1].Seq
	}
	return nil
}

// listened are the types of events that rules are on.
func listened() []event.Type {
	set := map[event.Type]bool{}
	for _, r := range eventRules {
		for _, t := range r.Types {
			set[t] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// take applies events, and notes in the same transaction that it has.
func (s *Service) take(ctx context.Context, list []event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []change
	drafts := map[string]*change{} // by key, so that one transaction stores each alert once
	var order []string
	for _, e := range list {
		for _, r := range eventRules {
			if !slices.Contains(r.Types, e.Type) || !s.rules.has(r.ID) {
				continue
			}
			key, c := s.judge(r, e, drafts)
			if c == nil {
				continue
			}
			before := drafts[key]
			if before == nil {
				order = append(order, key)
			} else if !before.drop && before.alert.ID != c.alert.ID {
				changes = append(changes, *before) // ended, and began anew
			}
			drafts[key] = c
		}
	}
	for _, key := range order {
		if c := drafts[key]; !c.drop {
			changes = append(changes, *c)
		}
	}
	last := list[len(list)-1].Seq
	return s.commit(ctx, changes, func(ctx context.Context) error { return s.Rules.SetMark(ctx, markEvents, last+1) })
}

// judge gives what the event does to the alert of the rule; nil for nothing.
func (s *Service) judge(r eventRule, e event.Event, drafts map[string]*change) (string, *change) {
	what, text := r.Judge(e)
	labels := map[string]string{"alertname": r.Name, "severity": r.Severity}
	if e.AgentID != "" {
		labels["agent"] = e.AgentID
	}
	key := keyOf(r.ID, labels)
	old, fresh := s.active[key], s.active[key] == nil
	if d := drafts[key]; d != nil {
		old = d.alert
		if d.drop || old.ResolvedAt != nil {
			old = nil
		}
	}
	switch {
	case what == fires && old == nil:
		at := e.At
		a := &Alert{
			ID: s.NewID(), RuleID: r.ID, Key: key, Name: r.Name, Severity: r.Severity, Source: FromEvent, AgentID: e.AgentID,
			Labels: labels, Annotations: map[string]string{}, Expr: r.What, Count: 1, ActiveAt: at, FiredAt: &at, LastSeenAt: at,
		}
		a.describe(r, text)
		return key, &change{alert: a, note: cut(text, maxReason)}
	case what == fires:
		a := old.copy()
		a.Count++
		a.LastSeenAt = e.At
		a.describe(r, text)
		return key, &change{alert: a, quiet: drafts[key] == nil, note: cut(text, maxReason)}
	case what == clears && old != nil:
		if fresh && drafts[key] != nil {
			return key, &change{alert: old, drop: true} // came and went before anybody looked
		}
		a := old.copy()
		at := e.At
		a.ResolvedAt = &at
		return key, &change{alert: a, note: cut(text, maxReason)}
	}
	return key, nil
}

// describe says what happened.
func (a *Alert) describe(r eventRule, text string) {
	who := a.AgentID
	if who == "" {
		who = "The fleet"
	}
	a.Annotations["summary"] = cut(who+": "+r.What, MaxNote)
	a.Annotations["description"] = cut(text, MaxNote)
	a.Value = strconv.Itoa(a.Count)
}
