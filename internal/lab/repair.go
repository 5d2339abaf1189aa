package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// settling is how long a record may still be corrected before it is judged: a
// person has not read it sooner.
const settling = 2 * time.Second

// diagnosis waits for the record of the fault, and judges it.
func (l *Lab) diagnosis(ctx context.Context, s *scene, o *Outcome, begun time.Time) (*record, error) {
	var seen time.Time
	_, err := until(ctx, s.patience, func(ctx context.Context) (bool, error) {
		list, err := l.portal.records(ctx, s.name)
		if len(list) > 0 && seen.IsZero() {
			seen = time.Now()
			o.Noticed = seen.Sub(begun)
		}
		i := slices.IndexFunc(list, func(r record) bool { return len(r.Suggestions) > 0 })
		if i >= 0 {
			o.Suggested = max(time.Since(list[i].FirstSeen), time.Millisecond) // the clock is this machine's
		}
		return i >= 0, err
	})
	if err != nil || seen.IsZero() {
		return nil, err
	}
	pause(ctx, settling)
	list, err := l.portal.records(ctx, s.name)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	r := judged(list)
	o.Class, o.Cause, o.Title = r.Class, r.Cause, r.Title
	for _, g := range r.Suggestions {
		o.Offered = append(o.Offered, g.Fix+map[bool]string{true: "*"}[g.OneClick])
	}
	for i := range list {
		if list[i].ID != r.ID {
			o.Others = append(o.Others, list[i].Cause)
		}
	}
	return r, nil
}

// judged is the record that a person looks at: the newest that is still open,
// or the newest of all.
func judged(list []record) *record {
	for i := range list {
		if list[i].State == "open" || list[i].State == "recovering" {
			return &list[i]
		}
	}
	return &list[0]
}

// mending is how long an agent may take to be well after a fix, and staying how
// long it has to stay so.
const (
	mending = 45 * time.Second
	staying = 5 * time.Second
)

// takeSuggestion does what a person does who trusts the portal: the first
// suggestion that needs nothing filled in.
func (l *Lab) takeSuggestion(ctx context.Context, s *scene, o *Outcome, begun time.Time) error {
	r, err := l.diagnosis(ctx, s, o, begun)
	if err != nil {
		return err
	}
	if r == nil {
		v, err := l.portal.agent(ctx, s.name)
		o.Ended = fmt.Sprintf("no record, though the agent is %s and %s %s", v.State, v.Health, v.HealthReason)
		return err
	}
	if r.State == "recovered" {
		o.Fix, o.Ended = "", "well again before anything was done"
		o.Well, err = l.settles(ctx, s)
		return err
	}
	i := slices.IndexFunc(r.Suggestions, func(g suggestion) bool { return g.OneClick })
	if i < 0 {
		o.Ended = "nothing was suggested that one click does"
		return nil
	}
	fix := r.Suggestions[i]
	o.Fix = fix.Fix
	if taken, err := l.apply(ctx, r.ID, fix, o); err != nil || !taken {
		return err
	}
	if o.Well, err = l.settles(ctx, s); o.Well {
		o.Recovered = time.Since(begun) - staying
	}
	return err
}

// apply does the fix and waits for the end of its operation. Whether it has
// helped the agent shows, whatever the operation says.
func (l *Lab) apply(ctx context.Context, id string, fix suggestion, o *Outcome) (bool, error) {
	var begunOp struct{ Operation work }
	body := map[string]any{}
	if len(fix.Parameters) > 0 {
		body["parameters"] = fix.Parameters
	}
	err := l.portal.call(ctx, http.MethodPost, "/errors/"+id+"/fixes/"+fix.Fix, body, &begunOp)
	if statusOf(err) >= 400 && statusOf(err) < 500 {
		o.Ended = "the fix was refused: " + err.Error()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	op := begunOp.Operation
	_, err = until(ctx, time.Minute, func(ctx context.Context) (bool, error) {
		return op.over(), l.portal.call(ctx, http.MethodGet, "/operations/"+op.ID, nil, &op)
	})
	if op.State != "SUCCEEDED" && op.Problem != nil {
		o.Ended = "the fix's operation " + strings.ToLower(op.State) + ": " + op.Problem.What + " " + op.Problem.Why
	}
	return true, err
}

// settles tells whether the agent gets well and stays so.
func (l *Lab) settles(ctx context.Context, s *scene) (bool, error) {
	limit, cancel := context.WithTimeout(ctx, mending)
	defer cancel()
	for limit.Err() == nil {
		ok, err := until(limit, mending, s.well)
		if err != nil || !ok {
			return false, unlessOver(ctx, limit, err)
		}
		before, err := l.portal.agent(ctx, s.name)
		if err != nil {
			return false, err
		}
		end := time.Now().Add(staying)
		for {
			ok, err := s.well(ctx)
			v, err2 := l.portal.agent(ctx, s.name)
			if err := errors.Join(err, err2); err != nil {
				return false, err
			}
			if !ok || v.runs() != before.runs() {
				break // not yet
			}
			if time.Now().After(end) {
				return true, nil
			}
			if !pause(ctx, 250*time.Millisecond) {
				return false, ctx.Err()
			}
		}
	}
	return false, nil
}

// unlessOver leaves out the error of a time that was up.
func unlessOver(ctx, limit context.Context, err error) error {
	if ctx.Err() == nil && limit.Err() != nil {
		return nil //nolint:nilerr // that it was not in time is the finding
	}
	return err
}

// well tells whether the agent is well in every respect that matters.
func (s *scene) well(ctx context.Context) (bool, error) {
	v, err := s.p.agent(ctx, s.name)
	if err != nil || !v.well() || v.Active != "" {
		return false, err
	}
	if s.cured == nil {
		return true, nil
	}
	return s.cured(ctx)
}

// watchRepair waits for the portal to repair the agent by itself.
func (l *Lab) watchRepair(ctx context.Context, s *scene, o *Outcome, begun time.Time) error {
	r, err := l.diagnosis(ctx, s, o, begun)
	if err != nil {
		return err
	}
	if r == nil {
		v, err := l.portal.agent(ctx, s.name)
		o.Ended = fmt.Sprintf("no record, though the agent is %s and %s %s", v.State, v.Health, v.HealthReason)
		return err
	}
	if o.Well, err = l.settles(ctx, s); err != nil {
		return err
	}
	if o.Well {
		o.Recovered = time.Since(begun) - staying
	}
	list, err := l.portal.operations(ctx, s.name)
	if err != nil {
		return err
	}
	for _, op := range slices.Backward(list) {
		if op.Actor != list[len(list)-1].Actor {
			o.Fix = strings.TrimPrefix(o.Fix+" "+op.Kind, " ")
		}
	}
	return nil
}
