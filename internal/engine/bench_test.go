package engine_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/engine"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/store/storetest/postgres"
)

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStep measures what the engine adds to one step, and to one
// operation of five steps, in time and in CPU.
func BenchmarkStep(b *testing.B) {
	for _, steps := range []int{1, 5} {
		b.Run(fmt.Sprint(steps), func(b *testing.B) {
			done := make(chan struct{})
			e := engine.New(engine.Config{
				Path: filepath.Join(b.TempDir(), "engine.db"), Log: silent,
				Executor: operationtest.Executor(func(_ context.Context, _ string, do operationtest.Do) error {
					for i := range steps {
						if err := do(fmt.Sprint(i), func(context.Context) error { return nil }); err != nil {
							return err
						}
					}
					done <- struct{}{}
					return nil
				}),
			})
			if err := e.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			before := cpuTime()
			var n atomic.Int64
			for b.Loop() {
				if err := e.Submit(b.Context(), fmt.Sprint("op", n.Add(1))); err != nil {
					b.Fatal(err)
				}
				<-done
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/1e6, "cpu-ms/op")
			if err := e.Stop(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// onBoth runs the benchmark on both databases.
func onBoth(b *testing.B, run func(b *testing.B, cfg engine.Config)) {
	cfg := engine.Config{Log: silent, Executor: operationtest.Executor(nothing)}
	b.Run("SQLite", func(b *testing.B) {
		cfg.Path = filepath.Join(b.TempDir(), "engine.db")
		run(b, cfg)
	})
	b.Run("PostgreSQL", func(b *testing.B) {
		cfg.URL = postgres.New(b)
		run(b, cfg)
	})
}

// BenchmarkStart measures the first start, which makes the tables, the next
// starts, and the stop.
func BenchmarkStart(b *testing.B) {
	onBoth(b, func(b *testing.B, cfg engine.Config) {
		var first, starting, stopping time.Duration
		life := func() {
			e := engine.New(cfg)
			t := time.Now()
			if err := e.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			starting += time.Since(t)
			t = time.Now()
			if err := e.Stop(context.Background()); err != nil {
				b.Fatal(err)
			}
			stopping += time.Since(t)
		}
		life()
		first, starting, stopping = starting, 0, 0
		for b.Loop() {
			life()
		}
		b.ReportMetric(float64(first)/1e6, "first-start-ms")
		b.ReportMetric(float64(starting)/float64(b.N)/1e6, "start-ms")
		b.ReportMetric(float64(stopping)/float64(b.N)/1e6, "stop-ms")
	})
}

// BenchmarkIdle measures the CPU that an idle engine takes, as a share of one core.
func BenchmarkIdle(b *testing.B) {
	onBoth(b, func(b *testing.B, cfg engine.Config) {
		e := engine.New(cfg)
		if err := e.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		const span = 5 * time.Second
		before := cpuTime()
		for b.Loop() {
			<-time.After(span)
		}
		b.ReportMetric(100*float64(cpuTime()-before)/float64(b.N)/float64(span), "%cpu")
		if err := e.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkOperation measures whole operations as the portal runs them: created,
// run in steps that do nothing, and waited for, alone and a hundred at once.
func BenchmarkOperation(b *testing.B) {
	for _, together := range []int{1, 100} {
		for _, steps := range []int{1, 5} {
			b.Run(fmt.Sprintf("%d at once/%d steps", together, steps), func(b *testing.B) {
				s := storetest.New(b)
				svc := &operation.Service{
					Store: s.Operations(), Tx: s, Events: s.Events(), Audit: &audit.Recorder{Store: s.Audit(), Now: time.Now},
					Now: time.Now, NewID: rand.Text, Log: silent,
				}
				svc.Register(operation.Definition{Kind: "bench", Steps: func(*operation.Operation) []operation.StepDef {
					defs := make([]operation.StepDef, steps)
					for i := range defs {
						defs[i] = operation.StepDef{Name: fmt.Sprint(i), Do: func(context.Context, operation.Run) error { return nil }}
					}
					return defs
				}})
				e := engine.New(engine.Config{Path: filepath.Join(b.TempDir(), "engine.db"), Executor: svc, Log: silent})
				svc.Engine = e
				if err := e.Start(b.Context()); err != nil {
					b.Fatal(err)
				}
				before := cpuTime()
				for b.Loop() {
					ids := make([]string, together)
					for i := range ids {
						op := &operation.Operation{Kind: "bench"}
						if err := svc.Create(b.Context(), op); err != nil {
							b.Fatal(err)
						}
						ids[i] = op.ID
					}
					for _, id := range ids {
						if op, err := svc.Wait(b.Context(), id); err != nil || op.State != operation.Succeeded {
							b.Fatal(op, err)
						}
					}
				}
				b.ReportMetric(float64(cpuTime()-before)/float64(b.N*together)/1e6, "cpu-ms/operation")
				b.ReportMetric(float64(b.Elapsed())/float64(b.N*together)/1e6, "ms/operation")
				if err := e.Stop(context.Background()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
