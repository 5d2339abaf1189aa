package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
)

func TestErrorSaysWhatWhyAndRemedy(t *testing.T) {
	cause := errors.New("SELECT secret")
	f := fault.New(fault.Invalid, "spec.invalid", "The specification of %s is not valid", "blank").
		Because("%d fields are wrong", 2).
		At(fault.Field{Path: "tier", Message: "must be 1 to 6"}, fault.Field{Path: "name", Message: "is missing"}).
		Do("Correct them and send it again.").With("count", 2).Wrap(cause)
	want := "The specification of blank is not valid: 2 fields are wrong: tier: must be 1 to 6; name: is missing. Correct them and send it again."
	if f.Error() != want {
		t.Errorf("got  %s\nwant %s", f.Error(), want)
	}
	if !errors.Is(f, cause) {
		t.Error("the cause is lost for the log")
	}
	if f.Extra["count"] != 2 {
		t.Errorf("extra %v", f.Extra)
	}
}

func TestTextWithoutArgumentsIsNotAFormat(t *testing.T) {
	f := fault.New(fault.Conflict, "x", "100% full").Because("50% free").Do("wait 5%")
	if got := f.Error(); got != "100% full: 50% free. wait 5%" {
		t.Errorf("got %q", got)
	}
}

func TestKindOfWrappedAndUntyped(t *testing.T) {
	wrapped := fmt.Errorf("start: %w", fault.New(fault.Stale, "x", "changed"))
	for _, c := range []struct {
		err  error
		want fault.Kind
	}{{nil, ""}, {errors.New("boom"), fault.Internal}, {wrapped, fault.Stale}} {
		if got := fault.KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %q, want %q", c.err, got, c.want)
		}
	}
	if !fault.Is(wrapped, fault.Stale) || fault.Is(nil, "") || fault.As(errors.New("x")) != nil {
		t.Error("Is or As mistakes one error for another")
	}
}
