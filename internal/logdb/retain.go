package logdb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/waooaw/platform-portal/internal/logs"
)

// flush makes what was added visible to queries.
func (e *embedded) flush(context.Context) error {
	return e.use(func(s *logstorage.Storage) error {
		s.DebugFlush()
		return nil
	})
}

// sweep removes the oldest entries while there is too much on disk: whole days
// first, then the older half of the only day that is left. What is too old the
// storage removes by itself, by days.
func (e *embedded) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		var st logstorage.StorageStats
		var days []string
		err := e.use(func(s *logstorage.Storage) error {
			s.UpdateStats(&st)
			days = s.PartitionList()
			return nil
		})
		if err != nil || bytesOf(&st) <= e.cfg.Most || len(days) == 0 {
			return
		}
		if len(days) == 1 {
			e.failed(e.dropHalf(ctx, &st))
			return // done in the background; the next sweep looks again
		}
		if err := e.dropDay(days[0], bytesOf(&st)); err != nil {
			e.failed(err)
			return
		}
	}
}

func bytesOf(st *logstorage.StorageStats) int64 {
	return int64(st.IndexdbSizeBytes + st.CompressedSmallPartSize + st.CompressedBigPartSize)
}

func (e *embedded) failed(err error) {
	if err != nil {
		e.cfg.Log.Warn("can't remove the oldest log entries", "err", err)
	}
}

func (e *embedded) dropDay(day string, size int64) error {
	err := e.use(func(s *logstorage.Storage) error { return s.PartitionDetach(day) })
	if err != nil {
		return err
	}
	e.cfg.Log.Info("removing the oldest log entries: they take more space than they may", "day", day, "bytes", size, "may", e.cfg.Most)
	return os.RemoveAll(filepath.Join(e.dir(), "partitions", day))
}

// dropHalf removes the older half of the entries, by their number.
func (e *embedded) dropHalf(ctx context.Context, st *logstorage.StorageStats) error {
	if st.MinTimestamp <= 0 || st.MaxTimestamp <= st.MinTimestamp {
		return nil
	}
	q := logs.Query{Since: time.Unix(0, st.MinTimestamp), Until: time.Unix(0, st.MaxTimestamp+1)}
	step := max(time.Millisecond, q.Until.Sub(q.Since)/500).Truncate(time.Millisecond)
	type bucket struct {
		at time.Time
		n  int
	}
	var list []bucket
	total := 0
	err := e.query(ctx, fmt.Sprintf("%s | stats by (_time:%dms) count() hits", selection(q), step.Milliseconds()),
		func(get func(string) string, _ func(func(string, string))) error {
			at, err := time.Parse(time.RFC3339Nano, get(fieldTime))
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(get("hits"))
			list = append(list, bucket{at, n})
			total += n
			return err
		})
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b bucket) int { return a.at.Compare(b.at) })
	cut, seen := q.Since, 0
	for _, b := range list {
		cut = b.at
		if seen += b.n; seen > total/2 {
			break
		}
	}
	f, err := logstorage.ParseFilter("_time:<" + stamp(cut))
	if err != nil {
		return err
	}
	e.cfg.Log.Info("removing the older half of the day's log entries: they take more space than they may", "before", cut, "bytes", bytesOf(st), "may", e.cfg.Most)
	return e.use(func(s *logstorage.Storage) error {
		return s.DeleteRunTask(ctx, "size-"+strconv.FormatInt(cut.UnixNano(), 36), time.Now().UnixNano(), []logstorage.TenantID{{}}, f)
	})
}
