package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/engine"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
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

// BenchmarkStart measures the start on an existing file, and the stop.
func BenchmarkStart(b *testing.B) {
	path := filepath.Join(b.TempDir(), "engine.db")
	var starting, stopping time.Duration
	for b.Loop() {
		e := engine.New(engine.Config{Path: path, Log: silent, Executor: operationtest.Executor(nil)})
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
	b.ReportMetric(float64(starting)/float64(b.N)/1e6, "start-ms/op")
	b.ReportMetric(float64(stopping)/float64(b.N)/1e6, "stop-ms/op")
}

// BenchmarkIdle measures the CPU that an idle engine takes, as a share of one core.
func BenchmarkIdle(b *testing.B) {
	e := engine.New(engine.Config{Path: filepath.Join(b.TempDir(), "engine.db"), Log: silent, Executor: operationtest.Executor(nil)})
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
}
