package metrics

import (
	"math"
	"slices"
	"time"
)

// The figures of an hour are kept in slots of 15 seconds.
const (
	Kept  = time.Hour
	slot  = 15 * time.Second
	slots = int64(Kept/slot) + 4
)

// what names a column of a record; with the label it is one series.
type what byte

const (
	covered what = iota // seconds with figures
	tasks
	tokens
	cost
	cpu
	memory
	bucket
	kinds // how many there are
)

type column struct {
	what  what
	label string // status or kind
	index int    // of the bucket
}

// record is an agent's last hour. A column is made when it first holds
// something, so that an agent costs as much as it reports: 4 bytes a slot and
// column, 23 kB for an agent of the kit that works and 55 kB at the very most.
type record struct {
	newest  int64 // slot
	columns map[column][]float32
	bounds  []float64
	seen    [kinds]int64 // newest slot in which it was reported at all, plus one
	until   time.Duration
	at      time.Time // of the newest page
}

func newRecord() *record {
	return &record{columns: map[column][]float32{}, newest: -1}
}

func slotOf(at time.Duration) int64 { return int64(at / slot) }

// advance empties the slots that come into use again.
func (r *record) advance(n int64) {
	if n <= r.newest {
		return
	}
	if n-r.newest >= slots {
		clear(r.columns)
	} else {
		for _, c := range r.columns {
			for i := r.newest + 1; i <= n; i++ {
				c[i%slots] = 0
			}
		}
	}
	r.newest = n
}

func (r *record) column(c column) []float32 {
	col := r.columns[c]
	if col == nil {
		col = make([]float32, slots)
		r.columns[c] = col
	}
	return col
}

// add spreads an amount over the time in which it was added up.
func (r *record) add(c column, from, to time.Duration, amount float64) {
	if amount == 0 || to < from {
		return
	}
	col := r.column(c)
	if slotOf(from) == slotOf(to) || to == from {
		col[slotOf(to)%slots] += float32(amount)
		return
	}
	oldest := max(0, r.newest-slots+1)
	for n := max(slotOf(from), oldest); n <= slotOf(to); n++ {
		begin, end := max(from, time.Duration(n)*slot), min(to, time.Duration(n+1)*slot)
		col[n%slots] += float32(amount * float64(end-begin) / float64(to-from))
	}
}

// take adds what an instance did between two moments.
func (r *record) take(in increase, from, to time.Duration) {
	r.advance(slotOf(to))
	if since := max(from, r.until); to > since {
		r.add(column{what: covered}, since, to, (to - since).Seconds())
		r.until = to
	}
	for status, n := range in.tasks {
		r.add(r.named(tasks, status), from, to, n)
	}
	for kind, n := range in.tokens {
		r.add(r.named(tokens, kind), from, to, n)
	}
	if in.cost != nil {
		r.add(column{what: cost}, from, to, *in.cost)
	}
	if in.cpu != nil {
		r.add(column{what: cpu}, from, to, *in.cpu)
	}
	if in.buckets == nil {
		return
	}
	if !slices.Equal(r.bounds, in.bounds) {
		// Another revision measures in another way: what was is of no use.
		for c := range r.columns {
			if c.what == bucket {
				delete(r.columns, c)
			}
		}
		r.bounds = slices.Clone(in.bounds)
	}
	for i, n := range in.buckets {
		r.add(column{what: bucket, index: i}, from, to, n)
	}
}

// named gives the column of a label. An agent whose labels change all the time
// gets no more columns than one that has many.
func (r *record) named(w what, label string) column {
	c := column{what: w, label: label}
	if r.columns[c] != nil || label == statusFailed {
		return c
	}
	n := 0
	for has := range r.columns {
		if has.what == w {
			n++
		}
	}
	if n >= maxKinds {
		c.label = other
	}
	return c
}

// note remembers which parts a page had, and the memory of all instances.
func (r *record) note(p Page, at time.Duration, rss float64) {
	n := slotOf(at)
	r.advance(n)
	has := [kinds]bool{
		tasks: p.Tasks != nil, tokens: p.Tokens != nil, cost: p.Cost != nil, cpu: p.CPU != nil,
		memory: p.Memory != nil, bucket: p.Duration != nil && len(p.Duration.Bounds) <= maxBuckets,
	}
	for w, ok := range has {
		if ok {
			r.seen[w] = n + 1
		}
	}
	if p.Memory != nil {
		r.column(column{what: memory})[n%slots] = float32(rss)
	}
}

// totals are sums over slots and records.
type totals struct {
	covered       float64 // seconds in which at least one record has figures
	tasks, tokens map[string]float64
	cost          float64
	memory        float64
	durations     tally
	seen          [kinds]bool
	// pace are the amounts as they would be if all records reached as far as the
	// one that was asked last: what rates are made of.
	pace [kinds]float64
}

// lanes are columns of records, picked out to be added up.
type lanes struct {
	records []*record
	columns []lane
}

type lane struct {
	column
	*record
	data []float32
}

// pick finds the columns that are wanted; those that say for when there are
// figures always are.
func pick(records []*record, want func(what) bool) lanes {
	l := lanes{records: records}
	for _, r := range records {
		for c, data := range r.columns {
			if c.what == covered || want(c.what) {
				l.columns = append(l.columns, lane{c, r, data})
			}
		}
	}
	return l
}

// sum adds up the slots from first to last.
func (l lanes) sum(first, last int64) totals {
	t := totals{tasks: map[string]float64{}, tokens: map[string]float64{}, durations: tally{}}
	for _, r := range l.records {
		for w, n := range r.seen {
			t.seen[w] = t.seen[w] || n > first
		}
	}
	t.covered = l.covered(first, last)
	var latest time.Duration
	for _, r := range l.records {
		latest = max(latest, r.until)
	}
	for _, c := range l.columns {
		var n float64
		var highest float32
		for i := max(first, c.newest-slots+1, 0); i <= min(last, c.newest); i++ {
			n += float64(c.data[i%slots])
			highest = max(highest, c.data[i%slots])
		}
		if c.what == memory {
			n = float64(highest)
		}
		t.count(c.column, n, c.bounds)
		t.pace[c.what] += n * ahead(c.record, latest, last, t.covered)
	}
	return t
}

// covered gives the seconds in which at least one record has figures.
func (l lanes) covered(first, last int64) (sum float64) {
	longest := make([]float32, max(0, last-first+1))
	for _, c := range l.columns {
		if c.what != covered {
			continue
		}
		for i := max(first, c.newest-slots+1, 0); i <= min(last, c.newest); i++ {
			longest[i-first] = max(longest[i-first], c.data[i%slots])
		}
	}
	for _, v := range longest {
		sum += float64(v)
	}
	return sum
}

// ahead gives the factor by which a record that was asked a little earlier than
// the latest one is behind in the window.
func ahead(r *record, latest time.Duration, last int64, covered float64) float64 {
	lag := latest - min(latest, max(r.until, 0))
	if lag > Fresh || last < slotOf(latest) || lag.Seconds() >= covered/2 {
		return 1 // it stopped, or the window ends before
	}
	return covered / (covered - lag.Seconds())
}

// count takes in the sum of one column.
func (t *totals) count(c column, n float64, bounds []float64) {
	switch c.what {
	case tasks:
		t.tasks[c.label] += n
	case tokens:
		t.tokens[c.label] += n
	case cost:
		t.cost += n
	case memory:
		t.memory += n
	case bucket:
		if n > 0 {
			t.durations.know(bounds)
		}
		at := math.Inf(1)
		if c.index < len(bounds) {
			at = bounds[c.index]
		}
		t.durations[at] += n
	}
}
