package tsdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// tolerance lets queries go on where files turn out to be damaged: what can't be
// read is left out, and the result says so.
type tolerance struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	known map[string]bool // parts that were logged
}

// querier reads one block, or what is not in a block yet.
func (t *tolerance) querier(b tsdb.BlockReader, from, to int64) (storage.Querier, error) {
	q := &tolerant{part: b.Meta(), all: t}
	inner, err := tsdb.NewBlockQuerier(leaky{b, q}, from, to)
	if err != nil {
		return nil, err
	}
	q.Querier = inner
	return q, nil
}

// found logs a damaged part, once.
func (t *tolerance) found(part tsdb.BlockMeta, why error) {
	id := part.ULID.String()
	t.mu.Lock()
	if t.known == nil {
		t.known = map[string]bool{}
	}
	was := t.known[id]
	t.known[id] = true
	t.mu.Unlock()
	if !was {
		t.log.Error("time series can't be read in full; the rest is used", "part", id, "dir", t.dir,
			"from", moment(part.MinTime), "to", moment(part.MaxTime), "err", why,
			"remedy", "restore the part from a backup while the portal is stopped, or delete it")
	}
}

// omissions are what was left out of one answer.
type omissions struct {
	mu    sync.Mutex
	parts map[string]tsdb.BlockMeta
}

type omissionsKey struct{}

// noting gives a context that keeps what is left out of the answer made with it.
func noting(ctx context.Context) (context.Context, *omissions) {
	o := &omissions{parts: map[string]tsdb.BlockMeta{}}
	return context.WithValue(ctx, omissionsKey{}, o), o
}

func (o *omissions) add(part tsdb.BlockMeta) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parts[part.ULID.String()] = part
}

// warnings say what was left out.
func (o *omissions) warnings() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(o.parts)) {
		p := o.parts[name]
		out = append(out, fmt.Sprintf("Some values between %s and %s are left out, because a file that holds them is damaged (%s). The portal's log says what to do.",
			moment(p.MinTime).Format(time.RFC3339), moment(p.MaxTime).Format(time.RFC3339), name))
	}
	return out
}

// tolerant asks one part.
type tolerant struct {
	storage.Querier
	part tsdb.BlockMeta
	all  *tolerance

	mu sync.Mutex
	to *omissions // of the answer that is being made
}

// begin remembers for which answer the part is asked.
func (q *tolerant) begin(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o, ok := ctx.Value(omissionsKey{}).(*omissions); ok {
		q.to = o
	}
}

// leftOut notes that something can't be read.
func (q *tolerant) leftOut(why error) {
	q.mu.Lock()
	to := q.to
	q.mu.Unlock()
	if to != nil {
		to.add(q.part)
	}
	q.all.found(q.part, why)
}

// survived tells whether the error is one of the files, and not one of who asks.
func (q *tolerant) survived(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	q.leftOut(err)
	return true
}

// Select implements storage.Querier.
func (q *tolerant) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, m ...*labels.Matcher) storage.SeriesSet {
	q.begin(ctx)
	return &series{SeriesSet: q.Querier.Select(ctx, sorted, hints, m...), q: q}
}

// LabelValues implements storage.Querier.
func (q *tolerant) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, m ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	q.begin(ctx)
	list, notes, err := q.Querier.LabelValues(ctx, name, hints, m...)
	if q.survived(err) {
		return nil, notes, nil
	}
	return list, notes, err
}

// LabelNames implements storage.Querier.
func (q *tolerant) LabelNames(ctx context.Context, hints *storage.LabelHints, m ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	q.begin(ctx)
	list, notes, err := q.Querier.LabelNames(ctx, hints, m...)
	if q.survived(err) {
		return nil, notes, nil
	}
	return list, notes, err
}

// series are those of a part whose index can be read.
type series struct {
	storage.SeriesSet
	q *tolerant
}

// Err implements storage.SeriesSet.
func (s *series) Err() error {
	if err := s.SeriesSet.Err(); !s.q.survived(err) {
		return err
	}
	return nil
}

// leaky is a part that has no samples where they can't be read.
type leaky struct {
	tsdb.BlockReader
	q *tolerant
}

// Chunks implements tsdb.BlockReader.
func (b leaky) Chunks() (tsdb.ChunkReader, error) {
	r, err := b.BlockReader.Chunks()
	if err != nil {
		return nil, err
	}
	return &chunkReader{r, b.q}, nil
}

type chunkReader struct {
	tsdb.ChunkReader
	q *tolerant
}

// EnableChunkCache passes on that chunks are read one after the other.
func (r *chunkReader) EnableChunkCache() {
	if c, ok := r.ChunkReader.(interface{ EnableChunkCache() }); ok {
		c.EnableChunkCache()
	}
}

// ChunkOrIterable implements tsdb.ChunkReader.
func (r *chunkReader) ChunkOrIterable(m chunks.Meta) (chunkenc.Chunk, chunkenc.Iterable, error) {
	c, it, err := r.read(m)
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		return c, it, err
	}
	r.q.leftOut(err)
	return chunkenc.NewXORChunk(), nil, nil
}

// read reads one chunk and checks its sum. The storage panics where a file has
// changed, and the system tells by a signal that one has become shorter.
func (r *chunkReader) read(m chunks.Meta) (c chunkenc.Chunk, it chunkenc.Iterable, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			c, it, err = nil, nil, fmt.Errorf("what the files hold makes no sense: %v", p)
		}
	}()
	return r.ChunkReader.ChunkOrIterable(m)
}
