package bus_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/bus"
	"github.com/waooaw/platform-portal/internal/fault"
)

// TestAMessageMakesTheRound sends messages through a server of each kind, and
// through none.
func TestAMessageMakesTheRound(t *testing.T) {
	inside := start(t, bus.Config{})
	for name, b := range map[string]*bus.Bus{"embedded": inside, "external": start(t, bus.Config{URL: outside(t, plenty)})} {
		for range 20 { // more than the stream keeps
			if took, err := b.RoundTrip(t.Context()); err != nil || took <= 0 {
				t.Fatalf("%s: %v, %v", name, took, err)
			}
		}
	}
	stopped, err := bus.New(bus.Config{Dir: t.TempDir()})
	must(t, err)
	if _, err := stopped.RoundTrip(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("stopped: %v", err)
	}
	must(t, inside.SignIn(t.Context(), "one", "secret of one"))
	if err := inside.SignIn(t.Context(), "one", "another"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a wrong secret: %v", err)
	}
	if err := stopped.SignIn(t.Context(), "one", "x"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("stopped: %v", err)
	}
}
