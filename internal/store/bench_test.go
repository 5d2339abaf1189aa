package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/store/storetest/postgres"
)

// fleetSize is how many agents there are while lists are measured.
const fleetSize = 10_000

// onBothB runs a benchmark on a database of each kind that holds n agents.
func onBothB(b *testing.B, n int, bench func(b *testing.B, s *store.Store)) {
	for name, cfg := range map[string]func(b *testing.B) store.Config{
		"SQLite":     func(b *testing.B) store.Config { return store.Config{Path: filepath.Join(b.TempDir(), "portal.db")} },
		"PostgreSQL": func(b *testing.B) store.Config { return store.Config{URL: postgres.New(b)} },
	} {
		b.Run(name, func(b *testing.B) {
			s := storetest.Open(b, cfg(b))
			if n > 0 {
				fill(b, s, n)
			}
			bench(b, s)
		})
	}
}

// measure runs op b.N times and reports the slowest percent beside the mean,
// and the CPU time of this process, which other work on the machine does not
// blur so much.
func measure(b *testing.B, op func(i int) error) {
	before := cpu(b)
	took := make([]time.Duration, 0, 1024)
	i := 0
	for b.Loop() {
		start := time.Now()
		if err := op(i); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		i++
	}
	b.ReportMetric((cpu(b)-before).Seconds()*1000/float64(len(took)), "cpu-ms/op")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func BenchmarkCreate(b *testing.B) {
	onBothB(b, 0, func(b *testing.B, s *store.Store) {
		measure(b, func(i int) error { return storetest.Seed(b.Context(), s, i, 1) })
	})
}

// BenchmarkTransition is what every step of an agent's life writes.
func BenchmarkTransition(b *testing.B) {
	onBothB(b, 1000, func(b *testing.B, s *store.Store) {
		a, err := s.Agents().Get(b.Context(), "id-agent-00500")
		if err != nil {
			b.Fatal(err)
		}
		measure(b, func(i int) error {
			return s.Do(b.Context(), func(ctx context.Context) error {
				now := time.Now()
				a.State, a.UpdatedAt = agent.States[i%len(agent.States)], now
				if err := s.Agents().Save(ctx, a); err != nil {
					return err
				}
				move := agent.Transition{ID: fmt.Sprintf("01900000-0000-7000-8000-%012d", i), AgentID: a.ID, State: a.State, CreatedAt: now}
				if err := s.History().AddTransition(ctx, move); err != nil {
					return err
				}
				if err := s.Audit().Append(ctx, audit.Entry{At: now, Actor: "system", Action: "agent.start", Target: "agent/" + a.ID}); err != nil {
					return err
				}
				return s.Events().Append(ctx, event.New(event.AgentStateChanged, a.ID, "system", now,
					event.StateChanged{AgentID: a.ID, NewState: string(a.State)}, event.RoomAgents, event.RoomAgent(a.ID)))
			})
		})
	})
}

func BenchmarkGet(b *testing.B) {
	onBothB(b, fleetSize, func(b *testing.B, s *store.Store) {
		measure(b, func(i int) error {
			_, err := s.Agents().Get(b.Context(), fmt.Sprintf("agent-%05d", i*7919%fleetSize))
			return err
		})
	})
}

func BenchmarkList(b *testing.B) {
	onBothB(b, fleetSize, func(b *testing.B, s *store.Store) {
		for name, q := range map[string]agent.Query{
			"first 100":      {},
			"running":        {States: []agent.State{agent.Running}},
			"by state":       {Sort: "state"},
			"by tier":        {Sort: "-tier"},
			"by updated":     {Sort: "-updated_at"},
			"by label":       {Selector: agent.Selector{{Key: "team", Op: "=", Values: []string{"team-7"}}, {Key: "env", Op: "!=", Values: []string{"prod"}}}},
			"not label":      {Selector: agent.Selector{{Key: "env", Op: "!=", Values: []string{"prod"}}}},
			"search some":    {Search: "customer 98"},
			"search all":     {Search: "patience"},
			"search nothing": {Search: "zebra"},
		} {
			b.Run(name, func(b *testing.B) {
				measure(b, func(int) error {
					_, err := s.Agents().Find(b.Context(), q)
					return err
				})
			})
		}
	})
}

// BenchmarkLastPage goes on from the middle of a list.
func BenchmarkLastPage(b *testing.B) {
	onBothB(b, fleetSize, func(b *testing.B, s *store.Store) {
		q := agent.Query{Limit: 1000}
		for range fleetSize/1000 - 1 {
			page, err := s.Agents().Find(b.Context(), q)
			if err != nil {
				b.Fatal(err)
			}
			q.Cursor = page.Next
		}
		q.Limit = 100
		measure(b, func(int) error {
			_, err := s.Agents().Find(b.Context(), q)
			return err
		})
	})
}

// BenchmarkOperation is what an operation of an agent asks of the store most.
func BenchmarkOperation(b *testing.B) {
	onBothB(b, 0, func(b *testing.B, s *store.Store) {
		now := time.Now()
		ids := make([]string, 1000)
		for i := range ids {
			ids[i] = fmt.Sprintf("01900000-0000-7000-8000-%012d", i)
			op := &operation.Operation{
				ID: ids[i], Kind: "agent.start", AgentID: fmt.Sprint("agent-", i), State: operation.Running, Total: 4,
				Input: []byte(`{"agent_id":"a","revision":3}`), Actor: "system", CreatedAt: now, StartedAt: &now,
			}
			for _, name := range []string{"reserve a port", "start the process", "wait until it is healthy", "tell the fleet"} {
				op.Steps = append(op.Steps, operation.Step{Name: name, State: operation.StepPending, StartedAt: &now})
			}
			if err := s.Operations().Insert(b.Context(), op); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("get", func(b *testing.B) {
			measure(b, func(i int) error {
				_, err := s.Operations().Get(b.Context(), ids[i%len(ids)])
				return err
			})
		})
		op, err := s.Operations().Get(b.Context(), ids[7])
		if err != nil {
			b.Fatal(err)
		}
		b.Run("update", func(b *testing.B) {
			measure(b, func(i int) error {
				op.Completed = i % 4
				return s.Operations().Update(b.Context(), op)
			})
		})
		b.Run("save step", func(b *testing.B) {
			measure(b, func(i int) error {
				step := op.Steps[i%4]
				step.Attempts = i
				return s.Operations().SaveStep(b.Context(), op.ID, i%4, step)
			})
		})
	})
}

// BenchmarkReservePort has nearly as many reservations as there are ports.
func BenchmarkReservePort(b *testing.B) {
	onBothB(b, fleetSize, func(b *testing.B, s *store.Store) {
		ctx := b.Context()
		reserve := func(i int) error {
			_, err := s.Instances().ReservePort(ctx, fmt.Sprintf("id-agent-%05d", i%fleetSize), 0, 20_000, 20_000+fleetSize, func(int) bool { return true })
			return err
		}
		err := s.Do(ctx, func(ctx context.Context) error {
			for i := range fleetSize {
				if _, err := s.Instances().ReservePort(ctx, fmt.Sprintf("id-agent-%05d", i), 0, 20_000, 20_000+fleetSize, func(int) bool { return true }); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		measure(b, func(i int) error {
			if err := s.Instances().ReleasePort(ctx, fmt.Sprintf("id-agent-%05d", i%fleetSize), 0); err != nil {
				return err
			}
			return reserve(i)
		})
	})
}

// BenchmarkOpen opens a database of a large fleet.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "portal.db")
	s := storetest.Open(b, store.Config{Path: path})
	fill(b, s, fleetSize)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	measure(b, func(int) error {
		s, err := store.Open(b.Context(), store.Config{Path: path})
		if err != nil {
			return err
		}
		return s.Close()
	})
}

func BenchmarkFindEvents(b *testing.B) {
	onBothB(b, 0, func(b *testing.B, s *store.Store) {
		const n = 100_000
		list := make([]event.Event, 0, 1000)
		for i := range n {
			list = append(list, event.New(event.AgentUpdated, fmt.Sprint("a", i%1000), "system", time.Now(), struct{}{}, event.RoomAgents, event.RoomAgent(fmt.Sprint("a", i%1000))))
			if len(list) == cap(list) {
				if err := s.Events().Append(b.Context(), list...); err != nil {
					b.Fatal(err)
				}
				list = list[:0]
			}
		}
		for name, q := range map[string]event.Query{
			"newest of a room":   {Rooms: []string{event.RoomAgent("a7")}, Newest: true, Limit: 50},
			"after, three rooms": {Rooms: []string{event.RoomAgents, event.RoomOperations, event.RoomAgent("a7")}, After: n - 100},
			"of an agent":        {AgentID: []string{"a7"}, Newest: true, Limit: 50},
		} {
			b.Run(name, func(b *testing.B) {
				measure(b, func(int) error {
					_, err := s.Events().Find(b.Context(), q)
					return err
				})
			})
		}
	})
}
