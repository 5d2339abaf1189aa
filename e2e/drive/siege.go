package drive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// possible are the actions that each state allows and that can be repeated for ever.
var possible = map[string][]string{
	"DRAFT": {"provision"}, "PROVISIONED": {"deploy"}, "DEPLOYED": {"start"},
	"RUNNING": {"stop", "suspend", "restart"}, "STOPPED": {"start", "deploy"},
	"SUSPENDED": {"resume", "stop"}, "ERRORED": {"start", "restart", "stop"},
}

// Siege kills a portal at random moments while actions run on its agents, and
// compares what is left with what the portal says.
type Siege struct {
	Portal *Portal
	Size   int           // agents in the fleet
	Window time.Duration // the portal is killed within it, after the actions were asked for
	Rand   *rand.Rand
	// Living gives what lives on the machine for the fleet, strays as well: a
	// process id, or another name of what has none, to the instance.
	Living func(ctx context.Context) (map[string]string, error)

	// Absent says that nothing lives of a suspended instance.
	Absent bool

	mu       sync.Mutex
	Accepted map[string]string // operation id to agent id
	Refused  int
	Cut      int // requests that the kill cut off
}

// NewSiege prepares a siege whose chances follow from the seed.
func NewSiege(p *Portal, size int, seed uint64) *Siege {
	return &Siege{
		Portal: p, Size: size, Window: 250 * time.Millisecond, Rand: rand.New(rand.NewPCG(seed, 1)), Accepted: map[string]string{},
		Living: func(context.Context) (map[string]string, error) {
			procs, err := AgentProcesses(p.Data)
			out := map[string]string{}
			for pid, id := range procs {
				out[strconv.Itoa(pid)] = id
			}
			return out, err
		},
	}
}

// Round starts actions, kills the portal in their midst, starts it again, and
// checks what is left once everything has come to rest.
func (s *Siege) Round(ctx context.Context) error {
	agents, err := s.Portal.Agents(ctx, "")
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, a := range agents {
		choice := possible[a.State]
		if len(choice) == 0 || s.Rand.IntN(3) == 0 {
			continue
		}
		action := choice[s.Rand.IntN(len(choice))]
		wg.Go(func() { s.act(ctx, a.ID, action) })
	}
	select {
	case <-time.After(time.Duration(s.Rand.Int64N(int64(s.Window)))):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.Portal.Kill9(); err != nil {
		return err
	}
	wg.Wait()
	if err := s.Portal.Start(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.verify(ctx)
}

// act asks for one action and remembers the operation if it was accepted.
func (s *Siege) act(ctx context.Context, id, action string) {
	var out struct {
		Operation Operation `json:"operation"`
	}
	err := s.Portal.Call(ctx, "POST", "/agents/"+id+"/"+action, map[string]any{}, &out)
	s.mu.Lock()
	defer s.mu.Unlock()
	var refused *Problem
	switch {
	case err == nil:
		s.Accepted[out.Operation.ID] = id
	case errors.As(err, &refused):
		s.Refused++
	default:
		s.Cut++
	}
}

// settle waits until no agent has work in progress.
func (s *Siege) settle(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var busy string
	err := Poll(limit, 10*time.Millisecond, func() (bool, error) {
		agents, err := s.Portal.Agents(ctx, "")
		if err != nil {
			return false, err
		}
		for _, a := range agents {
			if a.ActiveOperation != "" {
				busy = a.ID + ": " + a.ActiveOperation
				return false, nil
			}
		}
		return len(agents) == s.Size, nil
	})
	if err != nil {
		return fmt.Errorf("not settled, %s still at work: %w", busy, err)
	}
	return nil
}

// verify compares what lives on the machine with what the portal says.
func (s *Siege) verify(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var last error
	err := Poll(limit, 20*time.Millisecond, func() (bool, error) {
		last = s.compare(ctx)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(last, err)
	}
	return nil
}

func (s *Siege) compare(ctx context.Context) error {
	agents, err := s.Portal.Agents(ctx, "")
	if err != nil {
		return err
	}
	living, err := s.Living(ctx)
	if err != nil {
		return err
	}
	perInstance := map[string]int{}
	for _, id := range living {
		perInstance[id]++
	}
	expected := 0
	for _, a := range agents {
		if a.State == "ERRORED" {
			return fmt.Errorf("%s is ERRORED: %+v", a.ID, a.Failure)
		}
		if a.State != "RUNNING" && (a.State != "SUSPENDED" || s.Absent) {
			continue
		}
		for _, in := range a.Instances {
			expected++
			if perInstance[in.ID] != 1 {
				return fmt.Errorf("%s of %s (%s) lives %d times", in.ID, a.ID, a.State, perInstance[in.ID])
			}
			if in.PID != 0 && living[strconv.Itoa(in.PID)] != in.ID {
				return fmt.Errorf("%s should be pid %d, which is %q", in.ID, in.PID, living[strconv.Itoa(in.PID)])
			}
		}
		if len(a.Instances) == 0 {
			return fmt.Errorf("%s is %s without an instance", a.ID, a.State)
		}
	}
	if len(living) != expected {
		return fmt.Errorf("%d live, %d are wanted: %v", len(living), expected, living)
	}
	return nil
}

// Clear ends what the siege has left running, through the portal, stops it, and
// fails if anything still lives.
func (s *Siege) Clear(ctx context.Context) error {
	_, err := s.Portal.RunBulk(ctx, map[string]any{"action": "revoke", "filter": map[string]any{}, "max_parallel": 8})
	if err = errors.Join(err, s.Portal.Stop()); err != nil {
		return err
	}
	living, err := s.Living(ctx)
	if err == nil && len(living) > 0 {
		err = fmt.Errorf("after revoke there still live %v", living)
	}
	return err
}
