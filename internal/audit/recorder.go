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

// Record appends an entry. It takes part in the transaction in ctx, so that
// the change and its entry are stored together or not at all. before and after
// are stored as JSON, nil as nothing; the caller leaves secrets and values of
// environment variables out of them.
func (r *Recorder) Record(ctx context.Context, action, target string, outcome Outcome, reason string, before, after any) error {
	b, err := encode(before)
	if err != nil {
		return fmt.Errorf("audit %s: before: %w", action, err)
	}
	a, err := encode(after)
	if err != nil {
		return fmt.Errorf("audit %s: after: %w", action, err)
	}
	who := ActorFrom(ctx)
	err = r.Store.Append(ctx, Entry{
		At:      stamp(r.Now()),
		Actor:   text(who.ID),
		Role:    text(who.Role),
		From:    text(who.From),
		Action:  text(action),
		Target:  text(target),
		Outcome: outcome,
		Reason:  text(reason),
		Request: text(who.Request),
		Before:  b,
		After:   a,
	})
	if err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
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
