package metrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// Collector measures things now; the samples need no time.
type Collector struct {
	Name    string // for the log
	Collect func(ctx context.Context) ([]Sample, error)
}

// Recorder stores what collectors measure, each once in a period and none
// waiting for another.
type Recorder struct {
	Collectors []Collector
	Into       Appender
	Now        func() time.Time
	Log        *slog.Logger  // nil means slog.Default()
	Every      time.Duration // 0 means 15 seconds

	loop lifecycle.Loop
}

// Name is "recorder".
func (r *Recorder) Name() string { return "recorder" }

// Start begins to collect.
func (r *Recorder) Start(context.Context) error {
	return r.loop.Go(func(ctx context.Context) {
		var wg sync.WaitGroup
		for _, c := range r.Collectors {
			wg.Go(func() { r.record(ctx, c) })
		}
		wg.Wait()
	})
}

// Stop ends all collecting.
func (r *Recorder) Stop(ctx context.Context) error { return r.loop.Halt(ctx) }

func (r *Recorder) record(ctx context.Context, c Collector) {
	log, period := r.Log, r.Every
	if log == nil {
		log = slog.Default()
	}
	if period <= 0 {
		period = 15 * time.Second
	}
	var book ledger
	failing := false
	every(ctx, period, nil, func() {
		bound, cancel := context.WithTimeout(ctx, period)
		defer cancel()
		samples, err := c.Collect(bound)
		if err == nil {
			err = r.Into.Append(bound, book.turn(samples, r.Now()))
		}
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failed {
				log.Warn("can't record what is measured", "of", c.Name, "err", err)
			} else {
				log.Info("what is measured is recorded again", "of", c.Name)
			}
		}
	})
}
