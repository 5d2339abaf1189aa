// Package fault holds the one error type that crosses package borders.
//
// An error that a user may see says what happened, why, and what to do about
// it. The edge turns a fault into an RFC 9457 problem in one place; an error
// that is not a fault is shown as an internal error without detail.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind classifies a fault; each kind has exactly one HTTP status at the edge.
type Kind string

// The kinds, with the HTTP status that the edge gives each.
const (
	Invalid         Kind = "invalid"         // 400: the input is wrong; Fields says where
	Unauthenticated Kind = "unauthenticated" // 401: no or no valid credentials
	Forbidden       Kind = "forbidden"       // 403: known, but the role does not allow it
	NotFound        Kind = "not_found"       // 404: also used to hide existence
	Conflict        Kind = "conflict"        // 409: the present state does not allow it
	Stale           Kind = "stale"           // 412: somebody else changed it first
	TooLarge        Kind = "too_large"       // 413: over a stated limit
	RateLimited     Kind = "rate_limited"    // 429: too many requests
	Unavailable     Kind = "unavailable"     // 503: a needed engine does not answer
	Internal        Kind = "internal"        // 500: a bug or an unforeseen failure
)

// Field is one thing that is wrong with the input.
type Field struct {
	// Path names the field the way the user wrote it, e.g. "probes.liveness.http.port".
	Path string `json:"path" yaml:"path"`
	// Message says what is wrong with it and what is accepted.
	Message string `json:"message" yaml:"message"`
}

// Error is a failure that can be shown to a user as it is. None of its texts
// may hold a secret, a stack or SQL.
type Error struct {
	Kind   Kind
	Code   string         // stable, machine-readable, e.g. "agent.transition_refused"
	What   string         // what happened
	Why    string         // the reason, if it is known
	Remedy string         // what the user can do
	Fields []Field        // what is wrong where, for Invalid
	Extra  map[string]any // more facts for machines, e.g. the allowed actions
	Err    error          // the cause; for logs only, never shown
}

// New makes a fault of the given kind with a stable code and a sentence that
// says what happened.
func New(kind Kind, code, what string, args ...any) *Error {
	if len(args) > 0 {
		what = fmt.Sprintf(what, args...)
	}
	return &Error{Kind: kind, Code: code, What: what}
}

// Because adds the reason.
func (e *Error) Because(why string, args ...any) *Error {
	if len(args) > 0 {
		why = fmt.Sprintf(why, args...)
	}
	e.Why = why
	return e
}

// Do adds what the user can do about it.
func (e *Error) Do(remedy string, args ...any) *Error {
	if len(args) > 0 {
		remedy = fmt.Sprintf(remedy, args...)
	}
	e.Remedy = remedy
	return e
}

// At adds the fields that are wrong.
func (e *Error) At(fields ...Field) *Error {
	e.Fields = append(e.Fields, fields...)
	return e
}

// With adds a fact for machines.
func (e *Error) With(key string, value any) *Error {
	if e.Extra == nil {
		e.Extra = map[string]any{}
	}
	e.Extra[key] = value
	return e
}

// Wrap keeps the cause for the log.
func (e *Error) Wrap(err error) *Error {
	e.Err = err
	return e
}

// Error joins what, why and remedy, then the fields.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.What)
	if e.Why != "" {
		b.WriteString(": " + e.Why)
	}
	for i, f := range e.Fields {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + f.Path + ": " + f.Message)
	}
	if e.Remedy != "" {
		b.WriteString(". " + e.Remedy)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// As gives the fault in err's chain, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// KindOf gives the kind of the fault in err's chain; Internal for any other
// error and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e := As(err); e != nil {
		return e.Kind
	}
	return Internal
}

// Is tells whether err's chain holds a fault of the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
