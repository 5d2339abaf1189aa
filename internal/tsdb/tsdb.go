// Package tsdb keeps time series on this machine and answers PromQL: the
// storage and the engine of Prometheus, with limits, so that no question and no
// damaged file takes the portal down.
package tsdb

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// Config says where series are kept, for how long, and what a question may cost.
type Config struct {
	Dir      string        // of the files
	Keep     time.Duration // age at which samples are removed; 0 means 15 days
	MaxBytes int64         // what finished blocks may take; 0 means 2 GiB
	Limits   metrics.Limits
	Now      func() time.Time // nil means time.Now
	Log      *slog.Logger     // nil means slog.Default()
	// Free tells how many bytes the disk of a directory has left; nil asks the
	// system.
	Free func(dir string) (uint64, error)
}

// The values where a Config has none.
const (
	defaultKeep     = 15 * 24 * time.Hour
	defaultMaxBytes = 2 << 30
	// lookback is how long a value counts that was not followed by another.
	lookback = 5 * time.Minute
	// maxWaiting is how many samples wait while the files are opened.
	maxWaiting = 500_000
	// answerWithin is how long a question waits for the files to be opened.
	answerWithin = 5 * time.Second
)

// DB is a store of time series. It is a lifecycle.Service: Start returns at
// once and the files are opened behind it, which takes seconds after a crash of
// a large portal; until then samples wait in memory, and questions a little.
type DB struct {
	cfg     Config
	engine  *promql.Engine
	parser  parser.Parser
	running chan struct{} // one place for each question that runs
	space   space
	loop    lifecycle.Loop

	mu      sync.Mutex
	db      *tsdb.DB
	opened  chan struct{} // closed when the files are open, or could not be
	failure error         // why they could not be
	waiting []metrics.Sample
	lost    int // samples for which there was no room while waiting
}

var (
	_ metrics.Querier  = (*DB)(nil)
	_ metrics.Appender = (*DB)(nil)
	_ metrics.Catalog  = (*DB)(nil)
)

// New makes a store; no file is touched before Start.
func New(cfg Config) *DB {
	if cfg.Keep <= 0 {
		cfg.Keep = defaultKeep
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Free == nil {
		cfg.Free = free
	}
	cfg.Limits = cfg.Limits.Complete()
	p := parser.NewParser(parser.Options{})
	return &DB{
		cfg: cfg, parser: p, running: make(chan struct{}, cfg.Limits.Queries), opened: make(chan struct{}),
		space: space{dir: cfg.Dir, free: cfg.Free, log: cfg.Log, now: cfg.Now},
		engine: promql.NewEngine(promql.EngineOpts{
			MaxSamples: cfg.Limits.Samples, Timeout: cfg.Limits.Timeout, LookbackDelta: lookback,
			NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
			EnableAtModifier:         true, EnableNegativeOffset: true, Parser: p,
		}),
	}
}

// Name is "time series".
func (d *DB) Name() string { return "time series" }

// Start begins to open the files.
func (d *DB) Start(context.Context) error {
	return d.loop.Go(func(ctx context.Context) {
		db, err := d.open()
		if err != nil {
			d.cfg.Log.Error("time series are not kept", "err", err)
		}
		for {
			waiting := d.admit(db, err)
			if len(waiting) == 0 {
				break
			}
			if err := d.write(ctx, db, waiting); err != nil {
				d.cfg.Log.Warn("can't keep the samples of the start", "samples", len(waiting), "err", err)
			}
		}
		<-ctx.Done()
	})
}

// admit opens the door to everybody once no sample waits any more; it gives
// those that do.
func (d *DB) admit(db *tsdb.DB, err error) []metrics.Sample {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := d.waiting
	d.waiting = nil
	if err == nil && len(waiting) > 0 {
		return waiting
	}
	if d.lost > 0 {
		d.cfg.Log.Warn("opening the time series took so long that samples were lost", "samples", d.lost)
		d.lost = 0
	}
	d.db, d.failure = db, err
	close(d.opened)
	return nil
}

// Stop writes down what is in memory and closes the files.
func (d *DB) Stop(ctx context.Context) error {
	if err := d.loop.Halt(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.opened:
		d.opened, d.failure = make(chan struct{}), nil
	default: // it was not started
	}
	db := d.db
	d.db = nil
	if db == nil {
		return nil
	}
	return db.Close()
}

// open opens the files; what is damaged is put aside.
func (d *DB) open() (*tsdb.DB, error) {
	opts := tsdb.DefaultOptions()
	opts.StripeSize = 1 << 10 // locks for series; the default of 16,384 takes 4 MB before there is one
	opts.RetentionDuration = d.cfg.Keep.Milliseconds()
	opts.MaxBytes = d.cfg.MaxBytes
	opts.MaxBlockDuration = max(opts.MinBlockDuration, min((31*24*time.Hour).Milliseconds(), opts.RetentionDuration/10))
	opts.WALCompression = compression.Snappy
	opts.NoLockfile = true // the data directory has a lock of its own
	opts.EnableMemorySnapshotOnShutdown = true
	opts.BlockQuerierFunc = (&tolerance{dir: d.cfg.Dir, log: d.cfg.Log}).querier
	s := salvage{dir: d.cfg.Dir, now: d.cfg.Now, log: d.cfg.Log}
	return s.open(func() (*tsdb.DB, error) {
		return tsdb.Open(d.cfg.Dir, slog.New(quiet{d.cfg.Log.Handler()}), nil, opts, nil)
	})
}

// ready gives the open files. It waits for them a little.
func (d *DB) ready(ctx context.Context) (*tsdb.DB, error) {
	d.mu.Lock()
	opened := d.opened
	d.mu.Unlock()
	timer := time.NewTimer(answerWithin)
	defer timer.Stop()
	select {
	case <-opened:
	case <-timer.C:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.failure != nil:
		return nil, d.failure
	case d.db == nil:
		return nil, fault.New(fault.Unavailable, "metrics.opening", "The time series are not open yet").
			Because("the portal is reading what it kept, or is stopping").Do("Try again in a moment.")
	}
	return d.db, nil
}

// Ping tells whether series are kept and can be read.
func (d *DB) Ping(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil {
		return d.failure
	}
	return d.space.full()
}

// Stats is how much is kept.
type Stats struct {
	Series int       // that had a sample in the last hours
	Bytes  int64     // of finished blocks
	Oldest time.Time // of all samples; zero without any
}

// Stats tells how much is kept.
func (d *DB) Stats() (Stats, error) {
	d.mu.Lock()
	db := d.db
	d.mu.Unlock()
	if db == nil {
		return Stats{}, errors.New("not open")
	}
	s := Stats{Series: int(db.Head().NumSeries())}
	if s.Series > 0 {
		s.Oldest = time.UnixMilli(db.Head().MinTime()).UTC()
	}
	for _, b := range db.Blocks() {
		s.Bytes += b.Size()
		if at := time.UnixMilli(b.MinTime()).UTC(); s.Oldest.IsZero() || at.Before(s.Oldest) {
			s.Oldest = at
		}
	}
	return s, nil
}

// plain gives labels as a map.
func plain(l labels.Labels) map[string]string {
	m := make(map[string]string, l.Len())
	l.Range(func(l labels.Label) { m[l.Name] = l.Value })
	return m
}

// Compact writes what is complete into blocks and removes what is too old or
// too much, as happens by itself now and then.
func (d *DB) Compact(ctx context.Context) error {
	db, err := d.ready(ctx)
	if err != nil {
		return err
	}
	return db.Compact(ctx)
}
