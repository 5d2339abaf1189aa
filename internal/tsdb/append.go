package tsdb

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// Append implements metrics.Appender. The samples are in the system's hands when
// it returns: they survive the end of the portal, however it comes.
func (d *DB) Append(ctx context.Context, samples []metrics.Sample) error {
	for _, s := range samples {
		if err := metrics.CheckLabels(s.Labels); err != nil {
			return err
		}
	}
	if len(samples) == 0 {
		return nil
	}
	d.mu.Lock()
	db, failure := d.db, d.failure
	if db == nil && failure == nil {
		if room := maxWaiting - len(d.waiting); room < len(samples) {
			d.lost += len(samples) - room
			samples = samples[:room]
		}
		d.waiting = append(d.waiting, samples...)
	}
	d.mu.Unlock()
	if db == nil {
		return failure
	}
	return d.write(ctx, db, samples)
}

// write puts samples into the open files.
func (d *DB) write(ctx context.Context, db *tsdb.DB, samples []metrics.Sample) error {
	if err := d.space.full(); err != nil {
		return err
	}
	app := db.Appender(ctx)
	for _, s := range samples {
		_, err := app.Append(0, labels.FromMap(s.Labels), s.At.UnixMilli(), s.Value)
		if err != nil && !late(err) {
			return unwritten(errors.Join(err, app.Rollback()))
		}
	}
	if err := app.Commit(); err != nil {
		d.space.look()
		return unwritten(err)
	}
	return nil
}

// late tells whether a sample was refused because there is a later one.
func late(err error) bool {
	return errors.Is(err, storage.ErrOutOfOrderSample) || errors.Is(err, storage.ErrOutOfBounds) ||
		errors.Is(err, storage.ErrTooOldSample) || errors.Is(err, storage.ErrDuplicateSampleForTimestamp)
}

func unwritten(err error) error {
	return fault.New(fault.Unavailable, "metrics.unwritten", "Samples could not be kept").
		Because("the files of the time series could not be written").Do("Check the free space of the data directory and the portal's log.").Wrap(err)
}

// space watches the room that the disk has left: a file that is cut off in the
// middle of a record costs more than the samples that are not taken.
type space struct {
	dir  string
	free func(dir string) (uint64, error)
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex
	checked time.Time
	none    bool
}

const (
	// leastFree is what the disk must have left: enough to write a block.
	leastFree  = 64 << 20
	checkEvery = 5 * time.Second
)

// full tells whether there is too little room to write.
func (s *space) full() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := s.now().Sub(s.checked); age < 0 || age >= checkEvery || s.checked.IsZero() {
		s.checked = s.now()
		bytes, err := s.free(s.dir)
		none := err == nil && bytes < leastFree
		switch {
		case none && !s.none:
			s.log.Error("the disk is full, so that no time series are kept", "dir", s.dir, "free_bytes", bytes,
				"remedy", "free at least 64 MB; the portal goes on by itself")
		case !none && s.none:
			s.log.Info("the disk has room again, and time series are kept", "dir", s.dir)
		}
		s.none = none
	}
	if !s.none {
		return nil
	}
	return fault.New(fault.Unavailable, "metrics.disk_full", "No time series are kept").
		Because("the disk of the data directory has less than 64 MB left").Do("Free some space; the portal goes on by itself.")
}

// look makes the next question about the room be asked at once.
func (s *space) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = time.Time{}
}

// free asks the system.
func free(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}
