package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The exit codes, so that scripts can tell what to do next.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitAccess      = 4
	exitConflict    = 5
	exitUnavailable = 6
	exitInterrupted = 130
)

const exitCodesHelp = `Exit codes: 0 done; 1 failed; 2 wrong usage or invalid input (and: apply --dry-run found changes);
3 not found; 4 no or insufficient access; 5 conflict or changed by somebody else meanwhile;
6 the server does not answer, is overloaded, or a time limit passed; 130 interrupted.`

// usageError is a command that was written wrongly.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// codeError ends the command with a code and without a message: everything
// was said already.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// finish reports the error and gives the exit code.
func (a *app) finish(ctx context.Context, err error) int {
	var code codeError
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err())):
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintln(a.io.Err, "Error:", clean(usage.Error()))
		fmt.Fprintln(a.io.Err, "See: portal --help")
		return exitUsage
	}
	a.printError(err)
	return exitCode(err)
}

func exitCode(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge:
		return exitUsage
	case fault.Unauthenticated, fault.Forbidden:
		return exitAccess
	case fault.NotFound:
		return exitNotFound
	case fault.Conflict, fault.Stale:
		return exitConflict
	case fault.Unavailable, fault.RateLimited:
		return exitUnavailable
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return exitUnavailable
	}
	return exitFailed
}

// printError shows what happened, why, where, and what to do.
func (a *app) printError(err error) {
	f := fault.As(err)
	if f == nil {
		fmt.Fprintln(a.io.Err, "Error:", clean(err.Error()))
		return
	}
	fmt.Fprint(a.io.Err, faultText("Error: ", f))
}

func faultText(head string, f *fault.Error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n", head, clean(f.What))
	if f.Why != "" {
		fmt.Fprintf(&b, "  Why: %s\n", clean(f.Why))
	}
	for _, field := range f.Fields {
		fmt.Fprintf(&b, "  %s: %s\n", clean(field.Path), clean(field.Message))
	}
	if f.Remedy != "" {
		fmt.Fprintf(&b, "  Do: %s\n", clean(f.Remedy))
	}
	return b.String()
}

// missing is the answer of a local command that this build lacks.
func missing(what string) error {
	return fault.New(fault.Invalid, "cli.not_built_in", "This program was built without %q", what).
		Do("Use the portal program of a release.")
}
