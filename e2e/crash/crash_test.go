// Package crash kills the portal at random moments while actions run, and
// checks that nothing is lost, doubled or left behind.
package crash

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// rounds is how often the portal is killed: PORTAL_CRASH_ROUNDS, or 200.
func rounds(t *testing.T) int {
	v := os.Getenv("PORTAL_CRASH_ROUNDS")
	if v == "" {
		if testing.Short() {
			return 10
		}
		return 200
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("PORTAL_CRASH_ROUNDS: %v", err)
	}
	return n
}

const fleetSize = 8

// trial is a siege whose record is checked as well.
type trial struct{ *drive.Siege }

func TestPortalKilledAtRandomMoments(t *testing.T) {
	n := rounds(t)
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	bin, err := drive.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := drive.New(bin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	tr := trial{drive.NewSiege(p, fleetSize, seed)}
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := tr.Clear(ctx); err != nil {
			t.Error(err)
		}
	})
	for i := range fleetSize {
		spec := map[string]any{"name": fmt.Sprint("victim-", i), "command": "/bin/sleep", "args": []string{"3600"}, "replicas": 1 + i%2}
		if err := p.Call(ctx, "POST", "/agents", spec, nil); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	for round := range n {
		if err := tr.Round(ctx); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, p.Tail())
		}
		if round%25 == 24 || round == n-1 {
			if err := tr.verifyRecord(ctx); err != nil {
				t.Fatalf("after round %d: %v", round, err)
			}
		}
	}
	t.Logf("%d kills in %s: %d operations accepted and ended, %d refused, %d requests cut by the kill; no transition lost or doubled, no orphan, audit chain intact",
		n, time.Since(start).Round(time.Second), len(tr.Accepted), tr.Refused, tr.Cut)
}
