// Package crash kills the portal at random moments while actions run, and
// checks that nothing is lost, doubled or left behind.
package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
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

// possible are the actions that each state allows.
var possible = map[string][]string{
	"DRAFT": {"provision"}, "PROVISIONED": {"deploy"}, "DEPLOYED": {"start"},
	"RUNNING": {"stop", "suspend", "restart"}, "STOPPED": {"start", "deploy"},
	"SUSPENDED": {"resume", "stop"}, "ERRORED": {"start", "restart", "stop"},
}

type trial struct {
	p        *drive.Portal
	rng      *rand.Rand
	mu       sync.Mutex
	accepted map[string]string // operation id to agent id
	refused  int
	cut      int
}

func TestPortalKilledAtRandomMoments(t *testing.T) {
	n := rounds(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
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
	tr := &trial{p: p, rng: rand.New(rand.NewPCG(seed, 1)), accepted: map[string]string{}}
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.clear(t) })
	for i := range fleetSize {
		spec := map[string]any{"name": fmt.Sprint("victim-", i), "command": "/bin/sleep", "args": []string{"3600"}, "replicas": 1 + i%2}
		if err := p.Call(ctx, "POST", "/agents", spec, nil); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	for round := range n {
		if err := tr.round(ctx); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, p.Tail())
		}
		if round%25 == 24 || round == n-1 {
			if err := tr.verifyRecord(ctx); err != nil {
				t.Fatalf("after round %d: %v", round, err)
			}
		}
	}
	t.Logf("%d kills in %s: %d operations accepted and ended, %d refused, %d requests cut by the kill; no transition lost or doubled, no orphan, audit chain intact",
		n, time.Since(start).Round(time.Second), len(tr.accepted), tr.refused, tr.cut)
}

// round starts actions, kills the portal in their midst, starts it again, and
// checks what is left once everything has come to rest.
func (tr *trial) round(ctx context.Context) error {
	agents, err := tr.p.Agents(ctx, "")
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, a := range agents {
		choice := possible[a.State]
		if len(choice) == 0 || tr.rng.IntN(3) == 0 {
			continue
		}
		action := choice[tr.rng.IntN(len(choice))]
		wg.Go(func() { tr.act(ctx, a.ID, action) })
	}
	select {
	case <-time.After(time.Duration(tr.rng.IntN(250)) * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := tr.p.Kill9(); err != nil {
		return err
	}
	wg.Wait()
	if err := tr.p.Start(ctx); err != nil {
		return err
	}
	if err := tr.settle(ctx); err != nil {
		return err
	}
	return tr.verifyProcesses(ctx)
}

// act asks for one action and remembers the operation if it was accepted.
func (tr *trial) act(ctx context.Context, id, action string) {
	var out struct {
		Operation drive.Operation `json:"operation"`
	}
	err := tr.p.Call(ctx, "POST", "/agents/"+id+"/"+action, map[string]any{}, &out)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var refused *drive.Problem
	switch {
	case err == nil:
		tr.accepted[out.Operation.ID] = id
	case errors.As(err, &refused):
		tr.refused++
	default:
		tr.cut++
	}
}

// settle waits until no agent has work in progress.
func (tr *trial) settle(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var busy string
	err := drive.Poll(limit, 10*time.Millisecond, func() (bool, error) {
		agents, err := tr.p.Agents(ctx, "")
		if err != nil {
			return false, err
		}
		for _, a := range agents {
			if a.ActiveOperation != "" {
				busy = a.ID + ": " + a.ActiveOperation
				return false, nil
			}
		}
		return len(agents) == fleetSize, nil
	})
	if err != nil {
		return fmt.Errorf("not settled, %s still at work: %w", busy, err)
	}
	return nil
}

// verifyProcesses compares the processes on the machine with what the portal says.
func (tr *trial) verifyProcesses(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var last error
	err := drive.Poll(limit, 20*time.Millisecond, func() (bool, error) {
		last = tr.compare(ctx)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(last, err)
	}
	return nil
}

func (tr *trial) compare(ctx context.Context) error {
	agents, err := tr.p.Agents(ctx, "")
	if err != nil {
		return err
	}
	procs, err := drive.AgentProcesses(tr.p.Data)
	if err != nil {
		return err
	}
	perInstance := map[string]int{}
	for _, id := range procs {
		perInstance[id]++
	}
	expected := 0
	for _, a := range agents {
		up := a.State == "RUNNING" || a.State == "SUSPENDED"
		if a.State == "ERRORED" {
			return fmt.Errorf("%s is ERRORED: %+v", a.ID, a.Failure)
		}
		if !up {
			continue
		}
		for _, in := range a.Instances {
			expected++
			if perInstance[in.ID] != 1 {
				return fmt.Errorf("%s of %s (%s) has %d processes", in.ID, a.ID, a.State, perInstance[in.ID])
			}
			if procs[in.PID] != in.ID {
				return fmt.Errorf("%s should be pid %d, which is %q", in.ID, in.PID, procs[in.PID])
			}
		}
		if len(a.Instances) == 0 {
			return fmt.Errorf("%s is %s without an instance", a.ID, a.State)
		}
	}
	if len(procs) != expected {
		return fmt.Errorf("%d processes live, %d are wanted: %v", len(procs), expected, procs)
	}
	return nil
}

// clear ends what the trial has left running, through the portal.
func (tr *trial) clear(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := tr.p.RunBulk(ctx, map[string]any{"action": "revoke", "filter": map[string]any{}, "max_parallel": 8}); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if err := tr.p.Stop(); err != nil {
		t.Error(err)
	}
	procs, err := drive.AgentProcesses(tr.p.Data)
	if err != nil || len(procs) > 0 {
		t.Errorf("after revoke: %v %v", procs, err)
	}
}
