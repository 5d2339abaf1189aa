// Package checks holds the checks that a diagnosis is made of. Each really tries
// what it speaks about: it asks the agent, sends the message, writes the row,
// dials the server. None changes anything that anybody would notice.
package checks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
)

// check is a check made of a function.
type check struct {
	name  string
	scope diagnosis.Scope
	run   func(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome
}

// Name implements diagnosis.Check.
func (c check) Name() string { return c.name }

// Scope implements diagnosis.Check.
func (c check) Scope() diagnosis.Scope { return c.scope }

// Run implements diagnosis.Check.
func (c check) Run(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome {
	return c.run(ctx, on)
}

// ofPortal makes a check of the portal.
func ofPortal(name string, run func(ctx context.Context) diagnosis.Outcome) diagnosis.Check {
	return check{name, diagnosis.Portal, func(ctx context.Context, _ diagnosis.Subject) diagnosis.Outcome { return run(ctx) }}
}

// ofAgent makes a check of an agent.
func ofAgent(name string, run func(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome) diagnosis.Check {
	return check{name, diagnosis.Agent, run}
}

// fine is an outcome with nothing to do.
func fine(meaning string, evidence ...string) diagnosis.Outcome {
	return diagnosis.Outcome{Status: diagnosis.OK, Meaning: meaning, Evidence: evidence}
}

// skip is the outcome of a check that does not apply, and why.
func skip(why string, evidence ...string) diagnosis.Outcome {
	return diagnosis.Outcome{Status: diagnosis.Skipped, Meaning: why, Evidence: evidence}
}

func warn(meaning, remedy string, evidence ...string) diagnosis.Outcome {
	return diagnosis.Outcome{Status: diagnosis.Warning, Meaning: meaning, Remedy: remedy, Evidence: evidence}
}

func fail(meaning, remedy string, evidence ...string) diagnosis.Outcome {
	return diagnosis.Outcome{Status: diagnosis.Failed, Meaning: meaning, Remedy: remedy, Evidence: evidence}
}

// broken is the outcome of what ended with an error; a fault has its own remedy.
func broken(meaning, remedy string, err error, evidence ...string) diagnosis.Outcome {
	reason := err.Error()
	if f := fault.As(err); f != nil {
		reason = f.What
		if f.Why != "" {
			reason += ": " + f.Why
		}
		for _, field := range f.Fields {
			evidence = append(evidence, field.Path+": "+field.Message)
		}
		if f.Remedy != "" {
			remedy = f.Remedy
		}
	}
	return fail(meaning, remedy, append([]string{reason}, evidence...)...)
}

// worse joins what was found about several things of one kind into one outcome:
// the worst status, and the meaning and remedy that belong to it.
type worse struct{ diagnosis.Outcome }

var order = map[diagnosis.Status]int{"": -1, diagnosis.Skipped: 0, diagnosis.OK: 1, diagnosis.Warning: 2, diagnosis.Failed: 3}

func (w *worse) add(o diagnosis.Outcome) {
	w.Evidence = append(w.Evidence, o.Evidence...)
	if order[o.Status] > order[w.Status] {
		w.Status, w.Meaning, w.Remedy = o.Status, o.Meaning, o.Remedy
	}
}

// within writes a duration for people.
func within(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// plain makes the reason of a network error short.
func plain(err error) string {
	text := err.Error()
	for _, mark := range []string{"connect: ", "lookup ", "read: "} {
		if i := strings.LastIndex(text, mark); i >= 0 {
			return strings.TrimPrefix(text[i:], "connect: ")
		}
	}
	return text
}
