// Package logdb keeps what agents write in VictoriaLogs: embedded in the portal,
// or as a server that is reached over HTTP. Both are asked in the same language.
//
// The embedded storage ends the process where it can't go on. It is therefore
// opened under watch, and nothing is added to it while the disk is nearly full.
package logdb

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logger"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/logdb/hush"
	"github.com/waooaw/platform-portal/internal/logs"
)

// Config says where entries are kept, and how long.
type Config struct {
	Dir     string        // directory of the embedded storage and of the cursors
	URL     string        // of a VictoriaLogs server; embedded where empty
	Keep    time.Duration // age at which entries are removed, by whole days; 0 means 14 days
	Most    int64         // bytes on disk above which the oldest are removed; 0 means 5 GiB
	MinFree int64         // bytes that have to be free on the disk; 0 means 512 MiB
	Memory  int64         // bytes that caches may take; 0 means 48 MiB
	Now     func() time.Time
	Log     *slog.Logger
}

const (
	flushEvery  = time.Second
	settleAfter = flushEvery / 5
	syncPoll    = 20 * time.Millisecond
	sweepEvery  = 30 * time.Second
	openMost    = 2 // attempts after which a storage is taken for damaged
)

// codeOpening is the code of the fault that says to wait a moment.
const codeOpening = "logs.opening"

// embedded is the storage in this process.
type embedded struct {
	cfg Config

	mu      sync.RWMutex // held for reading while the storage is in use
	storage *logstorage.Storage
	problem error // why it is not open

	streams   uint64 // that there were at the last sync
	streamsAt time.Time
	used      sync.Mutex // one sync at once

	newMu   sync.Mutex
	settled uint64          // streams whose index is on disk or will soon be
	newDays map[string]bool // that have streams whose index is not; nil if no settle is due
	loop    lifecycle.Loop
}

// quieten sets up what the storage's packages keep for the whole process: they
// take their memory from a flag, and write to standard error.
func quieten(memory int64, log *slog.Logger) {
	once.Do(func() {
		_ = flag.Set("memory.allowedBytes", strconv.FormatInt(memory, 10))
		if !flag.Parsed() {
			_ = flag.CommandLine.Parse(nil) // the portal's own flags are not in this set
		}
		_ = flag.Set("loggerLevel", "WARN")
		logger.SetOutputForTests(&relay{log})
	})
}

var once sync.Once

func init() { hush.End() } // everything that this package needs is initialised

// relay passes the storage's own log on.
type relay struct{ log *slog.Logger }

// Write takes one line: time, level, place and message, parted by tabs.
func (r *relay) Write(b []byte) (int, error) {
	parts := strings.SplitN(strings.TrimSpace(string(b)), "\t", 4)
	text := parts[len(parts)-1]
	if len(parts) == 4 && (parts[1] == "panic" || parts[1] == "fatal" || parts[1] == "error") {
		r.log.Error("log storage: " + text)
	} else {
		r.log.Debug("log storage: " + text)
	}
	return len(b), nil
}

func (e *embedded) dir() string    { return filepath.Join(e.cfg.Dir, "store") }
func (e *embedded) marker() string { return filepath.Join(e.cfg.Dir, "opening") }

// open opens the storage. One that twice ended the process that opened it is set
// aside, and filled anew from the agents' files.
func (e *embedded) open() error {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return unusable(e.cfg.Dir, err)
	}
	if err := e.room(); err != nil {
		return err
	}
	attempts := 0
	if b, err := os.ReadFile(e.marker()); err == nil {
		attempts, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	if attempts >= openMost {
		aside := e.dir() + ".damaged-" + e.cfg.Now().UTC().Format("20060102T150405")
		if err := os.Rename(e.dir(), aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unusable(e.dir(), err)
		}
		_ = os.Remove(filepath.Join(e.cfg.Dir, cursorFile))
		e.cfg.Log.Error("the log storage could not be opened twice; it is set aside and filled anew from the agents' files", "aside", aside)
		attempts = 0
	}
	if err := os.WriteFile(e.marker(), []byte(strconv.Itoa(attempts+1)), 0o600); err != nil {
		return unusable(e.cfg.Dir, err)
	}
	quieten(e.cfg.Memory, e.cfg.Log)
	s := logstorage.MustOpenStorage(e.dir(), &logstorage.StorageConfig{
		Retention: e.cfg.Keep, FlushInterval: flushEvery, FutureRetention: 48 * time.Hour,
		MinFreeDiskSpaceBytes: e.cfg.MinFree, DefaultParallelReaders: 2,
	})
	for _, snapshot := range s.PartitionSnapshotList() { // of a process that was killed meanwhile
		if err := s.PartitionSnapshotDelete(snapshot); err != nil {
			e.cfg.Log.Debug("an old snapshot stays", "err", err)
		}
	}
	if err := os.Remove(e.marker()); err != nil {
		s.MustClose()
		return unusable(e.cfg.Dir, err)
	}
	e.mu.Lock()
	e.storage, e.problem = s, nil
	e.mu.Unlock()
	return nil
}

func unusable(dir string, err error) error {
	return fault.New(fault.Unavailable, "logs.unusable", "The directory of the log storage can't be used").
		Because("%v", errors.Unwrap(err)).Do("Correct %s, or choose another data directory.", dir).Wrap(err)
}

// room refuses while the disk is nearly full: the storage would end the process.
func (e *embedded) room() error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(e.cfg.Dir, &st); err != nil {
		return unusable(e.cfg.Dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < e.cfg.MinFree {
		return fault.New(fault.Unavailable, "logs.disk_full", "The disk is nearly full; what agents write is not taken in").
			Because("%d MiB are free and %d MiB have to be", free>>20, e.cfg.MinFree>>20).
			Do("Free disk space. Nothing is lost: it stays in the agents' files and is taken in then.")
	}
	return nil
}

// use runs fn on the storage, which stays open meanwhile.
func (e *embedded) use(fn func(*logstorage.Storage) error) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.storage != nil {
		return fn(e.storage)
	}
	if e.problem != nil {
		return e.problem
	}
	return fault.New(fault.Unavailable, codeOpening, "The log storage is being opened").Do("Try again in a moment.")
}

// start opens the storage beside the start of the portal, and again while that is
// not possible.
func (e *embedded) start() error {
	return e.loop.Go(func(ctx context.Context) {
		for !e.tryOpen() {
			if !pause(ctx, 5*time.Second) {
				return
			}
		}
		for pause(ctx, sweepEvery) {
			e.sweep(ctx)
		}
	})
}

func (e *embedded) tryOpen() bool {
	err := e.open()
	if err == nil {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.problem == nil {
		e.cfg.Log.Error("can't open the log storage", "err", err)
	}
	e.problem = err
	return false
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (e *embedded) stop(ctx context.Context) error {
	err := e.loop.Halt(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.storage != nil {
		e.storage.MustClose()
		e.storage = nil
	}
	return err
}

func (e *embedded) insert(_ context.Context, batch []logs.Entry) error {
	return e.use(func(s *logstorage.Storage) error {
		if err := e.room(); err != nil {
			return err
		}
		rows := logstorage.GetLogRows(nil, nil, nil, nil, "")
		defer logstorage.PutLogRows(rows)
		var fields []logstorage.Field
		for i := range batch {
			fields = fieldsOf(fields[:0], &batch[i])
			rows.MustAdd(logstorage.TenantID{}, batch[i].At.UnixNano(), fields, streamFields)
			if rows.NeedFlush() {
				s.MustAddRows(rows)
				rows.ResetKeepSettings()
			}
		}
		s.MustAddRows(rows)
		e.settleSoon(s, batch)
		return nil
	})
}

// settleSoon sees to it that streams which are new are found again after a kill. The
// storage writes entries to disk a second after they were added, and the index of
// streams at a time of its own. Entries that came to disk before their stream would
// not be found, would be taken in a second time, and then be there twice.
func (e *embedded) settleSoon(s *logstorage.Storage, batch []logs.Entry) {
	var st logstorage.StorageStats
	s.UpdateStats(&st)
	e.newMu.Lock()
	defer e.newMu.Unlock()
	if st.StreamsCreatedTotal == e.settled {
		return
	}
	e.settled = st.StreamsCreatedTotal
	if e.newDays == nil {
		e.newDays = map[string]bool{}
		time.AfterFunc(settleAfter, e.settle) // well before the entries come to disk
	}
	for i := range batch {
		e.newDays[batch[i].At.UTC().Format("20060102")] = true
	}
}

// settle writes the index of streams to disk, of the days that have new ones. The
// storage has no other way to ask for it than a snapshot, which writes the index
// first, and the entries after it.
func (e *embedded) settle() {
	e.newMu.Lock()
	days := e.newDays
	e.newDays = nil
	e.newMu.Unlock()
	err := e.use(func(s *logstorage.Storage) error {
		if err := e.room(); err != nil {
			return err
		}
		for day := range days {
			for _, snapshot := range s.PartitionSnapshotMustCreate(day) {
				if err := s.PartitionSnapshotDelete(snapshot); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		e.cfg.Log.Debug("the index of new streams was not written at once", "err", err)
	}
}

// sync waits until nothing is in memory alone. The storage flushes by itself every
// second; meanwhile nobody may add.
func (e *embedded) sync(ctx context.Context) error {
	e.used.Lock()
	defer e.used.Unlock()
	return e.use(func(s *logstorage.Storage) error {
		s.DebugFlush()
		for {
			var st logstorage.StorageStats
			s.UpdateStats(&st)
			if st.StreamsCreatedTotal != e.streams { // their index has no such figure
				e.streams, e.streamsAt = st.StreamsCreatedTotal, time.Now()
			}
			if st.PendingRows+st.InmemoryRowsCount == 0 && time.Since(e.streamsAt) > 3*flushEvery {
				return nil
			}
			if !pause(ctx, syncPoll) {
				return fmt.Errorf("the log storage did not write everything to disk in time: %w", ctx.Err())
			}
		}
	})
}

// query runs a query and gives each row's fields, valid during the call.
func (e *embedded) query(ctx context.Context, text string, row func(get func(name string) string, each func(func(name, value string))) error) error {
	q, err := logstorage.ParseQuery(text)
	if err != nil {
		return misunderstood(err)
	}
	return e.use(func(s *logstorage.Storage) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var mu sync.Mutex
		var failed error
		write := func(_ uint, db *logstorage.DataBlock) {
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				return
			}
			columns := db.GetColumns(false)
			for i := range db.RowsCount() {
				get := func(name string) string {
					for _, c := range columns {
						if c.Name == name {
							return strings.Clone(c.Values[i])
						}
					}
					return ""
				}
				each := func(fn func(name, value string)) {
					for _, c := range columns {
						fn(strings.Clone(c.Name), strings.Clone(c.Values[i]))
					}
				}
				if failed = row(get, each); failed != nil {
					cancel()
					return
				}
			}
		}
		qctx := logstorage.NewQueryContext(ctx, &logstorage.QueryStats{}, []logstorage.TenantID{{}}, q, false, nil)
		err := s.RunQuery(qctx, write)
		switch {
		case failed != nil:
			return failed
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return err
	})
}

func (e *embedded) status(context.Context) logs.Status {
	out := logs.Status{Where: "embedded"}
	err := e.use(func(s *logstorage.Storage) error {
		var st logstorage.StorageStats
		s.UpdateStats(&st)
		out.Entries = int64(st.RowsCount() + st.PendingRows)
		out.Bytes = bytesOf(&st)
		if t := st.MinTimestamp; out.Entries > 0 && t > 0 {
			out.Oldest = time.Unix(0, t).UTC()
		}
		return e.room()
	})
	if f := fault.As(err); f != nil && f.Code != codeOpening {
		out.Problem, out.Remedy = f.What+": "+f.Why, f.Remedy
	}
	return out
}
