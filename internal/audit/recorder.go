package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Actor is who an entry is about, as far as the record is concerned.
type Actor struct {
	ID      string // principal, e.g. "token:01J…" or "system"
	Role    string
	From    string // address
	Request string // id of the request or operation
}

type actorKey struct{}

// WithActor puts into the context who acts.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom gives who acts; the portal itself if the context does not say.
func ActorFrom(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{ID: "system", Role: "admin"}
}

// Trace tells whether an attempt that was not carried out has been recorded, so
// that nobody records it a second time.
type Trace struct{ refused atomic.Bool }

type traceKey struct{}

// WithTrace puts a new Trace into the context.
func WithTrace(ctx context.Context) (context.Context, *Trace) {
	t := &Trace{}
	return context.WithValue(ctx, traceKey{}, t), t
}

// Refused tells whether an entry other than Done was recorded.
func (t *Trace) Refused() bool { return t.refused.Load() }

// Forget tells the Trace in ctx that what was recorded was rolled back.
func Forget(ctx context.Context) {
	if t, ok := ctx.Value(traceKey{}).(*Trace); ok {
		t.refused.Store(false)
	}
}

// maxText bounds the free texts of an entry, in bytes; longer ones are cut so
// that a hostile request cannot fill the record.
const maxText = 4096

// Recorder writes entries about whoever acts in the context.
type Recorder struct {
	Store Store
	Now   func() time.Time
}

// Act is what was done to one target. Before and After are stored as JSON, nil as
// nothing; the caller leaves secrets and values of environment variables out of them.
type Act struct {
	Action, Target string
	Before, After  any
}

// Record appends an entry. It takes part in the transaction in ctx, so that
// the change and its entry are stored together or not at all. before and after
// are as in an Act.
func (r *Recorder) Record(ctx context.Context, action, target string, outcome Outcome, reason string, before, after any) error {
	return r.RecordEach(ctx, outcome, reason, Act{action, target, before, after})
}

// RecordEach appends an entry for each act, as Record does, all at once.
func (r *Recorder) RecordEach(ctx context.Context, outcome Outcome, reason string, acts ...Act) error {
	if len(acts) == 0 {
		return nil
	}
	who, entries := ActorFrom(ctx), make([]Entry, len(acts))
	for i, act := range acts {
		b, err := encode(act.Before)
		if err != nil {
			return fmt.Errorf("audit %s: before: %w", act.Action, err)
		}
		a, err := encode(act.After)
		if err != nil {
			return fmt.Errorf("audit %s: after: %w", act.Action, err)
		}
		entries[i] = Entry{
			At:      stamp(r.Now()),
			Actor:   text(who.ID),
			Role:    text(who.Role),
			From:    text(who.From),
			Action:  text(act.Action),
			Target:  text(act.Target),
			Outcome: outcome,
			Reason:  text(reason),
			Request: text(who.Request),
			Before:  b,
			After:   a,
		}
	}
	if err := r.Store.Append(ctx, entries...); err != nil {
		return fmt.Errorf("audit %s: %w", acts[0].Action, err)
	}
	if t, ok := ctx.Value(traceKey{}).(*Trace); ok && outcome != Done {
		t.refused.Store(true)
	}
	return nil
}

func encode(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	if err != nil || string(b) == "null" {
		return nil, err
	}
	return b, nil
}

// text makes a string that every store gives back byte for byte: valid UTF-8
// without NUL, and not longer than maxText.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
}
