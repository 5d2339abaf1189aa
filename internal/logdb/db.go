package logdb

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/waooaw/platform-portal/internal/logs"
)

// engine is what differs between the embedded storage and a server.
type engine interface {
	start() error
	stop(ctx context.Context) error
	insert(ctx context.Context, batch []logs.Entry) error
	sync(ctx context.Context) error
	query(ctx context.Context, text string, row func(get func(name string) string, each func(func(name, value string))) error) error
	status(ctx context.Context) logs.Status
}

// DB is a logs.Store and a logs.Sink.
type DB struct {
	cfg    Config
	engine engine
}

var (
	_ logs.Store = (*DB)(nil)
	_ logs.Sink  = (*DB)(nil)
)

// New makes a store; nothing is opened before Start. Invalid for a URL that is none.
func New(cfg Config) (*DB, error) {
	cfg.Keep = cmp.Or(cfg.Keep, 14*24*time.Hour)
	cfg.Most = cmp.Or(cfg.Most, 5<<30)
	cfg.MinFree = cmp.Or(cfg.MinFree, 512<<20)
	cfg.Memory = cmp.Or(cfg.Memory, 48<<20)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.URL == "" {
		return &DB{cfg, &embedded{cfg: cfg}}, nil
	}
	e, err := newExternal(cfg)
	if err != nil {
		return nil, err
	}
	return &DB{cfg, e}, nil
}

// Name is "log store".
func (db *DB) Name() string { return "log store" }

// Start begins to open the store; what asks meanwhile is told to wait.
func (db *DB) Start(context.Context) error { return db.engine.start() }

// Stop closes the store.
func (db *DB) Stop(ctx context.Context) error { return db.engine.stop(ctx) }

// Add implements logs.Sink.
func (db *DB) Add(ctx context.Context, batch []logs.Entry) error { return db.engine.insert(ctx, batch) }

// Sync implements logs.Sink.
func (db *DB) Sync(ctx context.Context) error { return db.engine.sync(ctx) }

// Status implements logs.Store.
func (db *DB) Status(ctx context.Context) logs.Status { return db.engine.status(ctx) }

// Flusher makes what was added visible for queries at once.
type flusher interface {
	flush(ctx context.Context) error
}

// Times implements logs.Sink.
func (db *DB) Times(ctx context.Context, agentID string, from, to time.Time) (map[string][]time.Time, error) {
	if f, ok := db.engine.(flusher); ok {
		if err := f.flush(ctx); err != nil {
			return nil, err
		}
	}
	q := logs.Query{Agents: []string{agentID}, Since: from, Until: to.Add(1)}
	out := map[string][]time.Time{}
	err := db.engine.query(ctx, selection(q)+" | fields _time, instance", func(get func(string) string, _ func(func(string, string))) error {
		at, err := time.Parse(time.RFC3339Nano, get(fieldTime))
		if err == nil {
			instance := get(fieldInstance)
			out[instance] = append(out[instance], at)
		}
		return err
	})
	return out, err
}

// The first and the following spans in which the newest (or oldest) entries are
// looked for: most of the time a short one has enough, and looking at all of the
// time to sort it would be dear.
const (
	firstSpan = 15 * time.Second
	growth    = 8
)

// Find implements logs.Store.
func (db *DB) Find(ctx context.Context, q logs.Query) ([]logs.Entry, error) {
	var out []logs.Entry
	want := q.Skip + q.Limit
	from, to := q.Since, q.Until
	now := db.cfg.Now()
	span := firstSpan
	if !q.Oldest && to.After(now) {
		span += to.Sub(now)
	}
	for from.Before(to) && len(out) < want {
		part := q
		if q.Oldest {
			part.Since, part.Until = from, earlier(to, from.Add(span))
			from = part.Until
		} else {
			part.Since, part.Until = later(from, to.Add(-span)), to
			to = part.Since
		}
		if span *= growth; span > 400*24*time.Hour || span < 0 {
			span = 400 * 24 * time.Hour
		}
		list, err := db.sorted(ctx, part, want-len(out))
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out[min(q.Skip, len(out)):min(want, len(out))], nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sorted gives the first entries of a span.
func (db *DB) sorted(ctx context.Context, q logs.Query, limit int) ([]logs.Entry, error) {
	order := " desc"
	if q.Oldest {
		order = ""
	}
	text := fmt.Sprintf("%s | sort by (_time%s, agent%s, instance%s, stream%s) limit %d", selection(q), order, order, order, order, limit)
	var out []logs.Entry
	err := db.engine.query(ctx, text, func(_ func(string) string, each func(func(string, string))) error {
		out = append(out, entryOf(each))
		return nil
	})
	slices.SortStableFunc(out, func(a, b logs.Entry) int {
		c := cmp.Or(a.At.Compare(b.At), strings.Compare(a.AgentID, b.AgentID), strings.Compare(a.Instance, b.Instance), strings.Compare(a.Stream, b.Stream))
		if !q.Oldest {
			c = -c
		}
		return c
	})
	return out, err
}

// Count implements logs.Store.
func (db *DB) Count(ctx context.Context, q logs.Query, step time.Duration) ([]logs.Bucket, error) {
	text := fmt.Sprintf("%s | stats by (_time:%dms, level) count() hits", selection(q), step.Milliseconds())
	by := map[int64]*logs.Bucket{}
	err := db.engine.query(ctx, text, func(get func(string) string, _ func(func(string, string))) error {
		at, err := time.Parse(time.RFC3339Nano, get(fieldTime))
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(get("hits"))
		if err != nil {
			return err
		}
		b := by[at.UnixNano()]
		if b == nil {
			b = &logs.Bucket{At: at, Counts: map[logs.Level]int{}}
			by[at.UnixNano()] = b
		}
		b.Counts[logs.Level(get(fieldLevel))] += n
		b.Total += n
		return nil
	})
	out := make([]logs.Bucket, 0, len(by))
	for _, b := range by {
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b logs.Bucket) int { return a.At.Compare(b.At) })
	return out, err
}

// valuesMost is how many fields or values are looked at.
const valuesMost = 1000

// Fields implements logs.Store.
func (db *DB) Fields(ctx context.Context, q logs.Query) ([]logs.Value, error) {
	var out []logs.Value
	err := db.counted(ctx, selection(q)+" | field_names", "name", func(name string, n int) {
		switch name {
		case "_stream", "_stream_id", fieldTime, fieldText, fieldRaw, fieldAll:
		default:
			out = append(out, logs.Value{Value: name, Count: n})
		}
	})
	return out[:min(len(out), valuesMost)], err
}

// Values implements logs.Store.
func (db *DB) Values(ctx context.Context, q logs.Query, field string, limit int) ([]logs.Value, error) {
	var out []logs.Value
	text := fmt.Sprintf("%s | top %d by (%s)", selection(q), min(limit, valuesMost), quote(field))
	err := db.counted(ctx, text, field, func(value string, n int) {
		if value != "" {
			out = append(out, logs.Value{Value: value, Count: n})
		}
	})
	return out, err
}

func (db *DB) counted(ctx context.Context, text, column string, fn func(value string, n int)) error {
	return db.engine.query(ctx, text, func(get func(string) string, _ func(func(string, string))) error {
		n, err := strconv.Atoi(get("hits"))
		if err == nil {
			fn(get(column), n)
		}
		return err
	})
}

// Matcher implements logs.Store.
func (db *DB) Matcher(q logs.Query) (func(*logs.Entry) bool, error) {
	if strings.TrimSpace(q.Filter) != "" {
		if err := check(q.Filter); err != nil {
			return nil, err
		}
	}
	var filter *logstorage.Filter
	if text := content(q); text != "" {
		f, err := logstorage.ParseFilter(text)
		if err != nil {
			return nil, misunderstood(err)
		}
		filter = f
	}
	return func(e *logs.Entry) bool {
		switch {
		case len(q.Agents) > 0 && !slices.Contains(q.Agents, e.AgentID),
			q.Instance != "" && q.Instance != e.Instance, q.Stream != "" && q.Stream != e.Stream:
			return false
		}
		return filter == nil || filter.MatchRow(fieldsOf(nil, e))
	}, nil
}
